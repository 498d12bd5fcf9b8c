r"""Kernel and rich regimes: diagonal networks (chapter "Kernel and rich regimes").

The model is :math:`f(w,x)=\langle\beta,x\rangle`, :math:`\beta=w_+^D-w_-^D` entrywise, started at
:math:`w_+=w_-=\alpha w_0` (`alpha`, `shape`), with the loss :math:`L(w)=\sum_n(f(w,x_n)-y_n)^2`
**without** ½, as in Smith 2022 and Woodworth et al. 2020. A constant before the loss changes the
flow's speed and not its limit.

Letters: X of shape (N, d) and y are the data, D the depth, :math:`u_i=w_{0i}^{D-2}(X^\top\nu)_i`
the dual coordinate of :math:`\beta_i=(\alpha|w_{0i}|)^Dh_D(u_i)`.
"""

import numpy as np
from scipy.linalg import LinAlgError, qr, solve_triangular
from scipy.optimize import linprog

from overparam import _check, flow

TOLERANCE = 1e-13  # relative residual at which the Newton iteration of `flow_limit` stops
ACCEPTED = 1e-10  # relative residual above which it is an error
MAX_ITERATIONS = 250


def h(s, depth):
    r"""Return :math:`h_D(s)`, the predictor of one coordinate from :math:`\alpha=1`.

    :math:`h_D(s)=(1-s)^{-D/(D-2)}-(1+s)^{-D/(D-2)}` on the open interval (-1, 1) for
    :math:`D\ge3` (Smith 2022, Theorem 3); :math:`h_2(s)=2\sinh s` on the line.

    Raises
    ------
    ValueError
        For :math:`D\ge3` and :math:`|s|\ge1`.
    """
    depth = _depth(depth)
    s = _check.finite_array("s", s)
    if depth == 2:
        return 2 * np.sinh(s)
    if np.any(np.abs(s) >= 1):
        raise ValueError(f"s must lie strictly between -1 and 1, got {s[np.abs(s) >= 1].flat[0]:g}")
    p, theta = _exponent(depth), np.arctanh(s)
    return 2 * np.cosh(theta) ** p * np.sinh(p * theta)


def h_inverse(z, depth):
    r"""Return the s with :math:`h_D(s)=z`, for any real z (it rounds to ±1 for very large z)."""
    depth = _depth(depth)
    z = _check.finite_array("z", z)
    return np.arcsinh(z / 2) if depth == 2 else np.tanh(_tilt(z, depth))


def q(z, depth=2):
    r"""Return :math:`q_D(z)=\int_0^zh_D^{-1}`, the penalty of one coordinate at scale one.

    :math:`q_2(z)=2-\sqrt{4+z^2}+z\,\mathrm{arcsinh}(z/2)`. For :math:`D\ge3`, with
    :math:`s=h_D^{-1}(z)` and :math:`k=2/(D-2)`,
    :math:`q_D(z)=zs-\frac1k\big((1-s)^{-k}+(1+s)^{-k}-2\big)` (Smith 2022, Theorems 1 and 3).
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


def penalty(beta, alpha, depth=2, shape=None):
    r"""Return :math:`Q_{\alpha,w_0}(\beta)`, which the flow's limit minimizes among interpolants.

    :math:`Q=\sum_i\alpha^Dw_{0i}^2\,q_D\big(\beta_i/(\alpha|w_{0i}|)^D\big)`; for
    :math:`w_0=\mathbf 1` the penalties of Smith 2022, Theorems 1 and 3.

    Parameters
    ----------
    beta : vector
    alpha : float
        Scale of the initialization, positive.
    depth : int
        D of at least 2.
    shape : vector, optional
        :math:`w_0`, as long as beta and without zeros; signs do not matter. All ones by default.

    Raises
    ------
    ValueError
        For a scale or shape that is not allowed, or so extreme that float64 cannot hold
        :math:`\beta_i/(\alpha|w_{0i}|)^D`.
    """
    beta = np.atleast_1d(_check.finite_array("beta", beta))
    alpha, depth, shape = _initialization(alpha, depth, shape, beta.shape)
    with np.errstate(over="ignore"):
        z = beta / _scales(alpha, depth, shape)
    if not np.all(np.isfinite(z)):
        raise ValueError(f"alpha = {alpha:g} is too small at depth {depth}: float64 overflows")
    return float(np.sum(alpha**depth * shape**2 * q(z, depth)))


def distance_penalty(beta, alpha):
    r"""Return :math:`R_\alpha(\beta)`: the least :math:`\|w-\alpha\mathbf 1\|^2` for this beta.

    For depth 2. :math:`R_\alpha=\alpha^2\sum_ir(\beta_i/\alpha^2)`, where r(z) is the smallest real
    root of :math:`u^4-6u^3+(12-2z^2)u^2-(8+10z^2)u+z^2+z^4` (Smith 2022, 1.7, with the factor
    :math:`\alpha^2`). As :math:`r=q_4`, it is the :math:`Q_{\sqrt\alpha}` of depth 4, and is
    computed as that: the root itself would lose its digits to cancellation.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    return penalty(beta, np.sqrt(alpha), 4)


