"""The tangent kernel: gradients, limits, concentration, drift, components, rank, bad input."""

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import roots_hermitenorm

from overparam import activations, flow, kernel, networks

NAMES = ("relu", "tanh", "erf", "softplus")
SIZES = ([3, 1], [3, 5, 1], [3, 5, 4, 1], [2, 3, 4, 3, 1])


def problem(seed=0, n_data=8, d=3):
    """Points of the sphere and targets."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n_data, d)), rng.standard_normal(n_data)
    return X / np.linalg.norm(X, axis=1)[:, None], y


def start(sizes, seed=0):
    return networks.gaussian(sizes, 1.0, np.random.default_rng(seed))


def by_formula(weights, X, activation, scaled):
    """The network as its definition prints it, neuron layer after neuron layer."""
    values = X @ weights[0]
    for W in weights[1:]:
        factor = 1 / np.sqrt(len(W)) if scaled else 1.0
        values = factor * activations.ACTIVATIONS[activation].evaluate(values)[0] @ W
    return values[:, 0]


def jacobian(weights, X, activation, scaled, h=1e-6):
    columns = []
    for l, W in enumerate(weights):
        for index in np.ndindex(W.shape):
            pair = []
            for sign in (1, -1):
                moved = [layer.copy() for layer in weights]
                moved[l][index] += sign * h
                pair.append(by_formula(moved, X, activation, scaled))
            columns.append((pair[0] - pair[1]) / (2 * h))
    return np.array(columns).T


def fitted_power(widths, values):
    return np.polyfit(np.log(widths), np.log(values), 1)[0]


def circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


def drift(path, X, name="tanh", scaled=True):
    """Return the relative movement of the kernel along a path of layers."""
    kernels = np.array([kernel.tangent_kernel(W, X, None, name, scaled) for W in path])
    return np.linalg.norm(kernels - kernels[0], axis=(1, 2)) / np.linalg.norm(kernels[0])


# Gradients and the empirical kernel


@pytest.mark.parametrize("name", NAMES)
def test_activations_have_their_derivatives(name):
    z = np.linspace(-4, 4, 41) + 0.013  # not at the kink
    value, slope = activations.ACTIVATIONS[name].evaluate(z)
    ahead, behind = (activations.ACTIVATIONS[name].evaluate(z + h)[0] for h in (1e-6, -1e-6))
    assert np.allclose(slope, (ahead - behind) / 2e-6, atol=1e-8)
    assert activations.ACTIVATIONS[name].smooth == (name != "relu")


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scaled", [True, False])
def test_gradients_and_kernel_are_those_of_finite_differences(sizes, name, scaled):
    rng = np.random.default_rng(len(sizes))
    weights, d = start(sizes, 3), rng.standard_normal(5)
    X, X2 = rng.standard_normal((5, sizes[0])), rng.standard_normal((4, sizes[0]))
    assert np.allclose(
        kernel.predict(weights, X, name, scaled), by_formula(weights, X, name, scaled), rtol=1e-12
    )
    J, J2 = (jacobian(weights, points, name, scaled) for points in (X, X2))
    got = kernel.gradients(weights, X, lambda _: d, name, scaled)
    assert [g.shape for g in got] == [W.shape for W in weights]
    assert np.allclose(np.concatenate([g.ravel() for g in got]), d @ J, atol=1e-6)
    K = kernel.tangent_kernel(weights, X, X2, name, scaled)
    assert np.allclose(K, J @ J2.T, rtol=1e-5, atol=1e-6)
    assert np.allclose(
        kernel.tangent_kernel(weights, X, activation=name, scaled=scaled), J @ J.T, rtol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_outputs_follow_the_kernel_gradient(name):
    X, y = problem()
    new = np.random.default_rng(5).standard_normal((4, 3))
    weights = start([3, 6, 5, 1], 1)

    def slope(f):  # of (1/N) sum of log cosh(f - y): a cost that is not squared
        return np.tanh(f - y) / len(y)

    G = kernel.gradients(weights, X, slope, name)
    ahead, behind = [[W - s * g for W, g in zip(weights, G, strict=True)] for s in (1e-6, -1e-6)]
    moved = (kernel.predict(ahead, new, name) - kernel.predict(behind, new, name)) / 2e-6
    d = np.tanh(kernel.predict(weights, X, name) - y)
    K = kernel.tangent_kernel(weights, new, X, name)
    assert np.allclose(moved, -K @ d / len(y), rtol=1e-6, atol=1e-8)


def test_kernel_is_random_at_the_start_and_depends_on_the_weights():
    X, y = problem()
    one, other = (kernel.tangent_kernel(start([3, 30, 1], seed), X) for seed in (0, 1))
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)
    path = kernel.training_flow(start([3, 30, 1]), X, y, 10.0, "tanh")
    assert drift(path, X)[-1] > 0.01


@given(seed=st.integers(0, 10**6), depth=st.integers(2, 4), alpha=st.floats(0.3, 3))
@settings(max_examples=25)
def test_relu_networks_are_homogeneous_of_degree_their_depth(seed, depth, alpha):
    weights, X = start([3] + [4] * (depth - 1) + [1], seed), problem(seed)[0]
    scaled = [alpha * W for W in weights]
    assert np.allclose(kernel.predict(scaled, X), alpha**depth * kernel.predict(weights, X))
    assert np.allclose(
        kernel.tangent_kernel(scaled, X),
        alpha ** (2 * depth - 2) * kernel.tangent_kernel(weights, X),
    )
    G = kernel.gradients(weights, X[:1], lambda _: np.ones(1))
    euler = sum(np.sum(W * g) for W, g in zip(weights, G, strict=True))
    assert np.isclose(euler, depth * kernel.predict(weights, X[:1])[0], atol=1e-12)


# Limits


def quadrature(x1, x2, name, n=201):
    """The two expectations of the two-layer limit by Gauss–Hermite, for smooth activations."""
    nodes, weights = roots_hermitenorm(n)
    weights = weights / weights.sum()
    p, q, c = x1 @ x1, x2 @ x2, x1 @ x2
    u = np.sqrt(p) * nodes[:, None] + 0 * nodes[None, :]
    v = c / np.sqrt(p) * nodes[:, None] + np.sqrt(max(q - c**2 / p, 0)) * nodes[None, :]
    (s1, d1), (s2, d2) = (activations.ACTIVATIONS[name].evaluate(z) for z in (u, v))
    return weights @ (s1 * s2) @ weights, weights @ (d1 * d2) @ weights


def test_erf_limit_is_the_expectation():
    rng = np.random.default_rng(0)
    for _ in range(5):
        x1, x2 = rng.standard_normal((2, 3))
        product, slopes = quadrature(x1, x2, "erf")
        got = kernel.limit_kernel(x1[None], x2[None], "erf")[0, 0]
        assert np.isclose(got, product + x1 @ x2 * slopes, rtol=1e-9)


def test_deep_erf_limit_is_the_recursion_of_the_expectations():
    """Inputs of different lengths: each layer's covariances by quadrature from those before it."""
    x = np.array([[0.4, -0.2, 0.1], [1.5, 2.0, -1.0]])
    z, theta = x, x[0] @ x[1]
    for depth in (2, 3, 4):
        product, slopes = quadrature(*z, "erf")
        theta = product + theta * slopes
        assert np.isclose(kernel.limit_kernel(x[:1], x[1:], "erf", depth)[0, 0], theta, rtol=1e-8)
        first, second = (quadrature(row, row, "erf")[0] for row in z)
        z = np.linalg.cholesky([[first, product], [product, second]])


