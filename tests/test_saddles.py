"""From saddle to saddle: the dual flow, its limit process, averages, depth, matrices."""

import numpy as np
import pytest
from scipy.optimize import nnls

from overparam import gradient_flow, regimes, saddles

UNLEARN = np.array([[1.0, 0.5], [0.0, 0.25]]), np.array([1.0, 0.75])


def draw(seed, n_data=4, size=7):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_data, size)), rng.standard_normal(n_data)


def loss(X, y, betas):
    return 0.5 * np.sum((betas @ X.T - y) ** 2, axis=-1)


def drops(process):
    """Whether a coordinate that is not zero becomes zero, after each event."""
    support = process.beta != 0
    return np.any(support[:-1] & ~support[1:], axis=1)


# The exact dual flow and its clock


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_dual_flow_is_the_flow_of_the_weights(depth):
    X, y = draw(0)
    tau = np.array([0.4, 1.1, 2.7])
    s, beta = saddles.dual_flow(X, y, tau, 0.05, depth)

    # Independent of `regimes`: the weights, in log w, on the loss with ½.
    def gradient(z):
        w = 0.05 * np.exp(z)
        residual = X.T @ (X @ (w[0] ** depth - w[1] ** depth) - y)
        return depth * residual * w ** (depth - 2) * np.array([[1.0], [-1.0]])

    t = tau * saddles.clock(0.05, depth)
    states = gradient_flow(gradient, np.zeros((2, 7)), t, rtol=1e-11, atol=1e-12).states[-3:]
    w = 0.05 * np.exp(states)
    assert np.allclose(w[:, 0] ** depth - w[:, 1] ** depth, beta, atol=1e-7)
    if depth == 2:
        assert np.allclose(w[:, 0], 0.05 ** (1 - s), rtol=1e-6)
    else:
        assert np.allclose(w[:, 0] ** (2 - depth), 0.05 ** (2 - depth) * (1 - s), rtol=1e-6)


def test_product_form_has_half_of_it_and_another_clock():
    """β = uv from u = √2 α, v = 0: half of w_+² - w_-² from α, and twice the time."""
    X, y = draw(1)
    alpha, tau = 1e-3, np.array([0.5, 2.0])
    halved = saddles.dual_flow(X, 2 * y, tau, alpha)[1] / 2  # the loss in terms of 2β

    def gradient(w):
        pull = X.T @ (X @ (w[0] * w[1]) - y)
        return np.array([w[1] * pull, w[0] * pull])

    start = np.array([np.full(7, np.sqrt(2) * alpha), np.zeros(7)])
    t = 2 * tau * np.log(1 / alpha)
    states = gradient_flow(gradient, start, t, rtol=1e-11, atol=1e-14).states[-2:]
    assert np.allclose(states[:, 0] * states[:, 1], halved, atol=1e-6)


def test_dual_flow_refuses_what_it_cannot_do():
    X, y = UNLEARN
    with pytest.raises(ValueError, match="less than 1"):
        saddles.dual_flow(X, y, 1.0, 1.5)
    with pytest.raises(ValueError, match="increasing"):
        saddles.dual_flow(X, y, [2.0, 1.0], 0.1)
    with pytest.raises(ValueError, match="as many rows"):
        saddles.path(X, y[:1])


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_jacobian_for_the_integrator_is_that_of_the_velocity(depth, monkeypatch):
    """With a wrong one it arrives as well, only later."""
    given, integrate = {}, saddles.solve_ivp

    def spy(velocity, *args, jac, **options):
        given.update(velocity=velocity, jac=jac)
        return integrate(velocity, *args, jac=jac, **options)

    monkeypatch.setattr(saddles, "solve_ivp", spy)
    X, y = draw(2)
    saddles.dual_flow(X, y, 0.1, 0.1, depth)
    z, h = np.linspace(-0.8, 0.9, 7), 1e-5 * np.eye(7)
    columns = [(given["velocity"](0, z + e) - given["velocity"](0, z - e)) / 2e-5 for e in h]
    assert np.allclose(given["jac"](0, z), np.transpose(columns), rtol=1e-6, atol=1e-6)


