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
import shutil
from pathlib import Path
from typing import NamedTuple

from coursework import engine
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

    `status` is "ready", "missing", "late" or "rejected"; `late` the seconds after the deadline.
    """

    status: str
    digest: str = ""
    name: str = ""
    time: str = ""
    late: float = 0.0
    submission: intake.Submission | None = None
    notes: tuple = ()
    doubts: tuple = ()


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
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(asked.path, place)  # where nbgrader's own tools look for it
            yield Course(out, asked, release, enrolled, book, _secret(out))


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


def _secret(out):
    """Return the course's secret, from which hidden instances are drawn; made at the first time."""
    path = out / "secret"
    if not path.exists():
        write_whole(path, secrets.token_hex(32) + "\n", mode=0o600)
    return path.read_text(encoding="utf-8").strip()


def log(course, what, **more):
    """Write a line into the course's log."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "assignment": course.assignment, "what": what} | more)
    with (course.out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def last_points(course):
    """Return id → points as the log has them last."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (course.out / "log.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["what"] == "points" and entry["assignment"] == course.assignment:
                found[entry["student"]] = entry["after"]
    return found


# Received


def receive(course, files, strangers, policy):
    """Keep what was found in the folder of submissions: files as they are, and receipts.

    `strangers` are the files of nobody; None leaves what is known of them.
    """
    known = course.book.all("receipt", course.assignment)
    for student in course.students:
        found = [(entry, intake.read(entry.path)) for entry in files.get(student.id, [])]
        for entry, submission in found:
            count = rebuild.count_answers(course.release, submission.cells)
            others = {
                other.path.name
                for other, read in found
                if read.digest != submission.digest
                and rebuild.count_answers(course.release, read.cells) is not None
            }
            doubts = [*entry.doubts]
            if others and count is not None:
                names = outputs.one_line(", ".join(sorted(others)), 80)
                doubts.append(f"there were several notebooks: also {names}")
            _keep(course, student, entry.path, submission, doubts, known.get(student.id, {}))
    if strangers is not None:
        course.book.put("strangers", course.assignment, "", "names", strangers)
    rules = rules_of(course) | {k: v for k, v in policy.items() if v is not None}
    course.book.put("policy", course.assignment, "", "rules", rules)
    course.book.db.commit()


def _keep(course, student, path, submission, doubts, known):
    digest = submission.digest
    if not digest:  # a link, a folder: there is nothing to copy
        digest = hashlib.sha256(f"{path.name}{submission.notes}".encode()).hexdigest()
    stamp = intake.time_of(path).astimezone(datetime.UTC).isoformat(timespec="seconds")
    if f"{stamp} {digest}" in known:
        return
    place = received_path(course, student, digest)
    if submission.digest and not place.exists():
        write_whole(place, intake.content(path))
    value = {"name": outputs.one_line(path.name, 80), "doubts": doubts, "notes": submission.notes}
    course.book.put("receipt", course.assignment, student.id, f"{stamp} {digest}", value)
    log(course, "received", student=student.id, name=value["name"], handed_in=stamp, sha256=digest)


def received_path(course, student, digest):
    """Return where a file that was handed in is kept."""
    return course.out / "received" / course.assignment / student.name / f"{digest[:16]}.ipynb"


def rules_of(course):
    """Return the rules for late submissions."""
    found = course.book.all("policy", course.assignment).get("", {}).get("rules", {})
    return {"deadline": None, "grace": 0.0, "late": "accept"} | found


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
    if not text:
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
    files: dict


def survey(course, known=None):
    """Read what was received, and return the `State`; `known` saves reading files again."""
    receipts = course.book.all("receipt", course.assignment)
    files = known.files if known else {}
    chosen, rules = {}, rules_of(course)
    for student in course.students:
        chosen[student.id] = _choose(course, student, receipts.get(student.id, {}), rules, files)
    stored = course.book.all("record", course.assignment)
    records = {student: entry["record"] for student, entry in stored.items()}
    return State(chosen, records, _copies(course, chosen), files)


def _choose(course, student, receipts, rules, files):
    """Return what counts: the newest notebook in which something is answered, and is in time."""
    deadline = _moment(student.fields.get("deadline")) or _moment(rules["deadline"])
    sequence = []
    for item, value in sorted(receipts.items()):
        stamp, digest = item.split(" ")
        if sequence and sequence[-1][1] == digest:
            continue  # the same file once more: the first time counts
        path = received_path(course, student, digest)
        if digest not in files:
            rejected = intake.Submission("rejected", digest, [], value["notes"], [])
            files[digest] = intake.read(path) if path.exists() else rejected
        late = 0.0
        if deadline is not None:
            after = datetime.datetime.fromisoformat(stamp) - deadline
            late = max(0.0, after.total_seconds() - 60 * float(rules["grace"]))
        sequence.append((stamp, digest, value, late, files[digest]))
    if not sequence:
        return Chosen("missing", notes=("nothing was handed in",))
    in_time = [entry for entry in sequence if not entry[3] or rules["late"] != "reject"]
    late = [entry[2]["name"] for entry in sequence if entry not in in_time]
    notes = [f"handed in late and does not count: {name}" for name in late]
    if not in_time:
        return Chosen("late", time=sequence[-1][0], late=sequence[0][3], notes=tuple(notes))

    def rank(entry):
        count = rebuild.count_answers(course.release, entry[4].cells)
        return entry[4].status == "ready", count is not None, bool(count), entry[0]

    best = max(in_time, key=rank)
    stamp, digest, value, late, submission = best
    doubts = list(value["doubts"])
    if best is not in_time[-1]:
        last = in_time[-1]
        why = "; ".join(last[4].notes) if last[4].status != "ready" else "nothing is answered there"
        doubts.append(f"{value['name']} was taken, not {last[2]['name']}: {why}")
    if late:
        notes.append(f"late by {_span(late)}")
    status = "ready" if submission.status == "ready" else "rejected"
    notes += submission.notes
    values = (status, digest, value["name"], stamp, late, submission, tuple(notes), tuple(doubts))
    return Chosen(*values)


def _span(seconds):
    hours = math.ceil(seconds / 360) / 10
    return f"{hours:g} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _copies(course, chosen):
    """Return id → words on who has the same answers; what nobody has written does not count."""
    stubs = {source.grade_id(c): rebuild.squeeze(c.source) for c in course.release.cells}
    known = {text for name, text in stubs.items() if name} | {""}
    owners = {}
    for student, choice in chosen.items():
        texts = []
        for cell in choice.submission.cells if choice.submission else []:
            text = rebuild.squeeze(cell.source)
            answer = cell.grade_id in stubs and cell.grade_id not in (None, "student")
            if answer and text not in known:
                texts.append(f"{cell.grade_id}:{text}")
        written = "\n".join(sorted(texts))
        if len(written) > 150:
            owners.setdefault(written, []).append(student)
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
    texts = [engine.TERM.encode()]
    for name in (*JUDGE, assignment):
        texts.append(Path(engine.__file__).with_name(f"{name}.py").read_bytes())
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
