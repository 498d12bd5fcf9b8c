"""Who is enrolled: a CSV file with a column `student`, and more if there is more to say."""

import csv
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from coursework import normalise

PLAIN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Student(NamedTuple):
    """One line of the roster.

    `id` is what the student's numbers are drawn from (in the course's normal form), `name` a
    word for files and for nbgrader, made from it, and `fields` the line as it stands.
    """

    id: str
    name: str
    fields: dict


def read(path):
    """Return the students on a roster, in its order.

    Raises
    ------
    ValueError
        If there is no such file, no column `student`, no student, or one student twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"roster {path} is not there; give a CSV file with a column 'student'")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"roster {path} is no CSV file in UTF-8: {error}") from None
    if not lines or "student" not in lines[0]:
        found = ", ".join(map(str, lines[0])) if lines else "no line"
        raise ValueError(f"roster {path} needs a column 'student' and a line each; found: {found}")
    students = [_student(line, path) for line in lines if any(line.values())]
    seen = {}
    for student in students:
        if student.id in seen:
            raise ValueError(f"roster {path} names {student.id!r} twice; each student once")
        seen[student.id] = student
    return students


def _student(line, path):
    fields = {str(key): value or "" for key, value in line.items() if isinstance(value, str)}
    student = normalise(fields.get("student", ""))
    if not student or not student.isprintable():
        raise ValueError(f"roster {path} has a line without a readable id: {fields}")
    return Student(student, safe_name(student), fields)


def safe_name(student):
    """Return a name for files and patterns: the id itself, or one made from it."""
    if PLAIN.fullmatch(student) and ".." not in student:
        return student
    # Made from the id alone, so that it stays the same when the roster grows.
    readable = re.sub(r"[^a-z0-9]+", "-", student).strip("-")[:24]
    return f"{readable or 'student'}-{hashlib.sha256(student.encode()).hexdigest()[:10]}"
