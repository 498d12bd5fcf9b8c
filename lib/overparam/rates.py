r"""Rates for any initialization (chapter "Rates for any initialization").

The loss of the weights is :math:`\mathcal L(W_1,\dots,W_L)=f(W)`, :math:`W=W_1\cdots W_L` of
shape (n, m). Letters: :math:`\mathcal T` is the operator of the induced flow
:math:`\dot W=-\mathcal T\nabla f(W)`, :math:`D_l=W_l^\top W_l-W_{l+1}W_{l+1}^\top` are the
imbalance matrices, :math:`[x]_+=\max(x,0)`; eigenvalues :math:`\lambda_i` and singular values
:math:`\sigma_i` are counted from the largest, i = 1. A lower bound α of
:math:`\lambda_{\min}(\mathcal T)` along the flow gives
:math:`\mathcal L(t)-\mathcal L^*\le e^{-\gamma\alpha t}(\mathcal L(0)-\mathcal L^*)` for an f
with PL constant γ. Three layers and more: `layers`.
"""

from functools import reduce
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, flow, networks

# Up to so many entries of W the matrix of T is formed: below, that is the faster way.
SMALL = 100
# How many separable modes the coarse space of the iterative solver holds.
COARSE = 40


# ---- The operator ---------------------------------------------------------------------------


def apply_operator(weights: networks.Layers, E: ArrayLike) -> np.ndarray:
    r"""Return :math:`\mathcal TE=\sum_lA_lA_l^\top\,E\,B_l^\top B_l`, of the shape of E.

    :math:`A_l=W_1\cdots W_{l-1}` and :math:`B_l=W_{l+1}\cdots W_L`, identities at the ends
    (Mallada 2022, "PL-inequality"; Min, Vidal, Mallada, poster, "Preconditioning"). With
    :math:`E=\nabla f(W)`, :math:`\|\nabla L\|_F^2=\langle\mathcal TE,E\rangle`.

    Parameters
    ----------
    weights : list of matrices
        The layers, whose shapes chain.
    E : matrix, shape (n, m) of the product

    Returns
    -------
    ndarray, shape (n, m)

    Raises
    ------
    ValueError
        If the layers do not chain or E has another shape than their product.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> rates.apply_operator([np.diag([2.0, 1.0]), np.eye(2)], np.ones((2, 2)))
    array([[5., 5.],
           [2., 2.]])
    """
    left, right = _factors(weights)
    E = _check.shaped("E", E, (len(left[-1]), len(right[0])), "the product")
    return sum(P @ E @ Q for P, Q in zip(left, right, strict=True))


def operator(weights: networks.Layers) -> np.ndarray:
    r"""Return the matrix of :math:`\mathcal T`, shape (nm, nm), symmetric.

    It acts on W read row by row (numpy's `ravel`): ``operator(weights) @ E.ravel()`` is
    ``apply_operator(weights, E).ravel()``. In that order it is
    :math:`\sum_l(A_lA_l^\top)\otimes(B_l^\top B_l)`.

    Parameters
    ----------
    weights : list of matrices
        The layers, whose shapes chain; for a product of shape (n, m).

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> rates.operator([np.array([[3.0]]), np.array([[2.0]])])  # two numbers: 3² + 2²
    array([[13.]])
    """
    return sum(np.kron(P, Q) for P, Q in zip(*_factors(weights), strict=True))


def smallest_eigenvalue(weights: networks.Layers) -> float:
    r"""Return :math:`\lambda_{\min}(\mathcal T)`.

    For two layers it is :math:`\lambda_n(W_1W_1^\top)+\lambda_m(W_2^\top W_2)`. For more layers
    the matrix of T is formed only if it is small; otherwise a preconditioned iteration on
    matrices of the shape of W gives a value within 1e-8 of the largest eigenvalue, for singular
    T too.

    Parameters
    ----------
    weights : list of matrices
        The layers, whose shapes chain.

    Notes
    -----
    The benchmark `benchmarks/rates.py` compares the iteration with the dense solver and with
    `scipy.sparse.linalg.lobpcg` under the same preconditioner.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> round(rates.smallest_eigenvalue([np.diag([2.0, 1.0]), np.diag([3.0, 0.5])]), 4)
    1.25
    """
    weights = networks.chained(weights)
    if len(weights) == 1:
        return 1.0
    if len(weights) == 2:
        return _smallest_square(weights[0]) + _smallest_square(weights[1].T)
    if len(weights[0]) * weights[-1].shape[1] > SMALL:
        found = _lowest(*_factors(weights))
        if found is not None:
            return found
    return float(max(_least(operator(weights)), 0.0))


