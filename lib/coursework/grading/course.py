"""A course folder: what was handed in, and what of it counts.

It holds the files as they were received, nbgrader's gradebook, the secret and the log; everything
else in it is made from these and can be thrown away.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import math
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from coursework import engine, words
from coursework.grading import gradebook, intake, outputs, rebuild, source

JUDGE = ("engine", "answers", "expressions", "compare")


class Course(NamedTuple):
    """An open course folder, for one assignment."""

    out: Path
    source: source.Source
    release: dict
    students: list
    book: object
    secret: str

    @property
    def assignment(self):
        """The assignment's name."""
        return self.source.assignment


class Chosen(NamedTuple):
    """What counts of what a student has handed in.

    `status` is "ready", "missing", "late" or "rejected"; `late` the seconds after the deadline;
    `cells` what `intake.read` has read.
    """

    status: str
    digest: str = ""
    name: str = ""
    time: str = ""
    late: float = 0.0
    cells: list = ()
    notes: list = ()
    doubts: list = ()


@contextlib.contextmanager
def open_course(out, asked, enrolled):
    """Give the `Course` in the folder `out`, for as long as no other run uses it.

    Raises
    ------
    ValueError
        If the folder cannot be written to, or another run or program is using it.
    """
    out = Path(out).resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"the folder {out} cannot be written to: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another run is using {out}; wait until it has ended") from None
        with gradebook.opened(out) as book:
            release = book.enter_assignment(asked)
            place = out / "source" / asked.assignment / f"{asked.assignment}.ipynb"
            write_whole(place, asked.path.read_bytes())  # where nbgrader's own tools look for it
            secret = out / "secret"  # from which hidden instances are drawn
            if not secret.exists():
                write_whole(secret, secrets.token_hex(32) + "\n", mode=0o600)
            yield Course(out, asked, release, enrolled, book, secret.read_text().strip())


