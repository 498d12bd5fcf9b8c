"""The minimum-norm solution: what is frozen, the distance, orthogonal and random starts, width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overparam import losses, minnorm, networks, riccati

SEEDS = st.integers(0, 10**6)
TIGHT = {"rtol": 1e-11, "atol": 1e-13}


def data(m, n, r, rng, N=None, consistent=False):
    """X of rank r with singular values between 0.7 and 1.5, and Y: random, or fitted exactly."""
    N = N or r + 2
    left, right = (np.linalg.qr(rng.standard_normal((size, r)))[0] for size in (N, m))
    X = left * rng.uniform(0.7, 1.5, r) @ right.T
    return X, X @ rng.standard_normal((m, n)) if consistent else rng.standard_normal((N, n))


@st.composite
def problems(draw, spare_width=None):
    """Data of any rank and a random start, wide enough for a guaranteed rate if asked for."""
    rng = np.random.default_rng(draw(SEEDS))
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    r = draw(st.integers(1, m))
    least = r + n + spare_width if spare_width is not None else min(m, n)
    k = draw(st.integers(least, least + 8))
    X, Y = data(m, n, r, rng, consistent=draw(st.booleans()))
    return X, Y, *minnorm.random_start((m, n), k, rng, draw(st.floats(0.3, 2)) / k)


def integrate(X, Y, U0, V0, t):
    """The factors at the times t, by the direct flow of all weights."""
    path = networks.layer_flow(losses.regression(X, Y), [U0, V0.T], t, **TIGHT)
    return [(U, Vt.T) for U, Vt in path]


# --- What the data see ---------------------------------------------------------------------------


@given(problems())
def test_the_decomposition_splits_data_and_weights(problem):
    X, _, U, _ = problem
    W, eigenvalues, Phi1, Phi2 = minnorm.decompose(X)
    r = np.linalg.matrix_rank(X)
    assert np.allclose(W * np.sqrt(eigenvalues) @ Phi1.T, X)
    assert np.allclose(W.T @ W, np.eye(r)) and np.allclose(X @ Phi2, 0)
    Phi = np.hstack([Phi1, Phi2])
    assert np.allclose(Phi.T @ Phi, np.eye(X.shape[1]))
    assert np.allclose(Phi1 * eigenvalues @ Phi1.T, X.T @ X)
    assert np.all(np.diff(eigenvalues) <= 0)
    U1, U2 = minnorm.split(X, U)
    assert np.allclose(Phi1 @ U1 + Phi2 @ U2, U)


@given(problems())
@settings(max_examples=8)
def test_unseen_weights_are_frozen_and_both_imbalances_conserved(problem):
    X, Y, U0, V0 = problem
    U, V = integrate(*problem, 2.0)[-1]
    (before, frozen), (after, now) = minnorm.split(X, U0), minnorm.split(X, U)
    assert np.allclose(now, frozen, atol=1e-9)
    assert np.allclose(U.T @ U - V.T @ V, U0.T @ U0 - V0.T @ V0, atol=1e-8)
    assert np.allclose(after.T @ after - V.T @ V, before.T @ before - V0.T @ V0, atol=1e-8)


@given(problems())
def test_the_loss_sees_only_the_seen_weights(problem):
    X, Y, U, V = problem
    _, eigenvalues, Phi1, Phi2 = minnorm.decompose(X)
    loss = losses.regression(X, Y)
    other = U + Phi2 @ np.ones((Phi2.shape[1], U.shape[1]))
    assert np.isclose(loss.value(other @ V.T), loss.value(U @ V.T))
    F = Phi1.T @ (U @ V.T - minnorm.minimum_norm(X, Y))
    excess = 0.5 * np.sum(eigenvalues[:, None] * F**2)
    assert np.isclose(loss.value(U @ V.T), loss.minimum + excess)


# --- The minimum-norm solution and the distance from it ------------------------------------------


@given(problems())
def test_minimum_norm_is_the_pseudoinverse_and_the_shortest_minimizer(problem):
    X, Y, _, _ = problem
    best = minnorm.minimum_norm(X, Y)
    assert np.allclose(best, np.linalg.pinv(X, rcond=1e-10) @ Y)
    Phi2 = minnorm.decompose(X)[3]
    other = best + Phi2 @ np.ones((Phi2.shape[1], Y.shape[1]))
    assert np.linalg.norm(X @ other - Y) <= np.linalg.norm(X @ best - Y) + 1e-9
    assert np.linalg.norm(best) <= np.linalg.norm(other)


@given(problems())
def test_the_distance_has_two_orthogonal_parts(problem):
    X, Y, U, V = problem
    U1, U2 = minnorm.split(X, U)
    best = minnorm.minimum_norm(X, Y)
    F = U1 @ V.T - minnorm.decompose(X)[2].T @ best
    squared = np.sum(F**2) + np.sum((U2 @ V.T) ** 2)
    assert np.isclose(np.sum((U @ V.T - best) ** 2), squared)


@pytest.mark.parametrize("consistent", [True, False])
def test_distance_of_the_limit_is_the_unseen_part(consistent):
    rng = np.random.default_rng(int(consistent))
    X, Y = data(6, 2, 3, rng, consistent=consistent)
    assert (losses.regression(X, Y).minimum < 1e-20) == consistent
    start = minnorm.random_start((6, 2), 9, rng)
    U, V = integrate(X, Y, *start, 60.0)[-1]
    assert losses.regression(X, Y).value(U @ V.T) - losses.regression(X, Y).minimum < 1e-12
    distance = np.linalg.norm(U @ V.T - minnorm.minimum_norm(X, Y))
    assert distance > 0.1
    assert np.isclose(distance, np.linalg.norm(minnorm.split(X, U)[1] @ V.T), atol=1e-7)


def test_without_the_width_for_the_least_loss_the_unseen_part_says_nothing():
    X, Y = np.eye(2, 3), np.eye(2)
    U, V = np.array([[1.0], [0.0], [0.0]]), np.array([[1.0], [0.0]])  # best of width one, U₂ = 0
    gradients = networks.gradients([U, V.T], losses.regression(X, Y).gradient)
    assert all(np.allclose(G, 0) for G in gradients)
    assert np.isclose(losses.regression(X, Y).value(U @ V.T), 1 / 2)  # not 0, the least of any Θ
    assert np.allclose(minnorm.split(X, U)[1] @ V.T, 0)
    assert np.isclose(np.linalg.norm(U @ V.T - minnorm.minimum_norm(X, Y)), 1)


# --- The limit of the flow -----------------------------------------------------------------------


@given(problems(spare_width=0))
@settings(max_examples=5)
def test_flow_limit_is_where_the_direct_flow_ends(problem):
    X, Y, U0, V0 = problem
    limit = minnorm.flow_limit(*problem)
    U, V = integrate(*problem, 60.0)[-1]
    excess = losses.regression(X, Y).value(U @ V.T) - losses.regression(X, Y).minimum
    if excess < 1e-16:  # otherwise the direct flow has not arrived
        assert np.allclose(limit, U @ V.T, atol=2e-7)
    U_end, V_end = minnorm.limit_weights(*problem)
    assert np.allclose(U_end @ V_end.T, limit, atol=1e-8)
    assert np.allclose(U_end.T @ U_end - V_end.T @ V_end, U0.T @ U0 - V0.T @ V0, atol=1e-7)
    assert np.allclose(X.T @ (X @ limit - Y), 0, atol=1e-9)


@given(SEEDS, st.integers(1, 5), st.floats(-2, 2), st.integers(2, 4))
@settings(max_examples=30)
def test_flow_limit_for_one_seen_input_is_the_hyperbolic_rotation(seed, k, theta, m):
    """r = n = 1: u1 and v turn into each other by an angle tau, whatever the data's scale."""
    rng = np.random.default_rng(seed)
    U0, V0 = minnorm.random_start((m, 1), k, rng, 1.0)
    x = rng.standard_normal(m)
    X, Y = 3 * x[None], [[3 * np.linalg.norm(x) * theta]]
    phi = x / np.linalg.norm(x)
    u, v = phi @ U0, V0[0]
    s, c = (u @ u + v @ v) / 2, u @ v
    if s - abs(c) < 1e-3:
        return  # nearly parallel: the flow may run towards the saddle
    # s sinh(2τ) + c cosh(2τ) = θ
    tau = (np.arcsinh(theta / np.sqrt(s**2 - c**2)) - np.arctanh(c / s)) / 2
    v_end = np.sinh(tau) * u + np.cosh(tau) * v
    expected = phi * theta + (U0 - np.outer(phi, u)) @ v_end
    assert np.allclose(minnorm.flow_limit(X, Y, U0, V0).ravel(), expected, atol=1e-7)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e2, 1e9])
