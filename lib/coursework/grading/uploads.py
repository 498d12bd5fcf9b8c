"""What goes to other systems: only what is final, and over nobody's points."""

import json
import zipfile
from pathlib import Path

from coursework import normalise
from coursework.grading import course as folder
from coursework.grading import report, roster, source

AUTOGRADER = Path(__file__).with_name("gradescope.py")
# By which column students are found in the other system's table, and which one is filled in.
SYSTEMS = {"canvas": ("SIS Login ID", ""), "moodle": ("Email address", "Grade"), "gradescope": ()}


def upload(
    system: str, assignment: str, students: str | Path, out: str | Path = "course", *,
    sources: str | Path | None = None, partial: bool = False, zero: bool = False, **fill,
) -> str:  # fmt: skip
    """Write what another system takes, from what the gradebook says now; return words on it.

    Parameters
    ----------
    system : str
        "canvas" or "moodle", whose own export is filled in, or "gradescope", which gets the zip
        file of an autograder that runs no student's code.
    assignment, students, out, sources
        As in `grade.grade`.
    partial, zero : bool
        See `final_points`.
    **fill
        What `filled` takes: `export`, `column`, `match`, `overwrite`.
    """
    asked, enrolled = source.read(assignment, sources), roster.read(students)
    with folder.open_course(out, asked, enrolled) as course:
        state = folder.survey(course)
        table = report.rows(course, state)
        points, left = final_points(table, partial, zero)
        if system == "gradescope":
            path = course.out / f"gradescope-{assignment}.zip"
            text, more = _autograder(path, course, state, table, points)
        else:
            path = course.out / f"{system}-{assignment}.csv"
            text, more = filled(path, enrolled, points, *SYSTEMS[system], **fill)
    named = [f"{student} ({why})" for student, why in sorted((left | more).items())]
    rest = f" and {len(named) - 30} more" if len(named) > 30 else ""
    return f"{text}\nleft out: {', '.join(named[:30]) or 'nobody'}{rest}"


def _autograder(path, course, state, table, points):
    results, left = {}, {}
    for student, row in zip(course.students, table, strict=True):
        email, record = student.fields.get("email", "").strip(), state.records.get(student.id)
        if student.id in points and email:
            choice = state.chosen[student.id]
            results[email.lower()] = _result(row, record, choice, course.source.graded)
        elif student.id in points:
            left[student.id] = "no e-mail"
    files = {
        "setup.sh": "#!/bin/sh\nexit 0\n",
        "run_autograder": AUTOGRADER.read_text(encoding="utf-8"),
        "grades.json": json.dumps(results, indent=1),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16  # they are executed there
            archive.writestr(entry, text)
    return f"{path}: an autograder for {len(results)}", left


def _result(row, record, choice, graded):
    """Return what Gradescope takes as results.json; of what concerns others nothing is said."""
    messages = record["messages"] if record else {}
    tests = [
        {"name": f"Part {g.label}", "score": float(row[g.label] or 0), "max_score": g.points}
        | {"output": messages.get(g.grade_id, "")}
        for g in graded
    ]
    if row["late"]:
        tests.append({"name": "Late", "score": float(row["late"]), "max_score": 0})
    notes = "; ".join(record["notes"] if record else choice.notes)
    return {"output": notes, "output_format": "text", "tests": tests}


def final_points(table, partial=False, zero=False):
    """Return id → points of what is final, and id → why not of what is not.

    Parameters
    ----------
    table : list of dict
    partial : bool
        Take sums in which a person's part is still open as well.
    zero : bool
        Take 0 for who has handed in nothing.
    """
    points, left = {}, {}
    for row in table:
        own, why = row["student"].removeprefix("'"), row["status"]
        if why == "missing" and zero:
            why = ""
        elif why in ("graded", "incomplete"):
            open_parts = row["waiting"] and not partial
            why = f"waits for a person: {row['waiting']}" if open_parts else ""
        if why or row["points"] == "":
            left[own] = why or "no points"
        else:
            points[own] = row["points"]
    return points, left


def filled(path, enrolled, points, by, to, *, export, column="", match="", overwrite=False):
    """Write another system's own export with one column filled in.

    Parameters
    ----------
    path : path
        The file to write.
    enrolled : list of roster.Student
    points : dict
        Id → points.
    by, to : str
        Where students are found and what is filled in, if `match` and `column` do not say it.
    export : path
    column, match : str
        The heading of the column to fill, or its beginning; the column to find students by.
    overwrite : bool
        Also where other points stand already.

    Returns
    -------
    text : str
    left : dict
        Id → why there are points that went nowhere.
    """
    column, match = column or to, match or by
    if not column:
        raise ValueError("name the column of the assignment with --column")
    lines, columns = roster.read_table(export, "the export")
    if match not in columns:
        raise ValueError(f"{export} has no column {match!r}; it has: {', '.join(columns[:8])}")
    fits = [c for c in columns if c == column] or [c for c in columns if c.startswith(column)]
    if len(fits) != 1:
        raise ValueError(f"the column {column!r} fits {len(fits)} columns of {export}, not one")
    names = {normalise(s.fields.get("email", "")): s.id for s in enrolled}
    names |= {s.id: s.id for s in enrolled}
    left, made = dict.fromkeys(points, "not in the export"), []
    for line in lines:
        own, there = names.get(normalise(line[match])), line[fits[0]].strip()
        if own not in points:
            # "Points Possible" belongs to Canvas's format and stays.
            made += [line] * line.get("Student", "").strip().startswith("Points Possible")
        elif there in ("", "-") or overwrite or _same(there, points[own]):
            del left[own]
            made.append(line | {fits[0]: points[own]})
        else:
            left[own] = f"{there} stands there already, not {points[own]}"
    if not made:
        return "nothing to write: no final points, or no id matches (--match)", left
    report.write_csv(path, made)
    return f"{path}: {len(made)} lines", left


def _same(text, points):
    try:
        return float(text.replace(",", ".")) == float(points)
    except ValueError:
        return False
