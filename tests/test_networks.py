"""Linear networks: products, gradients, and what each initialization promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overparam import losses, networks

SEEDS = st.integers(0, 10**6)
SIZES = st.lists(st.integers(1, 5), min_size=2, max_size=6)


@given(SIZES, SEEDS)
def test_layer_gradients_are_directional_derivatives(sizes, seed):
    rng = np.random.default_rng(seed)
    weights = networks.gaussian(sizes, 0.7, rng)
    loss = losses.squared_distance(rng.standard_normal((sizes[0], sizes[-1])))
    h = 1e-5
    for l, G in enumerate(networks.gradients(weights, loss.gradient)):
        E = rng.standard_normal(G.shape)
        moved = [
            loss.value(networks.product(weights[:l] + [weights[l] + s * h * E] + weights[l + 1 :]))
            for s in (1, -1)
        ]
        assert np.sum(G * E) == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-4, abs=1e-6)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), SEEDS)
def test_balanced_layers_have_the_product_and_no_imbalance(n, m, rank, extra, seed):
    rng = np.random.default_rng(seed)
    rank = min(n, m, rank)
    W = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
    for generator in (None, rng):
        weights = networks.balanced(W, [rank + extra, rank], generator)
        assert np.allclose(networks.product(weights), W, atol=1e-10)
        assert all(np.allclose(D, 0, atol=1e-10) for D in networks.imbalance(weights))


@given(
    st.integers(1, 4), st.integers(1, 4), st.lists(st.floats(-3, 3), min_size=1, max_size=4), SEEDS
)
def test_homogeneous_layers_have_the_product_and_the_imbalances(n, m, imbalances, seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n, m))
    weights = networks.homogeneous(W, imbalances, rng)
    assert np.allclose(networks.product(weights), W, atol=1e-9)
    for D, d in zip(networks.imbalance(weights), imbalances, strict=True):
        assert np.allclose(D, d * np.eye(len(D)), atol=1e-9)


@given(st.floats(-50, 50), st.lists(st.floats(-20, 20), min_size=1, max_size=6))
def test_layer_scales_solve_the_polynomial(product, imbalances):
    w = networks.layer_scales(product, imbalances)
    assert np.prod(w) == pytest.approx(abs(product), rel=1e-9, abs=1e-300)
    assert np.allclose(w[:-1] ** 2 - w[1:] ** 2, imbalances, atol=1e-9)


def test_layer_scales_of_tiny_products():
    w = networks.layer_scales(1e-40, [1.0, -2.0])
    assert np.prod(w) == pytest.approx(1e-40, rel=1e-9)


@given(st.integers(1, 5), st.integers(1, 5), SEEDS)
def test_spectral_start_is_diagonal_in_the_bases_of_the_target(m, n, seed):
    rng = np.random.default_rng(seed)
    Y, r = rng.standard_normal((m, n)), min(m, n)
    u, v = rng.standard_normal((2, r))
    U, Vt = networks.spectral(Y, u, v, rng)
    left, _, right = np.linalg.svd(Y, full_matrices=False)
    assert np.allclose(left.T @ (U @ Vt) @ right.T, np.diag(u * v), atol=1e-10)
    assert np.allclose(np.linalg.eigvalsh(U.T @ U - Vt @ Vt.T), np.sort(u**2 - v**2), atol=1e-9)


def test_square_rotations_are_balanced_and_have_the_scale():
    for size in (1, 4):
        weights = networks.orthogonal(size, 3, 0.5, np.random.default_rng(0))
        assert all(np.allclose(W.T @ W, 0.25 * np.eye(size)) for W in weights)
    assert np.array_equal(networks.product(networks.identity(3, 4, 2.0)), 16 * np.eye(3))


def test_orthogonal_layers_are_rotations_and_reflections_alike():
    for size in (1, 3):
        layers = networks.orthogonal(size, 400, 1.0, np.random.default_rng(1))
        assert 150 < sum(np.linalg.det(W) < 0 for W in layers) < 250


@pytest.mark.parametrize("start", ["balanced", "homogeneous", "spectral"])
def test_random_bases_are_uniform(start):
    """A basis without the signs of the triangular factor has one sign in its first entry."""
    rng = np.random.default_rng(2)
    make = {
        "balanced": lambda: networks.balanced(np.diag([4.0, 1.0]), [2], rng)[0],
        "homogeneous": lambda: networks.homogeneous(np.diag([4.0, 1.0]), [0.0], rng)[0],
        "spectral": lambda: networks.spectral(np.diag([4.0, 1.0]), [1, 1], [1, 1], rng)[0],
    }[start]
    signs = np.mean([np.sign(make()) for _ in range(400)], axis=0)
    assert np.abs(signs).max() < 0.2


def test_layer_flow_and_descent_see_every_option():
    loss, layers = losses.squared_distance([[1.0]]), networks.identity(1, 2, 0.5)
    assert networks.layer_flow(loss, layers, 5.0, rtol=1e-4).n_evaluations < 200
    assert len(networks.layer_descent(loss, layers, 0.1, 10, every=5)) == 3


def test_gaussian_entries_have_the_scale():
    W = networks.gaussian([200, 300], 0.3, np.random.default_rng(0))[0]
    assert W.shape == (200, 300) and W.std() == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda rng: networks.product([]), "weights must"),
        (lambda rng: networks.product(np.eye(2)), "weights must"),
        (lambda rng: networks.product([np.eye(2), np.eye(3)]), "do not chain"),
        (lambda rng: networks.imbalance([np.eye(2), [[1, np.nan], [0, 1]]]), r"weights\[1\]"),
        (lambda rng: networks.gaussian([3], 1.0, rng), "sizes"),
        (lambda rng: networks.gaussian([3, 0], 1.0, rng), r"sizes\[1\]"),
        (lambda rng: networks.gaussian([3, 2], 0.0, rng), "scale"),
        (lambda rng: networks.gaussian([3, 2], -1.0, rng), "scale"),
        (lambda rng: networks.gaussian([3, 2], 1.0, 0), "rng"),
        (lambda rng: networks.balanced(np.eye(3), [2]), "too small"),
        (lambda rng: networks.spectral(np.eye(3), [1.0], [1.0]), "u must have"),
        (lambda rng: networks.homogeneous(np.eye(2), []), "imbalances"),
        (lambda rng: networks.layer_scales(np.nan, [1.0]), "product"),
        (lambda rng: networks.orthogonal(2, 0, 1.0, rng), "depth"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(np.random.default_rng(0))
