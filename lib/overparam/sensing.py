r"""Matrix sensing (chapter "Measurements, and what weight decay does").

Letters: a measurement is :math:`\langle A_i,W\rangle`, :math:`\mathcal A(W)` the vector of all of
them, :math:`\mathcal A^*(r)=\sum_ir_iA_i`; L = `depth` is the number of layers.
``losses.sensing`` is the sum of squares, without ½.
"""

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, flow, losses

# --- One measurement ----------------------------------------------------------------------


def one_measurement(
    sigma: ArrayLike, ratio: float, start: float, start_other: float, depth: int
) -> np.ndarray:
    r"""Return the other singular value when the first has the value `sigma`.

    Balanced layers, one measurement :math:`\langle A,W\rangle=y` whose singular vectors W
    shares; `ratio` is :math:`\alpha=\rho_s/\rho_r` of A's singular values, and both start at
    `start`, `start_other` > 0. With :math:`q=(L-2)/L`: the power
    :math:`\sigma_s\propto\sigma_r^\alpha` for L = 2, and else
    :math:`\sigma_s=(\alpha\sigma_r^{-q}+C)^{-1/q}`, which is linear for L = 1 (Cohen 2019,
    "Implicit Bias Towards Low Rank", for what it calls one observed entry).

    Raises
    ------
    ValueError
        Where :math:`\alpha\sigma_r^{-q}+C\le0`: the other one has grown beyond all bounds.

    Examples
    --------
    >>> [one_measurement(4.0, 0.5, 1.0, 1.0, L).round(4).item() for L in (1, 2, 3)]
    [2.5, 2.0, 1.8474]
    """
    sigma = _check.finite_array("sigma", sigma)
    ratio = _check.number("ratio", ratio)
    depth = _check.count("depth", depth)
    first = _check.number("start", start, 0, strict=True)
    other = _check.number("start_other", start_other, 0, strict=True)
    if np.any(sigma <= 0):
        raise ValueError(f"sigma must be positive, got {sigma.min():g}")
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
    the dual problem, with one unknown a measurement.

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
    if alpha ** (depth - 2) < 1e-6:
        raise ValueError(
            f"alpha = {alpha:g} is too small for depth {depth}: double precision has no digits "
            f"left below alpha = {1e-6 ** (1 / (depth - 2)):.1g}"
        )
    q, unit, size = depth - 2, alpha**depth, max(np.linalg.norm(y), np.finfo(float).tiny)

    def h(s, exponent=-depth):
        """Return a power of 1 - qs, or of exp(-s) for q = 0: x = α^L·h(s) with s = Aᵀν."""
        if q == 0:
            return np.exp(-exponent * s)
        return np.where(s < 1 / q, np.maximum(1 - q * s, 0) ** (exponent / q), np.inf)

    def dual(nu):
        return np.sum(h(A.T @ nu, -2)) / 2 - y @ nu / unit

    nu = np.zeros(len(y))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for _ in range(500):
            s, value = A.T @ nu, dual(nu)
            residual = unit * (A @ h(s)) - y
            if np.linalg.norm(residual) <= 1e-9 * size:
                return unit * h(s)
            hessian = depth * (A * h(s, -depth - q)) @ A.T
            step = -np.linalg.lstsq(hessian, residual / unit, rcond=1e-15)[0]
            slack, fall = 1e-12 * abs(value), step @ residual / unit
            for length in 0.5 ** np.arange(60):
                new = dual(nu + length * step)
                if np.isfinite(new) and new <= value + 1e-4 * length * fall + slack:
                    break
            else:
                break
            nu = nu + length * step
    raise RuntimeError(
        "commuting_limit found no x that fits y; most likely there is none with x >= 0 (a limit "
        "of positive semidefinite matrices cannot reach it)"
    )
