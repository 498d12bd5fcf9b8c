r"""Towards the minimum-norm solution (chapter "Towards the minimum-norm solution").

Regression with two layers, :math:`\ell(U,V)=\frac12\|Y-XUV^\top\|_F^2`, and data that do not
see every direction. Letters: X is N × m of rank r, Y is N × n, U (m × k) and V (n × k) are the
factors and k is the width. :math:`X=W[\Sigma_x^{1/2}\ 0][\Phi_1\ \Phi_2]^\top`, and
:math:`U_i=\Phi_i^\top U` is what the data see (1) and do not see (2) of U.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import qr  # many times faster than numpy's for tall, narrow matrices

from overparam import _check, flow, rates

# Below this ratio of singular values a solution loses more than six of its sixteen digits.
SMALLEST_RATIO = 1e-10
# The flow is followed until the rest of the way is this short, relative to the weights; the rest
# is then computed to first order, with an error of the size of the square.
LAST_STRETCH = 1e-6
# A relative speed at which the rounding errors of the integration decide where the flow goes.
STANDSTILL = 1e-5
MOST_GRADIENTS = 240_000
# Ratio of the eigenvalues of XᵀX above which the flow is stiff, and the largest number of weights
# for which an implicit method, with its dense Jacobian, is then worth while.
STIFF = 1000
MOST_IMPLICIT = 2000


def decompose(X: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    r"""Return W, the diagonal of :math:`\Sigma_x`, :math:`\Phi_1` and :math:`\Phi_2`.

    :math:`X=W[\Sigma_x^{1/2}\ 0][\Phi_1\ \Phi_2]^\top` (Mallada 2023, "Implicit Bias of
    Overparametrized Gradient Flow"): W is N × r with orthonormal columns, :math:`\Sigma_x` holds
    the r eigenvalues of :math:`X^\top X` that are not zero, in decreasing order, and the columns
    of :math:`\Phi_1` (m × r) and :math:`\Phi_2` (m × (m - r)) are orthonormal bases of the row
    space and of the kernel of X.

    Raises
    ------
    ValueError
        If X is zero, or has singular values so small that it is not clear which are zero.

    Examples
    --------
    >>> [part.shape for part in decompose([[3.0, 4.0], [6.0, 8.0]])]  # of rank one
    [(2, 1), (1,), (2, 1), (2, 1)]
    """
    X = _check.matrix("X", X)
    left, singular, right = np.linalg.svd(X)
    rank = int(np.sum(singular > max(X.shape) * np.finfo(float).eps * singular[0]))
    if rank == 0 or singular[rank - 1] ** 2 == 0:
        raise ValueError("X is zero, or so small that XᵀX underflows: rescale it")
    ratio = singular[rank - 1] / singular[0]
    if ratio < SMALLEST_RATIO:
        raise ValueError(
            f"X has singular values down to {ratio:.1e} of the largest, where float64 cannot tell "
            "small from zero; set those that should be zero to zero, or rescale the columns of X"
        )
    return left[:, :rank], singular[:rank] ** 2, right[:rank].T, right[rank:].T


def split(X: ArrayLike, U: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    r"""Return :math:`U_1=\Phi_1^\top U` and :math:`U_2=\Phi_2^\top U` (see `decompose`).

    :math:`U=\Phi_1U_1+\Phi_2U_2`. The loss sees only the first, and the flow moves only the first.

    Examples
    --------
    >>> [np.abs(part).tolist() for part in split([[1.0, 0.0]], [[2.0], [5.0]])]
    [[[2.0]], [[5.0]]]
    """
    _, _, Phi1, Phi2 = decompose(X)
    U = _check.matrix("U", U)
    if len(U) != len(Phi1):
        raise ValueError(f"U must have {len(Phi1)} rows, one a column of X; got {len(U)}")
    return Phi1.T @ U, Phi2.T @ U


def minimum_norm(X: ArrayLike, Y: ArrayLike) -> np.ndarray:
    r"""Return :math:`\Theta^*=X^+Y=\Phi_1\Sigma_x^{-1/2}W^\top Y`, shape (m, n).

    Of the matrices that minimize :math:`\|Y-X\Theta\|_F`, the one with the smallest Frobenius norm
    (Mallada 2023, "Implicit Bias to Min-norm Solution").

    Parameters
    ----------
    X, Y : matrices, shapes (N, m) and (N, n)

    Examples
    --------
    >>> minimum_norm([[1.0, 1.0]], [[2.0]]).round(6).ravel()  # of all (1 + c, 1 - c)
    array([1., 1.])
    """
    W, eigenvalues, Phi1, _ = decompose(X)
    return Phi1 @ _coordinates(W, eigenvalues, Y)


def random_start(
    shape: tuple[int, int], width: int, rng: np.random.Generator, variance: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return U (m, k) and V (n, k) with independent normal entries.

    Parameters
    ----------
    shape : (int, int)
        m and n.
    width : int
        k.
    rng : numpy.random.Generator
    variance : float, optional
        Of each entry; 1/k if it is not given (Mallada 2023, "Implicit Bias to Min-norm Solution").

    Examples
    --------
    >>> [factor.shape for factor in random_start((3, 2), 5, np.random.default_rng(0))]
    [(3, 5), (2, 5)]
    """
    m, n = (_check.count(f"shape[{i}]", size) for i, size in enumerate(shape))
    k = _check.count("width", width)
    _check.generator("rng", rng)
    scale = np.sqrt(_variance(variance, k))
    return scale * rng.standard_normal((m, k)), scale * rng.standard_normal((n, k))


def reduce_width(U: ArrayLike, V: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    r"""Return factors of width min(k, m + n) whose flow has the same end-to-end map, for any loss.

    A QR decomposition :math:`[U;V]^\top=QT` gives :math:`[U;V]=T^\top Q^\top`. The columns of Q are
    orthonormal, and the gradient flow commutes with rotations of the hidden space, so that it
    moves :math:`T^\top` as it moves :math:`[U;V]`.

    Parameters
    ----------
    U, V : matrices, shapes (m, k) and (n, k)

    Examples
    --------
    >>> U, V = reduce_width([[1.0, 2.0, 2.0]], [[4.0, 0.0, 0.0]])
    >>> U.shape, (U @ V.T).round(6).item()  # 4 as before
    ((1, 2), 4.0)
    """
    U, V = _check.same_columns(U, V)
    _, T = qr(np.vstack([U, V]).T, mode="economic")
    return T[:, : len(U)].T, T[:, len(U) :].T


def imbalance_eigenvalues(U: ArrayLike, V: ArrayLike) -> np.ndarray:
    r"""Return the min(k, m + n) eigenvalues of :math:`U^\top U-V^\top V` that may differ from zero.

    In decreasing order; the other k - m - n are zero. The k × k matrix is never formed.

    Examples
    --------
    >>> imbalance_eigenvalues([[3.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]]).round(6)
    array([ 9., -4.])
    """
    U, V = reduce_width(U, V)
    return np.linalg.eigvalsh(U.T @ U - V.T @ V)[::-1]


def rate(X: ArrayLike, U0: ArrayLike, V0: ArrayLike) -> float:
    r"""Return :math:`2\lambda_r(\Sigma_x)([\lambda_r(\Lambda)]_++[\lambda_n(-\Lambda)]_+)`.

    With :math:`\Lambda=U_1^\top U_1-V^\top V`, which the flow conserves. The loss minus its
    minimum decays at least at this rate from the start (U0, V0); it is positive for almost every
    start of width :math:`k\ge r+n`. After Mallada 2023, "Implicit Bias to Min-norm Solution", and
    Min et al. 2021.

    Parameters
    ----------
    X : matrix, shape (N, m)
    U0, V0 : matrices, shapes (m, k) and (n, k)
        The start.

    Examples
    --------
    >>> round(rate([[1.0]], [[3.0, 0.0]], [[0.0, 2.0]]), 6)  # 2·(9 + 4)
    26.0
    """
    nothing = np.zeros((len(X), len(V0)))  # a target that leaves no margin
    return rates.regression_rate(X, nothing, *reduce_width(U0, V0))


def end_to_end(
    X: ArrayLike, Y: ArrayLike, U0: ArrayLike, V0: ArrayLike, t: float | ArrayLike, **options
) -> np.ndarray:
    r"""Return :math:`(UV^\top)(t)` along the gradient flow of :math:`\frac12\|Y-XUV^\top\|_F^2`.

    Integrated at width r + n, to which any larger width reduces exactly; `options` are those of
    `flow.gradient_flow`.

    Parameters
    ----------
    X, Y : matrices, shapes (N, m) and (N, n)
    U0, V0 : matrices, shapes (m, k) and (n, k)
    t : positive float, or increasing array of times

    Returns
    -------
    ndarray, shape of t followed by (m, n)

    Raises
    ------
    ValueError
        If shapes do not fit, or `options` end the flow before t.

    Examples
    --------
    >>> end_to_end([[1.0]], [[1.0]], [[0.1]], [[0.1]], [1.0, 5.0]).ravel().round(3)
    array([0.069, 0.996])
    """
    p = _Problem(X, Y, U0, V0)
    path = flow.gradient_flow(p.gradient, [p.U1, p.V], t, **options)
    if path.reason != flow.END_OF_TIME:
        raise ValueError(f"t reaches to {np.max(t):g}, but the flow ends before: {path}")
    return p.product(*(path.states if np.ndim(t) else path.final))


def flow_limit(
    X: ArrayLike, Y: ArrayLike, U0: ArrayLike, V0: ArrayLike, *, method: str | None = None
) -> np.ndarray:
    r"""Return :math:`\lim_{t\to\infty}UV^\top` of the gradient flow of ½‖Y - XUVᵀ‖².

    Parameters
    ----------
    X, Y : matrices, shapes (N, m) and (N, n)
        The data may be inconsistent: the limit then has the smallest loss, not the loss zero.
    U0, V0 : matrices, shapes (m, k) and (n, k)
        The start. The time is nearly independent of the width k, because the flow is integrated at
        width r + n (see `reduce_width`).
    method : str, optional
        Of `scipy.integrate.solve_ivp`. Without it DOP853, or LSODA if X has singular values of
        very different size, which make the flow stiff.

    Returns
    -------
    ndarray, shape (m, n)
        A minimizer of the loss, at the distance :math:`\|U_2V^\top\|_F` from `minimum_norm`. The
        error is at most about 1e-8 of the size of the weights.

    Raises
    ------
    ValueError
        If shapes do not fit, or X is zero.
    RuntimeError
        If the flow does not converge to a global minimum: it starts or ends in a saddle, or passes
        so close to one that rounding errors decide, or is too slow for `MOST_GRADIENTS`.

    Examples
    --------
    >>> start = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]]
    >>> flow_limit([[1.0, 0.0]], [[1.0]], *start).ravel().round(4)  # the data ask for (1, anything)
    array([1.    , 0.4551])
    """
    p = _Problem(X, Y, U0, V0)
    _, V = _limit(p, method)
    return p.Phi1 @ p.target + p.Phi2 @ (p.U2 @ V.T)


def limit_weights(
    X: ArrayLike, Y: ArrayLike, U0: ArrayLike, V0: ArrayLike, *, method: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the factors U (m, k) and V (n, k) in which the flow ends; see `flow_limit`.

    Parameters
    ----------
    X, Y, U0, V0, method
        As for `flow_limit`.

    Examples
    --------
    >>> [W.round(4).item() for W in limit_weights([[1.0]], [[4.0]], [[1.0]], [[1.0]])]
    [2.0, 2.0]
    """
    p = _Problem(X, Y, U0, V0)
    U1, V = (factor @ p.hidden.T for factor in _limit(p, method))
    return p.Phi1 @ U1 + p.Phi2 @ (p.Phi2.T @ U0), V


def wide_distance(X: ArrayLike, Y: ArrayLike, width: int, variance: float | None = None) -> float:
    r"""Return the root mean square of :math:`\|\lim UV^\top-\Theta^*\|_F` for wide networks.

    :math:`\sqrt{(m-r)\,\frac{s^2}k\sum_{i=1}^n\sqrt{s^4+\sigma_i(\Theta^*)^2}}` for normal entries
    of variance :math:`s^2/k`: the limit of large k at fixed s (theorem in the chapter;
    :math:`\sigma_i=0` beyond the rank).

    Parameters
    ----------
    X, Y : matrices, shapes (N, m) and (N, n)
    width : int
        k.
    variance : float, optional
        Of each entry, :math:`s^2/k`; 1/k if it is not given.

    Examples
    --------
    >>> round(wide_distance([[1.0, 0.0]], [[0.0]], 100), 6)  # one unseen input, target zero
    0.1
    """
    width = _check.count("width", width)
    variance = _variance(variance, width)
    Theta, unseen = minimum_norm(X, Y), decompose(X)[3].shape[1]
    squares = np.clip(np.linalg.eigvalsh(Theta.T @ Theta), 0, None)  # σ²; n of them, zeros as well
    roots = np.sqrt((width * variance) ** 2 + squares)
    return float(np.sqrt(unseen * variance * np.sum(roots)))


class _Problem:
    """The flow in the coordinates that move: U1 (r, p) and V (n, p), of width p = min(k, r + n)."""

    def __init__(self, X, Y, U0, V0):
        W, self.eigenvalues, self.Phi1, self.Phi2 = decompose(X)
        self.target = _coordinates(W, self.eigenvalues, Y)
        (m, r), n = self.Phi1.shape, self.target.shape[1]
        U0, V0 = _check.factors(U0, V0, m, n)
        U1 = self.Phi1.T @ U0
        # What rounding leaves of a row that is zero would grow exponentially out of a saddle.
        noise = 8 * np.finfo(float).eps * np.sqrt(m) * np.linalg.norm(U0)
        U1[np.linalg.norm(U1, axis=1) <= noise] = 0.0
        # `hidden` spans the hidden directions that the moving weights use; they never leave them.
        self.hidden, T = qr(np.vstack([U1, V0]).T, mode="economic")
        self.U1, self.V = T[:, :r].T, T[:, r:].T
        self.U2 = self.Phi2.T @ U0 @ self.hidden

    def gradient(self, weights):
        U1, V = weights
        force = self.force(U1, V)
        return [force @ V, force.T @ U1]

    def force(self, U1, V):
        return self.eigenvalues[:, None] * (U1 @ V.T - self.target)

    def product(self, U1, V):
        return self.Phi1 @ (U1 @ V.mT) + self.Phi2 @ (self.U2 @ V.mT)


def _limit(p, method):
    """Return U1 and V in which the flow of the problem p ends, or say why it does not."""
    size = np.sqrt(np.sum(p.U1**2) + np.sum(p.V**2))
    stiffness = p.eigenvalues[0] / p.eigenvalues[-1]
    if method is None:
        implicit = stiffness > STIFF and p.U1.size + p.V.size <= MOST_IMPLICIT
        method = "LSODA" if implicit else "DOP853"

    def far(weights):
        distance = np.linalg.norm(_rest(p, *weights), 2)
        speed = np.sqrt(sum(np.sum(g**2) for g in p.gradient(weights)))
        slowest = STANDSTILL * size * np.linalg.norm(p.force(*weights))
        if distance > LAST_STRETCH and speed <= slowest:
            raise RuntimeError(_standstill(p, weights))
        return distance - LAST_STRETCH

    tiny = np.finfo(float).tiny
    end = 1e9 / (p.eigenvalues[-1] * max(size**2, np.linalg.norm(p.target), tiny))
    options = {"rtol": 1e-10, "atol": 1e-12 * max(size, tiny), "max_evaluations": MOST_GRADIENTS}
    path = flow.gradient_flow(p.gradient, [p.U1, p.V], [end], method=method, stop=far, **options)
    if path.reason != flow.LOSS_REACHED:
        raise RuntimeError(
            f"the flow did not reach a global minimum ({path}): imbalance and target leave a "
            "direction without a rate, or X is badly conditioned (the nonzero eigenvalues of XᵀX "
            f"span a factor {stiffness:.1e}); change the start or rescale X"
        )
    U1, V = path.final
    K = _rest(p, U1, V)
    return U1 - K @ V, V - K.T @ U1


def _rest(p, U1, V):
    r"""Return :math:`K=\int_t^\infty\Sigma_xF`, :math:`F=U_1V^\top-\Theta_1`, to first order.

    The rest of the way is then -KV in U1 and -KᵀU1 in V. From
    :math:`\dot F=-(\Sigma_xF\,VV^\top+U_1U_1^\top\,\Sigma_xF)` K solves the Sylvester equation
    :math:`U_1U_1^\top K+K\,VV^\top=F`, whatever :math:`\Sigma_x` is.
    """
    a, left = np.linalg.eigh(U1 @ U1.T)
    b, right = np.linalg.eigh(V @ V.T)
    total = a[:, None] + b
    floor = max(1e-8 * (a[-1] + b[-1]), 1e-200)  # no division by zero at the origin
    return left @ (left.T @ (U1 @ V.T - p.target) @ right / np.maximum(total, floor)) @ right.T


def _standstill(p, weights):
    excess, width = np.sum(p.force(*weights) ** 2 / p.eigenvalues[:, None]) / 2, p.U1.shape[1]
    reason = "it starts in a saddle or comes so close to one that rounding errors decide"
    if width < np.linalg.matrix_rank(p.target):
        reason = f"width {width} is less than the rank of the minimum-norm solution"
    return (
        f"the flow from U0, V0 stands still with a loss of {excess:.3g} above its minimum: "
        f"{reason}; change the start"
    )


def _coordinates(W, eigenvalues, Y):
    Y = _check.matrix("Y", Y)
    _check.same_rows(W, Y, second="Y")
    return W.T @ Y / np.sqrt(eigenvalues)[:, None]


def _variance(variance, width):
    return 1 / width if variance is None else _check.number("variance", variance, 0, strict=True)