def flow_limit(X, y, alpha, depth=2, shape=None):
    r"""Return the :math:`\beta` that gradient flow from :math:`w_\pm=\alpha w_0` tends to.

    Solves :math:`X\beta=y`, :math:`\beta_i=(\alpha|w_{0i}|)^Dh_D(|w_{0i}|^{D-2}(X^\top\nu)_i)` for
    :math:`\nu` (Smith 2022, Theorems 1 and 3): damped Newton on a concave dual with as many
    unknowns as X has independent rows. The iteration carries u and, for :math:`D\ge3`,
    :math:`1\mp u=(w_\pm/\alpha|w_0|)^{2-D}` as well, so that no digits cancel close to ±1.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
        In the range of X.
    alpha, depth, shape
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
    """
    X, y = _data(X, y)
    alpha, depth, shape = _initialization(alpha, depth, shape, X.shape[1:])
    basis, target = _rows(X, y)
    size = np.linalg.norm(target)
    if size == 0:
        return np.zeros(X.shape[1])
    scales, weights = _scales(alpha, depth, shape), shape ** (depth - 2)
    with np.errstate(all="ignore"):
        beta = _dual_newton(basis, target / size, scales / size, weights, depth) * size
        residual = np.linalg.norm(X @ beta - y)
    if not residual <= ACCEPTED * np.linalg.norm(y):
        raise ValueError(
            f"alpha = {alpha:g} is too small for depth {depth} and these data: float64 runs out "
            f"of digits (relative residual {residual / np.linalg.norm(y):.1e}); take alpha "
            "larger, or minimum_l1 for the limit itself"
        )
    return beta


def weight_flow(X, y, alpha, t, depth=2, shape=None, **options):
    r"""Gradient flow of the weights themselves; its states are ``[w_plus, w_minus]``.

    :math:`\dot w_\pm=\mp2D\,X^\top(X\beta-y)\,w_\pm^{D-1}`, the loss being without ½. Here zeros
    in `shape` are allowed. `t` and options as for `flow.gradient_flow`.
    """
    X, y = _data(X, y)
    alpha, depth, shape = _initialization(alpha, depth, shape, X.shape[1:], zeros=True)
    start = alpha * shape

    def gradient(weights):
        pull = 2 * depth * (X.T @ (X @ predictor(weights, depth) - y))
        return [pull * weights[0] ** (depth - 1), -pull * weights[1] ** (depth - 1)]

    return flow.gradient_flow(gradient, [start, start], t, **options)


def predictor(weights, depth=2):
    r"""Return :math:`\beta=w_+^D-w_-^D` of ``weights = [w_plus, w_minus]``."""
    return weights[0] ** depth - weights[1] ** depth