def test_scaled_weights_and_data_have_the_scaled_limit(scale):
    rng = np.random.default_rng(12)
    X, Y = data(5, 2, 3, rng)
    U, V = minnorm.random_start((5, 2), 8, rng)
    limit = minnorm.flow_limit(X, Y, U, V)
    scaled = minnorm.flow_limit(X, scale**2 * Y, scale * U, scale * V)
    assert np.allclose(scaled / scale**2, limit, atol=1e-7)
    assert np.allclose(minnorm.flow_limit(scale * X, scale * Y, U, V), limit, atol=1e-7)


def test_explicit_and_implicit_methods_agree_on_stiff_data():
    rng = np.random.default_rng(3)
    X, Y = data(5, 2, 4, rng)
    X = X @ np.diag([1, 0.3, 0.3, 0.1, 0.1])
    start = minnorm.random_start((5, 2), 20, rng)
    limits = [minnorm.flow_limit(X, Y, *start, method=method) for method in ("DOP853", "LSODA")]
    assert np.allclose(*limits, atol=1e-7)


@given(problems())
@settings(max_examples=8)
def test_end_to_end_is_the_product_of_the_direct_flow(problem):
    times = np.array([0.0, 0.3, 1.5])
    products = minnorm.end_to_end(*problem, times, **TIGHT)
    direct = [U @ V.T for U, V in integrate(*problem, times)]
    assert np.allclose(products, direct, atol=1e-8)
    assert np.allclose(minnorm.end_to_end(*problem, 1.5, **TIGHT), direct[-1], atol=1e-8)


