"""Particles: measures, the factor m, certificates, many against few, the many-particle limit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from overparam import gradient_flow, particles

SEEDS = st.integers(0, 10**6)
CUTOFF, WEIGHT = 6, 0.05
CIRCLE = particles.fourier(CUTOFF)
PLACES, MASSES = np.array([0.5, 2.0, 4.2]), np.array([1.0, 0.6, 0.8])
GRID = np.linspace(0, 2 * np.pi, 4001)


def data(masses=MASSES):
    return particles.transform(PLACES, masses, CUTOFF)


def maps(rng):
    X = rng.standard_normal((7, 3))
    networks = [particles.network(X, name) for name in ("tanh", "squared relu", "relu")]
    return [*networks, particles.quadratic_neurons(X), particles.fourier(3)]


def draw(seed):
    rng = np.random.default_rng(seed)
    features = maps(rng)[rng.integers(5)]
    u = rng.standard_normal((5, features.dimension))
    return rng, features, u, rng.standard_normal(features.size), rng.choice([-1.0, 1.0], 5)


def angles_of(u):
    return np.arctan2(u[..., 1], u[..., 0])


def wasserstein(u, v):
    """W2 of m and km particles: duplicate the m, then find the best assignment."""
    u = np.repeat(u, len(v) // len(u), axis=0)
    cost = np.sum((u[:, None] - v) ** 2, axis=-1)
    return np.sqrt(np.mean(cost[linear_sum_assignment(cost)]))


def on_circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


# Measures


def test_a_network_is_an_integral_over_a_measure():
    rng = np.random.default_rng(0)
    X, u = rng.standard_normal((9, 2)), rng.standard_normal((4, 3))
    for name, sigma in (("tanh", np.tanh), ("relu", lambda z: np.maximum(z, 0))):
        features = particles.network(X, name)
        mean = np.mean([w * sigma(X @ a) for w, a in zip(u[:, 0], u[:, 1:], strict=True)], axis=0)
        assert np.allclose(particles.prediction(u, features), mean / 3)
    neurons = particles.quadratic_neurons(X)
    squares = np.mean([np.maximum(X @ a, 0) ** 2 for a in u[:, 1:]], axis=0) / 3
    assert np.allclose(particles.prediction(u[:, 1:], neurons), squares)


@given(SEEDS)
@settings(max_examples=25)
def test_the_prediction_sees_the_measure_only(seed):
    rng, features, u, y, signs = draw(seed)
    order = rng.permutation(5)
    f, J = particles.prediction(u, features, signs), particles.energy(u, features, y, 0.1, signs)
    for chosen in (order, np.repeat(order, 3)):
        assert np.allclose(particles.prediction(u[chosen], features, signs[chosen]), f)
        assert np.isclose(particles.energy(u[chosen], features, y, 0.1, signs[chosen]), J)


@given(SEEDS)
@settings(max_examples=25)
def test_the_features_have_the_homogeneity_they_claim(seed):
    rng = np.random.default_rng(seed)
    for features in maps(rng):
        u, c = rng.standard_normal((4, features.dimension)), rng.uniform(0.2, 3)
        values = features.evaluate(u)[0]
        assert values.shape == (4, features.size)
        scaled = features.evaluate(c * u)[0]
        if features.homogeneity is not None:
            assert np.allclose(scaled, c**features.homogeneity * values)


def test_filtered_spikes_have_norm_one_and_transform_agrees_with_particles():
    u = np.sqrt(3 * MASSES)[:, None] * on_circle(PLACES)
    assert np.allclose(particles.prediction(u, CIRCLE), data())
    values = CIRCLE.evaluate(on_circle(GRID))[0]
    assert np.allclose(np.linalg.norm(values, axis=1), 1)


# The flow and its factor m


@given(SEEDS)
@settings(max_examples=40)
def test_velocity_is_minus_m_times_the_gradient(seed):
    rng, features, u, y, signs = draw(seed)
    v, h = particles.velocity(u, features, y, 0.3, signs), 1e-6
    direction = rng.standard_normal(u.shape)
    up, down = (particles.energy(u + s * h * direction, features, y, 0.3, signs) for s in (1, -1))
    slope = (up - down) / (2 * h)
    assert np.isclose(-np.sum(v * direction) / 5, slope, rtol=1e-5, atol=1e-6)


@given(SEEDS, st.integers(2, 6))
@settings(max_examples=25)
def test_duplicated_particles_move_as_before(seed, k):
    _, features, u, y, signs = draw(seed)
    v = particles.velocity(u, features, y, 0.2, signs)
    copies = particles.velocity(
        np.repeat(u, k, axis=0), features, y, 0.2, np.repeat(signs, k)
    ).reshape(5, k, -1)
    assert np.allclose(copies, v[:, None], rtol=1e-11, atol=1e-13)


def test_flows_of_copies_coincide_and_without_the_factor_they_slow_down():
    start = particles.ring(5, 0.7, np.random.default_rng(3))
    alone = particles.particle_flow(start, CIRCLE, data(), 2.0, WEIGHT, rtol=1e-11, atol=1e-12)
    copies = np.repeat(start, 4, axis=0)
    many = particles.particle_flow(copies, CIRCLE, data(), 2.0, WEIGHT, rtol=1e-11, atol=1e-12)
    assert np.allclose(many.final[::4], alone.final, atol=1e-8)

    def plain(u):  # the gradient of J_m, without m
        return -particles.velocity(u, CIRCLE, data(), WEIGHT) / len(u)

    slow = gradient_flow(plain, start, 10.0, rtol=1e-11, atol=1e-12).final
    slower = gradient_flow(plain, copies, 10.0, rtol=1e-11, atol=1e-12).final
    assert np.allclose(slow, alone.final, atol=1e-8)  # t / m = 2
    assert np.abs(slower[::4] - slow).max() > 0.1


def test_energy_falls_by_the_mean_square_velocity():
    times = np.linspace(0, 3, 3001)[1:]
    signs = np.resize([1.0, -1.0], 9)
    path = particles.particle_flow(
        particles.ring(9), CIRCLE, data(), times, WEIGHT, signs, rtol=1e-10, atol=1e-12
    )
    J = particles.energy(path.states, CIRCLE, data(), WEIGHT, signs)
    v = particles.velocity(path.states, CIRCLE, data(), WEIGHT, signs)
    power = np.mean(np.sum(v**2, axis=-1), axis=-1)
    spent = np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(times))
    assert np.allclose(J[0] - J[1:], spent, atol=1e-5)
    assert np.all(np.diff(J) <= 1e-12)


@given(SEEDS)
@settings(max_examples=25)
def test_polar_form_of_the_velocity(seed):
    rng = np.random.default_rng(seed)
    r, theta, signs = rng.uniform(0.1, 2, 6), rng.uniform(0, 6, 6), rng.choice([-1.0, 1.0], 6)
    u = r[:, None] * on_circle(theta)
    residual = data() - particles.prediction(u, CIRCLE, signs)
    h = 1e-6
    eta = particles.certificate(theta, residual, WEIGHT)
    up, down = (particles.certificate(theta + s * h, residual, WEIGHT) for s in (1, -1))
    v = particles.velocity(u, CIRCLE, data(), WEIGHT, signs)
    radial = np.sum(v * on_circle(theta), axis=1)
    angular = np.sum(v * on_circle(theta + np.pi / 2), axis=1) / r
    assert np.allclose(radial, -2 * r * WEIGHT * (1 - signs * eta), atol=1e-9)
    assert np.allclose(angular, WEIGHT * signs * (up - down) / (2 * h), atol=1e-6)


@pytest.mark.parametrize("amplitude", [0.3, 1.0, 4.0])
def test_one_particle_at_one_spike_grows_like_a_logistic_curve(amplitude):
    y, t = particles.transform([1.0], [amplitude], CUTOFF), np.linspace(0, 6, 30)[1:]
    start = 0.2 * on_circle(np.array([1.0]))
    path = particles.particle_flow(start, CIRCLE, y, t, WEIGHT, rtol=1e-11, atol=1e-13)
    end = amplitude - WEIGHT
    logistic = end / (1 + (end / 0.04 - 1) * np.exp(-4 * end * t))
    assert np.allclose(np.sum(path.states**2, axis=(1, 2)), logistic, rtol=1e-8)


def test_descent_follows_the_flow_with_order_one():
    start = particles.ring(7, 1.0, np.random.default_rng(2))
    exact = particles.particle_flow(start, CIRCLE, data(), 1.0, WEIGHT, rtol=1e-11).final
    errors = [
        np.abs(
            particles.particle_descent(start, CIRCLE, data(), 1 / n, n, WEIGHT).final - exact
        ).max()
        for n in (400, 800)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.2


def test_stacked_runs_are_independent():
    starts = particles.ring(6, 1.0, np.random.default_rng(5), n_runs=3)
    together = particles.particle_descent(starts, CIRCLE, data(), 0.05, 50, WEIGHT).final
    for start, end in zip(starts, together, strict=True):
        alone = particles.particle_descent(start, CIRCLE, data(), 0.05, 50, WEIGHT).final
        assert np.allclose(alone, end, atol=1e-13)


# Certificates and optima


@pytest.mark.parametrize("signed", [False, True])
def test_the_maximum_of_the_certificate_is_exact(signed):
    rng = np.random.default_rng(1)
    for cutoff in (1, 2, 5, 9):
        p = rng.standard_normal(2 * cutoff + 1)
        values = particles.certificate(GRID, p, 1.0)
        dense = np.max(np.abs(values)) if signed else values.max()
        top = particles._extreme(p, cutoff, signed)
        assert dense <= top * (1 + 1e-12) + 1e-12 and top < dense + 1e-4 * np.abs(p).sum()


@given(SEEDS, st.booleans())
@settings(max_examples=30)
def test_gap_bounds_the_distance_from_the_optimum(seed, signed):
    rng = np.random.default_rng(seed)
    y = data(MASSES * [1, -1, 1] if signed else MASSES)
    best = particles.optimum(y, WEIGHT, signed)[2]
    angles, masses = rng.uniform(0, 6.28, 4), rng.exponential(0.5, 4)
    if signed:
        masses *= rng.choice([-1, 1], 4)
    residual = y - particles.transform(angles, masses, CUTOFF)
    J = residual @ residual / 2 + WEIGHT * np.sum(np.abs(masses))
    gap = particles.duality_gap(angles, masses, y, WEIGHT, signed)
    assert -1e-10 <= J - best <= gap + 1e-10


@pytest.mark.parametrize("signed", [False, True])
def test_optimum_satisfies_the_conditions_of_the_certificate(signed):
    y = data(MASSES * [1, -1, 1] if signed else MASSES)
    angles, masses, J = particles.optimum(y, WEIGHT, signed)
    residual = y - particles.transform(angles, masses, CUTOFF)
    assert np.isclose(J, residual @ residual / 2 + WEIGHT * np.abs(masses).sum())
    assert np.allclose(particles.certificate(angles, residual, WEIGHT), np.sign(masses), atol=1e-9)
    eta = particles.certificate(GRID, residual, WEIGHT)
    assert (np.abs(eta).max() if signed else eta.max()) <= 1 + 1e-9
    assert particles.duality_gap(angles, masses, y, WEIGHT, signed) < 1e-12


def test_optimum_of_one_spike_in_closed_form():
    y = particles.transform([2.5], [0.7], CUTOFF)
    for signed in (False, True):
        angles, masses, J = particles.optimum(y, 0.1, signed)
        assert np.allclose([angles[0], masses[0], J], [2.5, 0.6, 0.7 * 0.1 - 0.1**2 / 2])
    for signed in (False, True):
        angles, masses, J = particles.optimum(y, 0.71, signed)
        assert len(masses) == 0 and np.isclose(J, 0.7**2 / 2)


@given(SEEDS, st.integers(1, 8), st.booleans(), st.floats(-2, 0))
@settings(max_examples=25)
def test_optimum_of_any_data_is_certified(seed, cutoff, signed, exponent):
    rng = np.random.default_rng(seed)
    amplitudes = rng.exponential(1, 4) * (rng.choice([-1, 1], 4) if signed else 1)
    y = particles.transform(rng.uniform(0, 2 * np.pi, 4), amplitudes, cutoff)
    y += 0.02 * rng.standard_normal(len(y))
    weight = 10**exponent
    angles, masses, J = particles.optimum(y, weight, signed)
    residual = y - (particles.transform(angles, masses, cutoff) if len(masses) else 0)
    eta = particles.certificate(GRID, residual, weight)
    assert (np.abs(eta).max() if signed else eta.max()) <= 1 + 1e-4
    assert J <= y @ y / 2 + 1e-12 and (signed or np.all(masses > 0))
    assert particles.duality_gap(angles, masses, y, weight, signed) < 1e-10


def test_spikes_too_close_for_the_grid_are_an_error_that_names_the_remedy():
    rng = np.random.default_rng(218)
    rng.integers(1, 9), rng.integers(1, 6), rng.integers(2), rng.exponential(1, 5)
    rng.choice([-1, 1], 5)
    y = rng.standard_normal(11)
    with pytest.raises(ValueError, match="n_grid"):
        particles.optimum(y, 0.04643550242619274, signed=True)
    angles, masses, _ = particles.optimum(y, 0.04643550242619274, signed=True, n_grid=8000)
    assert particles.duality_gap(angles, masses, y, 0.04643550242619274, signed=True) < 1e-10


@pytest.mark.parametrize("signed", [False, True])
def test_optimum_agrees_with_the_semidefinite_program(signed):
    cp = pytest.importorskip("cvxpy")
    y = data(MASSES * [1, -1, 1] if signed else MASSES)
    n = CUTOFF + 1
    q = cp.Variable(2 * CUTOFF + 1)
    # η = Re Σ c_k exp(ikθ); 1 - η >= 0 is a trace condition on a positive matrix (Fejér, Riesz).
    scale = 1 / np.sqrt(2 * CUTOFF + 1)
    constraints = []
    for sign in (1, -1) if signed else (1,):
        Q = cp.Variable((n, n), hermitian=True)
        constraints += [Q >> 0, cp.real(cp.trace(Q)) == 1 - sign * scale * q[0]]
        for k in range(1, n):
            shift = sum(Q[i + k, i] for i in range(n - k))
            c = scale / np.sqrt(2) * (q[k] - 1j * q[CUTOFF + k])
            constraints.append(shift == -sign * c)
    dual = WEIGHT * (y @ q) - WEIGHT**2 / 2 * cp.sum_squares(q)
    value = cp.Problem(cp.Maximize(dual), constraints).solve(solver=cp.CLARABEL)
    assert np.isclose(value, particles.optimum(y, WEIGHT, signed)[2], atol=1e-7)


# Few and many


def test_stuck_particles_rest_at_height_one_and_somebody_is_missing_elsewhere():
    start = particles.ring(3, 1.0, np.random.default_rng(1))
    end = particles.particle_flow(start, CIRCLE, data(), 400.0, WEIGHT, rtol=1e-10, atol=1e-12)
    residual = data() - particles.prediction(end.final, CIRCLE)
    places, h = angles_of(end.final), 1e-5
    assert np.allclose(particles.certificate(places, residual, WEIGHT), 1, atol=1e-5)
    up, down = (particles.certificate(places + s * h, residual, WEIGHT) for s in (1, -1))
    assert np.allclose((up - down) / (2 * h), 0, atol=1e-3)
    eta = particles.certificate(GRID, residual, WEIGHT)
    missing = GRID[eta > 1.5]
    assert len(missing) and np.abs(np.angle(np.exp(1j * (missing[:, None] - places)))).min() > 0.05
    # A fourth particle put there lowers the energy below what the three can reach.
    extra = np.sqrt(4 * 0.02) * on_circle(GRID[eta.argmax()])
    four = np.vstack([end.final * np.sqrt(4 / 3), extra])
    stuck = particles.energy(end.final, CIRCLE, data(), WEIGHT)
    assert particles.energy(four, CIRCLE, data(), WEIGHT) < stuck - 1e-3


def test_the_optimum_is_at_rest_with_three_particles_and_with_copies():
    angles, masses, J = particles.optimum(data(), WEIGHT)
    u = np.sqrt(3 * masses)[:, None] * on_circle(angles)
    for k in (1, 4):
        copies = np.repeat(u, k, axis=0)
        assert np.abs(particles.velocity(copies, CIRCLE, data(), WEIGHT)).max() < 1e-8
        assert np.isclose(particles.energy(copies, CIRCLE, data(), WEIGHT), J)


@pytest.mark.parametrize("signed", [False, True])
def test_few_particles_get_stuck_and_many_reach_the_optimum(signed):
    rng = np.random.default_rng(11)
    y = data(MASSES * [1, -1, 1] if signed else MASSES)
    best = particles.optimum(y, WEIGHT, signed)[2]
    stuck = []
    for m, runs in ((3, 100), (12, 40), (150, 8)):
        signs = np.resize([1.0, -1.0], m) if signed else None
        start = particles.ring(m, 1.0, rng, runs)
        path = particles.particle_descent(
            start, CIRCLE, y, 0.05, 1400, WEIGHT, signs, every=1400
        ).final
        excess = particles.energy(path, CIRCLE, y, WEIGHT, signs) - best
        assert excess.min() > -1e-10
        stuck.append(np.mean(excess > 1e-5))
    assert stuck[0] > 0.6 > stuck[1] > 0 and stuck[2] == 0


def test_particles_find_the_certified_spikes():
    y = data(MASSES * [1, -1, 1])
    angles, masses, J = particles.optimum(y, WEIGHT, signed=True)
    signs = np.resize([1.0, -1.0], 80)
    end = particles.particle_flow(particles.ring(80), CIRCLE, y, 200.0, WEIGHT, signs).final
    found_at, found = particles.spikes(end, signs)
    assert np.allclose(found_at, angles, atol=1e-4) and np.allclose(found, masses, atol=1e-4)
    assert particles.energy(end, CIRCLE, y, WEIGHT, signs) - J < 1e-7


def test_networks_of_quadratic_neurons_reach_a_certified_optimum():
    neurons = particles.quadratic_neurons(on_circle(2 * np.pi * np.arange(24) / 24))
    teacher = 2 * on_circle(np.array([0.3, 1.3, 2.6, 3.7, 5.0]))
    y = particles.prediction(teacher, neurons, np.array([1.0, -1, 1, -1, 1]))
    signs, decay = np.resize([1.0, -1.0], 30), 0.01
    start = particles.ring(30, 1.0, np.random.default_rng(6), 10)
    end = particles.particle_descent(start, neurons, y, 0.2, 3000, decay, signs, every=3000).final
    J = particles.energy(end, neurons, y, decay, signs)
    residual = y - particles.prediction(end, neurons, signs)[J.argmin()]
    eta = neurons.evaluate(on_circle(GRID))[0] @ residual / decay
    q = residual / (decay * max(1, np.abs(eta).max()))
    assert J.min() - (decay * y @ q - decay**2 * q @ q / 2) < 1e-6
    assert np.mean(J - J.min() < 1e-5) > 0.7
    two = particles.ring(2, 1.0, np.random.default_rng(6), 20)
    narrow = particles.particle_descent(two, neurons, y, 0.2, 2000, decay, signs[:2], every=2000)
    assert np.all(particles.energy(narrow.final, neurons, y, decay, signs[:2]) > J.min() + 1e-3)


# Many particles: the limit, and what a start must have


def test_wasserstein_is_the_best_assignment():
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, 6, 2))
    best = min(
        np.mean(np.sum((u - v[list(order)]) ** 2, axis=1))
        for order in itertools.permutations(range(6))
    )
    assert np.isclose(wasserstein(u, v), np.sqrt(best))
    assert np.isclose(wasserstein(u, np.repeat(u, 3, axis=0)), 0, atol=1e-7)
    assert np.isclose(wasserstein(u, u + [3.0, 4.0]), 5.0)


def lipschitz(cutoff):
    """2 + |φ'| + |φ''|: the constant B of the Hessian of |u|² <q, φ(θ)> for |q| = 1."""
    k = np.arange(1, cutoff + 1)
    n = 2 * cutoff + 1
    return 2 + np.sqrt(2 * np.sum(k**2) / n) + np.sqrt(2 * np.sum(k**4) / n)


