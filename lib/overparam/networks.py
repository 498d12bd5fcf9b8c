r"""Linear networks: lists of matrices with the product :math:`W=W_1W_2\cdots W_L`.

Layer l has shape (h_{l-1}, h_l), with h_0 = n and h_L = m; a factorization
:math:`X=UV^\top` is the list ``[U, V.T]``.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate, pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from overparam import _check
from overparam.flow import Trajectory, gradient_descent, gradient_flow
from overparam.losses import Loss

Weights = Sequence[ArrayLike]
Layers = list[np.ndarray]


def product(weights: Weights) -> np.ndarray:
    """Return W_1 W_2 ⋯ W_L.

    Parameters
    ----------
    weights : list of matrices

    Returns
    -------
    ndarray, shape (n, m)

    Examples
    --------
    >>> from overparam import networks
    >>> print(networks.product([[[1.0, 2.0]], [[3.0], [4.0]]]))
    [[11.]]
    """
    return reduce(np.matmul, chained(weights))


def gradients(weights: Layers, gradient: Callable[[np.ndarray], np.ndarray]) -> Layers:
    r"""Return the gradients of :math:`f(W_1\cdots W_L)` by each layer.

    :math:`\partial_{W_l}=(W_1\cdots W_{l-1})^\top\,\nabla f(W)\,(W_{l+1}\cdots W_L)^\top`, with
    3(L - 1) products of matrices in all (Cohen 2019, "Balanced Trajectories"). As it stands in
    inner loops, it does not check its arguments.

    Parameters
    ----------
    weights : list of matrices
    gradient : callable
        :math:`\nabla f`, for instance ``loss.gradient``.

    Returns
    -------
    list of matrices, of the shapes of the layers

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import losses, networks
    >>> layers = [np.array([[2.0]]), np.array([[3.0]])]
    >>> [g.item() for g in networks.gradients(layers, losses.squared_distance([[5.0]]).gradient)]
    [3.0, 2.0]
    """
    prefixes = list(accumulate(weights, np.matmul))
    behind, result = gradient(prefixes[-1]).mT, []  # transposed: so BLAS multiplies faster
    for before, layer in zip(prefixes[-2::-1], weights[:0:-1], strict=True):
        result.append(before.mT @ behind.mT)
        behind = layer @ behind
    return [behind.mT, *reversed(result)]


def imbalance(weights: Weights) -> list[np.ndarray]:
    r"""Return the L - 1 matrices :math:`D_l=W_l^\top W_l-W_{l+1}W_{l+1}^\top`.

    Parameters
    ----------
    weights : list of matrices

    Returns
    -------
    list of symmetric matrices, shapes (h_l, h_l)

    Examples
    --------
    >>> from overparam import networks
    >>> print(networks.imbalance([[[3.0]], [[2.0]]])[0])
    [[5.]]
    """
    weights = chained(weights)
    return [A.T @ A - B @ B.T for A, B in pairwise(weights)]


def layer_flow(loss: Loss, weights: Weights, t: float | np.ndarray, **options) -> Trajectory:
    """Gradient flow of loss(W_1 ⋯ W_L) on the layers.

    Parameters
    ----------
    loss : Loss
    weights : list of matrices
        The start.
    t, **options
        As for `flow.gradient_flow`.

    Returns
    -------
    Trajectory
        Its states are lists of layers.

    Examples
    --------
    >>> from overparam import losses, networks
    >>> start = networks.identity(2, 2, 0.5)
    >>> path = networks.layer_flow(losses.squared_distance([[2.0, 0.0], [0.0, 1.0]]), start, 1.0)
    >>> print(networks.product(path.final).round(3))
    [[1.773 0.   ]
     [0.    0.711]]
    """
    return gradient_flow(_by_layers(loss), chained(weights), t, **options)


def layer_descent(loss: Loss, weights: Weights, step: float, n_steps: int, **options) -> Trajectory:
    """Gradient descent of loss(W_1 ⋯ W_L) on the layers.

    Parameters
    ----------
    loss : Loss
    weights : list of matrices
        The start.
    step, n_steps, **options
        As for `flow.gradient_descent`.

    Returns
    -------
    Trajectory
        Its states are lists of layers.

    Examples
    --------
    >>> from overparam import losses, networks
    >>> loss, start = losses.squared_distance([[1.0]]), networks.identity(1, 2, 0.5)
    >>> print(networks.product(networks.layer_descent(loss, start, 0.5, 1).final).round(4))
    [[0.4727]]
    """
    return gradient_descent(_by_layers(loss), chained(weights), step, n_steps, **options)


def chained(weights: Weights) -> Layers:
    """Return copies of the layers as float64 matrices.

    Parameters
    ----------
    weights : list of matrices

    Raises
    ------
    ValueError
        If there is no layer, one is no finite matrix, or their shapes do not chain.

    Examples
    --------
    >>> from overparam import networks
    >>> [layer.shape for layer in networks.chained([[[1, 2]], [[3], [4]]])]
    [(1, 2), (2, 1)]
    """
    if not isinstance(weights, (list, tuple)) or not weights:
        raise ValueError("weights must be a list of at least one matrix")
    layers = [_check.matrix(f"weights[{i}]", layer) for i, layer in enumerate(weights)]
    for i, (A, B) in enumerate(pairwise(layers)):
        if A.shape[1] != B.shape[0]:
            raise ValueError(f"weights[{i}] and the next do not chain: {A.shape} and {B.shape}")
    return layers


def gaussian(sizes: Sequence[int], scale: float, rng: Generator) -> Layers:
    """Return layers with independent normal entries of standard deviation `scale`.

    Parameters
    ----------
    sizes : list of int
        n, h_1, …, h_{L-1}, m.
    scale : float
    rng : numpy.random.Generator

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import networks
    >>> [W.shape for W in networks.gaussian([3, 4, 2], 0.1, np.random.default_rng(0))]
    [(3, 4), (4, 2)]
    """
    sizes = [_check.count(f"sizes[{i}]", size) for i, size in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes must name input, hidden and output widths, got {sizes}")
    scale = _check.number("scale", scale, 0, strict=True)
    _check.generator("rng", rng)
    return [scale * rng.standard_normal(shape) for shape in pairwise(sizes)]


def identity(size: int, depth: int, scale: float = 1.0) -> Layers:
    """Return `depth` square layers, each `scale` times the identity: exactly balanced.

    Parameters
    ----------
    size, depth : int
    scale : float

    Examples
    --------
    >>> from overparam import networks
    >>> print(networks.product(networks.identity(2, 3, 2.0)))
    [[8. 0.]
     [0. 8.]]
    """
    size, depth = _check.count("size", size), _check.count("depth", depth)
    return [_check.number("scale", scale) * np.eye(size) for _ in range(depth)]


def orthogonal(size: int, depth: int, scale: float, rng: Generator) -> Layers:
    """Return `depth` square layers, each `scale` times a random orthogonal matrix: balanced.

    Each is a rotation or a reflection with equal probability, so that half of the products have a
    negative determinant. From balanced layers the flow cannot change its sign: it decides whether
    a target of full rank can be reached (chapter "Unequal layers" for two layers).

    Parameters
    ----------
    size, depth : int
    scale : float
    rng : numpy.random.Generator

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import networks
    >>> layers = networks.orthogonal(3, 200, 1.0, np.random.default_rng(0))
    >>> print(sum(np.linalg.det(W) < 0 for W in layers) in range(80, 121))
    True
    """
    _check.generator("rng", rng)
    size, depth = _check.count("size", size), _check.count("depth", depth)
    scale = _check.number("scale", scale, 0, strict=True)
    return [scale * _basis(size, size, rng) for _ in range(depth)]


def balanced(W: ArrayLike, hidden: Sequence[int], rng: Generator | None = None) -> Layers:
    r"""Return balanced layers with product `W`: singular values :math:`\sigma^{1/L}` in each.

    Parameters
    ----------
    W : matrix, shape (n, m)
    hidden : list of int
        The L - 1 hidden widths, each at least the rank of W.
    rng : numpy.random.Generator, optional
        With it the hidden bases are random; without, they are the coordinate axes.

    Examples
    --------
    >>> from overparam import networks
    >>> print([layer.round(3).item() for layer in networks.balanced([[8.0]], [1, 1])])
    [2.0, 2.0, 2.0]
    """
    W = _check.matrix("W", W)
    left, sigma, right = np.linalg.svd(W, full_matrices=False)
    rank = np.linalg.matrix_rank(W)
    hidden = [_check.count(f"hidden[{i}]", h) for i, h in enumerate(hidden)]
    if hidden and min(hidden) < rank:
        raise ValueError(f"hidden widths {hidden} are too small for a product of rank {rank}")
    root = sigma[:rank] ** (1 / (len(hidden) + 1))
    bases = [left[:, :rank], *(_basis(h, rank, rng) for h in hidden), right[:rank].T]
    return _chain(bases, [root] * (len(hidden) + 1))


def spectral(Y: ArrayLike, u: ArrayLike, v: ArrayLike, rng: Generator | None = None) -> Layers:
    r"""Return a spectral initialization ``[U, V.T]`` for the target `Y`.

    :math:`U=\Phi\,\mathrm{diag}(u)\,G^\top`, :math:`V=\Psi\,\mathrm{diag}(v)\,G^\top` with the
    singular vectors of :math:`Y=\Phi\Sigma\Psi^\top` and one orthogonal G (the identity without
    `rng`). Mode i then follows the scalar flow from product :math:`u_iv_i` with imbalance
    :math:`u_i^2-v_i^2`.

    Parameters
    ----------
    Y : matrix, shape (n, m)
    u, v : arrays, shape (min(n, m),)
        One entry for each mode, in the order of the singular values.
    rng : numpy.random.Generator, optional

    Examples
    --------
    >>> from overparam import networks
    >>> print(networks.product(networks.spectral([[3.0, 0.0], [0.0, 1.0]], [1, 2], [1, 3])))
    [[1. 0.]
     [0. 6.]]
    """
    Y = _check.matrix("Y", Y)
    left, sigma, right = np.linalg.svd(Y, full_matrices=False)
    u = _check.shaped("u", u, sigma.shape, "the singular values of Y")
    v = _check.shaped("v", v, sigma.shape, "the singular values of Y")
    return _chain([left, _basis(len(sigma), len(sigma), rng), right.T], [u, v])


def homogeneous(W: ArrayLike, imbalances: ArrayLike, rng: Generator | None = None) -> Layers:
    r"""Return layers with product `W` and :math:`D_l=d_lI` for the numbers d_l in `imbalances`.

    The hidden widths are all min(n, m). For two layers of other widths take any V and
    :math:`U=O\,(V^\top V+\lambda I)^{1/2}` with orthonormal columns in O.

    Parameters
    ----------
    W : matrix, shape (n, m)
    imbalances : array, shape (L - 1,)
    rng : numpy.random.Generator, optional
        With it the hidden bases are random; without, they are the coordinate axes.

    Examples
    --------
    >>> from overparam import networks
    >>> print(networks.imbalance(networks.homogeneous([[2.0]], [3.0]))[0].round(6))
    [[3.]]
    """
    W = _check.matrix("W", W)
    left, sigma, right = np.linalg.svd(W, full_matrices=False)
    imbalances = _check.finite_array("imbalances", imbalances, ndim=1)
    scales = np.array([layer_scales(s, imbalances) for s in sigma])
    hidden = [_basis(len(sigma), len(sigma), rng) for _ in imbalances]
    return _chain([left, *hidden, right.T], scales.T)


def layer_scales(product: float, imbalances: ArrayLike) -> np.ndarray:
    r"""Return the magnitudes :math:`|w_l|` of scalar layers with given product and imbalances.

    The consecutive imbalances :math:`d_l=w_l^2-w_{l+1}^2` fix all squares up to the smallest,
    s; it is the only root :math:`s\ge0` of :math:`\prod_l(s+c_l)=w^2`
    (Mallada 2022, "Scalar networks").

    Parameters
    ----------
    product : float
    imbalances : array, shape (L - 1,)

    Returns
    -------
    ndarray, shape (L,)

    Examples
    --------
    >>> from overparam import networks
    >>> print(networks.layer_scales(2.0, [3.0]).round(4))
    [2. 1.]
    """
    target = abs(_check.number("product", product))
    offsets = np.append(np.cumsum(_check.finite_array("imbalances", imbalances)[::-1])[::-1], 0.0)
    offsets -= offsets.min()
    if target == 0:
        return np.sqrt(offsets)
    # In logarithms: the root spans many orders of magnitude.
    log_offsets = np.log(offsets, out=np.full_like(offsets, -np.inf), where=offsets > 0)

    def excess(log_s):
        return np.sum(np.logaddexp(log_s, log_offsets)) - 2 * np.log(target)

    highest = 2 * np.log(target) / len(offsets)
    lowest = highest - excess(highest)  # where the other factors are what they are at highest
    log_s = brentq(excess, lowest - 1e-9, highest + 1e-9, xtol=1e-15, rtol=1e-15)
    return np.exp(np.logaddexp(log_s, log_offsets) / 2)


def _by_layers(loss):
    # In the precision of the layers: a gradient in double would make every product one.
    return lambda w: gradients(w, lambda W: loss.gradient(W).astype(W.dtype, copy=False))


def _chain(bases, scales):
    """Return the layers that scale from each basis to the next."""
    return [A * s @ B.T for (A, B), s in zip(pairwise(bases), scales, strict=True)]


def _basis(size, rank, rng):
    """Return `rank` orthonormal columns of length `size`: axes, or random with `rng`."""
    if rng is None:
        return np.eye(size, rank)
    q, r = np.linalg.qr(_check.generator("rng", rng).standard_normal((size, rank)))
    return q * np.sign(np.diag(r))
