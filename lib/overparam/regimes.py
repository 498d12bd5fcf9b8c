r"""Kernel and rich regimes: diagonal networks (chapter "Kernel and rich regimes").

The model is :math:`f(w,x)=\langle\beta,x\rangle`, :math:`\beta=w_+^L-w_-^L` entrywise, started at
:math:`w_+=w_-=\alpha w_0` (`alpha`, `profile`), with the loss
:math:`\mathcal L(w)=\sum_n(f(w,x_n)-y_n)^2`
**without** ½, as in Smith 2022 and Woodworth et al. 2020. A constant before the loss changes the
flow's speed and not its limit.

Letters: X of shape (N, d) and y are the data, L the depth, :math:`u_i=w_{0i}^{L-2}(X^\top\nu)_i`
the dual coordinate of :math:`\beta_i=(\alpha|w_{0i}|)^Lh_L(u_i)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from overparam import _check, flow
from overparam.sensing import dual_newton, row_space

ACCEPTED = 1e-10  # relative residual above which an interpolant is an error


def h(s: ArrayLike, depth: int) -> np.ndarray:
    r"""Return :math:`h_L(s)`, the predictor of one coordinate from :math:`\alpha=1`.

    :math:`h_L(s)=(1-s)^{-L/(L-2)}-(1+s)^{-L/(L-2)}` on the open interval (-1, 1) for
    :math:`L\ge3` (Smith 2022, Theorem 3); :math:`h_2(s)=2\sinh s` on the line.

    Raises
    ------
    ValueError
        For :math:`L\ge3` and :math:`|s|\ge1`.

    Examples
    --------
    >>> from overparam import regimes
    >>> print(f"{regimes.h(0.5, 4):.4f}")  # (1 - s)^-2 - (1 + s)^-2
    3.5556
    """
    depth = _depth(depth)
    s = _check.finite_array("s", s)
    if depth == 2:
        return 2 * np.sinh(s)
    if np.any(np.abs(s) >= 1):
        raise ValueError(f"s must lie strictly between -1 and 1, got {s[np.abs(s) >= 1].flat[0]:g}")
    p, theta = _exponent(depth), np.arctanh(s)
    return 2 * np.cosh(theta) ** p * np.sinh(p * theta)


def h_inverse(z: ArrayLike, depth: int) -> np.ndarray:
    r"""Return the s with :math:`h_L(s)=z`, for any real z (it rounds to ±1 for very large z).

    Examples
    --------
    >>> from overparam import regimes
    >>> regimes.h_inverse(regimes.h([0.5, -0.9], 3), 3).round(4)
    array([ 0.5, -0.9])
    """
    depth = _depth(depth)
    z = _check.finite_array("z", z)
    return np.arcsinh(z / 2) if depth == 2 else np.tanh(_tilt(z, depth))


def q(z: ArrayLike, depth: int = 2) -> np.ndarray:
    r"""Return :math:`q_L(z)=\int_0^zh_L^{-1}`, the penalty of one coordinate at scale one.

    :math:`q_2(z)=2-\sqrt{4+z^2}+z\,\mathrm{arcsinh}(z/2)`. For :math:`L\ge3`, with
    :math:`s=h_L^{-1}(z)` and :math:`k=2/(L-2)`,
    :math:`q_L(z)=zs-\frac1k\big((1-s)^{-k}+(1+s)^{-k}-2\big)` (Smith 2022, Theorems 1 and 3).

    Examples
    --------
    >>> from overparam import regimes
    >>> print(f"{regimes.q(0.01):.7f} {regimes.q(100.0):.1f}")  # z²/4, and z log z - z + 2
    0.0000250 362.5
    """
    depth = _depth(depth)
    z = _check.finite_array("z", z)
    if depth == 2:
        # 2 - sqrt(4 + z²), written so that nothing cancels near zero.
        return z * np.arcsinh(z / 2) - np.abs(z) * (np.abs(z) / (2 + np.hypot(2, z)))
    # With s = tanh θ the bracket is 2 coshᵏθ cosh kθ - 2, a sum of positive terms.
    theta, k = _tilt(z, depth), 2 / (depth - 2)
    growth = np.expm1(k * _log_cosh(theta)) * np.cosh(k * theta)
    return z * np.tanh(theta) - 2 * (growth + 2 * np.sinh(k * theta / 2) ** 2) / k


def penalty(
    beta: ArrayLike, alpha: float, depth: int = 2, profile: ArrayLike | None = None
) -> float:
    r"""Return :math:`Q_{\alpha,w_0}(\beta)`, which the flow's limit minimizes among interpolants.

    :math:`Q=\sum_i\alpha^Lw_{0i}^2\,q_L\big(\beta_i/(\alpha|w_{0i}|)^L\big)`; for
    :math:`w_0=\mathbf 1` the penalties of Smith 2022, Theorems 1 and 3.

    Parameters
    ----------
    beta : vector
    alpha : float
        Scale of the initialization, positive.
    depth : int
        L of at least 2.
    profile : vector, optional
        :math:`w_0`, as long as beta and without zeros; signs do not matter. All ones by default.

    Raises
    ------
    ValueError
        For a scale or profile that is not allowed, or so extreme that float64 cannot hold
        :math:`\beta_i/(\alpha|w_{0i}|)^L`.

    Examples
    --------
    >>> from overparam import regimes
    >>> print(f"{regimes.penalty([0.6, 0.8], 10.0):.6f}")  # near the squared norm / (4 α²)
    0.002500
    """
    beta = np.atleast_1d(_check.finite_array("beta", beta))
    alpha, depth, profile = _initialization(alpha, depth, profile, beta.shape)
    scales = _scales(alpha, depth, profile, np.abs(beta).max())
    return float(np.sum(alpha**depth * profile**2 * q(beta / scales, depth)))


def distance_penalty(beta: ArrayLike, alpha: float) -> float:
    r"""Return :math:`R_\alpha(\beta)`: the least :math:`\|w-\alpha\mathbf 1\|^2` for this beta.

    For depth 2. :math:`R_\alpha=\alpha^2\sum_ir(\beta_i/\alpha^2)`, where r(z) is the smallest real
    root of :math:`u^4-6u^3+(12-2z^2)u^2-(8+10z^2)u+z^2+z^4` (Smith 2022, 1.7, with the factor
    :math:`\alpha^2`). As :math:`r=q_4`, it is the :math:`Q_{\sqrt\alpha}` of depth 4, and is
    computed as that: the root itself would lose its digits to cancellation.

    Examples
    --------
    >>> from overparam import regimes
    >>> print(f"{regimes.distance_penalty([0.6], 0.001):.3f}")  # nearly 0.6 - 2·0.001·√0.6
    0.598
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    return penalty(beta, np.sqrt(alpha), 4)


