"""What was handed in: finding a student's files, keeping them as they are, reading them.

The folder of submissions is only looked into: each file goes, as it is, into the course folder's
`received`, with its time and digest. Grades are made from there. What is unusual about a file is
said in its receipt, and whatever leaves a doubt asks for a person.
"""

import ast
import datetime
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from coursework import normalise
from coursework.grading.outputs import one_line

LARGEST = 64 << 20  # bytes of a notebook; one with many pictures has a tenth
MOST_CELLS = 500
# Characters of one cell, and of all: what shows text takes the square of its length at worst.
LONGEST, MOST_TEXT = 30_000, 300_000
NOTEBOOK = re.compile(r"\.ipynb(\.\w+)?$", re.IGNORECASE)  # browsers add .txt or .json
CANVAS = re.compile(r"[^_]+(?:_LATE)?_(\d+)_\d+_", re.IGNORECASE)
MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_")


class Cell(NamedTuple):
    """A submitted cell: its type (code or markdown), text, grade id, cell id and attachments."""

    kind: str
    source: str
    grade_id: str | None
    cell_id: str | None = None
    attachments: dict | None = None


class Submission(NamedTuple):
    """A file that was handed in: its cells, or why there are none (`status` "rejected").

    `notes` say what is unusual, `doubts` what a person must look at.
    """

    status: str
    digest: str
    cells: list
    notes: list
    doubts: list


class Found(NamedTuple):
    """A file in the folder of submissions, and what leaves a doubt about it."""

    path: Path
    doubts: list


