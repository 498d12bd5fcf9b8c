"""Formulas that come as text, read without evaluating any of it as Python.

The text is parsed into Python's syntax tree, and a tree of known operations on floating-point
numbers is made of it. Nothing else is possible: no attributes, no names but the given ones, no
whole numbers of unlimited size.
"""

import ast
import re
import warnings

import numpy as np
from scipy.special import erf

from coursework.answers import LONGEST

MOST_DECIMALS = 12  # numbers that are no small fractions; a fitted curve has more
DEEPEST = 120  # operations inside one another

CIRCULAR = ("sin", "cos", "tan", "sinh", "cosh", "tanh")
PLAIN = (*CIRCULAR, "exp", "log", "sqrt", "cbrt", "sign", "abs")
FUNCTIONS = {name: getattr(np, name) for name in PLAIN}
FUNCTIONS |= {f"a{name}": getattr(np, f"arc{name}") for name in CIRCULAR}
FUNCTIONS |= {"ln": np.log, "Abs": np.abs, "erf": erf, "atan2": np.arctan2}
FUNCTIONS["sech"] = lambda x: 1 / np.cosh(x)
FUNCTIONS["csch"] = lambda x: 1 / np.sinh(x)
FUNCTIONS["coth"] = lambda x: 1 / np.tanh(x)
# These take any number of arguments.
REDUCTIONS = {"Min": np.minimum, "Max": np.maximum, "min": np.minimum, "max": np.maximum}
CONSTANTS = {"pi": np.pi, "E": np.e}
OPERATIONS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply}
OPERATIONS |= {ast.Div: np.divide, ast.Pow: np.power}
SIGNS = {ast.USub: np.negative, ast.UAdd: np.positive}
RELATIONS = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater}
RELATIONS[ast.GtE] = np.greater_equal
CONNECTIVES = {ast.BitAnd: np.logical_and, ast.BitOr: np.logical_or}


