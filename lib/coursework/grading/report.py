"""Tables: grades.csv, and the same points as Canvas and Gradescope want them."""

import csv
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

from coursework import normalise
from coursework.grading import state

STATUSES = ("graded", "incomplete", "missing", "rejected", "failed", "pending")


def row(student, record, scores, source, flags):
    """Return a student's line of grades.csv as a dict.

    Parameters
    ----------
    record : dict or None
        From `state`; None for a student who is not graded yet.
    scores : dict
        Grade id → (score, needs a human), from the gradebook; empty if nothing is there.
    flags : list of str
        What a human should look at, found by comparing the submissions.
    """
    status = record["status"] if record else "pending"
    reasons = [*flags, *(record["notes"] if record else ["not graded yet"])]
    human = bool(flags) or status in ("rejected", "failed")
    cells, total = {}, 0.0
    for graded in source.graded:
        score, waiting = scores.get(graded.grade_id, (0.0, False))
        doubt = record and graded.grade_id in record["results"]
        waiting = waiting or bool(doubt and graded.asked and record["results"][graded.grade_id][2])
        # An empty field says that no human has been here yet.
        cells[graded.label] = "" if waiting and graded.asked is None else number(score)
        human = human or waiting
        total += score
    if status == "pending":
        cells = dict.fromkeys(cells, "")
    return {
        "student": student.id,
        "status": status,
        "points": "" if status == "pending" else number(total),
        "max": number(sum(graded.points for graded in source.graded)),
        **cells,
        "needs_human": "yes" if human else "no",
        "reason": field("; ".join(reasons)),
    }


def number(value):
    """Return a number of points without needless zeros."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def field(text):
    """Return text for a cell of a table, which no spreadsheet takes for a formula."""
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write_csv(path, rows):
    """Write dicts with the same keys as a CSV file, as a whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    state.write_whole(path, text.getvalue())


def read_csv(path, what):
    """Return the lines of a CSV file as dicts, and its columns."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} {path} is not there")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        return list(reader), list(reader.fieldnames or [])


def summary(rows, strangers, walls, out, assignment):
    """Return what is shown on the screen at the end."""
    counts = Counter(entry["status"] for entry in rows)
    lines = [", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])]
    waiting = sum(entry["needs_human"] == "yes" for entry in rows)
    lines.append(f"{waiting} of {len(rows)} wait for a human (column needs_human)")
    odd = [entry for entry in rows if entry["status"] != "graded" or entry["reason"]]
    width = max((len(entry["student"]) for entry in odd), default=0)
    for entry in odd[:40]:
        name = entry["student"].ljust(min(width, 30))
        lines.append(f"  {name}  {entry['status']:<10}  {entry['points']:>5}  {entry['reason']}")
    if len(odd) > 40:
        lines.append(f"  … and {len(odd) - 40} more in the table")
    if strangers:
        lines.append(f"belong to nobody on the roster: {', '.join(strangers[:10])}")
        if len(strangers) > 10:
            lines.append(f"  … and {len(strangers) - 10} more")
    lines.append(f"sandbox: {walls}")
    lines.append(f"grades: {Path(out) / 'grades.csv'}   feedback: {Path(out) / 'feedback'}")
    lines.append(f"gradebook: {Path(out) / 'gradebook.db'} (nbgrader, assignment {assignment})")
    return "\n".join(lines)


def canvas(rows, gradebook, column, match):
    """Return lines for Canvas's *Import Grades*: its own export with one column filled in.

    Parameters
    ----------
    rows : list of dict
        Of grades.csv.
    gradebook : path
        What Canvas's *Export* gave.
    column : str
        The heading of the assignment's column, or its beginning: "Warm-up (1234)".
    match : str
        The column that holds the ids of the roster.

    Returns
    -------
    lines : list of dict
    left_out : list of str
        Ids with points that Canvas's file does not name.
    """
    lines, columns = read_csv(gradebook, "Canvas's export")
    fixed = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    fixed = [name for name in fixed if name in columns]
    if match not in columns or "Student" not in columns or "ID" not in columns:
        raise ValueError(
            f"Canvas's export {gradebook} needs the columns Student, ID and {match!r}; "
            f"it has: {', '.join(columns[:8])}"
        )
    fits = [name for name in columns if name == column] or [
        name for name in columns if name.startswith(column) and name not in fixed
    ]
    if len(fits) != 1:
        raise ValueError(f"--column {column!r} fits {len(fits)} columns of {gradebook}, not one")
    points = {entry["student"]: entry["points"] for entry in rows if entry["points"] != ""}
    made = []
    for line in lines:
        own = normalise(line[match] or "")
        # The line "Points Possible" belongs to Canvas's format and stays.
        possible = (line["Student"] or "").strip().startswith("Points Possible")
        if possible or own in points:
            value = line[fits[0]] if possible else points.pop(own)
            made.append({name: line[name] or "" for name in fixed} | {fits[0]: value})
    return made, sorted(points)


AUTOGRADER = """#!/usr/bin/env python3
# Gives a submission the points that were found elsewhere, by its author's e-mail; runs nothing.
import json
import pathlib
import sys

place = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "/autograder")
known = json.loads((place / "source" / "grades.json").read_text())
users = json.loads((place / "submission_metadata.json").read_text())["users"]
found = [known[u["email"].strip().lower()] for u in users if u["email"].strip().lower() in known]
result = found[0] if found else {"score": 0, "output": "No grade for this e-mail address."}
(place / "results" / "results.json").write_text(json.dumps(result))
"""


def gradescope(rows, records, students, source):
    """Return a table in the columns of Gradescope's own, and the results for its autograder.

    Returns
    -------
    lines : list of dict
    results : dict
        E-mail address → what Gradescope takes as results.json
        (gradescope-autograders.readthedocs.io, specs).
    without : list of str
        Ids of students without an address on the roster.
    """
    maximum = number(sum(graded.points for graded in source.graded))
    fields = {student.id: student.fields for student in students}
    lines, results, without = [], {}, []
    for entry in rows:
        own, email = fields[entry["student"]], fields[entry["student"]].get("email", "").strip()
        lines.append(
            {
                "First Name": own.get("first_name", ""),
                "Last Name": own.get("last_name", ""),
                "SID": entry["student"],
                "Email": email,
                source.assignment: entry["points"],
                f"{source.assignment} - Max Points": maximum,
            }
        )
        if email:
            results[email.lower()] = _result(entry, records.get(entry["student"]), source)
        else:
            without.append(entry["student"])
    return lines, results, without


def _result(entry, record, source):
    """Return a student's results.json: a test for each part."""
    found = record["results"] if record else {}
    tests = [
        {
            "name": f"Part {graded.label}",
            "score": float(entry[graded.label] or 0),
            "max_score": graded.points,
            "output": found[graded.grade_id].message if graded.grade_id in found else "",
            "output_format": "text",
        }
        for graded in source.graded
    ]
    notes = "; ".join(record["notes"]) if record else entry["reason"]
    return {"output": notes, "output_format": "text", "tests": tests}


def write_autograder(path, results):
    """Write the zip file that Gradescope takes as an autograder."""
    files = {
        "setup.sh": "#!/bin/sh\nexit 0\n",
        "run_autograder": AUTOGRADER,
        "grades.json": json.dumps(results, indent=1),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16  # they are executed there
            archive.writestr(entry, text)
