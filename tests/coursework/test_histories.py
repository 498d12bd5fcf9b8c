"""Grading as a machine with a memory: histories drawn at random, beside a model of what is true.

What a submission is worth is written in it, so that no kernel is needed: everything else is real,
the folders, nbgrader's gradebook, the rows, the log. A history hands files in (anew, empty, broken,
late), grades any part of the class from any folder, kills runs, lets the sandbox fail, gives
people's points, removes by name and changes the rules; after each command the table must say what
the model says.
"""

import functools
import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
import sqlalchemy
import test_grading
from nbgrader import api

from coursework.grading import course as folder_of
from coursework.grading import grade, gradebook, report, roster, sandbox, work

STUDENTS = ("ann", "bob")
HISTORIES = 200
DEADLINE = 1_000_000_000  # seconds; what is handed in later is late
DAY = 86_400


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs but what is on disk."""


class World:
    """A course folder, two folders of submissions, and the model."""

    def __init__(self, base, template, nb):
        self.base, self.nb = base, nb
        shutil.copytree(template, base / "out")
        for name in ("one", "two"):
            (base / name).mkdir()
        self.files = {}  # (folder, student) → (worth, time)
        self.received = {s: set() for s in STUDENTS}  # (time, worth)
        self.graded = dict.fromkeys(STUDENTS)  # worth that was graded last
        self.given = {s: {} for s in STUDENTS}  # cell → a person's points
        self.late = "accept"
        self.clock = DEADLINE - 20 * DAY

    # What happens

    def hand_in(self, folder, student, worth, late):
        """Write a file: worth points in part 2, "empty" as handed out, "broken" no notebook."""
        self.clock += DAY // 24
        time = self.clock + (25 * DAY if late else 0)
        path = self.base / folder / f"{student}.ipynb"
        if worth == "broken":
            path.write_text(f"no notebook {time}", encoding="utf-8")
        else:
            code = None if worth == "empty" else f"rate = {worth}  # {student} {time}"
            test_grading.write_answer(path, self.nb, code, student)
        os.utime(path, (time, time))
        self.files[folder, student] = worth, time

    def examine(self, trouble):
        """Return what stands for `work.side_by_side`: worth as written, and trouble on request."""

        def run(jobs, walls, limits, workers):
            for number, job in enumerate(jobs):
                if trouble == ("kill", number):
                    raise Killed
                if trouble == ("fail", number):
                    yield job.student, RuntimeError("the process that judged it ended")
                    continue
                source = next(e["source"] for e in job.program if e["grade_id"] == "warmup-2")
                worth = float(source.split()[2]) if source.split()[2] != "None" else 0.0
                made = {
                    g.grade_id: work.Result(worth if g.label == "2" else 0.0, "so", empty=not worth)
                    for g in job.graded
                    if not g.by_person
                }
                self.graded[job.student] = worth
                yield job.student, work.Outcome("graded", [], made, {})

        return run

    def grade(self, folder, only, regrade, trouble):
        for (place, student), found in self.files.items():
            if place == folder:
                self.received[student].add(found[::-1])
        try:
            grade.grade(
                self.base / folder, "warmup", self.base.parent / "roster.csv", self.base / "out",
                only=only, regrade=regrade, sources=self.base.parent / "source", progress=False,
                examine=self.examine(trouble),
            )  # fmt: skip
        except Killed:
            return False
        return True

    def update(self):
        sources = self.base.parent / "source"
        out = self.base / "out"
        policy = {"late": self.late, "deadline": "2001-09-09T01:46:40+00:00"}
        grade.update("warmup", self.base.parent / "roster.csv", out, sources=sources, policy=policy)

    def give(self, student, cell, points):
        """Give points as a person does; only where there is a submission in the gradebook."""
        with gradebook.opened(self.base / "out") as book:
            if student not in book.scores("warmup"):
                return
            entry = book.find_grade(cell, "warmup", "warmup", student)
            entry.manual_score, entry.needs_manual_grade = points, False
            book.db.commit()
        self.given[student][cell] = points

    def forget(self, student):
        where = ("warmup", self.base.parent / "roster.csv", self.base / "out")
        grade.forget(student, *where, sources=self.base.parent / "source", yes=True)
        self.received[student], self.graded[student], self.given[student] = set(), None, {}

    # What must be true

    def chosen(self, student):
        """Return (worth, time) of what counts, or None, or "late"."""
        sequence = []
        for time, worth in sorted(self.received[student]):
            if not sequence or (sequence[-1][1], worth) != ("empty", "empty"):
                sequence.append((time, worth))
        in_time = [x for x in sequence if x[0] <= DEADLINE or self.late != "reject"]
        if sequence and not in_time:
            return "late"
        best = [x for x in in_time if x[1] not in ("empty", "broken")]
        best = best or [x for x in in_time if x[1] == "empty"] or in_time
        return (best[-1][1], best[-1][0]) if best else None

    def check(self):
        """Compare the table with the model."""
        rows = {row["student"]: row for row in test_grading.read_table(self.base / "out")}
        assert list(rows) == list(STUDENTS)
        for student, row in rows.items():
            counts, graded = self.chosen(student), self.graded[student]
            parts = [float(row[name] or 0) for name in ("2", "3", "5", "late")]
            if row["points"]:
                assert sum(parts) == pytest.approx(float(row["points"])), row
            assert row["needs_human"] == "yes" or not row["waiting"]
            if graded is None:
                status = {None: "missing", "late": "late"}.get(counts, "pending")
                status = "rejected" if counts and counts[0] == "broken" else status
                assert row["status"] in (status, "failed"), (row, counts)
                assert row["points"] == ("" if status == "pending" else "0"), row
                continue
            points = {"warmup-2-check": graded, "warmup-3-check": 0.0, "warmup-5": 0.0}
            points |= self.given[student]
            total = sum(points.values())
            late = isinstance(counts, tuple) and max(0, counts[1] - DEADLINE)
            rule = 0.0 if self.late in ("accept", "reject") else float(self.late)
            penalty = min(total, rule / 100 * 10 * int(np.ceil((late or 0) / DAY)))
            assert float(row["points"]) == pytest.approx(total - penalty), (row, counts, graded)
            if counts in (None, "late") or counts[0] == "broken":
                assert row["needs_human"] == "yes"


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Sources, roster, a release, and a course folder in which nothing has happened yet."""
    base = tmp_path_factory.mktemp("histories")
    asked, release = test_grading.materials(test_grading.write_source(base / "source"))
    (base / "roster.csv").write_text("student\n" + "\n".join(STUDENTS) + "\n", encoding="utf-8")
    with folder_of.open_course(base / "template", asked, roster.read(base / "roster.csv")):
        pass
    return base, json.loads(json.dumps(release))


