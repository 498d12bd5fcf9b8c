"""The notebook that is run and graded: the instructor's, with the student's answers put in.

Of the submission nothing is used but the text of the cells: no locked cell, no metadata, no
output. So a deleted or edited check is as it was, whatever the student made of it.
"""

from typing import NamedTuple

from coursework.grading import outputs
from coursework.grading.source import grade_id, is_solution

MOST_NAMED = 4  # cells that a note names before it says "…"


class Rebuilt(NamedTuple):
    """A notebook in nbgrader's form, what to run of it, and notes on what was put right.

    `program` lists the code cells in order: `id`, `source`, `stage` (0 before the first part,
    then counted by the cells whose grade id ends in -given) and `grade_id`.
    """

    notebook: dict
    program: list
    notes: list


def rebuild(source, release, cells):
    """Put a student's cells into the release and return what is to be run and graded.

    Parameters
    ----------
    source : Source
        With hidden tests; the locked cells that are run come from here.
    release : NotebookNode
        nbgrader's release of the same notebook: its check sums tell what was left untouched.
    cells : list of intake.Cell
    """
    import nbformat

    locked = {grade_id(c): c.source for c in source.notebook.cells if not is_solution(c)}
    answers, extras = _sort(release, cells)
    made, program, stage = [], [], 0
    for extra in extras.get(None, []):
        _add(made, program, _extra(extra), extra.source, stage)
    for cell in release.cells:
        own = answers.get(grade_id(cell))
        cell, text = _filled(cell, own, locked)
        stage += (grade_id(cell) or "").endswith("-given")
        _add(made, program, cell, text, stage)
        for extra in extras.get(_key(cell), []):
            _add(made, program, _extra(extra), extra.source, stage)
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"
    for entry in program:
        entry["id"] = made[entry.pop("number")]["id"]
    notebook = nbformat.v4.new_notebook(cells=made, metadata=release.metadata)
    return Rebuilt(notebook, program, _notes(release, cells, answers))


def _add(made, program, cell, text, stage):
    if cell.cell_type == "code":
        number, name = len(made), grade_id(cell)
        program.append({"number": number, "source": text, "stage": stage, "grade_id": name})
    made.append(cell)


def _key(cell):
    """Return what a cell of the release is recognised by: its grade id, else its text."""
    return grade_id(cell) or f"text:{_squeeze(cell.source)}"


def _squeeze(text):
    return "".join(text.split())


def _sort(release, cells):
    """Return the answers by grade id, and the student's own cells by what they stand after."""
    keys = {_key(cell): cell for cell in release.cells}
    answers, extras, last = {}, {}, None
    for cell in cells:
        key = cell.grade_id if cell.grade_id in keys else f"text:{_squeeze(cell.source)}"
        if key not in keys:
            extras.setdefault(last, []).append(cell)
        elif grade_id(keys[key]) and is_solution(keys[key]) and key in answers:
            # A copied cell: it runs where it stands, as it did for the student.
            extras.setdefault(last, []).append(cell)
        else:
            last = key
            if grade_id(keys[key]) and is_solution(keys[key]):
                answers[key] = cell
    return answers, extras


def _filled(cell, own, locked):
    """Return a cell of the release with the student's text, and the text that is run."""
    import copy

    cell = copy.deepcopy(cell)
    if cell.cell_type == "code":
        cell.update(outputs=[], execution_count=None)
    if not is_solution(cell):
        return cell, locked.get(grade_id(cell), cell.source) if grade_id(cell) else cell.source
    if own is None:
        return cell, cell.source
    if cell.cell_type == "code" and own.kind != "code":
        return cell, cell.source  # turned into text: there is no code to run
    changed = own.source.strip() != cell.source.strip()
    if changed:
        cell.source = own.source if cell.cell_type == "code" else outputs.clean_text(own.source)
    return cell, own.source


def _extra(cell):
    import nbformat

    if cell.kind == "code":
        return nbformat.v4.new_code_cell(cell.source)
    return nbformat.v4.new_markdown_cell(outputs.clean_text(cell.source))


def _notes(release, cells, answers):
    """Say what differs from a notebook in which only answers were written."""
    known = {grade_id(cell): cell for cell in release.cells if grade_id(cell)}
    given = [cell.grade_id for cell in cells if cell.grade_id in known]
    edited = [
        name
        for name in dict.fromkeys(given)
        if not is_solution(known[name])
        and all(
            _squeeze(c.source) != _squeeze(known[name].source) for c in cells if c.grade_id == name
        )
    ]
    locked = [name for name in known if not is_solution(known[name])]
    wanted = [name for name in known if is_solution(known[name])]
    turned = [
        name
        for name, cell in answers.items()
        if known[name].cell_type == "code" and cell.kind != "code"
    ]
    kinds = {
        "repeated cells, all run in order": [n for n in known if given.count(n) > 1],
        "edited locked cells, restored": edited,
        "deleted locked cells, restored": [n for n in locked if n not in given],
        "missing answer cells": [n for n in wanted if n not in given],
        "answer cells turned into text, not run": turned,
    }
    return [f"{words}: {_list(names)}" for words, names in kinds.items() if names]


def _list(names):
    more = ", …" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