def test_gradients_are_lipschitz_with_the_constant_of_the_bound():
    rng = np.random.default_rng(4)
    u, v, q = rng.standard_normal((200, 2)), rng.standard_normal((200, 2)), rng.standard_normal(13)
    v[:100] = u[:100] + 0.01 * v[:100]
    at_u, at_v = (CIRCLE.evaluate(w)[1](q) for w in (u, v))
    quotient = np.linalg.norm(at_u - at_v, axis=1) / np.linalg.norm(u - v, axis=1)
    assert quotient.max() <= lipschitz(CUTOFF) * np.linalg.norm(q)
    assert quotient.max() > 0.1 * lipschitz(CUTOFF) * np.linalg.norm(q)


@pytest.mark.parametrize("pair", [(8, 8), (8, 16), (20, 40)])
def test_nearby_measures_stay_nearby(pair):
    y, rng = data(), np.random.default_rng(7)
    u, v = (particles.ring(m, 0.8, rng) for m in pair)
    first = wasserstein(u, v)
    B = lipschitz(CUTOFF)
    rho = np.sqrt(2 * max(particles.energy(w, CIRCLE, y, WEIGHT) for w in (u, v)))
    for t in (0.01, 0.05, 0.2):
        ends = [particles.particle_flow(w, CIRCLE, y, t, WEIGHT).final for w in (u, v)]
        assert np.all([np.mean(np.sum(w**2, axis=1)) <= 0.64 + y @ y * t for w in ends])
        exponent = B * rho * t + 2 * B**2 * (0.64 * t + y @ y * t**2 / 2)
        assert wasserstein(*ends) <= np.exp(exponent) * first


