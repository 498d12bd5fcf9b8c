import math

import numpy as np
import pytest
from hypothesis import given, settings
from test_rates import DRAWS, below, draw_weights, norm_of_operator, seeds, theorem, width

from overparam import layers, losses, networks, rates


def relaxed(weights):
    W1, W2, W3 = weights
    least = lambda A: np.linalg.eigvalsh(A)[0]  # noqa: E731
    outer = least(W1 @ W1.T) * least(W3.T @ W3)
    return least(W1 @ W2 @ W2.T @ W1.T) + outer + least(W3.T @ W2.T @ W2 @ W3)


@given(width, width, width, width, seeds)
@theorem
def test_three_layer_bound_is_below_the_smallest_eigenvalue(n, h1, h2, m, seed):
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        weights = draw_weights([n, h1, h2, m], rng)
        size = max(np.linalg.norm(w, 2) ** 2 for w in weights)
        bound = layers.three_layer_bound(*networks.imbalance(weights), n, m, scale=size)
        scale = norm_of_operator(weights)
        middle = relaxed(weights)
        assert below(bound, middle, scale)
        assert below(middle, np.linalg.eigvalsh(rates.operator(weights))[0], scale)


@given(width, width, width, width, seeds)
@settings(max_examples=50)
def test_three_layer_bound_is_attained(n, h1, h2, m, seed):
    rng = np.random.default_rng(seed)
    for _ in range(5):
        weights = networks.gaussian([n, h1, h2, m], 1.0, rng)
        weights[rng.integers(3)] *= np.exp(rng.normal(0, 0.7))
        D = networks.imbalance(weights)
        best = layers.three_layer_minimizer(*D, n, m)
        scale = norm_of_operator(weights)
        for expected, found in zip(D, networks.imbalance(best), strict=True):
            assert np.allclose(found, expected, atol=1e-7 * scale)
        assert np.isclose(relaxed(best), layers.three_layer_bound(*D, n, m), atol=1e-7 * scale)


def test_three_layer_bound_without_the_squares_fails():
    w = np.array([0.5, 0.1, 0.5])
    D1, D2 = -np.diff(w**2)
    exact = np.prod(w**2) * np.sum(w**-2.0)
    assert layers.three_layer_bound([[D1]], [[D2]], 1, 1) == pytest.approx(0.24**2)
    assert 0.24**2 <= exact < (-(0.24**2) + 0.24) + 0.24**2
    scaled = layers.three_layer_bound([[9 * D1]], [[9 * D2]], 1, 1)
    assert scaled == pytest.approx(81 * 0.24**2)  # weights times 3: degree four


def test_three_layer_bound_of_positive_imbalances_is_a_product():
    nth = lambda D, n: np.linalg.eigvalsh(D)[-n] if n <= len(D) else 0.0  # noqa: E731
    rng = np.random.default_rng(11)
    positive = 0
    for _ in range(500):
        sizes = n, h1, h2, m = rng.integers(1, 5, 4)
        weights = [np.zeros(shape) for shape in zip(sizes[:-1], sizes[1:], strict=True)]
        for w, square in zip(weights, -np.sort(-rng.random((3, 4)), axis=0), strict=True):
            k = min(n, h1, h2, *w.shape)
            w[range(k), range(k)] = np.sqrt(square[:k])
        D1, D2 = networks.imbalance(weights)
        bound = layers.three_layer_bound(D1, D2, n, m)
        assert np.isclose(bound, nth(D2, n) * (nth(D1, n) + nth(D2, n)))
        positive += bound > 1e-6
    assert positive > 100