def test_end_to_end_is_the_riccati_solution_for_whole_data():
    rng = np.random.default_rng(5)
    Y = rng.standard_normal((3, 2))
    start = riccati.homogeneous_start((3, 2), 2, 0.7, rng)
    times = [0.2, 1.0, 4.0]
    ours = minnorm.end_to_end(np.eye(3), Y, *start, times, **TIGHT)
    assert np.allclose(ours, riccati.solution(times, Y, *start), atol=1e-8)


# --- Orthogonal starts ---------------------------------------------------------------------------


def orthogonal_start(X, n, k, used, rng):
    """U2 lives in the first `used` hidden units, U1 and V in the others."""
    _, _, Phi1, Phi2 = minnorm.decompose(X)
    mask = np.arange(k) < used
    U2 = rng.standard_normal((Phi2.shape[1], k)) * mask
    return rng.standard_normal((Phi1.shape[1], k)) * ~mask, rng.standard_normal((n, k)) * ~mask, U2


@given(SEEDS, st.integers(0, 4), st.booleans())
@settings(max_examples=10)
def test_orthogonal_starts_stay_orthogonal_and_end_at_the_minimum_norm(seed, used, consistent):
    rng = np.random.default_rng(seed)
    X, Y = data(6, 2, 3, rng, consistent=consistent)
    _, _, Phi1, Phi2 = minnorm.decompose(X)
    U1, V, U2 = orthogonal_start(X, 2, used + 7, used, rng)
    start = Phi1 @ U1 + Phi2 @ U2, V
    U, V_now = integrate(X, Y, *start, 1.0)[-1]
    seen, unseen = minnorm.split(X, U)
    assert np.allclose(unseen @ V_now.T, 0, atol=1e-9) and np.allclose(
        seen @ unseen.T, 0, atol=1e-9
    )
    assert np.allclose(minnorm.flow_limit(X, Y, *start), minnorm.minimum_norm(X, Y), atol=1e-8)