def test_m_and_2m_particles_approach_each_other():
    rng, sizes = np.random.default_rng(8), np.array([8, 16, 32, 64])

    def apart(m, runs, rng=None):
        u, v = (
            particles.particle_flow(
                particles.ring(k, 1.0, rng, runs), CIRCLE, data(), 0.1, WEIGHT
            ).final
            for k in (m, 2 * m)
        )
        return np.sqrt(np.mean([wasserstein(a, b) ** 2 for a, b in zip(u, v, strict=True)]))

    spaced, drawn = [apart(m, 1) for m in sizes], [apart(m, 80, rng) for m in sizes]
    slopes = [np.polyfit(np.log(sizes), np.log(d), 1)[0] for d in (spaced, drawn)]
    assert abs(slopes[0] + 1) < 0.1 and abs(slopes[1] + 0.5) < 0.1


def test_the_flow_leaves_no_angle_out():
    """The map of the angles stays monotone, so that mass stays around every angle."""
    times = np.linspace(0, 3, 61)[1:]
    path = particles.particle_flow(particles.ring(200), CIRCLE, data(), times, WEIGHT, rtol=1e-10)
    for u in path.states:
        turns = np.diff(np.append(angles_of(u), angles_of(u[:1])))
        turns = (turns + np.pi) % (2 * np.pi) - np.pi
        assert turns.min() > -1e-9 and np.isclose(turns.sum(), 2 * np.pi)
        assert np.sum(u**2, axis=1).min() > 0


