"""nbgrader's gradebook, which is the one truth of a course, beside the files that were handed in.

Our own entries (receipts, what came of each submission, the rules for late ones) are a table in it,
written in the same transaction as the grades. nbgrader is called by its API and its preprocessors,
which leave the process as it is; its converters change the folder of the whole process.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbgrader import preprocessors as steps
from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

# A stub that runs: the check below it then says that there is no answer yet.
STUB = "# YOUR CODE HERE"
# In the order of `nbgrader generate_assignment`, without its header.
RELEASE = (
    *(steps.ClearSolutions, steps.LockCells, steps.CheckCellMetadata, steps.ClearOutput),
    *(steps.ClearHiddenTests, steps.ClearMarkScheme, steps.ComputeChecksums),
)


SCORES = """
SELECT s.student_id, c.name, g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade,
    (SELECT m.manual_comment FROM comment m JOIN base_cell b ON m.cell_id = b.id
     WHERE m.notebook_id = n.id AND b.name = c.name)
FROM grade g JOIN base_cell c ON g.cell_id = c.id JOIN submitted_notebook n ON g.notebook_id = n.id
JOIN submitted_assignment s ON n.assignment_id = s.id JOIN assignment a ON s.assignment_id = a.id
WHERE a.name = :a"""


def release(notebook):
    """Return what nbgrader makes of a source notebook for students.

    Raises
    ------
    RuntimeError, nbformat.ValidationError
        If a region is not closed, or a cell's metadata is wrong or repeated.
    """
    notebook, resources = nbformat.from_dict(notebook), {"nbgrader": {}}
    for make in RELEASE:
        preprocessor = make(parent=None)
        preprocessor.log.setLevel(logging.ERROR)
        if make is steps.ClearSolutions:
            preprocessor.code_stub = {"python": STUB}
        notebook, resources = preprocessor.preprocess(notebook, resources)
    return notebook


class Book:
    """The gradebook of a course folder, open: see `opened`."""

    def __init__(self, out):
        path = Path(out) / "gradebook.db"
        self.url = f"sqlite:///{path}"
        if not path.exists():
            _create(path)
        self.nbgrader = Gradebook(self.url)
        self.db = self.nbgrader.db
        columns = "kind TEXT, assignment TEXT, student TEXT, item TEXT, value TEXT"
        key = "PRIMARY KEY (kind, assignment, student, item)"
        self.db.execute(text(f"CREATE TABLE IF NOT EXISTS coursework ({columns}, {key})"))
        self.db.commit()

    def put(self, kind, assignment, student, item, value):
        """Store a value (without a commit)."""
        values = {"k": kind, "a": assignment, "s": student, "i": item, "v": json.dumps(value)}
        self.db.execute(text("INSERT OR REPLACE INTO coursework VALUES (:k,:a,:s,:i,:v)"), values)

    def drop(self, kind, assignment, student):
        """Remove the values of a student (without a commit)."""
        where = "kind = :k AND assignment = :a AND student = :s"
        values = {"k": kind, "a": assignment, "s": student}
        self.db.execute(text(f"DELETE FROM coursework WHERE {where}"), values)

    def all(self, kind, assignment):
        """Return student → item → value."""
        found = {}
        where = "SELECT student, item, value FROM coursework WHERE kind = :k AND assignment = :a"
        for student, item, value in self.db.execute(text(where), {"k": kind, "a": assignment}):
            found.setdefault(student, {})[item] = json.loads(value)
        return found

    def enter_assignment(self, source):
        """Enter an assignment and return its release.

        Raises
        ------
        ValueError
            If the graded cells are others than those of submissions that are in the gradebook.
        """
        name, digest = source.assignment, source.digest
        made = release(source.notebook)
        if self.all("source", name).get("", {}).get("digest") == digest:
            return made
        resources = {"notebook": name, "assignment": name, "db_url": self.url}
        try:
            self.nbgrader.update_or_create_assignment(name)
            saver = steps.SaveCells(parent=None)
            saver.log.setLevel(logging.ERROR)
            saver.preprocess(nbformat.from_dict(made), {"nbgrader": resources})
        except RuntimeError as error:
            raise ValueError(
                f"{source.path} cannot be released: {error}. If its graded cells were changed "
                "after submissions had been graded, grade into another folder (--out)"
            ) from None
        self.put("source", name, "", "digest", digest)
        self.db.commit()
        self.db.expire_all()
        return made

    def enter(self, source, student, grades, time):
        """Enter the grades of a submission and commit; what people gave stays.

        Parameters
        ----------
        grades : dict
                Grade id → (points or None, words for the comment, needs a person).
        time : datetime
            When it was handed in.

        Returns
        -------
        list of str
            Grade ids in which a person's points stand against new automatic ones.
        """
        name, assignment = student.name, source.assignment
        self.enter_student(student)
        with self.db.no_autoflush:  # nbgrader links its objects before it adds them
            submission = self.nbgrader.update_or_create_submission(assignment, name)
        submission.timestamp = time.replace(tzinfo=None)
        hidden = []
        for grade in submission.notebooks[0].grades:
            points, _, human = grades[grade.name]
            if grade.manual_score is not None and grade.auto_score != points and points is not None:
                hidden.append(grade.name)
            grade.auto_score = points
            grade.needs_manual_grade = human or grade.name in hidden
        for comment in submission.notebooks[0].comments:
            words = grades.get(comment.name, (None, None, False))[1]
            comment.auto_comment = words
        return hidden

    def enter_student(self, student):
        """Enter a student, with the names that the roster gives."""
        keys = ("first_name", "last_name", "email")
        names = {key: student.fields.get(key) or None for key in keys}
        self.nbgrader.update_or_create_student(student.name, lms_user_id=student.id, **names)

    def forget(self, assignment, student):
        """Take a submission out of the gradebook; what was received stays in its folder."""
        with contextlib.suppress(MissingEntry):
            self.nbgrader.remove_submission(assignment, student.name)
        for kind in ("record", "receipt"):
            self.drop(kind, assignment, student.id)
        self.db.commit()

    def scores(self, assignment):
        """Return name → grade id → (score, needs a person, a person's score, a person's comment).

        A person's points come before the automatic ones.
        """
        found = {}
        for student, name, *grade in self.db.execute(text(SCORES), {"a": assignment}):
            auto, manual, extra, waiting, comment = grade
            score = (manual if manual is not None else auto or 0.0) + (extra or 0.0)
            found.setdefault(student, {})[name] = (score, bool(waiting), manual, comment)
        return found


def _create(path):
    """Make an empty gradebook: nbgrader calls alembic by name, which is beside Python."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    code = f"from nbgrader.api import Gradebook\nGradebook({f'sqlite:///{draft}'!r}).close()"
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PATH": search}, check=True)
    draft.rename(path)


@contextlib.contextmanager
def opened(out):
    """Give the `Book` of a course folder.

    Raises
    ------
    ValueError
        If another program has locked it.
    """
    try:
        book = Book(out)
        with contextlib.closing(book.nbgrader):
            yield book
    except OperationalError as error:
        if "locked" not in str(error):
            raise
        raise ValueError(
            f"the gradebook in {out} is in use, perhaps by the formgrader or a database browser: "
            "close it there, and give the same command again; what was graded before is kept"
        ) from None
