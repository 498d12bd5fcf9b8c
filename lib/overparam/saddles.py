r"""From saddle to saddle (chapter "From saddle to saddle").

Diagonal networks :math:`\beta=w_+^L-w_-^L` on the loss :math:`\tfrac12\|y-X\beta\|^2`, started
at :math:`w_\pm=\alpha\mathbf 1`, in the clock :math:`\tau` in which the limit
:math:`\alpha\to0` is a jump process, and the same for matrices :math:`UV^\top`.

Letters: X (N × d) and y are the data, L the depth, :math:`g=X^\top(y-X\beta)` and
:math:`s(\tau)=\int_0^\tau g` the dual variable.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import nnls

from overparam import _check

CLOSE = 1e-9  # relative to the data: below it a correlation is zero and two events are one
FAR = 150.0  # exponents are cut here: only steps that the integrator tries and rejects go so far


@dataclass(frozen=True)
class Path:
    r"""The jump process of :math:`\alpha\to0`: piecewise constant β, piecewise linear s.

    Attributes
    ----------
    tau : ndarray, shape (n,)
        The times at which the plateaus begin; the first is 0.
    beta : ndarray, shape (n, d)
        The plateaus; the last one lasts for ever.
    s : ndarray, shape (n, d)
        The dual variable at those times.
    g : ndarray, shape (n, d)
        Its velocity :math:`X^\top(y-X\beta)` on each plateau.
    """

    tau: NDArray
    beta: NDArray
    s: NDArray
    g: NDArray

    def at(self, tau: ArrayLike) -> tuple[NDArray, NDArray]:
        """Return β and s at the times `tau`, not negative; at a jump β is the new one."""
        tau = _check.not_negative("tau", tau)
        place = np.searchsorted(self.tau, tau, side="right") - 1
        return self.beta[place], self.s[place] + (tau - self.tau[place])[..., None] * self.g[place]


def path(X: ArrayLike, y: ArrayLike, positive: bool = False) -> Path:
    r"""Return the limit process of the diagonal network as :math:`\alpha\to0`.

    On a plateau β minimizes :math:`\tfrac12\|y-X\beta\|^2` under :math:`s_i\beta_i\ge0` where
    :math:`|s_i|=1` and :math:`\beta_i=0` elsewhere; s moves with the velocity g; the next
    coordinate is the first of those with :math:`\beta_i=0` that reaches the border:
    :math:`\min_i(1-s_i\operatorname{sign}g_i)/|g_i|`.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    positive : bool
        For the model :math:`\beta=w^2` (only :math:`w_+`): β is not negative, and s has no
        lower border.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    For data in general position. Coordinates that arrive at the border at the same time enter
    together, and where columns are dependent the plateau is one of several.

    Examples
    --------
    The first coordinate is learnt, unlearnt, and learnt again with the other sign.

    >>> from overparam import saddles
    >>> process = saddles.path([[1.0, 0.5], [0.0, 0.25]], [1.0, 0.75])
    >>> process.tau.round(4) + 0
    array([ 0.    ,  1.    ,  2.6667, 22.6667])
    >>> process.beta.round(4) + 0
    array([[ 0. ,  0. ],
           [ 1. ,  0. ],
           [ 0. ,  2.2],
           [-0.5,  3. ]])
    """
    X, y = _check.data(X, y)
    d = X.shape[1]
    columns = np.linalg.norm(X, axis=0)
    time, s, beta = 0.0, np.zeros(d), np.zeros(d)
    signs = np.zeros(d)  # +1 and -1 on the border, 0 inside
    rows = []
    while True:
        beta = _plateau(X, y, signs)
        residual = y - X @ beta
        g = X.T @ residual
        # Only round-off: no pull where beta is not zero, nor where the residual is at right angles.
        g[(beta != 0) | (np.abs(g) <= CLOSE * columns * np.linalg.norm(y))] = 0.0
        rows.append((time, beta, s.copy(), g))
        waits = np.full(d, np.inf)
        moving = (g > 0) if positive else (g != 0)
        waits[moving] = (1 - s[moving] * np.sign(g[moving])) / np.abs(g[moving])
        if not np.isfinite(waits.min()):
            break
        step = waits.min()
        time, s = time + step, s + step * g
        arrived = waits <= step * (1 + CLOSE)
        signs[g != 0] = 0.0
        signs[arrived] = np.sign(g[arrived])
        s[signs != 0] = signs[signs != 0]
    return Path(*(np.array(column) for column in zip(*rows, strict=True)))


def _plateau(X, y, signs):
    """Minimize ‖y - Xβ‖ under the signs: the support by NNLS, the values by least squares."""
    beta, border = np.zeros(X.shape[1]), np.flatnonzero(signs)
    if border.size:
        signed = X[:, border] * signs[border]
        scale = np.linalg.norm(signed, axis=0)
        answer = nnls(signed / scale, y)[0]
        support = border[answer > CLOSE * np.linalg.norm(y)]
        beta[support] = np.linalg.lstsq(X[:, support], y, rcond=None)[0]
    return beta


def average(path: Path, tau: ArrayLike) -> NDArray:
    r"""Return the time average :math:`\frac1\tau\int_0^\tau\beta` of a path at the times `tau`.

    As long as no coordinate has been dropped it is the Lasso solution, the minimizer of
    :math:`\tfrac12\|y-X\beta\|^2+\tfrac1\tau\|\beta\|_1`.

    Examples
    --------
    >>> from overparam import saddles
    >>> saddles.average(saddles.path([[2.0]], [1.0]), 1.0).round(6)
    array([0.25])
    """
    tau = _check.not_negative("tau", tau)
    if np.any(tau == 0):
        raise ValueError("tau must be positive: there is no average over no time")
    ends = np.append(path.tau[1:], np.inf)
    shares = np.minimum(tau[..., None], ends) - path.tau
    return np.maximum(shares, 0) @ path.beta / tau[..., None]


def clock(alpha: float, depth: int) -> float:
    r"""Return :math:`t/\tau`: how much flow time one unit of the clock takes.

    :math:`\tfrac12\log\frac1\alpha` for depth 2, :math:`\alpha^{2-L}/(L(L-2))` for
    :math:`L\ge3`.

    Examples
    --------
    >>> from overparam import saddles
    >>> round(saddles.clock(0.01, 2), 4), round(saddles.clock(0.01, 4), 4)
    (2.3026, 1250.0)
    """
    alpha, depth = _start(alpha, depth)
    if depth == 2:
        return float(-np.log(alpha) / 2)
    return alpha ** (2 - depth) / (depth * (depth - 2))


def dual_flow(
    X: ArrayLike, y: ArrayLike, tau: ArrayLike, alpha: float, depth: int = 2
) -> tuple[NDArray, NDArray]:
    r"""Return s and β of the gradient flow from :math:`w_\pm=\alpha\mathbf 1`, in the clock τ.

    :math:`s'=X^\top(y-X\beta)` with :math:`\beta=\alpha^{2(1-s)}-\alpha^{2(1+s)}` for depth 2
    and :math:`\beta=\alpha^L\big((1-s)^{-L/(L-2)}-(1+s)^{-L/(L-2)}\big)` beyond: exactly the
    flow of the weights, which no underflow hinders (`clock` gives t).

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    tau : float or increasing array of floats, not negative
    alpha : float, 0 < α < 1
    depth : int, at least 2

    Returns
    -------
    s, beta : ndarrays, shape of tau followed by (d,)

    Raises
    ------
    ValueError
        For times that do not increase, a scale outside (0, 1), shapes that do not fit, or if
        the integrator gives up.

    Examples
    --------
    >>> from overparam import saddles
    >>> s, beta = saddles.dual_flow([[1.0]], [1.0], [0.5, 1.5], 1e-6)
    >>> s.round(4), beta.round(4)
    (array([[0.5],
           [1. ]]), array([[0.],
           [1.]]))
    """
    X, y = _check.data(X, y)
    alpha, depth = _start(alpha, depth)
    tau = _check.not_negative("tau", tau)
    times = np.atleast_1d(tau)
    if times.ndim != 1 or np.any(np.diff(times) <= 0):
        raise ValueError("tau must be one time, or times in increasing order")
    gram, pull = X.T @ X, X.T @ y
    outward, predictor = _coordinate(alpha, depth)

    def velocity(_, z):
        return outward(z)[0] * (pull - gram @ predictor(z)[0])

    def jacobian(_, z):
        speed, change = outward(z)
        beta, slope = predictor(z)
        return np.diag(change * (pull - gram @ beta)) - speed[:, None] * gram * slope

    found = solve_ivp(
        velocity, (0.0, max(times[-1], 1e-300)), np.zeros(len(gram)), "LSODA", t_eval=times,
        jac=jacobian, rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    if found.status != 0:
        raise ValueError(f"alpha = {alpha:g}, depth {depth}: {found.message}; take alpha larger")
    z = found.y.T
    s = z if depth == 2 else np.tanh(z)
    return s.reshape(*tau.shape, -1), predictor(z)[0].reshape(*tau.shape, -1)


def _coordinate(alpha, depth):
    r"""Return the factor dz/ds and β, each with its derivative, as functions of z.

    At depth 2, z is s. Beyond, :math:`z=\mathrm{artanh}\,s`: s never passes ±1, and
    :math:`1-s`, as small as :math:`\alpha^{L-2}`, keeps its digits.
    """
    if depth == 2:
        rate = -2 * np.log(alpha)

        def outward(z):
            return np.ones_like(z), np.zeros_like(z)

        def predictor(z):
            plus, minus = (np.exp(np.minimum(rate * (side - 1), FAR)) for side in (z, -z))
            return plus - minus, rate * (plus + minus)
    else:
        p = depth / (depth - 2)

        def outward(z):
            return np.cosh(z) ** 2, np.sinh(2 * z)

        def predictor(z):
            # (1 ∓ tanh z)⁻ᵖ = (cosh z · e^{±z})ᵖ
            z = np.clip(z, -FAR / p, FAR / p)
            size = alpha**depth * np.cosh(z) ** p
            beta, total = 2 * size * np.sinh(p * z), 2 * size * np.cosh(p * z)
            return beta, p * (np.tanh(z) * beta + total)

    return outward, predictor


def thresholded(Y: ArrayLike, tau: float, soft: bool = False) -> NDArray:
    r"""Return the limit of :math:`UV^\top` at :math:`t=\tau\log\frac1\alpha`, or its average.

    Hard: :math:`\sum_{\sigma_i>1/\tau}\sigma_i\phi_i\psi_i^\top`, the state. Soft:
    :math:`\sum(\sigma_i-1/\tau)_+\phi_i\psi_i^\top`, its average over :math:`[0,\tau]`.

    Parameters
    ----------
    Y : matrix
    tau : float, positive
    soft : bool

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import saddles
    >>> np.diag(saddles.thresholded(np.diag([3.0, 1.0]), 0.5)).round(6) + 0
    array([3., 0.])
    >>> np.diag(saddles.thresholded(np.diag([3.0, 1.0]), 0.5, soft=True)).round(6) + 0
    array([1., 0.])
    """
    Y, tau = _check.matrix("Y", Y), _check.number("tau", tau, 0, strict=True)
    left, singular, right = np.linalg.svd(Y, full_matrices=False)
    kept = np.maximum(singular - 1 / tau, 0) if soft else singular * (singular * tau > 1)
    return left * kept @ right


def _start(alpha, depth):
    alpha, depth = _check.number("alpha", alpha, 0, strict=True), _check.count("depth", depth, 2)
    if alpha >= 1:
        raise ValueError(f"alpha must be less than 1 for this clock, got {alpha:g}")
    return alpha, depth