def test_a_start_that_is_not_diverse_ends_above_the_optimum():
    y = particles.transform([1.2, -1.2], [1.0, 1.0], CUTOFF)
    best = particles.optimum(y, WEIGHT)[2]
    ends = {}
    for name, angles in (
        ("circle", 2 * np.pi * np.arange(100) / 100),
        ("arc", np.linspace(2.0, 4.2, 100)),
        ("point", np.zeros(100)),
    ):
        end = particles.particle_flow(on_circle(angles), CIRCLE, y, 100.0, WEIGHT).final
        ends[name] = particles.energy(end, CIRCLE, y, WEIGHT) - best
    assert ends["circle"] < 1e-5 and ends["arc"] > 0.1 and ends["point"] > 0.1
    # From one point, a hundred particles are one: a logistic curve with target b.
    t = np.linspace(0, 5, 12)[1:]
    path = particles.particle_flow(0.2 * on_circle(np.zeros(50)), CIRCLE, y, t, WEIGHT, rtol=1e-11)
    end = particles.certificate(0.0, y, 1.0)[0] - WEIGHT
    mass = np.mean(np.sum(path.states**2, axis=-1), axis=-1)
    if end > 0:
        logistic = end / (1 + (end / 0.04 - 1) * np.exp(-4 * end * t))
    else:
        logistic = -end / ((1 - end / 0.04) * np.exp(-4 * end * t) - 1)
    assert np.allclose(mass, logistic, rtol=1e-6)
    assert np.abs(angles_of(path.final)).max() < 1e-9


