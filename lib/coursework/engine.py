"""A student's own task, the check of an answer, and the judge behind both.

While a class is graded, the sandbox holds this module and `answers` only: tasks come in as data,
answers go out as data (see `coursework.grading.work`), and the judge stays outside.
"""

import builtins
import copy
import hashlib
import importlib
import json
import os
import pickle
import sys
import types
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coursework import answers

ASSIGNMENTS = ("warmup", "conservation", "convergence", "bias", "kernel", "edge")
MIME = "application/vnd.overparam.answer+json"
READER = "reader"  # the id of who has none
TERM = ""  # any word here gives every student new numbers: one for each year
HIDDEN = "hidden-"  # ids of instances that only the grading uses begin with this

_enrolled = READER
_recorded = {}  # while a class is graded: part → the function that was the answer


class Verdict(NamedTuple):
    """What is thought of an answer: the fraction of the points, 0 to 1, and words."""

    fraction: float
    message: str


@dataclass(frozen=True)
class Part:
    """An automatically graded part of an assignment.

    Attributes
    ----------
    title, points
        As in the notebook.
    kind : answers.Number, Array, Expression or Function
        What is asked for.
    data : callable
        Takes a random generator and returns a dict: what `task` puts into its namespace.
    compare : callable
        Takes the task and the answer; for a formula a generator that draws the points to compare
        at, for a function its probes. Returns None if the answer is right, else a message.
    """

    title: str
    points: float
    kind: answers.Number | answers.Array | answers.Expression | answers.Function
    data: Callable
    compare: Callable


def rounded(value, digits=2):
    """Return a student's numbers with few digits, so that they can be read; no minus zero."""
    return np.round(value, digits) + 0.0


def normalise(student):
    """Return a student's id in the form that the numbers are drawn by."""
    return unicodedata.normalize("NFC", str(student)).strip().lower()


def enrol(student):
    """Say whose numbers the tasks of this session are.

    Parameters
    ----------
    student : str
        Your id in the course; anything else makes you the reader, whose numbers the book shows.
    """
    global _enrolled
    ok = isinstance(student, str) and student.strip() and not student.startswith(HIDDEN)
    _enrolled = normalise(student) if ok else READER
    print(f"The numbers below are made for: {_enrolled}")


def task(assignment, part, student=None):
    """Return a part's data for a student.

    In a notebook this begins a part: names of Python's own functions that a cell above has
    overwritten, as in ``sum = 0``, mean again what they meant.

    Parameters
    ----------
    assignment, part : str
        For instance ``"warmup"`` and ``"2"``.
    student : str, optional
        An id; by default the one that `enrol` was given. Capitals and blanks around it do not
        matter.

    Returns
    -------
    types.SimpleNamespace
        With `assignment`, `part`, `student` and the data that the notebook names.

    Raises
    ------
    ValueError
        If there is no such assignment or part.
    """
    _restore_builtins(sys._getframe(1).f_globals)
    if "OVERPARAM_TASKS" in os.environ:  # the roster's word counts, not the notebook's
        return _given(assignment, part)[0]
    return _task(assignment, str(part), normalise(_enrolled if student is None else student))


def _restore_builtins(names):
    """Delete from a notebook's names those that hide one of Python's own."""
    if names.get("__name__", "__main__") == "__main__":
        for name in dir(builtins):
            if not name.startswith("_"):
                names.pop(name, None)


def _given(assignment, part):
    """Return, while a class is graded, the task and the arguments to call a function with."""
    return pickle.loads(Path(os.environ["OVERPARAM_TASKS"]).read_bytes())[assignment, str(part)]


def _generator(*words):
    text = json.dumps(words)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def _task(assignment, part, student):
    data = _part(assignment, part).data(_generator(assignment, part, student + TERM))
    return types.SimpleNamespace(assignment=assignment, part=part, student=student, **data)


def _definitions(assignment):
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, got {assignment!r}")
    return importlib.import_module(f"coursework.{assignment}").PARTS