def test_the_pair_obeys_a_linear_homogeneous_equation():
    rng = np.random.default_rng(8)
    X, Y = data(6, 2, 3, rng)
    _, eigenvalues, Phi1, Phi2 = minnorm.decompose(X)
    U, V = minnorm.random_start((6, 2), 5, rng)
    residual = Y - X @ U @ V.T
    dU, dV = X.T @ residual @ V, residual.T @ X @ U
    force = eigenvalues[:, None] * (Phi1.T @ (U @ V.T - minnorm.minimum_norm(X, Y)))
    M = np.block([[np.zeros((3, 3)), force], [force.T, np.zeros((2, 2))]])
    U1, U2 = minnorm.split(X, U)
    Z = U2 @ np.vstack([U1, V]).T
    dZ = U2 @ np.vstack([Phi1.T @ dU, dV]).T
    assert np.allclose(dZ, -Z @ M) and np.allclose(Phi2.T @ dU, 0)


@given(SEEDS, st.sampled_from(["a", "b"]))
@settings(max_examples=8)
def test_dropping_one_condition_misses_the_minimum_norm(seed, dropped):
    rng = np.random.default_rng(seed)
    X, Y = data(6, 2, 3, rng)
    _, _, Phi1, Phi2 = minnorm.decompose(X)
    U1, V, U2 = orthogonal_start(X, 2, 12, 3, rng)
    if dropped == "a":
        V = V + rng.standard_normal(V.shape)
    else:
        U1 = U1 + rng.standard_normal(U1.shape)
    assert np.allclose(U1 @ U2.T, 0) == (dropped == "a")
    assert np.allclose(V @ U2.T, 0) == (dropped == "b")
    limit = minnorm.flow_limit(X, Y, Phi1 @ U1 + Phi2 @ U2, V)
    assert np.linalg.norm(limit - minnorm.minimum_norm(X, Y)) > 1e-2


@pytest.mark.parametrize(
    "u2, distance",
    [((1, 0), np.sqrt((np.sqrt(2) - 1) / 2)), ((0, 1), np.sqrt((np.sqrt(2) + 1) / 2))],
)
def test_one_condition_alone_in_closed_form(u2, distance):
    limit = minnorm.flow_limit([[1, 0]], [[1]], [[1, 0], u2], [[0, 1]])
    assert np.allclose(limit.ravel(), [1, distance], atol=1e-9)


@given(SEEDS)
@settings(max_examples=8)
def test_a_start_may_satisfy_both_conditions_and_never_move(seed):
    rng = np.random.default_rng(seed)
    X, Y = data(6, 2, 3, rng)
    stuck = minnorm.decompose(X)[3] @ rng.standard_normal((3, 3)), np.zeros((2, 3))
    assert np.linalg.matrix_rank(minnorm.split(X, stuck[0])[1]) == 3  # = k: no room is left
    assert np.all(minnorm.end_to_end(X, Y, *stuck, 10.0) == 0)
    with pytest.raises(RuntimeError, match="saddle"):
        minnorm.flow_limit(X, Y, *stuck)


@given(SEEDS)
def test_orthogonality_needs_room_in_the_hidden_space(seed):
    """Given U2, the rows of U1 and V that satisfy both conditions span k - rank(U2) dimensions."""
    rng = np.random.default_rng(seed)
    X, _ = data(6, 2, 3, rng)
    used = int(rng.integers(0, 5))
    U1, V, U2 = orthogonal_start(X, 2, 6, used, rng)
    ranks = np.linalg.matrix_rank(U2), np.linalg.matrix_rank(np.vstack([U1, V]))
    assert sum(ranks) <= 6 and ranks == (min(used, 3), min(6 - used, 5))


# --- The reduction of the hidden space -----------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 40), SEEDS)
@settings(max_examples=8)
def test_the_reduction_keeps_the_flow_of_any_loss(m, n, k, seed):
    rng = np.random.default_rng(seed)
    U, V = minnorm.random_start((m, n), k, rng)
    U_small, V_small = minnorm.reduce_width(U, V)
    assert U_small.shape == (m, min(k, m + n)) and V_small.shape == (n, min(k, m + n))
    target = rng.standard_normal((m, n))
    loss = losses.lp_regression(np.eye(m), target, 4)
    wide, narrow = (
        networks.product(networks.layer_flow(loss, [A, B.T], 1.0, **TIGHT).final)
        for A, B in ((U, V), (U_small, V_small))
    )
    assert np.allclose(wide, narrow, atol=1e-8)