def flow_limit(
    X: ArrayLike, y: ArrayLike, alpha: float, depth: int = 2, profile: ArrayLike | None = None
) -> np.ndarray:
    r"""Return the :math:`\beta` that gradient flow from :math:`w_\pm=\alpha w_0` tends to.

    Solves :math:`X\beta=y`, :math:`\beta_i=(\alpha|w_{0i}|)^Lh_L(|w_{0i}|^{L-2}(X^\top\nu)_i)` for
    :math:`\nu` (Smith 2022, Theorems 1 and 3; see `interpolant`, where
    :math:`1\mp u=(w_\pm/\alpha|w_0|)^{2-L}`).

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
        In the range of X.
    alpha, depth, profile
        As for `penalty`.

    Returns
    -------
    ndarray, shape (d,)
        With :math:`\|X\beta-y\|\le10^{-10}\|y\|`.

    Raises
    ------
    ValueError
        For data that no :math:`\beta` fits, and where digits run out: with depth 3 or more, a
        very small scale, and an :math:`\ell_1` solution with fewer than N nonzero entries.

    Examples
    --------
    >>> from overparam import regimes
    >>> regimes.flow_limit([[1.0, 2.0]], [2.0], alpha=0.5).round(3)  # between (0.4, 0.8), (0, 1)
    array([0.342, 0.829])
    """
    X, y = _check.data(X, y)
    alpha, depth, profile = _initialization(alpha, depth, profile, X.shape[1:])
    return interpolant(
        X, y, _scales(alpha, depth, profile), depth=depth, weights=profile ** (depth - 2),
        cause=f"alpha = {alpha:g} is",
    )  # fmt: skip


def interpolant(
    X: ArrayLike, y: ArrayLike, scales: ArrayLike, shift: ArrayLike = 0.0, depth: int = 2,
    weights: ArrayLike = 1.0, cause: str = "scales are",
) -> np.ndarray:
    r"""Return the :math:`\beta_i=a_ih_L(\theta_i+c_i(X^\top\nu)_i)` with :math:`X\beta=y`.

    By `sensing.dual_newton`. The scales a (`scales`, positive), :math:`\theta`
    (`shift`) and c (`weights`) are those of its callers, which check them: `flow_limit` and
    `choice.limit`.

    Parameters
    ----------
    X, y
        As for `flow_limit`.
    scales, shift, weights : vectors, shape (d,), or numbers
        a, :math:`\theta` and c.
    depth : int
        L of at least 2.
    cause : str
        What an error names.

    Raises
    ------
    ValueError
        For data that no :math:`\beta` fits, and where digits run out, because of the `cause`.

    Examples
    --------
    >>> from overparam import regimes
    >>> regimes.interpolant([[1.0, 2.0]], [2.0], [0.25, 0.25]).round(3)  # flow_limit at 0.5
    array([0.342, 0.829])
    """
    (X, y), scales = _check.data(X, y), _check.finite_array("scales", scales)
    u = np.zeros(X.shape[1]) + shift
    room = np.inf if depth == 2 else 1.0
    start = np.array([u, room - u, room + u])
    beta = dual_newton(X, y, lambda state: _image(state, scales, depth), start, weights)
    residual = np.linalg.norm(X @ beta - y)
    if not residual <= ACCEPTED * np.linalg.norm(y):
        raise ValueError(
            f"{cause} too small for depth {depth} and these data: float64 runs out of digits "
            f"(relative residual {residual / np.linalg.norm(y):.1e}); take it larger, or "
            "minimum_l1 for the limit itself"
        )
    return beta


