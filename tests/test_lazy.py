"""Lazy training: relative scale, flow beside linearization, the theorems with their constants.

`python tests/test_lazy.py` computes the table of students that the chapter shows (a minute).
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overparam import lazy, losses
from overparam.activations import Activation

SEEDS = st.integers(0, 10**6)
SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the stored table of students
SQUARE = Activation(lambda z: (z * z, 2 * z), True, lambda z: np.full_like(z, 2.0), 2)
LINEAR = Activation(lambda z: (z, np.ones_like(z)), True, np.zeros_like, 1)


def network(seed, n=4, d=3, width=6, activation="tanh", scale=0.5):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    model = lazy.two_layer(X, width, activation, scale)
    return model, rng.standard_normal(width * (d + 1)), y


def column_loss(y):
    return losses.squared_distance(np.asarray(y, dtype=float)[:, None])


def random_quadratic(rng, n=2, p=4):
    Q = rng.standard_normal((n, p, p)) / p
    return lazy.quadratic(rng.standard_normal((n, p)) / np.sqrt(p), Q + Q.transpose(0, 2, 1))


def conditioned_loss(target, condition):
    stretch = np.diag(np.sqrt(np.linspace(1, condition, len(target))))
    return losses.regression(stretch, (stretch @ target)[:, None])


def finite_time_bounds(model, loss, alpha, T, H):
    """Return the bounds of the theorem on [0, T] from a start of zeros with output zero."""
    s_1 = np.linalg.norm(model.differential(np.zeros(4)), 2)
    K, excess = loss.smoothness, loss.value(np.zeros((2, 1))) - loss.minimum
    rho, G = np.sqrt(T * excess) / alpha, np.sqrt(2 * K * excess)
    g = (2 * s_1 + H * rho) * H * rho * G * np.expm1(s_1**2 * K * T) / (s_1**2 * K)
    return np.array([rho, T / alpha * (H * rho * G + s_1 * K * g), g])


def uniform_bounds(D, loss, target, alpha, H):
    """Return the bounds of the theorem for all times from a start with output zero."""
    singular, size = np.linalg.svd(D, compute_uv=False), np.linalg.norm(target)
    s_1, s, mu, K = singular[0], singular[-1], loss.strong_convexity, loss.smoothness
    c = np.sqrt(K / mu)
    rho = 2 * c * size / (alpha * s)
    A = (2 * s_1 + H * rho) * H * rho * K * c * size / s
    g = 4 * s_1 * A / (3 * mu * s**2)
    return np.array([rho, 4 / (alpha * mu * s**2) * (H * rho * K * c * size + s_1 * K * g), g])


def threshold(D, condition, H):
    """Return the output at the start below which the theorem lets the flow converge."""
    return np.linalg.svd(D)[1][-1] ** 2 / (4 * np.sqrt(condition) * H)


def bounded_weights(m, d, rng):
    """Return m unit vectors and m random signs."""
    a = rng.standard_normal((m, d))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return np.concatenate([a.ravel(), rng.choice([-1.0, 1.0], size=m)])


def students_table(seed, scales=SCALES):
    """Return rows (seed, scale, train error, test error, moved); the last is the linearized."""
    room = lazy.classroom(100, 50, 1000, np.random.default_rng(seed))
    rows = [(seed, tau, *lazy.trained(room, tau, 4000, 0.2)) for tau in scales]
    return [*rows, (seed, np.inf, *lazy.linearized(room, 4000, 0.2), 0.0)]


def derivative(function, w, step=1e-3):
    """Differences of order four; the last axis of the result belongs to the weights."""
    columns = []
    for e in step * np.eye(len(w)):
        near, far = function(w + e) - function(w - e), function(w + 2 * e) - function(w - 2 * e)
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


figure_eight = lazy.Model(
    lambda w: np.array([np.sin(w[0]), np.sin(2 * w[0]) / 2]),
    lambda w: np.array([[np.cos(w[0])], [np.cos(2 * w[0])]]),
    lambda w: float(np.hypot(np.sin(w[0]), 2 * np.sin(2 * w[0]))),
)


# Derivatives and their norms


@pytest.mark.parametrize("activation", ["tanh", "softplus", SQUARE, LINEAR, "relu"])
def test_differential_of_the_network(activation):
    model, w, _ = network(1, activation=activation)
    assert np.allclose(model.differential(w), derivative(model, w), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("activation", ["tanh", "softplus", SQUARE, LINEAR])
def test_curvature_of_the_network_is_that_of_its_worst_neuron(activation):
    """The block formula against the norm of the whole second derivative, by differences."""
    model, w, _ = network(2, n=3, d=2, width=3, activation=activation)
    whole = lazy.bilinear_norm(derivative(model.differential, w))
    assert model.curvature(w) == pytest.approx(whole, rel=1e-6)


@given(SEEDS, st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=15)
def test_bilinear_norm_against_a_dense_search(seed, n, p):
    rng = np.random.default_rng(seed)
    Q = rng.standard_normal((n, p, p))
    Q = Q + Q.transpose(0, 2, 1)
    u = rng.standard_normal((40_000, p))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    found = np.linalg.norm(np.einsum("nij,ki,kj->kn", Q, u, u, optimize=True), axis=1).max()
    assert 0.98 * lazy.bilinear_norm(Q) <= found <= lazy.bilinear_norm(Q) * (1 + 1e-12)


def test_largest_norm_of_a_stack_with_equal_bounds():
    Q = np.zeros((2, 3, 3))
    Q[0, 1, 1] = 1.0
    assert lazy._largest_norm(np.array([Q, Q, -3 * Q, 2 * Q])) == pytest.approx(3)


@given(SEEDS)
@settings(max_examples=10)
def test_curvature_of_the_doubled_model(seed):
    h, rng = random_quadratic(np.random.default_rng(seed), 2, 2), np.random.default_rng(seed)
    whole = np.zeros((2, 4, 4))
    w = rng.standard_normal(4)
    basis = np.eye(4) * 1e-3
    double = lazy.doubled(h)
    for i in range(4):
        change = double.differential(w + basis[i]) - double.differential(w - basis[i])
        whole[:, i, :] = change / 2e-3
    assert double.curvature(w) == pytest.approx(lazy.bilinear_norm(whole), rel=1e-6)


def test_linearization_is_tangent_and_affine():
    model, w0, _ = network(3)
    linear, direction = lazy.linearize(model, w0), np.random.default_rng(0).standard_normal(24)
    assert np.array_equal(linear(w0), model(w0))
    steps = np.array([1e-2, 1e-3])
    errors = [np.linalg.norm(model(w0 + s * direction) - linear(w0 + s * direction)) for s in steps]
    assert np.log10(errors[0] / errors[1]) == pytest.approx(2, abs=0.05)
    middle = (linear(w0) + linear(w0 + direction)) / 2
    assert np.allclose(linear(w0 + direction / 2), middle, atol=1e-12)
    before, w0[0] = linear(direction), 7.0  # the caller's array is copied
    assert np.array_equal(linear(direction), before)


# The criterion (F27-F30)


def test_relative_changes_to_first_order():
    """Both predictions are exact to first order in the step, the second as a bound."""
    model, w0, y = network(4)
    offs = []
    for step in (1e-3, 1e-4):
        dF, dDh, first_F, first_Dh = lazy.relative_changes(model, w0, y, step)
        offs.append(abs(dF / first_F - 1))
        assert 0.05 * first_Dh < dDh <= first_Dh * (1 + 10 * step)
    assert np.log10(offs[0] / offs[1]) == pytest.approx(1, abs=0.05)


def test_relative_change_of_one_step_by_hand():
    """h = w + w² from 0 to y = 1, a quarter of a step: w = 1/4, F from 1/2 to (11/16)²/2."""
    model = lazy.quadratic([[1.0]], [[[2.0]]])
    found = lazy.relative_changes(model, [0.0], [1.0], 0.25)
    assert found == pytest.approx((1 - (11 / 16) ** 2, 0.5, 0.5, 0.5))


def test_bound_on_the_differential_holds_to_first_order_only():
    """h = 2w + w³ at 0: the bound is zero and the differential changes (erratum F27)."""
    cubic = lazy.Model(
        lambda w: 2 * w + w**3, lambda w: np.diag(2 + 3 * w**2), lambda w: 6 * np.abs(w).max()
    )
    _, dDh, _, bound = lazy.relative_changes(cubic, [0.0], [1.0], 0.1)
    assert bound == 0 and dDh == pytest.approx(3 * 0.2**2 / 2, rel=1e-6)


@given(SEEDS)
@settings(max_examples=15)
def test_criterion_between_its_two_forms(seed):
    """(‖D²h‖/‖Dh‖)/(‖∇F‖/F) lies between κ/2 and κ/2·‖Dh‖/σ_min."""
    rng = np.random.default_rng(seed)
    model, w0, y = random_quadratic(rng), rng.standard_normal(4), rng.standard_normal(2)
    _, _, first_F, first_Dh = lazy.relative_changes(model, w0, y, 1e-3)
    singular = np.linalg.svd(model.differential(w0))[1]
    half = lazy.relative_scale(model, w0, y) / 2
    assert half * (1 - 1e-9) <= first_Dh / first_F
    assert first_Dh / first_F <= half * singular[0] / singular[-1] * (1 + 1e-9)


def test_small_relative_scale_that_is_not_lazy():
    curve = lazy.quadratic([[1.0], [0.0]], [[[0.0]], [[1.0]]])
    target = np.array([1e-4, -0.1])
    dF, dDh, *_ = lazy.relative_changes(curve, [0.0], target, 1e-3)
    assert lazy.relative_scale(curve, [0.0], target) == pytest.approx(0.1, rel=1e-3)
    assert dF < 0.1 * dDh


@given(SEEDS, st.floats(0.1, 100))
@settings(max_examples=15)
def test_relative_scale_of_the_scaled_output(seed, alpha):
    """The formula for αh at scale 1 against the model αh, written out."""
    model, w0, y = network(seed)
    scaled = lazy.Model(
        lambda w: alpha * model(w),
        lambda w: alpha * model.differential(w),
        lambda w: alpha * model.curvature(w),
    )
    assert lazy.relative_scale(scaled, w0, y) == pytest.approx(
        lazy.relative_scale(model, w0, y, alpha), rel=1e-10
    )


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_relative_scale_of_the_scaled_start(depth):
    """Products of weights are homogeneous: κ(τw₀) = κ of τ^ν h at w₀."""

    def products(w):
        return np.array([np.prod(w[:depth]), np.prod(w[depth:]) + np.prod(w[:depth])])

    w0, y = np.random.default_rng(depth).uniform(0.5, 1.5, 2 * depth), np.array([0.7, -0.2])
    differential = lambda w: derivative(products, w)  # noqa: E731
    model = lazy.Model(
        products, differential, lambda w: lazy.bilinear_norm(derivative(differential, w, 1e-2))
    )
    for factor in (0.5, 2.0, 10.0):
        assert lazy.relative_scale(model, factor * w0, y) == pytest.approx(
            lazy.relative_scale(model, w0, y, factor**depth), rel=1e-3
        )


@pytest.mark.parametrize("activation, degree", [(LINEAR, 2), (SQUARE, 3)])
def test_networks_without_bias_are_homogeneous(activation, degree):
    model, w0, y = network(5, activation=activation)
    assert lazy.relative_scale(model, 3 * w0, y) == pytest.approx(
        lazy.relative_scale(model, w0, y, 3.0**degree), rel=1e-9
    )


def test_scaling_makes_lazy_only_from_output_zero():
    model, w0, y = network(6)
    size = np.linalg.norm(model.differential(w0), 2)
    limit = np.linalg.norm(model(w0)) * model.curvature(w0) / size**2
    assert lazy.relative_scale(model, w0, y, 1e8) == pytest.approx(limit, rel=1e-6)
    for h, start in [(lazy.centred(model, w0), w0), (lazy.doubled(model), np.tile(w0, 2))]:
        assert np.abs(h(start)).max() == 0
        one = lazy.relative_scale(h, start, y)
        assert lazy.relative_scale(h, start, y, 1e8) == pytest.approx(1e-8 * one, rel=1e-9)


# The two flows (F31, F33)


@given(SEEDS, st.floats(0.2, 20))
@settings(max_examples=10)
def test_velocity_of_the_scaled_flow(seed, alpha):
    """The first move of `train` is minus the gradient of R(αh)/α², by differences."""
    model, w0, y = network(seed)
    loss = conditioned_loss(y, 3.0)
    t = 1e-5
    velocity = (lazy.train(model, w0, loss, alpha, t).final - w0) / t
    e = 1e-5 * np.eye(len(w0))

    def F(w):
        return loss.value(alpha * model(w)[:, None]) / alpha**2

    slope = np.array([(F(w0 + d) - F(w0 - d)) / 2e-5 for d in e])
    assert np.allclose(velocity, -slope, atol=2e-3 * np.linalg.norm(slope))


def test_linearized_flow_keeps_to_its_subspace_at_every_scale():
    model, w0, y = network(7)
    model, loss, times = lazy.centred(model, w0), column_loss(y), np.linspace(0, 4, 9)
    linear, D = lazy.linearize(model, w0), model.differential(w0)
    kernel, moves = np.linalg.svd(D)[2][4:], []
    for alpha in (0.3, 3.0, 300.0):
        moves.append(lazy.train(linear, w0, loss, alpha, times, rtol=1e-11, atol=1e-13).states - w0)
        assert np.abs(moves[-1] @ kernel.T).max() < 1e-10 * max(1, 1 / alpha)
        moves[-1] *= alpha
    assert np.ptp(moves, axis=0).max() < 1e-7 < np.abs(moves[0]).max()
    # with an output that is not zero at the start, the last statement is false
    other = lazy.linearize(network(7)[0], w0)
    small, large = (a * (lazy.train(other, w0, loss, a, 4.0).final - w0) for a in (0.3, 3.0))
    assert np.linalg.norm(small - large) > 0.1


# Theorem 2.2 (F32)


@pytest.mark.parametrize("seed", [3, 11])
def test_three_rates_on_a_finite_time(seed):
    model, w0, y = network(seed)
    generic, times, alphas = lazy.centred(model, w0), np.linspace(0, 3, 7), 2.0 ** np.arange(7, 11)
    gaps = [lazy.gaps(generic, w0, column_loss(y), alpha, times) for alpha in alphas]
    slopes = np.polyfit(np.log(alphas), np.log(gaps), 1)[0]
    assert np.allclose(slopes, [-1, -2, -1], atol=0.04)
    # α²·gap of the outputs, bounded if the printed rate held, doubles with α
    growth = gaps[-1][2] * alphas[-1] ** 2 / (gaps[-2][2] * alphas[-2] ** 2)
    assert growth == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("seed", [3, 11])
def test_doubling_cancels_the_first_order_of_the_outputs(seed):
    model, w0, y = network(seed)
    double, start, times = lazy.doubled(model), np.tile(w0, 2), np.linspace(0, 3, 7)
    alphas = 2.0 ** np.arange(5, 9)
    gaps = [lazy.gaps(double, start, column_loss(y), alpha, times) for alpha in alphas]
    slopes = np.polyfit(np.log(alphas), np.log(gaps), 1)[0]
    assert np.allclose(slopes, [-1, -2, -2], atol=0.04)


def test_output_of_the_doubled_flow_is_even_in_the_scale():
    """The symmetry behind the cancellation: w₋α = S wα, so that the outputs agree."""
    model, w0, y = network(3)
    double, start = lazy.doubled(model), np.tile(w0, 2)
    flipped = lazy.Model(
        lambda w: -double(w), lambda w: -double.differential(w), double.curvature
    )  # scale 5 of -h is scale -5 of h
    a = lazy.train(double, start, column_loss(y), 5.0, 2.0).final
    b = lazy.train(flipped, start, column_loss(y), 5.0, 2.0).final
    u, v = np.split(a, 2)
    assert np.allclose(b, np.concatenate([v, u]), atol=1e-7)
    assert np.allclose(double(a), -double(b), atol=1e-6)
    assert np.linalg.norm(a - b) > 0.01


@given(SEEDS, st.floats(-0.5, 2), st.floats(1, 4))
@settings(max_examples=15)
def test_finite_time_bounds_hold(seed, log_alpha, condition):
    rng = np.random.default_rng(seed)
    model, target, alpha = random_quadratic(rng), rng.standard_normal(2), 10**log_alpha
    loss = conditioned_loss(target, condition)
    bounds = finite_time_bounds(model, loss, alpha, 1.0, model.curvature(np.zeros(4)))
    gaps = lazy.gaps(model, np.zeros(4), loss, alpha, np.linspace(0, 1, 9))
    assert np.all(gaps <= bounds * (1 + 1e-6))


# Theorem 2.4 (F34)


@given(SEEDS, st.floats(1, 4), st.floats(1.001, 50))
@settings(max_examples=8)
def test_exponential_bound_and_uniform_bounds_hold_above_the_threshold(seed, condition, factor):
    rng = np.random.default_rng(seed)
    model, target, w0 = random_quadratic(rng), rng.standard_normal(2), np.zeros(4)
    D, L = model.differential(w0), model.curvature(w0)
    assume(np.linalg.svd(D)[1][-1] > 0.2)
    loss = conditioned_loss(target, condition)
    alpha = factor * np.linalg.norm(target) / threshold(D, condition, L)
    rate = np.linalg.svd(D)[1][-1] ** 2 / 4  # of the theorem, with strong convexity 1
    times = np.linspace(0, 5 / rate, 40)
    path = lazy.train(model, w0, loss, alpha, times, rtol=1e-10, atol=1e-13)
    error = np.linalg.norm([alpha * model(w) - target for w in path.states], axis=1)
    assert np.all(error <= np.sqrt(condition) * error[0] * np.exp(-rate * times) + 1e-8)
    bounds = uniform_bounds(D, loss, target, alpha, L)
    assert np.all(lazy.gaps(model, w0, loss, alpha, times) <= bounds * (1 + 1e-6))
    # the path stays in the ball where the differential is onto
    assert np.linalg.norm(path.states, axis=1).max() <= np.linalg.svd(D)[1][-1] / (2 * L)


@given(SEEDS, st.floats(1, 10))
@settings(max_examples=15)
def test_printed_threshold_implies_ours(seed, condition):
    rng = np.random.default_rng(seed)
    D, L = rng.standard_normal((3, 5)), rng.uniform(0.1, 10)
    sigma = np.linalg.svd(D)[1]
    printed = sigma[-1] ** 3 / (32 * condition**1.5 * sigma[0] * L)  # C0 of the notes
    # ‖h(w0)‖ <= C0 and ‖y*‖/α < C0 put ‖h(w0) - y*/α‖ below 2 C0
    assert 2 * printed <= threshold(D, condition, L) / 4 * (1 + 1e-12)


def test_uniform_rates_need_no_logarithm():
    """α times the first and third gap and α² times the second settle, over all times."""
    rng = np.random.default_rng(11)
    model, target, w0 = random_quadratic(rng), np.array([1.0, -0.5]), np.zeros(4)
    loss, D = conditioned_loss(target, 3.0), model.differential(np.zeros(4))
    times = np.linspace(0, 32 / np.linalg.svd(D)[1][-1] ** 2, 200)
    alphas = 4.0 ** np.arange(4, 8)
    settled = [lazy.gaps(model, w0, loss, a, times) * (a, a**2, a) for a in alphas]
    assert np.all(np.ptp(settled, axis=0) < 0.02 * settled[0])
    # with a logarithm the second would have grown by this factor
    assert np.log(alphas[-1]) / np.log(alphas[0]) > 1.5


def test_uniform_bounds_have_their_orders_and_are_not_far_off():
    """One weight, h = w + w²/2: each bound falls by its order and is within a factor of 100."""
    h, w0, target = lazy.quadratic([[1.0]], [[[1.0]]]), np.zeros(1), np.array([1.0])
    bounds, measured = [], []
    for alpha in (50.0, 500.0):
        bounds.append(uniform_bounds([[1.0]], column_loss(target), target, alpha, 1.0))
        measured.append(lazy.gaps(h, w0, column_loss(target), alpha, np.linspace(0, 20, 201)))
    assert np.allclose(np.log10(bounds[0] / bounds[1]), [1, 2, 1], atol=0.02)
    assert np.all(measured[1] <= bounds[1]) and np.all(measured[1] >= 0.01 * bounds[1])


# Theorem 2.5 (F35)


def test_limit_of_constant_rank_is_a_minimizer_but_not_strict():
    wave = lazy.Model(
        lambda w: np.sin(w[:1] + w[1:]),
        lambda w: np.full((1, 2), np.cos(w.sum())),
        lambda w: 2 * abs(np.sin(w.sum())),
    )
    loss = column_loss([1.0])
    for alpha in (2.0, 8.0):
        limit = lazy.train(wave, [0.0, 0.0], loss, alpha, 60.0).final
        assert alpha * np.sin(limit.sum()) == pytest.approx(1, abs=1e-6)
        for step in (1e-3, 0.1, 2.0):
            along = limit + step * np.array([1.0, -1.0])
            assert loss.value(alpha * wave(along)[:, None]) < 1e-10


def test_limit_is_local_and_not_global():
    """The figure eight: loss one on the branch of the start, next to none on the other."""
    alpha, target = 20.0, np.array([-1.0, 1.0]) + 0.1
    loss = column_loss(target)
    limit = lazy.train(figure_eight, [0.0], loss, alpha, 40.0).final
    reached = loss.value(alpha * figure_eight(limit)[:, None])
    assert reached == pytest.approx(1, abs=0.01)
    for step in (-1e-3, 1e-3):  # strict, because the rank is the number of weights
        assert loss.value(alpha * figure_eight(limit + step)[:, None]) > reached + 1e-6
    other = min(loss.value(alpha * figure_eight([w])[:, None]) for w in np.linspace(3, 3.3, 301))
    assert other < 0.02


@pytest.mark.parametrize("alpha", [4.0, 16.0, 64.0])
def test_rate_of_the_underparametrized_flow_does_not_depend_on_the_scale(alpha):
    """Three outputs, two weights: geometric with at least the rate of the theorem."""
    rng = np.random.default_rng(2)
    model, target = random_quadratic(rng, 3, 2), rng.standard_normal(3)
    s = np.linalg.svd(model.differential(np.zeros(2)))[1][-1]
    times = np.array([0.0, 6.0, 60.0]) / s**2
    path = lazy.train(model, np.zeros(2), column_loss(target), alpha, times, rtol=1e-11, atol=1e-14)
    value = [0.5 * np.sum((alpha * model(w) - target) ** 2) for w in path.states]
    assert value[1] - value[2] <= (value[0] - value[2]) * np.exp(-0.25 * 6.0)
    assert value[2] > 0.01  # the target is not reached


# Width (F36)


def width_constants(X):
    """Return the B, c, S of the theorem for tanh and unit a, from closed bounds."""
    sizes = np.linalg.norm(X, axis=1)
    B = np.linalg.norm(4 / (3 * np.sqrt(3)) * sizes**2 + sizes)
    z = np.linspace(-sizes[0], sizes[0], 4001)
    c = ((1 - np.tanh(z) ** 2) ** 2 * sizes[0] ** 2 + np.tanh(z) ** 2).min()
    return B, c, np.sqrt(np.sum(np.minimum(1, sizes**2 / X.shape[1])))


@given(SEEDS)
@settings(max_examples=8)
def test_curvature_of_a_wide_network_is_the_largest_of_its_neurons(seed):
    rng = np.random.default_rng(seed)
    X, a, b = rng.standard_normal((3, 2)), rng.standard_normal((50, 2)), rng.standard_normal(50)
    one = lazy.two_layer(X, 1, "softplus")
    single = max(one.curvature(np.append(*weights)) for weights in zip(a, b, strict=True))
    whole = lazy.two_layer(X, 50, "softplus").curvature(np.concatenate([a.ravel(), b]))
    assert whole == pytest.approx(single, rel=1e-9)


def test_relative_scale_against_width():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((4, 3)), rng.standard_normal(4)
    B, c, S = width_constants(X)
    widths = 4 ** np.arange(2, 6)
    for power, expected in [(-0.5, -0.5), (-1.0, 0.0)]:
        means = [
            np.mean(
                [
                    lazy.relative_scale(
                        lazy.two_layer(X, int(m), "tanh", float(m) ** power),
                        bounded_weights(int(m), 3, rng),
                        y,
                    )
                    for _ in range(12)
                ]
            )
            for m in widths
        ]
        slope = np.polyfit(np.log(widths), np.log(means), 1)[0]
        assert slope == pytest.approx(expected, abs=0.06)
        second = np.linalg.norm(y) / widths ** (1 + power)
        assert np.all(means <= B / c * (S / np.sqrt(widths) + second))
        sizes = np.linalg.norm(X, axis=1)
        beta = (1 - np.tanh(sizes[0]) ** 2) * sizes[0]
        assert np.all(means >= beta / np.sum(sizes**2 + 1) * second)


def test_differential_of_relu_in_l2_is_no_better_than_hoelder():
    rng = np.random.default_rng(0)
    x, angles = rng.standard_normal((200_000, 3)), np.array([0.4, 0.1])
    norms = []
    for theta in angles:
        differ = (x[:, 0] > 0) != (np.cos(theta) * x[:, 0] + np.sin(theta) * x[:, 1] > 0)
        norms.append(np.sqrt(np.mean(differ * x[:, 2] ** 2)))
    assert np.allclose(norms, np.sqrt(angles / np.pi), rtol=0.03)


# The students (chapter's first and fifth figure)


def test_steps_of_the_students_are_gradient_descent():
    room, scale, step = lazy.classroom(5, 4, 30, np.random.default_rng(1)), 0.7, 0.1
    model = lazy.two_layer(room.X, 4, "relu")
    w = scale * np.concatenate([room.a.ravel(), room.b])
    assert np.abs(model(w)).max() < 1e-12  # doubled
    first = w.copy()
    for _ in range(3):
        w = w - step / (1 + scale**2) * model.differential(w).T @ (model(w) - room.y) / 30
    train_error, test_error, moved = lazy.trained(room, scale, 3, step)
    assert train_error == pytest.approx(0.5 * np.mean((model(w) - room.y) ** 2), rel=1e-10)
    unseen = lazy.two_layer(room.X_test, 4, "relu")(w) - room.y_test
    assert test_error == pytest.approx(0.5 * np.mean(unseen**2), rel=1e-10)
    assert moved == pytest.approx(np.linalg.norm(w - first) / np.linalg.norm(first), rel=1e-10)


def test_the_classroom_is_as_described():
    room = lazy.classroom(40, 60, 300, np.random.default_rng(0), n_teacher=5)
    for X in (room.X, room.X_test):
        assert np.allclose(np.sum(X**2, axis=1), 40)
    assert room.y_test.std() == pytest.approx(1)
    assert np.array_equal(room.a[:30], room.a[30:]) and np.array_equal(room.b[:30], -room.b[30:])
    assert 40 * room.a.var() == pytest.approx(1, rel=0.1)
    assert 60 * np.mean(room.b**2) == pytest.approx(1, rel=0.5)
    assert len(room.y) == 300 and room.y.std() == pytest.approx(1, rel=0.2)


def test_students_of_large_scale_are_the_linearized_one():
    room = lazy.classroom(10, 8, 60, np.random.default_rng(2))
    scales = np.array([10.0, 40.0, 160.0])
    train, errors, moves = np.transpose([lazy.trained(room, tau, 500, 0.2) for tau in scales])
    limit = lazy.linearized(room, 500, 0.2)
    assert np.all(np.diff(np.abs(errors - limit[1])) < 0)
    assert (train[-1], errors[-1]) == pytest.approx(limit, rel=1e-3)
    assert np.log(moves[2] / moves[1]) / np.log(4) == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_rich_students_generalize_and_lazy_ones_do_not(seed):
    room = lazy.classroom(20, 20, 200, np.random.default_rng(seed))
    rich, late = (lazy.trained(room, tau, 2000, 0.2)[1] for tau in (0.01, 30.0))
    assert rich < 0.1 * late


def test_stored_table_is_what_its_command_makes():
    """The linearized students again; a whole table takes a minute."""
    table = np.loadtxt(lazy.STORED, delimiter=",", skiprows=1)
    assert table.shape == (3 * (len(SCALES) + 1), 5)
    (row,) = students_table(1, scales=[])
    late, limit = table[(table[:, 0] == 1) & (table[:, 1] >= 10)]
    assert np.allclose(row, limit, rtol=1e-3)
    assert late[3] == pytest.approx(row[3], rel=0.05)  # the laziest student is close to it
    for seed in range(3):
        test_error = table[table[:, 0] == seed][:, 3]
        assert test_error[0] < test_error[-1] / 20
    assert table[:, 2].max() < 0.01


def test_students_that_diverge_are_reported():
    room = lazy.classroom(5, 4, 30, np.random.default_rng(1))
    with pytest.raises(ValueError, match="step = 50 is too long"):
        lazy.trained(room, 1.0, 300, 50.0)
    with pytest.raises(ValueError, match="step = 50 is too long"):
        lazy.linearized(room, 300, 50.0)
    with pytest.raises(ValueError, match="tau must be greater than 0"):
        lazy.trained(room, 0.0, 3, 0.1)
    with pytest.raises(ValueError, match="m must be even"):
        lazy.classroom(5, 3, 30, np.random.default_rng(1))


# Bad input


def test_models_that_are_not_smooth_are_refused_where_smoothness_is_needed():
    relu, w0, y = network(8, activation="relu")
    for call in (
        lambda: lazy.relative_scale(relu, w0, y),
        lambda: lazy.train(relu, w0, column_loss(y), 1.0, 1.0),
        lambda: lazy.gaps(lazy.doubled(relu), np.tile(w0, 2), column_loss(y), 1.0, [0.0, 1.0]),
    ):
        with pytest.raises(ValueError, match="model is not twice differentiable"):
            call()
    assert lazy.linearize(relu, w0)(w0).shape == (4,)  # a generic point has a differential
    with pytest.raises(ValueError, match="w puts a neuron on a kink"):
        lazy.linearize(relu, np.zeros_like(w0))


def test_bad_sizes_and_numbers():
    model, w0, y = network(9)
    with pytest.raises(ValueError, match="width must be at least 1"):
        lazy.two_layer(np.eye(2), 0)
    with pytest.raises(ValueError, match="activation must be one of"):
        lazy.two_layer(np.eye(2), 3, "swish")
    with pytest.raises(ValueError, match="w must be a vector of 24 weights"):
        lazy.linearize(model, w0[:-1])
    with pytest.raises(ValueError, match="w0 has entries that are NaN"):
        lazy.linearize(model, np.full(24, np.nan))
    with pytest.raises(ValueError, match="X has entries that are NaN"):
        lazy.two_layer([[np.nan]], 3)
    with pytest.raises(ValueError, match="target must have the shape"):
        lazy.relative_scale(model, w0, y[:-1])
    with pytest.raises(ValueError, match="target has entries that are NaN"):
        lazy.relative_scale(model, w0, y * np.nan)
    with pytest.raises(ValueError, match="shape"):
        lazy.train(model, w0, column_loss(y[:-1]), 1.0, 1.0)
    with pytest.raises(ValueError, match="w must hold two equally long halves"):
        lazy.doubled(model)(np.zeros(3))
    with pytest.raises(ValueError, match="Q must hold 1 symmetric matrices"):
        lazy.quadratic([[1.0, 0.0]], [[[0.0, 1.0], [0.0, 0.0]]])
    with pytest.raises(ValueError, match="Q must hold 1 symmetric matrices of size 2"):
        lazy.quadratic([[1.0, 0.0]], np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="step must be greater than 0"):
        lazy.relative_changes(model, w0, y, 0.0)
    with pytest.raises(ValueError, match="rng must be"):
        lazy.classroom(3, 2, 5, 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan])
def test_scale_must_be_positive(alpha):
    model, w0, y = network(9)
    loss = column_loss(y)
    for call in (
        lambda: lazy.relative_scale(model, w0, y, alpha),
        lambda: lazy.train(model, w0, loss, alpha, 1.0),
        lambda: lazy.gaps(model, w0, loss, alpha, [0.0, 1.0]),
    ):
        with pytest.raises(ValueError, match="alpha"):
            call()


def test_hypotheses_of_the_theorems_are_insisted_on():
    with pytest.raises(ValueError, match="critical point"):
        lazy.relative_scale(lazy.quadratic([[0.0]], [[[2.0]]]), [0.0], [1.0])
    with pytest.raises(ValueError, match="positive loss"):
        lazy.relative_changes(lazy.quadratic([[1.0]], [[[0.0]]]), [1.0], [1.0], 0.1)


def test_divergence_is_reported():
    unbounded = losses.Loss(lambda y: -np.sum(y**4), lambda y: -4 * y**3, None, None, None, None)
    shift = lazy.Model(lambda w: w + 1, lambda w: np.eye(1), lambda w: 0.0)
    with pytest.raises(ValueError, match="leaves every bound"):
        lazy.train(shift, [1.0], unbounded, 1.0, 10.0)
    with pytest.raises(ValueError, match=r"model must be a lazy.Model"):
        lazy.train(np.sin, [1.0], column_loss([1.0]), 1.0, 10.0)


if __name__ == "__main__":
    np.savetxt(
        lazy.STORED,
        [row for seed in range(3) for row in students_table(seed)],
        fmt="%.6g",
        delimiter=",",
        header="seed,scale,train_error,test_error,moved",
        comments="",
    )