def test_three_layer_bound_at_width_one_is_the_product_of_cumulative_imbalances():
    rng = np.random.default_rng(12)
    for d in rng.standard_normal((500, 2)):
        bound = layers.three_layer_bound([[d[0]]], [[d[1]]], 1, 1)
        assert np.isclose(bound, np.prod(rates.cumulative_imbalances(d)))
        assert np.isclose(bound, rates.deep_scalar_optimum(d, 0.0))


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (2, 4), (4, 2), (1, 3)])
def test_homogeneous_imbalance_is_exact_at_any_depth(shape, depth):
    rng = np.random.default_rng([*shape, depth])
    for d in (rng.normal(0, 0.8, depth - 1), np.zeros(depth - 1)):
        W = rng.standard_normal(shape)
        s = np.linalg.svd(W, compute_uv=False)[-1]
        weights = networks.homogeneous(W, d, rng)
        exact = np.linalg.eigvalsh(rates.operator(weights))[0]
        assert np.isclose(layers.homogeneous_optimum(d, s, *shape), exact)
        if shape[0] == shape[1]:
            assert rates.deep_scalar_bound(d, s) <= exact * (1 + 1e-9)
    factor = depth if shape[0] == shape[1] else 1  # for the last, balanced one
    assert np.isclose(exact, factor * s ** (2 - 2 / depth))


@pytest.mark.parametrize("depth", [2, 3, 4, 6, 9])
def test_equal_imbalances_and_staircases(depth):
    one_small = np.append(np.zeros(depth - 2), 1.7)
    assert np.isclose(rates.deep_scalar_optimum(one_small, 0.0), 1.7 ** (depth - 1))
    stairs = np.full(depth - 1, 0.6)
    expected = 0.6 ** (depth - 1) * math.factorial(depth - 1)
    assert np.isclose(rates.deep_scalar_optimum(stairs, 0.0), expected)
    assert np.isclose(rates.deep_scalar_bound(stairs, 0.0), expected)
    assert np.isclose(rates.deep_scalar_bound(0 * stairs, 0.3), depth * 0.3 ** (2 - 2 / depth))


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_sharpness_at_a_minimum_is_the_operator(depth):
    w = networks.layer_scales(1.0, np.ones(depth - 1))
    loss = losses.squared_distance([[1.0]])
    gradient = lambda x: np.ravel(  # noqa: E731
        networks.gradients([np.array([[v]]) for v in x], loss.gradient)
    )
    step = 1e-6
    hessian = [
        (gradient(w + step * e) - gradient(w - step * e)) / (2 * step) for e in np.eye(depth)
    ]
    sharpness = np.linalg.eigvalsh(np.array(hessian))[-1]
    T = rates.operator([np.array([[v]]) for v in w]).item()
    assert np.isclose(sharpness, T, rtol=1e-6)
    start = [np.array([[v * (1 + 1e-5)]]) for v in w]
    first = loss.value(networks.product(start))
    for factor, grows in ((1.95, False), (2.05, True)):
        end = networks.layer_descent(loss, start, factor / T, 10).final
        assert (loss.value(networks.product(end)) > first) == grows


def test_local_pl_gives_a_rate_along_three_layers():
    rng = np.random.default_rng(2)
    weights = networks.gaussian([2, 4, 6, 2], 0.6, rng)
    bound = layers.three_layer_bound(*networks.imbalance(weights), 2, 2)
    loss = losses.squared_distance(rng.standard_normal((2, 2)))
    assert bound > 0
    path = networks.layer_flow(loss, weights, np.linspace(0, 4, 30), rtol=1e-10, atol=1e-12)
    L = np.array([loss.value(networks.product(w)) for w in path])
    assert np.all(L <= L[0] * np.exp(-loss.pl_constant * bound * path.t) * (1 + 1e-6) + 1e-14)


def test_exponential_loss_decays_like_one_over_t():
    rng = np.random.default_rng(13)
    X = np.vstack([rng.normal(1.2, 0.4, (10, 2)), rng.normal(-1.2, 0.4, (10, 2))])
    y = np.repeat([1.0, -1.0], 10)
    loss, gamma = losses.exponential(X, y), layers.classification_margin(X, y)
    angles = np.linspace(0, 2 * np.pi, 200_001)
    scan = ((X * y[:, None]) @ np.array([np.cos(angles), np.sin(angles)])).min(axis=0).max()
    assert np.isclose(gamma, scan, atol=1e-6)
    for W in rng.standard_normal((200, 2, 1)):
        assert np.linalg.norm(loss.gradient(W)) >= gamma * loss.value(W)
    weights = networks.gaussian([2, 3, 1], 0.8, rng)
    alpha = rates.two_layer_bound(networks.imbalance(weights)[0], 2, 1, 0.0, 0.0)
    path = networks.layer_flow(loss, weights, np.geomspace(0.01, 1e3, 40))
    L = np.array([loss.value(networks.product(w)) for w in path])
    first = loss.value(networks.product(weights))
    assert alpha > 0
    assert np.all(L <= first / (1 + alpha * gamma**2 * first * path.t) * (1 + 1e-6))
    assert abs(np.polyfit(np.log(path.t[-8:]), np.log(L[-8:]), 1)[0] + 1) < 0.2  # not exponential