# The limit process


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_dual_flow_tends_to_the_jump_process(seed, depth):
    X, y = draw(seed, 3, 5)
    process = saddles.path(X, y)
    tau = np.linspace(0, 1.3 * process.tau[-1], 60)
    alphas = {2: [1e-8, 1e-32], 3: [1e-2, 1e-3], 4: [1e-1, 1e-2]}[depth]
    distances = []
    for alpha in alphas:
        s, _ = saddles.dual_flow(X, y, tau, alpha, depth)
        distances.append(np.abs(s - process.at(tau)[1]).max())
    order = {2: 4, 3: 10, 4: 100}[depth]  # how much smaller ε_α has become
    assert distances[1] < 3 * distances[0] / order
    assert distances[1] < 0.1


def test_distance_of_the_duals_obeys_the_bound_of_the_proof():
    for seed in range(6):
        X, y = draw(seed, 3, 5)
        process = saddles.path(X, y)
        tau = np.linspace(0, 1.2 * process.tau[-1], 80)
        d, end = X.shape[1], tau[-1]
        bound_beta = d + 2 * end * (y @ y)
        ell1 = np.abs(process.beta).sum(axis=1).max()
        for alpha in (1e-2, 1e-6, 1e-20):
            s, beta = saddles.dual_flow(X, y, tau, alpha)
            assert np.abs(beta).sum(axis=1).max() <= bound_beta
            nu = (s - process.at(tau)[1]) @ np.linalg.pinv(X)
            constant = d / 2 + ell1 * np.log1p(bound_beta) / 2
            assert np.all(np.sum(nu**2, axis=1) <= 2 * constant * tau / np.log(1 / alpha) + 1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_every_plateau_is_optimal_and_every_saddle_but_the_last_is_left(seed):
    rng = np.random.default_rng(seed)
    X, y = draw(seed, int(rng.integers(2, 7)), int(rng.integers(2, 10)))
    process = saddles.path(X, y)
    scale = np.abs(X.T @ y).max()
    assert np.all(np.abs(process.s) <= 1 + 1e-12)
    assert np.allclose(process.beta * process.g, 0)
    for beta, s, g in zip(process.beta, process.s, process.g, strict=True):
        assert np.allclose(g, X.T @ (y - X @ beta), atol=1e-8 * scale)
        assert np.all(np.where(beta > 0, s == 1, True) & np.where(beta < 0, s == -1, True))
        border = np.abs(s) == 1
        assert np.all(s[border] * g[border] <= 1e-9 * scale)
        if border.any():
            _, distance = nnls(X[:, border] * s[border], y)
            assert np.isclose(distance, np.linalg.norm(y - X @ beta), atol=1e-9)
    assert np.all(np.diff(loss(X, y, process.beta)) < 0)
    assert np.all(process.g[:-1].any(axis=1)) and not process.g[-1].any()
    assert np.isclose(process.tau[1], 1 / scale)


@pytest.mark.parametrize(("a", "b"), [(1e6, 1e-6), (1e-6, 1e6), (1e-6, 1e-6)])
def test_the_path_is_the_same_in_any_units(a, b):
    X, y = draw(3)
    plain, scaled = saddles.path(X, y), saddles.path(a * X, b * y)
    assert np.allclose(scaled.tau * a * b, plain.tau, rtol=1e-9)
    assert np.allclose(scaled.beta * (a / b), plain.beta, atol=1e-9)
    assert np.allclose(scaled.s, plain.s, atol=1e-9)


def test_it_ends_at_the_least_l1_norm_or_at_least_squares():
    for seed in range(30):
        X, y = draw(seed, 4, 7)
        end = saddles.path(X, y).beta[-1]
        assert np.allclose(X @ end, y)
        assert np.isclose(np.abs(end).sum(), np.abs(regimes.minimum_l1(X, y)).sum(), rtol=1e-8)
        X, y = draw(seed, 7, 4)
        assert np.allclose(saddles.path(X, y).beta[-1], np.linalg.lstsq(X, y, rcond=None)[0])


def test_it_ends_at_the_least_l1_norm_among_minimizers_of_inconsistent_data():
    X, y = draw(3, 3, 6)
    X, y = np.vstack([X, X[0]]), np.append(y, y[0] + 1)  # conflicting labels: no interpolant
    end = saddles.path(X, y).beta[-1]
    fitted = X @ np.linalg.lstsq(X, y, rcond=None)[0]
    assert np.allclose(X @ end, fitted)
    least = np.abs(regimes.minimum_l1(X[:3], fitted[:3])).sum()
    assert np.isclose(np.abs(end).sum(), least)


def test_smallest_example_unlearns_and_learns_again():
    process = saddles.path(*UNLEARN)
    assert np.allclose(process.tau, [0, 1, 8 / 3, 68 / 3])
    assert np.allclose(process.beta, [[0, 0], [1, 0], [0, 11 / 5], [-1 / 2, 3]])
    assert np.abs(process.beta[1:]).sum(axis=1).argmax() == 2
    assert (process.beta != 0).sum(axis=1).tolist() == [0, 1, 1, 2]
    beta = saddles.dual_flow(*UNLEARN, [0.5, 2.0, 10.0, 30.0], 1e-12)[1]
    assert np.allclose(beta, process.beta, atol=0.02)


def test_drops_and_growing_norms_are_not_rare():
    dropped = fallen = 0
    for seed in range(120):
        X, y = draw(seed, 5, 9)
        process = saddles.path(X, y)
        dropped += drops(process).any()
        fallen += np.any(np.diff(np.abs(process.beta).sum(axis=1)) < 0)
    assert 5 < dropped < 60 and fallen > 0


def memory():
    gram = np.array([[1, 0.8, -0.3], [0.8, 1, 0], [-0.3, 0, 1]])
    X = np.linalg.cholesky(gram).T
    return X, np.linalg.solve(X.T, [1, 0.9, 0.1])


def test_next_coordinate_is_not_that_of_the_largest_correlation():
    process = saddles.path(*memory())
    assert np.allclose(process.tau[:4], [0, 1, 2, 3.5])
    assert np.allclose(process.g[1], [0, 0.1, 0.4])
    assert (process.beta != 0).tolist()[1:3] == [[True, False, False], [True, True, False]]
    # At 3.5 the third coordinate comes and the second goes.
    assert (process.beta != 0).tolist()[3] == [True, False, True]


def test_rule_needs_the_sign():
    """Without the sign of s the waiting time is wrong where s moves inward."""
    wrong = jumps = 0
    for seed in range(150):
        process = saddles.path(*draw(seed, 5, 9))
        for j in range(1, len(process.tau) - 1):
            free = process.g[j] != 0
            wait = ((1 - np.abs(process.s[j])) / np.abs(np.where(free, process.g[j], np.nan)))[free]
            jumps += 1
            wrong += not np.isclose(wait.min(), process.tau[j + 1] - process.tau[j])
    assert 0.05 < wrong / jumps < 0.6


# The average


def lasso_residual(X, y, beta, weight):
    """How far the optimality conditions of ½‖y - Xβ‖² + weight·‖β‖₁ are from being met."""
    g = X.T @ (y - X @ beta)
    active = np.abs(beta) > 1e-12
    violation = np.maximum(np.abs(g) - weight, 0)
    return max(violation.max(), np.abs(g - weight * np.sign(beta))[active].max(initial=0)) / weight


def test_average_is_the_lasso_until_a_coordinate_is_dropped():
    """And for ever, if it is dropped by the last jump: nothing moves after that."""
    before, after, final = [], [], []
    for seed in range(110):
        X, y = draw(seed, 5, 9)
        if seed >= 50:  # noiseless labels from two coefficients: often pruned by the last jump
            y = X[:, :2] @ np.random.default_rng(seed).uniform(0.5, 1.5, 2)
        process = saddles.path(X, y)
        dropped = np.flatnonzero(drops(process))
        first = process.tau[dropped[0] + 1] if dropped.size else 2 * process.tau[-1]
        for tau in np.linspace(process.tau[1], first, 8)[1:]:
            before.append(lasso_residual(X, y, saddles.average(process, tau), 1 / tau))
        if dropped.size and dropped[0] + 2 < len(process.tau):
            tau = process.tau[dropped[0] + 1 : dropped[0] + 3].mean()
            after.append(lasso_residual(X, y, saddles.average(process, tau), 1 / tau))
        elif dropped.size:
            final.append(lasso_residual(X, y, saddles.average(process, 3 * first), 1 / 3 / first))
    assert max(before) < 1e-9 and max(final) < 1e-9
    assert min(after) > 1e-6


def test_average_is_the_quotient_of_the_integral():
    process = saddles.path(*UNLEARN)
    assert np.allclose(saddles.average(process, 5.0), (5 / 3 * np.array([1, 0])
                       + (5 - 8 / 3) * np.array([0, 2.2])) / 5)  # fmt: skip
    with pytest.raises(ValueError, match="positive"):
        saddles.average(process, 0.0)


# Positive weights


def stieltjes(seed, size=6):
    """Data whose Gram matrix has no positive entry off the diagonal."""
    rng = np.random.default_rng(seed)
    gram = -rng.uniform(0, 1, (size, size))
    gram = np.tril(gram, -1) + np.tril(gram, -1).T
    gram += np.diag(0.2 - gram.sum(axis=1))
    X = np.linalg.cholesky(gram).T
    return X, rng.standard_normal(size)


def test_anticorrelated_features_only_grow():
    for seed in range(40):
        X, y = stieltjes(seed)
        process = saddles.path(X, y, positive=True)
        assert np.all(np.diff(process.beta, axis=0) >= -1e-9)
        assert np.allclose(process.beta[-1], nnls(X, y)[0], atol=1e-8)
    dropped = [drops(saddles.path(*draw(seed, 8, 6), positive=True)).any() for seed in range(150)]
    assert 0 < sum(dropped) < 75


def test_positive_path_is_the_limit_of_squares():
    X, y = draw(5, 4, 4)
    process, alpha = saddles.path(X, y, positive=True), 1e-12
    tau = process.tau[1:].mean() if len(process.tau) > 2 else 2 * process.tau[-1]

    def gradient(z):  # z = log(w/α): β = w²
        beta = (alpha * np.exp(z)) ** 2
        return 2 * X.T @ (X @ beta - y)

    end = gradient_flow(gradient, np.zeros(4), tau * saddles.clock(alpha, 2)).final
    assert np.allclose((alpha * np.exp(end)) ** 2, process.at(tau)[0], atol=1e-2)
    assert np.all(process.beta >= 0)


# Depth


@pytest.mark.parametrize(("depth", "alphas"), [(3, [0.02, 0.005]), (4, [0.1, 0.025])])
def test_jump_times_are_shifted_by_the_power_of_the_scale(depth, alphas):
    X, y = draw(0, 3, 4)
    process, shifts = saddles.path(X, y), []
    i = int(np.flatnonzero(process.beta[1])[0])
    for alpha in alphas:
        tau = np.linspace(0.5, 1.5, 4001) * process.tau[1]
        beta = saddles.dual_flow(X, y, tau, alpha, depth)[1][:, i] / process.beta[1, i]
        shifts.append(abs(tau[np.argmax(beta > 0.5)] - process.tau[1]))
    order = np.log(shifts[0] / shifts[1]) / np.log(alphas[0] / alphas[1])
    assert np.isclose(order, depth - 2, atol=0.2)


# Matrices


def matrix_flow(Y, U0, V0, alpha, tau):
    def gradient(w):
        E = w[0] @ w[1].T - Y
        return [E @ w[1], E.T @ w[0]]

    t = np.atleast_1d(tau) * np.log(1 / alpha)
    path = gradient_flow(gradient, [alpha * U0, alpha * V0], t, rtol=1e-9, atol=1e-6 * alpha)
    return np.array([U @ V.T for U, V in path])[-len(t) :]


@pytest.mark.parametrize(("m", "n", "k"), [(3, 3, 3), (3, 4, 6), (4, 3, 2)])
def test_matrices_pass_a_hard_threshold_from_any_generic_start(m, n, k):
    rng = np.random.default_rng(6)
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (m, n))
    singular = [2.0, 1.0]
    Y = left[:, :2] * singular @ right[:, :2].T
    U0, V0 = rng.standard_normal((m, k)), rng.standard_normal((n, k))
    X = matrix_flow(Y, U0, V0, 1e-8, [0.35, 0.75, 1.5])
    for tau, got in zip([0.35, 0.75, 1.5], X, strict=True):
        assert np.allclose(got, saddles.thresholded(Y, tau), atol=2e-3)


