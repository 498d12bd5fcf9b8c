r"""ReLU neurons (chapter "ReLU neurons: one imbalance each").

The network is :math:`f(x)=\sum_jv_j\max(\langle u_j,x\rangle,0)` with k neurons, U of shape (k, d)
with the rows :math:`u_j`, v of shape (k,); its loss :math:`\sum_i\ell(y_i,f(x_i))` over the N rows
of X. The residuals :math:`r_i=-\partial_f\ell` drive neuron j along the sum
:math:`x_a=\sum r_ix_i` over its active data: :math:`\dot u=vx_a`,
:math:`\dot v=\langle u,x_a\rangle`.
At a wall, :math:`\langle u_j,x_i\rangle=0`, the slope of the ReLU counts as 0.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from overparam import _check, flow


def _squared(y, f):
    return np.sum((y - f) ** 2) / 2, y - f


def _exponential(y, f):
    each = np.exp(-y * f)
    return np.sum(each), y * each


def _logistic(y, f):
    return np.sum(np.logaddexp(0.0, -y * f)), y / (1 + np.exp(y * f))


LOSSES: dict[str, Callable] = {
    "squared": _squared, "exponential": _exponential, "logistic": _logistic,
}  # fmt: skip


def predict(X: ArrayLike, U: ArrayLike, v: ArrayLike) -> np.ndarray:
    """Return f at the rows of X, shape (N,).

    Parameters
    ----------
    X : matrix, shape (N, d)
    U : matrix, shape (k, d)
        The neurons, one a row.
    v : vector, shape (k,)
        Their output weights.

    Examples
    --------
    >>> print(predict([[1.0, 0.0], [-1.0, 0.0]], [[2.0, 5.0]], [3.0]))
    [6. 0.]
    """
    X, U, v = _network(X, U, v)
    return np.maximum(X @ U.T, 0.0) @ v


def loss(X: ArrayLike, y: ArrayLike, U: ArrayLike, v: ArrayLike, kind: str = "squared") -> float:
    """Return the loss: half the squared errors, Σ exp(-yf) or Σ log(1 + exp(-yf)).

    Parameters
    ----------
    X, U, v
        As for `predict`.
    y : vector, shape (N,)
    kind : str
        "squared", "exponential" or "logistic".

    Examples
    --------
    >>> print(loss([[1.0, 0.0]], [1.0], [[2.0, 0.0]], [1.0]))
    0.5
    """
    X, U, v = _network(X, U, v)
    return float(_kind(kind)(_targets(X, y), predict(X, U, v))[0])


def gradients(
    X: ArrayLike, y: ArrayLike, U: ArrayLike, v: ArrayLike, kind: str = "squared"
) -> list[np.ndarray]:
    """Return the gradients of the loss by U and by v, in their shapes.

    Parameters
    ----------
    X, y, U, v, kind
        As for `loss`.

    Examples
    --------
    >>> gU, gv = gradients([[1.0, 0.0]], [1.0], [[2.0, 0.0]], [1.0])
    >>> print(gU, gv)
    [[ 1. -0.]] [2.]
    """
    X, U, v = _network(X, U, v)
    y, residual_of = _targets(X, y), _kind(kind)
    return _pulls(X, U, v, lambda f: residual_of(y, f)[1])


def _pulls(X, U, v, residual_of):
    """Return the gradients by U and v, from the residuals as a function of the outputs."""
    before = X @ U.T
    active = before > 0
    values = before * active
    residual = residual_of(values @ v)
    return [-v[:, None] * ((residual[:, None] * active).T @ X), -residual @ values]


def descend(
    X: ArrayLike, y: ArrayLike, U: ArrayLike, v: ArrayLike, step: float, n_steps: int, *,
    kind: str = "squared", retimed: bool = False, every: int = 1,
) -> flow.Trajectory:
    r"""Descend with a small step, which follows the flow through its kinks.

    Parameters
    ----------
    X, y : arrays, shapes (N, d) and (N,)
    U, v : arrays, shapes (k, d) and (k,)
        The start; no neuron on a wall.
    step : float
        Greater than 0.
    n_steps : int
    kind : {"squared", "exponential", "logistic"}
    retimed : bool
        For the exponential loss only: divide every step by the loss times :math:`1+\|v\|^2`. The
        path of the flow is the same, and log(1/loss) grows nearly linearly with the steps.
    every : int
        Keep every so many iterates.

    Returns
    -------
    flow.Trajectory
        Its states are [U, v], each with the steps first.

    Examples
    --------
    >>> path = descend([[1.0, 0.0]], [1.0], [[0.5, 0.1]], [0.5], 0.1, 300)
    >>> U, v = path.final
    >>> print(f"{U[0, 0] * v[0]:.4f} {U[0, 1]:.4f}")
    1.0000 0.1000
    """
    X, U, v = _network(X, U, v)
    y, residual_of = _targets(X, y), _kind(kind)
    if retimed and kind != "exponential":
        raise ValueError(f"retimed needs kind='exponential', got {kind!r}")

    def residual(f, v):
        if not retimed:
            return residual_of(y, f)[1]
        share = np.exp(np.min(y * f) - y * f)  # residuals over loss, also where both underflow
        return y * share / (np.sum(share) * (1 + v @ v))

    def gradient(state):
        U, v = state
        return _pulls(X, U, v, lambda f: residual(f, v))

    return flow.gradient_descent(gradient, [U, v], step, n_steps, every=every)


def early_phase(
    u: ArrayLike, v: float, x: ArrayLike, t: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return u(t) and v(t) of :math:`\dot u=vx`, :math:`\dot v=\langle u,x\rangle`.

    The motion of a neuron while residuals and active data are frozen, with
    :math:`x=\sum r_ix_i` over its active data. The part of u across x stays;
    :math:`u_\parallel\pm v` grow like :math:`e^{\pm\|x\|t}`.

    Parameters
    ----------
    u : array, shape (d,)
    v : float
    x : array, shape (d,)
    t : array_like

    Returns
    -------
    u, v : arrays, shapes of t + (d,) and of t

    Examples
    --------
    >>> u, v = early_phase([1.0, 1.0], 0.0, [2.0, 0.0], 0.5)
    >>> print(u.round(4), round(float(v), 4))
    [1.5431 1.    ] 1.1752
    """
    u = _check.finite_array("u", u, ndim=1)
    x = _check.shaped("x", x, u.shape, "u")
    v, t = _check.number("v", v), _check.finite_array("t", t)
    length = np.linalg.norm(x)
    if length == 0:
        return np.broadcast_to(u, t.shape + u.shape).copy(), np.full(t.shape, v)
    axis = x / length
    along = u @ axis
    grown = along * np.cosh(length * t) + v * np.sinh(length * t)
    second = along * np.sinh(length * t) + v * np.cosh(length * t)
    return (u - along * axis) + grown[..., None] * axis, second


