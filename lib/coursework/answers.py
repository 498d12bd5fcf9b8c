"""Answers as plain data: what a student's kernel sends, and how it is read back.

Encoding happens where the student's code runs, reading back where the grades are made. So the
second trusts nothing that the first wrote.

A record is a dict of JSON values with a `kind`:

- ``none``; ``number`` with `value`; ``array`` with `shape` and flat `values`;
- ``expression`` with `text`; ``calls`` with `results`, a record for each probe of a function;
- ``error`` with the `type` of an exception; ``other`` with the `type` of what cannot be read.

Numbers that are not finite are the strings ``nan``, ``inf`` and ``-inf``.
"""

import builtins
import copy
import math
from typing import NamedTuple

import numpy as np

MOST_NUMBERS = 10_000  # in one array
LONGEST = 4000  # characters of a formula
DEEPEST = 8  # lists inside one another


class AnswerError(ValueError):
    """What keeps a record from being an answer of the kind that is asked, for the student."""


class Probe(NamedTuple):
    """Arguments at which a function is called, and words for them: "for a singular Y"."""

    arguments: tuple
    label: str


def probes(asked, part):
    """Return where a function is called: at the part's `cases`; nowhere if none is asked for.

    What is `asked` for stands in words.toml, also below.
    """
    if "function" not in asked:
        return []
    labels, cases = asked["function"], [tuple(case) for case in part.cases]
    if isinstance(labels, str):
        labels = [labels.format(*case) for case in cases]
    cases = [(case,) for case in part.cases] if asked.get("single") else cases
    return [Probe(case, label) for case, label in zip(cases, labels, strict=True)]


# Encoding, in the student's kernel


def encode(answer, calls=None):
    """Return the record of an answer; never raises but for an interrupt.

    Parameters
    ----------
    answer : object
    calls : list of tuple, optional
        Arguments to call the answer with, where a function is asked for.
    """
    try:
        if calls is not None and callable(answer):
            if _is_stub(answer):
                return {"kind": "none"}
            return {"kind": "calls", "results": [_called(answer, given) for given in calls]}
        return _plain(answer)
    except Exception as error:
        return {"kind": "error", "type": type(error).__name__}


def _is_stub(function):
    """Tell whether nothing but a docstring stands in a function."""
    code, empty = getattr(function, "__code__", None), (lambda: None).__code__
    same = code is not None and code.co_code[::2] == empty.co_code[::2]
    return same and all(constant in (None, function.__doc__) for constant in code.co_consts)


def _called(function, arguments):
    try:
        result = function(*copy.deepcopy(arguments))
        return {"kind": "nothing"} if result is None else _plain(result)
    except (Exception, SystemExit) as error:
        return {"kind": "error", "type": type(error).__name__}


def _plain(answer):
    if answer is None:
        return {"kind": "none"}
    if isinstance(answer, str):
        return {"kind": "expression", "text": answer[: LONGEST + 1]}
    if isinstance(answer, (list, tuple)):
        answer = np.asarray(answer, dtype=object).astype(float)
    if isinstance(answer, (bool, np.bool_, bytes, dict, set, complex)):
        return _other(answer)
    if not isinstance(answer, np.ndarray):
        try:  # numbers of every make, sympy's and numpy's among them
            return {"kind": "number", "value": _safe(float(answer))}
        except (TypeError, ValueError, OverflowError):
            # sympy's own types are not imported here: what it prints is all that is read.
            if hasattr(answer, "free_symbols") and not isinstance(answer, type):
                return {"kind": "expression", "text": str(answer)[: LONGEST + 1]}
            return _other(answer)
    if answer.size > MOST_NUMBERS or answer.dtype.kind not in "iufO" or answer.ndim > DEEPEST:
        name = f"{answer.size} numbers" if answer.size > MOST_NUMBERS else answer.dtype.name
        return {"kind": "other", "type": f"array of {name}"[:40]}
    values = answer.astype(float)
    if values.ndim == 0:
        return {"kind": "number", "value": _safe(float(values))}
    flat = [_safe(float(x)) for x in values.ravel()]
    return {"kind": "array", "shape": list(values.shape), "values": flat}


def _safe(value):
    """Return a float that every JSON reader takes."""
    return value if math.isfinite(value) else str(value)


def _other(answer):
    kind = "function" if callable(answer) and not isinstance(answer, type) else ""
    return {"kind": "other", "type": kind or type(answer).__name__}


# Reading back, where nothing is believed


