"""Losses: gradients, and the constants that the theorems rest on."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overparam import losses


def examples(seed):
    """One instance of each loss, with the shape of its W."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal
    rows, cols = np.nonzero(rng.random((4, 3)) < 0.6)
    if not rows.size:
        rows, cols = np.array([0]), np.array([1])
    X = normal((9, 3))
    return {
        "squared_distance": (losses.squared_distance(normal((4, 3))), (4, 3)),
        "regression, tall": (losses.regression(normal((7, 4)), normal((7, 2))), (4, 2)),
        "regression, wide": (losses.regression(normal((3, 5)), normal((3, 2))), (5, 2)),
        "lp": (losses.lp_regression(normal((3, 5)), normal((3, 2)), 4), (5, 2)),
        "sensing, few": (losses.sensing(normal((5, 3, 3)), normal(5)), (3, 3)),
        "sensing, many": (losses.sensing(normal((12, 3, 3)), normal(12)), (3, 3)),
        "completion": (losses.completion(rows, cols, normal(rows.size), (4, 3)), (4, 3)),
        "exponential": (losses.exponential(X, np.sign(X[:, 0])), (3, 1)),
    }


@given(st.integers(0, 10**6))
def test_gradients_are_those_of_the_values(seed):
    rng = np.random.default_rng(seed)
    for name, (loss, shape) in examples(seed).items():
        W, E, h = rng.standard_normal(shape), rng.standard_normal(shape), 1e-5
        numeric = (loss.value(W + h * E) - loss.value(W - h * E)) / (2 * h)
        assert np.sum(loss.gradient(W) * E) == pytest.approx(numeric, rel=1e-5, abs=1e-5), name


@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_constants_hold(seed, size):
    rng = np.random.default_rng(seed)
    for name, (loss, shape) in examples(seed).items():
        W, E = size * rng.standard_normal(shape), rng.standard_normal(shape)
        if loss.minimum is not None:
            assert loss.value(W) >= loss.minimum * (1 - 1e-9), name
        if loss.pl_constant is not None:
            gap = loss.value(W) - loss.minimum
            assert np.sum(loss.gradient(W) ** 2) >= loss.pl_constant * gap * (1 - 1e-9), name
        if loss.smoothness is not None:
            curvature = np.sum((loss.gradient(W + E) - loss.gradient(W)) * E) / np.sum(E**2)
            slack = 1e-6 * (1 + loss.smoothness)
            assert loss.strong_convexity - slack <= curvature <= loss.smoothness + slack, name


def test_constants_are_the_eigenvalues_of_the_hessian():
    """For the quadratic losses all three are attained, so that each is tested from both sides."""
    for seed in range(3):
        for name, (loss, shape) in examples(seed).items():
            if loss.pl_constant is None:
                continue
            zero = loss.gradient(np.zeros(shape))
            units = np.eye(np.prod(shape)).reshape(-1, *shape)
            hessian = [np.ravel(loss.gradient(unit) - zero) for unit in units]
            values = np.linalg.eigvalsh(hessian)
            moving = values[values > 1e-9 * values[-1]]
            assert loss.smoothness == pytest.approx(values[-1]), name
            assert loss.strong_convexity == pytest.approx(values[0], abs=1e-9 * values[-1]), name
            assert loss.pl_constant == pytest.approx(2 * moving[0]), name


def test_pl_constants_are_attained():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 5)), rng.standard_normal((3, 2))
    A, y = rng.standard_normal((4, 3, 2)), rng.standard_normal(4)
    for loss, M, target, shape in [
        (losses.regression(X, Y), X, Y, (5, 2)),
        (losses.sensing(A, y), A.reshape(4, -1), y[:, None], (3, 2)),
    ]:
        worst = np.linalg.svd(M)[2][len(M) - 1]  # direction of the least nonzero singular value
        best = np.linalg.lstsq(M, target, rcond=None)[0]
        W = best + worst[:, None] * np.ones((1, best.shape[1]))
        W = W.reshape(shape)
        ratio = np.sum(loss.gradient(W) ** 2) / (loss.value(W) - loss.minimum)
        assert ratio == pytest.approx(loss.pl_constant, rel=1e-8)


def test_minimum_of_an_inconsistent_regression():
    loss = losses.regression([[1.0], [1.0]], [[0.0], [2.0]])
    assert loss.minimum == pytest.approx(1.0) and loss.value(np.array([[1.0]])) == 1.0


