"""The assignment as its author wrote it: what is asked, for how many points, who judges it."""

import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("book/assignments/private/source")


class Graded(NamedTuple):
    """A graded cell: its grade id, its part (a short name for tables), points, who judges it."""

    grade_id: str
    label: str
    points: float
    by_person: bool


class Source(NamedTuple):
    """An assignment's source: its name, file, notebook, digest and graded cells."""

    assignment: str
    path: Path
    notebook: dict
    digest: str
    graded: list


def read(assignment, folder=None):
    """Return the source of an assignment.

    Raises
    ------
    ValueError
        If the folder or the assignment is not there, or the notebook cannot be graded.
    """
    import nbformat

    folder = Path(FOLDER if folder is None else folder)
    if not folder.is_dir():
        raise ValueError(
            f"the folder of sources {folder} is not there; call this from the top folder of the "
            "book's repository, or name the folder with --source"
        )
    path = folder / assignment / f"{assignment}.ipynb"
    if not path.is_file():
        there = ", ".join(sorted(p.parent.name for p in folder.glob("*/*.ipynb"))) or "none"
        raise ValueError(f"assignment {assignment!r} has no source {path}; there are: {there}")
    notebook = nbformat.read(path, as_version=4)
    graded = [_graded(cell, assignment) for cell in notebook.cells if metadata(cell).get("grade")]
    if not graded:
        raise ValueError(f"{path} has no graded cell")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(assignment, path.resolve(), notebook, digest, graded)


def _graded(cell, assignment):
    label = grade_id(cell).removeprefix(f"{assignment}-").removesuffix("-check")
    return Graded(grade_id(cell), label, float(metadata(cell)["points"]), is_solution(cell))


def metadata(cell):
    """Return nbgrader's metadata of a cell, or an empty dict."""
    return cell.metadata.get("nbgrader", {})


def grade_id(cell):
    """Return a cell's grade id, or None."""
    return metadata(cell).get("grade_id")


def is_solution(cell):
    """Tell whether the student writes in this cell."""
    return bool(metadata(cell).get("solution"))