# Slips of form, in a text that cannot be read otherwise, and what to write instead.
SLIPS = (
    (r"\\[A-Za-z]|\{", "this looks like LaTeX: write Python, as in exp(-2*t)/(1 + y**2)"),
    (r"\^", "powers are written with **, as in u**2"),
    (r"[²³⁴]", "powers are written with **, as in u**2"),
    (r"[×·⋅∙]", "the multiplication is written *"),
    (r"[−–]", "the minus sign is written -"),
    (r"√", "a root is written sqrt(x)"),
    (r"\|", "an absolute value is written Abs(x)"),
    (r"[≤≥]", "write <= and >="),
    (r"!|\d\s*%", "factorials and percent are not read"),
    (r"(?<![<>=!])=", "your answer is an equation: give its right-hand side only"),
    (r"\d,\d", "the decimal sign is a point, as in 3.14"),
    (
        r"[\d)]\s*[A-Za-z(]|[a-z]\s+[\w(]",
        "write the multiplication * and all parentheses",
    ),
    (r"^[^()]*(\([^()]*\)[^()]*)*[()]", "look at the parentheses"),
)


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
    """
    if not isinstance(text, str):
        raise ExpressionError("your answer is not a formula")
    if len(text) > LONGEST:
        raise ExpressionError(
            f"your formula has {len(text)} characters and at most {LONGEST} are read: simplify it"
        )
    text = text.strip().strip("$")
    try:
        if re.search(r"\^|\\", text):
            raise SyntaxError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        hints = [f": {hint}" for pattern, hint in SLIPS if re.search(pattern, text)]
        words = f"your answer cannot be read as a formula{hints[0] if hints else ''}"
        raise ExpressionError(words) from None
    decimals = sum(map(_is_decimal, ast.walk(tree)))
    if decimals > MOST_DECIMALS:
        raise ExpressionError(
            f"your formula holds {decimals} numbers with many decimals, as a fitted curve does; a "
            f"formula is asked for, and at most {MOST_DECIMALS} are read"
        )
    operation = _read(tree, tuple(names), DEEPEST)

    def function(*values):
        if len(values) != len(names):
            raise ValueError(f"values: give {len(names)}, one for each of {names}")
        arrays = [np.asarray(value, dtype=float) for value in values]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        with np.errstate(all="ignore"):
            result = operation(dict(zip(names, arrays, strict=True)))
        return np.broadcast_to(np.asarray(result, dtype=float), shape)

    return function


def _is_decimal(node):
    value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) > 10**6
    return isinstance(value, float) and round(value, 3) != value


def _read(node, names, depth):
    """Return the function of a dict of arrays that a part of the tree stands for."""
    if depth == 0:
        raise ExpressionError("your formula is nested too deeply: simplify it")
    match node:
        case ast.Constant(value=bool()):
            raise ExpressionError("your formula holds a truth value, True or False")
        case ast.Constant(value=int() | float() as value):
            try:
                number = np.float64(value)
            except OverflowError:
                number = np.float64(np.inf)
            return lambda _: number
        case ast.Name(id=name):
            return _name(name, names)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in SIGNS:
            sign, inner = SIGNS[type(op)], _read(operand, names, depth - 1)
            return lambda values: sign(inner(values))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return _apply(OPERATIONS[type(op)], [left, right], names, depth)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, arguments, names, depth)
        case ast.Tuple():
            raise ExpressionError("the decimal sign is a point, as in 3.14")
        case ast.Call(func=ast.Constant() | ast.BinOp()):
            raise ExpressionError("write the multiplication *, as in 2*(u + v)")
        case ast.Compare():
            raise ExpressionError("your answer is an equation: give its right-hand side only")
        case ast.BinOp(op=ast.BitOr()):
            raise ExpressionError("an absolute value is written Abs(x)")
    raise ExpressionError(
        "your answer is not a formula made of numbers, symbols, + - * / ** and known functions"
    )


def _name(name, names):
    if name in names:
        return lambda values: values[name]
    if name in CONSTANTS:
        return lambda _: np.float64(CONSTANTS[name])
    if name == "I":
        raise ExpressionError("your formula holds the imaginary unit I; only real ones are read")
    if name in ("zoo", "oo", "nan"):
        raise ExpressionError("your formula divides by zero: it has no finite value")
    if name == "e":
        raise ExpressionError("the exponential is written exp(x), not e**x")
    allowed = ", ".join(names) or "none"
    raise ExpressionError(f"your formula holds the symbol {_short(name)}; it may hold: {allowed}")


def _call(name, arguments, names, depth):
    if name in ("Eq", "Equality"):
        raise ExpressionError("your answer is an equation: give its right-hand side only")
    if name == "Piecewise":
        return _piecewise(arguments, names, depth)
    if name in REDUCTIONS and arguments:
        inner, reduce = [_read(a, names, depth - 1) for a in arguments], REDUCTIONS[name]

        def reduction(values):
            result = inner[0](values)
            for other in inner[1:]:
                result = reduce(result, other(values))
            return result

        return reduction
    if name in names:
        raise ExpressionError(f"write the multiplication *, as in {name}*(…)")
    if name not in FUNCTIONS:
        raise ExpressionError(f"your formula holds the function {_short(name)}, not known here")
    function = FUNCTIONS[name]
    wanted = 2 if name == "atan2" else 1
    if len(arguments) != wanted:
        raise ExpressionError(f"{name} takes {wanted} argument(s), not {len(arguments)}")
    return _apply(function, arguments, names, depth)


def _apply(function, arguments, names, depth):
    inner = [_read(argument, names, depth - 1) for argument in arguments]
    return lambda values: function(*(part(values) for part in inner))


def _piecewise(arguments, names, depth):
    """Read ``Piecewise((value, condition), …)``; the first condition that holds counts."""
    pieces = []
    for argument in arguments:
        if not isinstance(argument, ast.Tuple) or len(argument.elts) != 2:
            raise ExpressionError("Piecewise takes pairs (value, condition)")
        value, condition = argument.elts
        pieces.append((_read(value, names, depth - 1), _condition(condition, names, depth - 1)))

    def piecewise(values):
        result = np.float64(np.nan)
        for value, condition in reversed(pieces):
            result = np.where(condition(values), value(values), result)
        return result

    return piecewise


def _condition(node, names, depth):
    if depth == 0:
        raise ExpressionError("your formula is nested too deeply: simplify it")
    match node:
        case ast.Constant(value=bool() as value):
            return lambda _: np.bool_(value)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in RELATIONS:
            return _apply(RELATIONS[type(op)], [left, right], names, depth)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in CONNECTIVES:
            both = [_condition(side, names, depth - 1) for side in (left, right)]
            connective = CONNECTIVES[type(op)]
            return lambda values: connective(both[0](values), both[1](values))
    raise ExpressionError("a condition of Piecewise must compare two formulas with < or >")


def _short(name):
    """Return a name fit for a message."""
    return name if name.isidentifier() and len(name) <= 20 else "(an odd name)"