def test_lp_with_p_2_is_regression():
    rng = np.random.default_rng(0)
    X, Y, W = rng.standard_normal((4, 3)), rng.standard_normal((4, 2)), rng.standard_normal((3, 2))
    assert losses.lp_regression(X, Y, 2).value(W) == losses.regression(X, Y).value(W)


def test_completion_sees_the_observed_entries_only():
    loss = losses.completion([0, 1], [1, 0], [2.0, 3.0], (2, 2))
    W = np.array([[7.0, 2.0], [4.0, -9.0]])
    assert loss.value(W) == pytest.approx(0.5)
    assert np.array_equal(loss.gradient(W), [[0, 0], [1, 0]])


def test_losses_can_be_pickled():
    for name, (loss, shape) in examples(3).items():
        copy, W = pickle.loads(pickle.dumps(loss)), np.full(shape, 0.3)
        assert copy.value(W) == loss.value(W), name
        assert np.array_equal(copy.gradient(W), loss.gradient(W)), name
        assert copy.minimum == loss.minimum and copy.pl_constant == loss.pl_constant, name


def test_what_a_loss_keeps_is_its_own():
    Y, values, X = np.ones((2, 2)), np.array([1.0, 2.0]), np.eye(2)
    made = [losses.squared_distance(Y), losses.completion([0, 1], [1, 0], values, (2, 2))]
    made += [losses.regression(X, Y), losses.lp_regression(X, Y, 4), losses.sensing([X], [1.0])]
    before = [loss.value(3 * np.eye(2)) for loss in made]
    Y[:], values[:], X[:] = 7, 7, 7
    assert [loss.value(3 * np.eye(2)) for loss in made] == before


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint64"])
def test_indices_may_have_any_integer_type(kind):
    """100 · 100 places do not fit into the small types."""
    rows, cols = np.divmod(np.arange(0, 10_000, 7), 100)
    loss = losses.completion(rows.astype(kind), cols.astype(kind), np.ones(rows.size), (100, 100))
    W = np.arange(10_000.0).reshape(100, 100)
    assert loss.value(W) == pytest.approx(np.mean((W[rows, cols] - 1) ** 2), rel=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: losses.squared_distance([[np.nan]]), "Y has"),
        (lambda: losses.regression(np.ones((3, 2)), np.ones((4, 1))), "X and Y"),
        (lambda: losses.regression(np.zeros((3, 2)), np.ones((3, 1))), "X is zero"),
        (lambda: losses.regression(np.ones(3), np.ones((3, 1))), "X must have 2"),
        (lambda: losses.lp_regression(np.ones((3, 2)), np.ones((3, 1)), 1), "p must"),
        (lambda: losses.sensing(np.ones((2, 3)), np.ones(2)), "A must have 3"),
        (lambda: losses.sensing(np.ones((2, 3, 3)), np.ones(3)), "A and y"),
        (lambda: losses.completion([], [], [], (2, 2)), "values is empty"),
        (lambda: losses.completion([0], [2], [1.0], (2, 2)), "outside"),
        (lambda: losses.completion([0, 0], [1, 1], [1.0, 1.0], (2, 2)), "twice"),
        (lambda: losses.completion([0.5], [1], [1.0], (2, 2)), "whole"),
        (lambda: losses.completion([0], [1], [1.0, 2.0], (2, 2)), "values has 2"),
        (lambda: losses.completion([0], [1, 2], [1.0], (2, 2)), "rows and cols"),
        (lambda: losses.exponential(np.ones((2, 2)), np.array([1.0, 0.5])), "labels"),
        (lambda: losses.squared_distance(np.eye(2)).value(np.ones(2)), "W must"),
        (lambda: losses.squared_distance(np.eye(2)).value(np.eye(2) * 1j), "W must be a real"),
        (lambda: losses.squared_distance(1j * np.eye(2)), "Y must be an array of real"),
        (lambda: losses.regression(np.eye(3), np.ones((3, 1))).value(np.ones(3)), "W must"),
        (lambda: losses.regression(np.eye(3), np.ones((3, 1))).gradient(np.ones(3)), "W must"),
        (lambda: losses.lp_regression(np.eye(3), np.ones((3, 1)), 4).value(np.ones(3)), "W must"),
        (lambda: losses.exponential(np.eye(2), [1, 1]).gradient(np.ones(2)), "W must"),
        (lambda: losses.completion([0], [1], [1.0], (2.0, 2)), "shape must be a whole"),
        (lambda: losses.completion([0], [1], [1.0], (2, 2)).gradient(np.ones((3, 2))), "W must"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
