"""Checks of arguments: what passes is a copy, what does not is named with a remedy."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from overparam import _check


@pytest.mark.parametrize(
    "value", [3, 2.5, True, [1, 2], np.int8(3), np.float32(0.5), Fraction(1, 2), [Fraction(1, 3)]]
)
def test_real_numbers_of_every_kind_pass(value):
    array = _check.finite_array("x", value)
    assert array.dtype == float and np.array_equal(array, np.array(value, dtype=float))


def test_what_is_returned_is_a_copy():
    x = np.ones((2, 2))
    for array in (_check.finite_array("x", x), _check.matrix("x", x), _check.not_negative("x", x)):
        array[:] = 5
    assert np.array_equal(x, np.ones((2, 2)))
    assert _check.finite_array("x", np.ma.masked_array([1.0, 2.0], False)).tolist() == [1, 2]


@pytest.mark.parametrize(
    "value, message",
    [
        (1j, "real numbers"),
        (np.ones(2, dtype=complex), "real numbers"),
        ([1.0, None], "real numbers"),
        (None, "real numbers"),
        ("1", "real numbers"),
        (["1", "2"], "real numbers"),
        (np.array(["1", 2], dtype=object), "real numbers"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "real numbers"),
        ([[1.0], [1.0, 2.0]], "real numbers"),
        ({"a": 1}, "real numbers"),
        (10**400, "real numbers"),
        ([10**400, 1], "real numbers"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "or masked"),
        ([], "empty"),
        (np.ones((0, 3)), "empty"),
        (np.nan, "NaN or infinite"),
        ([1, np.inf], "NaN or infinite"),
        (Decimal("NaN"), "NaN or infinite"),
    ],
)
def test_everything_else_is_named(value, message):
    for check in (_check.finite_array, _check.matrix, _check.number, _check.not_negative):
        with pytest.raises(ValueError, match=f"^x .*{message}"):
            check("x", value)


def test_numbers_counts_times_and_generators():
    assert _check.number("x", 2, 2) == 2 and type(_check.number("x", np.int64(2))) is float
    assert _check.count("x", np.uint8(3)) == 3 and type(_check.count("x", np.uint8(3))) is int
    assert _check.not_negative("t", [0, 2]).tolist() == [0, 2]
    assert _check.not_negative("t", 0.0).shape == ()
    U, V = _check.same_columns(np.ones((3, 2)), np.eye(2))
    assert U.shape == (3, 2) and np.array_equal(V, np.eye(2))
    assert _check.positive("s", [5e-324, 2]).tolist() == [5e-324, 2]
    assert _check.shaped("G", [[1], [2]], (2, 1), "W").tolist() == [[1], [2]]
    U, V = _check.factors(np.ones((2, 4)), np.ones((3, 4)), 2, 3)
    assert (U.shape, V.shape) == ((2, 4), (3, 4))
    rng = np.random.default_rng(0)
    assert _check.generator("rng", rng) is rng
    for call, message in [
        (lambda: _check.number("x", [1.0]), "x must be one number"),
        (lambda: _check.number("x", 1.0, 1, strict=True), "x must be greater than 1, got 1"),
        (lambda: _check.number("x", 0.999, 1), "x must be at least 1, got 0.999"),
        (lambda: _check.count("x", 0), "x must be at least 1, got 0"),
        (lambda: _check.count("x", True), "x must be a whole number"),
        (lambda: _check.count("x", 2.0), "x must be a whole number"),
        (lambda: _check.not_negative("t", [1.0, -1e-9]), "t must be at least 0, got -1e-09"),
        (lambda: _check.not_negative("t", [[1.0]], ndim=1), "t must have 1 dimension"),
        (lambda: _check.matrix("X", [1.0]), "X must have 2 dimension"),
        (lambda: _check.data([[1.0], [2.0]], [1.0]), "X and y must have as many rows, got 2 and 1"),
        (lambda: _check.data([[1.0]], [[1.0]]), "y must have 1 dimension"),
        (lambda: _check.same_rows([1], [1, 2], "A", "b"), "A and b must have as many rows"),
        (lambda: _check.same_columns(np.eye(2), np.ones((2, 3))), "U and V must have as many col"),
        (lambda: _check.same_columns(np.ones((3, 2)), [1.0]), "V must have 2 dimension"),
        (lambda: _check.generator("rng", 0), "rng must be a numpy.random.Generator"),
        (lambda: _check.positive("s", [1.0, 0.0]), "s must be greater than 0, got 0"),
        (lambda: _check.positive("s", [[1.0]], ndim=1), "s must have 1 dimension"),
        (lambda: _check.shaped("G", [1.0, 2.0], (2, 1), "W"), r"shape \(2, 1\) of W"),
        (lambda: _check.factors(np.eye(2), np.eye(3), 2, 3), "U0 and V0 must have as many columns"),
        (lambda: _check.factors(np.eye(2), np.eye(2), 2, 3), "must have 2 and 3 rows"),
        (lambda: _check.factors(np.eye(2), np.eye(2), 3, 2), "must have 3 and 2 rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
