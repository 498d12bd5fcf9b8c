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


class Part(NamedTuple):
    """An automatically graded part of an assignment.

    Attributes
    ----------
    data : callable
        Takes a random generator and returns a dict: what `task` puts into its namespace.
    compare : callable
        Returns the right answer and slips (name → what that mistake leads to), or has looked by
        itself: a message (or a pair of it and the name of a slip), or None for right. Takes the
        task and the answer, for a formula also a generator that draws the points to compare at,
        which then come first in what it returns; for a function what it returned in a case, and
        the arguments there.
    title, points, asked, tolerance, hints, what, floor
        As words.toml says.
    """

    data: Callable
    compare: Callable
    title: str
    points: float
    asked: dict
    tolerance: float
    hints: dict
    what: str = ""
    floor: float = 1e-4

    def message(self, own, answer, rng):
        """Return None for a right answer, else what is off."""
        from coursework import compare  # not in the sandbox

        if "function" in self.asked:
            probes = answers.probes(self.asked, own)
            return compare.calls(answer, probes, self._compared, self.tolerance)
        is_formula = "formula" in self.asked
        found = self._compared(own, answer, *[rng] * is_formula)
        if found is None or isinstance(found, str):
            return found
        *given, slips = found
        if is_formula:
            return compare.formula(answer, *given, self.what, self.tolerance, slips, self.floor)
        return compare.number(answer, *given, self.what, self.tolerance, slips)

    def _compared(self, *given):
        """Return what `compare` has found, with the hints for the names of slips."""
        found = self.compare(*given)
        match found:
            case str(message), str(slip):
                return f"{message}: {self._hint(slip)}"
            case *right, dict(slips):
                return *right, [(value, self._hint(slip)) for slip, value in slips.items()]
        return found

    def _hint(self, slip):
        return self.hints[slip.rstrip("0123456789")]


def rounded(value, digits=2):
    """Return a student's numbers with few digits, so that they can be read; no minus zero."""
    return np.round(value, digits) + 0.0


def between(rng, low, high, digits=2):
    """Draw one number for a student."""
    return float(rounded(rng.uniform(low, high), digits))


def normalise(student: str) -> str:
    """Return a student's id in the form that the numbers are drawn by.

    >>> from coursework import normalise
    >>> normalise(" Ada.Lovelace")
    'ada.lovelace'
    """
    return unicodedata.normalize("NFC", str(student)).strip().lower()


def enrol(student: str) -> None:
    """Say whose numbers the tasks of this session are.

    Parameters
    ----------
    student : str
        Your id in the course; anything else makes you the reader, whose numbers the book shows.

    Examples
    --------
    >>> from coursework import enrol
    >>> enrol("reader")
    The numbers below are made for: reader
    """
    global _enrolled
    ok = isinstance(student, str) and student.strip() and not student.startswith(HIDDEN)
    _enrolled = normalise(student) if ok else READER
    print(f"The numbers below are made for: {_enrolled}")


def task(assignment: str, part: str, student: str | None = None) -> types.SimpleNamespace:
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

    Examples
    --------
    >>> from coursework import task
    >>> part = task("warmup", "2", "ada")
    >>> print(part.y, part.u0, part.v0)
    2.32 1.05 0.57
    """
    names = sys._getframe(1).f_globals
    for name in dir(builtins) if names.get("__name__", "__main__") == "__main__" else ():
        if not name.startswith("_"):
            names.pop(name, None)
    return _given(assignment, str(part), _enrolled if student is None else student)[0]


def _given(assignment, part, student):
    """Return the task and the arguments to call a function with."""
    if "OVERPARAM_TASKS" in os.environ:  # the roster's word counts, not the notebook's
        return pickle.loads(Path(os.environ["OVERPARAM_TASKS"]).read_bytes())[assignment, part]
    return asked(assignment, part, student)


def _generator(*words):
    text = json.dumps(words)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def _task(assignment, part, student):
    data = _part(assignment, part).data(_generator(assignment, part, student + TERM))
    return types.SimpleNamespace(assignment=assignment, part=part, student=student, **data)


def _definitions(assignment):
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, got {assignment!r}")
    from coursework import words  # not in the sandbox

    named = vars(importlib.import_module(f"coursework.{assignment}"))
    said = words.SAID[assignment].items()
    return {n: Part(named[f"data_{n}"], named[f"compare_{n}"], **part) for n, part in said}


def _part(assignment, part):
    definitions = _definitions(assignment)
    if part not in definitions:
        known = ", ".join(definitions)
        raise ValueError(f"part must be one of {known} in {assignment}, got {part!r:.40}")
    return definitions[part]


def parts(assignment: str) -> dict[str, tuple[str, float]]:
    """Return the automatically graded parts of an assignment: part → (title, points).

    >>> from coursework import parts
    >>> parts("warmup")["2"]
    ('The rate at late times', 3)
    """
    return {name: (part.title, part.points) for name, part in _definitions(assignment).items()}


def asked(assignment, part, student):
    """Return a student's task, and the arguments that a function is called with (None for none).

    This is all that the sandbox is told of a part.
    """
    own, wanted = _task(assignment, part, normalise(student)), _part(assignment, part).asked
    return own, [probe.arguments for probe in answers.probes(wanted, own)] or None


def encode(part: types.SimpleNamespace, answer: object) -> dict:
    """Return an answer to the task `part` as plain data (see `coursework.answers`).

    >>> from coursework import encode, task
    >>> encode(task("warmup", "2", "ada"), 2.5)
    {'kind': 'number', 'value': 2.5}
    """
    # Asked anew: the task is as it was made, whatever was done to its data since.
    return answers.encode(answer, _given(part.assignment, part.part, part.student)[1])


def judge(assignment: str, part: str, student: str, record: object, seed: str = "") -> Verdict:
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

    Examples
    --------
    >>> from coursework import judge
    >>> judge("warmup", "2", "ada", {"kind": "number", "value": 2.5})
    Verdict(fraction=0.0, message='not yet: your rate is too small by about 70 %.')
    """
    try:
        definition = _part(assignment, part)
        own = _task(assignment, part, normalise(student))
    except Exception:
        return Verdict(0.0, "there is no such part")
    if answers.is_empty(record):
        return Verdict(0.0, "no answer yet.")
    rng = _generator("points", assignment, part, own.student, seed)
    try:
        # Whatever a strange answer leads to in the comparison is its own fault.
        with np.errstate(all="ignore"):
            message = definition.message(own, answers.decode(definition.asked, own, record), rng)
    except answers.AnswerError as error:
        message = str(error)
    except Exception:
        message = "your answer cannot be compared with the correct one"
    if message is None:
        return Verdict(1.0, "right.")
    return Verdict(0.0, f"not yet: {message}{'' if message[-1] in '?.' else '.'}")


def check(part: types.SimpleNamespace, answer: object) -> None:
    """Check an answer: print what is off and by how much, or that it is right.

    While a class is graded nothing is judged here; the answer is displayed as data.

    Parameters
    ----------
    part : types.SimpleNamespace
        What `task` has returned.
    answer : number, array, formula or function
        As the notebook asks for it; None is no answer yet.

    Examples
    --------
    >>> from coursework import check, task
    >>> check(task("warmup", "2", "ada"), 2.5)
    Part 2: not yet: your rate is too small by about 70 %.
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