@given(SEEDS)
@settings(max_examples=10)
def test_the_flow_commutes_with_rotations_of_the_hidden_space(seed):
    rng = np.random.default_rng(seed)
    X, Y = data(4, 2, 2, rng)
    U, V = minnorm.random_start((4, 2), 5, rng)
    G = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    (U_end, V_end), (U_turned, V_turned) = (
        integrate(X, Y, A, B, 1.0)[-1] for A, B in ((U, V), (U @ G, V @ G))
    )
    assert np.allclose(U_end @ G, U_turned, atol=1e-8)
    assert np.allclose(V_end @ G, V_turned, atol=1e-8)


def test_width_ten_thousand_is_the_direct_flow():
    rng = np.random.default_rng(11)
    X, Y = data(5, 2, 3, rng)
    start = minnorm.random_start((5, 2), 10_000, rng)
    direct = networks.layer_flow(losses.regression(X, Y), [start[0], start[1].T], 0.5)
    ours = minnorm.end_to_end(X, Y, *start, 0.5)
    assert np.allclose(ours, networks.product(direct.final), atol=5e-7)


# --- Random starts -------------------------------------------------------------------------------


@given(problems(spare_width=0))
@settings(max_examples=12)
def test_the_loss_stays_below_the_rate_of_the_imbalance(problem):
    X, Y, U, V = problem
    loss, rate = losses.regression(X, Y), minnorm.rate(X, U, V)
    assert rate > 0  # k >= r + n
    times = np.linspace(0, 3 / rate, 20)
    excess = np.array([loss.value(P) for P in minnorm.end_to_end(*problem, times)]) - loss.minimum
    assert np.all(excess <= excess[0] * np.exp(-rate * times) * (1 + 1e-6) + 1e-10)


@given(problems(spare_width=0))
def test_the_imbalance_has_r_positive_and_n_negative_eigenvalues(problem):
    X, Y, U, V = problem
    U1, _ = minnorm.split(X, U)
    full = np.linalg.eigvalsh(U1.T @ U1 - V.T @ V)[::-1]
    r, n, tiny = len(U1), len(V), 1e-9
    assert (np.sum(full > tiny), np.sum(full < -tiny)) == (r, n)
    spectrum = minnorm.imbalance_eigenvalues(U1, V)
    assert np.allclose(spectrum, np.append(full[:r], full[-n:]))
    by_hand = 2 * minnorm.decompose(X)[1][-1] * (full[r - 1] - full[-n])
    assert np.isclose(minnorm.rate(X, U, V), by_hand)


def test_the_rate_is_empty_for_the_smallest_eigenvalue_and_for_small_width():
    rng = np.random.default_rng(2)
    X, _ = data(6, 2, 4, rng)
    assert abs(np.linalg.eigvalsh(X.T @ X)[0]) < 1e-12
    assert minnorm.rate(X, *minnorm.random_start((6, 2), 2, rng)) == 0  # k = min(m, n)
    assert minnorm.rate(X, *minnorm.random_start((6, 2), 6, rng)) > 0  # k = r + n


def limits(X, Y, width, count, rng, variance=None):
    shape = X.shape[1], Y.shape[1]
    starts = (minnorm.random_start(shape, width, rng, variance) for _ in range(count))
    return np.array([minnorm.flow_limit(X, Y, *start) for start in starts])


def distances(X, Y, width, count, rng, variance=None):
    gaps = limits(X, Y, width, count, rng, variance) - minnorm.minimum_norm(X, Y)
    return np.linalg.norm(gaps, axis=(1, 2))