def _factors(weights):
    r"""Return the lists of :math:`A_lA_l^\top` and of :math:`B_l^\top B_l`, l = 1, …, L."""
    weights = networks.chained(weights)
    ahead = accumulate(weights[:-1], np.matmul, initial=np.eye(len(weights[0])))
    behind = accumulate(weights[:0:-1], lambda B, W: W @ B, initial=np.eye(weights[-1].shape[1]))
    return [A @ A.T for A in ahead], [B.T @ B for B in reversed(list(behind))]


def _lowest(left, right, tol=1e-8, max_iter=500):
    r"""Return :math:`\lambda_{\min}` of :math:`E\mapsto\sum_lP_lEQ_l`, None without convergence.

    Locally optimal preconditioned conjugate gradients (Knyazev 2001) for one vector, an n × m
    matrix X. `scipy.sparse.linalg.lobpcg` with this preconditioner takes two to five times as long
    up to a product of 60 × 60 and as long at 100 × 100 (`benchmarks/rates.py`). In the eigenbases
    of :math:`\sum_{l>1}\lambda_{\min}(Q_l)P_l` and
    :math:`\sum_{l<L}\lambda_{\min}(P_l)Q_l`, T is nearly diagonal where it is small: the
    preconditioner inverts its diagonal, and exactly the block of the `COARSE` smallest diagonal
    entries. It stops when ‖TX - λX‖ ≤ tol·‖T‖, so that λ is that close to an eigenvalue.
    """
    between = list(zip(left[1:-1], right[1:-1], strict=True))
    U = np.linalg.eigh(left[-1] + sum(_least(Q) * P for P, Q in between))[1]
    V = np.linalg.eigh(right[0] + sum(_least(P) * Q for P, Q in between))[1]
    left, right = [U.T @ P @ U for P in left], [V.T @ Q @ V for Q in right]
    diagonal = sum(np.outer(np.diag(P), np.diag(Q)) for P, Q in zip(left, right, strict=True))
    shape, diagonal = diagonal.shape, diagonal.ravel()
    size = diagonal.max()  # at most ‖T‖
    if size == 0:
        return 0.0
    coarse = np.argpartition(diagonal, COARSE)[:COARSE]
    i, j = np.divmod(coarse, shape[1])
    block = sum(P[np.ix_(i, i)] * Q[np.ix_(j, j)] for P, Q in zip(left, right, strict=True))
    levels, modes = np.linalg.eigh(block)
    between = list(zip(left[1:-1], right[1:-1], strict=True))

    def apply(x):
        E = x.reshape(shape)
        result = left[-1] @ E + E @ right[0]
        for P, Q in between:
            result += P @ E @ Q
        return result.ravel()

    def precondition(r, value):
        h = r / np.maximum(np.abs(diagonal - value), 1e-9 * size)
        inverse = 1 / np.maximum(np.abs(levels - value), 1e-9 * size)
        h[coarse] = modes @ (inverse * (r[coarse] @ modes))
        return h

    # Comparable parts in all slow directions: T may split into blocks that do not see each other.
    x = precondition(np.cos(np.arange(diagonal.size) ** 2.0), 0.0)
    x /= np.sqrt(x @ x)
    y, step, image = apply(x), 0 * x, 0 * x
    basis, images = np.empty((2, 3, diagonal.size))  # of the iterate, the residual, the last step
    for _ in range(max_iter):
        value = x @ y
        residual = y - value * x
        if np.sqrt(residual @ residual) <= tol * size:
            return float(max(value, 0.0))
        h = precondition(residual, value)
        h -= (x @ h) * x
        h /= np.sqrt(h @ h)
        basis[0], basis[1], images[0], images[1] = x, h, y, apply(h)
        used = 2
        if np.sqrt(step @ step) > 1e-10:
            shares, used = basis[:2] @ step, 3
            basis[2], images[2] = step - shares @ basis[:2], image - shares @ images[:2]
            length = np.sqrt(basis[2] @ basis[2])
            basis[2] /= length
            images[2] /= length
        c = np.linalg.eigh(basis[:used] @ images[:used].T)[1][:, 0]
        step, image = c[1:] @ basis[1:used], c[1:] @ images[1:used]
        x, y = c[0] * x + step, c[0] * y + image
    return None


