"""The Riccati solution: against integration, its rates, its limits, the modes."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overparam import losses, networks, riccati, scalar

SEEDS = st.integers(0, 10**6)
SIZES = st.integers(1, 4)


@st.composite
def starts(draw):
    """A target and factors with homogeneous imbalance of any possible sign."""
    m, n, sign = draw(SIZES), draw(SIZES), draw(st.sampled_from([-1, 0, 1]))
    widest = {1: m, -1: n, 0: 6}[sign]
    k, rng = draw(st.integers(1, widest)), np.random.default_rng(draw(SEEDS))
    imbalance = sign * draw(st.floats(0.05, 3))
    return rng.standard_normal((m, n)), *riccati.homogeneous_start((m, n), k, imbalance, rng)


def integrate(Y, U0, V0, times):
    path = networks.layer_flow(
        losses.squared_distance(Y), [U0, V0.T], times, rtol=1e-12, atol=1e-14
    )
    return np.array([networks.product(weights) for weights in path])


@given(starts())
@settings(max_examples=15)
def test_solution_is_the_flow(start):
    Y, U0, V0 = start
    times = [0.0, 0.1, 0.7, 3.0, 20.0, 500.0]
    if len(Y) == len(Y.T) and np.linalg.det(U0 @ V0.T) * np.linalg.det(Y) < 0:
        times = times[:4]  # balanced, it is on its way to a saddle, and an integrator leaves that
    X = riccati.solution(times, *start)
    assert np.allclose(X, integrate(*start, times), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("size", [1, 3])
def test_starts_on_the_stable_manifold_end_in_the_saddle(size):
    rng = np.random.default_rng(size)
    Y = rng.standard_normal((size, size))
    left, _, right = np.linalg.svd(Y)
    U0 = left @ rng.standard_normal((size, 4)) * 0.5
    V0 = -right.T @ left.T @ U0  # the mirror image: every mode has the wrong sign
    X = riccati.solution([0.0, 1.0, 20.0, 500.0], Y, U0, V0)
    assert np.all(np.trace(X @ right.T @ left.T, axis1=1, axis2=2)[:2] < 0)
    assert np.abs(X[-1]).max() < 1e-2 and np.all(np.isfinite(X))


@given(starts(), st.floats(0, 500))
def test_solution_is_finite_and_starts_at_the_product(start, t):
    Y, U0, V0 = start
    assert np.allclose(riccati.solution(0.0, *start), U0 @ V0.T, atol=1e-12)
    assert riccati.solution(t, *start).shape == Y.shape
    assert np.all(np.isfinite(riccati.solution([[t, 500.0]], *start)))


def test_late_times_cost_no_more_and_are_the_limit():
    rng = np.random.default_rng(4)
    for shape in [(5, 3), (40, 38)]:
        Y = rng.standard_normal(shape)
        start = riccati.homogeneous_start(shape, shape[1], 0.4, rng)
        X = riccati.solution([1e5, 1e12, 1e300], Y, *start)
        assert np.abs(X - Y).max() < 1e-12
    blind = [start[0] * 0, start[1] * 0]
    assert not np.any(riccati.solution(1e9, Y, *blind))


@given(starts(), st.sampled_from([1e-150, 1e-8, 1e8, 1e150]))
def test_the_solution_has_units(start, scale):
    Y, U, V = start
    root = np.sqrt(scale)
    plain = riccati.solution([0.1, 1.0, 30.0], Y, U, V)
    scaled = riccati.solution(np.array([0.1, 1.0, 30.0]) / scale, scale * Y, root * U, root * V)
    assert np.allclose(scaled / scale, plain, atol=1e-6)


@given(st.integers(1, 4), st.integers(0, 2), SEEDS)
def test_half_of_the_balanced_starts_of_square_targets_never_arrive(m, extra, seed):
    """For λ = 0 and k ≥ m = n the sign of det X stays; with the wrong sign X stays singular."""
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((m, m)) + 0.2 * np.eye(m)
    U, V = riccati.homogeneous_start((m, m), m + extra, 0.0, rng)
    if min(np.linalg.svd(A, compute_uv=False)[-1] for A in (Y, U @ V.T)) < 0.2:
        return  # too near a singular matrix to tell the sign by rounded numbers
    limit = riccati.solution(1e6, Y, U, V)
    if np.linalg.det(U @ V.T) * np.linalg.det(Y) < 0:
        assert abs(np.linalg.det(limit)) < 1e-6 * max(1, abs(np.linalg.det(Y)))
        assert np.linalg.norm(limit - Y) > 0.19
    else:
        assert np.linalg.norm(limit - Y) < 1e-6


@given(st.integers(1, 3), st.integers(1, 2), st.floats(0.2, 3), SEEDS)
def test_unequal_layers_as_wide_as_the_target_is_tall_always_arrive(n, extra, imbalance, seed):
    """λ > 0, k = m > n: X tends to Y from every start, at the rate e + λ/2."""
    rng, m = np.random.default_rng(seed), n + extra
    Y = np.linalg.qr(rng.standard_normal((m, n)))[0] * rng.uniform(0.5, 2, n)
    start = riccati.homogeneous_start((m, n), m, imbalance, rng)
    e = np.hypot(imbalance / 2, np.linalg.svd(Y, compute_uv=False)[-1])
    rate = e + imbalance / 2
    times = np.array([8.0, 12.0]) / rate
    gaps = np.linalg.norm(riccati.solution(times, Y, *start) - Y, axis=(1, 2))
    measured = np.log(gaps[0] / gaps[1]) / (times[1] - times[0])
    assert measured > 0.9 * rate


@given(starts())
def test_the_gram_matrix_obeys_the_riccati_equation(start):
    Y, U, V = start
    imbalance = riccati.homogeneous_imbalance(U, V)
    R, residual = np.vstack([U, V]), Y - U @ V.T
    dR, Q = np.vstack([residual @ V, residual.T @ U]), R @ R.T
    S = riccati.riccati_matrix(Y, imbalance)
    J = np.diag([1.0] * len(Y) + [-1.0] * Y.shape[1])
    assert np.allclose(dR @ R.T + R @ dR.T, S @ Q + Q @ S - Q @ Q, atol=1e-8)
    assert np.allclose(Q @ J @ Q, imbalance * Q, atol=1e-8)


@given(SIZES, SIZES, st.integers(1, 4), SEEDS)
def test_any_imbalance_closes_on_the_gram_matrix_but_not_as_riccati(m, n, k, seed):
    rng = np.random.default_rng(seed)
    Y, U, V = rng.standard_normal((m, n)), rng.standard_normal((m, k)), rng.standard_normal((n, k))
    R, residual = np.vstack([U, V]), Y - U @ V.T
    dR, Q = np.vstack([residual @ V, residual.T @ U]), R @ R.T
    S, J = riccati.riccati_matrix(Y, 0.0), np.diag([1.0] * m + [-1.0] * n)
    closed = S @ Q + Q @ S - Q @ Q + (J @ Q @ J @ Q + Q @ J @ Q @ J) / 2
    assert np.allclose(dR @ R.T + R @ dR.T, closed, atol=1e-9)


@given(SIZES, SIZES, st.floats(-3, 3), SEEDS)
@example(2, 3, 0.0, 0)
@example(3, 2, -1.0, 1)
def test_spectrum_of_the_riccati_matrix(m, n, imbalance, seed):
    Y = np.random.default_rng(seed).standard_normal((m, n))
    values, basis = riccati._eigenbasis(Y, imbalance)
    assert np.allclose(basis.T @ basis, np.eye(m + n), atol=1e-13)
    assert np.allclose(basis * values @ basis.T, riccati.riccati_matrix(Y, imbalance), atol=1e-13)
    pairs = np.sqrt(imbalance**2 / 4 + np.linalg.svd(Y, compute_uv=False) ** 2)
    left_over = [np.sign(m - n) * imbalance / 2] * abs(m - n)
    expected = np.sort([*pairs, *-pairs, *left_over])
    assert np.allclose(np.linalg.eigvalsh(riccati.riccati_matrix(Y, imbalance)), expected)


@pytest.mark.parametrize(
    "shape, width, shift",
    [((2, 2), 2, None), ((3, 2), 2, -0.3), ((2, 3), 2, 0.3), ((3, 2), 3, 0.3)],
)
def test_rate_depends_on_the_shape(shape, width, shift):
    """2e for square targets, e ∓ λ/2 for rectangular ones of the least width; e + λ/2 for k = m."""
    e = np.hypot(0.3, 0.8)
    predicted = 2 * e if shift is None else e + shift
    Y = 0.8 * np.eye(*shape)
    start = riccati.homogeneous_start(shape, width, 0.6, np.random.default_rng(7))
    times = np.linspace(12, 18, 20)
    gaps = np.linalg.norm(riccati.solution(times, Y, *start) - Y, axis=(1, 2))
    assert -np.polyfit(times, np.log(gaps), 1)[0] == pytest.approx(predicted, rel=0.03)


@given(st.integers(1, 3), SEEDS)
def test_narrow_networks_find_the_best_approximation_of_their_rank(k, seed):
    start = riccati.homogeneous_start((4, 4), k, 0.0, np.random.default_rng(seed))
    limit = riccati.solution(200.0, np.diag([4.0, 3.0, 2.0, 1.0]), *start)
    assert np.allclose(limit, np.diag([4.0, 3, 2, 1][:k] + [0.0] * (4 - k)), atol=1e-6)


@given(starts())
def test_when_the_gram_matrix_of_u_is_a_function_of_the_product(start):
    _, U, V = start
    imbalance = riccati.homogeneous_imbalance(U, V)
    m, k = U.shape
    X = U @ V.T
    eigenvalues, vectors = np.linalg.eigh(X @ X.T)
    eigenvalues = np.maximum(eigenvalues, 0)
    root = vectors * np.sqrt(imbalance**2 + 4 * eigenvalues) @ vectors.T
    formula = (imbalance * np.eye(m) + root) / 2
    holds = imbalance < 1e-9 or k == m
    assert np.allclose(U @ U.T, formula, atol=1e-5) == holds


@given(SIZES, SIZES, SEEDS)
@settings(max_examples=25)
def test_spectral_starts_follow_the_scalar_modes(m, n, seed):
    rng = np.random.default_rng(seed)
    Y, r = rng.standard_normal((m, n)), min(m, n)
    left, s, right = np.linalg.svd(Y, full_matrices=False)
    u, v = rng.standard_normal((2, r))
    times = np.array([0.3, 1.0, 4.0])
    path = networks.layer_flow(
        losses.squared_distance(Y), networks.spectral(Y, u, v, rng), times, rtol=1e-12, atol=1e-14
    )
    predicted = riccati.mode(times, s, u * v, u**2 - v**2)
    for weights, sigma in zip(path, predicted, strict=True):
        assert np.allclose(left.T @ networks.product(weights) @ right.T, np.diag(sigma), atol=1e-8)


def test_a_spectral_product_is_not_enough():
    """The same X0 with sheared factors: the singular vectors rotate."""
    Y, shear = np.diag([3.0, 1.0]), np.array([[1.0, 1.5], [0.0, 1.0]])
    U, V = np.diag([0.3, 0.5]), np.diag([0.4, 0.2])
    X = integrate(Y, U @ np.linalg.inv(shear), V @ shear.T, np.linspace(0, 3, 31))
    assert np.allclose(X[0], U @ V.T)
    assert np.abs(X[:, 0, 1]).max() > 0.02


def test_the_slowest_mode_need_not_be_the_smallest():
    targets, imbalances = np.array([0.9, 0.3]), np.array([1.0, 2.2])
    times = np.linspace(4, 8, 20)
    gaps = np.abs(riccati.mode(times, targets, 0.1, imbalances) - targets)
    rates = -np.polyfit(times, np.log(gaps), 1)[0]
    assert np.allclose(rates, np.hypot(imbalances, 2 * targets), rtol=0.02)
    assert rates[0] < rates[1]


def test_a_mode_without_target_and_imbalance_decays_like_one_over_2t():
    t = np.array([1e3, 1e5])
    assert np.allclose(riccati.mode(t, 0.0, 0.1, 0.0) * 2 * t, 1, rtol=0.02)


def test_one_by_one_is_the_scalar_case():
    rng = np.random.default_rng(3)
    for _ in range(30):
        y, u, v = rng.standard_normal(3)
        X = riccati.solution([0.5, 3.0], [[y]], [[u]], [[v]])[:, 0, 0]
        assert np.allclose(X, scalar.closed_form([0.5, 3.0], y, u * v, u**2 - v**2), atol=1e-12)


@given(starts())
def test_homogeneous_starts_are_homogeneous(start):
    _, U, V = start
    D = U.T @ U - V.T @ V
    assert np.allclose(D, riccati.homogeneous_imbalance(U, V) * np.eye(len(D)), atol=1e-9)


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
def test_an_imbalance_is_homogeneous_to_eight_digits_of_the_weights(unit):
    """U = 2I, V almost: D is -4δ in one corner, with the spread 4δ√(4/5); ‖U‖² + ‖V‖² = 40."""
    for share, accepted in ((0.9, True), (1.2, False)):
        U, V = 2 * np.eye(5), 2 * np.eye(5)
        V[0, 0] = 2 * np.sqrt(1 + share * 1e-8 * 10 / np.sqrt(0.8))
        if accepted:
            assert riccati.homogeneous_imbalance(unit * U, unit * V) < 0
            continue
        with pytest.raises(ValueError, match="homogeneous"):
            riccati.homogeneous_imbalance(unit * U, unit * V)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: riccati.solution(-1.0, np.eye(2), np.eye(2), np.eye(2)), "t must"),
        (lambda: riccati.solution(1.0, np.eye(2), np.eye(3), np.eye(2)), "U0 and V0"),
        (lambda: riccati.solution(1.0, np.eye(2), np.ones((2, 3)), np.eye(2)), "U0 and V0"),
        (lambda: riccati.solution(1.0, np.eye(2), np.diag([1.0, 2]), np.eye(2)), "homogeneous"),
        (lambda: riccati.solution(1.0, [[np.nan]], [[1.0]], [[1.0]]), "Y has"),
        (lambda: riccati.solution(np.inf, [[1.0]], [[1.0]], [[1.0]]), "t has"),
        (lambda: riccati.mode(-1.0, 1.0, 1.0, 1.0), "t must"),
        (lambda: riccati.mode(1.0, "a", 1.0, 1.0), "target must"),
        (lambda: riccati.mode(1.0, 1.0, np.nan, 1.0), "start has"),
        (lambda: riccati.mode(1.0, [1.0, 2.0], [1.0, 2.0, 3.0], 1.0), "one entry for each mode"),
        (lambda: riccati.homogeneous_imbalance([1.0], [[1.0]]), "U must"),
        (lambda: riccati.homogeneous_imbalance(np.eye(2), np.ones((2, 3))), "columns"),
        (lambda: riccati.homogeneous_start((2, 3), 3, 1.0, np.random.default_rng(0)), "width"),
        (lambda: riccati.homogeneous_start((3, 2), 3, -1.0, np.random.default_rng(0)), "width"),
        (lambda: riccati.homogeneous_start((3, 2), 2, 1.0, None), "rng"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
