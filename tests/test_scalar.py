"""Two weights for one number: the closed form against integration, rates, margin."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from overparam import gradient_flow, losses, networks, scalar

NUMBERS = st.floats(-4, 4).map(lambda x: round(x, 6))


def pull(target):
    """Gradient of (target - uv)²/2."""
    return lambda w: -(target - w[0] * w[1]) * w[::-1]


def integrate(y, x0, imbalance, times):
    start = np.array(scalar.weights_from(x0, imbalance))
    return gradient_flow(pull(y), start, times, rtol=1e-13, atol=1e-16).states


@given(NUMBERS, NUMBERS, NUMBERS)
@example(1.3, -0.4, 0.9)
@example(1.0, 0.5, 0.0)  # balanced: a sigmoid
@example(1.0, -0.5, 0.0)  # balanced, wrong sign: to the saddle
@example(-1.0, 0.5, 0.0)
@example(0.0, 1.0, 0.0)  # nothing to learn, balanced: 1/(2t + 1)
@example(0.0, -1.0, 2.0)
@example(-2.0, -1.0, -3.0)
@example(1.0, 0.0, 0.0)  # an equilibrium
def test_closed_form_is_the_flow(y, x0, imbalance):
    times = np.array([0.0, 0.2, 1.0, 3.0, 8.0])
    x = integrate(y, x0, imbalance, times).prod(axis=1)
    closed = scalar.closed_form(times, y, x0, imbalance)
    assert np.allclose(closed, x, rtol=1e-8, atol=1e-8 * (1 + abs(y)))


@given(NUMBERS, NUMBERS, NUMBERS, st.floats(0, 500))
def test_closed_form_solves_the_induced_flow_at_late_times(y, x0, imbalance, t):
    """x(t + s) from 0 equals x(s) from x(t): the closed form is a semigroup for t up to 500."""
    between = scalar.closed_form(t, y, x0, imbalance)
    assert np.isfinite(between)
    assert np.isclose(
        scalar.closed_form(t + 1.0, y, x0, imbalance),
        scalar.closed_form(1.0, y, between, imbalance),
        rtol=1e-8,
        atol=1e-8 * (abs(y) + abs(imbalance) * 1e-3),
    )


@given(NUMBERS, NUMBERS, NUMBERS)
def test_closed_form_satisfies_the_equation_of_the_product(y, x0, imbalance):
    h = 1e-5
    before, x, after = scalar.closed_form(0.7 + h * np.array([-1, 0, 1]), y, x0, imbalance)
    velocity = (y - x) * np.hypot(imbalance, 2 * x)
    assert (after - before) / (2 * h) == pytest.approx(velocity, rel=1e-4, abs=1e-4)


def test_the_talks_formula_with_its_constant():
    y, x0, imbalance, t = 1.3, -0.4, 0.9, np.linspace(0, 4, 9)
    S = np.hypot(imbalance, 2 * y)
    z0, plus, minus = 2 * x0 + np.hypot(imbalance, 2 * x0), 2 * y + S, 2 * y - S
    c, E = (plus - z0) / (2 * plus * (z0 - minus)), np.exp(S * t)
    talk = (y * E**2 - 2 * c * imbalance**2 * E - 4 * y * imbalance**2 * c**2) / (
        E**2 + 8 * y * c * E - 4 * imbalance**2 * c**2
    )
    assert np.allclose(talk, scalar.closed_form(t, y, x0, imbalance), rtol=1e-12)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_asymptotic_rate_and_the_sign_of_its_constant(y, x0, imbalance):
    S = np.hypot(imbalance, 2 * y)
    assume(abs(imbalance) > 0.1 and abs(y) > 0.1 and abs(x0 - y) > 0.01)
    sign = 1 if y > 0 else -1
    z0 = 2 * sign * x0 + np.hypot(imbalance, 2 * x0)
    plus, minus = 2 * abs(y) + S, 2 * abs(y) - S
    c = (plus - z0) / (2 * plus * (z0 - minus))
    t = 12 / S
    gap = scalar.closed_form(t, y, x0, imbalance) - y
    assert np.sign(c) == np.sign(abs(y) - sign * x0)
    assert gap * sign == pytest.approx(-2 * c * S**2 * np.exp(-12), rel=0.02)


def test_degenerate_cases():
    t = np.linspace(0, 5, 11)
    y, x0 = 1.5, 0.3
    sigmoid = y * np.exp(2 * y * t) / (np.exp(2 * y * t) - 1 + y / x0)
    assert np.allclose(scalar.closed_form(t, y, x0, 0.0), sigmoid, rtol=1e-12)
    assert np.allclose(scalar.closed_form(t, -y, -x0, 0.0), -sigmoid, rtol=1e-12)
    to_saddle = y / (1 - (1 + y / x0) * np.exp(2 * y * t))
    assert np.allclose(scalar.closed_form(t, y, -x0, 0.0), to_saddle, rtol=1e-12)
    assert np.allclose(scalar.closed_form(t, 0.0, x0, 0.0), 1 / (2 * t + 1 / x0), rtol=1e-12)
    assert scalar.closed_form(500.0, y, -x0, 0.0) == pytest.approx(0, abs=1e-300)


@given(NUMBERS, NUMBERS)
def test_weights_from_have_product_and_imbalance(product, imbalance):
    u, v = scalar.weights_from(product, imbalance)
    assert u * v == pytest.approx(product, rel=1e-12, abs=1e-12)
    assert u**2 - v**2 == pytest.approx(imbalance, rel=1e-9, abs=1e-9)
    assert u**2 + v**2 == pytest.approx(np.hypot(imbalance, 2 * product), rel=1e-12, abs=1e-12)
    assert u >= 0


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_weights_of_the_product_zero_are_not_negative(zero):
    for imbalance, pair in ((-4.0, (0, 2)), (4.0, (2, 0)), (0.0, (0, 0))):
        assert np.array_equal(scalar.weights_from(zero, imbalance), pair)


def test_weights_from_lose_no_digits_far_from_balance():
    u, v = scalar.weights_from(1e-9, -4.0)
    assert u == pytest.approx(5e-10, rel=1e-12) and v == pytest.approx(2.0)


def test_paths_stay_on_their_hyperbola_and_the_second_integral_stays():
    times = np.linspace(0, 3, 13)
    states = integrate(1.0, -0.4, 0.39, times)
    assert np.allclose(states[:, 0] ** 2 - states[:, 1] ** 2, 0.39, atol=1e-10)
    S, z = np.hypot(0.39, 2.0), states.sum(axis=1) ** 2
    integral = np.log(np.abs((z - 2 - S) / (z - 2 + S))) + S * times
    assert np.ptp(integral) < 1e-7
    assert np.allclose(states[:, 0] - states[:, 1], 0.39 / states.sum(axis=1), atol=1e-9)


@given(NUMBERS, NUMBERS, NUMBERS, st.floats(0, 5))
def test_loss_stays_below_the_bound_of_imbalance_and_margin(y, u, v, a):
    """For (w - y)²/2 + a log cosh(w - y), with mu = 1 and without the factor sqrt(K/mu)."""
    times = np.linspace(0, 2, 9)

    def gradient(w):
        gap = w[0] * w[1] - y
        return (gap + a * np.tanh(gap)) * w[::-1]

    path = gradient_flow(gradient, [u, v], times, rtol=1e-11, atol=1e-13)
    gap = path.states.prod(axis=1) - y
    loss = gap**2 / 2 + a * np.log(np.cosh(gap))
    least = scalar.margin(y, u * v)
    bound = scalar.rate_bound(u**2 - v**2, least)
    assert np.all(loss <= loss[0] * np.exp(-bound * times) * (1 + 1e-6) + 1e-12)
    assert np.all(np.abs(path.states.prod(axis=1)) >= least - 1e-8)
    assert np.all(np.diff(np.abs(gap)) <= 1e-8)
    assert scalar.margin(y, u * v, condition=1 + a) <= least


def test_rates_of_the_loss_with_and_without_one_half():
    """Error at S, loss at 2S; without the ½ in the loss both double."""
    S, times = np.hypot(0.9, 2.0), np.linspace(3, 6, 10)
    for factor in (1, 2):
        path = gradient_flow(
            lambda w, factor=factor: factor * pull(1.0)(w),
            scalar.weights_from(0.3, 0.9),
            times / factor,
            rtol=1e-12,
            atol=1e-14,
        )
        gap = np.abs(path.states.prod(axis=1) - 1)
        rate = -np.polyfit(path.t, np.log(gap), 1)[0]
        assert rate == pytest.approx(factor * S, rel=0.01)
        loss_rate = scalar.rate_bound(0.9, 1.0, pl_constant=2.0 * factor)
        assert loss_rate == pytest.approx(2 * factor * S)


@pytest.mark.parametrize("depth, slope", [(3, -1), (4, -2)])
def test_small_starts_wait_like_a_power_of_depth(depth, slope):
    alphas, waits = np.array([1e-2, 3e-3, 1e-3]), []
    for alpha in alphas:
        path = networks.layer_flow(
            losses.squared_distance([[1.0]]),
            networks.identity(1, depth, alpha),
            1e9,
            stop=lambda w: 0.5 - networks.product(w).item(),
        )
        waits.append(path.t[-1])
    assert np.polyfit(np.log(alphas), np.log(waits), 1)[0] == pytest.approx(slope, abs=0.02)


def test_small_starts_of_two_layers_wait_like_a_logarithm():
    waits = [
        networks.layer_flow(
            losses.squared_distance([[1.0]]),
            networks.identity(1, 2, alpha),
            1e3,
            stop=lambda w: 0.5 - networks.product(w).item(),
        ).t[-1]
        for alpha in (1e-3, 1e-5)
    ]
    assert waits[1] - waits[0] == pytest.approx(np.log(100), rel=1e-3)


def test_stable_manifold_of_the_saddle():
    for offset, limit in ((0.0, 0.0), (0.01, 1.0)):
        path = gradient_flow(pull(1.0), [0.7, -0.7 + offset], 15.0)
        assert path.final.prod() == pytest.approx(limit, abs=1e-5)


def test_pl_function_that_is_not_convex():
    w = np.linspace(1e-4, 50, 1_000_001)
    f, slope = w**2 + 3 * np.sin(w) ** 2, 2 * w + 3 * np.sin(2 * w)
    constant = (slope**2 / f).min()
    assert (2 + 6 * np.cos(2 * w)).min() < 0 and 1 / 16 < constant < 0.36
    for start in (-7.3, 2.9, 11.0):
        path = gradient_flow(lambda w: 2 * w + 3 * np.sin(2 * w), start, np.linspace(0, 8, 30))
        values = path.states**2 + 3 * np.sin(path.states) ** 2
        first = start**2 + 3 * np.sin(start) ** 2
        assert np.all(values <= first * np.exp(-constant * path.t) * (1 + 1e-6))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: scalar.closed_form(-1.0, 1, 1, 1), "t must"),
        (lambda: scalar.closed_form(1.0, np.nan, 1, 1), "y has"),
        (lambda: scalar.closed_form(1.0, 1, np.inf, 1), "x0 has"),
        (lambda: scalar.closed_form(1.0, 1, 1, "a"), "imbalance"),
        (lambda: scalar.margin(1.0, 1.0, condition=0.5), "condition"),
        (lambda: scalar.rate_bound(1.0, -0.1), "margin"),
        (lambda: scalar.rate_bound(1.0, 0.1, pl_constant=0), "pl_constant"),
        (lambda: scalar.weights_from(np.nan, 0.0), "product"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The closed form: from every start, at every scale


@given(NUMBERS, NUMBERS, NUMBERS)
def test_the_error_shrinks_by_the_growing_weight(y, x0, imbalance):
    """y - x = (y - x0)/(1 + I) with I from hyperbolic functions, and I'' is linear in I."""
    S, R, t = np.hypot(imbalance, 2 * y), np.hypot(imbalance, 2 * x0), np.array([0.3, 1.0, 1.7])
    assume(S > 1e-3)
    q = imbalance**2 + 4 * x0 * y
    growth = R * np.sinh(S * t) / S + q * (np.cosh(S * t) - 1) / S**2
    expected = y + (x0 - y) / (1 + growth)
    assert np.allclose(
        scalar.closed_form(t, y, x0, imbalance), expected, rtol=1e-7, atol=1e-7 * (abs(x0) + abs(y))
    )


@given(NUMBERS, NUMBERS, NUMBERS)
@example(0.0, 0.0, 0.0)
@example(2.0, 0.0, 0.0)
@example(-2.0, 1.0, 0.0)
@example(-2.0, 1.0, 1e-6)
@example(-2.0, -1.0, 0.0)
@example(0.0, -1.0, 0.0)
def test_the_flow_ends_at_the_target_but_for_balanced_starts_of_the_wrong_sign(y, x0, imbalance):
    stuck = imbalance == 0 and y != 0 and x0 * y <= 0
    end = scalar.closed_form(1e9, y, x0, imbalance)
    assert end == pytest.approx(0.0 if stuck else y, abs=1e-7)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_the_rate_and_its_constant(y, x0, imbalance):
    S, R = np.hypot(imbalance, 2 * y), np.hypot(imbalance, 2 * x0)
    total = R * S + imbalance**2 + 4 * x0 * y
    assume(S > 0.1 and abs(x0 - y) > 0.01 and total > 0.01 * S**2)
    gap = scalar.closed_form(16 / S, y, x0, imbalance) - y
    leading = (x0 - y) * 2 * S**2 / total * np.exp(-16)
    assert gap == pytest.approx(leading, rel=0.02, abs=1e-12)


def test_nothing_cancels_far_from_balance_and_nothing_overflows():
    assert scalar.closed_form(0.0, 1.0, 1e-3, 1e12) == 1e-3
    # At rest for 1e-13, then x moves with velocity (y - x0) * 1e12.
    moved = scalar.closed_form(1e-13, 1.0, 1e-3, 1e12)
    assert moved == pytest.approx(1 - (1 - 1e-3) * np.exp(-0.1), rel=1e-12)
    x = scalar.closed_form([0.0, 1e-200, 1.0], 1e200, 5e199, 1e200)
    assert np.allclose(x / 1e200, [0.5, scalar.closed_form(1.0, 1.0, 0.5, 1.0), 1.0], rtol=1e-12)


def test_an_imbalance_that_underflows_when_squared_still_leaves_the_saddle():
    """Half of y = 1 is reached from x0 = -1.5 at I = 4: (R0 S + q) exp(2t)/8 + 1.5 = 4."""
    log_sum = 2 * np.log(1e-200) + np.log(2.5**2 / (2 * 1.5))  # of R0 S + q
    half = (np.log(8 * 2.5) - log_sum) / 2
    assert scalar.closed_form(half, 1.0, -1.5, 1e-200) == pytest.approx(0.5, rel=1e-9)
    assert scalar.closed_form(half, 1.0, -1.5, 2e-200) > 0.6


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([1e-250, 1e-8, 1e8, 1e250]))
def test_the_closed_form_has_units(y, x0, imbalance, scale):
    t = np.array([0.0, 0.4, 2.0])
    x = scalar.closed_form(t, y, x0, imbalance)
    scaled = scalar.closed_form(t / scale, scale * y, scale * x0, scale * imbalance)
    assert np.allclose(scaled / scale, x, rtol=1e-9, atol=1e-9 * (abs(y) + abs(x0)))
    u, v = scalar.weights_from(x0, imbalance)
    u_scaled, v_scaled = scalar.weights_from(scale * x0, scale * imbalance)
    assert np.allclose([u_scaled, v_scaled], np.sqrt(scale) * np.array([u, v]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_stable_manifold_for_both_signs_of_the_target(sign):
    """On u = -sign v the flow ends at the origin, beside it at a minimum."""
    for offset, limit in ((0.0, 0.0), (1e-3, sign)):
        path = gradient_flow(pull(float(sign)), [0.7, -sign * 0.7 + offset], 30.0)
        assert path.final.prod() == pytest.approx(limit, abs=1e-5)


def test_pl_constants_are_attained_at_the_last_singular_vector():
    """And not by random draws, which stay six times above: the regression of the chapter."""
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((3, 5))
    loss = losses.regression(wide, rng.standard_normal((3, 2)))
    last = 1e7 * np.linalg.svd(wide, full_matrices=False)[2][-1][:, None] * [1.0, 0.0]
    ratio = np.sum(loss.gradient(last) ** 2) / (loss.value(last) - loss.minimum)
    assert ratio == pytest.approx(loss.pl_constant, rel=1e-5)
