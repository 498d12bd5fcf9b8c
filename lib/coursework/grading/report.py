"""What is made of the gradebook: the table, a page for each student, uploads for other systems."""

import csv
import html
import io
import json
import math
import zipfile
from collections import Counter
from pathlib import Path

import nbformat

from coursework import normalise
from coursework.grading import outputs, roster
from coursework.grading.course import judge_digest, rules_of, write_whole
from coursework.grading.source import grade_id

STATUSES = ("graded", "incomplete", "missing", "late", "rejected", "failed", "pending")
HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"


# The table


def rows(course, state):
    """Return everybody's line of the table as dicts."""
    scores, digest = course.book.scores(course.assignment), judge_digest(course.assignment)
    strangers = course.book.all("strangers", course.assignment).get("", {}).get("names", [])
    same = (state, scores, digest, strangers)
    return [_row(course, student, *same) for student in course.students]


def _row(course, student, state, scores, digest, strangers):
    scores = scores.get(student.name, {})
    choice, record = state.chosen[student.id], state.records.get(student.id)
    notes, doubts = list(choice.notes), [*choice.doubts, *state.flags.get(student.id, [])]
    status = choice.status
    if record:
        notes, doubts = notes + record["notes"], doubts + record["doubts"]
        status = record["status"]
        if record["judge"] != digest or record["source"] != course.source.digest:
            notes.append("graded with an earlier source or check")
        if status == "failed" and scores:
            doubts.append("the points are those of an earlier file")
        elif record["digest"] != choice.digest:
            doubts.append("the points are those of another file than the one that counts now")
    elif status == "ready":
        status, notes = "pending", [*notes, "not graded yet"]
    if status == "missing" and strangers:
        files = outputs.one_line(", ".join(strangers), 80)
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
    counts = Counter(entry["status"] for entry in table)
    lines = [", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])]
    waiting = sum(entry["needs_human"] == "yes" for entry in table)
    lines.append(f"{waiting} of {len(table)} wait for a person (column needs_human)")
    odd = [entry for entry in table if entry["status"] != "graded" or entry["reason"]]
    width = min(30, max((len(entry["student"]) for entry in odd), default=0))
    for entry in odd[:40]:
        name = entry["student"].ljust(width)
        lines.append(f"  {name}  {entry['status']:<10}  {entry['points']:>5}  {entry['reason']}")
    if len(odd) > 40:
        lines.append(f"  … and {len(odd) - 40} more in the table")
    names = course.book.all("strangers", course.assignment).get("", {}).get("names", [])
    if names:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        lines.append(f"belong to nobody on the roster: {', '.join(names[:10])}{more}")
    old = sum("graded with an earlier source or check" in entry["reason"] for entry in table)
    if old:
        words = "were graded with an earlier source or check; --regrade grades them again"
        lines.append(f"{old} {words}")
    out = course.out
    lines.append(f"sandbox: {walls}")
    lines.append(f"grades: {out / 'grades.csv'}   feedback: {out / 'feedback'}")
    lines.append(f"gradebook: {out / 'gradebook.db'} (nbgrader, assignment {course.assignment})")
    return "\n".join(lines)


# The notebook for the formgrader, and the page for the student


def fill(course, rebuilt, outcome):
    """Return the rebuilt notebook with what its cells have shown, and a verdict at each check."""
    checks = {g.grade_id: g for g in course.source.graded if not g.by_person}
    for cell in rebuilt.notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.outputs = outcome.shown.get(cell["id"], [])
        if grade_id(cell) in checks:
            label, result = checks[grade_id(cell)].label, outcome.results[grade_id(cell)]
            text = f"Part {label}: {result.message}\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    return rebuilt.notebook


def _graded_path(course, student):
    folder = course.out / "autograded" / student.name / course.assignment
    return folder / f"{course.assignment}.ipynb"


def write_notebook(course, student, notebook):
    """Write the notebook that the formgrader shows."""
    write_whole(_graded_path(course, student), nbformat.writes(notebook))


def page_path(course, student):
    """Return where a student's page is."""
    folder = course.out / "feedback" / student.name / course.assignment
    return folder / f"{course.assignment}.html"


def write_pages(course, state, table):
    """Write a page for each student: receipt, points, words, and the notebook as it ran."""
    scores = course.book.scores(course.assignment)
    for student, row in zip(course.students, table, strict=True):
        choice, record = state.chosen[student.id], state.records.get(student.id)
        # Of what was found between students nothing is said here.
        lines = [f"Points: {row['points'] or 'none yet'} of {row['max']}"]
        lines += [f"Late: {row['late']}"] * bool(row["late"])
        if choice.digest:
            lines.append(f"Received: {choice.name}, handed in {choice.time}")
            lines.append(f"SHA-256 of it: {choice.digest}")
        notes = dict.fromkeys([*choice.notes, *(record["notes"] if record else [])])
        lines += [f"Note: {note}" for note in notes]
        lines += [f"Not graded by a person yet: {row['waiting']}"] * bool(row["waiting"])
        path, cells = _graded_path(course, student), []
        if record and record["status"] != "failed" and path.exists():
            cells = nbformat.read(path, as_version=4).cells
        body = [_element("p", line) for line in lines]
        own = scores.get(student.name, {})
        body += [_shown(cell, own.get(grade_id(cell)), course) for cell in cells]
        title = f"{course.assignment}: {row['status']}"
        text = _page(title, "".join(body))
        path = page_path(course, student)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)


