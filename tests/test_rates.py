import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam import flow, losses, networks, rates

seeds = st.integers(0, 2**32 - 1)
width = st.integers(1, 5)
DRAWS = 20  # networks for each of the fifty examples of a theorem: a thousand in all
theorem = settings(max_examples=50)


def draw_weights(sizes, rng):
    """Return random layers: of any scale, and at times balanced, singular, zero or lopsided."""
    weights = networks.gaussian(sizes, 1.0, rng)
    for layer in weights:
        layer *= np.exp(rng.normal(0, 0.7))
    kind = rng.integers(7)
    if kind == 1 and min(sizes[1:-1]) >= min(sizes[0], sizes[-1]):
        weights = networks.balanced(networks.product(weights), sizes[1:-1], rng)
    elif kind == 2:
        weights[rng.integers(len(weights))][0] = 0.0
    elif kind == 3:
        weights[0][:] = weights[0][:1]
    elif kind == 4:
        weights[rng.integers(len(weights))] *= 0.0
    elif kind == 5:
        weights[rng.integers(len(weights))] *= 30.0
    return weights


def sigma(W, i, rank):
    """The i-th singular value, 0 beyond the rank that the widths allow."""
    return float(np.linalg.svd(W, compute_uv=False)[i - 1]) if i <= rank else 0.0


def two_layer(weights):
    (n, h), m = weights[0].shape, weights[1].shape[1]
    W, D = networks.product(weights), networks.imbalance(weights)[0]
    return D, n, m, sigma(W, n, min(n, m, h)), sigma(W, m, min(n, m, h))


def below(bound, value, scale):
    return bound <= value + 1e-9 * scale


def norm_of_operator(weights):
    return len(weights) * np.prod([max(np.linalg.norm(w, 2) ** 2, 1e-3) for w in weights])


# ---- The model and the operator


def test_wide_networks_reach_every_matrix_and_bottlenecks_only_low_rank():
    rng = np.random.default_rng(0)
    for n, m in ((2, 4), (4, 2), (3, 3)):
        W = rng.standard_normal((n, m))
        assert np.allclose(networks.product(networks.balanced(W, [min(n, m), 5], rng)), W)
    Y = rng.standard_normal((3, 3))
    narrow = networks.gaussian([3, 2, 3], 1.0, rng)
    assert np.linalg.matrix_rank(networks.product(narrow)) == 2
    assert losses.squared_distance(Y).value(networks.product(narrow)) >= sigma(Y, 3, 3) ** 2 / 2


@given(st.lists(width, min_size=2, max_size=6), seeds)
def test_operator_is_gradient_times_its_adjoint(sizes, seed):
    rng = np.random.default_rng(seed)
    weights = draw_weights(sizes, rng) if len(sizes) > 2 else networks.gaussian(sizes, 1.0, rng)
    W = networks.product(weights)
    E = rng.standard_normal(W.shape)
    TE = rates.apply_operator(weights, E)
    gradients = networks.gradients(weights, lambda _: E)
    scale = norm_of_operator(weights)
    assert np.isclose(np.sum(TE * E), sum(np.sum(G**2) for G in gradients), atol=1e-9 * scale)
    matrix = rates.operator(weights)
    assert np.allclose(matrix @ E.ravel(), TE.ravel(), atol=1e-9 * scale)
    assert np.allclose(matrix, matrix.T, atol=1e-12 * scale)
    assert np.linalg.eigvalsh(matrix)[0] >= -1e-9 * scale


def test_operator_of_a_tall_product_is_ordered_by_rows():
    # W1 W1ᵀ acts on rows: for m = 1 the matrix is W1 W1ᵀ + |W2|² I, and kron(I, ·) is not.
    W1, W2 = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]), np.ones((2, 2))
    expected = np.kron(W1 @ W1.T, np.eye(2)) + np.kron(np.eye(3), W2.T @ W2)
    assert np.array_equal(rates.operator([W1, W2]), expected)


def test_induced_flow_has_a_minus_sign():
    rng = np.random.default_rng(1)
    weights, Y = networks.gaussian([2, 3, 3, 2], 0.7, rng), rng.standard_normal((2, 2))
    loss = losses.squared_distance(Y)
    step = 1e-5
    after = networks.layer_flow(loss, weights, step, rtol=1e-12, atol=1e-14).final
    W = networks.product(weights)
    velocity = (networks.product(after) - W) / step
    assert np.allclose(velocity, -rates.apply_operator(weights, loss.gradient(W)), atol=1e-3)