def test_erf_limit_of_very_long_inputs_is_finite_and_right():
    """On the diagonal 2/π arcsin(2p/(1+2p)) + 4p/π/√(1+4p), p = |x|²; opposite points: minus it."""
    for size in (1e-6, 1.0, 1e4, 1e8, 1e12):
        x = np.array([[0.6 * size, 0.8 * size]])
        s = np.arctan2(2 * size**2, np.sqrt(1 + 4 * size**2))
        wanted = 2 / np.pi * s + 4 / np.pi * size**2 / np.sqrt(1 + 4 * size**2)
        found = kernel.limit_kernel(x, activation="erf")[0, 0]
        assert np.isclose(found, wanted, rtol=1e-12, atol=0)
        opposite = kernel.limit_kernel(x, -x, "erf")[0, 0]
        assert np.isclose(opposite, -wanted, rtol=1e-12 if size < 1e9 else 1e-6, atol=0)


def test_relu_kernel_is_the_expectation():
    # in polar coordinates of the plane of x and x', the radius done by hand
    angle = (np.arange(400_000) + 0.5) * 2 * np.pi / 400_000
    for phi, size1, size2 in [(0.3, 1.0, 2.0), (1.9, 0.5, 1.0), (2.8, 3.0, 1.0)]:
        first, second = np.cos(angle), np.cos(angle - phi)
        product = 2 * np.mean(np.maximum(first, 0) * np.maximum(second, 0)) * size1 * size2
        both = np.mean((first > 0) & (second > 0))
        x1, x2 = size1 * circle([0.0])[0], size2 * circle([phi])[0]
        wanted = product + x1 @ x2 * both
        assert np.isclose(kernel.relu_kernel(x1[None], x2[None])[0, 0], wanted, atol=1e-5)