def final_angle(u: ArrayLike, v: float, xhat: ArrayLike, y: float) -> float:
    r"""Return the angle of a neuron to its data's direction at the end of the flow.

    For one neuron that is always active, data along one direction with the target f = y > 0 at
    its unit vector, and a flow that fits them: :math:`\tan\theta_\infty=
    \|u_\perp\|\big/\sqrt{(\lambda+\sqrt{\lambda^2+4y^2})/2}`,
    :math:`\lambda=u_\parallel^2-v^2` at the start.

    Parameters
    ----------
    u : array, shape (d,)
    v : float
    xhat : array, shape (d,)
        The direction; its length does not matter.
    y : float
        Greater than 0.

    Examples
    --------
    >>> print(f"{final_angle([0.1, 0.2], 0.1, [1.0, 0.0], 1.0):.4f}")
    0.1974
    """
    u, xhat = _check.finite_array("u", u, ndim=1), _check.finite_array("xhat", xhat, ndim=1)
    v, y = _check.number("v", v), _check.number("y", y, 0, strict=True)
    if u.shape != xhat.shape or not np.any(xhat):
        raise ValueError(f"xhat must be a nonzero vector of the shape {u.shape} of u")
    axis = xhat / np.linalg.norm(xhat)
    along = float(u @ axis)
    imbalance = (along - v) * (along + v)
    root = np.hypot(imbalance, 2 * y)
    # (λ + root)/2 without cancellation for negative λ.
    square = (imbalance + root) / 2 if imbalance > 0 else 2 * y**2 / (root - imbalance)
    return float(np.arctan2(np.linalg.norm(u - along * axis), np.sqrt(square)))