def minimum_l1(X, y):
    r"""Return a solution of :math:`X\beta=y` with the least :math:`\ell_1` norm (HiGHS).

    If there are several, it is one of them, a vertex.
    """
    X, y = _data(X, y)
    _rows(X, y)
    answer = linprog(np.ones(2 * X.shape[1]), A_eq=np.hstack([X, -X]), b_eq=y, method="highs")
    if answer.status != 0:
        raise ValueError(f"X and y: the linear program has no solution ({answer.message})")
    plus, minus = np.split(answer.x, 2)
    return plus - minus


def minimum_l2(X, y):
    r"""Return the solution of :math:`X\beta=y` with the least Euclidean norm."""
    basis, target = _rows(*_data(X, y))
    return basis @ target


def log_rich_threshold(epsilon, norm, size):
    r"""Return the logarithm of the scale below which :math:`\|\beta\|_1\le(1+\epsilon)b` is sure.

    :math:`\min\{(2(1+\epsilon)b)^{-(2+\epsilon)/(2\epsilon)},e^{-d/(\epsilon b)}\}` for
    :math:`0<\epsilon<d`, `norm` b the least :math:`\ell_1` norm of an interpolant and `size` d
    (Smith 2022, Theorem 2). The logarithm, because the scale itself is often too small for
    float64.
    """
    epsilon, norm = _positive(epsilon=epsilon, norm=norm)
    size = _check.count("size", size)
    if epsilon >= size:
        raise ValueError(f"epsilon must be less than size = {size}, got {epsilon:g}")
    power = -(2 + epsilon) / (2 * epsilon) * np.log(2 * (1 + epsilon) * norm)
    return min(power, -size / (epsilon * norm))


def kernel_threshold(epsilon, norm):
    r"""Return the scale above which :math:`\|\beta\|_2^2\le(1+\epsilon)b^2` is sure.

    :math:`\sqrt{2(1+\epsilon)(1+2/\epsilon)\,b}`, `norm` b being the least Euclidean norm of an
    interpolant (Smith 2022, Theorem 2).
    """
    epsilon, norm = _positive(epsilon=epsilon, norm=norm)
    return float(np.sqrt(2 * (1 + epsilon) * (1 + 2 / epsilon) * norm))


def _dual_newton(basis, target, scales, weights, depth):
    """Return beta with basis.T @ beta = target (of norm one), as exactly as float64 allows."""
    d = len(basis)
    # u, and for depth 3 or more also 1 - u and 1 + u; `signs` is how each moves with u.
    state, signs = [np.zeros(d)], [1.0]
    if depth > 2:
        state, signs = [*state, np.ones(d), np.ones(d)], [1.0, -1.0, 1.0]
    beta, slope = _image(state, scales, depth)
    residual, best = target, np.inf
    for _ in range(MAX_ITERATIONS):
        try:
            direction = _newton_direction(basis, slope * weights, residual)
        except LinAlgError:
            break
        move = weights * (basis @ direction)
        step = _longest_step(state, move)
        while True:
            trial = [part + step * sign * move for part, sign in zip(state, signs, strict=True)]
            beta, slope = _image(trial, scales, depth)
            rest = target - basis.T @ beta
            # The dual is concave: its slope along the line must not have turned round.
            if direction @ rest >= -0.5 * (direction @ residual):
                break
            step /= 2
            if step < 1e-15:
                return beta
        state, residual = trial, rest
        size = np.linalg.norm(residual)
        if size <= TOLERANCE or (size <= 1e-11 and size > best / 2):
            break
        best = min(best, size)
    return beta


def _newton_direction(basis, slope, residual):
    """Solve (basis.T @ diag(slope) @ basis) x = residual."""
    rows = np.sqrt(slope)[:, None] * basis
    try:
        lower = np.linalg.cholesky(rows.T @ rows)
    except LinAlgError:
        # Squaring has cost the small curvatures: orthogonalize, heavy rows first.
        lower = np.linalg.qr(rows[np.argsort(-slope)], mode="r").T
    half = solve_triangular(lower, residual, lower=True)
    return solve_triangular(lower.T, half)


