"""What was handed in: finding a student's file and reading it without believing it."""

import ast
import hashlib
import json
import os
import re
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

LARGEST = 10 << 20  # bytes of a notebook; one with many pictures has about a tenth
MOST_CELLS = 500
# Characters of one cell, and of all: what shows text takes the square of its length at worst.
LONGEST, MOST_TEXT = 30_000, 300_000


class Cell(NamedTuple):
    """A submitted cell: its type (code or markdown), text, and grade id if it has one."""

    kind: str
    source: str
    grade_id: str | None


class Submission(NamedTuple):
    """A submission as found: its file and digest, its cells, or why there are none.

    `status` is "ready", "missing" or "rejected"; `notes` say what is unusual.
    """

    status: str
    path: Path | None
    digest: str
    cells: list
    notes: list


def find(folder, assignment, students):
    """Return each student's file, and the files that belong to nobody.

    Looked for in this order: ``<student>/<assignment>/*.ipynb``, ``<student>/*.ipynb``, and
    ``<student>*.ipynb`` in the folder itself, where the id must end the name or be followed by
    something that is no part of an id. Canvas names its files after people: there the roster's
    column `canvas` (Canvas's own number of the student) is looked for between underscores.

    Returns
    -------
    files : dict
        Student's id → list of paths (most often one).
    strangers : list of str
        Names of notebooks and folders that match no student.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"submissions {folder} is no folder; give the one that was downloaded")
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    folders = {_key(e.name): Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)}
    others = [Path(e.path) for e in entries if not e.is_dir(follow_symlinks=False)]
    files, used = {}, set()
    owners = _owners([p for p in others if p.suffix == ".ipynb"], students)
    for student in students:
        own = folders.get(student.id) or folders.get(student.name)
        files[student.id] = list(owners.get(student.id, []))
        if own is not None:
            used.add(own)
            files[student.id] = _in_folder(own, assignment) or files[student.id]
    known = {path for paths in files.values() for path in paths} | used
    # A file that nobody can read as a notebook is not listed, a forgotten student's folder is.
    found = [*folders.values(), *(p for p in others if p.suffix == ".ipynb")]
    return files, sorted(p.name for p in found if p not in known and p.name[0] != ".")


def _key(name):
    from coursework import normalise

    return normalise(name)


def _in_folder(own, assignment):
    for place in (own / assignment, own):
        if place.is_dir() and not place.is_symlink():
            found = sorted(p for p in place.glob("*.ipynb") if not p.name.startswith("."))
            if found:
                named = [p for p in found if p.stem == assignment]
                return named or found
    return []


def _owners(paths, students):
    """Return the flat files by the longest id that their names begin with."""
    owners = {}
    for path in paths:
        name = _key(path.stem)
        fits = [s for s in students if _begins(name, s.id) or _has_number(name, s)]
        if fits:
            owners.setdefault(max(fits, key=lambda s: len(s.id)).id, []).append(path)
    return owners


def _begins(name, student):
    rest = name.removeprefix(student)
    return name.startswith(student) and (not rest or not rest[0].isalnum())


def _has_number(name, student):
    number = student.fields.get("canvas", "").strip()
    return bool(number) and f"_{number}_" in f"{name}_"


def read(paths, grade_ids):
    """Read a student's file and return it as a `Submission`; never raises for what it holds.

    Parameters
    ----------
    paths : list of Path
        The files that belong to the student.
    grade_ids : list of str
        The ids of the assignment's cells, for choosing among several notebooks.
    """
    if not paths:
        return Submission("missing", None, "", [], ["nothing was handed in"])
    found = [_read_one(path) for path in paths]
    if len(found) == 1:
        return found[0]
    ready = [s for s in found if s.status == "ready" and _known(s, grade_ids)]
    names = ", ".join(path.name[:60] for path in paths[:5])
    if not ready:
        return found[0]._replace(notes=[*found[0].notes, f"several files: {names}"])
    best = max(ready, key=lambda s: _known(s, grade_ids))
    ties = [s for s in ready if _known(s, grade_ids) == _known(best, grade_ids)]
    if len(ties) > 1 and len({s.digest for s in ties}) > 1:
        reason = f"several notebooks fit ({names}); keep one"
        return Submission("rejected", paths[0], best.digest, [], [reason])
    return best._replace(notes=[*best.notes, f"{best.path.name[:60]} was taken among {names}"])


def _known(submission, grade_ids):
    return len({cell.grade_id for cell in submission.cells} & set(grade_ids))


def _read_one(path):
    try:
        data = _bytes(path)
    except (OSError, ValueError) as error:
        # The digest of what cannot be read: it is looked at again when it changes.
        state = f"{path.name}:{_size(path)}:{error}"
        digest = hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()
        return Submission("rejected", path, digest, [], [str(error)])
    digest = hashlib.sha256(data).hexdigest()
    try:
        cells, notes = _cells(data)
    except ValueError as error:
        return Submission("rejected", path, digest, [], [str(error)])
    return Submission("ready", path, digest, cells, notes)


def _size(path):
    try:
        return path.lstat().st_size
    except OSError:
        return -1


def _bytes(path):
    """Return the content of a plain file of reasonable size, following no link."""
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


def _cells(data):
    """Return a notebook's cells and notes on it, or raise a ValueError that says what is wrong."""
    import nbformat

    if not data.strip():
        raise ValueError("the file is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8 text (byte {error.start})") from None
    notes = []
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the file is no JSON, so no notebook: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError("the file is JSON that nests too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("the file is JSON but no notebook")
    if content.get("nbformat") != 4:
        notes.append(f"notebook format {str(content.get('nbformat'))[:10]} was converted")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = nbformat.reads(text, as_version=4)
        except Exception as error:  # any kind of exception, for any kind of file
            what = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            raise ValueError(f"the file is no notebook: {what}") from None
    if not isinstance(content.get("cells"), list):
        raise ValueError("the notebook has no list of cells")
    if len(content["cells"]) > MOST_CELLS:
        raise ValueError(f"the notebook has {len(content['cells'])} cells; {MOST_CELLS} are read")
    cells = [cell for cell in map(_cell, content["cells"]) if cell is not None]
    if not cells:
        raise ValueError("the notebook has no cells")
    longest = max(len(cell.source) for cell in cells)
    if longest > LONGEST:
        raise ValueError(f"a cell has {longest} characters; at most {LONGEST} are read")
    if sum(len(cell.source) for cell in cells) > MOST_TEXT:
        raise ValueError(f"the cells have more than the {MOST_TEXT} characters that are read")
    return cells, notes + _kernel_note(content)


def _cell(content):
    if not isinstance(content, dict):
        return None
    source = content.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        source = ""
    # A lone half of a surrogate pair can be said in JSON, but written into no file.
    source = source.encode("utf-8", "replace").decode().replace("\0", "")
    metadata = content.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    kind = "code" if content.get("cell_type") == "code" else "markdown"
    return Cell(kind, source, grade_id if isinstance(grade_id, str) else None)


def _kernel_note(content):
    metadata = content.get("metadata")
    spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    name = spec.get("name") if isinstance(spec, dict) else None
    language = spec.get("language", "python") if isinstance(spec, dict) else "python"
    if isinstance(name, str) and (language != "python" or not re.match(r"(conda.*)?python", name)):
        return [f"kernel {name[:30]!r} was ignored: everything runs with Python"]
    return []


def declared_id(submission):
    """Return the id that a submission's cell `student` gives, as far as it can be read."""
    from coursework import normalise

    for cell in submission.cells:
        if cell.grade_id == "student" and cell.kind == "code":
            try:
                statements = ast.parse(cell.source).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None
            for statement in statements:
                if (
                    isinstance(statement, ast.Assign)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                ):
                    return normalise(statement.value.value)
    return None


def answers_digest(submission, stubs):
    """Return a digest of what the student wrote, the same for the same answers; None for little.

    Cells that are as handed out, and blanks, do not count.
    """
    texts = []
    for cell in submission.cells:
        text = "".join(cell.source.split())
        if cell.grade_id in stubs and cell.grade_id != "student" and text != stubs[cell.grade_id]:
            texts.append(f"{cell.grade_id}:{text}")
    written = "\n".join(sorted(texts))
    return hashlib.sha256(written.encode()).hexdigest() if len(written) > 150 else None
