r"""The Riccati solution of matrix factorization (chapter "The Riccati solution").

Letters: Y (m × n) is the target, U (m × k) and V (n × k) the factors, R = [U; V],
:math:`Q=RR^\top`, and S the symmetric matrix of :math:`\dot Q=SQ+QS-Q^2`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag, qr

from overparam import _check, scalar

# Rows of the graded matrix in `_evolved` whose sizes differ by more than this exponent are told
# apart by it as well as by more: e^-100 is far below round-off.
WIDEST_GAP = 100.0


def solution(t: ArrayLike, Y: ArrayLike, U0: ArrayLike, V0: ArrayLike) -> NDArray[np.float64]:
    r"""Return :math:`(UV^\top)(t)` for the gradient flow of :math:`\tfrac12\|Y-UV^\top\|_F^2`.

    Needs a homogeneous imbalance :math:`U_0^\top U_0-V_0^\top V_0=\lambda I`. Then
    :math:`Q(t)=Z\,(I+\int_0^tZ^\top Z)^{-1}Z^\top` with :math:`Z=e^{tS}R_0`. The cost does not
    depend on t.

    Parameters
    ----------
    t : float or array of floats
        Times, not negative, in units of 1/Y.
    Y : matrix, shape (m, n)
    U0, V0 : matrices, shapes (m, k) and (n, k)
        In units of the square root of Y.

    Returns
    -------
    ndarray, shape of t followed by (m, n)

    Raises
    ------
    ValueError
        If shapes do not fit, a time is negative, or the imbalance is not homogeneous.

    Notes
    -----
    Theorem "Closed form for homogeneous imbalance" of the chapter; Mallada 2023, "From Scalar to
    Matrix Case"; Tarmoun et al. 2021; for other normalizations Fukumizu 1998, Braun et al. 2022.

    A start whose component along an eigenvector of S is within round-off of zero is taken to
    have none, and growing components that are dependent within round-off are taken to be so: a
    start on the stable manifold of a saddle ends in the saddle.

    Where more than about 35 components grow far apart, late times lose digits: about eight are left
    with 80.

    Examples
    --------
    >>> start = 0.1 * np.eye(2)
    >>> solution([0.0, 2.0, 1e6], np.diag([2.0, 1.0]), start, start).round(3).tolist()
    [[[0.01, 0.0], [0.0, 0.01]], [[1.875, 0.0], [0.0, 0.355]], [[2.0, 0.0], [0.0, 1.0]]]
    """
    t = _check.not_negative("t", t)
    Y = _check.matrix("Y", Y)
    (m, n), (U0, V0) = Y.shape, _check.factors(U0, V0, *Y.shape)
    eigenvalues, P = _eigenbasis(Y, homogeneous_imbalance(U0, V0))
    R = P.T @ np.vstack([U0, V0])
    # A component at the level of round-off is taken for zero. On the stable manifold of a saddle
    # it is zero, and the noise would grow exponentially and carry the solution away.
    noise = 16 * np.finfo(float).eps * np.sqrt(len(R)) * np.linalg.norm(R)
    R[np.linalg.norm(R, axis=1) <= noise] = 0.0
    # So it is for what grows: on other stable manifolds these components are dependent. Q knows
    # R up to a rotation from the right, which makes the dependence a column of exact zeros.
    grows = eigenvalues > 0
    left, sizes, right = np.linalg.svd(R[grows])
    R = R @ right.T
    R[grows] = 0.0
    R[grows, : len(sizes)] = left[:, : len(sizes)] * np.where(sizes > noise, sizes, 0.0)
    factors = [P @ _evolved(R, eigenvalues, time) for time in t.ravel()]
    return np.reshape([F[:m] @ F[m:].T for F in factors], (*t.shape, m, n))


def _eigenbasis(Y, imbalance):
    """Return the eigenvalues of S and a basis of eigenvectors, from the singular vectors of Y.

    `numpy.linalg.eigh` would mix the pair of a small singular value by round-off over its size.
    """
    (m, n), half = Y.shape, imbalance / 2
    left, sigma, right = np.linalg.svd(Y)
    r = len(sigma)
    angle = np.arctan2(sigma, abs(half)) / 2
    turn = np.cos(angle), np.sin(angle)
    up, down = turn if half >= 0 else turn[::-1]
    plus = np.vstack([left[:, :r] * up, right[:r].T * down])
    minus = np.vstack([-left[:, :r] * down, right[:r].T * up])
    alone = block_diag(left[:, r:], right[r:].T)
    mu, single = np.hypot(half, sigma), np.repeat([half, -half], [m - r, n - r])
    return np.concatenate([mu, -mu, single]), np.hstack([plus, minus, alone])


def _evolved(R, eigenvalues, t):
    r"""Return a factor of Q(t) from a factor R of Q(0), in the eigenbasis of S.

    With :math:`D=\int_0^te^{2sS}ds`, :math:`Q=CC^\top` for :math:`C=e^{tS}D^{-1/2}O`, where O are
    the rows of :math:`D^{1/2}R` in an orthonormal basis of the columns of the stack of
    :math:`D^{1/2}R` and I. The sizes of these rows differ by huge factors. Householder's method
    keeps each row's own digits if rows are sorted by size and columns are pivoted; the Gram
    matrix :math:`I+R^\top DR` would lose the slow directions.
    """
    rank, size = R.shape[1], np.abs(eigenvalues)
    if t == 0 or rank == 0:
        return R
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        span = np.where(size > 0, -np.expm1(-2 * t * size) / (2 * size), t)  # D e^(-2t[S]_+)
        growth = np.minimum(t * np.maximum(eigenvalues, 0), 1e300)
        decay = np.exp(t * np.minimum(eigenvalues, 0))
        lengths = np.linalg.norm(R, axis=1)
        logs = np.append(growth + np.log(span) / 2 + np.log(lengths), np.zeros(rank))
    units = np.append(R / np.where(lengths > 0, lengths, 1.0)[:, None], np.eye(rank), axis=0)
    order = np.argsort(-logs, kind="stable")
    order = order[logs[order] > -np.inf]
    gaps, widest = -np.diff(logs[order]), WIDEST_GAP
    while np.minimum(gaps, widest).sum() > 1300:  # or the last ones underflow
        widest *= 0.9
    gaps = np.minimum(gaps, widest)
    scales = np.exp(min(logs[order[0]], 650.0) - np.append(0.0, np.cumsum(gaps)))
    orthonormal = np.zeros_like(units)
    orthonormal[order] = qr(scales[:, None] * units[order], mode="economic", pivoting=True)[0]
    return (decay / np.sqrt(span))[:, None] * orthonormal[: len(R)]


def riccati_matrix(Y: ArrayLike, imbalance: float) -> NDArray[np.float64]:
    r"""Return :math:`S=\begin{pmatrix}\frac\lambda2I&Y\\Y^\top&-\frac\lambda2I\end{pmatrix}`.

    Its eigenvalues are :math:`\pm\sqrt{\lambda^2/4+\sigma_i(Y)^2}`, and λ/2 (m > n) or -λ/2
    (m < n) for the :math:`|m-n|` directions without a partner.

    Parameters
    ----------
    Y : matrix, shape (m, n)
    imbalance : float
        λ, in the units of Y.

    Returns
    -------
    ndarray, shape (m + n, m + n)

    Raises
    ------
    ValueError
        If Y is no matrix of finite numbers or `imbalance` no finite number.

    Examples
    --------
    >>> riccati_matrix([[2.0]], 3.0).tolist(), np.linalg.eigvalsh(riccati_matrix([[2.0]], 3.0))
    ([[1.5, 2.0], [2.0, -1.5]], array([-2.5,  2.5]))
    """
    Y = _check.matrix("Y", Y)
    half = _check.number("imbalance", imbalance) / 2
    m, n = Y.shape
    return np.block([[half * np.eye(m), Y], [Y.T, -half * np.eye(n)]])


def homogeneous_imbalance(U: ArrayLike, V: ArrayLike) -> float:
    r"""Return λ with :math:`U^\top U-V^\top V=\lambda I`.

    Parameters
    ----------
    U, V : matrices, shapes (m, k) and (n, k)

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the shapes do not fit or the imbalance matrix is no multiple of the identity (to 1e-8
        of the size of the weights squared).

    Examples
    --------
    >>> homogeneous_imbalance([[2.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]])
    3.0
    """
    U, V = _check.same_columns(U, V)
    unit = max(np.abs(U).max(), np.abs(V).max()) or 1.0
    D = (U / unit).T @ (U / unit) - (V / unit).T @ (V / unit)
    imbalance = np.trace(D) / len(D)
    spread = np.linalg.norm(D - imbalance * np.eye(len(D)))
    if spread > 1e-8 * (np.linalg.norm(U / unit) ** 2 + np.linalg.norm(V / unit) ** 2):
        raise ValueError(
            "U0 and V0 must have a homogeneous imbalance U0ᵀU0 - V0ᵀV0 = λI; it differs from "
            f"{imbalance * unit**2:.3g}·I by {spread * unit**2:.3g}. "
            "Integrate with networks.layer_flow instead"
        )
    return float(imbalance * unit**2)


def homogeneous_start(
    shape: tuple[int, int], width: int, imbalance: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return random factors U0 (m, k), V0 (n, k) with :math:`U_0^\top U_0-V_0^\top V_0=\lambda I`.

    Parameters
    ----------
    shape : (int, int)
        m and n.
    width : int
        k.
    imbalance : float
        λ.
    rng : numpy.random.Generator
        Draws the directions, and the smaller factor with standard normal entries.

    Returns
    -------
    U0, V0 : ndarray

    Raises
    ------
    ValueError
        If there are none: :math:`\lambda>0` needs width ≤ m, :math:`\lambda<0` needs width ≤ n,
        because :math:`\pm\lambda I` is at most the Gram matrix of U or V.

    Examples
    --------
    >>> U, V = homogeneous_start((3, 2), 2, 0.5, np.random.default_rng(0))
    >>> ((U.T @ U - V.T @ V).round(12) + 0.0).tolist()  # no minus zero
    [[0.5, 0.0], [0.0, 0.5]]
    """
    m, n = (_check.count("shape", size) for size in shape)
    width, imbalance = _check.count("width", width), _check.number("imbalance", imbalance)
    if imbalance < 0:
        return homogeneous_start((n, m), width, -imbalance, rng)[::-1]
    if imbalance > 0 and width > m:
        raise ValueError(
            f"width must be at most {m} for an imbalance of this sign, got {width}; "
            "take a narrower network or imbalance 0"
        )
    _check.generator("rng", rng)
    rank = width if imbalance > 0 else min(m, n, width)
    small = rng.standard_normal((n, rank))
    inner = np.linalg.qr(rng.standard_normal((width, rank)))[0]
    outer = np.linalg.qr(rng.standard_normal((m, rank)))[0]
    eigenvalues, vectors = np.linalg.eigh(small.T @ small)
    root = vectors * np.sqrt(np.maximum(eigenvalues + imbalance, 0)) @ vectors.T
    return outer @ root @ inner.T, small @ inner.T


