r"""One table of activations: value, slope, second derivative, homogeneity, smoothness."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit


@dataclass(frozen=True)
class Activation:
    r"""An activation :math:`\sigma:\mathbb R\to\mathbb R`, applied to each entry of an array.

    Attributes
    ----------
    evaluate : callable
        Maps z to the pair :math:`(\sigma(z),\sigma'(z))`, so that nothing is computed twice. At a
        kink the slope is that from the left.
    smooth : bool
        Whether :math:`\sigma'` is Lipschitz. The gradient flow of a network needs it: without it
        the flow need not be unique, and an integrator's estimate of its error means nothing.
    bend : callable or None
        Maps z to :math:`\sigma''(z)`; None where it does not exist everywhere.
    homogeneity : int or None
        The p with :math:`\sigma(cz)=c^p\sigma(z)` for all c > 0, if there is one.

    Examples
    --------
    >>> from overparam import activations
    >>> tanh = activations.named("tanh")
    >>> value, slope = tanh.evaluate(0.5)
    >>> print(f"{value:.4f} {slope:.4f} {tanh.bend(0.5):.4f}")
    0.4621 0.7864 -0.7269
    """

    evaluate: Callable
    smooth: bool
    bend: Callable | None = None
    homogeneity: int | None = None


def _relu(z):
    slope = np.asarray(z > 0, dtype=float)
    return z * slope, slope  # cheaper than np.maximum


def _squared_relu(z):
    positive = np.maximum(z, 0.0)
    return positive * positive, 2 * positive


def _tanh(z):
    value = np.tanh(z)
    return value, 1 - value * value


def _erf(z):
    return erf(z), 2 / np.sqrt(np.pi) * np.exp(-z * z)


ACTIVATIONS = {
    "relu": Activation(_relu, smooth=False, homogeneity=1),
    "squared relu": Activation(_squared_relu, smooth=True, homogeneity=2),
    "tanh": Activation(_tanh, True, lambda z: -2 * np.tanh(z) * _tanh(z)[1]),
    "erf": Activation(_erf, True, lambda z: -2 * z * _erf(z)[1]),
    "softplus": Activation(
        lambda z: (np.logaddexp(0, z), expit(z)), True, lambda z: expit(z) * expit(-z)
    ),
}


def named(activation: str | Activation) -> Activation:
    """Return the activation of that name; an `Activation` of your own passes through.

    Parameters
    ----------
    activation : str or Activation
        A key of `ACTIVATIONS`, or an `Activation`.

    Raises
    ------
    ValueError
        For any other name or object.

    Examples
    --------
    >>> from overparam import activations
    >>> activations.named("relu").homogeneity
    1
    >>> sorted(name for name, a in activations.ACTIVATIONS.items() if not a.smooth)
    ['relu']
    """
    known = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
    if not isinstance(known, Activation):
        names = sorted(ACTIVATIONS)
        raise ValueError(f"activation must be one of {names} or an Activation, got {activation!r}")
    return known
