"""The table of activations: derivatives, homogeneity and smoothness are what it says."""

import math

import numpy as np
import pytest

from overparam import activations

# No point is a kink, and none lies within the step of a difference from one.
POINTS = np.array([-40.0, -3.0, -0.7, -0.01, 0.02, 0.6, 2.0, 40.0])
NAMES = list(activations.ACTIVATIONS)


def functions(name):
    """Return the activation of that name, its value and its slope."""
    sigma = activations.ACTIVATIONS[name]
    return sigma, lambda z: sigma.evaluate(z)[0], lambda z: sigma.evaluate(z)[1]


def difference(f, z, h):
    """Central difference of order four: its error is h⁴ times a fifth derivative."""
    return (8 * (f(z + h) - f(z - h)) - (f(z + 2 * h) - f(z - 2 * h))) / (12 * h)


def test_values_are_those_that_the_names_stand_for():
    by_hand = {
        "relu": lambda z: max(z, 0),
        "squared relu": lambda z: max(z, 0) ** 2,
        "tanh": lambda z: 1 - 2 / (1 + math.exp(2 * z)),
        "erf": math.erf,
        "softplus": lambda z: math.log(1 + math.exp(z)),
    }
    assert list(by_hand) == NAMES
    for name, value in by_hand.items():
        expected = [value(z) for z in POINTS]
        assert np.allclose(activations.ACTIVATIONS[name].evaluate(POINTS)[0], expected, rtol=1e-12)
    for name in ("relu", "squared relu"):
        assert (
            activations.ACTIVATIONS[name].evaluate(np.zeros(1))[1] == 0
        )  # at the kink, from the left


@pytest.mark.parametrize("name", NAMES)
def test_slope_and_bend_are_derivatives(name):
    sigma, value, slope = functions(name)
    for z in POINTS:
        assert slope(z) == pytest.approx(difference(value, z, 1e-3), abs=1e-9)
        if sigma.bend is not None:
            assert sigma.bend(z) == pytest.approx(difference(slope, z, 1e-3), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_homogeneity_is_that_of_the_values_and_of_no_other_power(name):
    sigma, value, slope = functions(name)
    z = np.array([-2.0, -0.3, 0.4, 3.0])
    powers = [p for p in range(5) if np.allclose(value(1.7 * z), 1.7**p * value(z))]
    assert powers == ([] if sigma.homogeneity is None else [sigma.homogeneity])


@pytest.mark.parametrize("name", NAMES)
def test_smooth_means_that_the_slope_is_lipschitz(name):
    sigma, value, slope = functions(name)
    z = np.linspace(-3, 3, 60_001)
    steepest = np.abs(np.diff(slope(z)) / np.diff(z)).max()
    assert (steepest < 10) == sigma.smooth
    if sigma.bend is not None:
        assert sigma.smooth and np.abs(sigma.bend(z)).max() <= 2 + 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_any_shape_stay_so_and_far_values_are_finite(name):
    sigma = activations.ACTIVATIONS[name]
    for shape in [(), (3,), (2, 0), (2, 3, 4)]:
        value, slope = sigma.evaluate(np.ones(shape))
        assert np.shape(value) == np.shape(slope) == shape
        assert sigma.bend is None or np.shape(sigma.bend(np.ones(shape))) == shape
    far = np.array([-1e100, -800.0, 800.0, 1e100])
    with np.errstate(over="raise", invalid="raise"):
        parts = [*sigma.evaluate(far), *([] if sigma.bend is None else [sigma.bend(far)])]
    assert all(np.all(np.isfinite(part)) for part in parts)


def test_your_own_activation_passes_and_a_wrong_name_is_refused():
    cubic = activations.Activation(lambda z: (z**3, 3 * z**2), smooth=False, homogeneity=3)
    assert activations.named(cubic) is cubic and cubic.evaluate(2.0) == (8, 12)
    for wrong in ("sin", None, np.tanh, ["relu"]):
        with pytest.raises(ValueError, match="activation must be one of .*relu"):
            activations.named(wrong)
