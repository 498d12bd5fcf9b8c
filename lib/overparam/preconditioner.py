r"""The implicit preconditioner of depth (chapter "The implicit preconditioner").

Letters: W (n × m) is the end-to-end matrix of L = `depth` layers, with singular values
:math:`\sigma_r`, taken as 0 beyond min(n, m), and singular vectors :math:`u_r,v_s`; G is a
gradient :math:`\nabla f(W)`. Balanced layers have :math:`W_l^\top W_l=W_{l+1}W_{l+1}^\top`.
"""

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, flow
from overparam.losses import Loss


def apply(W: ArrayLike, G: ArrayLike, depth: int) -> np.ndarray:
    r"""Return :math:`P_W(G)=\sum_{l=1}^L(WW^\top)^{\frac{L-l}L}\,G\,(W^\top W)^{\frac{l-1}L}`.

    The end-to-end matrix of L balanced layers moves by :math:`\dot W=-P_W(\nabla f(W))`
    (Cohen 2019, "Implicit Preconditioning"; Arora et al. 2018). For layers that are
    not balanced see `rates.apply_operator`.

    Parameters
    ----------
    W, G : matrices of one shape (n, m)
    depth : int
        The number of layers L; :math:`P_W` is the identity for L = 1, also at a singular W.

    Notes
    -----
    Singular values below max(n, m)·eps·σ₁ count as zero, as in `numpy.linalg.matrix_rank`:
    round-off of 1e-17 raised to the power 2/L is no longer small (2e-6 at L = 6).

    Raises
    ------
    ValueError
        If G has another shape than W.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import preconditioner
    >>> preconditioner.apply(np.diag([8.0, 1.0]), np.ones((2, 2)), 3).round(6)
    array([[48., 21.],
           [21.,  3.]])
    """
    left, multipliers, right = modes(W, depth)
    G = _check.shaped("G", G, multipliers.shape, "W")
    return left @ (multipliers * (left.T @ G @ right)) @ right.T


def eigenvalues(W: ArrayLike, depth: int) -> np.ndarray:
    r"""Return all eigenvalues :math:`\lambda_{rs}` of :math:`P_W`, an array of the shape of W.

    :math:`\lambda_{rs}=\sum_{l=1}^L\sigma_r^{2(L-l)/L}\sigma_s^{2(l-1)/L}`, the factor by which
    the component of the gradient along :math:`u_rv_s^\top` is multiplied; singular values in
    decreasing order. See `apply` for the arguments and for what counts as zero.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import preconditioner
    >>> preconditioner.eigenvalues(np.diag([8.0, 1.0]), 2)
    array([[16.,  9.],
           [ 9.,  2.]])
    """
    return modes(W, depth)[1]


def modes(W: ArrayLike, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return (U, λ, V): the eigenvectors of :math:`P_W` are the :math:`u_rv_s^\top`.

    The columns of U (n × n) and V (m × m) are all singular vectors of W, those of the
    singular value 0 included; λ is as in `eigenvalues`.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import preconditioner
    >>> U, eigenvalues, V = preconditioner.modes(np.array([[2.0], [0.0]]), 2)
    >>> U.shape, eigenvalues.ravel().round(6), V.shape
    ((2, 2), array([4., 2.]), (1, 1))
    """
    W, depth = _check.matrix("W", W), _check.count("depth", depth)
    return _modes(W, depth, np.linalg.matrix_rank(W))


def end_to_end_flow(
    loss: Loss, W0: ArrayLike, depth: int, t: ArrayLike, *, rtol: float = 1e-12, **options
) -> flow.Trajectory:
    r"""Integrate :math:`\dot W=-P_W(\nabla f(W))` from `W0`, without any layers.

    Equal to the product of `depth` balanced layers that follow their own gradient flow, whose
    hidden widths are at least the rank of `W0`.

    Parameters
    ----------
    loss : losses.Loss
    W0 : matrix
    depth : int
    t : float or increasing array of floats
        As for `flow.gradient_flow`, like the other options.

    Returns
    -------
    flow.Trajectory
        Of matrices W.

    Notes
    -----
    The flow keeps the rank of W, but as an integration it would not: at a rank-deficient W the
    integrator's errors can grow exponentially into the missing directions. So the velocity is
    always that of the nearest matrix of the rank of `W0`.

    Examples
    --------
    >>> from overparam import losses, preconditioner
    >>> path = preconditioner.end_to_end_flow(losses.squared_distance([[1.0]]), [[0.1]], 3, 20.0)
    >>> round(path.final.item(), 6)
    1.0
    """
    W0 = _check.matrix("W0", W0)
    options.setdefault("atol", 1e-14 * (np.abs(W0).max() or 1.0))
    return flow.gradient_flow(_field(loss, W0, depth), W0, t, rtol=rtol, **options)


def end_to_end_descent(
    loss: Loss, W0: ArrayLike, depth: int, step: float, n_steps: int, **options
) -> flow.Trajectory:
    r"""Iterate :math:`W_{j+1}=W_j-\eta\,P_{W_j}(\nabla f(W_j))` (options of `gradient_descent`).

    Not the same as gradient descent on the layers: from balanced layers one step differs by
    :math:`O(\eta^2)` (Cohen 2019, "Acceleration by Depth").

    Parameters
    ----------
    loss, W0, depth
        As for `end_to_end_flow`.
    step : float
    n_steps : int
    **options
        As for `flow.gradient_descent`.

    Examples
    --------
    >>> from overparam import losses, preconditioner
    >>> loss = losses.squared_distance([[1.0]])
    >>> path = preconditioner.end_to_end_descent(loss, [[0.5]], 2, 0.1, 1)
    >>> round(path.final.item(), 6)  # 0.5 + 0.1·2·0.5·0.5
    0.55
    """
    W0 = _check.matrix("W0", W0)
    return flow.gradient_descent(_field(loss, W0, depth), W0, step, n_steps, **options)


def _field(loss, W0, depth):
    """Return W ↦ P_W(∇f(W)) on the matrices of the rank of W0."""
    depth = _check.count("depth", depth)
    try:
        shape = np.shape(loss.gradient(W0))
    except ValueError as error:
        raise ValueError(f"W0 of shape {W0.shape} does not fit the loss: {error}") from None
    if shape != W0.shape:
        raise ValueError(f"W0 of shape {W0.shape} does not fit the loss: its gradient has {shape}")
    rank = np.linalg.matrix_rank(W0)

    def field(W):
        if not np.all(np.isfinite(W)):
            return np.full(W.shape, np.nan)  # the flow reports this as divergence
        left, multipliers, right = _modes(W, depth, rank)
        return left @ (multipliers * (left.T @ loss.gradient(W) @ right)) @ right.T

    return field


def _modes(W, depth, rank):
    # An SVD of W: eigenvalues of WWᵀ would square the singular values and lose half their digits.
    left, sigma, right = np.linalg.svd(W)
    roots = np.zeros(max(W.shape))  # σ^(2/L), zeros beyond the rank; 0.0 ** 0 is 1 in numpy
    roots[:rank] = sigma[:rank] ** (2 / depth)
    rows, columns = roots[: len(W)], roots[: W.shape[1]]
    # As the sum, not (σ_r² - σ_s²)/(σ_r^{2/L} - σ_s^{2/L}), which cancels for close values.
    multipliers = np.vander(rows, depth) @ np.vander(columns, depth, increasing=True).T
    return left, multipliers, right.T
