"""Release the assignments: the students' notebooks from their private sources.

    python book/_tools/assignments.py [names]    write book/assignments/NAME.ipynb, executed

nbgrader's own preprocessors take the solutions out of
book/assignments/private/source/NAME/NAME.ipynb, lock the cells and put in the check sums; the
sources themselves are executed and normalised first (book/_tools/notebooks.py).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import notebooks
from nbformat import NotebookNode

from coursework.grading import gradebook

ROOT = notebooks.ROOT
RELEASED = ROOT / "book" / "assignments"


def release(source: NotebookNode) -> NotebookNode:
    """Return the student's notebook of a source notebook, not executed.

    Raises
    ------
    RuntimeError, nbformat.ValidationError
        From nbgrader, if a region is not closed, or a cell's metadata is wrong or repeated.
    """
    return notebooks.normal_form(gradebook.release(source))


def same_cells(notebook: NotebookNode, other: NotebookNode) -> bool:
    """Tell whether two notebooks agree but for their outputs."""

    def cells(nb):
        return [(c.id, c.cell_type, c.source, c.metadata) for c in nb.cells]

    return cells(notebook) == cells(other)


def names() -> list[str]:
    """Return the names of the assignments that have a source."""
    return [path.stem for path in notebooks.private_notebooks()]


def source(name: str) -> Path:
    """Return the source notebook of an assignment."""
    return ROOT / notebooks.PRIVATE / name / f"{name}.ipynb"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="default: all")
    chosen = parser.parse_args(arguments).names or names()
    for name in chosen:
        if not source(name).is_file():
            parser.error(f"{source(name).relative_to(ROOT)}: no such source")
    if notebooks.write([source(name) for name in chosen]):
        return 1
    paths = []
    for name in chosen:
        path, notebook = RELEASED / f"{name}.ipynb", release(notebooks.read(source(name)))
        if not path.is_file() or not same_cells(notebook, notebooks.read(path)):
            path.write_text(notebooks.as_text(notebook), encoding="utf-8")
        paths.append(path)
    return notebooks.write(paths)


if __name__ == "__main__":
    sys.exit(main())
