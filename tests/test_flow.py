"""Gradient flow and descent: order, accuracy, how a path ends, what is refused."""

import pickle
import re
import warnings

import numpy as np
import pytest
from extensisq import SSV2stab, Ts5
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from overparam import gradient_descent, gradient_flow


def quadratic(w):
    return np.array([1.0, 10.0]) * w


def pull(w):
    """Gradient of (1 - uv)²/2."""
    return -(1 - w[0] * w[1]) * w[::-1]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=2), st.floats(0.01, 3))
def test_flow_of_a_quadratic_is_the_exponential(start, end):
    path = gradient_flow(quadratic, np.array(start), end, rtol=1e-12)
    assert np.allclose(path.final, np.exp(-np.array([1, 10]) * end) * start, atol=1e-9)


def test_descent_converges_to_the_flow_with_order_one():
    steps = 0.1 / 2.0 ** np.arange(6)
    errors = []
    for step in steps:
        path = gradient_descent(pull, [0.5, 1.2], step, round(2 / step))
        exact = gradient_flow(pull, [0.5, 1.2], path.t[1:], rtol=1e-12, atol=1e-14)
        errors.append(np.abs(path.states[1:] - exact.states).max())
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(order - 1) < 0.05


def test_intermediate_states_are_as_accurate_as_the_stored_ones():
    path = gradient_flow(quadratic, [1.0, 1.0], 2.0, rtol=1e-12, atol=1e-14)
    times = np.array([[0.0, 0.123], [1.017, 2.0]])
    exact = np.exp(-np.array([1, 10]) * times[..., None])
    assert path(times).shape == (2, 2, 2)
    assert np.allclose(path(times), exact, atol=1e-10)
    assert np.allclose(path(0.123), exact[0, 1], atol=1e-10)


class Counted:
    """A gradient that counts its calls."""

    def __init__(self, gradient):
        self.gradient, self.calls = gradient, 0

    def __call__(self, w):
        self.calls += 1
        return self.gradient(w)


@pytest.mark.parametrize("size", [1e-140, 1e-50, 1e-13, 1e-10, 1e-4])
def test_two_equal_weights_reach_a_half_when_the_formula_says(size):
    """x' = 2x(1 - x) from s²: half is reached after log(1/s² - 1)/2, however small s is."""
    end = np.log1p(-(size**2)) / 2 - np.log(size)
    path = gradient_flow(pull, np.full(2, size), [end])
    assert np.prod(path.final) == pytest.approx(0.5, abs=1e-6)


def test_three_equal_weights_reach_a_half_when_the_integral_says():
    """w' = w²(1 - w³); in time 10⁴ an error of 1e-8 a step is one of 1e-4."""
    end = quad(lambda w: 1 / (w**2 * (1 - w**3)), 1e-4, 0.5 ** (1 / 3), limit=500, points=[1e-3])[0]
    path = gradient_flow(lambda w: -(1 - np.prod(w)) * np.prod(w) / w, np.full(3, 1e-4), [end])
    assert np.prod(path.final) == pytest.approx(0.5, abs=2e-5)


@pytest.mark.parametrize("size", [1e-8, 1e-16, 1e-30])
def test_modes_that_wait_beside_large_ones_are_as_exact(size):
    target = np.array([3.0, 2.0, 1.0])
    end = np.log(1 / size) - 1  # when the last mode is still small
    path = gradient_flow(lambda w: (w**2 - target) * w, np.full(3, size), [end])
    grown = size**2 * np.exp(2 * target * end)
    assert np.allclose(path.final**2, target * grown / (target + grown - size**2), rtol=1e-6)