def test_the_distance_falls_like_the_root_of_the_width():
    rng = np.random.default_rng(0)
    X, Y = data(12, 3, 4, rng)
    widths = np.array([100, 1000, 10_000])
    found = np.array([distances(X, Y, k, 20, rng) for k in widths])
    fit = stats.linregress(np.log(np.repeat(widths, 20)), np.log(found.ravel()))
    half = stats.t.ppf(0.975, found.size - 2) * fit.stderr
    assert abs(fit.slope + 0.5) < half < 0.04
    rms = np.sqrt(np.mean(found**2, axis=1))
    predicted = [minnorm.wide_distance(X, Y, k) for k in widths]
    assert np.allclose(rms, predicted, rtol=0.15)


@given(SEEDS, st.integers(6, 60))
@settings(max_examples=5)
def test_given_the_seen_weights_the_distance_is_a_sum_of_chi_squares(seed, k):
    rng = np.random.default_rng(seed)
    X, Y = data(7, 2, 3, rng)
    start = minnorm.random_start((7, 2), k, rng)
    _, _, _, Phi2 = minnorm.decompose(X)
    # Another U2 moves neither U1 nor V ...
    other = start[0] + Phi2 @ rng.standard_normal((4, k)), start[1]
    _, V_end = minnorm.limit_weights(X, Y, *start)
    assert np.allclose(V_end, minnorm.limit_weights(X, Y, *other)[1], atol=1e-8)
    # ... so that the distances are those of normal U2 and one V.
    draws = rng.standard_normal((2000, 4, k)) / np.sqrt(k)
    squared = np.sum((draws @ V_end.T) ** 2, axis=(1, 2))
    assert np.isclose(squared.mean(), 4 / k * np.sum(V_end**2), rtol=0.15)
    chi = rng.chisquare(4, (2000, 2)) @ np.linalg.eigvalsh(V_end @ V_end.T) / k
    assert stats.ks_2samp(squared, chi).pvalue > 1e-4


@pytest.mark.parametrize("k, s2", [(5, 1.0), (8, 0.3), (50, 3.0)])
def test_the_mean_squared_distance_is_below_the_bound_at_every_width(k, s2):
    rng = np.random.default_rng(k)
    X, Y = data(7, 2, 3, rng)
    sigma = np.linalg.norm(minnorm.minimum_norm(X, Y), 2)
    squared = distances(X, Y, k, 20, rng, s2 / k) ** 2
    assert squared.mean() <= 2 * 4 * s2 * (2 * s2 + sigma) / k


@given(problems(spare_width=0))
@settings(max_examples=10)
def test_the_last_layer_is_bounded_by_imbalance_and_target(problem):
    X, Y, U, V = problem
    U1, _ = minnorm.split(X, U)
    b = max(-minnorm.imbalance_eigenvalues(U1, V)[-1], 0.0)
    sigma = np.linalg.norm(minnorm.minimum_norm(X, Y), 2)
    beta = np.linalg.norm(minnorm.limit_weights(*problem)[1], 2) ** 2
    assert beta <= (b + np.hypot(b, 2 * sigma)) / 2 + 1e-7
    assert b <= np.sum(V**2) + 1e-9


@pytest.mark.parametrize("s2", [0.3, 1.0, 4.0])
def test_wide_limit_of_the_last_layer(s2):
    r"""V V' -> sqrt(s⁴ I + Θ1' Θ1): exactly for orthonormal rows, whatever the width."""
    rng = np.random.default_rng(4)
    X, Y = data(7, 2, 3, rng)
    _, _, Phi1, _ = minnorm.decompose(X)
    R = np.sqrt(s2) * np.linalg.qr(rng.standard_normal((9, 5)))[0].T
    _, V_end = minnorm.limit_weights(X, Y, Phi1 @ R[:3], R[3:])
    Theta = minnorm.minimum_norm(X, Y)
    gram = V_end @ V_end.T
    assert np.allclose(gram @ gram, s2**2 * np.eye(2) + Theta.T @ Theta, atol=1e-7)
    formula = minnorm.wide_distance(X, Y, 100, s2 / 100)
    assert np.isclose(formula, np.sqrt(4 * s2 / 100 * np.trace(gram)))