def weight_flow(
    X: ArrayLike, y: ArrayLike, alpha: float, t: ArrayLike, depth: int = 2,
    profile: ArrayLike | None = None, **options: object,
) -> flow.Trajectory:
    r"""Gradient flow of the weights themselves; its states are ``[w_plus, w_minus]``.

    :math:`\dot w_\pm=\mp2L\,X^\top(X\beta-y)\,w_\pm^{L-1}`, the loss being without ½. Here zeros
    in `profile` are allowed. `t` and options as for `flow.gradient_flow`.

    Parameters
    ----------
    X, y, alpha, depth, profile
        As for `flow_limit`.
    t, **options
        As for `flow.gradient_flow`.

    Examples
    --------
    >>> from overparam import regimes
    >>> path = regimes.weight_flow([[1.0, 2.0]], [2.0], 0.5, [0.02, 0.05])
    >>> [regimes.predictor(weights).round(3).tolist() for weights in path]
    [[0.133, 0.275], [0.253, 0.568]]
    """
    X, y = _check.data(X, y)
    alpha, depth, profile = _initialization(alpha, depth, profile, X.shape[1:], zeros=True)
    start = alpha * profile

    def gradient(weights):
        pull = 2 * depth * (X.T @ (X @ (weights[0] ** depth - weights[1] ** depth) - y))
        return [pull * weights[0] ** (depth - 1), -pull * weights[1] ** (depth - 1)]

    return flow.gradient_flow(gradient, [start, start], t, **options)


def predictor(weights: Sequence[ArrayLike], depth: int = 2) -> np.ndarray:
    r"""Return :math:`\beta=w_+^L-w_-^L` of ``weights = [w_plus, w_minus]``.

    Examples
    --------
    >>> from overparam import regimes
    >>> regimes.predictor([[2.0, 1.0], [1.0, 1.0]])
    array([3., 0.])
    """
    weights = _check.finite_array("weights", weights)
    if len(weights) != 2:
        raise ValueError(f"weights must be [w_plus, w_minus], got {len(weights)} arrays")
    plus, minus = weights
    return plus ** _depth(depth) - minus**depth


def minimum_l1(X: ArrayLike, y: ArrayLike) -> np.ndarray:
    r"""Return a solution of :math:`X\beta=y` with the least :math:`\ell_1` norm (HiGHS).

    If there are several, it is one of them, a vertex.

    Examples
    --------
    >>> from overparam import regimes
    >>> regimes.minimum_l1([[1.0, 2.0]], [2.0])
    array([0., 1.])
    """
    # The solver's tolerances are absolute: orthonormal rows, and a target of size one.
    basis, _, target = row_space(X, y)
    size = np.linalg.norm(target) or 1.0
    rows, cost = np.hstack([basis.T, -basis.T]), np.ones(2 * len(basis))
    answer = linprog(cost, A_eq=rows, b_eq=target / size, method="highs")
    if answer.status != 0:
        raise ValueError(f"X and y: the linear program was not solved ({answer.message})")
    return size * np.subtract(*np.split(answer.x, 2))


def minimum_l2(X: ArrayLike, y: ArrayLike) -> np.ndarray:
    r"""Return the solution of :math:`X\beta=y` with the least Euclidean norm.

    Examples
    --------
    >>> from overparam import regimes
    >>> regimes.minimum_l2([[1.0, 2.0]], [2.0]).round(4)
    array([0.4, 0.8])
    """
    basis, _, target = row_space(X, y)
    return basis @ target