def test_default_tolerances_have_no_units():
    """The same problem in other units of weight and time takes the same steps."""

    def path(weight, time, start):
        def gradient(w):
            return weight / time * quadratic(w / weight) * np.sin(3 + w / weight)

        return gradient_flow(gradient, weight * np.array(start), 2.0 * time)

    for start in ([1.0, -0.3], [0.0, 0.0]):
        plain = path(1.0, 1.0, start)
        for weight, time in [(2.0**-40, 2.0**30), (2.0**60, 2.0**-20)]:
            scaled = path(weight, time, start)
            assert np.array_equal(scaled.t, plain.t * time)
            assert np.array_equal(scaled.states, plain.states * weight)


@pytest.mark.parametrize(
    ("gradient", "start", "size", "speed"),
    [
        (lambda w: w, [0.3, -0.8], 0.8, 0.8),
        (lambda w: 0.1 * (w - 20), [0.0, 0.0], 2 * 3, 2),  # at 2 for all of the time 3
        (lambda w: 10 * (w - 2), [0.0, 0.0], 20 / 10, 20),  # at 20 for a tenth
        (lambda w: np.where(w < 1e-6, -2.0, np.nan), [0.0], 2 * 3e-6, 2),  # for a millionth of it
    ],
)
def test_default_tolerance_and_first_step_are_those_of_the_start(gradient, start, size, speed):
    """A hundredth of rtol, of its size; of the time in which it changes what order 8 allows."""
    path = gradient_flow(gradient, start, 3.0)
    same = gradient_flow(gradient, start, 3.0, atol=1e-8 / 100 * size)
    assert path.reason == same.reason and path.t == pytest.approx(same.t, rel=1e-6)
    assert path.t[1] == pytest.approx(1e-8 ** (1 / 8) * size / speed)


def test_a_start_of_zeros_is_followed_to_the_tolerance():
    for size in (1e-12, 1.0, 1e12):
        path = gradient_flow(lambda w, size=size: 10 * (w - size), np.zeros(3), 1.0)
        assert np.allclose(path.final, size * -np.expm1(-10), rtol=1e-7, atol=0)
    assert np.array_equal(gradient_flow(lambda w: w, np.zeros(2), 1.0).final, [0, 0])


@pytest.mark.parametrize("rtol", [1e-8, 1e-10, 1e-12])
def test_reading_between_states_is_exact_and_free(rtol):
    counted = Counted(pull)
    path = gradient_flow(counted, [1e-3, 2e-3], 12.0, rtol=rtol)
    assert path.n_evaluations == counted.calls
    times = np.linspace(0, 12, 301)
    ours = path(times)
    assert path.n_evaluations == counted.calls  # not one more
    exact = gradient_flow(pull, [1e-3, 2e-3], times, rtol=3e-14).states
    assert np.abs(ours - exact).max() < 100 * rtol
    path = gradient_flow(pull, [1e-3, 2e-3], 6.5, rtol=rtol)  # in the middle of the motion
    times = np.linspace(path.t[-2], 6.5, 30)  # the last step is read with six states, too
    exact = gradient_flow(pull, [1e-3, 2e-3], times, rtol=3e-14).states
    assert np.abs(path(times) - exact).max() < 8 * rtol


def test_start_and_end_are_kept_at_no_cost():
    ends = gradient_flow(pull, [0.1, 0.2], [0.0, 5.0])
    path = gradient_flow(pull, [0.1, 0.2], 5.0)
    assert ends.n_evaluations == path.n_evaluations and ends.t.tolist() == [0.0, 5.0]
    assert np.array_equal(ends[0], [0.1, 0.2]) and np.array_equal(ends.final, path.final)


def test_stored_states_are_read_as_they_are():
    for path in (gradient_flow(pull, [0.1, 0.2], 5.0), gradient_flow(pull, [0.1, 0.2], [1.0, 5.0])):
        assert np.array_equal(path(path.t), path.states)


def test_of_asked_times_only_these_can_be_read():
    path = gradient_flow(pull, [0.1, 0.2], [1.0, 5.0])
    assert np.array_equal(path(5.0), path.final)
    with pytest.raises(ValueError, match="t = 2 is no time asked for; give the end alone"):
        path(2.0)


