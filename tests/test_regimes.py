"""Kernel and rich regimes: the dual against the direct flow, limits, thresholds, depth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, simpson

from overparam import gradient_flow, regimes

DEPTHS = (2, 3, 4, 6)
SEEDS = st.integers(0, 10**6)


def problem(seed, n_data=4, size=9):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n_data, size)), rng.standard_normal(n_data)
    return X, y, rng.uniform(0.6, 1.6, size) * rng.choice([-1, 1], size), rng


def published(seed=0, noise=0.1):
    """The size of the experiment of Smith 2022, 1.5: 1000 unknowns, 100 data, 5 not zero."""
    rng = np.random.default_rng(seed)
    X, truth = rng.standard_normal((100, 1000)), np.zeros(1000)
    truth[:5] = 1 / np.sqrt(5)
    return X, X @ truth + noise * rng.standard_normal(100)


def nondegenerate():
    """Data whose least-l1 solution has N entries, and its dual solution with rho < 1."""
    rng = np.random.default_rng(57)
    X, truth = rng.standard_normal((5, 12)), np.zeros(12)
    truth[:2] = 1 / np.sqrt(2)
    y = X @ truth + 0.1 * rng.standard_normal(5)
    sparse = regimes.minimum_l1(X, y)
    support = np.abs(sparse) > 1e-9
    nu = np.linalg.solve(X[:, support].T, np.sign(sparse[support]))
    assert support.sum() == 5
    return X, y, sparse, support, X.T @ nu


def direct(X, y, alpha, depth, profile=None, factor=1e-8):
    """The flow of the weights until the residual is `factor` of the data."""

    def misfit(w):
        return np.linalg.norm(X @ regimes.predictor(w, depth) - y) - factor * np.linalg.norm(y)

    options = {"rtol": 1e-11, "atol": 1e-14, "stop": misfit}
    path = regimes.weight_flow(X, y, alpha, 1e4, depth, profile, **options)
    assert path.reason == "loss reached"
    return path


# The functions of one coordinate


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 7, 30])
def test_h_and_its_inverse(depth):
    z = np.concatenate([-np.logspace(5, -12, 40), [0.0], np.logspace(-12, 3, 40)])
    assert np.allclose(regimes.h(regimes.h_inverse(z, depth), depth), z, rtol=1e-8)
    s = np.linspace(-0.95, 0.95, 39)
    if depth > 2:
        p = depth / (depth - 2)
        assert np.allclose(regimes.h(s, depth), (1 - s) ** -p - (1 + s) ** -p, rtol=1e-11)
    assert np.allclose(regimes.h_inverse(regimes.h(s, depth), depth), s, atol=1e-13)


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
@pytest.mark.parametrize("z", [1e-3, 0.4, 3.0, 250.0])
def test_q_is_the_integral_of_the_inverse(depth, z):
    integral = quad(lambda u: regimes.h_inverse(u, depth), 0, z, epsabs=0, epsrel=1e-11)[0]
    assert np.isclose(regimes.q(z, depth), integral, rtol=1e-9, atol=0)
    assert regimes.q(-z, depth) == regimes.q(z, depth)


def test_q_between_its_bounds_at_both_ends():
    z = np.logspace(-6, 6, 300)
    far = z * np.log(z) - z + 2
    assert np.all(regimes.q(z) <= z**2 / 4 * (1 + 1e-14))
    assert np.all(regimes.q(z) >= (z**2 / 4 - z**4 / 192) * (1 - 1e-14))
    slack = 1e-14 * np.abs(z * np.log(z)) + 1e-15
    assert np.all(regimes.q(z) <= far + slack) and np.all(regimes.q(z) >= far - 1 / z - slack)
    assert abs(regimes.q(1e3) - 1e3 * np.log(1e3) - (2 - 1e3 - 1e-3)) < 1e-6  # not z log z + O(1/z)


@pytest.mark.parametrize("depth", [3, 4, 6, 9])
def test_q_of_depth_at_both_ends(depth):
    tiny, big = 1e-4, 1e9
    parabola = (depth - 2) / (4 * depth) * tiny**2
    assert np.isclose(regimes.q(tiny, depth), parabola, rtol=1e-6, atol=0)
    correction = (big - regimes.q(big, depth)) / (depth / 2 * big ** (2 / depth))
    assert abs(correction - 1) < 3 / big ** (2 / depth) + 1e-6


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_slopes_of_newtons_iteration_are_those_of_the_predictor(depth):
    u, h, scales = np.linspace(-0.9, 0.9, 19), 1e-6, np.linspace(0.3, 2, 19)
    ahead, here, behind = (
        regimes._image(np.array([v, 1 - v, 1 + v]), scales, depth) for v in (u + h, u, u - h)
    )
    assert np.allclose(here[0], scales * regimes.h(u, depth), rtol=1e-12)
    assert np.allclose((ahead[0] - behind[0]) / (2 * h), here[1], rtol=1e-6)


# The limit of the flow


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
@pytest.mark.parametrize("alpha", [0.4, 0.9])
@pytest.mark.parametrize("seed", [1, 2])
def test_limit_is_that_of_the_direct_flow(depth, alpha, seed):
    X, y, profile, _ = problem(seed)
    reached = regimes.predictor(direct(X, y, alpha, depth, profile).final, depth)
    assert np.abs(reached - regimes.flow_limit(X, y, alpha, depth, profile)).max() < 1e-6
    other = regimes.flow_limit(X, y, 1.3 * alpha, depth, profile)
    assert np.abs(reached - other).max() > 1e-5  # the comparison can tell scales apart


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(DEPTHS), st.floats(-3, 1.5))
def test_limit_minimizes_the_penalty(seed, depth, exponent):
    X, y, profile, rng = problem(seed)
    alpha = 10.0**exponent
    beta = regimes.flow_limit(X, y, alpha, depth, profile)
    assert np.linalg.norm(X @ beta - y) <= 1e-10 * np.linalg.norm(y)
    kernel = np.eye(9) - np.linalg.pinv(X) @ X
    here = regimes.penalty(beta, alpha, depth, profile)
    for size in (1e-3, 0.1, 1.0):
        beside = beta + size * kernel @ rng.standard_normal(9)
        assert regimes.penalty(beside, alpha, depth, profile) >= here * (1 - 1e-12)
    # Lagrange: the gradient of the penalty lies in the row space.
    slope = np.abs(profile) ** (2 - depth) * regimes.h_inverse(
        beta / (alpha * np.abs(profile)) ** depth, depth
    )
    assert np.linalg.norm(kernel @ slope) <= 1e-9 * np.linalg.norm(slope)


@pytest.mark.parametrize("depth", DEPTHS)
def test_interpolant_has_its_scales_shift_and_weights(depth):
    X, y, profile, rng = problem(11)
    scales, shift = rng.uniform(0.1, 1, 9), rng.uniform(-0.8, 0.8, 9)
    beta = regimes.interpolant(X, y, scales, shift, depth, np.abs(profile))
    dual = (regimes.h_inverse(beta / scales, depth) - shift) / np.abs(profile)
    assert np.allclose(X @ beta, y) and np.allclose(np.linalg.svd(X)[2][4:] @ dual, 0, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [10.0, 1e-1, 1e-3, 1e-5])
def test_residual_at_the_published_size(alpha, noise):
    X, y = published(noise=noise)
    for depth in (2, 3):
        beta = regimes.flow_limit(X, y, alpha, depth)
        assert np.linalg.norm(X @ beta - y) <= 1e-10
        assert regimes.penalty(beta, alpha, depth) <= regimes.penalty(
            regimes.minimum_l1(X, y), alpha, depth
        ) * (1 + 1e-9)


def test_constants_before_the_loss_and_the_conserved_product():
    X, y, profile, _ = problem(4)
    path = direct(X, y, 0.3, 2, profile)
    product = path.states[0] * path.states[1]
    assert np.allclose(product, 0.09 * profile**2, rtol=1e-7)

    def half(w):  # the loss with a factor 1/(2N)
        pull = (2 / len(y)) * (X.T @ (X @ (w[0] ** 2 - w[1] ** 2) - y)) / 2
        return [2 * pull * w[0], -2 * pull * w[1]]

    start = 0.3 * np.abs(profile)
    slow = gradient_flow(half, [start, start], 2000.0, rtol=1e-11, atol=1e-14).final
    assert np.allclose(regimes.predictor(slow), regimes.predictor(path.final), atol=1e-6)


def test_dual_variable_is_eight_times_the_integral_of_the_residual():
    """For the loss without ½, as in the notes; with ½ it would be four times."""
    X, y, _, _ = problem(6)
    times = np.linspace(0, 0.4, 4001)
    path = regimes.weight_flow(X, y, 0.5, times, rtol=1e-12, atol=1e-15)
    beta = path.states[0] ** 2 - path.states[1] ** 2
    residual = beta @ X.T - y
    integral = np.trapezoid(residual, times, axis=0)
    assert np.allclose(beta[-1], 2 * 0.25 * np.sinh(X.T @ (-8 * integral)), atol=1e-5)
    assert not np.allclose(beta[-1], 2 * 0.25 * np.sinh(X.T @ (-4 * integral)), atol=1e-2)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_signs_of_the_shape_do_not_matter_and_a_zero_freezes(depth):
    X, y, profile, _ = problem(8)
    w = direct(X, y, 0.7, depth, np.abs(profile)).final
    start = 0.7 * profile  # with signs, integrated without the library's reduction

    def gradient(w):
        pull = 2 * depth * (X.T @ (X @ regimes.predictor(w, depth) - y))
        return [pull * w[0] ** (depth - 1), -pull * w[1] ** (depth - 1)]

    signed = gradient_flow(gradient, [start, start], 15.0, rtol=1e-9, atol=1e-12).final
    assert np.allclose(regimes.predictor(signed, depth), regimes.predictor(w, depth), atol=1e-5)
    profile[2] = 0.0
    frozen = regimes.predictor(direct(X, y, 0.7, depth, profile).final, depth)
    rest = regimes.flow_limit(np.delete(X, 2, 1), y, 0.7, depth, np.delete(profile, 2))
    assert frozen[2] == 0 and np.allclose(np.delete(frozen, 2), rest, atol=1e-6)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from(DEPTHS))
def test_limit_does_not_depend_on_how_the_data_are_written(seed, depth):
    X, y, _, rng = problem(seed)
    mixing = rng.standard_normal((6, 4))  # dependent rows, and more of them
    beta = regimes.flow_limit(X, y, 0.2, depth)
    assert np.allclose(regimes.flow_limit(mixing @ X, mixing @ y, 0.2, depth), beta, atol=1e-8)


@pytest.mark.parametrize("depth", DEPTHS)
def test_limit_with_a_unique_interpolant_and_with_no_target(depth):
    X, y, _, rng = problem(1, 6, 6)
    assert np.allclose(regimes.flow_limit(X, y, 0.3, depth), np.linalg.solve(X, y), atol=1e-8)
    assert np.array_equal(regimes.flow_limit(X, 0 * y, 0.3, depth), np.zeros(6))


# Kernel limit, rich limit


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_kernel_limit_is_the_weighted_least_squares_of_the_tangent_kernel(depth):
    X, y, profile, _ = problem(3)
    metric = profile ** (2 * depth - 2)
    weighted = metric * (X.T @ np.linalg.solve((X * metric) @ X.T, y))
    alphas = np.array([3.0, 6.0])
    errors = [np.abs(regimes.flow_limit(X, y, a, depth, profile) - weighted).max() for a in alphas]
    order = np.log(errors[1] / errors[0]) / np.log(2)
    assert abs(order + 2 * depth) < 0.1  # alpha^-4 at depth two


def test_kernel_limit_of_all_ones_is_the_least_l2_norm():
    X, y, _, _ = problem(3)
    assert np.allclose(regimes.flow_limit(X, y, 1e3), regimes.minimum_l2(X, y), atol=1e-10)
    assert np.allclose(regimes.minimum_l2(X, y), np.linalg.pinv(X) @ y, atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_rich_limit_and_its_power_law(depth):
    X, y, sparse, support, dual = nondegenerate()
    rho = np.abs(dual[~support]).max()
    alphas = {2: (1e-9, 1e-8), 3: (1e-4, 1e-3)}.get(depth, (1e-3, 1e-2))
    limits = [regimes.flow_limit(X, y, a, depth) for a in alphas]
    assert rho < 1 and np.abs(limits[0] - sparse).max() < 1e-5
    off = [np.abs(beta[~support]).max() for beta in limits]
    power = 2 * (1 - rho) if depth == 2 else depth
    assert abs(np.log10(off[1] / off[0]) - power) < 0.05
    if depth > 2:
        expected = alphas[0] ** depth * regimes.h(rho, depth)
        assert np.isclose(off[0], expected, rtol=0.05, atol=0)


def test_rich_limit_of_depth_two_forgets_the_shape():
    X, y, sparse, _, _ = nondegenerate()
    profile = np.random.default_rng(0).uniform(0.7, 1.5, 12)
    assert np.abs(regimes.flow_limit(X, y, 1e-10, 2, profile) - sparse).max() < 1e-5


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_rich_limit_of_deeper_networks_is_a_weighted_l1_norm(depth):
    X, y, sparse, _, _ = nondegenerate()
    profile = np.random.default_rng(0).uniform(0.7, 1.5, 12)
    weights = profile ** (depth - 2)
    weighted = weights * regimes.minimum_l1(X * weights, y)
    alpha = 1e-5 if depth == 3 else 1e-3
    limit = regimes.flow_limit(X, y, alpha, depth, profile)
    assert np.abs(limit - weighted).max() < 1e-4
    assert np.abs(limit - sparse).max() > 0.1  # not the plain least l1 norm
    beta = np.array([0.3, -2.0])
    exact = np.sum(np.abs(beta) / np.array([0.5, 1.5]) ** (depth - 2))
    assert np.isclose(regimes.penalty(beta, 1e-6, depth, [0.5, 1.5]), exact, rtol=1e-4)


def test_weighted_rich_limit_is_where_the_direct_flow_goes():
    X, y, sparse, _, _ = nondegenerate()
    profile = np.random.default_rng(0).uniform(0.7, 1.5, 12)
    reached = regimes.predictor(direct(X, y, 0.03, 3, profile).final, 3)
    weighted = profile * regimes.minimum_l1(X * profile, y)
    assert np.abs(reached - weighted).max() < 0.1 < 0.3 < np.abs(reached - sparse).max()


def test_ties_of_the_least_l1_norm_remember_the_shape():
    profile = np.array([1.0, 3.0])
    for alpha in (1e-6, 1e-2, 1.0, 50.0):
        limit = regimes.flow_limit([[1, 1]], [1], alpha, 2, profile)
        assert np.allclose(limit, [0.1, 0.9], atol=1e-10)
    assert regimes.flow_limit([[1, 1]], [1], 1e-3, 3, profile)[1] > 1 - 1e-6  # winner takes all


def test_uniform_approach_to_l1_is_logarithmic_at_depth_two_and_a_power_beyond():
    flat, unit = np.full(50, 0.02), np.eye(50)[0]
    for alpha in (1e-6, 1e-10):
        gap = 1 - regimes.penalty(flat, alpha) / regimes.penalty(unit, alpha)
        assert np.isclose(gap * np.log(alpha**-2), np.log(50), rtol=0.1)
    for depth in (3, 4, 6):
        alpha = 10 ** (-5 / (depth - 2)) / 10
        gap = 1 - regimes.penalty(flat, alpha, depth)
        law = depth / 2 * alpha ** (depth - 2) * np.sum(flat ** (2 / depth))
        assert np.isclose(gap, law, rtol=1e-2, atol=0)


def test_penalty_over_logarithm_tends_to_l1_with_the_known_constant():
    beta, profile = np.array([0.7, -1.2]), np.array([1.5, 0.4])
    constant = np.sum(np.abs(beta) * (np.log(np.abs(beta) / profile**2) - 1))
    alpha = 1e-12
    excess = regimes.penalty(beta, alpha, 2, profile) - np.abs(beta).sum() * np.log(alpha**-2)
    assert np.isclose(excess, constant, atol=1e-8)
    far = [
        regimes.penalty(beta, a, 2, profile) - np.sum((beta / (2 * a * profile)) ** 2)
        for a in (5, 10)
    ]
    assert abs(np.log2(far[0] / far[1]) - 6) < 0.01  # the remainder is O(alpha^-6)


# The thresholds of Theorem 2


def q_over_z(log_z):
    root = np.sqrt(1 + 4 * np.exp(-2 * log_z))
    return log_z + np.log((1 + root) / 2) + 2 * np.exp(-log_z) - root


@settings(max_examples=300)
@given(st.integers(1, 10**6), st.floats(1e-4, 0.9999), st.floats(-5, 6), st.floats(0, 1))
def test_certificate_of_the_l1_threshold(size, share, log_b, mix):
    epsilon = (share * size) ** mix * share ** (1 - mix)  # both small and close to d
    b, c = 10.0**log_b, 1 + epsilon
    log_alpha = regimes.log_rich_threshold(epsilon, b, size)
    near, far = np.log(b) - 2 * log_alpha, np.log(c * b / size) - 2 * log_alpha
    assert min(near, far) >= np.log(2 * np.e) - 1e-9
    assert c * q_over_z(far) >= q_over_z(near)
    # The step of the proof that the book prints: what has to hold for the logarithms.
    needed = np.log(b) + c * np.log(size / b) + epsilon - c * np.log(c) + 1 / np.e
    assert -2 * epsilon * log_alpha >= needed


@settings(max_examples=40)
@given(SEEDS, st.floats(0.05, 3))
def test_guaranteed_scales_hold_for_random_problems(seed, epsilon):
    X, y, _, rng = problem(seed, 2, 4)
    y = y * 10 ** rng.uniform(-1, 1)
    best = regimes.minimum_l2(X, y)
    above = regimes.kernel_threshold(epsilon, np.linalg.norm(best)) * rng.uniform(1, 2)
    assert np.sum(regimes.flow_limit(X, y, above) ** 2) <= (1 + epsilon) * np.sum(best**2)
    norm = np.abs(regimes.minimum_l1(X, y)).sum()
    log_alpha = regimes.log_rich_threshold(epsilon, norm, 4)
    if log_alpha > -100:
        limit = regimes.flow_limit(X, y, np.exp(log_alpha))
        assert np.abs(limit).sum() <= (1 + epsilon) * norm


def test_thresholds_are_the_printed_ones():
    assert np.isclose(regimes.kernel_threshold(2.0, 3.0), 6.0)
    assert np.isclose(regimes.log_rich_threshold(2.0, 1 / 6, 3), -9.0)  # the exponential rules
    assert np.isclose(regimes.log_rich_threshold(2.0, 50.0, 3), -np.log(300.0))  # the power rules


@given(st.floats(-6, 6))
def test_l2_threshold_is_inside_what_its_proof_needs(exponent):
    epsilon = 10.0**exponent
    z = 1 / regimes.kernel_threshold(epsilon, 1.0) ** 2
    assert z**2 <= 48 * epsilon / (1 + epsilon) ** 2
    assert regimes.q(np.sqrt(1 + epsilon) * z) >= z**2 / 4


def test_threshold_needs_its_root_over_the_norm():
    """With the norm outside the root the statement is false for small targets."""
    epsilon, X, y = 0.1, np.array([[1.0, 2.0]]), np.array([2e-4])
    norm = np.linalg.norm(regimes.minimum_l2(X, y))
    wrong = np.sqrt(2 * (1 + epsilon) * (1 + 2 / epsilon)) * norm
    assert np.linalg.norm(regimes.flow_limit(X, y, wrong)) ** 2 > (1 + epsilon) * norm**2


# Distance from the start


@given(st.floats(-4, 4))
def test_distance_penalty_is_the_smallest_real_root_of_the_quartic(exponent):
    z = 10.0**exponent
    coefficients = [1, -6, 12 - 2 * z**2, -(8 + 10 * z**2), z**2 + z**4]
    r = regimes.distance_penalty([z], 1.0)
    terms = np.abs(coefficients) * r ** np.arange(4, -1, -1.0)
    assert abs(np.polyval(coefficients, r)) <= 1e-9 * terms.max()
    if 1e-2 < z < 1e2:
        roots = np.roots(coefficients)
        real = roots[np.abs(roots.imag) < 1e-6 * np.abs(roots)].real
        assert len(real) == 2 and np.isclose(r, real.min(), rtol=1e-6)


def test_distance_penalty_is_the_distance_and_has_its_prefactor():
    beta, alpha = 0.8, 0.3
    b = np.linspace(0, 2, 200_001)  # all weights with a² - b² = beta and a > 0
    distance = (np.sqrt(beta + b**2) - alpha) ** 2 + (b - alpha) ** 2
    assert np.isclose(regimes.distance_penalty([beta], alpha), distance.min(), rtol=1e-8)


@given(SEEDS, st.floats(-3, 1))
def test_nearest_interpolant_is_the_flow_of_depth_four(seed, exponent):
    X, y, _, rng = problem(seed)
    alpha = 10.0**exponent
    nearest = regimes.flow_limit(X, y, np.sqrt(alpha), 4)
    here = regimes.distance_penalty(nearest, alpha)
    kernel = np.eye(9) - np.linalg.pinv(X) @ X
    for size in (1e-2, 1.0):
        beside = nearest + size * kernel @ rng.standard_normal(9)
        assert regimes.distance_penalty(beside, alpha) >= here * (1 - 1e-12)
    assert here <= regimes.distance_penalty(regimes.flow_limit(X, y, alpha), alpha) * (1 + 1e-12)


def test_distance_penalty_at_both_ends_is_no_multiple_of_q():
    beta = np.array([0.6, -0.1])
    large = regimes.penalty(beta, 50.0) / regimes.distance_penalty(beta, 50.0)
    small = regimes.penalty(beta, 1e-4) / regimes.distance_penalty(beta, 1e-4)
    assert abs(large - 2) < 1e-3 and small > 10
    for alpha in (1e-4, 1e-5):
        gap = np.abs(beta).sum() - regimes.distance_penalty(beta, alpha)
        assert np.isclose(
            gap, 2 * alpha * np.sqrt(np.abs(beta)).sum(), rtol=10 * alpha + 1e-6 / alpha * 1e-5
        )


def test_linear_model_goes_to_the_nearest_interpolant():
    X, y, profile, _ = problem(5)
    start = 0.7 * profile
    end = gradient_flow(lambda w: 2 * X.T @ (X @ w - y), start, 60.0, rtol=1e-11).final
    assert np.allclose(end, start + np.linalg.pinv(X) @ (y - X @ start), atol=1e-6)


# Homogeneity, tangent kernel, critical points


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_tangent_kernel_and_homogeneity(depth):
    rng = np.random.default_rng(depth)
    x, other, profile = rng.standard_normal((3, 4))
    alpha, step = 0.7, 1e-6

    def feature(w, x):
        def model(v):
            return regimes.predictor([v[:4], v[4:]], depth) @ x

        axes = step * np.eye(8)
        return np.array([(model(w + e) - model(w - e)) / (2 * step) for e in axes])

    w = np.concatenate([profile, profile])
    kernel = feature(alpha * w, x) @ feature(alpha * w, other)
    exact = 2 * depth**2 * alpha ** (2 * depth - 2) * np.sum(profile ** (2 * depth - 2) * x * other)
    assert np.isclose(kernel, exact, rtol=1e-6)
    v = rng.standard_normal(8)
    assert np.allclose(feature(alpha * v, x), alpha ** (depth - 1) * feature(v, x), atol=1e-7)
    euler = depth * regimes.predictor([v[:4], v[4:]], depth) @ x
    assert np.isclose(v @ feature(v, x), euler, rtol=1e-6)


def test_scaling_the_output_scales_weights_and_time():
    X, y, profile, _ = problem(2)
    for depth in (2, 3):
        c = 2.3
        lam = c ** (1 / depth)
        ours = regimes.weight_flow(c * X, y, 0.5, 0.02, depth, profile, rtol=1e-12).final
        end = lam**2 * 0.02
        theirs = regimes.weight_flow(X, y, lam * 0.5, end, depth, profile, rtol=1e-12).final
        assert np.allclose(ours, np.array(theirs) / lam, rtol=1e-9)


def test_zero_is_a_saddle_and_the_start_is_not_critical():
    X, y, _, _ = problem(9)
    still = regimes.weight_flow(X, y, 1.0, 1.0, 2, np.zeros(9)).final
    assert np.array_equal(still, np.zeros((2, 9)))

    def loss(w):
        return np.sum((X @ (w[:9] ** 2 - w[9:] ** 2) - y) ** 2)

    step = 1e-3
    curvature = [(loss(step * e) + loss(-step * e) - 2 * loss(0 * e)) / step**2 for e in np.eye(18)]
    exact = np.concatenate([-4 * X.T @ y, 4 * X.T @ y])
    assert np.allclose(curvature, exact, atol=1e-3) and exact.min() < 0 < exact.max()
    path = regimes.weight_flow(X, y, 0.3, 1e-3)
    assert np.abs(path.final[0] - 0.3).max() > 1e-4


def test_image_of_the_diagonal_network():
    """Signed targets are fitted by w_+² - w_-²; w² alone stops at a positive loss."""
    X, y = np.eye(2), np.array([1.0, -1.0])
    assert np.allclose(regimes.flow_limit(X, y, 0.1), y)
    end = gradient_flow(lambda w: 4 * w * (w**2 - y), np.full(2, 0.1), 50.0).final
    assert np.allclose(end**2, [1.0, 0.0], atol=1e-6)


def test_affine_model_finds_the_kernel_interpolant():
    rng = np.random.default_rng(0)
    features, target, new = (
        rng.standard_normal((3, 7)),
        rng.standard_normal(3),
        rng.standard_normal((4, 7)),
    )
    end = gradient_flow(
        lambda l: 2 * features.T @ (features @ l - target), np.zeros(7), 80.0, rtol=1e-11
    ).final
    kernel = features @ features.T
    assert np.allclose(new @ end, new @ features.T @ np.linalg.solve(kernel, target), atol=1e-6)
    assert np.isclose(end @ end, target @ np.linalg.solve(kernel, target), rtol=1e-6)


def test_large_scale_flow_stays_with_its_affine_model():
    X, y, _, _ = problem(7)
    w = regimes.weight_flow(X, y, 20.0, 0.02, rtol=1e-10).final
    features = np.hstack([2 * 20.0 * X, -2 * 20.0 * X])
    affine = np.linalg.pinv(features) @ y
    moved = np.concatenate([w[0] - 20.0, w[1] - 20.0])
    assert np.abs(moved - affine).max() < 0.05 * np.abs(affine).max()


# Sparse regression


def test_l1_learns_sparse_vectors_from_few_data_and_l2_does_not():
    rng = np.random.default_rng(1)
    errors = {"l1": [], "l2": [], "small": []}
    truth = np.zeros(300)
    truth[:3] = 1 / np.sqrt(3)
    for _ in range(4):
        X = rng.standard_normal((60, 300))
        y = X @ truth
        for name, beta in {
            "l1": regimes.minimum_l1(X, y),
            "l2": regimes.minimum_l2(X, y),
            "small": regimes.flow_limit(X, y, 1e-4),
        }.items():
            errors[name].append(np.sum((beta - truth) ** 2))
    assert max(errors["l1"]) < 1e-12 and max(errors["small"]) < 1e-3
    assert abs(np.mean(errors["l2"]) - (1 - 60 / 300)) < 0.06


def test_least_l1_norm_is_certified_by_its_dual():
    X, y, sparse, support, dual = nondegenerate()
    assert np.allclose(X @ sparse, y, atol=1e-9)
    assert np.abs(dual).max() <= 1 + 1e-9  # feasible, so no interpolant is shorter
    assert np.isclose(np.abs(sparse).sum(), dual @ sparse, rtol=1e-9)


# Bad input


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("alpha", {"alpha": 0.0}),
        ("alpha", {"alpha": -1.0}),
        ("alpha", {"alpha": np.nan}),
        ("depth", {"depth": 1}),
        ("depth", {"depth": 0}),
        ("depth", {"depth": 2.5}),
        ("profile has a zero at index 1", {"profile": [1.0, 0.0, 1.0]}),
        ("profile", {"profile": [1.0, 1.0]}),
    ],
)
def test_bad_initializations(name, change):
    options = {"alpha": 1.0, "depth": 2, "profile": None} | change
    with pytest.raises(ValueError, match=name):
        regimes.penalty([1.0, 2.0, 3.0], **options)
    with pytest.raises(ValueError, match=name):
        regimes.flow_limit([[1.0, 2.0, 3.0]], [1.0], **options)


@pytest.mark.parametrize("solve", [regimes.minimum_l1, regimes.minimum_l2])
@pytest.mark.parametrize(
    ("X", "y", "name"),
    [
        ([[1.0, 2.0], [2.0, 4.0]], [1.0, 3.0], "y is not in the range of X"),
        ([[0.0, 0.0]], [1.0], "y is not in the range of X"),
        ([[1.0, 2.0]], [1.0, 2.0], "X and y"),
        ([1.0, 2.0], [1.0], "X must have"),
        ([[1.0, np.inf]], [1.0], "X has entries"),
        ([[1.0, 2.0]], [[1.0]], "y must have"),
    ],
)
def test_bad_data(X, y, name, solve):
    with pytest.raises(ValueError, match=name):
        solve(X, y)
    with pytest.raises(ValueError, match=name):
        regimes.flow_limit(X, y, 1.0)


def test_digits_that_run_out_are_an_error_and_not_a_wrong_number():
    X, y = published(noise=0.0)
    with pytest.raises(ValueError, match="alpha = 0.001 is too small for depth 6"):
        regimes.flow_limit(X, y, 1e-3, 6)
    for alpha, depth in [(1e-200, 2), (1e-60, 8), (1e200, 2)]:
        with pytest.raises(ValueError, match="alpha"):
            regimes.flow_limit(X, y, alpha, depth)
        with pytest.raises(ValueError, match="alpha"):
            regimes.penalty([1.0], alpha, depth)
    assert np.isfinite(regimes.penalty([1e15], 1e-145))
    with pytest.raises(ValueError, match="alpha"):
        regimes.penalty([1e30], 1e-145)  # 1e30 over the squared scale is too large for float64
    with pytest.raises(ValueError, match="s must lie"):
        regimes.h(1.0, 3)
    with pytest.raises(ValueError, match="epsilon"):
        regimes.log_rich_threshold(5.0, 1.0, 5)
    with pytest.raises(ValueError, match="norm"):
        regimes.kernel_threshold(0.1, 0.0)


# Mirror flows


def bregman(target, beta, alpha, depth, profile):
    """The divergence of the penalty: Phi(z) - Phi(x) - <grad Phi(x), z - x>."""
    phi = lambda v: regimes.penalty(v, alpha, depth, profile)  # noqa: E731
    size = np.abs(profile)
    slope = size ** (2 - depth) * regimes.h_inverse(beta / (alpha * size) ** depth, depth)
    return phi(target) - phi(beta) - slope @ (target - beta)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_divergence_to_every_interpolant_falls_at_the_rate_of_the_loss(depth):
    """d/dt D(z, x) = -c |r|²: integrated along the flow, for two interpolants z."""
    X, y, profile, rng = problem(12)
    alpha, times = 0.8, np.linspace(0, 0.03, 1501)
    path = regimes.weight_flow(X, y, alpha, times, depth, profile, rtol=1e-11, atol=1e-13)
    betas = regimes.predictor(path.states, depth)
    squares = np.sum((betas @ X.T - y) ** 2, axis=1)
    rate = 8.0 if depth == 2 else 2 * depth * (depth - 2) * alpha ** (depth - 2)
    kernel = np.linalg.svd(X)[2][-1]
    for target in (regimes.minimum_l2(X, y), regimes.minimum_l1(X, y) + 0.7 * kernel):
        fall = [bregman(target, beta, alpha, depth, profile) for beta in (betas[0], betas[-1])]
        spent = rate * simpson(squares, x=times)
        assert np.isclose(fall[0] - fall[1], spent, rtol=1e-4)
        # The bound on the loss, which is not empty: within a factor of a hundred here.
        bound = fall[0] / (rate * times[-1])
        assert squares[-1] <= bound < 100 * np.mean(squares)


def test_two_losses_commute_for_diagonal_networks_and_not_for_two_layers():
    """The end depends on the integral of the gradients alone, or on their order."""
    rng = np.random.default_rng(5)
    first, second = rng.standard_normal((2, 3))

    def along(gradient, start):
        return gradient_flow(gradient, start, 0.4, rtol=1e-12).final

    def diagonal(g):
        return lambda w: np.array([2 * w[0] * g, -2 * w[1] * g])

    def two_layers(g):  # the prediction U v with a linear loss <g, U v>
        return lambda w: [np.outer(g, w[1]), w[0].T @ g]

    starts = {diagonal: np.full((2, 3), 0.7)}
    starts[two_layers] = [rng.standard_normal((3, 2)), rng.standard_normal(2)]
    for model, start in starts.items():
        ends = [
            along(model(b), along(model(a), start)) for a, b in ((first, second), (second, first))
        ]
        products = [e[0] ** 2 - e[1] ** 2 if model is diagonal else e[0] @ e[1] for e in ends]
        gap = np.abs(products[0] - products[1]).max()
        assert gap < 1e-9 if model is diagonal else gap > 0.05


def test_coordinates_of_their_own_follow_a_mirror_flow():
    """beta = u v: the change of Phi'(beta) is minus the integral of the gradient; limit = KKT."""
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((2, 4)), rng.standard_normal(2)
    u, v = rng.standard_normal((2, 4))
    imbalance = u**2 - v**2

    def gradient(w):
        pull = X.T @ (X @ (w[0] * w[1]) - y)
        return [pull * w[1], pull * w[0]]

    path = gradient_flow(gradient, [u, v], 80.0, rtol=1e-12, atol=1e-14)
    start, end = u * v, path.final[0] * path.final[1]
    slope = lambda b: np.arcsinh(2 * b / np.abs(imbalance)) / 2  # noqa: E731
    assert np.abs(X @ end - y).max() < 1e-8
    kernel = np.linalg.svd(X)[2][2:]
    assert np.abs(kernel @ (slope(end) - slope(start))).max() < 1e-7
    assert np.abs(kernel @ (end - start)).max() > 1e-2  # it is not the nearest one
    still = gradient_flow(lambda w: 4 * (w**2 + 1) * w, np.array([0.8]), 20.0)
    assert abs(still.final[0]) < 1e-9  # beta = w² and y = -1: the loss stays 1