def decode(asked, part, record):
    """Return the answer that a record holds, in the form that a part's check takes.

    A float, an array, a function (for a formula), or a list of arrays (what a function returned
    at the part's probes).

    Raises
    ------
    AnswerError
        If the record holds no such answer; the message is for the student.
    """
    if not isinstance(record, dict):
        raise AnswerError(UNREADABLE)
    if record.get("kind") == "error":
        raise AnswerError(f"your answer cannot be read ({_name(record)})")
    match asked:
        case {"array": shape}:
            if record.get("kind") != "array":
                raise _refused(f"an array of shape {_shape_text(shape)}", record)
            return _array(record, shape)
        case {"formula": names}:
            return _formula(record, names)
        case {"function": _}:
            return _results(record, len(part.cases))
    return _number(record)


def is_empty(record):
    """Tell whether a record says that there is no answer yet."""
    return isinstance(record, dict) and record.get("kind") == "none"


def raised(record):
    """Return the name of the first exception that a function raised; None if it raised none."""
    results = record.get("results") if isinstance(record, dict) else None
    found = [r for r in results if isinstance(r, dict)] if isinstance(results, list) else []
    return next((_name(r) for r in found if r.get("kind") == "error"), None)


UNREADABLE = "your answer cannot be read"


def _float(value):
    """Return a JSON number as a float; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value) if abs(value) < 1e308 else math.inf


def _number(record):
    kind, shape = record.get("kind"), record.get("shape")
    if kind == "array" and shape in ([1], [1, 1]):
        values = record.get("values")
        record = {"value": values[0] if isinstance(values, list) else None}
    elif kind != "number":
        hint = ": a number is written without quotes and symbols" * (kind == "expression")
        hint += ": the decimal sign is a point, as in 3.14" * (shape == [2])
        raise _refused("one number", record, hint)
    value = _float(record.get("value"))
    if not math.isfinite(value):
        raise AnswerError("your number is not finite (NaN or infinite)")
    return value


def _array(record, shape=None):
    """Return an array of a shape; of any if None is asked for."""
    got, values = record.get("shape"), record.get("values")
    if not isinstance(got, list) or not isinstance(values, list) or len(got) > DEEPEST:
        raise AnswerError(UNREADABLE)
    sizes = [n if type(n) is int and 0 <= n <= MOST_NUMBERS else -1 for n in got]
    if -1 in sizes or len(values) > MOST_NUMBERS or len(values) != math.prod(sizes):
        raise AnswerError(UNREADABLE)
    if shape not in (None, got):
        asked = f"an array of shape {_shape_text(shape)} is asked for"
        raise AnswerError(f"{asked}, and yours has the shape {_shape_text(got)}")
    array = np.array([_float(value) for value in values]).reshape(got)
    if not np.all(np.isfinite(array)):
        raise AnswerError("your array has entries that are NaN or infinite")
    return array


def _formula(record, names):
    from coursework import expressions  # not in the sandbox

    if record.get("kind") == "number":
        record = {"kind": "expression", "text": repr(_number(record))}
    if record.get("kind") != "expression":
        raise _refused("a formula (a sympy expression)", record)
    try:
        return expressions.parse(record.get("text"), names)
    except expressions.ExpressionError as error:
        raise AnswerError(str(error)) from None


def _results(record, count):
    if record.get("kind") != "calls":
        hint = ": give the function itself, without calling it"
        raise _refused("a function", record, hint if record.get("kind") != "other" else "")
    results = record.get("results")
    if not isinstance(results, list) or len(results) != count:
        raise AnswerError(UNREADABLE)
    return [_result(result if isinstance(result, dict) else {}) for result in results]


def _result(record):
    """Return an array, or the words for what a function did instead of returning one."""
    match record.get("kind"):
        case "error":
            return f"raises {_name(record)}"
        case "none" | "nothing":
            return "returns None (does it end with return, not with print?)"
        case "number":
            value = _float(record.get("value"))
            return np.array(value) if math.isfinite(value) else "returns no finite number"
        case "array":
            try:
                return _array(record)
            except AnswerError:
                return "returns an array with entries that are not finite numbers"
    return f"returns {_described(record)}"


def _refused(asked, record, hint=""):
    """Return the error for an answer of another kind, with what may have been meant."""
    return AnswerError(f"{asked} is asked for, and yours is {_described(record)}{hint}")


def _described(record):
    from coursework.words import SAID  # not in the sandbox

    name, kind = _name(record), str(record.get("kind"))
    return SAID["kinds"].get(kind) or SAID["types"].get(name, f"of the type {name}")


def _name(record):
    """Return the name of a type from a record, or words for it if it is no plain name.

    Of exceptions only Python's own (and numpy's one) are named: a student's could say anything.
    """
    name = str(record.get("type"))[:41]
    plain = len(name) <= 40 and name.isascii() and name.replace(" ", "").isalnum()
    known = hasattr(builtins, name) or name == "LinAlgError" or record.get("kind") != "error"
    return name if plain and known else "unknown"


def _shape_text(shape):
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
