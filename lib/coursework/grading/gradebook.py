"""nbgrader: its course folder, gradebook and feedback. Imported only when grades are made."""

import contextlib
import logging
import shutil
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    GetGrades,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from nbgrader.utils import is_locked
from traitlets import Dict, List
from traitlets.config import Config

# A stub that runs: the check below it then says that there is no answer yet.
STUB = "# YOUR CODE HERE"


class PutOutputs(NbGraderPreprocessor):
    """Stands where nbgrader would execute the notebook: puts in what came out of the sandbox."""

    outputs = Dict(help="cell id → outputs").tag(config=True)

    def preprocess_cell(self, cell, resources, cell_index):
        """Give a code cell its outputs."""
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(o) for o in self.outputs.get(cell.id, [])]
        return cell, resources


class HideTests(ClearHiddenTests):
    """Leaves the hidden tests out of the feedback; what students write is not searched."""

    display_data_priority = List(help="not used; HTMLExporter sets it").tag(config=True)

    def preprocess_cell(self, cell, resources, cell_index):
        """Clear a locked cell."""
        if cell.cell_type == "code" and is_locked(cell):
            self._remove_hidden_test_region(cell)
        return cell, resources


def course_directory(out, assignment, name="*"):
    """Return nbgrader's idea of the course folder `out`, for one assignment and student."""
    return CourseDirectory(root=str(Path(out).resolve()), assignment_id=assignment, student_id=name)


def open_gradebook(out):
    """Return nbgrader's gradebook of a course folder, to be used in a `with`."""
    return Gradebook(course_directory(out, "").db_url)


def _start(converter, log):
    converter.log = logging.getLogger("coursework.grading.nbgrader")
    converter.force = True
    try:
        converter.start()
    except NbGraderException as error:
        raise RuntimeError(f"nbgrader failed; its messages are in {log}") from error


def release(out, source, log):
    """Enter an assignment into the gradebook and return nbgrader's release of it.

    Raises
    ------
    ValueError
        If the graded cells are others than those of submissions that are in the gradebook.
    """
    folder = Path(out) / "source" / source.assignment
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source.path, folder / f"{source.assignment}.ipynb")
    config = Config({"ClearSolutions": {"code_stub": {"python": STUB}}})
    courses = course_directory(out, source.assignment)
    try:
        _start(GenerateAssignment(coursedir=courses, config=config), log)
    except RuntimeError as error:
        raise ValueError(
            f"{source.path} cannot be released: {error}. If its graded cells were changed after "
            f"submissions had been graded, grade into another folder than {out} (--out)"
        ) from None
    path = Path(out) / "release" / source.assignment / f"{source.assignment}.ipynb"
    return nbformat.read(path, as_version=4)


def enter_student(out, student):
    """Enter a student into the gradebook, with the names that the roster gives."""
    fields = {key: student.fields.get(key) or None for key in ("first_name", "last_name", "email")}
    with open_gradebook(out) as gradebook:
        gradebook.update_or_create_student(student.name, lms_user_id=student.id, **fields)


def autograde(out, assignment, student, notebook, outputs, log):
    """Enter a run notebook into the gradebook, replacing what was there of this student.

    Parameters
    ----------
    notebook : NotebookNode
        From `rebuild`, without outputs.
    outputs : dict
        Cell id → list of outputs; that of a check cell ends with the points, as nbgrader wants.
    """
    folder = Path(out) / "submitted" / student.name / assignment
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{assignment}.ipynb")
    enter_student(out, student)
    courses = course_directory(out, assignment, student.name)
    converter = Autograde(coursedir=courses, config=Config({"PutOutputs": {"outputs": outputs}}))
    converter.autograde_preprocessors = [PutOutputs, SaveAutoGrades, CheckCellMetadata]
    # nbgrader enters an existing student without names otherwise.
    _start(converter, log)
    enter_student(out, student)


def forget(out, assignment, student):
    """Take a student's submission out of the gradebook and the course folder."""
    enter_student(out, student)
    with open_gradebook(out) as gradebook, contextlib.suppress(MissingEntry):
        gradebook.remove_submission(assignment, student.name)
    for step in ("submitted", "autograded", "feedback"):
        shutil.rmtree(Path(out) / step / student.name / assignment, ignore_errors=True)


def scores(out, assignment, names=None):
    """Return name → grade id → (score, needs a human), as the gradebook has it now.

    A human's points come before the automatic ones. With `names` only these students are read.
    """
    found = {}
    with open_gradebook(out) as gradebook:
        if names is None:
            submissions = gradebook.assignment_submissions(assignment)
        else:
            submissions = [_submission(gradebook, assignment, name) for name in names]
        for submission in filter(None, submissions):
            found[submission.student.id] = {
                grade.name: (float(grade.score), bool(grade.needs_manual_grade))
                for notebook in submission.notebooks
                for grade in notebook.grades
            }
    return found


def _submission(gradebook, assignment, name):
    try:
        return gradebook.find_submission(assignment, name)
    except MissingEntry:
        return None


def feedback(out, assignment, student, log):
    """Let nbgrader write a student's feedback page, and return its path.

    It is not to be shown before `page.disarm` has been there.
    """
    from nbconvert.exporters import HTMLExporter

    courses = course_directory(out, assignment, student.name)
    config = Config({"HTMLExporter": {"sanitize_html": True, "embed_images": True}})
    converter = GenerateFeedback(coursedir=courses, config=config)
    converter.exporter_class = HTMLExporter
    converter.preprocessors = [GetGrades, HideTests]
    _start(converter, log)
    return feedback_path(out, assignment, student)


def feedback_path(out, assignment, student):
    """Return where a student's feedback page is."""
    return Path(out) / "feedback" / student.name / assignment / f"{assignment}.html"