def _page(title, body):
    """Return a page that runs nothing and fetches nothing: all that others wrote is escaped."""
    style = (HERE / "feedback.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta '
        f'http-equiv="Content-Security-Policy" content="{POLICY}"><style>{style}</style>'
        f"{_element('title', title)}</head><body>{_element('h1', title)}{body}</body></html>\n"
    )


def _element(tag, text, kind=""):
    text = html.escape(outputs.plain(text, 20 * outputs.LONGEST))
    return f"<{tag}{f' class={kind}' if kind else ''}>{text}</{tag}>"


def _shown(cell, score, course):
    """Return a cell as a piece of a page."""
    parts = [_element("pre", cell.source, cell.cell_type)]
    bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
    for output, data in zip(cell.get("outputs", []), bundles, strict=True):
        if not data:
            parts.append(_element("pre", output.get("text", ""), "output"))
    for data in [*bundles, *cell.get("attachments", {}).values()]:
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                parts.append(f'<img alt="picture" src="data:{kind};base64,{data[kind]}">')
        parts.append(data.get("text/html", ""))  # of our own making: see outputs.clean
    if score is not None and grade_id(cell):
        points, waiting, _, comment = score
        words = "not graded by a person yet" if waiting else f"{number(points)} points"
        parts.append(_element("p", words, "points"))
        if comment:
            parts.append(_element("p", comment, "comment"))
    return f"<section>{''.join(parts)}</section>"


# Uploads


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
        own, open_parts = row["student"].removeprefix("'"), row["waiting"]
        if row["status"] == "missing":
            why = "" if zero else "missing"
        elif row["status"] in ("graded", "incomplete"):
            why = f"waits for a person: {open_parts}" if open_parts and not partial else ""
        else:
            why = row["status"]
        if why or row["points"] == "":
            left[own] = why or "no points"
        else:
            points[own] = row["points"]
    return points, left


def filled(export, column, match, names, points, overwrite=False):
    """Return lines of another system's own export with one column filled in.

    Parameters
    ----------
    export : path
        What the other system exported.
    column : str
        The heading of the column to fill, or its beginning.
    match : str
        The column that holds the roster's ids, or e-mail addresses.
    names : dict
        What may stand in `match` → id.
    points : dict
        Id → points.
    overwrite : bool
        Also where other points stand already.

    Returns
    -------
    lines : list of dict
    left : dict
        Id → why there are points that went nowhere.
    """
    lines, columns = roster.read_table(export, "the export")
    if match not in columns:
        raise ValueError(f"{export} has no column {match!r}; it has: {', '.join(columns[:8])}")
    fits = [c for c in columns if c == column] or [c for c in columns if c.startswith(column)]
    if len(fits) != 1:
        raise ValueError(f"the column {column!r} fits {len(fits)} columns of {export}, not one")
    left, made = dict.fromkeys(points, "not in the export"), []
    for line in lines:
        own = names.get(normalise(line.get(match, "")))
        if own not in points:
            # "Points Possible" belongs to Canvas's format and stays.
            if str(line.get("Student", "")).strip().startswith("Points Possible"):
                made.append(line)
            continue
        there = line.get(fits[0], "").strip()
        if there and not overwrite and not _same(there, points[own]):
            left[own] = f"{there} stands there already, not {points[own]}"
            continue
        del left[own]
        made.append(line | {fits[0]: points[own]})
    return [{c: line.get(c, "") for c in columns} for line in made], left


def _same(text, points):
    try:
        return float(text.replace(",", ".")) == float(points)
    except ValueError:
        return text in ("-", "")


def gradescope(table, course, state, points):
    """Return lines in the columns of Gradescope's own table, and results for its autograder.

    Returns
    -------
    lines : list of dict
    results : dict
        E-mail address → what Gradescope takes as results.json.
    """
    lines, results = [], {}
    for student, row in zip(course.students, table, strict=True):
        email, record = student.fields.get("email", "").strip(), state.records.get(student.id)
        worth, given = course.assignment, points.get(student.id)
        names = {"First Name": "first_name", "Last Name": "last_name"}
        line = {name: field(student.fields.get(key, "")) for name, key in names.items()}
        line |= {"SID": field(student.id), "Email": field(email), worth: given or ""}
        lines.append(line | {f"{worth} - Max Points": row["max"]})
        if not email or given is None:
            continue
        tests = [
            {
                "name": f"Part {g.label}",
                "score": float(row[g.label] or 0),
                "max_score": g.points,
                "output": (record or {"messages": {}})["messages"].get(g.grade_id, ""),
            }
            for g in course.source.graded
        ]
        if row["late"]:
            tests.append({"name": "Late", "score": float(row["late"]), "max_score": 0})
        notes = "; ".join(record["notes"] if record else state.chosen[student.id].notes)
        results[email.lower()] = {"output": notes, "output_format": "text", "tests": tests}
    return lines, results


def write_autograder(path, results):
    """Write the zip file that Gradescope takes as an autograder; it runs no student's code."""
    files = {
        "setup.sh": "#!/bin/sh\nexit 0\n",
        "run_autograder": (HERE / "gradescope.py").read_text(encoding="utf-8"),
        "grades.json": json.dumps(results, indent=1),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16  # they are executed there
            archive.writestr(entry, text)