# ---- The margin -----------------------------------------------------------------------------


def margins(target: ArrayLike, start: ArrayLike, condition: float = 1.0) -> np.ndarray:
    r"""Return :math:`M_i=[\sigma_i(W^*)-\sqrt{K/\mu}\,\|W^*-W_0\|_F]_+`, i = 1, …, max(n, m).

    Along the gradient flow of any layers, for a μ-strongly convex f with K-Lipschitz gradient and
    minimizer W*, :math:`\sigma_i(W(t))\ge M_i` (Mallada 2022, "To general case"). Beyond min(n, m)
    they are 0; the last one before that is the margin of :math:`\sigma_{\min}`.

    Parameters
    ----------
    target, start : matrices, shape (n, m)
        W* and the product W_0 of the initial weights.
    condition : float
        K/μ ≥ 1.

    Returns
    -------
    ndarray, shape (max(n, m),)

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> rates.margins(np.diag([3.0, 2.0]), np.diag([3.0, 1.5]))
    array([2.5, 1.5])
    """
    target = _check.matrix("target", target)
    start = _check.shaped("start", start, target.shape, "target")
    condition = _check.number("condition", condition, 1)
    singular = np.linalg.svd(target, compute_uv=False)
    reach = np.sqrt(condition) * np.linalg.norm(target - start)
    return np.pad(np.maximum(singular - reach, 0.0), (0, max(target.shape) - len(singular)))


# ---- Scalar layers of any depth -------------------------------------------------------------


def cumulative_imbalances(imbalances: ArrayLike) -> np.ndarray:
    r"""Return :math:`c_{(i)}=w_{(i)}^2-\min_jw_j^2`, i = 1, …, L - 1, from the largest down.

    The smallest of the L weights, whose own difference is zero, is left out.

    Parameters
    ----------
    imbalances : array_like, shape (..., L - 1)
        The consecutive :math:`d_l=w_l^2-w_{l+1}^2`.

    Examples
    --------
    >>> from overparam import rates
    >>> rates.cumulative_imbalances([1.0, 3.0])  # of squares such as 4, 3, 0
    array([4., 3.])
    """
    d = np.atleast_1d(_check.finite_array("imbalances", imbalances))
    squares = np.sort(-np.cumsum(np.insert(d, 0, 0.0, axis=-1), axis=-1))  # less that of w_1
    return (squares - squares[..., :1])[..., :0:-1]


def deep_scalar_bound(imbalances: ArrayLike, product: ArrayLike) -> float | np.ndarray:
    r"""Return :math:`\sqrt{(\prod_ic_{(i)})^2+(L|w|^{2-2/L})^2}\le\sum_l\prod_{i\ne l}w_i^2`.

    Proposition 1 of Mallada 2022 with the cumulative imbalances :math:`c_{(i)}`; an
    equality for L = 2. With the margin in place of :math:`|w|` it bounds
    :math:`\lambda_{\min}(\mathcal T)` along the whole flow.

    Parameters
    ----------
    imbalances : array_like, shape (..., L - 1)
        Consecutive :math:`d_l=w_l^2-w_{l+1}^2`.
    product : array_like, broadcast against the leading axes
        :math:`w=w_1\cdots w_L`, of either sign.

    Examples
    --------
    >>> from overparam import rates
    >>> round(rates.deep_scalar_bound([1.0, 1.0], 6**0.5), 3)  # squares 3, 2, 1: exactly 11
    10.106
    """
    c = cumulative_imbalances(imbalances)
    w = np.abs(_check.finite_array("product", product))
    depth = c.shape[-1] + 1
    bound = np.hypot(np.prod(c, axis=-1), depth * w ** (2 - 2 / depth))
    return float(bound) if bound.ndim == 0 else bound


