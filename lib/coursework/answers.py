"""Answers as plain data: what a student's kernel sends, and how it is read back.

Encoding happens where the student's code runs, reading back where the grades are made. So the
second trusts nothing that the first wrote.

A record is a dict of JSON values with a `kind`:

- ``none``; ``number`` with `value`; ``array`` with `shape` and flat `values`;
- ``expression`` with `text`; ``calls`` with `results`, a record for each probe of a function;
- ``error`` with the `type` of an exception; ``other`` with the `type` of what cannot be read.

Numbers that are not finite are the strings ``nan``, ``inf`` and ``-inf``.
"""

import copy
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coursework import expressions

MOST_NUMBERS = 10_000  # in one array
DEEPEST = 8  # lists inside one another


class AnswerError(ValueError):
    """What keeps a record from being an answer of the kind that is asked, for the student."""


class Probe(NamedTuple):
    """Arguments at which a function is called, and words for them: "for a singular Y"."""

    arguments: tuple
    label: str


@dataclass(frozen=True)
class Number:
    """An answer that is one number."""


@dataclass(frozen=True)
class Array:
    """An answer that is an array; `shape` takes the part's data."""

    shape: Callable


@dataclass(frozen=True)
class Expression:
    """An answer that is a formula in the symbols `names`."""

    names: tuple


@dataclass(frozen=True)
class Function:
    """An answer that is a function; `probes` takes the part's data."""

    probes: Callable


# Encoding, in the student's kernel


def encode(kind, part, answer):
    """Return the record of an answer to a part; never raises but for an interrupt."""
    try:
        if isinstance(kind, Function) and callable(answer):
            return {"kind": "calls", "results": [_called(answer, p) for p in kind.probes(part)]}
        if isinstance(kind, Expression):
            return _expression(answer)
        return _plain(answer)
    except Exception as error:
        return {"kind": "error", "type": type(error).__name__}


def _called(function, probe):
    try:
        result = function(*copy.deepcopy(probe.arguments))
        return {"kind": "nothing"} if result is None else _plain(result)
    except (Exception, SystemExit) as error:
        return {"kind": "error", "type": type(error).__name__}


def _expression(answer):
    if answer is None:
        return {"kind": "none"}
    if isinstance(answer, str):
        return {"kind": "expression", "text": answer[: expressions.LONGEST + 1]}
    # sympy's own types are not imported here: what it prints is all that is read.
    if isinstance(answer, numbers.Number) or hasattr(answer, "free_symbols"):
        return {"kind": "expression", "text": str(answer)[: expressions.LONGEST + 1]}
    return _other(answer)


def _plain(answer):
    if answer is None:
        return {"kind": "none"}
    if isinstance(answer, (bool, np.bool_, str, bytes, dict, set)):
        return _other(answer)
    if isinstance(answer, (list, tuple)):
        answer = _nested(answer)
    if not isinstance(answer, np.ndarray):
        # Numbers of every make, sympy's and numpy's among them.
        if callable(answer) or isinstance(answer, complex):
            return _other(answer)
        try:
            return {"kind": "number", "value": _safe(float(answer))}
        except (TypeError, ValueError, OverflowError):
            return _other(answer)
    if answer.size > MOST_NUMBERS:
        return {"kind": "other", "type": f"array of {answer.size} numbers"}
    if answer.dtype.kind not in "iufO" or answer.ndim > DEEPEST:
        return {"kind": "other", "type": f"array of {answer.dtype.name}"[:40]}
    values = answer.astype(float)
    if values.ndim == 0:
        return {"kind": "number", "value": _safe(float(values))}
    return {
        "kind": "array",
        "shape": list(values.shape),
        "values": [_safe(float(x)) for x in values.ravel()],
    }


def _nested(answer):
    try:
        return np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return np.asarray(answer, dtype=object).astype(float)


def _safe(value):
    """Return a float that every JSON reader takes."""
    return value if math.isfinite(value) else str(value)


def _other(answer):
    return {"kind": "other", "type": type(answer).__name__}


# Reading back, where nothing is believed