def write_whole(path, content, mode=0o644):
    """Write a file so that it is there as a whole or as it was, whenever we are killed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    content = content.encode() if isinstance(content, str) else content
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def log(course, what, **more):
    """Write a line into the course's log."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "assignment": course.assignment, "what": what} | more)
    with (course.out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def last_points(course):
    """Return id → points as the log has them last."""
    found, path = {}, course.out / "log.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):  # a full disk tears a line
            entry = json.loads(line)
            if entry["what"] == "points" and entry["assignment"] == course.assignment:
                found[entry["student"]] = entry["after"]
    return found


# Received


def receive(course, files, strangers, policy):
    """Keep what was found in the folder of submissions: files as they are, and receipts.

    `strangers` are the files of nobody; None leaves what is known of them.
    """
    receipts = course.book.all("receipt", course.assignment)
    for student in course.students:
        known = receipts.setdefault(student.id, [])
        found = [(*entry, intake.read(entry[0])) for entry in files.get(student.id, [])]
        notebooks = {
            read.digest: path.name
            for path, _, read in found
            if rebuild.count_answers(course.release, read.cells) is not None
        }
        for path, doubts, read in found:
            others = {name for digest, name in notebooks.items() if digest != read.digest}
            if others and read.digest in notebooks:
                names = outputs.one_line(", ".join(sorted(others)), 80)
                doubts = [*doubts, f"there were several notebooks: also {names}"]
            time = intake.time_of(path).isoformat(timespec="seconds")
            if (time, read.digest) not in [(own["time"], own["digest"]) for own in known]:
                own = {"digest": read.digest, "name": outputs.one_line(path.name, 80), "time": time}
                known.append(own | {"notes": read.notes, "doubts": doubts})
                _keep(course, student, path, own)
        course.book.put("receipt", course.assignment, student.id, known)
    if strangers is not None:
        course.book.put("strangers", course.assignment, "", strangers)
    rules = rules_of(course) | {k: v for k, v in policy.items() if v is not None}
    course.book.put("policy", course.assignment, "", rules)
    course.book.db.commit()


def _keep(course, student, path, own):
    with contextlib.suppress(ValueError):  # a link, a folder: there is nothing to copy
        data, place = intake.content(path), received_path(course, student, own["digest"])
        if not place.exists():
            write_whole(place, data)
    said = {"name": own["name"], "handed_in": own["time"], "sha256": own["digest"]}
    log(course, "received", student=student.id, **said)


def received_path(course, student, digest):
    """Return where a file that was handed in is kept."""
    return course.out / "received" / course.assignment / student.name / f"{digest[:16]}.ipynb"


def rules_of(course):
    """Return the rules for late submissions."""
    rules = course.book.all("policy", course.assignment).get("", {})
    return {"deadline": None, "grace": 0.0, "late": "accept"} | rules


def checked(policy, enrolled):
    """Raise a ValueError for rules that cannot be read."""
    late = policy.get("late")
    percent = str(late or "0").replace(".", "", 1).isdigit()
    if late not in (None, "accept", "reject") and not percent:
        raise ValueError(f"late must be accept, reject or percent for each day, got {late!r}")
    for student in enrolled:
        _moment(student.fields.get("deadline"), f"the roster's deadline of {student.id}")
    _moment(policy.get("deadline"), "deadline")


def _moment(text, what="deadline"):
    """Return the time that a text says; without a zone it is this machine's. None for no text."""
    if not (text or "").strip():
        return None
    try:
        return datetime.datetime.fromisoformat(text.strip()).astimezone(datetime.UTC)
    except ValueError:
        raise ValueError(f"{what} must be like 2026-05-01T23:59, got {text!r}") from None


# What counts


class State(NamedTuple):
    """What is known of everybody: what counts, our record of it, and flags between students."""

    chosen: dict
    records: dict
    flags: dict


def survey(course):
    """Read what was received, and return the `State`."""
    receipts, rules = course.book.all("receipt", course.assignment), rules_of(course)
    chosen = {s.id: _choose(course, s, receipts.get(s.id, []), rules) for s in course.students}
    return State(chosen, course.book.all("record", course.assignment), _copies(course, chosen))


def _choose(course, student, receipts, rules):
    """Return what counts: the newest notebook in which something is answered, and is in time."""
    deadline = _moment(student.fields.get("deadline")) or _moment(rules["deadline"])
    sequence = []
    for receipt in sorted(receipts, key=lambda own: (own["time"], own["digest"])):
        if sequence and sequence[-1].digest == receipt["digest"]:
            continue  # the same file once more: the first time counts
        path, late = received_path(course, student, receipt["digest"]), 0.0
        cells, notes = intake.read(path)[1:] if path.exists() else ([], receipt["notes"])
        if deadline is not None:
            after = datetime.datetime.fromisoformat(receipt["time"]) - deadline
            late = max(0.0, after.total_seconds() - 60 * float(rules["grace"]))
        read = {"notes": [f"late by {_span(late)}"] * bool(late) + notes, "cells": cells}
        sequence.append(Chosen("ready" if cells else "rejected", late=late, **receipt | read))
    if not sequence:
        return Chosen("missing", notes=["nothing was handed in"])
    in_time = [own for own in sequence if not own.late or rules["late"] != "reject"]
    words = "handed in late and does not count"
    refused = [f"{words}: {own.name}" for own in sequence if own not in in_time]
    if not in_time:
        return Chosen("late", time=sequence[-1].time, late=sequence[0].late, notes=refused)

    def rank(own):
        count = rebuild.count_answers(course.release, own.cells)
        return bool(own.cells), count is not None, bool(count), own.time

    best, last = max(in_time, key=rank), in_time[-1]
    if best is not last:
        why = "nothing is answered there" if last.cells else "; ".join(last.notes)
        taken = f"{best.name} was taken, not {last.name}: {why}"
        best = best._replace(doubts=[*best.doubts, taken])
    return best._replace(notes=refused + best.notes)


def _span(seconds):
    hours = math.ceil(seconds / 360) / 10
    return f"{hours:g} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _copies(course, chosen):
    """Return id → words on who has the same answers; what nobody has written does not count."""
    stubs = {source.grade_id(c): rebuild.squeeze(c.source) for c in course.release.cells}
    known, owners = {text for name, text in stubs.items() if name} | {""}, {}
    for student, choice in chosen.items():
        texts = {(cell.grade_id, rebuild.squeeze(cell.source)) for cell in choice.cells}
        texts = {(n, t) for n, t in texts if n and n in stubs and n != "student" and t not in known}
        if sum(len(text) for _, text in texts) > 140:
            owners.setdefault(frozenset(texts), []).append(student)
    flags = {}
    for same in owners.values():
        for own in same if len(same) > 1 else []:
            others = ", ".join(other for other in same if other != own)
            flags[own] = [f"the same answers as {outputs.one_line(others, 80)}"]
    return flags


def is_stale(state, student):
    """Tell whether a student must be graded (again): the submission is new, or grading failed."""
    record = state.records.get(student.id)
    digest = state.chosen[student.id].digest
    return record is None or record["digest"] != digest or record["status"] == "failed"


def judge_digest(assignment):
    """Return a digest of what judges an assignment, to notice when that has changed."""
    texts = [engine.TERM.encode(), words.PATH.read_bytes()]
    for name in (*JUDGE, assignment):
        texts.append(Path(engine.__file__).with_name(f"{name}.py").read_bytes())
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
