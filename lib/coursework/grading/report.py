"""What is made of the gradebook: the table, and a page for each student."""

import csv
import html
import io
import math
from collections import Counter
from pathlib import Path
from string import Template

import nbformat

from coursework.grading import outputs
from coursework.grading.course import judge_digest, last_points, log, rules_of, write_whole
from coursework.grading.source import grade_id

STATUSES = ("graded", "incomplete", "missing", "late", "rejected", "failed", "pending")
OLDER = "graded with an earlier source or check"
# A page that runs nothing and fetches nothing; all that others wrote is escaped.
PAGE = Path(__file__).with_name("feedback.html")


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
            notes.append(OLDER)
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
    waiting = sum(entry["needs_human"] == "yes" for entry in table)
    odd = [entry for entry in table if entry["status"] != "graded" or entry["reason"]]
    names = course.book.all("strangers", course.assignment).get("", {}).get("names", [])
    old = sum(OLDER in entry["reason"] for entry in table)
    lines = [
        ", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name]),
        f"{waiting} of {len(table)} wait for a person (column needs_human)",
        *("  {student:<12}  {status:<10}  {points:>5}  {reason}".format(**e) for e in odd[:40]),
        f"  … and {len(odd) - 40} more in the table" * (len(odd) > 40),
        f"belong to nobody on the roster: {', '.join(names[:10])}{' …' * (len(names) > 10)}"
        * bool(names),
        f"{old} were {OLDER}; --regrade grades them again" * bool(old),
        f"sandbox: {walls}",
        f"grades: {course.out / 'grades.csv'}   feedback: {course.out / 'feedback'}",
        f"gradebook: {course.out / 'gradebook.db'} (nbgrader, assignment {course.assignment})",
    ]
    return "\n".join(filter(None, lines))


# The notebook for the formgrader, and the page for the student


def _place(course, step, student, suffix):
    folder = course.out / step / student.name / course.assignment
    return folder / f"{course.assignment}{suffix}"


def write_notebook(course, student, notebook, outcome):
    """Write what the formgrader shows: what the cells have shown, and a verdict at each check."""
    said = {
        g.grade_id: f"Part {g.label}: {outcome.results[g.grade_id].message}"
        for g in course.source.graded
        if not g.by_person
    }
    for cell in notebook.cells:
        if cell.cell_type == "code":
            words, shown = said.get(grade_id(cell)), outcome.shown.get(cell["id"], [])
            cell.outputs = [outputs.stream(words)] if words else shown
    write_whole(_place(course, "autograded", student, ".ipynb"), nbformat.writes(notebook))


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
        path, cells = _place(course, "autograded", student, ".ipynb"), []
        if record and record["status"] != "failed" and path.exists():
            cells = nbformat.read(path, as_version=4).cells
        body = [_element("p", line) for line in lines]
        own = scores.get(student.name, {})
        body += [_shown(cell, own.get(grade_id(cell)), course) for cell in cells]
        title = html.escape(f"{course.assignment}: {row['status']}")
        text = Template(PAGE.read_text(encoding="utf-8")).substitute(
            title=title, body="".join(body)
        )
        path = _place(course, "feedback", student, ".html")
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)


def _element(tag, text, kind=""):
    text = html.escape(outputs.plain(text, 20 * outputs.LONGEST))
    return f"<{tag}{f' class={kind}' if kind else ''}>{text}</{tag}>"


def _shown(cell, score, course):
    """Return a cell as a piece of a page."""
    parts, shown = [_element("pre", cell.source, cell.cell_type)], cell.get("outputs", [])
    parts += [_element("pre", o["text"], "output") for o in shown if "text" in o]
    bundles = [o.get("data", {}) for o in shown]
    for data in [*bundles, *cell.get("attachments", {}).values()]:
        for kind in {"image/png", "image/jpeg"} & set(data):
            parts.append(f'<img alt="picture" src="data:{kind};base64,{data[kind]}">')
        parts.append(data.get("text/html", ""))  # of our own making: see outputs.clean
    if score is not None and grade_id(cell):
        points, waiting, _, comment = score
        words = "not graded by a person yet" if waiting else f"{number(points)} points"
        parts.append(_element("p", words, "points"))
        parts += [_element("p", comment, "comment")] * bool(comment)
    return f"<section>{''.join(parts)}</section>"