def test_average_of_matrices_is_soft_thresholding_up_to_one_over_the_logarithm():
    rng = np.random.default_rng(7)
    Y = np.diag([2.0, 1.0, 0.4])
    U0, V0 = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    tau, errors = 1.6, []
    for alpha in (1e-3, 1e-9):
        grid = np.linspace(0, tau, 1001)[1:]
        X = matrix_flow(Y, U0, V0, alpha, grid)
        errors.append(np.linalg.norm(X.mean(axis=0) - saddles.thresholded(Y, tau, soft=True)))
    scaled = np.array(errors) * np.log([1e3, 1e9])
    assert np.all(scaled < 3) and errors[1] < 0.5 * errors[0]


def test_soft_threshold_is_the_proximal_point_of_the_nuclear_norm():
    rng = np.random.default_rng(8)
    Y, tau = rng.standard_normal((3, 4)), 1.3
    Z = saddles.thresholded(Y, tau, soft=True)

    def objective(M):
        return 0.5 * np.sum((Y - M) ** 2) + np.linalg.svd(M, compute_uv=False).sum() / tau

    assert all(objective(Z + 1e-3 * rng.standard_normal(Y.shape)) > objective(Z) for _ in range(50))


def closest(alpha, high, low):
    """Least distance from diag(high, 0) of the balanced spectral flow, and when."""
    t = np.linspace(0, 4 / (high + low), 40001) * np.log(1 / alpha)
    rest = (high / alpha**2 - 1) * np.exp(-2 * high * t)  # of σ' = 2σ(high - σ) from α²
    risen = low / (1 + (low / alpha**2 - 1) * np.exp(-2 * low * t))
    distance = np.hypot(high * rest / (1 + rest), risen)
    return distance.min(), t[distance.argmin()]