def test_earlier_bounds_are_special_cases():
    lam, M, eye = 1.3, 0.6, np.eye(3)
    for depth in (2, 3, 5):
        zeros, one_small = np.zeros(depth - 1), np.append(np.zeros(depth - 2), lam)
        assert np.isclose(rates.deep_scalar_bound(zeros, M), depth * M ** (2 - 2 / depth))
        assert np.isclose(rates.deep_scalar_bound(one_small, 0.0), lam ** (depth - 1))
        both = np.hypot(lam ** (depth - 1), depth * M ** (2 - 2 / depth))
        assert np.isclose(rates.deep_scalar_bound(one_small, M), both)
        assert np.isclose(layers.homogeneous_optimum(zeros, M, 3, 3), depth * M ** (2 - 2 / depth))
    assert np.isclose(rates.two_layer_bound(lam * eye, 3, 3, M, M), np.hypot(lam, 2 * M))
    assert np.isclose(rates.two_layer_bound(0 * eye, 3, 3, M, M), 2 * M)
    assert np.isclose(layers.three_layer_bound(0 * eye, lam * eye, 3, 3), lam**2)


def test_special_initializations_are_never_drawn():
    rng = np.random.default_rng(14)
    for _ in range(200):
        weights = networks.gaussian([2, 2, 2], 1.0, rng)
        D = networks.imbalance(weights)[0]
        assert np.linalg.norm(D - np.trace(D) / 2 * np.eye(2)) > 1e-6


# ---- Bad input

I2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.homogeneous_optimum([1.0], -1.0, 2, 2), "sigma_min"),
        (lambda: layers.homogeneous_optimum([1.0], 1.0, 0, 2), "n must"),
        (lambda: layers.three_layer_bound(np.eye(3), I2, 2, 2), "D1 cannot be"),
        (lambda: layers.three_layer_bound(I2, -np.eye(3), 2, 2), "D2 cannot be"),
        (lambda: layers.three_layer_bound(-I2, np.diag([0.0, -5.0]), 1, 1), "D1 and D2"),
        (lambda: layers.classification_margin(I2, [1, 1, 1]), "X and y"),
        (lambda: layers.classification_margin(I2, [1, 2]), "y must hold labels"),
        (lambda: layers.classification_margin([[1.0], [1.0]], [1, -1]), "not separable"),
        (lambda: layers.classification_margin([[1.0], [0.0]], [1, -1]), "not separable"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_round_off_is_told_by_the_size_of_the_layers():
    rng = np.random.default_rng(16)
    weights = networks.balanced(rng.standard_normal((2, 3)), [7, 7], rng)
    D = networks.imbalance(weights)
    size = max(np.linalg.norm(w, 2) ** 2 for w in weights)
    assert layers.three_layer_bound(*D, 2, 3, scale=size) < 1e-6


@pytest.mark.parametrize("s", [1e-9, 1e5])
def test_a_change_of_units_changes_nothing_else(s):
    rng = np.random.default_rng(22)
    D = networks.imbalance(networks.gaussian([2, 4, 6, 2], 1.0, rng))
    bound = layers.three_layer_bound(*D, 2, 2)
    assert bound > 0
    assert np.isclose(layers.three_layer_bound(s * D[0], s * D[1], 2, 2) / s**2, bound)
    with pytest.raises(ValueError, match="D1 cannot be"):
        layers.three_layer_bound(s * np.eye(3), s * np.eye(2), 2, 2)
    X, y = np.array([[1.0, 1.0], [-2.0, 0.3], [0.5, 3.0]]), [1, -1, 1]
    assert np.isclose(
        layers.classification_margin(s * X, y) / s, layers.classification_margin(X, y)
    )