def test_a_flow_that_stops_early_in_a_step_is_read_as_exactly():
    """The end lies close to the step before it, wherever that is."""
    steps = gradient_flow(pull, [1e-3, 2e-3], 12.0)
    times = np.linspace(0, 0.999 * steps.t[5], 50)
    exact = gradient_flow(pull, [1e-3, 2e-3], times, rtol=3e-14).states
    for share in (1e-14, 1e-9, 1e-4, 0.04, 0.06, 0.5, 1.0):
        end = np.prod(steps(steps.t[5] + share * (steps.t[6] - steps.t[5])))
        path = gradient_flow(pull, [1e-3, 2e-3], 12.0, stop=lambda w, end=end: end - np.prod(w))
        assert path.reason == "loss reached" and np.abs(path(times) - exact).max() < 1e-7


@pytest.mark.parametrize("method", ["DOP853", "RK45", "LSODA", "Radau", "Ts5", "SSV2stab", "auto"])
@pytest.mark.parametrize("t", [3.0, [0.0, 1.0, 3.0]])
def test_every_method_integrates_and_the_count_is_true(method, t):
    counted = Counted(quadratic)
    path = gradient_flow(counted, [1.0, 1.0], t, method=method, rtol=1e-6)
    assert np.allclose(path.final, np.exp(-np.array([3.0, 30.0])), atol=1e-4)
    assert path.n_evaluations == counted.calls
    assert path.method == ("DOP853" if method == "auto" else method)
    if np.ndim(t) == 0:
        assert np.allclose(path(1.7)[0], np.exp(-1.7), atol=1e-4)
    else:
        assert np.allclose(path.states[:, 0], np.exp(-path.t), atol=1e-4)


def test_a_class_of_extensisq_is_a_method():
    for kind in (Ts5, SSV2stab):
        path = gradient_flow(quadratic, [1.0, 1.0], 1.0, method=kind)
        assert path.method == kind.__name__ and path.final[0] == pytest.approx(np.exp(-1), rel=1e-5)


STIFF = np.array([1.0, 1e4])


@pytest.mark.parametrize("method", ["DOP853", "RK45", "SSV2stab", "auto"])
def test_single_precision_is_for_gradient_and_stop_and_as_exact_as_asked(method):
    seen = set()

    def gradient(w):
        seen.add(w.dtype)
        return quadratic(w).astype(w.dtype)

    def stop(w):
        seen.add(w.dtype)
        return w[0] - np.exp(np.float32(-2))

    path = gradient_flow(
        gradient, [1.0, 1.0], 3.0, method=method, rtol=1e-4, stop=stop, single=True
    )
    assert seen == {np.dtype(np.float32)} and path.states.dtype == path(1.0).dtype == float
    assert path.reason == "loss reached" and path.t[-1] == pytest.approx(2, abs=1e-3)
    times = np.linspace(0, path.t[-1], 9)
    assert np.allclose(path(times), np.exp(-np.outer(times, [1, 10])), atol=1e-3)


def test_single_precision_stiff_and_divergent():
    stiff = {"rtol": 1e-4, "method": "auto"}
    single, double = (
        gradient_flow(lambda w: STIFF.astype(w.dtype) * w, [1.0, 1.0], 5.0, single=single, **stiff)
        for single in (True, False)
    )
    assert "SSV2stab" in single.method and single.n_evaluations < 1.5 * double.n_evaluations
    assert single.final[0] == pytest.approx(np.exp(-5), rel=1e-2)
    path = gradient_flow(lambda w: -w * w, [1.0], 2.0, rtol=1e-4, single=True)
    assert path.reason == "diverged" and path.t[-1] == pytest.approx(1, abs=1e-3)


