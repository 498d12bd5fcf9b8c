r"""Matrix sensing (chapter "Measurements, and what weight decay does").

Letters: a measurement is :math:`\langle A_i,W\rangle`, :math:`\mathcal A(W)` the vector of all of
them, :math:`\mathcal A^*(r)=\sum_ir_iA_i`; L = `depth` is the number of layers.
``losses.sensing`` is the sum of squares, without ½.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_solve

from overparam import _check, flow, losses

TOLERANCE = 1e-13  # relative residual at which the iteration of `dual_newton` stops
MAX_ITERATIONS = 250

# --- One measurement ----------------------------------------------------------------------


def one_measurement(
    sigma: ArrayLike, ratio: float, start: float, start_other: float, depth: int
) -> np.ndarray:
    r"""Return the other singular value when the first has the value `sigma`.

    Balanced layers, one measurement :math:`\langle A,W\rangle=y` whose singular vectors W
    shares; `ratio` is :math:`\theta=a_j/a_i` of A's singular values, and both start at
    `start`, `start_other` > 0. With :math:`q=(L-2)/L`: the power
    :math:`\sigma_j\propto\sigma_i^\theta` for L = 2, and else
    :math:`\sigma_j=(\theta\sigma_i^{-q}+c)^{-1/q}`, which is linear for L = 1 (Cohen 2019,
    "Implicit Bias Towards Low Rank", for what it calls one observed entry).

    Parameters
    ----------
    sigma : array_like
        The first singular value, positive.
    ratio : float
        :math:`\theta`.
    start, start_other : float
        Where the two start, positive.
    depth : int
        L of at least 1.

    Raises
    ------
    ValueError
        Where :math:`\theta\sigma_i^{-q}+c\le0`: the other one has grown beyond all bounds.

    Examples
    --------
    >>> [one_measurement(4.0, 0.5, 1.0, 1.0, L).round(4).item() for L in (1, 2, 3)]
    [2.5, 2.0, 1.8474]
    """
    sigma = _check.positive("sigma", sigma)
    ratio = _check.number("ratio", ratio)
    depth = _check.count("depth", depth)
    first = _check.number("start", start, 0, strict=True)
    other = _check.number("start_other", start_other, 0, strict=True)
    if depth == 2:
        return other * (sigma / first) ** ratio
    q = (depth - 2) / depth
    power = other**-q + ratio * (sigma**-q - first**-q)
    if depth > 2 and np.any(power <= 0):
        raise ValueError("sigma lies beyond where the other singular value becomes infinite")
    return power ** (-1 / q)


# --- Positive semidefinite sensing ---------------------------------------------------------


def sensing_flow(
    A: ArrayLike, y: ArrayLike, U0: ArrayLike, t: float | np.ndarray, **options
) -> flow.Trajectory:
    r"""Integrate :math:`\dot U=-\mathcal A^*(\mathcal A(UU^\top)-y)\,U` from `U0`.

    The gradient flow of :math:`\|\mathcal A(UU^\top)-y\|^2` at a quarter of its speed
    (Smith 2022, 4.3), for symmetric measurements :math:`A_i`. Then
    :math:`X=UU^\top` follows :math:`\dot X=-\mathcal A^*(r)X-X\mathcal A^*(r)`.

    Parameters
    ----------
    A : array, shape (K, n, n)
    y : array, shape (K,)
    U0 : matrix, shape (n, d)
    t, **options
        As for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For a measurement that is not symmetric.

    Examples
    --------
    >>> U = sensing_flow([[[0.0, 0.5], [0.5, 0.0]]], [1.0], 1e-3 * np.eye(2), 50.0).final
    >>> (U @ U.T).round(3)  # measured is the entry beside the diagonal
    array([[1., 1.],
           [1., 1.]])
    """
    loss, A, U0 = losses.sensing(A, y), np.asarray(A, dtype=float), _check.matrix("U0", U0)
    if A.shape[1:] != (n := len(U0), n):
        raise ValueError(f"A must have shape (K, {n}, {n}) to fit U0, got {A.shape}")
    if not np.array_equal(A, A.transpose(0, 2, 1)):
        raise ValueError("A must hold symmetric matrices")
    return flow.gradient_flow(lambda U: loss.gradient(U @ U.T) @ U / 2, U0, t, **options)


def commuting_limit(A: ArrayLike, y: ArrayLike, alpha: float, depth: int = 2) -> np.ndarray:
    r"""Return where the flow from :math:`W_j(0)=\alpha I` ends, for commuting measurements.

    In the common eigenbasis everything is diagonal: row k of `A` holds the eigenvalues of
    :math:`A_k`, and :math:`W=\mathrm{diag}(x)` with :math:`Ax=y`. The limit is the minimizer over
    :math:`\{x\ge0:Ax=y\}` of :math:`\sum x_i(\log(x_i/\alpha^2)-1)` for L = 2 and of
    :math:`\sum x_i-\tfrac L2\alpha^{L-2}\sum x_i^{2/L}` for L ≥ 3, found by Newton's method on
    the dual problem, with one unknown a measurement (`dual_newton`).

    Parameters
    ----------
    A : matrix, shape (n_measurements, n)
    y : array, shape (n_measurements,)
    alpha : float
    depth : int
        The number of layers L, at least 2.

    Returns
    -------
    ndarray, shape (n,)
        With :math:`\|Ax-y\|\le10^{-9}\|y\|`.

    Raises
    ------
    ValueError
        For :math:`\alpha^{L-2}<10^{-6}`, where the digits run out.
    RuntimeError
        If no x is found that fits y; most likely there is none with :math:`x\ge0`.

    Examples
    --------
    >>> commuting_limit([[1.0, 2.0]], [2.0], 1e-3, depth=3).round(3)  # the least sum
    array([0., 1.])
    """
    A, y = _check.matrix("A", A), _check.finite_array("y", y, ndim=1)
    _check.same_rows(A, y, "A")
    alpha = _check.number("alpha", alpha, 0, strict=True)
    depth = _check.count("depth", depth, minimum=2)
    q, unit = depth - 2, alpha**depth
    if alpha**q < 1e-6:  # which is about 1 - u
        raise ValueError(f"alpha = {alpha:g} is too small for depth {depth}: no digits are left")

    def image(state):
        u, below, _ = state  # u = Aᵀν, below = 1 - u
        x = unit * (below ** (-depth / q) if q else np.exp(u))
        return x, x * depth / (q * below) if q else x

    start = np.outer([0.0, 1.0 if q else np.inf, np.inf], np.ones(A.shape[1]))
    x = dual_newton(A, y, image, start, name="A")
    if not np.linalg.norm(A @ x - y) <= 1e-9 * np.linalg.norm(y):
        raise RuntimeError(
            "commuting_limit found no x that fits y; most likely there is none with x >= 0 (a "
            "limit of positive semidefinite matrices cannot reach it)"
        )
    return x


# --- Interpolants -------------------------------------------------------------------------


def row_space(
    X: ArrayLike, y: ArrayLike, name: str = "X"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return V, σ and c such that :math:`X\beta=y` means :math:`V^\top\beta=c`.

    The columns of V are the right singular vectors of X whose singular values σ are not zero.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    name : str
        What an error calls X.

    Raises
    ------
    ValueError
        If y is not in the range of X, which its caller may give another name.

    Examples
    --------
    >>> from overparam import sensing
    >>> V, sigma, c = sensing.row_space([[3.0, 4.0], [3.0, 4.0]], [5.0, 5.0])
    >>> V.shape, sigma.round(4), np.abs(c).round(4)
    ((2, 1), array([7.0711]), array([1.]))
    """
    X, y = _check.data(X, y)
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    kept = singular > max(X.shape) * np.finfo(float).eps * singular[0]
    basis, singular = right[kept].T, singular[kept]
    target = left[:, kept].T @ y / singular
    miss = np.linalg.norm(X @ (basis @ target) - y)
    if miss > 1e-9 * np.linalg.norm(y):
        raise ValueError(
            f"y is not in the range of {name} (its distance is {miss:.2g}): no beta "
            "interpolates; drop or correct inconsistent rows"
        )
    return basis, singular, target