def test_the_expansion_at_the_other_point_leaves_an_error():
    """F03: f(w, x) = f(w - w(t), x) + <w - w(t), phi> + … does not hold to any order."""
    rng = np.random.default_rng(0)
    w, x, direction = rng.standard_normal(8), rng.standard_normal(4), rng.standard_normal(8)
    f = lambda w: w[:4] ** 2 @ x - w[4:] ** 2 @ x  # noqa: E731
    slope = np.concatenate([2 * w[:4] * x, -2 * w[4:] * x])
    for h in (1e-3, 1e-5):
        linear = h * direction @ slope
        assert abs(f(w + h * direction) - f(w) - linear) < 20 * h**2
        assert abs(f(w + h * direction) - f(h * direction) - linear - f(w)) < 0.01 * abs(f(w))


# Units and edges


def test_least_norms_rescale_with_the_data():
    X, y, _, _ = problem(3)
    for solve in (regimes.minimum_l1, regimes.minimum_l2):
        wanted = solve(X, y)
        for scale in (1e-12, 1e9):
            close = 1e-9 * np.abs(wanted).max()
            assert np.allclose(solve(X, scale * y) / scale, wanted, rtol=1e-6, atol=close)
            assert np.allclose(solve(scale * X, y) * scale, wanted, rtol=1e-6, atol=close)


def test_an_entry_whose_dual_vanishes_falls_faster_than_the_rest():
    """(X^T nu*)_3 = 0: at depth two the entry is exactly 0, at depth three it is o(alpha³)."""
    X = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]])
    for alpha in (1e-2, 1e-4):
        assert abs(regimes.flow_limit(X, np.ones(2), alpha)[2]) < 1e-15
    third = [abs(regimes.flow_limit(X, [1.0, 2.0], a, 3)[2]) for a in (1e-3, 1e-2)]
    assert 3.8 < np.log10(third[1] / third[0]) < 4.2


def test_scales_at_the_end_of_float64_are_refused_in_words():
    X, y, _, _ = problem(3)
    with pytest.raises(ValueError, match="alpha = 1e-100 .*depth 3"):
        regimes.flow_limit(X, y, 1e-100, 3)