@given(width, width, width, seeds)
def test_spectrum_for_two_layers_is_that_of_sums(n, h, m, seed):
    W1, W2 = draw_weights([n, h, m], np.random.default_rng(seed))
    sums = np.add.outer(np.linalg.eigvalsh(W1 @ W1.T), np.linalg.eigvalsh(W2.T @ W2))
    found = np.linalg.eigvalsh(rates.operator([W1, W2]))
    assert np.allclose(np.sort(sums, axis=None), found, atol=1e-9 * (1 + abs(found).max()))


@given(st.lists(width, min_size=2, max_size=5), seeds)
def test_smallest_eigenvalue_is_that_of_the_matrix(sizes, seed):
    rng = np.random.default_rng(seed)
    weights = draw_weights(sizes, rng) if len(sizes) > 2 else networks.gaussian(sizes, 1.0, rng)
    spectrum = np.linalg.eigvalsh(rates.operator(weights))
    assert abs(rates.smallest_eigenvalue(weights) - spectrum[0]) <= 1e-8 * spectrum[-1]


@pytest.mark.parametrize("sizes", [(14, 14, 14, 14), (12, 20, 30, 11), (11, 3, 9, 12), (11,) * 5])
@pytest.mark.parametrize("kind", ["plain", "singular", "blocks", "equal blocks", "zero", "wide"])
def test_iteration_without_the_matrix_agrees_with_it(sizes, kind):
    rng = np.random.default_rng([*sizes, len(kind)])
    weights = networks.gaussian(sizes, 1 / math.sqrt(sizes[1]), rng)
    if kind == "singular":
        weights[0][0], weights[-1][:, 0] = 0.0, 0.0
    elif "blocks" in kind:
        for w in weights:
            a, b = len(w) // 2, w.shape[1] // 2
            w[:a, b:], w[a:, :b] = 0.0, 0.0
            if kind == "equal blocks":
                w[a : 2 * a, b : 2 * b] = w[:a, :b] * (1 + 1e-6)
    elif kind == "zero":
        weights[1] *= 0.0
    elif kind == "wide":
        weights[0] *= np.geomspace(1, 1e-4, sizes[0])[:, None]
    spectrum = np.linalg.eigvalsh(rates.operator(weights))
    found = rates._lowest(*rates._factors(weights))  # not the fall-back to the matrix
    assert found is not None
    assert abs(found - spectrum[0]) <= 1e-8 * spectrum[-1]
    assert rates.smallest_eigenvalue(weights) == found


def test_smallest_eigenvalue_falls_back_to_the_matrix(monkeypatch):
    monkeypatch.setattr(rates, "_lowest", lambda *_: None)
    weights = networks.gaussian([11, 12, 12, 11], 1.0, np.random.default_rng(0))
    expected = np.linalg.eigvalsh(rates.operator(weights))[0]
    assert np.isclose(rates.smallest_eigenvalue(weights), expected)


# ---- Local PL, and the margin


@given(st.lists(width, min_size=3, max_size=5), seeds)
def test_local_pl_inequality(sizes, seed):
    rng = np.random.default_rng(seed)
    weights = draw_weights(sizes, rng)
    W = networks.product(weights)
    loss = losses.regression(
        rng.standard_normal((len(W) + 1, len(W))), np.zeros((len(W) + 1, W.shape[1]))
    )
    squared = sum(np.sum(G**2) for G in networks.gradients(weights, loss.gradient))
    bound = loss.pl_constant * rates.smallest_eigenvalue(weights) * (loss.value(W) - loss.minimum)
    assert bound <= squared * (1 + 1e-9) + 1e-6 * (bound + 1e-12)


def test_reversed_local_pl_inequality_fails():
    weights, E = [np.diag([2.0, 1.0]), np.eye(2)], np.diag([1.0, 0.0])
    squared = np.sum(rates.apply_operator(weights, E) * E)
    assert squared == 5 > 2 * rates.smallest_eigenvalue(weights) * 0.5 == 2


def quadratic(target, curvature):
    """Flow of ½<W - W*, H(W - W*)> with the diagonal H = curvature, entry by entry."""
    return lambda W: curvature * (W - target)