def find(folder, assignment, students):
    """Return each student's files, and the files that belong to nobody.

    Looked for are ``<student>/<assignment>/*.ipynb``, ``<student>/*.ipynb`` (or deeper), and
    ``<student>_*.ipynb`` in the folder itself; Canvas's files and Moodle's folders by the roster's
    columns `canvas` and `moodle` (or the names), and e-mail addresses instead of ids. A notebook
    that is named after nobody is given to whom it names inside, with a doubt.

    Returns
    -------
    files : dict
        Student's id → list of `Found`.
    strangers : list of str
        Names of notebooks and folders that match no student.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise ValueError(f"submissions {folder} is no folder; give the one that was downloaded")
    files, strangers = {student.id: [] for student in students}, []
    for entry in sorted(folder.iterdir()):
        is_folder = entry.is_dir()
        if entry.name.startswith(".") or not (is_folder or NOTEBOOK.search(entry.name)):
            continue
        owner, doubts = _owner(entry, students, is_folder)
        if owner is None:
            strangers.append(entry)
        elif is_folder and not NOTEBOOK.search(entry.name):
            files[owner.id] += _in_folder(entry, assignment)
        else:
            files[owner.id].append(Found(entry, doubts + _odd_name(entry)))
    for path in [p for p in strangers if not p.is_dir()]:
        named = declared_id(read(path))
        if named in files and not files[named]:
            words = f"{one_line(path.name, 60)} is named after nobody; the notebook says {named}"
            files[named].append(Found(path, [words]))
            strangers.remove(path)
    return files, [one_line(path.name, 60) for path in strangers]


def _owner(entry, students, is_folder):
    """Return the student that a file or folder is named after (the longest id), and doubts."""
    name = normalise(entry.name if is_folder else NOTEBOOK.sub("", entry.name))
    canvas, moodle = CANVAS.match(entry.name), MOODLE.match(name)
    fits = []
    for student in students:
        fields = {key: normalise(value) for key, value in student.fields.items()}
        full = f"{fields.get('first_name', '')} {fields.get('last_name', '')}".strip()
        rest = name.removeprefix(student.id)
        if name in (student.id, student.name, fields.get("email")) or (
            canvas and canvas[1] == fields.get("canvas")
        ):
            return student, []
        if moodle:
            if moodle[2] == re.sub(r"\D", "", fields.get("moodle", "")):
                return student, []
            if moodle[1] == full:
                fits.append((len(full), student, []))
        elif not is_folder and rest != name and not rest[0].isalnum():
            unclear = f"the file is called {one_line(entry.name, 60)}"
            fits.append((len(student.id), student, [] if rest[0] in "_ (" else [unclear]))
    fits.sort(key=lambda entry: -entry[0])
    if not fits or len(fits) > 1 and fits[0][0] == fits[1][0]:
        return None, []
    return fits[0][1:]


def _odd_name(path):
    odd = [] if path.name.endswith(".ipynb") else [f"the file is called {one_line(path.name, 60)}"]
    return odd + ["Canvas says it is late"] * ("_LATE_" in path.name)


def _in_folder(own, assignment):
    """Return the notebooks in a student's folder: the assignment's if there is one of its name."""
    if own.is_symlink():
        return [Found(own, ["the folder is a link, which is not followed"])]
    places = [own / assignment, own]
    for place in [p for p in places if p.is_dir() and not p.is_symlink()]:
        found = [p for p in sorted(place.iterdir()) if NOTEBOOK.search(p.name)]
        if found := [p for p in found if not p.name.startswith(".")]:
            return [Found(path, _odd_name(path)) for path in found]
    deeper = [p for p in sorted(own.rglob("*")) if NOTEBOOK.search(p.name)]
    words = "found in {}, where it was not looked for first"
    named = [p for p in deeper if ".ipynb_checkpoints" not in p.parts][:20]
    return [
        Found(p, [words.format(one_line(p.parent.relative_to(own.parent))), *_odd_name(p)])
        for p in named
    ]


def time_of(path):
    """Return when a file was handed in: nbgrader's timestamp beside it, else the file's own."""
    try:
        text = path.with_name("timestamp.txt").read_text(encoding="utf-8").strip()
        time = datetime.datetime.fromisoformat(text.removesuffix(" UTC"))
        return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    except (OSError, ValueError):
        return datetime.datetime.fromtimestamp(path.lstat().st_mtime, datetime.UTC)


def content(path):
    """Return the content of a plain file of reasonable size, following no link.

    Raises
    ------
    ValueError
        With words for what it is instead.
    """
    try:
        # Not blocking, so that a named pipe does not keep us waiting.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise ValueError("the file is a symbolic link, which is not followed") from None
        raise ValueError(f"the file cannot be opened: {error.strerror}") from None
    info = os.fstat(file)
    if not stat.S_ISREG(info.st_mode):
        os.close(file)
        raise ValueError("this is no file but a folder, pipe or device")
    with os.fdopen(file, "rb") as stream:
        if info.st_size > LARGEST:
            size = info.st_size / (1 << 20)
            raise ValueError(f"the file has {size:.0f} MB; at most {LARGEST >> 20} are read")
        return stream.read(LARGEST + 1)


def read(path):
    """Read a file as a `Submission`; never raises for what it holds."""
    try:
        data = content(path)
    except ValueError as error:
        return Submission("rejected", "", [], [str(error)], [])
    digest = hashlib.sha256(data).hexdigest()
    try:
        cells, notes = _cells(data)
    except ValueError as error:
        return Submission("rejected", digest, [], [str(error)], [])
    return Submission("ready", digest, cells, notes, [])


def _cells(data):
    """Return a notebook's cells and notes on it, or raise a ValueError that says what is wrong."""
    import nbformat

    if not data.strip():
        raise ValueError("the file is empty")
    try:
        text = data.decode("utf-8-sig")
        notebook = json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 text (byte {error.start})") from None
    except ValueError as error:
        raise ValueError(f"the file is no JSON, so no notebook: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the file is JSON that nests too deeply") from None
    if not isinstance(notebook, dict):
        raise ValueError("the file is JSON but no notebook")
    notes = _kernel_note(notebook)
    if notebook.get("nbformat") != 4:
        notes.append(f"notebook format {str(notebook.get('nbformat'))[:10]} was converted")
        try:
            notebook = nbformat.reads(text, as_version=4)
        except Exception as error:  # any kind of exception, for any kind of file
            what = one_line(str(error), 100) or type(error).__name__
            raise ValueError(f"the file is no notebook: {what}") from None
    if not isinstance(notebook.get("cells"), list):
        raise ValueError("the notebook has no list of cells")
    if len(notebook["cells"]) > MOST_CELLS:
        raise ValueError(f"the notebook has {len(notebook['cells'])} cells; {MOST_CELLS} are read")
    cells = [cell for cell in map(_cell, notebook["cells"]) if cell is not None]
    if not cells:
        raise ValueError("the notebook has no cells")
    longest = max(len(cell.source) for cell in cells)
    if longest > LONGEST:
        raise ValueError(f"a cell has {longest} characters; at most {LONGEST} are read")
    if sum(len(cell.source) for cell in cells) > MOST_TEXT:
        raise ValueError(f"the cells have more than the {MOST_TEXT} characters that are read")
    return cells, notes


def _cell(found):
    if not isinstance(found, dict):
        return None
    source = found.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        source = ""
    # A lone half of a surrogate pair can be said in JSON, but written into no file.
    source = source.encode("utf-8", "replace").decode().replace("\0", "")
    nbgrader = _dict(_dict(found.get("metadata")).get("nbgrader"))
    names = [x if isinstance(x, str) else None for x in (nbgrader.get("grade_id"), found.get("id"))]
    kind = "code" if found.get("cell_type") == "code" else "markdown"
    return Cell(kind, source, *names, _dict(found.get("attachments")))


def _dict(value):
    return value if isinstance(value, dict) else {}


def _kernel_note(notebook):
    spec = _dict(_dict(notebook.get("metadata")).get("kernelspec"))
    name, language = spec.get("name"), spec.get("language", "python")
    if isinstance(name, str) and (language != "python" or not re.match(r"(conda.*)?python", name)):
        return [f"kernel {one_line(name, 30)!r} was ignored: everything runs with Python"]
    return []


def declared_id(submission):
    """Return the id that a submission's cell `student` gives, as far as it can be read."""
    for cell in submission.cells:
        if cell.kind == "code" and "student" in (cell.grade_id, cell.cell_id):
            try:
                statements = ast.parse(cell.source).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None
            for statement in statements:
                value = getattr(statement, "value", None)
                if isinstance(statement, ast.Assign) and isinstance(value, ast.Constant):
                    return normalise(value.value)
    return None
