r"""Three layers and more (chapter "Three layers and more").

Bounds of :math:`\lambda_{\min}(\mathcal T)` for deep matrices: three layers with any imbalance,
any depth with homogeneous imbalance; and what such a bound gives for a loss without a minimizer.
Letters as in `rates`: :math:`\mathcal T` is the operator of :math:`W=W_1\cdots W_L` (n × m),
:math:`D_l=W_l^\top W_l-W_{l+1}W_{l+1}^\top` are the imbalances, eigenvalues
:math:`\lambda_i` are counted from the largest, i = 1.
"""

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, networks, rates

# ---- Three layers ---------------------------------------------------------------------------


def three_layer_bound(D1: ArrayLike, D2: ArrayLike, n: int, m: int, scale: float = 0.0) -> float:
    r"""Return the three-layer bound of :math:`\lambda_{\min}(\mathcal T)`, by imbalance alone.

    .. math:: \tfrac12(\Delta_{21}^{(2)}+\Delta_{21}^2)+\Delta_{21}\Delta_{23}
              +\tfrac12(\Delta_{23}^{(2)}+\Delta_{23}^2)

    With :math:`D_{21}=-D_1`, :math:`D_{23}=D_2`,
    :math:`\hat d_i=\max(\lambda_i(D_{21}),\lambda_i(D_{23}),0)` and
    :math:`\mu_i=\min(\hat d_i,\lambda_{i+1-n}(D_{21}))`:
    :math:`\Delta_{21}=\sum_{i=n}^{h_1}(\hat d_i-\mu_i)`,
    :math:`\Delta_{21}^{(2)}=\sum_{i=n}^{h_1}(\hat d_i^2-\mu_i^2)`; the other two with
    :math:`D_{23}`, m, :math:`h_2`. (Mallada 2022, "Three-layer Linear Model", where the
    squares of Δ are missing and the Δ not defined.) Attained, see `three_layer_minimizer`, by

    .. math::
       &\lambda_n(W_1W_2W_2^\top W_1^\top)+\lambda_n(W_1W_1^\top)\lambda_m(W_3^\top W_3)\\
       &\quad+\lambda_m(W_3^\top W_2^\top W_2W_3)\le\lambda_{\min}(\mathcal T).

    Parameters
    ----------
    D1, D2 : matrices, shapes (h1, h1) and (h2, h2)
        :math:`W_1^\top W_1-W_2W_2^\top` and :math:`W_2^\top W_2-W_3W_3^\top`.
    n, m : int
        Rows of W_1 and columns of W_3.
    scale : float, optional
        Size of the squared layers, as in `rates.two_layer_bound`.

    Raises
    ------
    ValueError
        If a D is not symmetric, or D1 and D2 cannot come from such weights.

    Examples
    --------
    >>> from overparam import layers
    >>> layers.three_layer_bound([[0.24]], [[-0.24]], 1, 1)  # squares 0.25, 0.01, 0.25
    0.0576
    """
    (outer1, _), (outer3, _), common = _three_layer_spectra(D1, D2, n, m, scale)
    first, first_squares = _gaps(common, outer1, n)
    third, third_squares = _gaps(common, outer3, m)
    return float((first_squares + first**2) / 2 + first * third + (third_squares + third**2) / 2)


def _gaps(common, outer, n):
    r"""Return :math:`\Delta` and :math:`\Delta^{(2)}` of one outer layer with n free directions."""
    d = common[n - 1 : len(outer)]
    mu = np.minimum(d, outer[: len(d)])
    return np.sum(d - mu), np.sum((d - mu) * (d + mu))


