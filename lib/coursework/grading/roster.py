"""Who is enrolled: a table with a column `student`, and more if there is more to say."""

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


def read_table(path, what):
    """Return the lines of a table as dicts, and its columns.

    Commas, semicolons or tabulators; UTF-8, UTF-16 with its mark, or what Excel writes.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} {path} is not there; give a CSV file")
    data = path.read_bytes()
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    text = text.replace("\0", "")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        head, *lines = [*csv.reader(text.splitlines(keepends=True), delimiter=delimiter)] or [[]]
    except csv.Error as error:
        raise ValueError(f"{what} {path} is no CSV file: {error}") from None
    columns = [name.strip() for name in head]
    rest = [""] * len(columns)  # of a line that is too short
    return [dict(zip(columns, line + rest, strict=False)) for line in lines if any(line)], columns


def read(path):
    """Return the students on a roster, in its order.

    Raises
    ------
    ValueError
        If there is no such file, no column `student`, no student, or one student twice.
    """
    lines, columns = read_table(path, "roster")
    if not lines or "student" not in columns:
        found = ", ".join(columns) or "no line"
        raise ValueError(f"roster {path} needs a column 'student' and a line each; found: {found}")
    seen = {}
    for line in lines:
        student = normalise(line.get("student", ""))
        if not student or not student.isprintable():
            raise ValueError(f"roster {path} has a line without a readable id: {line}")
        if student in seen:
            raise ValueError(f"roster {path} names {student!r} twice; each student once")
        seen[student] = Student(student, safe_name(student), line)
    return list(seen.values())


def safe_name(student):
    """Return a name for files and patterns: the id itself, or one made from it."""
    if PLAIN.fullmatch(student) and ".." not in student:
        return student
    # Made from the id alone, so that it stays the same when the roster grows.
    readable = re.sub(r"[^a-z0-9]+", "-", student).strip("-")[:24]
    return f"{readable or 'student'}-{hashlib.sha256(student.encode()).hexdigest()[:10]}"
