"""The assignment as its author wrote it: what is asked, for how many points, who judges it."""

import ast
import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("book/assignments/private/source")


class Asked(NamedTuple):
    """A record that a check cell must give: of which part, and under which hidden id (or None)."""

    part: str
    hidden: str | None


class Graded(NamedTuple):
    """A graded cell: its grade id, a short name for tables, its points, and what it must give.

    `asked` is None for a cell that a human grades.
    """

    grade_id: str
    label: str
    points: float
    asked: tuple | None


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
    ids = [grade_id(cell) for cell in notebook.cells if grade_id(cell)]
    if len(set(ids)) < len(ids):
        raise ValueError(
            f"{path} uses a grade_id twice: {sorted(i for i in ids if ids.count(i) > 1)}"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(assignment, path.resolve(), notebook, digest, graded)


def metadata(cell):
    """Return nbgrader's metadata of a cell, or an empty dict."""
    return cell.metadata.get("nbgrader", {})


def grade_id(cell):
    """Return a cell's grade id, or None."""
    return metadata(cell).get("grade_id")


def is_solution(cell):
    """Tell whether the student writes in this cell."""
    return bool(metadata(cell).get("solution"))


def _graded(cell, assignment):
    name = grade_id(cell)
    label = name.removeprefix(f"{assignment}-").removesuffix("-check")
    points = float(metadata(cell)["points"])
    asked = None if is_solution(cell) else _asked(cell.source, label)
    return Graded(name, label, points, asked)


def _asked(text, part):
    """Return what the calls of `check` in a cell ask for, in their order."""
    asked = []
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "check"
        ):
            given = node.args[0]
            if isinstance(given, ast.Call):
                values = [ast.literal_eval(argument) for argument in given.args]
                asked.append((node.lineno, Asked(str(values[1]), values[2])))
            else:
                asked.append((node.lineno, Asked(part, None)))
    if not asked:
        raise ValueError(f"the check cell of part {part} calls no check")
    return tuple(entry for _, entry in sorted(asked, key=lambda pair: pair[0]))
