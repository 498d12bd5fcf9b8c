"""What was handed in: finding a student's files, keeping them as they are, reading them.

The folder of submissions is only looked into: each file goes, as it is, into the course folder's
`received`, with its time and digest. Grades are made from there. What is unusual about a file is
said in its receipt, and whatever leaves a doubt asks for a person.
"""

import datetime
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

import nbformat

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
    """A file that was handed in: its cells (none if it is no notebook), and notes on it."""

    digest: str
    cells: list
    notes: list


def find(folder, assignment, students):
    """Return each student's files, and the files that belong to nobody.

    Looked for are ``<student>/<assignment>/*.ipynb``, ``<student>/*.ipynb`` (or deeper), and
    ``<student>_*.ipynb`` in the folder itself; Canvas's files and Moodle's folders by the roster's
    columns `canvas` and `moodle` (or the names), and e-mail addresses instead of ids. A notebook
    that is named after nobody is given to whom it names inside, with a doubt.

    Returns
    -------
    files : dict
        Student's id → list of (path, what leaves a doubt about it).
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
            files[owner.id].append(_found(entry, *doubts))
    for path in [p for p in strangers if not p.is_dir()]:
        named = declared_id(read(path).cells)
        if named in files and not files[named]:
            words = f"{one_line(path.name, 60)} is named after nobody; the notebook says {named}"
            files[named].append((path, [words]))
            strangers.remove(path)
    return files, [one_line(path.name, 60) for path in strangers]


def _owner(entry, students, is_folder):
    """Return the student that a file or folder is named after (the longest id), and doubts."""
    name = normalise(entry.name if is_folder else NOTEBOOK.sub("", entry.name))
    canvas, moodle, fits = CANVAS.match(entry.name), MOODLE.match(name), []
    for student in students:
        fields = {key: normalise(value) for key, value in student.fields.items()}
        full = f"{fields.get('first_name', '')} {fields.get('last_name', '')}".strip()
        number, rest = re.sub(r"\D", "", fields.get("moodle", "")), name.removeprefix(student.id)
        sure = name in (student.id, student.name, fields.get("email"))
        sure = sure or (canvas and canvas[1] == fields.get("canvas"))
        if sure or (moodle and moodle[2] == number):
            return student, []
        if moodle and moodle[1] == full:
            fits.append((len(full), student, []))
        elif not (moodle or is_folder) and rest != name and not rest[0].isalnum():
            unclear = [] if rest[0] in "_ (" else [f"the file is called {one_line(entry.name, 60)}"]
            fits.append((len(student.id), student, unclear))
    fits.sort(key=lambda fit: -fit[0])
    if not fits or len(fits) > 1 and fits[0][0] == fits[1][0]:
        return None, []
    return fits[0][1:]


def _found(path, *doubts):
    odd = not path.name.endswith(".ipynb")
    doubts = [*doubts, *[f"the file is called {one_line(path.name, 60)}"] * odd]
    return path, doubts + ["Canvas says it is late"] * ("_LATE_" in path.name)


def _in_folder(own, assignment):
    """Return the notebooks in a student's folder: the assignment's if there is one of its name."""
    if own.is_symlink():
        return [(own, ["the folder is a link, which is not followed"])]

    def notebooks(paths):
        found = [path for path in sorted(paths) if NOTEBOOK.search(path.name)]
        return [p for p in found if not any(part.startswith(".") for part in p.parts[-2:])]

    for place in [own / assignment, own]:
        if place.is_dir() and not place.is_symlink() and (there := notebooks(place.iterdir())):
            return [_found(path) for path in there]
    words, deeper = "found in {}, where it was not looked for first", notebooks(own.rglob("*"))[:20]
    return [_found(p, words.format(one_line(p.parent.relative_to(own.parent)))) for p in deeper]


def time_of(path):
    """Return when a file was handed in: nbgrader's timestamp beside it, else the file's own."""
    try:
        text = path.with_name("timestamp.txt").read_text(encoding="utf-8").strip()
        time = datetime.datetime.fromisoformat(text.removesuffix(" UTC"))
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (OSError, ValueError):
        return datetime.datetime.fromtimestamp(path.lstat().st_mtime, datetime.UTC)


def content(path):
    """Return the content of a plain file of reasonable size, following no link.

    Raises
    ------
    ValueError
        With words for what it is instead.
    """
    # Not blocking and not following, whatever has come in the file's place since it was looked at.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        info = path.lstat()
        _need(not path.is_symlink(), "the file is a symbolic link, which is not followed")
        _need(stat.S_ISREG(info.st_mode), "this is no file but a folder, pipe or device")
        size = f"the file has {info.st_size >> 20} MB; at most {LARGEST >> 20} are read"
        _need(info.st_size <= LARGEST, size)
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            return file.read(LARGEST)
    except OSError as error:
        raise ValueError(f"the file cannot be opened: {error.strerror}") from None


def read(path):
    """Read a file as a `Submission`; never raises for what it holds."""
    data = path.name.encode("utf-8", "replace")
    try:
        data = content(path)
        cells, notes = _cells(data)
    except ValueError as error:
        cells, notes = [], [str(error)]
    return Submission(hashlib.sha256(data).hexdigest(), cells, notes)


def _cells(data):
    """Return a notebook's cells and notes on it, or raise a ValueError that says what is wrong."""
    _need(data.strip(), "the file is empty")
    try:
        text = data.decode("utf-8-sig")
        notebook = json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 text (byte {error.start})") from None
    except ValueError as error:
        raise ValueError(f"the file is no JSON, so no notebook: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the file is JSON that nests too deeply") from None
    _need(isinstance(notebook, dict), "the file is JSON but no notebook")
    notes = []
    if notebook.get("nbformat") != 4:
        notes.append(f"notebook format {str(notebook.get('nbformat'))[:10]} was converted")
        try:
            notebook = nbformat.reads(text, as_version=4)
        except Exception as error:  # any kind of exception, for any kind of file
            what = one_line(str(error), 100) or type(error).__name__
            raise ValueError(f"the file is no notebook: {what}") from None
    found = notebook.get("cells")
    _need(isinstance(found, list), "the notebook has no list of cells")
    _need(len(found) <= MOST_CELLS, f"the notebook has {len(found)} cells; {MOST_CELLS} are read")
    cells = [_cell(cell) for cell in found if isinstance(cell, dict)]
    _need(cells, "the notebook has no cells")
    sizes = [len(cell.source) for cell in cells]
    words = f"a cell has {max(sizes)} characters, all have {sum(sizes)}; at most {LONGEST} and "
    _need(max(sizes) <= LONGEST and sum(sizes) <= MOST_TEXT, f"{words}{MOST_TEXT} are read")
    return cells, notes


def _need(fine, words):
    if not fine:
        raise ValueError(words)


def _cell(found):
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


def declared_id(cells):
    """Return the id that a notebook's cell `student` gives, as far as it can be read."""
    texts = [c.source for c in cells if c.kind == "code" and "student" in (c.grade_id, c.cell_id)]
    found = re.search(r"""^student *= *(["']?)(.+?)\1 *(#.*)?$""", texts[0] if texts else "", re.M)
    return normalise(found[2]) if found else None