@pytest.mark.parametrize(("high", "low"), [(2.0, 1.0), (1.5, 1.2), (3.0, 0.5)])
def test_closest_approach_to_the_best_matrix_of_lower_rank(high, low):
    alphas = np.array([1e-8, 1e-12, 1e-16])
    found = np.array([closest(alpha, high, low) for alpha in alphas])
    power = np.polyfit(np.log(alphas), np.log(found[:, 0]), 1)[0]
    assert np.isclose(power, 2 * (high - low) / (high + low), atol=0.02)
    delay = np.polyfit(np.log(1 / alphas), found[:, 1], 1)[0]
    assert np.isclose(delay, 2 / (high + low), rtol=0.02)


def test_sensing_is_greedy_in_directions():
    """Noncommuting measurements, W = UUᵀ: the second direction is the top one of -∇f(W_1)."""
    rng = np.random.default_rng(11)
    A = rng.standard_normal((9, 3, 3))
    A = (A + A.transpose(0, 2, 1)) / 2
    truth = rng.standard_normal((3, 2))
    y = np.einsum("nij,ij->n", A, truth @ truth.T) / 3
    A = A / 3

    def pull(W):
        return np.einsum("n,nij->ij", y - np.einsum("nij,ij->n", A, W), A)

    def gradient(U):
        return -pull(U @ U.T) @ U

    first = np.linalg.eigh(pull(np.zeros((3, 3))))
    a = first[1][:, -1:] * np.sqrt(1e-12)
    W1 = gradient_flow(gradient, a, 200.0).final
    later = np.linalg.eigh(pull(W1 @ W1.T))
    l1, l2, a1 = first[0][-1], first[0][-2], later[0][-1]
    predicted = 1 / l1 + (1 - max(l2, 0) / l1) / a1
    times, alphas = [], np.array([1e-4, 1e-8])
    start = rng.standard_normal((3, 3))
    for alpha in alphas:
        t = np.linspace(0, 2.5 * predicted, 2001) * np.log(1 / alpha)
        states = gradient_flow(gradient, alpha * start, t, atol=1e-4 * alpha).states
        second = np.linalg.svd(states, compute_uv=False)[:, 1] ** 2
        times.append(t[np.argmax(second > 0.3 * second.max())])
    slope = (times[1] - times[0]) / np.log(alphas[0] / alphas[1])
    assert np.isclose(slope, predicted, rtol=0.1)