def _longest_step(state, move):
    """Return a step of at most one that keeps |u| < 1, and at depth 2 tames the exponential."""
    if len(state) == 1:
        return min(1.0, 10 / np.abs(move).max())
    room = np.where(move > 0, state[1], state[2]) / np.abs(move)
    return min(1.0, 0.95 * np.nanmin(room))


def _image(state, scales, depth):
    """Return beta and its derivative by u."""
    if depth == 2:
        return 2 * scales * np.sinh(state[0]), 2 * scales * np.cosh(state[0])
    u, below, above = state
    p = _exponent(depth)
    small = np.abs(u) < 0.5
    theta = np.where(small, np.arctanh(np.where(small, u, 0.0)), np.log(above / below) / 2)
    beta = 2 * scales * np.exp(p * _log_cosh(theta)) * np.sinh(p * theta)
    return beta, scales * p * (below ** (-p - 1) + above ** (-p - 1))


def _tilt(z, depth):
    r"""Return :math:`\theta=\mathrm{artanh}\,h_D^{-1}(z)`: :math:`2\cosh^p\theta\sinh p\theta=z`.

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
    size = np.abs(theta)
    near = np.log1p(2 * np.sinh(np.minimum(size, 1) / 2) ** 2)
    return np.where(size < 1, near, size + np.log1p(np.exp(-2 * size)) - np.log(2))


def _exponent(depth):
    return depth / (depth - 2)


def _scales(alpha, depth, shape):
    """Return (alpha |w_0|)^D, or say that float64 cannot hold it."""
    with np.errstate(over="ignore", under="ignore"):
        scales = (alpha * shape) ** depth
    tiny = np.finfo(float).tiny
    if np.any(scales < tiny) or np.any(scales > 1 / tiny):
        raise ValueError(
            f"alpha = {alpha:g} with this shape is out of range at depth {depth}: "
            "(alpha·shape)**depth does not fit into float64"
        )
    return scales


def _depth(depth):
    if isinstance(depth, (int, np.integer)) and not isinstance(depth, bool) and depth == 1:
        raise ValueError(
            "depth must be at least 2, got 1: there the model is linear, and its flow from "
            "w_plus = w_minus tends to minimum_l2"
        )
    return _check.count("depth", depth, 2)


def _initialization(alpha, depth, shape, size, zeros=False):
    """Return the scale, the depth and the magnitudes of the shape, checked."""
    alpha = _check.number("alpha", alpha, 0, strict=True)
    depth = _depth(depth)
    if shape is None:
        return alpha, depth, np.ones(size)
    shape = _check.finite_array("shape", shape, ndim=1)
    if shape.shape != tuple(size):
        raise ValueError(
            f"shape must have one entry for each of the {size[0]} coefficients, got {len(shape)}"
        )
    if not zeros and np.any(shape == 0):
        raise ValueError(
            f"shape has a zero at index {np.flatnonzero(shape == 0)[0]}: that coefficient stays "
            "zero for ever; leave out its column"
        )
    return alpha, depth, np.abs(shape)


def _data(X, y):
    X, y = _check.matrix("X", X), _check.finite_array("y", y, ndim=1)
    if len(X) != len(y):
        raise ValueError(f"X and y must have as many rows, got {len(X)} and {len(y)}")
    return X, y


def _rows(X, y):
    """Return V with orthonormal columns and c such that X beta = y means V.T beta = c."""
    V, R, order = qr(X.T, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(R))
    rank = int(np.sum(diagonal > max(X.shape) * np.finfo(float).eps * diagonal[0]))
    c = solve_triangular(R[:rank, :rank], y[order[:rank]], trans="T") if rank else np.zeros(0)
    miss = np.linalg.norm(R[:rank].T @ c - y[order])
    if miss > 1e-9 * np.linalg.norm(y):
        raise ValueError(
            f"y is not in the range of X (distance at least of order {miss:.2g}): no beta "
            "interpolates; drop or correct inconsistent rows"
        )
    return V[:, :rank], c


def _positive(**values):
    return [_check.number(name, value, 0, strict=True) for name, value in values.items()]
