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
from traitlets.config import Config
from traitlets.log import get_logger

# In the order of `nbgrader generate_assignment`, without its header.
RELEASE = (
    *(steps.ClearSolutions, steps.LockCells, steps.CheckCellMetadata, steps.ClearOutput),
    *(steps.ClearHiddenTests, steps.ClearMarkScheme, steps.ComputeChecksums),
)
# A stub that runs: the check below it then says that there is no answer yet.
STUB = Config({"ClearSolutions": {"code_stub": {"python": "# YOUR CODE HERE"}}})
NAMES = ("first_name", "last_name", "email")  # what the roster may say of a student
TABLE = """
CREATE TABLE IF NOT EXISTS coursework
(kind TEXT, assignment TEXT, student TEXT, value TEXT, PRIMARY KEY (kind, assignment, student))"""
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
    get_logger().setLevel(logging.ERROR)
    notebook, resources = nbformat.from_dict(notebook), {"nbgrader": {}}
    for step in RELEASE:
        notebook, resources = step(config=STUB).preprocess(notebook, resources)
    return notebook


class Book(Gradebook):
    """The gradebook of a course folder, open: see `opened`."""

    def __init__(self, out):
        path = Path(out) / "gradebook.db"
        if not path.exists():
            _create(path)
        self.url = f"sqlite:///{path}"
        super().__init__(self.url)
        self.db.execute(text(TABLE))
        self.db.commit()

    def put(self, kind, assignment, student, value):
        """Store a value (without a commit)."""
        values = {"k": kind, "a": assignment, "s": student, "v": json.dumps(value)}
        self.db.execute(text("INSERT OR REPLACE INTO coursework VALUES (:k, :a, :s, :v)"), values)

    def all(self, kind, assignment):
        """Return student → value; what belongs to no student stands under the empty id."""
        where = "SELECT student, value FROM coursework WHERE kind = :k AND assignment = :a"
        found = self.db.execute(text(where), {"k": kind, "a": assignment})
        return {student: json.loads(value) for student, value in found}

    def enter_assignment(self, source):
        """Enter an assignment and return its release.

        Raises
        ------
        ValueError
            If it cannot be released, or its graded cells are others than those of submissions
            that are in the gradebook.
        """
        name, digest = source.assignment, source.digest
        resources = {"notebook": name, "assignment": name, "db_url": self.url}
        try:
            made = release(source.notebook)
            if self.all("source", name) == {"": digest}:
                return made
            self.update_or_create_assignment(name)
            steps.SaveCells().preprocess(nbformat.from_dict(made), {"nbgrader": resources})
        except (RuntimeError, nbformat.ValidationError) as error:
            raise ValueError(
                f"{source.path} cannot be released: {error}. If its graded cells were changed "
                "after submissions had been graded, grade into another folder (--out)"
            ) from None
        self.put("source", name, "", digest)
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
        names = {key: student.fields.get(key) or None for key in NAMES}
        self.update_or_create_student(student.name, lms_user_id=student.id, **names)
        with self.db.no_autoflush:  # nbgrader links its objects before it adds them
            submission = self.update_or_create_submission(source.assignment, student.name)
        submission.timestamp = time.replace(tzinfo=None)
        hidden = []
        for grade in submission.notebooks[0].grades:
            points, _, human = grades[grade.name]
            if grade.manual_score is not None and grade.auto_score != points and points is not None:
                hidden.append(grade.name)
            grade.auto_score = points
            grade.needs_manual_grade = human or grade.name in hidden
        for comment in submission.notebooks[0].comments:
            comment.auto_comment = grades.get(comment.name, (None, None, False))[1]
        return hidden

    def forget(self, assignment, student):
        """Take a submission out of the gradebook; what was received stays in its folder."""
        with contextlib.suppress(MissingEntry):
            self.remove_submission(assignment, student.name)
        gone = text("DELETE FROM coursework WHERE assignment = :a AND student = :s")
        self.db.execute(gone, {"a": assignment, "s": student.id})
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
        with Book(out) as book:
            yield book
    except OperationalError as error:
        if "locked" not in str(error):
            raise
        raise ValueError(
            f"the gradebook in {out} is in use, perhaps by the formgrader or a database browser: "
            "close it there, and give the same command again; what was graded before is kept"
        ) from None