def _part(assignment, part):
    definitions = _definitions(assignment)
    if part not in definitions:
        raise ValueError(
            f"part must be one of {', '.join(definitions)} in {assignment}, got {part!r:.40}"
        )
    return definitions[part]


def parts(assignment):
    """Return the automatically graded parts of an assignment: part → (title, points)."""
    return {name: (part.title, part.points) for name, part in _definitions(assignment).items()}


def asked(assignment, part, student):
    """Return a student's task, and the arguments that a function is called with (None for none).

    This is all that the sandbox is told of a part.
    """
    own, kind = _task(assignment, part, normalise(student)), _part(assignment, part).kind
    is_function = isinstance(kind, answers.Function)
    return own, [probe.arguments for probe in kind.probes(own)] if is_function else None


def encode(part, answer):
    """Return an answer to the task `part` as plain data (see `coursework.answers`)."""
    if "OVERPARAM_TASKS" in os.environ:
        return answers.encode(answer, _given(part.assignment, part.part)[1])
    # Asked anew: the task is as it was made, whatever was done to its data since.
    return answers.encode(answer, asked(part.assignment, part.part, part.student)[1])


def judge(assignment, part, student, record, seed=""):
    """Judge the record of an answer.

    Never raises, runs nothing that the record says, and depends on nothing but its arguments.

    Parameters
    ----------
    assignment, part, student : str
    record : JSON value
        From `encode`, or whatever else came instead.
    seed : str
        Decides, with the student, at which points a formula is compared.

    Returns
    -------
    Verdict
    """
    try:
        definition = _part(assignment, part)
        own = _task(assignment, part, normalise(student))
    except Exception:
        return Verdict(0.0, "there is no such part")
    if answers.is_empty(record):
        return Verdict(0.0, "no answer yet.")
    try:
        # Whatever a strange answer leads to in the comparison is its own fault.
        with np.errstate(all="ignore"):
            given = [own, answers.decode(definition.kind, own, record)]
            if isinstance(definition.kind, answers.Expression):
                given.append(_generator("points", assignment, part, own.student, seed))
            if isinstance(definition.kind, answers.Function):
                given.append(definition.kind.probes(own))
            message = definition.compare(*given)
    except answers.AnswerError as error:
        message = str(error)
    except Exception:
        message = "your answer cannot be compared with the correct one"
    if message is None:
        return Verdict(1.0, "right.")
    return Verdict(0.0, f"not yet: {message}{'' if message[-1] in '?.' else '.'}")


def check(part, answer):
    """Check an answer: print what is off and by how much, or that it is right.

    While a class is graded nothing is judged here; the answer is displayed as data.
    """
    try:
        where = (part.assignment, part.part, part.student)
        record = encode(part, answer)
    except Exception:
        _tell(0.0, "Not checked: part is not what the cell above made. Run that cell again.")
        return
    if "OVERPARAM_TASKS" in os.environ:
        _recorded[where[:2]] = answer
        _show({"assignment": where[0], "part": where[1], "record": record})
        return
    verdict = judge(*where, record)
    _tell(verdict.fraction, f"Part {part.part}: {verdict.message}")


def _tell(fraction, text):
    """Print a verdict; as an error where stock nbgrader (Validate, autograde) looks for one."""
    wrong = "NBGRADER_EXECUTION" in os.environ and fraction < 1
    print(text, file=sys.stderr if wrong else sys.stdout)


def record_hidden(asked):
    """Display the records of the recorded functions at other arguments: the last thing to run.

    Parameters
    ----------
    asked : list
        Of (assignment, part, list of argument lists).
    """
    for assignment, part, instances in asked:
        answer = _recorded.get((assignment, part))
        records = [answers.encode(answer, calls) for calls in instances]
        _show({"assignment": assignment, "part": part, "hidden": records})


def _show(data):
    from IPython.display import display

    display({MIME: copy.deepcopy(data), "text/plain": "recorded"}, raw=True)