def mode(
    t: ArrayLike, target: ArrayLike, start: ArrayLike, imbalance: ArrayLike
) -> NDArray[np.float64]:
    r"""Return the singular values :math:`\sigma_i(t)` under a spectral initialization.

    Each follows :math:`\dot\sigma_i=(\sigma_i(Y)-\sigma_i)\sqrt{\lambda_{0,i}^2+4\sigma_i^2}`,
    the scalar flow.

    Parameters
    ----------
    t : array_like, shape (times,) or a number
        Not negative, in units of 1/target.
    target, start, imbalance : array_like, shape (modes,) or a number
        :math:`\sigma_i(Y)`, :math:`\sigma_i(0)` (with sign), :math:`\lambda_{0,i}`.

    Returns
    -------
    ndarray, shape of t followed by that of the modes

    Raises
    ------
    ValueError
        If an argument is not finite, a time is negative or the modes do not broadcast.

    Notes
    -----
    Theorem "The modes decouple" of the chapter; Mallada 2023, "Spectral Initialization".

    Examples
    --------
    >>> mode([0.0, 1.0, 9.0], [2.0, 1.0], 0.1, 0.0).round(3).tolist()
    [[0.1, 0.1], [1.484, 0.451], [2.0, 1.0]]
    """
    t = _check.not_negative("t", t)
    target = _check.finite_array("target", target)
    start = _check.finite_array("start", start)
    imbalance = _check.finite_array("imbalance", imbalance)
    try:
        modes = np.broadcast(target, start, imbalance).ndim
    except ValueError:
        raise ValueError(
            "target, start and imbalance must have one entry for each mode or be numbers, got "
            f"shapes {target.shape}, {start.shape} and {imbalance.shape}"
        ) from None
    return scalar.closed_form(t.reshape(t.shape + (1,) * modes), target, start, imbalance)