def log_rich_threshold(epsilon: float, norm: float, size: int) -> float:
    r"""Return the logarithm of the scale below which :math:`\|\beta\|_1\le(1+\epsilon)b` is sure.

    :math:`\min\{(2(1+\epsilon)b)^{-(2+\epsilon)/(2\epsilon)},e^{-d/(\epsilon b)}\}` for
    :math:`0<\epsilon<d`, `norm` b the least :math:`\ell_1` norm of an interpolant and `size` d
    (Smith 2022, Theorem 2). The logarithm, because the scale itself is often too small for
    float64.

    Parameters
    ----------
    epsilon : float
    norm : float
        b, positive.
    size : int
        d, the number of coefficients.

    Examples
    --------
    >>> from overparam import regimes
    >>> print(f"{regimes.log_rich_threshold(0.1, 1.0, 40):.1f}")  # -d/(ε b)
    -400.0
    """
    epsilon, norm = _positive(epsilon=epsilon, norm=norm)
    size = _check.count("size", size)
    if epsilon >= size:
        raise ValueError(f"epsilon must be less than size = {size}, got {epsilon:g}")
    power = -(2 + epsilon) / (2 * epsilon) * np.log(2 * (1 + epsilon) * norm)
    return min(power, -size / (epsilon * norm))


def kernel_threshold(epsilon: float, norm: float) -> float:
    r"""Return the scale above which :math:`\|\beta\|_2^2\le(1+\epsilon)b^2` is sure.

    :math:`\sqrt{2(1+\epsilon)(1+2/\epsilon)\,b}`, `norm` b being the least Euclidean norm of an
    interpolant (Smith 2022, Theorem 2).

    Examples
    --------
    >>> from overparam import regimes
    >>> print(f"{regimes.kernel_threshold(2.0, 3.0):.1f}")
    6.0
    """
    epsilon, norm = _positive(epsilon=epsilon, norm=norm)
    return float(np.sqrt(2 * (1 + epsilon) * (1 + 2 / epsilon) * norm))


def _image(state, scales, depth):
    """Return beta and its derivative by u; the state is u, 1 - u, 1 + u."""
    u, below, above = state
    if depth == 2:
        return 2 * scales * np.sinh(u), 2 * scales * np.cosh(u)
    p = _exponent(depth)
    small = np.abs(u) < 0.5
    theta = np.where(small, np.arctanh(np.where(small, u, 0.0)), np.log(above / below) / 2)
    beta = 2 * scales * np.exp(p * _log_cosh(theta)) * np.sinh(p * theta)
    return beta, scales * p * (below ** (-p - 1) + above ** (-p - 1))


def _tilt(z, depth):
    r"""Return :math:`\theta=\mathrm{artanh}\,h_L^{-1}(z)`: :math:`2\cosh^p\theta\sinh p\theta=z`.

    Newton for log h as a function of log θ, which is convex and increasing, from above: the
    iterates fall monotonically to the root.
    """
    p, size = _exponent(depth), np.where(z == 0, 1.0, np.abs(z))
    theta = np.arcsinh(size / 2) / p
    for _ in range(60):
        excess = p * _log_cosh(theta) + p * theta + np.log(-np.expm1(-2 * p * theta)) - np.log(size)
        step = excess / (p * theta * (np.tanh(theta) + 1 / np.tanh(p * theta)))
        theta = theta * np.exp(-step)
        if np.all(np.abs(step) < 1e-14):
            break
    return np.where(z == 0, 0.0, np.copysign(theta, z))


def _log_cosh(theta):
    return np.log1p(2 * np.sinh(theta / 2) ** 2)


def _exponent(depth):
    return depth / (depth - 2)


def _scales(alpha, depth, profile, largest=1.0):
    """Return (alpha |w_0|)^L, or say that float64 cannot hold it, nor `largest` divided by it."""
    with np.errstate(over="ignore", under="ignore"):
        scales = (alpha * profile) ** depth
    tiny = np.finfo(float).tiny
    if np.any(scales < tiny * max(1.0, largest)) or np.any(scales > 1 / tiny):
        raise ValueError(
            f"alpha = {alpha:g} with this profile is out of range at depth {depth}: "
            "(alpha·profile)**depth does not fit into float64"
        )
    return scales


def _depth(depth):
    return _check.count("depth", depth, 2)  # at depth 1 the model is linear: `minimum_l2`


def _initialization(alpha, depth, profile, size, zeros=False):
    """Return the scale, the depth and the magnitudes of the profile, checked."""
    alpha = _check.number("alpha", alpha, 0, strict=True)
    depth = _depth(depth)
    profile = np.ones(size) if profile is None else _check.shaped("profile", profile, size, "beta")
    if not zeros and np.any(profile == 0):
        raise ValueError(
            f"profile has a zero at index {np.flatnonzero(profile == 0)[0]}: that coefficient "
            "stays zero for ever; leave out its column"
        )
    return alpha, depth, np.abs(profile)


def _positive(**values):
    return [_check.number(name, value, 0, strict=True) for name, value in values.items()]