def test_nearly_orthogonal_starts_end_near_the_minimum_norm():
    rng = np.random.default_rng(6)
    X, Y = data(7, 2, 3, rng)
    _, eigenvalues, _, _ = minnorm.decompose(X)
    loss, best = losses.regression(X, Y), minnorm.minimum_norm(X, Y)
    for k in (20, 200, 2000):
        U, V = minnorm.random_start((7, 2), k, rng)
        U1, U2 = minnorm.split(X, U)
        c = minnorm.rate(X, U, V) / (2 * eigenvalues[-1])
        excess = loss.value(U @ V.T) - loss.minimum
        growth = np.exp(np.sqrt(2 * eigenvalues[0] * excess) / (c * eigenvalues[-1]))
        distance = np.linalg.norm(minnorm.flow_limit(X, Y, U, V) - best)
        assert distance <= np.linalg.norm(U2 @ np.vstack([U1, V]).T) * growth


# --- Concentration -------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 100), SEEDS)
def test_the_spectrum_is_within_the_deviation_of_the_gram_matrix(m, n, spare, seed):
    k = m + n + spare
    U, V = minnorm.random_start((m, n), k, np.random.default_rng(seed))
    spectrum = minnorm.imbalance_eigenvalues(U, V)
    R = np.vstack([U, V])
    deviation = np.linalg.norm(R @ R.T - np.eye(m + n), 2)
    assert np.abs(spectrum - np.repeat([1.0, -1.0], [m, n])).max() <= deviation + 1e-9
    full = np.sort(np.append(spectrum, np.zeros(spare)))
    assert np.allclose(full, np.linalg.eigvalsh(U.T @ U - V.T @ V), atol=1e-9)


def test_the_deviation_falls_like_the_root_of_the_width():
    rng = np.random.default_rng(9)
    widths, ideal = np.array([100, 1000, 10_000]), np.repeat([1.0, -1.0], [4, 2])
    deviation, gram, mixed = np.zeros((3, 3, 60))
    for i, k in enumerate(widths):
        for j in range(60):
            U, V = minnorm.random_start((4, 2), k, rng)
            R = np.vstack([U, V])
            deviation[i, j] = np.abs(minnorm.imbalance_eigenvalues(U, V) - ideal).max()
            gram[i, j] = np.sum((R @ R.T - np.eye(6)) ** 2)
            mixed[i, j] = np.sum((U[:3] @ V.T) ** 2)
    slope = np.polyfit(np.log(widths), np.log(deviation).mean(axis=1), 1)[0]
    assert abs(slope + 0.5) < 0.05
    assert np.allclose(gram.mean(axis=1) * widths, 6 * 7, rtol=0.15)
    assert np.allclose(mixed.mean(axis=1) * widths, 3 * 2, rtol=0.25)


@pytest.mark.parametrize("q, slope", [(0.0, 0.5), (0.5, 0.0), (1.0, -0.5), (1.5, -0.75)])
def test_the_variance_decides_whether_width_helps(q, slope):
    rng = np.random.default_rng(int(10 * q))
    X, Y = data(12, 2, 3, rng)
    widths = np.array([100, 1000, 10_000])
    squared = [np.mean(distances(X, Y, k, 8, rng, float(k) ** -q) ** 2) for k in widths]
    assert abs(np.polyfit(np.log(widths), np.log(squared) / 2, 1)[0] - slope) < 0.08
    predicted = [minnorm.wide_distance(X, Y, k, float(k) ** -q) for k in widths]
    assert np.allclose(np.sqrt(squared), predicted, rtol=0.25)


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start, message",
    [
        ((np.zeros((3, 4)), np.zeros((3, 4))), "stands still with a loss of 7 above"),
        ((np.eye(3), -np.eye(3)), "stands still.*saddle"),
        ((np.eye(3, 2), np.eye(3, 2)), "less than the rank"),
    ],
)
def test_a_flow_that_reaches_no_global_minimum_raises(start, message):
    with pytest.raises(RuntimeError, match=message):
        minnorm.flow_limit(np.eye(3), np.diag([1.0, 2.0, 3.0]), *start)
    for unit in (1e-6, 1e6):
        with pytest.raises(RuntimeError, match="stands still"):
            Y = unit**2 * np.diag([1.0, 2.0, 3.0])
            minnorm.flow_limit(np.eye(3), Y, *(unit * factor for factor in start))