def deep_scalar_optimum(imbalances: ArrayLike, product: float) -> float:
    r"""Return :math:`\alpha^*=\sum_l\prod_{i\ne l}w_i^2` from the imbalances and the product.

    :math:`\alpha^*=p'(s)` at the one root s ≥ 0 of the polynomial
    :math:`p(s)=\prod_l(s+c_l)=w^2` (Mallada 2022, "Multi-layer Scalar Networks").

    Parameters
    ----------
    imbalances : array_like, shape (L - 1,)
        Consecutive :math:`d_l=w_l^2-w_{l+1}^2`.
    product : float

    Examples
    --------
    >>> from overparam import rates
    >>> round(rates.deep_scalar_optimum([1.0, 1.0], 6**0.5), 3)  # 2·1 + 3·1 + 3·2
    11.0
    """
    d = _check.finite_array("imbalances", np.atleast_1d(imbalances), ndim=1)
    squares = networks.layer_scales(product, d) ** 2
    return float(sum(np.prod(np.delete(squares, l)) for l in range(len(squares))))


# ---- Two layers -----------------------------------------------------------------------------


def two_layer_bound(
    D: ArrayLike, n: int, m: int, sigma_n: float, sigma_m: float, scale: float = 0.0
) -> float:
    r"""Return the lower bound of :math:`\lambda_{\min}(\mathcal T)` of Proposition 2.

    .. math::
       &\tfrac12\bigl[-\Delta_++\sqrt{(\Delta_++\underline\Delta)^2+4\sigma_m^2}\\
       &\quad-\Delta_-+\sqrt{(\Delta_-+\underline\Delta)^2+4\sigma_n^2}\,\bigr]

    with :math:`\Delta_+=[\lambda_1(D)]_+-[\lambda_n(D)]_+`,
    :math:`\Delta_-=[\lambda_1(-D)]_+-[\lambda_m(-D)]_+`,
    :math:`\underline\Delta=[\lambda_n(D)]_++[\lambda_m(-D)]_+` (Mallada 2022,
    "Proposition 2", where the ½ is missing). Attained for n ≠ m, see `two_layer_minimizer`.

    Parameters
    ----------
    D : matrix, shape (h, h)
        :math:`D=W_1^\top W_1-W_2W_2^\top` with W_1 of shape (n, h) and W_2 of shape (h, m).
    n, m : int
    sigma_n, sigma_m : float, not negative
        The n-th and m-th singular values of the product (or lower bounds of them, such as the
        margins); 0 beyond min(n, m).
    scale : float, optional
        Size of :math:`W_1^\top W_1`, if D may be the small difference of large matrices: then
        eigenvalues of D below 1e-8 of it are round-off.

    Raises
    ------
    ValueError
        If D is not symmetric or cannot come from such weights (more than n positive or m negative
        eigenvalues, beyond round-off), or a singular value is negative or not there.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> round(rates.two_layer_bound(np.diag([1.0, -1.0]), 2, 2, 0.5, 0.5), 4)
    0.4142
    """
    n, m = _check.count("n", n), _check.count("m", m)
    h = len(_check.matrix("D", D))
    sigma_n = _singular_value("sigma_n", sigma_n, n, min(m, h))
    sigma_m = _singular_value("sigma_m", sigma_m, m, min(n, h))
    values = imbalance_spectrum("D", D, n, m, scale=max(sigma_n, sigma_m, scale))[0]
    up, down = (np.pad(np.maximum(side, 0), (0, n + m)) for side in (values, -values[::-1]))
    # For each layer: its guaranteed imbalance, and that of the other layer against it.
    first = _one_sided(up[n - 1], down[0], sigma_n)
    return float(first + _one_sided(down[m - 1], up[0], sigma_m))


