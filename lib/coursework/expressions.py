"""Formulas that come as text, read without evaluating any of it as Python.

The text is parsed into Python's syntax tree, which is worked out with known operations on
floating-point numbers. Nothing else is possible: no attributes, no names but the given ones, no
whole numbers of unlimited size.
"""

import ast
import functools
import re
import warnings

import numpy as np
from scipy.special import erf

from coursework import words
from coursework.answers import LONGEST

MOST_DIGITS = 90  # of all numbers together, without zeros at the ends; a fitted curve has more
DEEPEST = 120  # operations inside one another

CIRCULAR = ("sin", "cos", "tan", "sinh", "cosh", "tanh")
PLAIN = (*CIRCULAR, "exp", "log", "sqrt", "cbrt", "sign", "abs")
FUNCTIONS = {name: getattr(np, name) for name in PLAIN}
FUNCTIONS |= {f"a{name}": getattr(np, f"arc{name}") for name in CIRCULAR}
FUNCTIONS |= {"ln": np.log, "Abs": np.abs, "erf": erf, "atan2": np.arctan2}
FUNCTIONS |= {"sech": lambda x: 1 / np.cosh(x), "csch": lambda x: 1 / np.sinh(x)}
FUNCTIONS |= {"coth": lambda x: 1 / np.tanh(x)}
# These take any number of arguments.
REDUCTIONS = {"Min": np.minimum, "Max": np.maximum, "min": np.minimum, "max": np.maximum}
CONSTANTS = {"pi": np.float64(np.pi), "E": np.float64(np.e)}
OPERATIONS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply}
OPERATIONS |= {ast.Div: np.divide, ast.Pow: np.power, ast.USub: np.negative, ast.UAdd: np.positive}
RELATIONS = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater}
RELATIONS |= {ast.GtE: np.greater_equal, ast.BitAnd: np.logical_and, ast.BitOr: np.logical_or}

SAID = words.SAID["formulas"]


class ExpressionError(ValueError):
    """What keeps a text from being a formula, in words for the student."""


def parse(text, names):
    """Return the function that the formula `text` stands for.

    Parameters
    ----------
    text : str
        As sympy prints it, for instance ``"exp(-2*t)/(1 + y**2)"``.
    names : sequence of str
        The symbols that may appear.

    Returns
    -------
    callable
        Takes one float or array for each of `names`, in this order, and returns float64 numbers;
        NaN or infinity where the formula has no real value.

    Raises
    ------
    ExpressionError
        If the text is no formula in these symbols, or too long.

    Examples
    --------
    >>> from coursework import expressions
    >>> print(expressions.parse("u**2 - 3*v", ("u", "v"))(2.0, 1.0))
    1.0
    """
    if not isinstance(text, str):
        raise ExpressionError("your answer is not a formula")
    if len(text) > LONGEST:
        raise ExpressionError(SAID["long"].format(length=len(text), most=LONGEST))
    text = text.strip().strip("$")
    try:
        if re.search(r"\^|\\", text):
            raise SyntaxError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        said = next((said for form, said in SAID["slips"] if re.search(form, text)), None)
        hint = f": {SAID.get(said, said)}" if said else ""
        raise ExpressionError(f"your answer cannot be read as a formula{hint}") from None
    numbers = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    digits = sum(len(re.sub(r"e.*|\.", "", repr(value)).strip("0")) for value in numbers)
    if digits > MOST_DIGITS:
        raise ExpressionError(SAID["digits"].format(digits=digits, most=MOST_DIGITS))

    def function(*values):
        arrays = [np.asarray(value, dtype=float) for value in values]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        with np.errstate(all="ignore"):
            result = _value(tree, dict(zip(names, arrays, strict=True)))
        return np.broadcast_to(np.asarray(result, dtype=float), shape)

    function(*[0.5] * len(names))  # raises for what is no formula
    return function


def _value(node, values, depth=DEEPEST):
    """Return what a part of the tree comes to, for the values of the symbols."""
    if depth == 0:
        raise ExpressionError(SAID["deep"])

    def of(nodes):
        return [_value(inner, values, depth - 1) for inner in nodes]

    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return np.float64(value if abs(value) < 1e308 else np.inf)
        case ast.Name(id=name) if name in values or name in CONSTANTS:
            return (CONSTANTS | values)[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](*of([operand]))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](*of([left, right]))
        case ast.Call(func=ast.Name(id="Piecewise"), args=arguments, keywords=[]):
            return _piecewise(arguments, values, depth - 1)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as given, keywords=[]) if (
            name in REDUCTIONS
        ):
            return functools.reduce(REDUCTIONS[name], of(given))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS:
            wanted = 2 if name == "atan2" else 1
            if len(given) != wanted:
                raise ExpressionError(f"{name} takes {wanted} argument(s), not {len(given)}")
            return FUNCTIONS[name](*of(given))
    raise ExpressionError(_refusal(node, values))


def _refusal(node, names):
    """Return words for a part of the tree that is no formula."""
    match node:
        case ast.Name(id=name):
            allowed = ", ".join(names) or "none"
            other = f"your formula holds the symbol {_short(name)}; it may hold: {allowed}"
            return SAID.get(SAID["names"].get(name), other)
        case ast.Compare() | ast.Call(func=ast.Name(id="Eq" | "Equality")):
            return SAID["equation"]
        case ast.Call(func=ast.Name(id=name)) if name in names:
            return f"write the multiplication *, as in {name}*(…)"
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return f"your formula holds the function {_short(name)}, not known here"
        case ast.Call(func=ast.Constant() | ast.BinOp()):
            return SAID["product"]
        case ast.Constant(value=bool()):
            return SAID["truth"]
        case ast.BinOp(op=ast.BitOr()):
            return SAID["absolute"]
        case ast.Tuple():
            return SAID["point"]
    return SAID["other"]


def _piecewise(arguments, values, depth):
    """Work out ``Piecewise((value, condition), …)``; the first condition that holds counts."""
    result = np.float64(np.nan)
    for argument in reversed(arguments):
        if not isinstance(argument, ast.Tuple) or len(argument.elts) != 2:
            raise ExpressionError("Piecewise takes pairs (value, condition)")
        value, condition = argument.elts
        holds = _holds(condition, values, depth)
        result = np.where(holds, _value(value, values, depth), result)
    return result


def _holds(node, values, depth):
    if depth == 0:
        raise ExpressionError(SAID["deep"])
    match node:
        case ast.Constant(value=bool() as value):
            return np.bool_(value)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in RELATIONS:
            return RELATIONS[type(op)](*(_value(side, values, depth) for side in (left, right)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in RELATIONS:
            return RELATIONS[type(op)](*(_holds(side, values, depth - 1) for side in (left, right)))
    raise ExpressionError("a condition of Piecewise must compare two formulas with < or >")


def _short(name):
    """Return a name fit for a message."""
    return name if name.isidentifier() and len(name) <= 20 else "(an odd name)"