@given(width, width, width, seeds)
@settings(max_examples=60)
def test_singular_values_stay_above_the_margins(n, h, m, seed):
    rng = np.random.default_rng(seed)
    weights = networks.gaussian([n, h, m], 1.0, rng)
    W0 = networks.product(weights)
    target = W0 + 0.3 * rng.random() * rng.standard_normal((n, m))
    curvature = 1 + 9 * rng.random((n, m))
    slope = quadratic(target, curvature)
    path = flow.gradient_flow(
        lambda w: networks.gradients(w, slope), weights, np.linspace(0, 1, 10)
    )
    condition = curvature.max() / curvature.min()
    M = rates.margins(target, W0, condition)
    assert M.shape == (max(n, m),) and np.all(M[min(n, m) :] == 0)
    for w in path:
        singular = np.linalg.svd(networks.product(w), compute_uv=False)
        assert np.all(singular >= M[: len(singular)] - 1e-6)


def test_margin_of_matrices_needs_the_condition_number():
    target, curvature = np.array([[2.0], [0.0]]), np.array([[1.0], [25.0]])
    start = [np.array([[4.0, 1.0], [2.0, 0.0]]), np.array([[0.5], [0.0]])]
    slope = quadratic(target, curvature)
    path = flow.gradient_flow(lambda w: networks.gradients(w, slope), start, np.linspace(0, 3, 300))
    smallest = min(np.linalg.norm(networks.product(w)) for w in path)
    assert smallest < 0.5 < rates.margins(target, networks.product(start))[0] == 1.0
    assert smallest >= rates.margins(target, networks.product(start), 25.0)[0] == 0.0


# ---- Scalar layers