def test_particles_at_the_origin_never_move():
    v = particles.velocity(np.zeros((3, 2)), CIRCLE, data(), WEIGHT)
    assert np.all(v == 0) and particles.energy(np.zeros((3, 2)), CIRCLE, data(), WEIGHT) > 0


@pytest.mark.parametrize("m", [10, 100, 1000])
def test_without_homogeneity_a_diverse_start_is_not_enough(m):
    end = gradient_flow(lambda u: 4 * u * (u**2 - 1) + 0.3, np.linspace(-2, 2, m), 60.0).final
    wells = np.sort(np.roots([4, 0, -4, 0.3]).real)[[0, 2]]
    assert np.abs(end[:, None] - wells).min(axis=1).max() < 1e-6
    V = (end**2 - 1) ** 2 + 0.3 * end
    assert np.mean(V) - V.min() > 0.2 and 0.4 < np.mean(end > 0) < 0.6


# Spikes read from particles


def test_spikes_merge_neighbours_across_zero_and_keep_signs_apart():
    u = np.sqrt([1.0, 3.0, 2.0, 4.0, 1e-5])[:, None] * on_circle(
        np.array([-0.002, 0.002, 3.0, 3.0, 5.0])
    )
    angles, masses = particles.spikes(u, np.array([1.0, 1, 1, -1, 1]))
    assert np.allclose(sorted(masses), [-0.8, 0.4, 0.8])
    assert np.isclose(angles[np.argmax(masses)], 0.001, atol=1e-6)


