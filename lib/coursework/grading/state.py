"""What is known of each student, on disk, so that a run that is killed goes on where it was."""

import contextlib
import fcntl
import json
import os
from pathlib import Path

from coursework.grading import judging


def folder(out, assignment):
    """Return the folder of the records of an assignment: one small JSON file for each student."""
    return Path(out) / "state" / assignment


def write_whole(path, text):
    """Write a file so that it is there as a whole or as it was, whenever we are killed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def save(out, assignment, student, record):
    """Store what was found for a student. This is the last step: then the student is graded."""
    record = record | {"results": {k: list(v) for k, v in record["results"].items()}}
    text = json.dumps(record, ensure_ascii=True, indent=1)
    write_whole(folder(out, assignment) / f"{student.name}.json", text + "\n")


def load(out, assignment, students):
    """Return id → record of those students who have been graded."""
    found = {}
    for student in students:
        path = folder(out, assignment) / f"{student.name}.json"
        with contextlib.suppress(FileNotFoundError):
            record = json.loads(path.read_text(encoding="utf-8"))
            results = {k: judging.Result(*v) for k, v in record["results"].items()}
            found[student.id] = record | {"results": results}
    return found


def save_flags(out, assignment, flags):
    """Store what was found by comparing the submissions: id → list of words."""
    write_whole(folder(out, assignment) / "flags" / "flags.json", json.dumps(flags, indent=1))


def load_flags(out, assignment):
    """Return what `save_flags` stored; nothing if it never did."""
    try:
        path = folder(out, assignment) / "flags" / "flags.json"
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


@contextlib.contextmanager
def locked(out):
    """Keep the course folder to ourselves.

    Raises
    ------
    ValueError
        If it cannot be written to, or another run is using it.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"the folder {out} cannot be written to: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another run is using {out}; wait until it has ended") from None
        yield