def least_norm(y: ArrayLike) -> float:
    r"""Return :math:`\|y_+\|+\|y_-\|`, the least :math:`\sum_j|v_j|\|u_j\|` on orthonormal data.

    Over all networks with f(x_i) = y_i; :math:`y_\pm` are the positive and the negative targets.

    Examples
    --------
    >>> print(f"{least_norm([3.0, 4.0, -2.0]):.1f}")
    7.0
    """
    y = _check.finite_array("y", y, ndim=1)
    return float(np.linalg.norm(y[y > 0]) + np.linalg.norm(y[y < 0]))


def activation_switches(path: flow.Trajectory | ArrayLike, X: ArrayLike) -> np.ndarray:
    """Return how often each datum was switched on or off for each neuron, shape (k, N).

    Parameters
    ----------
    path : flow.Trajectory from `descend`, or array of shape (steps, k, d)
        The first-layer weights over time.
    X : array, shape (N, d)

    Examples
    --------
    >>> print(activation_switches([[[1.0, 0.5]], [[-1.0, 0.5]], [[1.0, 0.5]]], np.eye(2)))
    [[2 0]]
    """
    states = path.states[0] if isinstance(path, flow.Trajectory) else path
    U, X = _check.finite_array("path", states, ndim=3), _check.matrix("X", X)
    if U.shape[2] != X.shape[1]:
        raise ValueError(f"X must have {U.shape[2]} columns as the neurons, got {X.shape[1]}")
    active = U @ X.T > 0
    return np.sum(active[1:] != active[:-1], axis=0)


def max_margin(X: ArrayLike) -> np.ndarray:
    r"""Return the shortest w with :math:`\langle w,x_i\rangle\ge1` for all rows of X.

    Lawson and Hanson's least-distance problem, solved by nonnegative least squares.

    Raises
    ------
    ValueError
        If no such w exists.

    Examples
    --------
    >>> print(max_margin([[1.0, 0.0], [1.0, 1.0]]).round(6))
    [1. 0.]
    """
    X = _check.matrix("X", X)
    scale = np.abs(X).max()
    if scale == 0:
        raise ValueError("X is zero; give at least one nonzero row")
    A = np.vstack([X.T / scale, np.ones(len(X))])
    target = np.append(np.zeros(X.shape[1]), 1.0)
    residual = A @ nnls(A, target)[0] - target
    if -residual[-1] < 1e-12:
        raise ValueError("no w has <w, x_i> >= 1 for all rows of X: they lie in no open half-space")
    return -residual[:-1] / residual[-1] / scale


def _network(X, U, v):
    X, U = _check.matrix("X", X), _check.matrix("U", U)
    v = _check.finite_array("v", v, ndim=1)
    if U.shape[1] != X.shape[1] or len(v) != len(U):
        raise ValueError(
            f"X, U and v must have the shapes (N, d), (k, d) and (k,), "
            f"got {X.shape}, {U.shape} and {v.shape}"
        )
    return X, U, v


def _targets(X, y):
    y = _check.finite_array("y", y, ndim=1)
    if len(y) != len(X):
        raise ValueError(f"y must have one entry for each of the {len(X)} rows of X, got {len(y)}")
    return y


def _kind(kind):
    if kind not in LOSSES:
        raise ValueError(f"kind must be one of {', '.join(LOSSES)}, got {kind!r:.40}")
    return LOSSES[kind]