def test_auto_takes_the_stabilized_method_where_stability_limits_the_step():
    path = gradient_flow(lambda w: STIFF * w, [1.0, 1.0], 5.0, rtol=1e-5, method="auto")
    assert path.method.startswith("DOP853, SSV2stab from t = ") and path.method.count(",") == 1
    assert path.final[0] == pytest.approx(np.exp(-5), rel=1e-3)
    change = np.argmin(np.abs(path.t - float(path.method.split(" = ")[1])))
    end = path.t[change] * (1 + 1e-6)  # less time is left than the last step took
    short = gradient_flow(lambda w: STIFF * w, [1.0, 1.0], end, rtol=1e-5, method="auto")
    assert short.t[-1] == end and short.method == path.method
    explicit = gradient_flow(lambda w: STIFF * w, [1.0, 1.0], 5.0, rtol=1e-5)
    assert explicit.n_evaluations > 10 * path.n_evaluations
    # Where accuracy limits the step it stays.
    path = gradient_flow(lambda w: -w, [1.0, 0.1], 300.0, method="auto", rtol=1e-10)
    assert path.method == "DOP853"
    # A tenth of the tolerances is 10^(1/8) times the steps, of order 8, if it can be honoured.
    for rtol, factor in [(1e-10, 10**0.125), (3.3e-13, 10**0.125), (2e-13, 1.0)]:
        auto, plain = (
            gradient_flow(lambda w: -w, [1.0, 0.1], 30.0, method=method, rtol=rtol)
            for method in ("auto", "DOP853")
        )
        assert len(auto) / len(plain) == pytest.approx(factor, rel=0.03)


def test_auto_goes_back_where_the_stabilized_method_is_slower():
    """At a tight tolerance its second order needs more steps than stability asks for."""
    rates = np.array([1.0, 500.0])
    path = gradient_flow(lambda w: rates * w, [1.0, 1.0], 20.0, rtol=1e-9, method="auto")
    assert "SSV2stab" in path.method and ", DOP853 from t = " in path.method
    trials = np.array(re.findall(r"SSV2stab from t = ([\d.]+)", path.method), dtype=float)
    waits = np.diff(trials)  # each time twice as long
    assert len(waits) > 1 and np.all((waits[1:] > 1.6 * waits[:-1]) & (waits[1:] < 3 * waits[:-1]))
    stabilized = gradient_flow(lambda w: rates * w, [1.0, 1.0], 20.0, rtol=1e-9, method="SSV2stab")
    assert path.n_evaluations < stabilized.n_evaluations / 2
    assert path.final[0] == pytest.approx(np.exp(-20), abs=1e-9)


def test_no_asked_time_after_the_stop_is_kept():
    times = np.linspace(0.0, 5.0, 501)
    path = gradient_flow(lambda w: w, [1.0], times, stop=lambda w: w[0] - 0.5)
    assert path.t[-1] == pytest.approx(np.log(2)) and np.all(np.diff(path.t) > 0)
    assert np.array_equal(path.t[:-1], times[times < np.log(2)])
    assert np.allclose(path.states[:, 0], np.exp(-path.t), rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"method": "RK23", "rtol": 1e-13}, {"method": "DOP853"}])
def test_a_wrong_method_or_tolerance_is_said_in_words(wrong):
    """Too small a tolerance for order two, and a stiff problem that "auto" does integrate."""
    options = {"max_evaluations": 1000} | wrong
    text = repr(gradient_flow(lambda w: STIFF * w, [1.0, 1.0], 5.0, **options))
    assert "loosen rtol" in text and "'auto' if stability" in text
    path = gradient_flow(lambda w: STIFF * w, [1.0, 1.0], 5.0, rtol=1e-5, method="auto")
    assert path.reason == "end of time" and "SSV2stab" in path.method