def _one_sided(a, b, sigma):
    r"""Return the root x ≥ a of (x - a)(x + b) = σ², a bound for the layer's least eigenvalue.

    That is :math:`\frac12(a-b+\sqrt{(a+b)^2+4\sigma^2})`, with no cancellation for large b.
    """
    return a + 2 * sigma**2 / (a + b + np.hypot(a + b, 2 * sigma)) if sigma > 0 else a


def two_layer_minimizer(D: ArrayLike, W: ArrayLike) -> networks.Layers:
    r"""Return [W_1, W_2] with imbalance D and product W that attain `two_layer_bound`, if n ≠ m.

    For n = m they attain the first of its two terms, that of W_1.
    The weights split into modes: each singular value of W takes one eigenvector of D, or a pair of
    them with a positive and a negative eigenvalue. The smallest singular value takes
    :math:`\lambda_n(D)` if that is positive and, if it is not zero itself, the most negative one.

    Parameters
    ----------
    D : matrix, shape (h, h)
    W : matrix, shape (n, m)

    Raises
    ------
    ValueError
        If no weights have this imbalance and this product.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> least = rates.two_layer_minimizer(np.diag([1.0, -1.0]), np.array([[0.5, 0.0]]))
    >>> round(rates.smallest_eigenvalue(least), 4)  # the bound: (1 - 1 + hypot(2, 1))/2
    1.118
    """
    W = _check.matrix("W", W)
    n, m = W.shape
    if n > m:
        return [layer.T for layer in two_layer_minimizer(-_check.matrix("D", D), W.T)[::-1]]
    left, sigma, right = np.linalg.svd(W)
    sigma = np.where(sigma > 1e-13 * sigma[0], sigma, 0.0)
    values, vectors = imbalance_spectrum("D", D, n, m, scale=sigma[0])
    h = len(values)
    positive, negative = np.flatnonzero(values[:n] > 0), np.flatnonzero(values < 0)[: -m - 1 : -1]
    zero = sorted({*range(h)} - {*positive} - {*negative})
    # A place is an index of a singular value, or n, …, m - 1 for a direction in the kernel of W.
    up = dict(enumerate(positive))
    order = sorted(range(n), key=lambda k: (k in up or sigma[k] == 0, -k))  # the needy ones first
    down = dict(zip([*order, *range(n, m)], negative, strict=False))
    # The index h stands for no eigenvector.
    values, sigma = np.append(values, 0.0), np.append(sigma, np.zeros(m - n))
    first, second = np.zeros((m, h + 1)), np.zeros((h + 1, m))
    for k in range(m):
        i, j = up.get(k, h), down.get(k, h)
        a, b = values[i], -values[j]
        if a + b > 0:
            x = _one_sided(a, b, sigma[k])
            for column, share, u, v in ((i, a, x + b, x - a), (j, b, x - a, x + b)):
                first[k, column] = np.sqrt(share * u / (a + b))
                second[column, k] = np.sqrt(share * v / (a + b))
        elif sigma[k] > 0:
            if not zero:
                raise ValueError(
                    f"W has rank {np.sum(sigma > 0)}, too large for D of shape {(h, h)}: "
                    "no weights have this imbalance and this product"
                )
            first[k, zero[0]] = second[zero.pop(0), k] = np.sqrt(sigma[k])
    return [left @ first[:n, :h] @ vectors.T, vectors @ second[:h] @ right]


# ---- Rates of the losses --------------------------------------------------------------------


