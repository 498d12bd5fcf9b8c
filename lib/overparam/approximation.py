r"""Approximation by superpositions of sigmoids (chapter "How many neurons?").

A real function with the Fourier representation
:math:`f(x)=\int\cos(\omega\cdot x+\theta(\omega))\,F(d\omega)` on a bounded set B that contains 0
has the constant :math:`C=\int|\omega|_B\,F(d\omega)`, where
:math:`|\omega|_B=\sup_{x\in B}|\omega\cdot x|` (Barron 1993; Smith 2022, 7).

Letters: C is Barron's constant (`constant`), :math:`a=|\omega|_B`, :math:`\alpha=\omega/a`,
:math:`z=\alpha\cdot x\in[-1,1]`, and
:math:`f_n(x)=c_0+\sum_kc_k\,\phi(a_k\cdot x+b_k)` is a network of n neurons. A sigmoid is a
bounded function with `limits` (0, 1) or (-1, 1) at minus and plus infinity.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import poch, wofz

from overparam import _check

LARGE = 10**6  # dimension from which the length of a normal vector is normal, to single precision
LIMITS = [(0, 1), (-1, 1)]
FAR = 1e8  # where a sigmoid must have come within `NEAR` of its limits
NEAR = 1e-3


class Target(NamedTuple):
    """A function with a known Fourier representation, seen from a region B around zero.

    `value(x)` for x of shape (N, d); `constant` is C; `at_zero` is f(0); `centre` is the integral
    of cos(theta) cos(a), the constant term of the sigmoids with limits -1 and 1; `draw(n, rng)`
    returns n directions alpha, norms a and phases theta from the law a F / C.
    """

    dimension: int
    value: Callable[[ArrayLike], NDArray]
    constant: float
    at_zero: float
    centre: float
    draw: Callable[[int, np.random.Generator], tuple[NDArray, NDArray, NDArray]]


class Network(NamedTuple):
    """c_0 + sum of c_k phi(a_k·x + b_k): `constant`, `coefficients`, `weights`, `biases`."""

    weights: NDArray
    biases: NDArray
    coefficients: NDArray
    constant: float
    limits: tuple[int, int]


def region_norm(frequencies: ArrayLike, region: str = "ball", radius: float = 1.0) -> NDArray:
    r"""Return :math:`|\omega|_B` for each row of `frequencies`.

    :math:`r|\omega|_2` for the ball of radius r and :math:`r|\omega|_1` for the cube
    :math:`[-r,r]^d`.

    Parameters
    ----------
    frequencies : matrix, shape (J, d)
    region : str
        "ball" or "cube".
    radius : float
        r, positive.

    Examples
    --------
    >>> from overparam import approximation
    >>> approximation.region_norm([[3.0, 4.0]]), approximation.region_norm([[3.0, 4.0]], "cube")
    (array([5.]), array([7.]))
    """
    frequencies = _check.matrix("frequencies", frequencies)
    if region not in ("ball", "cube"):
        raise ValueError(f"region must be 'ball' or 'cube', got {region!r}")
    radius = _check.number("radius", radius, 0, strict=True)
    return radius * np.linalg.norm(frequencies, ord=2 if region == "ball" else 1, axis=1)


def gaussian_constant(d: int) -> float:
    r"""Return :math:`\sqrt2\,\Gamma(\frac{d+1}2)/\Gamma(\frac d2)\le\sqrt d`.

    Barron's constant :math:`\int|\omega|F(d\omega)` of :math:`e^{-|x|^2/2}` in dimension d
    (Smith 2022, 7): the mean length of a standard normal vector.

    Examples
    --------
    >>> from overparam import approximation
    >>> print(f"{approximation.gaussian_constant(2):.4f}")  # the root of pi/2
    1.2533
    """
    return float(np.sqrt(2) * poch(_check.count("d", d) / 2, 0.5))


def _mean_cosine(radius, d):
    """Return the mean of cos(r|ω|) for a standard normal ω in dimension d, 1F1(d/2, ½, -r²/2)."""
    if d > LARGE:  # |ω| is normal with mean sqrt(d - ½) and variance ½, up to 1/sqrt(d)
        return np.cos(radius * np.sqrt(d - 0.5)) * np.exp(-(radius**2) / 4)
    # An integral with a cosine as its weight: the series of 1F1 cancels for large arguments.
    ends = max(0.0, np.sqrt(d) - 9), np.sqrt(d) + 9
    return quad(stats.chi(d).pdf, *ends, weight="cos", wvar=radius, limit=500)[0]


def cosines(
    frequencies: ArrayLike, amplitudes: ArrayLike = 1.0, phases: ArrayLike = 0.0,
    region: str = "ball", radius: float = 1.0,
) -> Target:
    r"""Return the target :math:`\sum_jA_j\cos(\omega_j\cdot x+\theta_j)`.

    Its constant is :math:`\sum_j|A_j||\omega_j|_B`, an upper bound of Barron's if two of the
    frequencies agree up to sign.

    Parameters
    ----------
    frequencies : array_like, shape (J, d), not all zero
    amplitudes, phases : array_like, broadcast to shape (J,)
    region, radius : see `region_norm`

    Returns
    -------
    Target

    Examples
    --------
    >>> from overparam import approximation
    >>> wave = approximation.cosines([[3.0, 4.0]], amplitudes=2.0)
    >>> wave.constant, wave.value([[0.0, 0.0]])
    (10.0, array([2.]))
    """
    frequencies = _check.matrix("frequencies", frequencies)
    n_terms, d = frequencies.shape
    amplitudes = _for_each("amplitudes", amplitudes, n_terms)
    phases = _for_each("phases", phases, n_terms)
    a = region_norm(frequencies, region, radius)
    mass = np.abs(amplitudes) * a
    constant = mass.sum()
    if constant == 0:
        raise ValueError(
            "frequencies and amplitudes describe a constant, which needs no neuron; "
            "give one term with a frequency and an amplitude that are not zero"
        )
    theta = phases + np.where(amplitudes < 0, np.pi, 0.0)  # a negative magnitude is a phase
    alpha = frequencies / np.where(a > 0, a, 1.0)[:, None]

    def value(x):
        return np.cos(_points(x, d) @ frequencies.T + phases) @ amplitudes

    def draw(n, rng):
        j = rng.choice(n_terms, size=n, p=mass / constant)
        return alpha[j], a[j], theta[j]

    at_zero = np.cos(phases) @ amplitudes
    centre = (np.cos(phases) * np.cos(a)) @ amplitudes
    return Target(d, value, float(constant), float(at_zero), float(centre), draw)


def gaussian(d: int, region: str = "ball", radius: float = 1.0) -> Target:
    r"""Return the target :math:`e^{-|x|^2/2}` in dimension d.

    Its magnitude distribution F is the standard normal one. The constant is r times
    `gaussian_constant` on the ball of radius r and :math:`rd\sqrt{2/\pi}` on the cube.

    Parameters
    ----------
    d : int
        The dimension.
    region, radius : see `region_norm`

    Examples
    --------
    >>> from overparam import approximation
    >>> print(f"{approximation.gaussian(2, radius=3.0).constant:.4f}")
    3.7599
    """
    d = _check.count("d", d)
    radius = region_norm([[1.0]], region, radius)[0]  # which checks both
    if region == "ball":
        constant = radius * gaussian_constant(d)
        centre = _mean_cosine(radius, d)
    else:
        constant = radius * d * np.sqrt(2 / np.pi)
        centre = (wofz(radius / np.sqrt(2)) ** d).real  # mean of cos(r|omega|_1)

    def value(x):
        return np.exp(-(np.square(_points(x, d)).sum(axis=1)) / 2)

    def draw(n, rng):
        omega = rng.standard_normal((n, d))
        if region == "ball":  # |omega| F has a radius with d + 1 degrees of freedom
            length = np.sqrt(rng.chisquare(d + 1, n))
            omega *= (length / np.linalg.norm(omega, axis=1))[:, None]
        else:  # |omega|_1 F is a mixture: one coordinate has the density |w| exp(-w²/2) / 2
            j = rng.integers(d, size=n)
            omega[np.arange(n), j] = rng.rayleigh(size=n) * rng.choice([-1, 1], n)
        a = region_norm(omega, region, radius)
        return omega / a[:, None], a, np.zeros(n)

    return Target(d, value, float(constant), 1.0, float(centre), draw)


def sample_network(
    target: Target, n: int, rng: np.random.Generator, limits: tuple[int, int] = (0, 1)
) -> Network:
    r"""Return a network of n neurons drawn from the Fourier representation of `target`.

    Draw :math:`(\omega,\theta)` from :math:`|\omega|_BF/C` and t uniformly from [-1, 1]. For the
    `limits` (0, 1) the mean of :math:`-2C\sin(at+\theta)\,[1(0\le t<z)-1(z<t<0)]` is f(x) - f(0);
    for (-1, 1) the mean of :math:`-C\sin(at+\theta)\,\mathrm{sgn}(z-t)` is f(x) minus
    ``target.centre``. A network is the average of n draws (Maurey's sampling), so that

    * (0, 1): :math:`c_0=f(0)`, :math:`\sum|c_k|\le2C`, expected squared error at most
      :math:`2C^2/n\le(2C)^2/n`;
    * (-1, 1): :math:`|c_0-f(0)|\le C`, :math:`\sum|c_k|\le C`, at most :math:`C^2/n`;

    for every probability measure on B. In both cases :math:`|b_k|\le|a_k|_B=1`.

    Parameters
    ----------
    target : Target
    n : int
        The number of neurons.
    rng : numpy.random.Generator
    limits : tuple
        Those of the sigmoids, (0, 1) or (-1, 1).

    Returns
    -------
    Network

    Examples
    --------
    >>> from overparam import approximation
    >>> import numpy as np
    >>> wave = approximation.cosines([[3.0]])
    >>> net = approximation.sample_network(wave, 10_000, np.random.default_rng(0), (-1, 1))
    >>> print(f"{approximation.evaluate(net, [[1.0]])[0]:.1f} {np.cos(3.0):.1f}")
    -1.0 -1.0
    """
    n, rng, limits = _check.count("n", n), _check.generator("rng", rng), _limits(limits)
    alpha, a, theta = target.draw(n, rng)
    t = rng.uniform(-1, 1, n)
    slope = -target.constant * np.sin(a * t + theta) / n
    if limits == (-1, 1):
        return Network(alpha, -t, slope, target.centre, limits)
    side = np.where(t < 0, -1.0, 1.0)
    return Network(side[:, None] * alpha, -np.abs(t), 2 * side * slope, target.at_zero, limits)


def evaluate(
    network: Network, x: ArrayLike, activation: Callable[[NDArray], NDArray] | None = None,
    sharpness: float | None = None,
) -> NDArray:
    r"""Return :math:`c_0+\sum_kc_k\phi(\tau(a_k\cdot x+b_k))` at the rows of x.

    Parameters
    ----------
    network : Network
    x : array_like, shape (N, d)
    activation : callable, optional
        A sigmoid with the network's limits, such as `scipy.special.expit` for (0, 1) or
        `numpy.tanh` for (-1, 1). The default is the step between the limits.
    sharpness : float, optional
        The factor :math:`\tau>0`; needed with an activation.

    Raises
    ------
    ValueError
        If x has another dimension than the network, or the activation is no sigmoid with these
        limits (see `check_sigmoidal`).

    Examples
    --------
    >>> from overparam import approximation
    >>> import numpy as np
    >>> one = approximation.Network(np.eye(1), np.zeros(1), np.array([2.0]), 1.0, (-1, 1))
    >>> approximation.evaluate(one, [[0.3], [-0.3]])  # 1 + 2 sgn x
    array([ 3., -1.])
    """
    z = _points(x, network.weights.shape[1]) @ network.weights.T + network.biases
    low, high = network.limits
    if activation is None:
        values = np.where(z >= 0, float(high), float(low))
    else:
        check_sigmoidal(activation, network.limits)
        if sharpness is None:
            raise ValueError("sharpness must be given with an activation, for example 100")
        values = activation(_check.number("sharpness", sharpness, 0, strict=True) * z)
    return network.constant + values @ network.coefficients


def check_sigmoidal(
    activation: Callable[[NDArray], NDArray], limits: tuple[int, int] = (0, 1)
) -> None:
    """Raise a ValueError if `activation` has not the `limits`, as far as a computer can tell.

    It is evaluated on a grid from -1e8 to 1e8; both ends must be within 1e-3 of the limits, and
    nothing may be NaN or infinite. Smoothness and monotonicity are not needed.

    Examples
    --------
    >>> from overparam import approximation
    >>> import numpy as np
    >>> approximation.check_sigmoidal(np.tanh, (-1, 1))
    """
    low, high = _limits(limits)
    if not callable(activation):
        raise ValueError(f"activation must be a function, got {activation!r:.80}")
    far = np.geomspace(1e6, FAR, 41)
    z = np.concatenate([-far, np.linspace(-50, 50, 1001), far])
    values = np.asarray(activation(z), dtype=float)
    if values.shape != z.shape:
        raise ValueError("activation must map an array to an array of the same shape")
    if not np.isfinite(values).all():
        raise ValueError("activation has values that are NaN or infinite; a sigmoid is bounded")
    if np.abs(values[:41] - low).max() > NEAR or np.abs(values[-41:] - high).max() > NEAR:
        raise ValueError(
            f"activation is no sigmoid with the limits {low} and {high}: it has "
            f"{values[40]:.4g} at {-FAR:.0e} and {values[-1]:.4g} at {FAR:.0e}"
        )


def range_error(values: ArrayLike, length: float) -> float:
    r"""Return the least root mean square distance of `values` to numbers that span `length`.

    No function whose values lie in an interval of this length is nearer. A network with
    activations between 0 and 1 and :math:`\sum|c_k|\le C` is such a function, of length C.

    Examples
    --------
    >>> from overparam import approximation
    >>> print(f"{approximation.range_error([0.0, 2.0], 1.0):.4f}")  # both are off by a half
    0.5000
    """
    values = _check.finite_array("values", values, ndim=1)
    length = _check.number("length", length, 0)
    low, span = values.min(), np.ptp(values)
    if span <= length:
        return 0.0
    values, width = (values - low) / span, length / span  # the solver's tolerance is absolute

    def squared(m):  # convex in m
        return np.mean((values - np.clip(values, m, m + width)) ** 2)

    bounds, options = (0, 1 - width), {"xatol": 1e-10}
    found = minimize_scalar(squared, bounds=bounds, method="bounded", options=options)
    return float(span * np.sqrt(found.fun))


def lattice_count(m: int, d: int) -> int:
    r"""Return the number of :math:`k\in\mathbb Z^d` with :math:`|k|_1\le m` (an exact int).

    Examples
    --------
    >>> from overparam import approximation
    >>> approximation.lattice_count(1, 3)  # zero and the six neighbours
    7
    """
    m, d = _check.count("m", m, 0), _check.count("d", d)
    return sum(2**j * comb(d, j) * comb(m, j) for j in range(min(m, d) + 1))


def fourier_basis_error(n: int, d: int) -> float:
    r"""Return the worst error of the n trigonometric functions of lowest frequency.

    Over all single cosines and sines of :math:`2\pi k\cdot x` with constant C = 1 on the cube
    :math:`[-\frac12,\frac12]^d`, in the uniform measure. It is exact:
    :math:`1/(\sqrt2\pi m)`, where m is the least :math:`|k|_1` that has been left out.

    Examples
    --------
    >>> from overparam import approximation
    >>> print(f"{approximation.fourier_basis_error(1, 3):.4f}")  # m = 1 is left out
    0.2251
    """
    return float(1 / (np.sqrt(2) * np.pi * _left_out(n, d)))


def fixed_basis_bound(n: int, d: int) -> float:
    r"""Return a lower bound of the same worst error for *every* choice of n fixed functions.

    :math:`\max_J\big((J-n)/\sum_{j\le J}s_j^{-2}\big)^{1/2}` for the lengths
    :math:`s_j=1/(\sqrt2\pi|k_j|_1)` of the members of the class in decreasing order.

    Examples
    --------
    >>> from overparam import approximation
    >>> print(f"{approximation.fixed_basis_bound(1, 3):.4f}")
    0.2251
    """
    # The members are waves, |k|_1 = 1, 2, …; the maximum is at the end of one of these shells.
    m = np.arange(1, 4 * _left_out(n, d) + 1)
    counts = np.array([lattice_count(i, d) for i in m.tolist()], dtype=float)
    shells = np.diff(counts, prepend=1.0)
    return float(np.sqrt(np.max((counts - n) / np.cumsum(shells * 2 * (np.pi * m) ** 2))))


def risk_constant(penalty: float, width: float) -> float:
    r"""Return :math:`\gamma=(3\lambda+b^2)/(3\lambda-5b^2)` (Smith 2022, 8, Theorem 2).

    Raises
    ------
    ValueError
        Unless :math:`\lambda>5b^2/3` for the `penalty` :math:`\lambda` and the `width` b of the
        interval that holds the data and all candidates.

    Examples
    --------
    >>> from overparam import approximation
    >>> approximation.risk_constant(2.0, 1.0)
    7.0
    """
    width = _check.number("width", width, 0, strict=True)
    penalty = _check.number("penalty", penalty)
    if 3 * penalty <= 5 * width**2:
        raise ValueError(
            f"penalty must be greater than 5 width²/3 = {5 * width**2 / 3:g}, got {penalty:g}"
        )
    return (3 * penalty + width**2) / (3 * penalty - 5 * width**2)


def _left_out(n, d):
    """Return the least |k|_1 of which n functions of lowest frequency leave one out."""
    n, high = _check.count("n", n), 1
    while lattice_count(high, d) <= n:
        high *= 2
    return bisect_right(range(high), n, lo=1, key=lambda m: lattice_count(m, d))


def _for_each(name, value, n_terms):
    value = _check.finite_array(name, value)
    if value.shape not in [(), (1,), (n_terms,)]:
        raise ValueError(f"{name} must have one entry a frequency: {n_terms}, got {value.shape}")
    return np.broadcast_to(value, (n_terms,))


def _points(x, d):
    x = _check.matrix("x", x)
    if x.shape[1] != d:
        raise ValueError(f"x must have {d} columns, one for each variable, got shape {x.shape}")
    return x


def _limits(limits):
    if tuple(limits) not in LIMITS:
        raise ValueError(f"limits must be (0, 1) or (-1, 1), got {limits!r}")
    return tuple(limits)