# Bad input


def test_kinks_are_refused_by_the_flow_and_taken_by_descent():
    rng = np.random.default_rng(0)
    relu = particles.network(rng.standard_normal((6, 2)), "relu")
    u, y = rng.standard_normal((4, 3)), rng.standard_normal(6)
    with pytest.raises(ValueError, match=r"features are not smooth"):
        particles.particle_flow(u, relu, y, 1.0)
    path = particles.particle_descent(u, relu, y, 0.05, 100)
    assert particles.energy(path.final, relu, y) < particles.energy(u, relu, y)


@pytest.mark.parametrize("step", [0.4, 5.0])
def test_a_step_that_is_too_long_is_an_error(step):
    start = particles.ring(10, 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="step"):
        particles.particle_descent(start, CIRCLE, data(), step, 300, WEIGHT)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: particles.ring(0), "n_particles"),
        (lambda: particles.ring(3, -1.0), "radius"),
        (lambda: particles.ring(3, 1.0, 7), "rng"),
        (lambda: particles.fourier(0), "cutoff"),
        (lambda: particles.network(np.ones((3, 2)), "step"), "activation"),
        (lambda: particles.network([[np.nan]]), "X"),
        (lambda: particles.prediction(np.ones((0, 2)), CIRCLE), "u is empty"),
        (lambda: particles.prediction(np.ones((4, 3)), CIRCLE), "u must hold particles"),
        (lambda: particles.prediction(np.full((2, 2), np.nan), CIRCLE), "u has entries"),
        (lambda: particles.prediction(np.ones((2, 2)), CIRCLE, [1.0]), "signs"),
        (lambda: particles.prediction(np.ones((2, 2)), CIRCLE, [1.0, 0.5]), "signs"),
        (lambda: particles.energy(np.ones((2, 2)), CIRCLE, np.ones(4)), "y must match"),
        (lambda: particles.energy(np.ones((2, 2)), CIRCLE, data() * np.inf), "y has entries"),
        (lambda: particles.energy(np.ones((2, 2)), CIRCLE, data(), -0.1), "regularization"),
        (lambda: particles.velocity(np.ones((2, 2)), CIRCLE, data(), np.nan), "regularization"),
        (lambda: particles.particle_flow(np.ones((2, 2)), CIRCLE, np.ones(3), 1.0), "y must match"),
        (lambda: particles.optimum(data(), 0.0), "regularization"),
        (lambda: particles.optimum(np.ones(4), 0.1), "y must have"),
        (lambda: particles.optimum(data(), 0.1, n_grid=5), "n_grid"),
        (lambda: particles.transform([0.0, 1.0], [1.0], 3), "masses must have the shape"),
        (lambda: particles.duality_gap([0.0], [-1.0], data(), 0.1), "masses must not be negative"),
        (lambda: particles.certificate(0.0, np.ones(2), 0.1), "residual"),
        (lambda: particles.spikes(np.ones((2, 3))), "u must have the shape"),
        (lambda: particles.particle_flow([1.0, 2.0], CIRCLE, data(), 1.0), "u0 must hold"),
    ],
)
def test_bad_input_names_the_argument(call, name):
    with pytest.raises(ValueError, match=name):
        call()