@given(st.integers(2, 8), seeds)
@theorem
def test_deep_scalar_bound_is_below_the_optimum(depth, seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((DRAWS, depth)) * np.exp(rng.normal(0, 1, (DRAWS, 1)))
    w[::5] = np.abs(w[::5, :1])  # balanced
    w[1::5, 0] = 0.0  # product zero
    squares = w**2
    exact = sum(np.prod(np.delete(squares, l, axis=1), axis=1) for l in range(depth))
    d = -np.diff(squares, axis=1)
    bound = rates.deep_scalar_bound(d, w.prod(axis=1))
    assert np.all(bound <= exact * (1 + 1e-9))
    if depth == 2:
        assert np.allclose(bound, exact)
    assert np.allclose(bound[::5], exact[::5])
    sorted_squares = np.sort(squares, axis=1)[:, ::-1]
    consecutive = np.prod(-np.diff(sorted_squares, axis=1), axis=1)
    assert np.all(
        consecutive <= np.prod(rates.cumulative_imbalances(d), axis=1) * (1 + 1e-9) + 1e-12
    )


@given(st.integers(2, 6), seeds)
def test_deep_scalar_optimum_is_the_operator(depth, seed):
    rng = np.random.default_rng(seed)
    weights = networks.gaussian([1] * (depth + 1), 1.0, rng)
    d = [D.item() for D in networks.imbalance(weights)]
    w = networks.product(weights).item()
    exact = rates.operator(weights).item()
    assert np.isclose(rates.deep_scalar_optimum(d, w), exact, rtol=1e-7, atol=1e-12)
    more = rates.deep_scalar_optimum(d, 1.1 * w), rates.deep_scalar_bound(d, 1.1 * w)
    assert more[0] >= exact * (1 - 1e-7) and more[1] >= rates.deep_scalar_bound(d, w)


def test_cumulative_imbalances_are_differences_to_the_smallest_weight():
    assert np.array_equal(rates.cumulative_imbalances([1, -1]), [1, 1])
    assert np.array_equal(rates.cumulative_imbalances([1, 3]), [4, 3])
    assert np.array_equal(rates.cumulative_imbalances([[-2.0], [3.0]]), [[2], [3]])
    assert rates.deep_scalar_bound([1, -1], 0.0) == rates.deep_scalar_optimum([1, -1], 0.0) == 1
    assert 4 * 3 > 1 * 3  # consecutive differences give less


def test_poster_conventions_for_scalars():
    # |y - w|² has gamma = 4; (L·margin)^(2-2/L) is too large already for balanced weights.
    w, y = np.array([0.7, 1.2, -0.4]), 0.5
    gap, T = w.prod() - y, np.sum(w.prod() ** 2 / w**2)
    assert np.isclose(np.sum((2 * gap * w.prod() / w) ** 2), 4 * T * gap**2)
    assert (3 * 0.5) ** (4 / 3) > rates.deep_scalar_optimum([0, 0], 0.5) + 1e-9
    # and the conserved differences are of w_l and w_{l+1}, on both sides of the equation
    path = networks.layer_flow(losses.squared_distance([[y]]), [np.array([[x]]) for x in w], 1.0)
    final = np.array([x.item() for x in path.final])
    assert np.isclose(final[1] ** 2 - final[2] ** 2, w[1] ** 2 - w[2] ** 2)
    assert not np.isclose(final[1] ** 2 - final[2] ** 2, w[1] ** 2 - w[0] ** 2)


# ---- Two layers


@given(width, st.integers(1, 8), width, seeds)
@theorem
def test_two_layer_bound_is_below_the_smallest_eigenvalue(n, h, m, seed):
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        weights = draw_weights([n, h, m], rng)
        bound = rates.two_layer_bound(*two_layer(weights))
        assert below(bound, rates.smallest_eigenvalue(weights), norm_of_operator(weights))


def test_two_layer_bound_needs_its_half_and_its_pairing():
    rng = np.random.default_rng(3)
    without_half = swapped = 0
    for _ in range(500):
        n, h, m = rng.integers(1, 5, 3)
        weights = networks.gaussian([n, h, m], 1.0, rng)
        D, n, m, sn, sm = two_layer(weights)
        exact = rates.smallest_eigenvalue(weights)
        without_half += 2 * rates.two_layer_bound(D, n, m, sn, sm) > exact * (1 + 1e-9) + 1e-9
        up = np.append(np.linalg.eigvalsh(D)[::-1].clip(0), np.zeros(5))
        down = np.append(np.linalg.eigvalsh(-D)[::-1].clip(0), np.zeros(5))
        spread, gap = (up[0] - up[n - 1], down[0] - down[m - 1]), up[n - 1] + down[m - 1]
        parts = [-s + np.hypot(s + gap, 2 * z) for s, z in zip(spread, (sn, sm), strict=True)]
        swapped += sum(parts) / 2 > exact * (1 + 1e-9) + 1e-9
        right = [-s + np.hypot(s + gap, 2 * z) for s, z in zip(spread, (sm, sn), strict=True)]
        assert np.isclose(sum(right) / 2, rates.two_layer_bound(D, n, m, sn, sm), atol=1e-9)
    assert without_half > 100 and swapped > 50


@given(width, st.integers(1, 8), width, seeds)
@theorem
def test_two_layer_bound_is_attained(n, h, m, seed):
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS // 5):
        weights = draw_weights([n, h, m], rng)
        D, n, m, *singular = two_layer(weights)
        least = rates.two_layer_minimizer(D, networks.product(weights))
        scale = norm_of_operator(weights)
        assert np.allclose(networks.imbalance(least)[0], D, atol=1e-7 * scale)
        assert np.allclose(networks.product(least), networks.product(weights), atol=1e-7 * scale)
        bound, value = rates.two_layer_bound(D, n, m, *singular), rates.smallest_eigenvalue(least)
        assert below(bound, value, 1e2 * scale)
        if n != m or n == 1:
            assert np.isclose(value, bound, atol=1e-6 * scale)


def test_two_layer_bound_is_strict_for_square_products():
    """All layers with D = diag(1, -1) and singular values 1, ½ are a family with one parameter."""
    D = np.diag([1.0, -1.0])
    p = np.geomspace(0.05, 5, 200_001)  # det W1ᵀW1
    g = 1 + 1 / (4 * p) - p
    possible = 1.25 - g**2 + g - 2 * p >= 0
    p, g = p[possible], g[possible]
    s = np.sqrt(2.25 + p + 1 / (4 * p))
    value = s - (np.sqrt(s**2 - 4 * p) + np.sqrt(s**2 - 1 / p)) / 2
    bound = rates.two_layer_bound(D, 2, 2, 0.5, 0.5)
    assert 1.6 * bound < value.min() < 1.7 * bound
    for k in range(0, len(p), 5000):
        b = np.sqrt(1.25 - g[k] ** 2 + g[k] - 2 * p[k]) / 2
        S = np.array([[s[k] + g[k], 2 * b], [2 * b, s[k] - g[k]]]) / 2
        weights = [np.linalg.cholesky(S).T, np.linalg.cholesky(S - D)]
        assert np.allclose(networks.imbalance(weights)[0], D)
        assert np.allclose(np.linalg.svd(networks.product(weights))[1], [1, 0.5])
        assert np.isclose(rates.smallest_eigenvalue(weights), value[k])


def test_two_layer_bound_increases_with_the_singular_values():
    rng = np.random.default_rng(5)
    for _ in range(300):
        n, h, m = rng.integers(1, 6, 3)
        D = networks.imbalance(networks.gaussian([n, h, m], 1.0, rng))[0]
        z = np.sort(rng.random(6)) * (h >= min(n, m))
        values = [rates.two_layer_bound(D, n, m, s * (n <= m), s * (m <= n)) for s in [0, *z]]
        assert np.all(np.diff(values) >= -1e-12)


# ---- Factorization and regression


def batch(sizes, count, rng):
    return [
        rng.standard_normal((count, *shape)) for shape in zip(sizes[:-1], sizes[1:], strict=True)
    ]


TIMES = np.array([0.01, 0.05, 0.2, 0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    "sizes", [(2, 3, 1), (1, 3, 2), (2, 5, 3), (3, 5, 2), (2, 4, 2), (2, 1, 2), (1, 2, 1)]
)
def test_factorization_rate_is_below_the_measured_rate(sizes):
    rng = np.random.default_rng(sizes)
    weights = batch(sizes, 150, rng)
    W0 = weights[0] @ weights[1]
    reachable = sizes[1] >= min(sizes[0], sizes[-1])
    Y = W0 + rng.random((150, 1, 1)) * rng.standard_normal(W0.shape)
    bounds = [rates.factorization_rate(y, U, Vt.T) for y, U, Vt in zip(Y, *weights, strict=True)]
    measured = rates.measured_rates(weights, Y, TIMES)
    assert np.all(np.array(bounds) <= measured * (1 + 1e-4) + 1e-9)
    assert np.mean(np.array(bounds) > 1e-6) > (0.4 if reachable else -1)


def test_factorization_bounds_of_the_eigenvalues():
    rng = np.random.default_rng(6)
    for _ in range(500):
        m, n, k = rng.integers(1, 5, 3)
        U, V = rng.standard_normal((m, k)), rng.standard_normal((n, k))
        Lam = U.T @ U - V.T @ V
        up = np.append(np.linalg.eigvalsh(Lam)[::-1].clip(0), np.zeros(5))
        down = np.append(np.linalg.eigvalsh(-Lam)[::-1].clip(0), np.zeros(5))
        l1, l2 = -up[0] + down[n - 1], up[0] + down[n - 1]
        l3, l4 = -down[0] + up[m - 1], down[0] + up[m - 1]
        s = np.append(np.linalg.svd(U @ V.T, compute_uv=False), np.zeros(5))
        assert (l3 + np.hypot(l4, 2 * s[m - 1])) / 2 <= np.linalg.eigvalsh(U @ U.T)[0] + 1e-7
        assert (l1 + np.hypot(l2, 2 * s[n - 1])) / 2 <= np.linalg.eigvalsh(V @ V.T)[0] + 1e-7


def test_printed_pairing_and_missing_square_fail():
    # u = 1/2, v = 2: l1 = l2 = 3.75 belong to V; u = v = 1/2: 4 sigma in place of 4 sigma².
    assert (3.75 + np.hypot(3.75, 2.0)) / 2 == pytest.approx(4.0) and 4.0 > 0.5**2
    assert np.sqrt(4 * 0.25) / 2 > 0.25


def fall(Y, U, V, time):
    loss = losses.squared_distance(Y)
    path = networks.layer_flow(loss, [U, V.T], time, rtol=1e-10)
    return loss.value(networks.product(path.final)) / loss.value(U @ V.T)


def test_printed_indices_of_the_factorization_theorem_fail():
    U, V, Y = np.diag([2.0, 0.1]), np.array([[0.0, 0.5]]), np.array([[0.0], [0.5]])
    E = Y - U @ V.T
    slope = -2 * np.sum((E @ V) ** 2 + (E.T @ U) ** 2) / np.sum(E**2)  # of log loss
    m_of_U, n_of_V = 0.01, 0.25  # least eigenvalues of UUᵀ (2 × 2) and VVᵀ (1 × 1)
    assert slope <= -2 * (m_of_U + n_of_V) + 1e-12
    assert slope > -2 * (4.0 + 0.0)  # lambda_n(UUᵀ) + lambda_m(VVᵀ) as printed
    printed = (-4 + 4) + (4 - 0.24) + (4 + 0.24)
    assert np.exp(-printed) < fall(Y, U, V, 1.0) <= np.exp(-rates.factorization_rate(Y, U, V))


def test_corollary_holds_for_square_homogeneous_imbalance_only():
    rng = np.random.default_rng(7)
    U, Vt = networks.homogeneous(rng.standard_normal((3, 3)), [0.8], rng)
    Y = U @ Vt + 0.01 * rng.standard_normal((3, 3))
    M = rates.margins(Y, U @ Vt)[2]
    assert np.isclose(rates.factorization_rate(Y, U, Vt.T), 2 * np.hypot(0.8, 2 * M))
    v2 = (np.sqrt(5) - 1) / 2
    U, V, Y = (
        np.array([[np.sqrt(1 + v2)], [0.0]]),
        np.array([[np.sqrt(v2)]]),
        np.array([[1.0], [0.01]]),
    )
    claimed = 2 * np.hypot(1, 2 * rates.margins(Y, U @ V.T)[0])
    assert np.exp(-claimed) < fall(Y, U, V, 1.0) <= np.exp(-rates.factorization_rate(Y, U, V))
    # homogeneous and square, but k = 1 < 2 = m = n: the second mode of the target is out of reach
    U, V, Y = np.array([[2.0], [0.0]]), np.zeros((2, 1)), np.eye(2)
    assert np.array_equal(U.T @ U - V.T @ V, [[4.0]]) and rates.factorization_rate(Y, U, V) == 0
    assert np.exp(-2 * 4.0) < 0.5 <= fall(Y, U, V, 1.0) < 0.51
    # imbalance of both signs, k = m = n: nothing without a margin
    assert rates.factorization_rate(np.zeros((2, 2)), np.diag([1.0, 0.0]), np.diag([0.0, 1.0])) == 0


@pytest.mark.parametrize("sizes", [(2, 3, 1), (1, 3, 2), (2, 5, 3), (3, 5, 2), (2, 4, 2)])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_regression_rate_is_below_the_measured_rate(sizes, scale):
    rng = np.random.default_rng([*sizes, round(10 * scale)])
    weights = batch(sizes, 120, rng)
    W0 = weights[0] @ weights[1]
    X = scale * (0.3 * rng.standard_normal((120, 4, sizes[0])) + np.eye(4, sizes[0]))
    noise = rng.standard_normal((120, 4, sizes[-1]))
    Y = X @ (W0 + 0.3 * rng.random((120, 1, 1)) * rng.standard_normal(W0.shape)) + noise
    bounds = [
        rates.regression_rate(x, y, U, Vt.T) for x, y, U, Vt in zip(X, Y, *weights, strict=True)
    ]
    measured = rates.measured_rates(weights, Y, TIMES, X)
    assert np.all(np.array(bounds) <= measured * (1 + 1e-4) + 1e-9)
    assert np.mean(np.array(bounds) > 1e-6) > 0.4


def test_regression_rate_scales_with_the_data_and_the_quotient_does_not():
    rng = np.random.default_rng(8)
    X, Y, U, V = (rng.standard_normal(s) for s in ((5, 2), (5, 2), (2, 4), (2, 4)))
    assert np.isclose(
        rates.regression_rate(3 * X, 3 * Y, U, V), 9 * rates.regression_rate(X, Y, U, V)
    )
    X, Y, U, V = (np.array([[value]]) for value in (0.1, 0.05, 1.5, 0.1))
    loss = losses.regression(X, Y)
    path = networks.layer_flow(loss, [U, V.T], 1.0, rtol=1e-10)
    relative = loss.value(networks.product(path.final)) / loss.value(U @ V.T)
    assert np.exp(-2 * (1.5**2 - 0.1**2)) < relative <= np.exp(-rates.regression_rate(X, Y, U, V))


def test_regression_rate_is_the_formula_for_full_column_rank():
    rng = np.random.default_rng(18)
    for _ in range(50):
        m, n, k = rng.integers(1, 4, 2).tolist() + [6]
        X, U, V = (rng.standard_normal(shape) for shape in ((5, m), (m, k), (n, k)))
        best = U @ V.T + 0.05 * rng.standard_normal((m, n))
        eigenvalues, Lam = np.linalg.eigvalsh(X.T @ X), U.T @ U - V.T @ V
        up, down = np.linalg.eigvalsh(Lam)[::-1].clip(0), np.linalg.eigvalsh(-Lam)[::-1].clip(0)
        l1, l2 = -up[0] + down[n - 1], up[0] + down[n - 1]
        l3, l4 = -down[0] + up[m - 1], down[0] + up[m - 1]
        s = np.append(np.linalg.svd(best, compute_uv=False), np.zeros(5))
        reach = np.sqrt(eigenvalues[-1] / eigenvalues[0]) * np.linalg.norm(best - U @ V.T)
        M = np.maximum(s - reach, 0.0) * (np.arange(len(s)) < min(m, n))
        sides = l1 + np.hypot(l2, 2 * M[n - 1]) + l3 + np.hypot(l4, 2 * M[m - 1])
        found = rates.regression_rate(X, X @ best, U, V)
        assert np.isclose(found, eigenvalues[0] * sides, atol=1e-9)


def test_whitened_regression_is_factorization_up_to_a_constant():
    rng = np.random.default_rng(9)
    X, Y = np.linalg.qr(rng.standard_normal((6, 3)))[0], rng.standard_normal((6, 2))
    regression, factorization = losses.regression(X, Y), losses.squared_distance(X.T @ Y)
    draws = rng.standard_normal((10, 3, 2))
    differences = [regression.value(W) - factorization.value(W) for W in draws]
    assert np.ptp(differences) < 1e-12 and differences[0] > 0.1
    U, V = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    same = rates.factorization_rate(X.T @ Y, U, V)
    assert np.isclose(rates.regression_rate(X, Y, U, V), same)


def test_rank_deficient_data_freeze_and_conserve():
    rng = np.random.default_rng(10)
    X = rng.standard_normal((6, 3)) @ rng.standard_normal((3, 5))
    Y, U, V = (rng.standard_normal(s) for s in ((6, 2), (5, 6), (2, 6)))
    loss, alpha = losses.regression(X, Y), rates.regression_rate(X, Y, U, V)
    path = networks.layer_flow(loss, [U, V.T], np.linspace(0, 3 / alpha, 15))
    phi = np.linalg.svd(X)[2]
    kept = lambda U, Vt: (phi[:3] @ U).T @ (phi[:3] @ U) - Vt @ Vt.T  # noqa: E731
    excess = np.array([loss.value(networks.product(w)) - loss.minimum for w in path])
    assert alpha > 0 and np.all(excess <= excess[0] * np.exp(-alpha * path.t) * (1 + 1e-6) + 1e-9)
    for w in path:
        assert np.allclose(phi[3:] @ w[0], phi[3:] @ U, atol=1e-7)
        assert np.allclose(kept(*w), kept(U, V.T), atol=1e-6)


# ---- Measured rates


def test_measured_rates_agree_with_single_flows():
    rng = np.random.default_rng(15)
    weights, X = batch([2, 3, 3, 2], 4, rng), rng.standard_normal((4, 5, 2))
    weights = [0.5 * w for w in weights]
    Y = rng.standard_normal((4, 5, 2))
    measured = rates.measured_rates(weights, Y, TIMES, X)
    for k in range(4):
        loss = losses.regression(X[k], Y[k])
        path = networks.layer_flow(loss, [w[k] for w in weights], TIMES, rtol=1e-12, atol=1e-14)
        first = loss.value(functools.reduce(np.matmul, [w[k] for w in weights])) - loss.minimum
        excess = np.array([loss.value(networks.product(w)) - loss.minimum for w in path]) / first
        use = excess > 1e-6
        assert np.isclose(measured[k], (-np.log(excess[use]) / TIMES[use]).min(), rtol=1e-6)
    unit = 1e-8  # of the weights; three layers, so that rates have its fourth power
    scaled = rates.measured_rates([unit * w for w in weights], unit**3 * Y, TIMES / unit**4, X)
    assert np.allclose(scaled / unit**4, measured, rtol=1e-6)


# ---- Bad input

I2 = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rates.operator([I2, np.ones((3, 2))]), "weights.*do not chain"),
        (lambda: rates.smallest_eigenvalue([I2, np.ones((3, 2))]), "weights.*do not chain"),
        (lambda: rates.smallest_eigenvalue([]), "weights"),
        (
            lambda: rates.apply_operator([I2, I2], np.ones((2, 3))),
            r"E must have the shape \(2, 2\)",
        ),
        (lambda: rates.margins(I2, np.ones((2, 3))), "start must have the shape"),
        (lambda: rates.margins(I2, I2, 0.5), "condition"),
        (lambda: rates.cumulative_imbalances([]), "imbalances"),
        (lambda: rates.deep_scalar_bound([1.0], np.nan), "product"),
        (lambda: rates.deep_scalar_optimum([[1.0, 2.0]], 1.0), "imbalances"),
        (lambda: rates.two_layer_bound(np.ones((2, 3)), 2, 2, 0, 0), "D must be a symmetric"),
        (lambda: rates.two_layer_bound([[0, 1], [0, 0]], 2, 2, 0, 0), "D must be a symmetric"),
        (lambda: rates.two_layer_bound(np.eye(3), 2, 2, 0, 0), "D cannot be.*3 positive"),
        (lambda: rates.two_layer_bound(-np.eye(3), 3, 2, 0, 0), "D cannot be.*3 negative"),
        (lambda: rates.two_layer_bound(I2, 2, 2, -0.1, 0), "sigma_n"),
        (lambda: rates.two_layer_bound(I2, 2, 2, 0.1, -0.1), "sigma_m"),
        (lambda: rates.two_layer_bound(I2, 3, 2, 0.1, 0.1), "sigma_n must be 0"),
        (lambda: rates.two_layer_bound(I2, 2, 3, 0.1, 0.1), "sigma_m must be 0"),
        (lambda: rates.two_layer_bound(I2, 3, 3, 0.1, 0.1), "sigma_n must be 0"),
        (lambda: rates.two_layer_minimizer(np.eye(1), I2), "W has rank 2"),
        (lambda: rates.two_layer_minimizer(np.eye(3), I2), "D cannot be"),
        (lambda: rates.factorization_rate(I2, I2, np.ones((3, 2))), "U0 and V0"),
        (lambda: rates.factorization_rate(I2, I2, np.ones((2, 3))), "U0 and V0"),
        (lambda: rates.regression_rate(np.ones((3, 2)), I2, I2, I2), "X and Y"),
        (lambda: rates.regression_rate(np.zeros((2, 2)), I2, I2, I2), "X is zero"),
        (lambda: rates.measured_rates([I2], I2[None], TIMES), r"weights\[0\]"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_round_off_is_told_by_the_size_of_the_layers():
    rng = np.random.default_rng(16)
    weights = networks.balanced(1e3 * rng.standard_normal((2, 2)), [6], rng)
    D = networks.imbalance(weights)[0]  # zero up to round-off, with eigenvalues of both signs
    size = np.linalg.norm(weights[0], 2) ** 2
    assert rates.two_layer_bound(D, 2, 2, 0.0, 0.0, scale=size) < 1e-6
    with pytest.raises(ValueError, match="give their size as scale"):
        rates.two_layer_bound(D, 2, 2, 0.0, 0.0)


@pytest.mark.parametrize("s", [1e-9, 1e-4, 1e5])
def test_a_change_of_units_changes_nothing_else(s):
    rng = np.random.default_rng(17)
    weights = networks.gaussian([3, 6, 2], 1.0, rng)
    small = [math.sqrt(s) * w for w in weights]
    D, n, m, *singular = two_layer(weights)
    for values in (singular, [0.0, 0.0]):
        bound = rates.two_layer_bound(s * D, n, m, *(s * z for z in values))
        assert np.isclose(bound / s, rates.two_layer_bound(D, n, m, *values), rtol=1e-7)
    with pytest.raises(ValueError, match="D cannot be"):
        rates.two_layer_bound(s * np.eye(3), 2, 2, 0.0, 0.0)
    W = networks.product(weights)
    Y, X = W + 0.1 * rng.standard_normal(W.shape), rng.standard_normal((5, 3))
    rate = rates.factorization_rate(Y, weights[0], weights[1].T)
    assert np.isclose(rates.factorization_rate(s * Y, small[0], small[1].T) / s, rate)
    assert np.allclose(rates.margins(s * Y, s * W) / s, rates.margins(Y, W))
    rate = rates.regression_rate(X, X @ Y, weights[0], weights[1].T)
    assert rate > 0
    small_data = rates.regression_rate(s * X, s * X @ Y, weights[0], weights[1].T)
    assert np.isclose(small_data / s**2, rate)
    deep = networks.gaussian([12, 12, 12, 12], 0.3, rng)
    least = rates.smallest_eigenvalue([s**0.25 * w for w in deep])
    assert np.isclose(least / s, rates.smallest_eigenvalue(deep), rtol=1e-3)
