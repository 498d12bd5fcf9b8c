r"""Unequal layers (chapter "Unequal layers: lazy, rich, and late").

The flow of :math:`\tfrac12\|Y-UV^\top\|_F^2` from factors with homogeneous imbalance
:math:`U_0^\top U_0-V_0^\top V_0=\lambda I`, for any sizes Y (m × n), U (m × k), V (n × k), and
one hidden neuron :math:`\beta=uv` on general data.

Letters as in `riccati`: R = [U; V], :math:`Q=RR^\top`, S the symmetric matrix of
:math:`\dot Q=SQ+QS-Q^2` with the eigenvalues :math:`\mu`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overparam import _check, flow, riccati, sensing

# Numbers below this share of the largest are taken for zero; equal eigenvalues differ by less.
CLOSE = 1e-9


def limit(Y: ArrayLike, U0: ArrayLike, V0: ArrayLike) -> NDArray:
    r"""Return :math:`\lim_{t\to\infty}UV^\top` for any start with homogeneous imbalance.

    Greedy pivots: with :math:`\mu_{(1)}>\mu_{(2)}>\dots>0` the positive eigenvalues of S,
    :math:`P_j` a basis of the j-th eigenspace, :math:`C_j=P_j^\top R_0` and
    :math:`K_0=\mathbb R^k`, :math:`K_j=K_{j-1}\cap\ker C_j`, the limit of Q is
    :math:`\sum_j2\mu_{(j)}\Pi_j`, :math:`\Pi_j` the projector on :math:`P_jC_jK_{j-1}`.

    Parameters
    ----------
    Y : matrix, shape (m, n)
    U0, V0 : matrices, shapes (m, k) and (n, k)

    Returns
    -------
    ndarray, shape (m, n)
        The sum of :math:`\sigma_i\phi_i\psi_i^\top` over those singular triples of Y that are
        learnt.

    Raises
    ------
    ValueError
        If shapes do not fit or the imbalance is not homogeneous.

    Notes
    -----
    Ranks are decided at 1e-9 of the size of the start: a component smaller than that counts as
    none, although the exact flow would learn from it in the end.

    Examples
    --------
    A balanced start with det X₀ · det Y < 0 misses the smaller mode.

    >>> import numpy as np
    >>> from overparam import unequal
    >>> unequal.limit(np.diag([2.0, 1.0]), 0.3 * np.eye(2), np.diag([0.3, -0.3])).round(6) + 0
    array([[2., 0.],
           [0., 0.]])
    """
    Y = _check.matrix("Y", Y)
    m, n = Y.shape
    U0, V0 = _check.factors(U0, V0, m, n)
    eigenvalues, P = np.linalg.eigh(
        riccati.riccati_matrix(Y, riccati.homogeneous_imbalance(U0, V0))
    )
    R = np.vstack([U0, V0])
    size, scale = np.linalg.norm(R, 2), np.abs(eigenvalues).max()
    rest, X = np.eye(R.shape[1]), np.zeros(Y.shape)
    for group in _groups(eigenvalues, CLOSE * scale):
        basis = P[:, group]
        left, singular, right = np.linalg.svd(basis.T @ R @ rest)
        rank = int(np.sum(singular > CLOSE * size))
        pivots = basis @ left[:, :rank]
        X += 2 * eigenvalues[group].mean() * pivots[:m] @ pivots[m:].T
        rest = rest @ right[rank:].T
        if not rest.size:
            break
    return X


def _groups(eigenvalues, close):
    """Yield the indices of equal positive eigenvalues, from the largest, of an ascending array."""
    end = len(eigenvalues)
    while end and eigenvalues[end - 1] > close:
        begin = int(np.searchsorted(eigenvalues, eigenvalues[end - 1] - close))
        yield slice(begin, end)
        end = begin


def escape_bound(Y: ArrayLike, imbalance: float) -> float:
    r"""Return :math:`\lambda^2/(2\mu_1)`, :math:`\mu_1=\sqrt{\lambda^2/4+\sigma_1(Y)^2}`.

    Every start with :math:`U_0^\top U_0-V_0^\top V_0=\lambda I` has
    :math:`\sigma_{\min}(P_+^\top R_0)^2` at least as large, :math:`P_+` a basis of the
    eigenvectors of S with positive eigenvalues: no direction of the hidden space is without a
    growing part.

    Examples
    --------
    >>> from overparam import unequal
    >>> round(unequal.escape_bound([[1.0]], 2.0), 6)
    1.414214
    """
    Y, imbalance = _check.matrix("Y", Y), _check.number("imbalance", imbalance)
    largest = np.hypot(imbalance / 2, np.linalg.norm(Y, 2))
    return float(imbalance * (imbalance / (2 * largest))) if imbalance else 0.0


def tangent_kernel(X: ArrayLike, imbalance: float) -> NDArray:
    r"""Return the tangent kernel of :math:`(U,V)\mapsto UV^\top` from the product and λ alone.

    :math:`K=VV^\top\otimes I+I\otimes UU^\top` with
    :math:`UU^\top=\tfrac12(\lambda I+(\lambda^2I+4XX^\top)^{1/2})` and
    :math:`VV^\top=\tfrac12(-\lambda I+(\lambda^2I+4X^\top X)^{1/2})`. This is the kernel of every
    start with homogeneous imbalance λ if λ = 0, or λ > 0 and k = m, or λ < 0 and k = n, and not
    of every start otherwise.

    Parameters
    ----------
    X : matrix, shape (m, n)
    imbalance : float
        λ.

    Returns
    -------
    ndarray, shape (mn, mn)
        Acts on X with its columns stacked, ``X.ravel(order="F")``.

    Examples
    --------
    >>> from overparam import unequal
    >>> unequal.tangent_kernel([[2.0]], 3.0).round(6)
    array([[5.]])
    """
    X, imbalance = _check.matrix("X", X), _check.number("imbalance", imbalance)
    m, n = X.shape
    return np.kron(_gram(X.T, -imbalance), np.eye(m)) + np.kron(np.eye(n), _gram(X, imbalance))


def _gram(X, imbalance):
    """Return (λI + (λ²I + 4XXᵀ)^½)/2, written so that nothing cancels for negative λ."""
    left, singular, _ = np.linalg.svd(X)
    singular = np.pad(singular, (0, len(X) - len(singular)))
    root = np.hypot(imbalance, 2 * singular)
    if imbalance >= 0:
        return left * ((imbalance + root) / 2) @ left.T
    return left * (2 * singular * (singular / (root - imbalance))) @ left.T


def slow_subspace(Y: ArrayLike, U0: ArrayLike, tau: float) -> NDArray:
    r"""Return the projector on :math:`e^{\tau YY^\top}\operatorname{range}U_0` (Oja's flow).

    The features of a large first layer, λ → +∞, at the time t = τλ.

    Parameters
    ----------
    Y : matrix, shape (m, n)
    U0 : matrix, shape (m, k), of full column rank
    tau : float, not negative

    Returns
    -------
    ndarray, shape (m, m)

    Raises
    ------
    ValueError
        If the sizes do not fit, the columns of U0 are dependent, or tau is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import unequal
    >>> unequal.slow_subspace([[1.0], [0.0]], [[1.0], [1.0]], np.log(2)).round(6)
    array([[0.8, 0.4],
           [0.4, 0.2]])
    """
    Y, U0 = _check.matrix("Y", Y), _check.matrix("U0", U0)
    tau = _check.number("tau", tau, 0)
    if len(U0) != len(Y):
        raise ValueError(f"U0 must have as many rows as Y ({len(Y)}), got {len(U0)}")
    if np.linalg.matrix_rank(U0) < U0.shape[1]:
        raise ValueError("U0 must have independent columns; its range has a lower dimension")
    left, singular, _ = np.linalg.svd(Y)
    squares = np.pad(singular, (0, len(Y) - len(singular))) ** 2
    basis = np.linalg.qr(left.T @ U0)[0]
    # The semigroup in steps that keep the columns independent in float64.
    steps = max(1, int(np.ceil(tau * squares.max() / 8)))
    growth = np.exp(squares * (tau / steps))[:, None]
    for _ in range(steps):
        basis = np.linalg.qr(growth * basis)[0]
    basis = left @ basis
    return basis @ basis.T


def equal_rates(
    Y: ArrayLike, U0: ArrayLike, V0: ArrayLike, rates: tuple[float, float]
) -> tuple[NDArray, NDArray, NDArray]:
    r"""Return the plain problem (Y, U0, V0) that equals a flow with two learning rates.

    :math:`\dot U=\eta_U(Y-UV^\top)V`, :math:`\dot V=\eta_V(Y-UV^\top)^\top U` becomes the flow
    of :math:`\tilde U=U/\sqrt{\eta_U}`, :math:`\tilde V=V/\sqrt{\eta_V}` for the target
    :math:`\tilde Y=Y/c`, :math:`c=\sqrt{\eta_U\eta_V}`, in the time :math:`c^2t`; then
    :math:`UV^\top=c\,\tilde U\tilde V^\top`.

    Parameters
    ----------
    Y, U0, V0 : matrices, shapes (m, n), (m, k), (n, k)
    rates : pair of floats, positive
        :math:`(\eta_U,\eta_V)`.

    Examples
    --------
    >>> from overparam import unequal
    >>> Y, U, V = unequal.equal_rates([[6.0]], [[4.0]], [[3.0]], (4.0, 9.0))
    >>> float(Y[0, 0]), float(U[0, 0]), float(V[0, 0])
    (1.0, 2.0, 1.0)
    """
    Y = _check.matrix("Y", Y)
    U0, V0 = _check.factors(U0, V0, *Y.shape)
    rates = _check.finite_array("rates", rates, ndim=1)
    if len(rates) != 2 or rates.min() <= 0:
        raise ValueError(f"rates must be two positive numbers, for U and for V; got {rates}")
    first, second = np.sqrt(rates)
    return Y / (first * second), U0 / first, V0 / second


def neuron_potential(r: ArrayLike, imbalance: float) -> NDArray:
    r"""Return :math:`\psi(r)=|u|r-\tfrac13|v|^3` of one neuron with :math:`\|u\||v|=r`.

    :math:`\psi'(r)=\|u\|=\sqrt{(\lambda+\sqrt{\lambda^2+4r^2})/2}` with the imbalance
    :math:`\lambda=\|u\|^2-v^2`.

    Parameters
    ----------
    r : float or array, not negative
    imbalance : float
        λ.

    Examples
    --------
    >>> from overparam import unequal
    >>> float(unequal.neuron_potential(1.0, 0.0).round(6))
    0.666667
    """
    r, imbalance = _check.not_negative("r", r), _check.number("imbalance", imbalance)
    first, second = _neuron_squares(r, imbalance)
    return np.sqrt(first) * r - second**1.5 / 3


def _neuron_squares(r, imbalance):
    """Return ‖u‖² and v² with ‖u‖²v² = r² and ‖u‖² - v² = λ, without cancellation."""
    root = np.hypot(imbalance, 2 * r)
    large = (abs(imbalance) + root) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.where(large > 0, r * (r / large), 0.0)
    return (large, small) if imbalance >= 0 else (small, large)


def neuron_limit(X: ArrayLike, y: ArrayLike, u0: ArrayLike, v0: float) -> NDArray:
    r"""Return :math:`\beta_\infty=u_\infty v_\infty` of the flow of :math:`\tfrac12\|y-Xuv\|^2`.

    It minimizes :math:`\psi(\|\beta\|)-\varepsilon\langle u_0,\beta\rangle` among the
    interpolants, :math:`\varepsilon` the sign of v at the end (`neuron_potential`), and equals
    :math:`X^+y+v_\infty u_\perp` with the part :math:`u_\perp` of :math:`u_0` in the kernel of X,
    which never moves. Only the sign of :math:`v_\infty` takes an integration: v can cross zero
    if :math:`\lambda>0`.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,), in the range of X
    u0 : vector, shape (d,)
    v0 : float

    Returns
    -------
    ndarray, shape (d,)

    Raises
    ------
    ValueError
        If shapes do not fit, no :math:`\beta` interpolates, or the flow tends to the saddle
        with v = 0, so that the loss does not go to zero.

    Examples
    --------
    >>> from overparam import unequal
    >>> unequal.neuron_limit([[1.0, 0.0]], [1.0], [0.0, 2.0], 1.0).round(6)
    array([1.      , 2.544039])
    """
    (X, y), v0 = _check.data(X, y), _check.number("v0", v0)
    u0 = _check.shaped("u0", u0, X.shape[1:], "a row of X")
    basis, singular, target = sensing.row_space(X, y)
    seen = u0 @ basis
    size = np.linalg.norm(target)
    _, square = _neuron_squares(size, seen @ seen - v0**2)
    if size == 0:
        return np.sqrt(square) * np.sign(v0) * (u0 - basis @ seen)
    end = np.sqrt(square) * _final_sign(singular, target, seen, v0)
    return basis @ target + end * (u0 - basis @ seen)


def _final_sign(singular, target, p, v):
    """Return the sign of v at the end of the flow on the rows of X.

    Once the loss is below its value at v = 0, v cannot change its sign any more.
    """
    if p @ p < v**2:
        return np.sign(v)
    # In units in which the largest singular value and the target are one.
    weight, unit = (singular / singular[0]) ** 2, np.sqrt(np.linalg.norm(target))
    target = target / unit**2
    below = 0.99 * (weight @ target**2)

    def gradient(w):
        pull = weight * (w[:-1] * w[-1] - target)
        return np.append(w[-1] * pull, w[:-1] @ pull)

    def excess(w):
        return weight @ (w[:-1] * w[-1] - target) ** 2 - below

    path = flow.gradient_flow(gradient, np.append(p, v) / unit, 1e3 / weight[-1], stop=excess)
    if path.reason != flow.LOSS_REACHED:
        raise ValueError(
            "the flow from u0 and v0 does not reach zero loss: it tends to the saddle with "
            "v = 0; move u0 or v0"
        )
    return np.sign(path.final[-1])
