"""What is made of the gradebook: the table, and a page for each student."""

import csv
import io
import math
from collections import Counter
from pathlib import Path

import jinja2
import nbformat

from coursework.grading import outputs
from coursework.grading.course import judge_digest, last_points, log, rules_of, write_whole
from coursework.grading.source import grade_id

STATUSES = ("graded", "incomplete", "missing", "late", "rejected", "failed", "pending")
OLDER = "graded with an earlier source or check"
# The page runs nothing and fetches nothing; all that others wrote is escaped.
SHEETS = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True,
    autoescape=jinja2.select_autoescape(),
)  # fmt: skip
SHEETS.filters["plain"] = lambda text: outputs.plain(text, 20 * outputs.LONGEST)


# The table


def write_all(course, state, pages=True):
    """Write the log, the table with a line for everybody, and feedback; return the table's rows.

    grades.csv is the assignment that was graded last; the same table stays under its name.
    """
    table = log_changes(course, state)
    for name in (f"grades-{course.assignment}.csv", "grades.csv"):
        write_csv(course.out / name, table)
    if pages:
        write_pages(course, state, table)
    return table


def log_changes(course, state):
    """Write each change of somebody's points into the log, whoever made it; return the rows."""
    table, logged = rows(course, state), last_points(course)
    for row in table:
        own, points = row["student"], row["points"]
        if logged.get(own, "") != points and row["status"] != "missing":
            log(course, "points", student=own, before=logged.get(own, ""), after=points)
    return table


def rows(course, state):
    """Return everybody's line of the table as dicts."""
    scores, digest = course.book.scores(course.assignment), judge_digest(course.assignment)
    same = (state, scores, digest, strangers(course))
    return [_row(course, student, *same) for student in course.students]


def strangers(course):
    """Return the names of the files that belong to nobody."""
    return course.book.all("strangers", course.assignment).get("", [])


def _row(course, student, state, scores, digest, nobodys):
    scores = scores.get(student.name, {})
    choice, record = state.chosen[student.id], state.records.get(student.id)
    notes, doubts = list(choice.notes), [*choice.doubts, *state.flags.get(student.id, [])]
    status = choice.status
    if record:
        notes, doubts = notes + record["notes"], doubts + record["doubts"]
        status = record["status"]
        if record["judge"] != digest or record["source"] != course.source.digest:
            notes.append(OLDER)
        if status == "failed" and scores:
            doubts.append("the points are those of an earlier file")
        elif record["digest"] != choice.digest:
            doubts.append("the points are those of another file than the one that counts now")
    elif status == "ready":
        status, notes = "pending", [*notes, "not graded yet"]
    if status == "missing" and nobodys:
        files = outputs.one_line(", ".join(nobodys), 80)
        doubts.append(f"perhaps among the files that belong to nobody: {files}")
    cells, total, waiting = {}, 0.0, []
    for graded in course.source.graded:
        score, human, given, _ = scores.get(graded.grade_id, (0.0, False, None, None))
        waiting += [graded.label] * human
        # An empty field says that no person has been here yet.
        empty = not scores or (human and graded.by_person and given is None)
        cells[graded.label] = "" if empty else number(score)
        total += 0.0 if empty else score
    maximum = sum(graded.points for graded in course.source.graded)
    penalty = _penalty(choice.late, total, maximum, rules_of(course)["late"])
    final = scores or status in ("missing", "late", "rejected")
    human = bool(waiting or doubts) or status in ("late", "rejected", "failed")
    return {
        "student": field(student.id),
        "status": status,
        "points": number(total - penalty) if final else "",
        "max": number(maximum),
        **cells,
        "late": number(-penalty) if penalty else "",
        "needs_human": "yes" if human else "no",
        "waiting": " ".join(waiting),
        "handed_in": choice.time,
        "walls": field(record["walls"]) if record else "",
        "reason": field("; ".join(dict.fromkeys([*doubts, *notes]))),
    }


def _penalty(seconds, total, maximum, rule):
    if not seconds or rule in ("accept", "reject"):
        return 0.0
    return min(total, float(rule) / 100 * maximum * math.ceil(seconds / 86400))


def number(value):
    """Return a number of points without needless zeros."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def field(text):
    """Return text for a cell of a table, which no spreadsheet takes for a formula."""
    text = outputs.one_line(text, 1000)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_csv(path, lines):
    """Write dicts with the same keys as a CSV file, as a whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_whole(path, text.getvalue())


def summary(course, table, walls):
    """Return what is shown on the screen at the end."""
    counts = Counter(row["status"] for row in table)
    said = {
        "counts": [f"{counts[name]} {name}" for name in STATUSES if counts[name]],
        "waiting": sum(row["needs_human"] == "yes" for row in table),
        "odd": [row for row in table if row["status"] != "graded" or row["reason"]],
        "old": [row for row in table if OLDER in row["reason"]],
        "nobodys": strangers(course),
    }
    sheet = SHEETS.get_template("summary.txt")
    return sheet.render(said, course=course, table=table, walls=walls, older=OLDER)


# The notebook for the formgrader, and the page for the student


def _place(course, step, student, suffix):
    folder = course.out / step / student.name / course.assignment
    return folder / f"{course.assignment}{suffix}"


def write_notebook(course, student, notebook, outcome):
    """Write what the formgrader shows: what the cells have shown, and a verdict at each check."""
    labels, results = {g.grade_id: g.label for g in course.source.graded}, outcome.results.items()
    said = {name: f"Part {labels[name]}: {result.message}" for name, result in results}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            words, shown = said.get(grade_id(cell)), outcome.shown.get(cell["id"], [])
            cell.outputs = [outputs.stream(words)] if words else shown
    write_whole(_place(course, "autograded", student, ".ipynb"), nbformat.writes(notebook))


def write_pages(course, state, table):
    """Write a page for each student: receipt, points, words, and the notebook as it ran."""
    scores, sheet = course.book.scores(course.assignment), SHEETS.get_template("feedback.html")
    for student, row in zip(course.students, table, strict=True):
        choice, record = state.chosen[student.id], state.records.get(student.id)
        path, cells = _place(course, "autograded", student, ".ipynb"), []
        if record and record["status"] != "failed" and path.exists():
            cells = nbformat.read(path, as_version=4).cells
        own = scores.get(student.name, {})
        said = {
            "assignment": course.assignment,
            # Of what was found between students nothing is said here.
            "notes": dict.fromkeys([*choice.notes, *(record["notes"] if record else [])]),
            "cells": [(cell, own.get(grade_id(cell))) for cell in cells],
            "number": number,
        }
        text = sheet.render(said, row=row, choice=choice)
        path = _place(course, "feedback", student, ".html")
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)