def dual_newton(
    X: ArrayLike, y: ArrayLike, image: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    state: np.ndarray, weights: ArrayLike = 1.0, name: str = "X",
) -> np.ndarray:
    r"""Return the :math:`\beta=\phi(u)`, :math:`u=\theta+cX^\top\nu`, with :math:`X\beta=y`.

    Damped Newton on a concave dual with as many unknowns :math:`\nu` as X has independent rows;
    :math:`\phi` increases in each coordinate. What is found is as exact as float64 allows, and may
    be no solution where there is none: callers look. The iteration carries, beside u, its distances
    from where :math:`\phi` ends above and below, so that no digits cancel close to the ends.

    Parameters
    ----------
    X, y
        As for `row_space`.
    image : callable
        Maps the state, the rows u and both distances, to :math:`\phi(u)` and :math:`\phi'(u)`.
    state : array, shape (3, d)
        At the start :math:`\theta`; distances are infinite where there is no end.
    weights : float or vector
        c, positive.
    name : str
        What the caller calls X, for the message.

    Examples
    --------
    >>> exponential = lambda state: (np.exp(state[0]), np.exp(state[0]))
    >>> start = np.outer([0.0, np.inf, np.inf], np.ones(2))
    >>> dual_newton([[1.0, 2.0]], [2.0], exponential, start).round(4)  # t and t²
    array([0.7808, 0.6096])
    """
    basis, _, target = row_space(X, y, name)
    size, best = np.linalg.norm(target), np.inf
    with np.errstate(all="ignore"):
        beta, slope = image(state)
        residual = target - basis.T @ beta
        for _ in range(MAX_ITERATIONS):
            try:
                direction = _newton_direction(basis, slope * weights, residual)
            except (LinAlgError, ValueError):  # singular, or no longer finite
                break
            move = weights * (basis @ direction)
            room = np.fmin.reduce(np.where(move > 0, state[1], state[2]) / np.abs(move))
            # The 10 tames exponentials.
            for step in min(1.0, 0.95 * room, 10 / np.abs(move).max()) * 0.5 ** np.arange(50):
                trial = state + step * np.array([move, -move, move])
                beta, slope = image(trial)
                rest = target - basis.T @ beta
                # The dual is concave: its slope along the line must not have turned round.
                if direction @ rest >= -0.5 * (direction @ residual):
                    break
            else:
                break
            state, residual, length = trial, rest, np.linalg.norm(rest)
            if length <= TOLERANCE * size or best / 2 < length <= 1e-11 * size:
                break
            best = min(best, length)
    return beta


def _newton_direction(basis, slope, residual):
    """Solve (basis.T @ diag(slope) @ basis) x = residual."""
    rows = np.sqrt(slope)[:, None] * basis
    try:
        lower = np.linalg.cholesky(rows.T @ rows)
    except LinAlgError:
        # Squaring has cost the small curvatures: orthogonalize, heavy rows first.
        lower = np.linalg.qr(rows[np.argsort(-slope)], mode="r").T
    return cho_solve((lower, True), residual)