def decode(kind, part, record):
    """Return the answer that a record holds, in the form that a part's check takes.

    A float, an array, a function (for a formula), or a list of arrays (what a function returned
    at the part's probes).

    Raises
    ------
    AnswerError
        If the record holds no such answer; the message is for the student.
    """
    if not isinstance(record, dict):
        raise AnswerError("your answer cannot be read")
    found = record.get("kind")
    if found == "error":
        raise AnswerError(f"your answer cannot be read ({_name(record)})")
    match kind:
        case Number():
            return _number(record)
        case Array(shape=shape):
            return _array(record, tuple(shape(part)))
        case Expression(names=names):
            return _formula(record, names)
        case Function(probes=probes):
            return _results(record, probes(part))


def is_empty(record):
    """Tell whether a record says that there is no answer yet: nothing, or only nothing."""
    if not isinstance(record, dict):
        return False
    if record.get("kind") == "none":
        return True
    results = record.get("results")
    return (
        record.get("kind") == "calls"
        and isinstance(results, list)
        and bool(results)
        and all(isinstance(result, dict) and result.get("kind") == "nothing" for result in results)
    )


def _float(value):
    """Return a JSON number as a float; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _number(record):
    if record.get("kind") == "array" and record.get("shape") in ([1], [1, 1]):
        values = record.get("values")
        record = {"kind": "number", "value": values[0] if isinstance(values, list) else None}
    if record.get("kind") != "number":
        raise AnswerError(f"one number is asked for, and yours is {_described(record)}")
    value = _float(record.get("value"))
    if not math.isfinite(value):
        raise AnswerError("your number is not finite (NaN or infinite)")
    return value


def _array(record, shape):
    if record.get("kind") == "number" and shape == ():
        return np.array(_number(record))
    if record.get("kind") != "array":
        raise AnswerError(
            f"an array of shape {_shape_text(shape)} is asked for, and yours is "
            f"{_described(record)}"
        )
    got, values = record.get("shape"), record.get("values")
    if not isinstance(got, list) or not isinstance(values, list) or len(got) > DEEPEST:
        raise AnswerError("your answer cannot be read")
    if len(values) > MOST_NUMBERS or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MOST_NUMBERS for n in got
    ):
        raise AnswerError("your answer cannot be read")
    if tuple(got) != shape or len(values) != math.prod(shape):
        raise AnswerError(
            f"an array of shape {_shape_text(shape)} is asked for, and yours has the shape "
            f"{_shape_text(got)}"
        )
    array = np.array([_float(value) for value in values]).reshape(shape)
    if not np.all(np.isfinite(array)):
        raise AnswerError("your array has entries that are NaN or infinite")
    return array


def _formula(record, names):
    if record.get("kind") == "number":
        record = {"kind": "expression", "text": repr(_number(record))}
    if record.get("kind") != "expression":
        raise AnswerError(f"a sympy expression is asked for, and yours is {_described(record)}")
    try:
        return expressions.parse(record.get("text"), names)
    except expressions.ExpressionError as error:
        raise AnswerError(str(error)) from None


def _results(record, probes):
    if record.get("kind") != "calls":
        raise AnswerError(f"a function is asked for, and yours is {_described(record)}")
    results = record.get("results")
    if not isinstance(results, list) or len(results) != len(probes):
        raise AnswerError("your answer cannot be read")
    return [_result(result) for result in results]


def _result(record):
    """Return an array, or the words for what a function did instead of returning one."""
    if not isinstance(record, dict):
        return "returns something that cannot be read"
    match record.get("kind"):
        case "error":
            return f"raises {_name(record)}"
        case "none" | "nothing":
            return "returns None"
        case "number":
            value = _float(record.get("value"))
            return np.array(value) if math.isfinite(value) else "returns no finite number"
        case "array":
            try:
                shape = record.get("shape")
                return _array(record, tuple(shape) if isinstance(shape, list) else None)
            except AnswerError:
                return "returns an array with entries that are not finite numbers"
            except TypeError:
                return "returns something that cannot be read"
    return f"returns {_described(record)}"


def _described(record):
    match record.get("kind"):
        case "none":
            return "None"
        case "number":
            return "one number"
        case "array":
            return "an array"
        case "expression":
            return "a formula"
        case "calls":
            return "a function"
    return f"of the type {_name(record)}"


def _name(record):
    """Return the name of a type from a record, or words for it if it is no plain name."""
    name = record.get("type")
    plain = isinstance(name, str) and len(name) <= 40 and name.replace(" ", "").isalnum()
    return name if plain and name.isascii() else "unknown"


def _shape_text(shape):
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
