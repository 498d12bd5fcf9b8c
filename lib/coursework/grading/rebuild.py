"""The notebook that is run and graded: the instructor's, with the student's answers put in.

Of the submission nothing is used but the text of the cells (and pictures attached to it): no locked
cell, no metadata, no output. So a deleted or edited check is as it was, whatever the student made
of it. A cell whose grade id is lost is recognised by its own id, or by where it stands.
"""

import copy
from typing import NamedTuple

import nbformat

from coursework.grading import outputs
from coursework.grading.source import grade_id, is_solution

MOST_NAMED = 4  # cells that a note names before it says "…"


class Rebuilt(NamedTuple):
    """A notebook in nbgrader's form, what to run of it, and what was put right.

    `program` lists the code cells in order: `id`, `source`, `stage` (0 before the first part,
    then counted by the cells whose grade id ends in -given), `grade_id` and `name`. `answered` are
    the grade ids of cells that differ from the release, `extras` the grade ids (or None) that cells
    of the student's own stand after.
    """

    notebook: dict
    program: list
    notes: list
    doubts: list
    answered: list
    extras: list


def rebuild(release, cells):
    """Put a student's cells into the release and return what is to be run and graded.

    Parameters
    ----------
    release : NotebookNode
        nbgrader's release of the notebook: its check sums tell what was left untouched.
    cells : list of intake.Cell
    """
    known = {grade_id(cell): cell for cell in release.cells if grade_id(cell)}
    answers, extras, adopted = _sort(release, cells)
    order = [(None, own) for own in extras.get(None, [])]
    for cell in release.cells:
        order.append((cell, answers.get(grade_id(cell))))
        order += [(None, own) for own in extras.get(_key(cell), [])]
    made, program, places, last, stage = [], [], [], None, 0
    for number, (cell, own) in enumerate(order):
        made.append(_filled(cell, own))
        made[-1]["id"], name = f"cell-{number}", grade_id(made[-1])
        last, stage = name or last, stage + (name or "").endswith("-given")
        places += [last] * (cell is None)
        if made[-1].cell_type == "code":
            words = f"cell {name}" if name else f"a cell added after {last or 'the top'}"
            entry = {"id": made[-1]["id"], "source": made[-1].source, "stage": stage}
            program.append(entry | {"grade_id": name, "name": words})
    notebook = nbformat.v4.new_notebook(cells=made, metadata=release.metadata)
    answered = [name for name, cell in answers.items() if _differs(cell, known[name])]
    notes, doubts = _notes(known, cells, answers, adopted)
    return Rebuilt(notebook, program, notes, doubts, answered, places)


def count_answers(release, cells):
    """Return how many answers differ from the release, or None if no cell is recognised."""
    answers, _, _ = _sort(release, cells)
    stubs = {grade_id(cell): cell for cell in release.cells}
    if not answers:
        return None
    return sum(_differs(a, stubs[n]) for n, a in answers.items() if n != "student")


def _differs(cell, stub):
    return squeeze(cell.source) != squeeze(stub.source)


def squeeze(text):
    """Return text without its blanks."""
    return "".join(text.split())


def _key(cell):
    """Return what a cell of the release is recognised by: its grade id, else its text."""
    return grade_id(cell) or f"text:{squeeze(cell.source)}"


def _sort(release, cells):
    """Return the answers by grade id, the student's own cells by what they stand after, and the
    grade ids of answers that were recognised by something else than their grade id."""
    keys = {_key(cell): cell for cell in release.cells}
    by_text = {squeeze(cell.source): key for key, cell in keys.items()}
    by_id = {cell.get("id"): grade_id(cell) for cell in release.cells if grade_id(cell)}
    answers, extras, last, adopted = {}, {}, None, []
    for cell in cells:
        key = cell.grade_id if cell.grade_id in keys else by_text.get(squeeze(cell.source))
        if key is None and by_id.get(cell.cell_id):
            key = by_id[cell.cell_id]
            adopted.append(key)
        if key is None or (key in answers and is_solution(keys[key])):
            # The student's own, or a copied cell: it runs where it stands, as it did there.
            extras.setdefault(last, []).append(cell)
            continue
        last = key
        if grade_id(keys[key]) and is_solution(keys[key]):
            answers[key] = cell
    _adopt(release, answers, extras, adopted)
    return answers, extras, adopted


def _adopt(release, answers, extras, adopted):
    """Take a cell of one's own for an answer whose cell is lost, if it stands in its place."""
    above = None
    for cell in release.cells:
        name = grade_id(cell)
        lost = name and is_solution(cell) and name not in answers
        own = extras.get(above) or []
        if lost and own and own[0].kind == cell.cell_type:
            answers[name] = own.pop(0)
            adopted.append(name)
            if own:
                extras[name] = own + extras.get(name, [])
            extras.pop(above, None)
        if not lost or name in answers:
            above = _key(cell)


def _filled(cell, own):
    """Return a cell of the release (None: one of the student's own) with the student's text."""
    if cell is None:
        made = nbformat.v4.new_code_cell if own.kind == "code" else nbformat.v4.new_markdown_cell
        cell = made()
    cell = copy.deepcopy(cell)
    if cell.cell_type == "code":
        cell.update(outputs=[], execution_count=None)
    if own is not None and own.source.strip() != cell.source.strip():
        if cell.cell_type == "markdown":
            cell.source = outputs.clean_text(own.source)
            cell.attachments = outputs.attachments(own.attachments)
        elif own.kind == "code":
            cell.source = own.source
    return cell


def _notes(known, cells, answers, adopted):
    """Say what differs from a notebook in which only answers were written: notes, and doubts."""
    if not answers:
        return [], ["no cell of this assignment is recognised in the notebook"]
    texts = {}
    for cell in cells:
        texts.setdefault(cell.grade_id, []).append(squeeze(cell.source))
    locked = {name: squeeze(cell.source) for name, cell in known.items() if not is_solution(cell)}
    edited = [n for n, text in locked.items() if n in texts and text not in texts[n]]
    turned = [n for n, own in answers.items() if own.kind != "code" == known[n].cell_type]
    notes = {
        "repeated cells, all run in order": [n for n in known if len(texts.get(n, ())) > 1],
        "edited locked cells, restored": edited,
        "deleted locked cells, restored": [n for n in locked if n not in texts],
    }
    doubts = {
        "missing answer cells": [n for n in known if n not in locked and n not in answers],
        "answer cells turned into text, not run": turned,
        "answer cells recognised by their place, not by their id": adopted,
    }
    return _words(notes), _words(doubts)


def _words(kinds):
    def some(names):
        return ", ".join(names[:MOST_NAMED]) + ", …" * (len(names) > MOST_NAMED)

    return [f"{words}: {some(names)}" for words, names in kinds.items() if names]
