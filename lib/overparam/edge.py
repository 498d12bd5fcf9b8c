r"""The edge of stability (chapter "The edge of stability").

Descent with step η on :math:`\tfrac12(y-w_1\cdots w_L)^2`, mostly with two weights u, v. Letters:
x = uv, e = y - x, :math:`s=u^2+v^2`, :math:`d=u^2-v^2`; φ is the sharpness, the largest
eigenvalue of the Hessian at a minimum. Arrays for u, v are many starts at once. A hidden layer of
width k between numbers descends like the two weights of `steps.two_weights`.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import lambertw

from overparam import _check, networks


def descend(u: ArrayLike, v: ArrayLike, y: float, eta: float, n_steps: int) -> tuple:
    """Return u and v after `n_steps` steps of descent on ½(y - uv)², for arrays of starts.

    What grows beyond 1e100 is set to infinity and stays there.

    Parameters
    ----------
    u, v : array_like
        Two weights, or arrays of the same shape with many starts.
    y : float
    eta : float
        The step, greater than 0.
    n_steps : int
        At least 0.

    Examples
    --------
    >>> u, v = descend([1.5, 4.0], [0.5, 0.5], 1.0, 0.4, 200)
    >>> print(np.round(u * v, 6))
    [ 1. inf]
    """
    u, v, y, eta = _arguments(u, v, y, eta)
    u, v = (np.array(x, dtype=float) for x in np.broadcast_arrays(u, v))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_check.count("n_steps", n_steps, 0)):
            pull = eta * (y - u * v)
            u, v = u + pull * v, v + pull * u
            lost = ~((np.abs(u) < 1e100) & (np.abs(v) < 1e100))
            u, v = np.where(lost, np.inf, u), np.where(lost, np.inf, v)
    return u, v


def ellipse(u: ArrayLike, v: ArrayLike, y: float, eta: float) -> np.ndarray:
    r"""Return :math:`H=\eta s+\eta^2ye-4`, which one step multiplies by :math:`1-\eta^2ex`.

    For :math:`0<\eta|y|<2`, H < 0 is the inside of an ellipse in the (u, v) plane, and no orbit
    crosses it.

    Parameters
    ----------
    u, v : array_like
    y : float
    eta : float
        The step, greater than 0.

    Examples
    --------
    >>> print(f"{ellipse(2.0, 1.0, 1.0, 0.5):.2f}")
    -1.75
    """
    u, v, y, eta = _arguments(u, v, y, eta)
    return eta * (u**2 + v**2) + eta**2 * y * (y - u * v) - 4


def critical_step(u: ArrayLike, v: ArrayLike, y: float) -> np.ndarray:
    r"""Return :math:`\eta^*=\min\{1/|y|,\ 8/(s+\sqrt{s^2+16ye})\}`.

    Below it the start lies inside the ellipse and stable minima exist; above it one of the two
    fails. Infinite for u = v = y = 0.

    Parameters
    ----------
    u, v : array_like
        The weights.
    y : float
        The target.

    Examples
    --------
    >>> print(f"{critical_step(3.0, 1.0, 1.0):.4f}")
    0.4384
    """
    u, v, y, _ = _arguments(u, v, y, 1.0)
    s = u**2 + v**2
    # s² + 16ye = (s - 4y)² + 8y(s - 2x) = (s + 4y)² - 8y(s + 2x): one of the two is a sum.
    root = np.sqrt((s - 4 * abs(y)) ** 2 + 8 * abs(y) * (u - np.copysign(1.0, y) * v) ** 2)
    with np.errstate(divide="ignore"):
        return np.minimum(np.divide(8.0, s + root), np.divide(1.0, abs(y)))


def flow_sharpness(w: ArrayLike, y: float) -> float:
    r"""Return the sharpness of the minimum with the differences :math:`w_i^2-w_j^2` of `w`.

    At the one point (up to signs) with these differences and :math:`|\prod w_l|=|y|` it is
    :math:`\sum_l\prod_{i\ne l}w_i^2`, for y ≠ 0 :math:`y^2\sum_lw_l^{-2}`; for two weights
    :math:`\sqrt{d^2+4y^2}`. The flow from `w` ends there unless :math:`y\prod_lw_l\le0` with
    the smallest \|w\| tied.

    Parameters
    ----------
    w : array_like, shape (L,)
        At least two weights.
    y : float

    Examples
    --------
    >>> print(f"{flow_sharpness([2.0, 1.0], 2.0):.4f} {flow_sharpness([1.0, 1.0, 1.0], 8.0):.4f}")
    5.0000 48.0000
    """
    w, y = _check.finite_array("w", w, ndim=1), _check.number("y", y)
    if len(w) < 2:
        raise ValueError(f"w must hold at least two weights, got {len(w)}")
    squares = networks.layer_scales(y, -np.diff(w**2)) ** 2
    before = np.cumprod(np.append(1.0, squares[:-1]))
    behind = np.cumprod(np.append(1.0, squares[:0:-1]))[::-1]
    return float(before @ behind)


def planar_step(z: ArrayLike, H: ArrayLike, eta_y: float) -> tuple:
    r"""Return (z, H) after one step of descent, :math:`z=\eta e`, H from `ellipse`.

    :math:`z^+=z(z^2-3-H)`, :math:`H^+=H(1-\eta y\,z+z^2)`: descent for any width.

    Parameters
    ----------
    z : array_like
        The error in units of the step.
    H : array_like
        The number of `ellipse`.
    eta_y : float
        Target times step.

    Examples
    --------
    >>> z, H = planar_step(-0.5, -1.75, 0.5)
    >>> print(f"{z:.4f} {H:.4f}")
    0.5000 -2.6250
    """
    z, H = _check.finite_array("z", z), _check.finite_array("H", H)
    eta_y = _check.number("eta_y", eta_y)
    return z * (z**2 - 3 - H), H * (1 - eta_y * z + z**2)


def boundary_exponent(eta_y: float) -> float:
    r"""Return how fast orbits leave the ellipse on average: the transverse Lyapunov exponent.

    The mean of :math:`\log|1-\eta y\,z+z^2|` for :math:`z=-2\cos\theta`, θ uniform, which is
    :math:`2\log|w|`, w the larger root of :math:`w^2-e^{i\psi}w+1=0`, :math:`\eta y=2\cos\psi`.

    Examples
    --------
    >>> print(f"{np.exp(boundary_exponent(0.0) / 2):.6f}")
    1.618034
    """
    eta_y = _check.number("eta_y", eta_y, 0)
    if eta_y > 2:
        raise ValueError(f"eta_y must be at most 2, where the ellipse ends, got {eta_y:g}")
    turn = np.exp(1j * np.arccos(eta_y / 2))
    root = np.sqrt(turn**2 - 4)
    return float(2 * np.log(max(abs(turn + root), abs(turn - root)) / 2))


def two_cycle(eta_y: float) -> tuple[np.ndarray, float, float]:
    r"""Return the balanced cycle of period two and its multipliers over two steps.

    Parameters
    ----------
    eta_y : float
        :math:`\eta y\ge1`.

    Returns
    -------
    products : ndarray, shape (2,)
        The two values of x/y, the larger first.
    along, across : float
        :math:`9-2(1+\eta y)^2` in the direction u = v, :math:`3-2\eta y` across it. The cycle is
        linearly stable if both are smaller than 1 in modulus: for :math:`1<\eta y<\sqrt5-1`.

    Raises
    ------
    ValueError
        For :math:`\eta y<1`, where there is no such cycle.

    Examples
    --------
    >>> products, along, across = two_cycle(1.1)
    >>> print(np.round(products, 4), f"{along:.2f} {across:.2f}")
    [1.2456 0.6635] 0.18 0.80
    """
    eta_y = _check.number("eta_y", eta_y)
    if eta_y < 1:
        raise ValueError(f"eta_y must be at least 1 for a cycle of period two, got {eta_y:g}")
    root = np.sqrt((eta_y - 1) * (eta_y + 3))
    larger = (eta_y + 1 + root) / (2 * eta_y)
    products = np.array([larger, 1 / (eta_y**2 * larger)])
    return products, 9 - 2 * (1 + eta_y) ** 2, 3 - 2 * eta_y


def bounce(Delta0: ArrayLike, a: float) -> np.ndarray:
    r"""Return :math:`\Delta_\infty\le0` with :math:`(1+a\Delta_\infty)e^{-a\Delta_\infty}=
    (1+a\Delta_0)e^{-a\Delta_0}`.

    Where the averaged motion :math:`E'=4\Delta E-8E^2`, :math:`\Delta'=-\frac8aE` ends that
    leaves the line of minima at :math:`\Delta_0`: :math:`\Delta=\eta\varphi-2` is the distance
    of the sharpness from the edge. For two weights tied to two, a = 1/(2η²): far beyond,
    :math:`\Delta_\infty\to-1/a`. For small aΔ₀ it is -Δ₀, the bounce.

    Parameters
    ----------
    Delta0 : array_like, not negative
    a : float
        Greater than 0.

    Examples
    --------
    >>> print(np.round(bounce([0.001, 0.1, 1.0], 10.0), 6))
    [-0.000993 -0.059362 -0.099982]
    """
    Delta0 = _check.not_negative("Delta0", Delta0)
    a = _check.number("a", a, 0, strict=True)
    s = a * Delta0
    with np.errstate(over="ignore", under="ignore"):
        end = -1 - np.real(lambertw(-(1 + s) * np.exp(-1 - s)))
    # Near the branch point Lambert's function loses digits; the series there is by hand.
    return np.where(s < 3e-3, -s * (1 - s * (2 / 3 - s * (4 / 9 - s * 44 / 135))), end)[()] / a


def _arguments(u, v, y, eta):
    u, v = _check.finite_array("u", u), _check.finite_array("v", v)
    return u, v, _check.number("y", y), _check.number("eta", eta, 0, strict=True)