def _three_layer_spectra(D1, D2, n, m, scale=0.0):
    r"""Return the eigenpairs of -D1 and D2 and the :math:`\hat d_i`; check that weights exist."""
    n, m = _check.count("n", n), _check.count("m", m)
    h1, h2 = len(_check.matrix("D1", D1)), len(_check.matrix("D2", D2))
    values, vectors = rates.imbalance_spectrum("D1", D1, n, h2, scale)
    outer1 = -values[::-1], vectors[:, ::-1]
    outer3 = rates.imbalance_spectrum("D2", D2, h1, m, scale)
    lower, upper = np.zeros(max(h1, h2)), np.full(max(h1, h2), np.inf)
    for (spectrum, _), free in ((outer1, n), (outer3, m)):
        # W_2 W_2ᵀ exceeds -D1 by a matrix of rank n, W_2ᵀ W_2 exceeds D2 by one of rank m.
        beyond = (0, len(lower) - len(spectrum))
        lower = np.maximum(lower, np.pad(spectrum, beyond))
        upper = np.minimum(upper, np.pad(_shifted(spectrum, free), beyond))
    if np.any(lower > upper + 1e-8 * max(scale, *np.abs([*outer1[0], *outer3[0]]))):
        raise ValueError(
            "D1 and D2 cannot come from the same three layers: their eigenvalues do not "
            f"interlace with those of one W_2 (n = {n}, m = {m}, widths {h1} and {h2})"
        )
    return outer1, outer3, np.maximum(np.minimum(lower, upper), 0.0)


def _shifted(spectrum, rank):
    """Return what the eigenvalues can at most become by adding a matrix of this rank."""
    return np.append(np.full(rank, np.inf), spectrum)[: len(spectrum)]


def three_layer_minimizer(D1: ArrayLike, D2: ArrayLike, n: int, m: int) -> networks.Layers:
    r"""Return [W_1, W_2, W_3] with these imbalances for which the three-layer bound is attained.

    The three terms of `three_layer_bound` have its value then. :math:`W_2W_2^\top` gets the
    eigenvalues :math:`\hat d_i`; the outer layers are built row by row, each row by Loewner's
    formula for the rank-one change from one spectrum to an interlacing one.

    Parameters
    ----------
    D1, D2, n, m
        As for `three_layer_bound`.

    Raises
    ------
    ValueError
        As `three_layer_bound` does.

    Examples
    --------
    >>> from overparam import layers
    >>> least = layers.three_layer_minimizer([[0.24]], [[-0.24]], 1, 1)
    >>> [round(W.item() ** 2, 4) for W in least]  # the middle weight has come to zero
    [0.24, 0.0, 0.24]
    """
    (outer1, basis1), (outer3, basis3), common = _three_layer_spectra(D1, D2, n, m)
    rows1, ends1 = _climb(outer1, basis1, common[: len(outer1)], n)
    rows3, ends3 = _climb(outer3, basis3, common[: len(outer3)], m)
    size = min(len(outer1), len(outer3))
    middle = ends1[:, :size] * np.sqrt(common[:size]) @ ends3[:, :size].T
    return [rows1, middle, rows3.T]


def _climb(spectrum, basis, goal, steps):
    """Return rows z with M + Σ z zᵀ of spectrum `goal`, and the eigenvectors of that matrix.

    M has the eigenpairs `spectrum`, `basis`. After k rows the spectrum is
    min(goal_i, spectrum_{i-k}), the largest that k rows can reach; it interlaces with the last one.
    """
    now, rows = np.minimum(spectrum, goal), []
    for k in range(1, steps + 1):
        following = np.minimum(goal, _shifted(spectrum, k))
        z = _rank_one_step(now, following)
        rows.append(basis @ z)
        order = np.linalg.eigh(np.diag(now) + np.outer(z, z))[1][:, ::-1]
        now, basis = following, basis @ order
    return np.array(rows), basis


def _rank_one_step(before, after):
    r"""Return z for which diag(before) + zzᵀ has the eigenvalues `after` (Loewner's formula).

    :math:`z_i^2=\prod_j(\mathrm{after}_j-\mathrm{before}_i)/\prod_{j\ne i}(\mathrm{before}_j-
    \mathrm{before}_i)`; eigenvalues that both lists share are left alone.
    """
    rest, moving = list(after), []
    for i, value in enumerate(before):
        if value in rest:
            rest.remove(value)
        else:
            moving.append(i)
    z, old, new = np.zeros(len(before)), before[moving], np.array(rest)
    for place, i in enumerate(moving):
        ratio = np.delete(new, place) - before[i]
        ratio /= np.delete(old, place) - before[i]
        z[i] = np.sqrt(max((new[place] - before[i]) * np.prod(ratio), 0.0))
    return z