def test_the_loss_at_which_it_stands_still_is_that_of_the_data():
    with pytest.raises(RuntimeError, match="stands still with a loss of 28 above"):
        Y = 2 * np.diag([1.0, 2.0, 3.0])
        minnorm.flow_limit(2 * np.eye(3), Y, np.zeros((3, 4)), np.zeros((3, 4)))


@given(SEEDS)
@settings(max_examples=4)
def test_rounding_errors_do_not_lead_out_of_a_saddle(seed):
    """On the stable manifold the flow ends in the saddle; the rounding errors grow away from it."""
    rng = np.random.default_rng(seed)
    Theta = rng.standard_normal((3, 3))
    left, _, right = np.linalg.svd(Theta)
    U = left @ rng.standard_normal((3, 5))
    turn = np.linalg.qr(rng.standard_normal((4, 3)))[0]
    with pytest.raises(RuntimeError, match="saddle"):
        minnorm.flow_limit(turn, turn @ Theta, U, -(right.T @ left.T @ U))


def test_a_flow_without_a_rate_raises():
    """½(0 - uv)² from u = v decays like 1/t."""
    with pytest.raises(RuntimeError, match="without a rate"):
        minnorm.flow_limit(np.eye(2), np.diag([1.0, 0.0]), np.eye(2), np.eye(2))


def test_a_flow_that_takes_too_long_raises(monkeypatch):
    monkeypatch.setattr(minnorm, "MOST_GRADIENTS", 200)
    rng = np.random.default_rng(1)
    X, Y = data(4, 2, 3, rng)
    with pytest.raises(RuntimeError, match="badly conditioned"):
        minnorm.flow_limit(X * [1, 0.1, 0.1, 0.1], Y, *minnorm.random_start((4, 2), 9, rng))


def test_an_end_before_the_time_is_reported():
    problem = np.eye(1), [[1.0]], [[1.0]], [[0.0]]
    with pytest.raises(ValueError, match="t reaches"):
        minnorm.end_to_end(*problem, 9.0, stop=lambda w: 0.5 - (w[0] @ w[1].T).item())


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: minnorm.minimum_norm(np.zeros((2, 2)), np.eye(2)), "X is zero"),
        (
            lambda: minnorm.flow_limit(1e-300 * np.eye(2), *[np.eye(2)] * 3),
            "X is zero, or so small",
        ),
        (lambda: minnorm.minimum_norm(np.eye(2), np.eye(3)), "X and Y"),
        (lambda: minnorm.minimum_norm(np.eye(2), [1.0, 2.0]), "Y must"),
        (lambda: minnorm.minimum_norm([[np.nan]], [[1.0]]), "X has"),
        (lambda: minnorm.decompose(np.diag([1.0, 1e-12])), "X has singular values"),
        (lambda: minnorm.split(np.eye(2), np.eye(3)), "U must have 2 rows"),
        (lambda: minnorm.flow_limit(np.eye(2), np.eye(2), np.eye(3), np.eye(3)), "U0 and V0"),
        (lambda: minnorm.flow_limit(np.eye(2), np.eye(2), np.eye(2), np.eye(2, 3)), "U0 and V0"),
        (lambda: minnorm.flow_limit(np.eye(2), np.eye(2), [[np.inf]], [[1.0]]), "U0 has"),
        (lambda: minnorm.end_to_end(np.eye(1), [[1.0]], [[1.0]], [[1.0]], -1.0), "t must"),
        (lambda: minnorm.reduce_width(np.eye(2), np.eye(3)), "U and V"),
        (lambda: minnorm.random_start((2, 2), 0, RNG), "width"),
        (lambda: minnorm.random_start((2, 0), 3, RNG), "shape"),
        (lambda: minnorm.random_start((2, 2), 3, None), "rng"),
        (lambda: minnorm.random_start((2, 2), 3, RNG, 0.0), "variance"),
        (lambda: minnorm.wide_distance(np.eye(2), np.eye(2), 3, -1.0), "variance"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