def test_relu_kernel_as_the_talk_prints_it():
    X, X2 = np.random.default_rng(1).standard_normal((2, 6, 4))
    size = np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(X2, axis=1))
    phi = np.arccos(X @ X2.T / size)
    printed = size / (2 * np.pi) * (np.sin(phi) + (np.pi - phi) * np.cos(phi))
    printed += X @ X2.T * (np.pi - phi) / (2 * np.pi)
    assert np.allclose(kernel.relu_kernel(X, X2), printed, rtol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_relu_limit_is_exact_for_equal_opposite_and_zero_points(depth):
    X = np.random.default_rng(2).standard_normal((6, 5))
    sizes = np.sum(X**2, axis=1)
    diagonal = np.diag(kernel.limit_kernel(X, depth=depth))
    assert np.allclose(diagonal, depth / 2 ** (depth - 1) * sizes, rtol=1e-14)
    assert np.allclose(
        np.diag(kernel.limit_kernel(X, 3 * X, depth=depth)), 3 * diagonal, rtol=1e-14
    )
    if depth == 2:
        assert np.abs(np.diag(kernel.relu_kernel(X, -X))).max() < 1e-14
    assert np.all(kernel.limit_kernel(X, np.zeros((1, 5)), depth=depth) == 0)


@pytest.mark.parametrize("name", ["relu", "erf"])
@pytest.mark.parametrize("depth", [2, 3])
def test_kernel_tends_to_its_limit_like_the_root_of_the_width(name, depth):
    X = problem(1)[0]
    limit, rng = kernel.limit_kernel(X, activation=name, depth=depth), np.random.default_rng(3)
    widths = 2 ** np.arange(4, 12 if depth == 2 else 9)
    distances = []
    for m in widths:
        draws = [
            kernel.tangent_kernel(
                networks.gaussian([3] + [m] * (depth - 1) + [1], 1.0, rng), X, activation=name
            )
            for _ in range(60)
        ]
        distances.append(np.sqrt(np.mean((np.array(draws) - limit) ** 2)))
    assert abs(fitted_power(widths, distances) + 0.5) < 0.07
    # and there is nothing left but chance
    spread = np.std(draws, axis=0) / np.sqrt(60)
    assert np.abs(np.mean(draws, axis=0) - limit).max() < 5 * spread.max()


def test_two_layer_kernel_has_the_mean_of_the_limit_at_every_width():
    X, rng = problem(4)[0][:3], np.random.default_rng(0)
    for m in (1, 7):
        draws = np.array(
            [
                kernel.tangent_kernel(networks.gaussian([3, m, 1], 1.0, rng), X)
                for _ in range(20_000 // m)
            ]
        )
        error = np.std(draws, axis=0) / np.sqrt(len(draws))
        assert np.all(np.abs(draws.mean(axis=0) - kernel.relu_kernel(X)) < 5 * error)
        variance = m * np.var(draws, axis=0)
        if m == 1:
            of_one = variance
    assert np.allclose(variance, of_one, rtol=0.25)  # Var g / m


# During training


@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_neurons_move_no_further_than_the_theorem_says(name):
    X, y = problem(2)
    for m in (5, 50, 500):
        weights, t = start([3, m, 1], m), np.linspace(0, 8, 81)
        path = kernel.training_flow(weights, X, y, t, name)
        D = [np.mean(np.abs(kernel.predict(state, X, name) - y)) for state in path]
        S = np.max(D[:-1] + np.diff(D).clip(0)) * np.diff(t).sum()  # an upper sum is enough
        first, last = (np.vstack([W1, b.T]) for W1, b in (path[0], path[-1]))
        moved = np.linalg.norm(last - first, axis=0)
        at_zero = abs(activations.ACTIVATIONS[name].evaluate(np.zeros(1))[0][0])
        bound = np.expm1(S / np.sqrt(m)) * (np.linalg.norm(first, axis=0) + at_zero)
        assert np.all(moved <= bound)


def median_drift(widths, name, seeds=8, positive=False, layers=2, scaled=True):
    X, y = problem(3)
    result = []
    for m in widths:
        runs = []
        for seed in range(seeds):
            weights = start([3] + [m] * (layers - 1) + [1], seed)
            weights = weights if scaled else [W / np.sqrt(m) for W in weights]
            goal = y
            if positive:
                weights[-1] = np.abs(weights[-1])
                goal = y + kernel.predict(weights, X, name)
            if name == "relu":
                path = kernel.training_descent(weights, X, goal, 0.25, 40, name, scaled, every=8)
            else:
                path = kernel.training_flow(weights, X, goal, np.arange(0, 11.0, 2), name)
            runs.append(drift(path, X, name, scaled).max())
        result.append(np.median(runs))
    return np.array(result)


def test_kernel_of_smooth_two_layer_networks_drifts_like_one_over_the_width():
    widths = 4 ** np.arange(3, 6)  # the chapter has tanh
    assert abs(fitted_power(widths, median_drift(widths, "softplus")) + 1) < 0.12


def test_output_weights_of_one_sign_bring_back_the_rate_of_the_general_proof():
    widths = 2 ** np.arange(6, 11)
    assert abs(fitted_power(widths, median_drift(widths, "softplus", positive=True)) + 0.5) < 0.08


def test_three_layer_kernel_stays_too():
    widths = 2 ** np.arange(5, 9)
    assert abs(fitted_power(widths, median_drift(widths, "tanh", 6, layers=3)) + 1) < 0.25


def test_without_the_factors_the_kernel_moves_at_every_width():
    widths = 2 ** np.arange(6, 12)
    drifts = median_drift(widths, "relu", 5, scaled=False)
    assert drifts.min() > 0.3 and abs(fitted_power(widths, drifts)) < 0.1
    X = problem(3)[0]
    weights = start([3, 64, 1])
    small = [W / 8 for W in weights]
    assert np.allclose(
        kernel.tangent_kernel(small, X, scaled=False), kernel.tangent_kernel(weights, X)
    )
    # and with variance one and no factors the kernel itself grows with the width
    sizes = [
        np.linalg.norm(kernel.tangent_kernel(start([3, m, 1]), X, scaled=False)) for m in widths
    ]
    assert abs(fitted_power(widths, sizes) - 1) < 0.1


def test_relu_kernel_drifts_like_the_power_three_quarters_away_from_the_data():
    X, y = problem(0)
    new, widths, drifts = problem(9)[0], 4 ** np.arange(4, 8), []
    for m in widths:
        runs = []
        for seed in range(16):
            path = kernel.training_descent(start([3, m, 1], seed), X, y, 0.5, 16, every=16)
            runs.append(drift(path, new, "relu")[-1])
        drifts.append(np.sqrt(np.mean(np.square(runs))))
    assert abs(fitted_power(widths, drifts) + 0.75) < 0.12


def test_relu_neurons_only_switch_off_at_a_single_datum_and_the_kernel_loses_root_of_width():
    x = np.array([[1.2, 0.0, 0.5]])
    size = np.linalg.norm(x)
    for m, draws in ((16000, 40),):  # the chapter has 4000
        lost = predicted = 0.0
        for seed in range(draws):
            path = kernel.training_descent(start([3, m, 1], seed), x, [2.0], 0.3, 24)
            on = [(x @ W1)[0] > 0 for W1, _ in path]
            assert not any(np.any(after & ~before) for before, after in itertools.pairwise(on))
            b = path[0][1][:, 0]
            lost += np.mean(b**2 * (on[0] & ~on[-1])) * size**2
            integral = 0.3 * sum(kernel.predict(state, x)[0] - 2.0 for state in path)
            predicted += abs(integral) * size**3 / np.pi / np.sqrt(m)
        assert abs(lost / predicted - 1) < 0.1


# Components


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_kernel_flow_solves_its_equation_component_by_component(seed):
    rng = np.random.default_rng(seed)
    A, d0 = rng.standard_normal((5, 4)), rng.standard_normal(5)
    K, t = A @ A.T, np.array([0.0, 0.3, 1.0, 4.0])  # singular: rank 4 of 5
    got = kernel.kernel_flow(K, d0, t)
    path = flow.gradient_flow(lambda d: K @ d / 5, d0, t, rtol=1e-10, atol=1e-12)
    assert np.allclose(got, path.states, atol=1e-7)
    values, vectors = np.linalg.eigh(K)
    rates = values.clip(0) / 5
    assert np.allclose(got @ vectors, np.exp(-np.outer(t, rates)) * (d0 @ vectors), atol=1e-10)
    assert np.allclose(kernel.kernel_flow(K, d0, 1.0), got[2])


def test_interpolant_is_the_limit_of_the_flow_of_the_affine_model():
    """At new points the outputs of the affine model end at -K(x, X) K⁻¹ r(0)."""
    rng = np.random.default_rng(0)
    features, new, r0 = (rng.standard_normal(s) for s in ((4, 9), (6, 9), 4))
    K, K_new = features @ features.T, new @ features.T
    path = flow.gradient_flow(
        lambda l: features.T @ (features @ l + r0) / 4, np.zeros(9), [0.0, 0.5, 200.0], rtol=1e-10
    )
    assert np.allclose(new @ path.final, -K_new @ np.linalg.solve(K, r0), atol=1e-7)
    for t, l in zip(path.t, path.states, strict=True):  # and the residual by the kernel alone
        assert np.allclose(features @ l + r0, kernel.kernel_flow(K, r0, t), atol=1e-7)


def test_wide_networks_end_at_the_kernel_interpolant():
    X, y = problem(0, 3)
    new, widths, gaps = problem(2)[0], 4 ** np.arange(3, 7), []
    for m in widths:
        gap = []
        for seed in range(8):
            weights = start([3, m, 1], seed)
            end = kernel.training_flow(weights, X, y, 400.0, "tanh", rtol=1e-7).final
            assert np.abs(kernel.predict(end, X, "tanh") - y).max() < 1e-5
            own, own_new = (
                kernel.tangent_kernel(weights, points, X, "tanh") for points in (X, new)
            )
            added = own_new @ np.linalg.solve(own, y - kernel.predict(weights, X, "tanh"))
            miss = kernel.predict(end, new, "tanh") - kernel.predict(weights, new, "tanh") - added
            gap.append(np.abs(miss).max())
        gaps.append(np.median(gap))
    assert abs(fitted_power(widths, gaps) + 1) < 0.25 and gaps[-1] < 0.05


def test_residual_stays_within_the_bound_and_with_the_two_powers():
    X, y = problem(5)
    t, name = 10.0, "erf"
    limit, widths = kernel.limit_kernel(X, activation=name), 2 ** np.arange(6, 11)
    own, far = [], []
    for m in widths:
        misses = []
        for seed in range(12):
            weights = start([3, m, 1], seed)
            path = kernel.training_flow(weights, X, y, np.linspace(0, t, 41), name)
            d0, d = (kernel.predict(path[k], X, name) - y for k in (0, -1))
            K0 = kernel.tangent_kernel(weights, X, activation=name)
            kernels = [kernel.tangent_kernel(W, X, activation=name) for W in path]
            miss = []
            for K in (K0, limit):
                error = np.linalg.norm(d - kernel.kernel_flow(K, d0, t))
                largest = max(np.linalg.norm(moved - K, 2) for moved in kernels)
                assert error <= 1.01 * largest * t / len(y) * np.linalg.norm(d0)
                miss.append(error / np.linalg.norm(d0))
            misses.append(miss)
        for values, value in zip((own, far), np.median(misses, axis=0), strict=True):
            values.append(value)
    assert abs(fitted_power(widths, own) + 1) < 0.2
    assert abs(fitted_power(widths, far) + 0.5) < 0.12


# When the limit is singular


def rank(K):
    values = np.linalg.eigvalsh(K)
    return int(np.sum(values > 1e-9 * values[-1]))


def test_three_antipodal_pairs_in_the_plane_have_rank_five():
    hexagon = circle(np.arange(6) * np.pi / 3)
    K = kernel.relu_kernel(hexagon)
    labels = np.array([1.0, -1, 1, -1, 1, -1])
    assert rank(K) == 5 and np.abs(K @ labels).max() < 1e-14
    assert rank(kernel.relu_kernel(np.column_stack([hexagon, np.ones(6)]))) == 6
    assert rank(kernel.limit_kernel(hexagon, depth=3)) == 6
    # fewer than d pairs, but dependent directions: singular as well
    in_space = np.column_stack([hexagon, np.zeros((6, 3))])
    assert rank(kernel.relu_kernel(in_space)) == 5
    # d pairs with independent directions, unequal lengths: positive definite
    E = np.random.default_rng(0).standard_normal((4, 4))
    assert rank(kernel.relu_kernel(np.vstack([E, -2 * E]))) == 8


@given(
    seed=st.integers(0, 10**6), d=st.integers(1, 5), pairs=st.integers(0, 7), n=st.integers(0, 4)
)
@settings(max_examples=150)
def test_rank_of_the_relu_kernel_is_that_of_the_theorem(seed, d, pairs, n):
    rng = np.random.default_rng(seed)
    if d == 1:  # only two rays
        points = np.array([[1.0], [-2.0]])[: 1 + pairs % 2]
        assert rank(kernel.relu_kernel(points)) == len(points)
        return
    span = rng.integers(2, d + 1)
    E = rng.standard_normal((pairs, span)) @ rng.standard_normal((span, d))
    E /= np.linalg.norm(E, axis=1, keepdims=True) if pairs else 1.0
    points = np.vstack([E, -rng.uniform(0.5, 2, (pairs, 1)) * E, rng.standard_normal((n + 1, d))])
    K = kernel.relu_kernel(points)
    wanted = len(points) - pairs + (np.linalg.matrix_rank(E) if pairs else 0)
    scale = np.outer(np.linalg.norm(points, axis=1), np.linalg.norm(points, axis=1))
    values = np.linalg.eigvalsh(K / scale)
    # null eigenvalues are round-off; the others can be small, if rays are close together
    assert np.sum(values < 1e-13) == len(points) - wanted


def test_odd_part_of_a_two_layer_relu_network_is_linear_after_any_training():
    hexagon = circle(np.arange(6) * np.pi / 3)
    labels = np.array([1.0, -1, 1, -1, 1, -1])
    for m in (3, 300):
        end = kernel.training_descent(start([2, m, 1], 1), hexagon, labels, 0.3, 500).final
        W1, b = end
        X = np.random.default_rng(0).standard_normal((9, 2))
        odd = kernel.predict(end, X) - kernel.predict(end, -X)
        assert np.allclose(odd, X @ W1 @ b[:, 0] / np.sqrt(m), atol=1e-12)
        assert abs(kernel.predict(end, hexagon) @ labels) < 1e-12
        assert np.mean((kernel.predict(end, hexagon) - labels) ** 2) > 1 - 1e-12
    bias = np.column_stack([hexagon, np.ones(6)])
    end = kernel.training_descent(start([3, 300, 1], 1), bias, labels, 0.5, 2000).final
    assert np.mean((kernel.predict(end, bias) - labels) ** 2) < 1e-6


def test_positive_definite_exactly_if_the_features_span():
    X = problem(0, 5)[0]
    for m, full in ((1, False), (20, True)):
        weights = start([3, m, 1], 2)
        J = jacobian(weights, X, "tanh", True)
        K = kernel.tangent_kernel(weights, X, activation="tanh")
        assert (
            (np.linalg.matrix_rank(J, tol=1e-5) == 5) == full == (np.linalg.eigvalsh(K)[0] > 1e-8)
        )


def test_singular_kernel_never_learns_its_null_space():
    hexagon = circle(np.arange(6) * np.pi / 3)
    K, labels = kernel.relu_kernel(hexagon), np.array([1.0, -1, 1, -1, 1, -1])
    assert np.allclose(kernel.kernel_flow(K, labels, 1e9), labels)
    learnable = K @ np.arange(6.0)
    assert np.allclose(kernel.kernel_flow(K, learnable, 1e9), 0, atol=1e-9)


# Bad input


def test_smooth_flow_refuses_relu():
    X, y = problem()
    with pytest.raises(ValueError, match="activation 'relu' is not smooth"):
        kernel.training_flow(start([3, 5, 1]), X, y, 1.0, "relu")
    rough = activations.Activation(lambda z: (np.abs(z), np.sign(z)), smooth=False)
    with pytest.raises(ValueError, match="is not smooth"):
        kernel.training_flow(start([3, 5, 1]), X, y, 1.0, rough)


def test_zero_width_and_wrong_shapes_are_refused():
    X, y = problem()
    with pytest.raises(ValueError, match=r"sizes\[1\]"):
        networks.gaussian([3, 0, 1], 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"weights\[0\] is empty"):
        kernel.predict([np.zeros((3, 0)), np.zeros((0, 1))], X)
    with pytest.raises(ValueError, match="one column"):
        kernel.tangent_kernel(start([3, 5, 2]), X)
    with pytest.raises(ValueError, match="X1 has 3 columns"):
        kernel.tangent_kernel(start([4, 5, 1]), X)
    with pytest.raises(ValueError, match="X2 has 2 columns"):
        kernel.tangent_kernel(start([3, 5, 1]), X, X[:, :2])
    with pytest.raises(ValueError, match="X1 and X2"):
        kernel.relu_kernel(X, X[:, :2])
    with pytest.raises(ValueError, match="X and y"):
        kernel.training_flow(start([3, 5, 1]), X, y[:-1], 1.0)
    with pytest.raises(ValueError, match="do not chain"):
        kernel.predict([np.ones((3, 4)), np.ones((5, 1))], X)


def test_numbers_that_are_not_finite_are_refused():
    X, y = problem()
    bad = X.copy()
    bad[2, 1] = np.nan
    weights = start([3, 5, 1])
    for call, name in [
        (lambda: kernel.relu_kernel(bad), "X1"),
        (lambda: kernel.tangent_kernel(weights, X, bad), "X2"),
        (lambda: kernel.training_descent(weights, bad, y, 0.1, 5), "X"),
        (lambda: kernel.training_descent(weights, X, y * np.inf, 0.1, 5), "y"),
        (lambda: kernel.kernel_flow(bad @ bad.T, y, 1.0), "K"),
    ]:
        with pytest.raises(ValueError, match=f"^{name} has entries that are NaN or infinite"):
            call()


def test_unknown_activations_and_depths_are_refused():
    X = problem()[0]
    with pytest.raises(ValueError, match="activation must be one of"):
        kernel.predict(start([3, 5, 1]), X, "sigmoid")
    with pytest.raises(ValueError, match="average tangent_kernel over draws"):
        kernel.limit_kernel(X, activation="tanh")
    with pytest.raises(ValueError, match="depth"):
        kernel.limit_kernel(X, depth=0)


def test_steps_that_diverge_are_refused():
    X, y = problem()
    K = kernel.relu_kernel(X)
    longest = 2 * len(X) / np.linalg.eigvalsh(K)[-1]
    for factor, grows in ((0.99, False), (1.01, True)):  # of the constant kernel
        powers = np.linalg.matrix_power(np.eye(len(X)) - factor * longest * K / len(X), 2000)
        assert (np.linalg.norm(powers @ y) > np.linalg.norm(y)) == grows
    for factor, name in [(40, "relu"), (400, "tanh")]:
        with pytest.raises(ValueError, match="makes descent diverge"):
            kernel.training_descent(start([3, 50, 1]), X, y, factor * longest, 300, name)
    one = [[[2.0]]], [[1.0]], [1.0]  # f(x) = 2x with the residual 1, which a step takes to 1 - step
    with pytest.raises(ValueError, match="makes descent diverge"):
        kernel.training_descent(*one, 2.2, 1)
    assert kernel.training_descent(*one, 1.8, 1).final[0] == pytest.approx(1 - 0.8)


def test_kernels_that_are_none_are_refused():
    with pytest.raises(ValueError, match="K must be symmetric"):
        kernel.kernel_flow(np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2), 1.0)
    for size in (1e-9, 1e9):  # symmetric to ten digits of the largest entry, in any units
        with pytest.raises(ValueError, match="K must be symmetric"):
            kernel.kernel_flow(size * np.array([[1.0, 1e-9], [0.0, 1.0]]), np.ones(2), 1.0)
        kernel.kernel_flow(size * np.array([[1.0, 1e-11], [0.0, 1.0]]), np.ones(2), 1.0)
        with pytest.raises(ValueError, match="K must be positive semidefinite"):  # and to eight
            kernel.kernel_flow(size * np.diag([1.0, -1e-7]), np.ones(2), 1.0)
        kernel.kernel_flow(size * np.diag([1.0, -1e-9]), np.ones(2), 1.0)
    with pytest.raises(ValueError, match="K must be positive semidefinite"):
        kernel.kernel_flow(-np.eye(2), np.ones(2), 1.0)
    with pytest.raises(ValueError, match=r"K must be symmetric, 3 × 3, got \(2, 2\)"):
        kernel.kernel_flow(np.eye(2), np.ones(3), 1.0)
    with pytest.raises(ValueError, match="t must be at least 0"):
        kernel.kernel_flow(np.eye(2), np.ones(2), -1.0)
    assert np.array_equal(kernel.kernel_flow(np.zeros((2, 2)), np.ones(2), 5.0), np.ones(2))


# The benchmark


def load_benchmark():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "kernel.py"
    spec = importlib.util.spec_from_file_location("benchmark_kernel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_benchmark_is_skipped_with_a_message_without_torch(monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    monkeypatch.setitem(sys.modules, "torch", None)  # import torch now fails
    assert load_benchmark().rows() == []
    assert "torch is not installed" in capsys.readouterr().out