def factorization_rate(Y: ArrayLike, U0: ArrayLike, V0: ArrayLike) -> float:
    r"""Return ρ with :math:`\ell(t)\le\ell(0)e^{-\rho t}`, :math:`\ell=\frac12\|Y-UV^\top\|_F^2`.

    :math:`\rho=l_1+\sqrt{l_2^2+4M_n^2}+l_3+\sqrt{l_4^2+4M_m^2}`, twice `two_layer_bound` of
    :math:`\Lambda_0=U_0^\top U_0-V_0^\top V_0` with the margins
    :math:`M_i=[\sigma_i(Y)-\|Y-U_0V_0^\top\|_F]_+`. The :math:`l_i` are those of
    Mallada 2023, "General Initialization", with
    :math:`\underline\lambda_+=[\lambda_m(\Lambda_0)]_+` and
    :math:`\underline\lambda_-=[\lambda_n(-\Lambda_0)]_+`.

    Parameters
    ----------
    Y : matrix, shape (m, n)
    U0, V0 : matrices, shapes (m, k) and (n, k)
        Any width k; the rate is 0 where neither imbalance nor margin gives one.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> eye = np.eye(2)
    >>> round(rates.factorization_rate(1.5 * eye, 2 * eye, 0.5 * eye), 4)  # 2·hypot(3.75, 2·M)
    8.143
    """
    Y = _check.matrix("Y", Y)
    return regression_rate(np.eye(len(Y)), Y, U0, V0)


def regression_rate(X: ArrayLike, Y: ArrayLike, U0: ArrayLike, V0: ArrayLike) -> float:
    r"""Return ρ with :math:`\ell(t)-\ell^*\le e^{-\rho t}(\ell(0)-\ell^*)`,
    :math:`\ell=\frac12\|Y-XUV^\top\|_F^2`.

    For X of full column rank :math:`\rho` is :math:`\lambda_{\min}(X^\top X)` times
    :math:`l_1+\sqrt{l_2^2+4M_n^2}+l_3+\sqrt{l_4^2+4M_m^2}` as in `factorization_rate`, with
    :math:`M_i=[\sigma_i(W^*)-\sqrt{K/\mu}\,\|W^*-U_0V_0^\top\|_F]_+`, where K and μ are the largest
    and the smallest eigenvalue of :math:`X^\top X` (Mallada 2023, "Matrix Factorization vs Linear
    Regression", corrected). Otherwise the directions that X does not see are frozen, and the rate
    is that of the regression in the row space of X: with the smallest eigenvalue that is not zero,
    and :math:`U_1=\Phi_1^\top U_0` in place of :math:`U_0`.

    Parameters
    ----------
    X, Y : matrices, shapes (N, m) and (N, n)
    U0, V0 : matrices, shapes (m, k) and (n, k)

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> X, Y, U0, V0 = (np.array([[value]]) for value in (2.0, 2.0, 1.0, 0.5))
    >>> round(rates.regression_rate(X, Y, U0, V0), 4)  # 2·4·hypot(0.75, 2·(1 - 0.5))
    10.0
    """
    X, Y = _check.data(X, Y, "Y", 2)
    n = Y.shape[1]
    U0, V0 = _check.factors(U0, V0, X.shape[1], n)
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    r = np.linalg.matrix_rank(X)
    if not r:
        raise ValueError("X is zero: there is nothing to learn from it")
    target, U1 = left[:, :r].T @ Y / singular[:r, None], right[:r] @ U0
    M = margins(target, U1 @ V0.T, (singular[0] / singular[r - 1]) ** 2)
    # A singular value of the product beyond the width is zero, and so is its margin.
    sigma = [M[i - 1] if i <= min(r, n, U0.shape[1]) else 0.0 for i in (r, n)]
    A, B = U1.T @ U1, V0.T @ V0
    bound = two_layer_bound(A - B, r, n, *sigma, scale=np.linalg.norm(A, 2))
    return float(2 * singular[r - 1] ** 2 * bound)