def test_what_a_method_says_of_stiffness_is_a_warning():
    with pytest.warns(UserWarning, match="stiff"):
        gradient_flow(lambda w: STIFF * w, [1.0, 1.0], 2.0, method="Ts5", rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_flow(lambda w: STIFF * w, [1.0, 1.0], 2.0, method="auto", rtol=1e-5)


def test_warnings_of_the_gradient_pass_through():
    def gradient(w):
        warnings.warn("mine", UserWarning, stacklevel=1)
        return w

    for method in ("DOP853", "SSV2stab"):
        with pytest.warns(UserWarning, match="mine"):
            gradient_flow(gradient, [1.0], 0.1, method=method)


def test_evaluations_are_limited_and_said_so():
    for limit in (1, 2, 50, 333):
        counted = Counted(np.sign)
        path = gradient_flow(counted, [1.0, -2.3], 5.0, max_evaluations=limit)
        assert path.reason == "evaluations used up" and "max_evaluations" in repr(path)
        assert counted.calls == path.n_evaluations == limit
        assert np.all(np.isfinite(path.states)) and path.t[-1] < 1.1
    asked = gradient_flow(np.sign, [1.0, -2.3], [0.3, 5.0], max_evaluations=5000)
    assert asked.reason == "evaluations used up" and len(asked) == 2
    assert asked.t[-1] == pytest.approx(1.0, abs=1e-6)  # the last state is kept as well


def test_a_gradient_that_is_nan_is_said_to_be_so():
    def gradient(w):
        return np.where(w < 0.5, np.nan, w)

    with np.errstate(invalid="ignore"):
        for path in (
            gradient_flow(gradient, [1.0], 5.0),
            gradient_flow(gradient, [1.0], [0.1, 5.0]),
            gradient_descent(gradient, [1.0], 0.01, 500),
        ):
            assert path.reason == "gradient is NaN" and "NaN" in repr(path)
            assert path.final[0] == pytest.approx(0.5, abs=0.01)
    # Overflow that ends in inf - inf is divergence.
    steep = gradient_descent(lambda w: w**7 - w**6 * w.sum(), [3.0, 5.0], 1.0, 100)
    assert steep.reason == "diverged"


@pytest.mark.parametrize("method", ["DOP853", "RK45", "Ts5", "SSV2stab"])
def test_a_blow_up_is_reported_by_every_method(method):
    assert gradient_flow(lambda w: -(w**2), 1.0, 2.0, method=method).reason == "diverged"


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_a_blow_up_is_told_from_a_jump(unit):
    """Also where the state itself is close to zero, as at the jump of the sign."""
    for jump in (lambda w: unit * np.sign(w), lambda w: np.where(w < unit / 2, -1e6 * unit, w)):
        path = gradient_flow(jump, [unit], 5.0, method="auto", max_evaluations=20_000)
        assert path.reason in ("step too small", "evaluations used up")
    path = gradient_flow(lambda w: -(w**2) / unit, [unit], 2.0, method="auto")
    assert path.reason == "diverged" and path.t[-1] == pytest.approx(1, abs=1e-3)


def test_a_trajectory_can_be_compared_and_pickled():
    layers = [np.ones((2, 2)), np.full((2, 1), 2.0)]
    for path, other in [
        (gradient_flow(pull, [0.1, 0.2], 5.0), gradient_flow(pull, [0.1, 0.3], 5.0)),
        (gradient_descent(pull, [0.1, 0.2], 0.1, 5), gradient_descent(pull, [0.1, 0.2], 0.1, 6)),
        (
            gradient_flow(lambda w: [w[0], 2 * w[1]], layers, 1.0),
            gradient_flow(lambda w: [w[0], 2 * w[1]], layers, 1.0, rtol=1e-6),
        ),
    ]:
        copy = pickle.loads(pickle.dumps(path))
        assert copy == path and path != other and path != "path"
        time = 0.37 * path.t[-1]
        assert all(np.array_equal(a, b) for a, b in zip(copy(time), path(time), strict=True))
        with pytest.raises(TypeError):
            hash(path)


def test_nested_lists_of_numbers_are_one_array():
    path = gradient_flow(lambda w: w, [[1.0, 0.0], [0.0, 1.0]], 1.0)
    assert path.states.shape[1:] == (2, 2)
    with pytest.raises(ValueError, match="start must be an array of real numbers"):
        gradient_flow(lambda w: w, [[1.0, 0.0], [0.0]], 1.0)


def test_a_stop_that_is_met_twice_within_a_step_is_missed():
    """As the docstring says."""

    def stop(w):
        return (w[0] - 0.5) ** 2 - 1e-6

    assert gradient_flow(lambda w: w, [1.0], 5.0, stop=stop, rtol=1e-3).reason == "end of time"


def test_the_start_is_copied():
    start = np.ones(2)
    path = gradient_descent(quadratic, start, 0.1, 3)
    start[:] = 7
    assert np.array_equal(path[0], [1, 1])


def test_descent_computes_one_gradient_a_step():
    for n_steps in (0, 1, 7):
        counted = Counted(quadratic)
        path = gradient_descent(counted, [1.0, 1.0], 0.01, n_steps)
        assert path.n_evaluations == counted.calls == max(n_steps, 1)


def test_descent_between_its_steps_is_a_polygon():
    path = gradient_descent(quadratic, [1.0, 1.0], 0.05, 4)
    assert np.allclose(path(0.075), (path[1] + path[2]) / 2)
    assert np.allclose(path(path.t), path.states)


def test_lists_of_layers_come_back_as_lists():
    layers = [np.ones((2, 3)), np.full((3, 1), 2.0)]
    path = gradient_flow(lambda w: [w[0], 2 * w[1]], layers, [0.5, 1.0], rtol=1e-12, atol=1e-14)
    assert [layer.shape for layer in path.states] == [(2, 2, 3), (2, 3, 1)]
    assert np.allclose(path.final[1], 2 * np.exp(-2))
    assert len(list(path)) == len(path) == 2
    read = gradient_flow(lambda w: [w[0], 2 * w[1]], layers, 1.0)
    assert [layer.shape for layer in read(0.7)] == [(2, 3), (3, 1)]
    assert [layer.shape for layer in read([0.2, 0.7])] == [(2, 2, 3), (2, 3, 1)]
    for layer in path.final:
        assert layer.base is not layers[0]


def test_a_single_number_is_a_state_too():
    path = gradient_flow(lambda w: w, 3.0, 1.0, rtol=1e-12)
    assert path.states.shape == (len(path),)
    assert path.final == pytest.approx(3 * np.exp(-1), rel=1e-10)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_time_of_the_stop_is_exact_in_any_units(unit):
    path = gradient_flow(lambda w: w / unit, [1.0], 5 * unit, stop=lambda w: w[0] - 0.5, rtol=1e-12)
    assert path.t[-1] == pytest.approx(np.log(2) * unit, rel=1e-10, abs=0)


@pytest.mark.parametrize("times", [5.0, [1.0, 5.0]])
def test_flow_stops_where_the_loss_is_reached(times):
    path = gradient_flow(
        quadratic, [1.0, 0.0], times, rtol=1e-12, atol=1e-14, stop=lambda w: w[0] - 0.5
    )
    assert path.reason == "loss reached"
    assert path.t[-1] == pytest.approx(np.log(2), abs=1e-8)
    assert path.final[0] == pytest.approx(0.5, abs=1e-8)


def test_a_start_that_has_reached_the_loss_stays():
    for run in (
        gradient_flow(quadratic, [0.1, 0.0], 5.0, stop=lambda w: w[0] - 0.5),
        gradient_descent(quadratic, [0.1, 0.0], 0.1, 5, stop=lambda w: w[0] - 0.5),
    ):
        assert (run.reason, len(run), run.t[-1]) == ("loss reached", 1, 0)
        assert np.array_equal(run(0.0), [0.1, 0.0])


def test_descent_stops_at_the_first_step_that_reaches_the_loss():
    path = gradient_descent(quadratic, [1.0, 0.0], 0.1, 50, stop=lambda w: w[0] - 0.5, every=4)
    assert path.reason == "loss reached"
    assert path.final[0] == pytest.approx(0.9**7) and len(path) == 3


def test_divergence_of_descent_is_reported_and_no_broken_number_kept():
    path = gradient_descent(lambda w: w**3, 5.0, 1.0, 100)
    assert path.reason == "diverged" and "DIVERGED" in repr(path)
    assert np.all(np.isfinite(path.states)) and len(path) < 100


@pytest.mark.parametrize("times", [2.0, [0.1, 0.2, 2.0], [1.5, 2.0]])
def test_blow_up_of_a_flow_is_reported(times):
    path = gradient_flow(lambda w: -(w**2), 1.0, times)  # 1/(1 - t)
    assert path.reason == "diverged" and "DIVERGED" in repr(path)
    assert path.t[-1] < 1.001 and np.all(np.isfinite(path.states))


def test_the_text_form_says_how_it_ended():
    assert "end of time" in repr(gradient_descent(quadratic, [1.0, 1.0], 0.01, 3))


def test_every_keeps_first_and_last():
    path = gradient_descent(quadratic, [1.0, 1.0], 0.01, 10, every=4)
    assert np.allclose(path.t, [0, 0.04, 0.08, 0.10])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"start": [np.nan, 1.0]}, "start"),
        ({"start": []}, "start"),
        ({"start": [np.ones(2), np.array([np.inf])]}, r"start\[1\]"),
        ({"t": -1.0}, "t must"),
        ({"t": [1.0, 0.5]}, "t must"),
        ({"t": 0.0}, "t must"),
        ({"t": np.nan}, "t has"),
        ({"rtol": 0.0}, "rtol"),
        ({"rtol": 1e-15}, "rtol"),
        ({"rtol": 0.5}, "rtol"),
        ({"rtol": 1e-6, "single": True}, "rtol must be at least 1.19209e-05"),
        ({"atol": -1.0}, "atol"),
        ({"method": "Euler"}, "method must"),
        ({"method": "OdeSolver"}, "method must"),
        ({"method": dict}, "method must"),
        ({"max_evaluations": 0}, "max_evaluations"),
        ({"max_evaluations": np.inf}, "max_evaluations"),
        ({"start": [1.0 + 0j, 1.0]}, "start must be an array of real"),
        ({"start": ["1", "2"]}, "start must be an array of real"),
        ({"start": [10**400, 1]}, "start must be an array of real"),
        ({"start": np.ma.masked_array([1.0, 2.0], [True, False])}, "or masked"),
        ({"gradient": lambda w: w[:1]}, "gradient must"),
        ({"gradient": lambda w: w * np.nan}, "gradient at the start has"),
    ],
)
def test_bad_input_to_a_flow_is_named(change, message):
    arguments = {"gradient": quadratic, "start": [1.0, 1.0], "t": 1.0} | change
    with pytest.raises(ValueError, match=message):
        gradient_flow(**arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step": 0.0}, "step"),
        ({"step": np.inf}, "step"),
        ({"n_steps": 1.5}, "n_steps"),
        ({"n_steps": -1}, "n_steps"),
        ({"every": 0}, "every"),
        ({"start": "abc"}, "start"),
        ({"gradient": lambda w: [w]}, "gradient"),
    ],
)
def test_bad_input_to_descent_is_named(change, message):
    arguments = {"gradient": quadratic, "start": [1.0, 1.0], "step": 0.1, "n_steps": 5} | change
    with pytest.raises(ValueError, match=message):
        gradient_descent(**arguments)


def test_times_outside_a_trajectory_are_refused():
    path = gradient_flow(quadratic, [1.0, 1.0], 1.0)
    for time in (-0.1, 1.1):
        with pytest.raises(ValueError, match="t must "):
            path(time)