# ---- Homogeneous imbalance ------------------------------------------------------------------


def homogeneous_optimum(imbalances: ArrayLike, sigma_min: float, n: int, m: int) -> float:
    r"""Return :math:`\lambda_{\min}(\mathcal T)` for imbalances :math:`D_l=d_lI`, any depth.

    All hidden widths are min(n, m) (as `networks.homogeneous` makes them), so that the layers
    share singular vectors. For n = m the value is `rates.deep_scalar_optimum` of
    :math:`\sigma_{\min}(W)`. For n < m only the term of the last layer sees the kernel of W:
    the value is :math:`\prod_{l<L}w_l^2` of the scalar layers; for n > m it is
    :math:`\prod_{l>1}w_l^2`. Source: Min, Vidal, Mallada, poster, "Deep
    networks"; the case n ≠ m is ours.

    Parameters
    ----------
    imbalances : array_like, shape (L - 1,)
        The numbers d_l.
    sigma_min : float, not negative
        The smallest of the min(n, m) singular values of W, or the margin.
    n, m : int
        Shape of W.

    Examples
    --------
    >>> from overparam import layers
    >>> [layers.homogeneous_optimum([0.0, 0.0], 8.0, 3, m) for m in (3, 4)]  # 3·4·4 and 4·4
    [48.0, 16.0]
    """
    sigma_min = _check.number("sigma_min", sigma_min, 0)
    n, m = _check.count("n", n), _check.count("m", m)
    if n == m:
        return rates.deep_scalar_optimum(imbalances, sigma_min)
    d = _check.finite_array("imbalances", np.atleast_1d(imbalances), ndim=1)
    squares = networks.layer_scales(sigma_min, d) ** 2
    return float(np.prod(squares[:-1] if n < m else squares[1:]))


# ---- Classification -------------------------------------------------------------------------


def classification_margin(X: ArrayLike, y: ArrayLike) -> float:
    r"""Return the margin :math:`\rho=\max_{\|w\|=1}\min_iy_ix_i^\top w` of separable data.

    For the exponential loss :math:`f(w)=\sum_ie^{-y_ix_i^\top w}` it gives
    :math:`\|\nabla f\|\ge\rho f` (Mallada 2022, "Conclusion"), and with it a decay like 1/t. The
    margin is the distance of the origin from the convex hull of the :math:`y_ix_i`.

    Parameters
    ----------
    X : matrix, shape (N, n)
    y : array, shape (N,), entries +1 and -1

    Raises
    ------
    ValueError
        If a label is not ±1, or no w separates the data (the margin would be negative or zero).

    Examples
    --------
    >>> from overparam import layers
    >>> round(layers.classification_margin([[1.0, 1.0], [-2.0, 0.0]], [1, -1]), 4)
    1.4142
    """
    from scipy.optimize import nnls

    X, y = _check.data(X, y)
    if not np.all(np.abs(y) == 1):
        raise ValueError("y must hold labels +1 and -1 only")
    signed = (X * y[:, None]).T
    size = np.abs(signed).max()
    # Least distance programming (Lawson and Hanson 1974, ch. 23): w = -r/r_last for the residual r.
    system = np.vstack([signed / size if size else signed, np.ones(len(y))])
    goal = np.append(np.zeros(len(signed)), 1.0)
    residual = system @ nnls(system, goal)[0] - goal
    if np.linalg.norm(residual) < 1e-8:
        raise ValueError("X and y are not separable: no w has all y_i x_i·w positive")
    w = -residual[:-1] / residual[-1]
    return float(size / np.linalg.norm(w))