def measured_rates(
    weights: networks.Layers, Y: np.ndarray, t: np.ndarray, X: np.ndarray | None = None
) -> np.ndarray:
    r"""Return :math:`\min_t\frac1t\log\frac{\ell(0)}{\ell(t)}` for many networks at once.

    :math:`\ell` is :math:`\frac12\|Y-XW\|_F^2` minus its minimum; every valid rate is at most this.
    Times at which a loss has fallen below 1e-6 of its first value are left out, as too close to
    the error of the integration.

    Parameters
    ----------
    weights : list of arrays, shapes (batch, n, h_1), …, (batch, h_{L-1}, m)
    Y : array, shape (batch, n, m), or (batch, N, m) if X is given
    t : increasing array of positive times
    X : array, shape (batch, N, n), optional
        Of full column rank. Without it X is the identity.

    Returns
    -------
    ndarray, shape (batch,)

    Raises
    ------
    ValueError
        If a flow cannot be followed to the last time.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> weights = [np.full((1, 1, 1), 1.01), np.full((1, 1, 1), 1.0)]  # next to the target 1
    >>> rates.measured_rates(weights, np.ones((1, 1, 1)), np.array([0.5, 1.0])).round(1)
    array([4.])
    """
    weights = [_check.finite_array(f"weights[{i}]", W, ndim=3) for i, W in enumerate(weights)]
    t, Y = _check.finite_array("t", t, ndim=1), _check.finite_array("Y", Y, ndim=3)
    X = np.eye(Y.shape[1])[None] if X is None else _check.finite_array("X", X, ndim=3)
    curvature, best = X.mT @ X, np.linalg.pinv(X) @ Y

    def gradients(layers):
        return networks.gradients(layers, lambda W: curvature @ (W - best))

    def excess(layers):
        gap = reduce(np.matmul, layers) - best
        return np.sum(gap * (curvature @ gap), axis=(1, 2))  # but for a factor

    tiny = 1e-15 * max(map(np.linalg.norm, weights))
    path = flow.gradient_flow(gradients, weights, t, rtol=1e-12, atol=tiny)
    if path.reason != flow.END_OF_TIME:
        raise ValueError(f"weights give a flow that could not be followed to t = {t[-1]:g}: {path}")
    fall = np.array([excess(layers) for layers in path]) / excess(weights)
    rates = -np.log(np.maximum(fall, 1e-300)) / t[:, None]
    return np.where(fall > 1e-6, rates, np.inf).min(axis=0)


# ---- Eigenvalues ----------------------------------------------------------------------------


def _least(A):
    """Return the smallest eigenvalue of a symmetric matrix."""
    return np.linalg.eigvalsh(A)[0]


def _smallest_square(A):
    """Return the smallest eigenvalue of AAᵀ."""
    return float(np.linalg.svd(A, compute_uv=False)[-1] ** 2) if len(A) <= A.shape[1] else 0.0


def imbalance_spectrum(
    name: str, D: ArrayLike, positive: int, negative: int, scale: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (largest first) and eigenvectors of a possible imbalance matrix.

    Parameters
    ----------
    name : str
        How the argument D is called in messages.
    D : matrix, symmetric
    positive, negative : int
        How many eigenvalues of each sign the layers allow.
    scale : float
        See `two_layer_bound`.

    Raises
    ------
    ValueError
        If D is not symmetric or has more eigenvalues of a sign, beyond 1e-8 of its size or `scale`.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import rates
    >>> rates.imbalance_spectrum("D", np.diag([-1.0, 2.0]), 1, 1)[0]
    array([ 2., -1.])
    """
    D = _check.matrix(name, D)
    small = 1e-8 * max(_check.number("scale", scale, 0), np.abs(D).max())
    if D.shape[0] != D.shape[1] or np.abs(D - D.T).max() > small:
        raise ValueError(f"{name} must be a symmetric matrix, got one of shape {D.shape}")
    values, vectors = np.linalg.eigh((D + D.T) / 2)
    found = np.sum(values > small), np.sum(values < -small)
    if found[0] > positive or found[1] > negative:
        raise ValueError(
            f"{name} cannot be an imbalance of these layers: it has {found[0]} positive and "
            f"{found[1]} negative eigenvalues, at most {positive} and {negative} are possible; if "
            "it is round-off of large weights, give their size as scale"
        )
    return values[::-1], vectors[:, ::-1]


def _singular_value(name, value, index, rank):
    value = _check.number(name, value, 0)
    if value > 0 and index > rank:
        raise ValueError(
            f"{name} must be 0, got {value:g}: the product has rank at most {rank}, so that its "
            f"singular value number {index} is zero"
        )
    return value