def draw(rng, world, what=None):
    """Draw what happens next, and let it happen; tell whether the table was made anew."""
    student, folder = str(rng.choice(STUDENTS)), str(rng.choice(["one", "two"]))
    choices = ["in", "in", "in", "grade", "grade", "grade", "give", "update", "forget"]
    what = what or str(rng.choice(choices))
    if what == "in":
        worth = rng.choice(["1.5", "3", "2", "empty", "broken"])
        world.hand_in(folder, student, str(worth) if worth in ("empty", "broken") else float(worth),
                      rng.random() < 0.2)  # fmt: skip
    elif what == "give":
        cell = str(rng.choice(["warmup-2-check", "warmup-5"]))
        world.give(student, cell, float(rng.integers(0, 4)))
    elif what == "forget" and rng.random() < 0.5:
        world.forget(student)
        world.check()
    elif what == "update":
        world.late = str(rng.choice(["accept", "reject", "10"]))
        world.update()
        world.check()
    elif what == "grade":
        only = [student] if rng.random() < 0.3 else []
        trouble = (str(rng.choice(["kill", "fail"])), int(rng.integers(3)))
        trouble = trouble if rng.random() < 0.4 else None
        if world.grade(folder, only, rng.random() < 0.2, trouble):
            world.check()


OPEN = []  # the path of the gradebook that is open now


def connect():
    connection = sqlite3.connect(OPEN[-1])
    connection.execute("PRAGMA synchronous=OFF")
    return connection


@functools.cache
def one_engine():
    """Return an engine for all gradebooks, one after the other: it compiles nothing twice."""
    pool = sqlalchemy.pool.NullPool
    return sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=pool)


def quick_engine(url, **options):
    OPEN.append(url.removeprefix("sqlite:///"))
    return one_engine()


@pytest.mark.parametrize("part", range(4))
def test_whatever_happens_the_table_says_what_is_true(setting, part, monkeypatch):
    monkeypatch.setattr(sandbox, "choose", lambda: sandbox.Walls("none", None))
    monkeypatch.setattr(os, "fsync", lambda file: None)  # nothing pulls the plug here
    monkeypatch.setattr(api, "create_engine", quick_engine)
    same = gradebook.release(test_grading.materials(setting[0] / "source")[0].notebook)
    monkeypatch.setattr(gradebook, "release", lambda notebook: same)  # once is enough
    if part:
        monkeypatch.setattr(report, "write_pages", lambda *given: None)
    base, nb = setting
    for number in range(HISTORIES // 4):
        rng = np.random.default_rng([part, number])
        world = World(base / f"{part}-{number}", base / "template", nb)
        for _ in range(3):
            draw(rng, world, "in")
        for _ in range(int(rng.integers(3, 8))):
            draw(rng, world)
        # However it ended: grading the rest, in any order, gives the grades that the files earn.
        for folder in rng.permutation(["one", "two"]):
            world.grade(str(folder), [], False, None)
        world.check()
        for student in STUDENTS:
            counts = world.chosen(student)
            if isinstance(counts, tuple) and counts[0] != "broken":
                wanted = 0.0 if counts[0] == "empty" else counts[0]
                assert world.graded[student] == wanted
        shutil.rmtree(world.base)
