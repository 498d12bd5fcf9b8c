r"""Linear networks: lists of matrices with the product :math:`W=W_1W_2\cdots W_L`.

Layer l has shape (h_{l-1}, h_l), with h_0 = n and h_L = m; a factorization
:math:`X=UV^\top` is the list ``[U, V.T]``.
"""

from functools import reduce

import numpy as np
from scipy.optimize import brentq

from overparam import _check, flow


def product(weights):
    """Return W_1 W_2 ⋯ W_L."""
    return reduce(np.matmul, chained(weights))


def gradients(weights, gradient):
    r"""Return the gradients of :math:`f(W_1\cdots W_L)` by each layer.

    :math:`\partial_{W_l}=(W_1\cdots W_{l-1})^\top\,\nabla f(W)\,(W_{l+1}\cdots W_L)^\top`, with
    3(L - 1) products of matrices in all (Cohen 2019, "Balanced Trajectories").

    Parameters
    ----------
    weights : list of matrices
    gradient : callable
        :math:`\nabla f`, for instance ``loss.gradient``.
    """
    prefixes = [weights[0]]
    for layer in weights[1:]:
        prefixes.append(prefixes[-1] @ layer)
    behind = gradient(prefixes[-1])
    result = [None] * len(weights)
    for l in range(len(weights) - 1, 0, -1):
        result[l] = prefixes[l - 1].mT @ behind
        behind = behind @ weights[l].mT
    result[0] = behind
    return result


def imbalance(weights):
    r"""Return the L - 1 matrices :math:`D_l=W_l^\top W_l-W_{l+1}W_{l+1}^\top`."""
    weights = chained(weights)
    return [A.T @ A - B @ B.T for A, B in zip(weights[:-1], weights[1:], strict=True)]


def layer_flow(loss, weights, t, **options):
    """Gradient flow of loss(W_1 ⋯ W_L) on the layers; options as for `flow.gradient_flow`."""
    weights = chained(weights)
    return flow.gradient_flow(lambda Ws: gradients(Ws, loss.gradient), weights, t, **options)


def layer_descent(loss, weights, step, n_steps, **options):
    """Gradient descent on the layers; options as for `flow.gradient_descent`."""
    weights = chained(weights)
    return flow.gradient_descent(
        lambda Ws: gradients(Ws, loss.gradient), weights, step, n_steps, **options
    )


def chained(weights):
    """Return the layers as float64 matrices.

    Raises
    ------
    ValueError
        If there is no layer, one is no finite matrix, or their shapes do not chain.
    """
    if not isinstance(weights, (list, tuple)) or not weights:
        raise ValueError("weights must be a list of at least one matrix")
    layers = [_check.matrix(f"weights[{i}]", layer) for i, layer in enumerate(weights)]
    for i, (A, B) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        if A.shape[1] != B.shape[0]:
            raise ValueError(
                f"weights[{i}] of shape {A.shape} and weights[{i + 1}] of shape {B.shape} "
                "do not chain: the inner sizes must agree"
            )
    return layers


def gaussian(sizes, scale, rng):
    """Return layers with independent normal entries of standard deviation `scale`.

    `sizes` are n, h_1, …, h_{L-1}, m.
    """
    sizes = _sizes(sizes)
    scale = _check.number("scale", scale, 0, strict=True)
    _check.generator("rng", rng)
    return [scale * rng.standard_normal(shape) for shape in zip(sizes[:-1], sizes[1:], strict=True)]


def identity(size, depth, scale=1.0):
    """Return `depth` square layers, each `scale` times the identity: exactly balanced."""
    size, depth = _check.count("size", size), _check.count("depth", depth)
    return [_check.number("scale", scale) * np.eye(size) for _ in range(depth)]


def orthogonal(size, depth, scale, rng):
    """Return `depth` square layers, each `scale` times a random rotation: exactly balanced."""
    from scipy.stats import ortho_group

    _check.generator("rng", rng)
    size, depth = _check.count("size", size), _check.count("depth", depth)
    scale = _check.number("scale", scale, 0, strict=True)
    if size == 1:
        return [scale * rng.choice([-1.0, 1.0], size=(1, 1)) for _ in range(depth)]
    return [scale * ortho_group.rvs(size, random_state=rng) for _ in range(depth)]


def balanced(W, hidden, rng=None):
    r"""Return balanced layers with product `W`: singular values :math:`\sigma^{1/L}` in each.

    Parameters
    ----------
    W : matrix, shape (n, m)
    hidden : list of int
        The L - 1 hidden widths, each at least the rank of W.
    rng : numpy.random.Generator, optional
        With it the hidden bases are random; without, they are the coordinate axes.
    """
    W = _check.matrix("W", W)
    left, sigma, right = np.linalg.svd(W, full_matrices=False)
    rank = int(np.sum(sigma > max(W.shape) * np.finfo(float).eps * sigma[0])) if sigma[0] else 0
    hidden = [_check.count(f"hidden[{i}]", h) for i, h in enumerate(hidden)]
    if hidden and min(hidden) < rank:
        raise ValueError(f"hidden widths {hidden} are too small for a product of rank {rank}")
    root = np.diag(sigma[:rank] ** (1 / (len(hidden) + 1)))
    bases = [left[:, :rank], *(_basis(h, rank, rng) for h in hidden), right[:rank].T]
    return [A @ root @ B.T for A, B in zip(bases[:-1], bases[1:], strict=True)]


def spectral(Y, u, v, rng=None):
    r"""Return a spectral initialization ``[U, V.T]`` for the target `Y`.

    :math:`U=\Phi\,\mathrm{diag}(u)\,G^\top`, :math:`V=\Psi\,\mathrm{diag}(v)\,G^\top` with the
    singular vectors of :math:`Y=\Phi\Sigma\Psi^\top` and one orthogonal G (the identity without
    `rng`). Mode i then follows the scalar flow from product :math:`u_iv_i` with imbalance
    :math:`u_i^2-v_i^2`. `u` and `v` have one entry for each of the min(n, m) modes.
    """
    Y = _check.matrix("Y", Y)
    left, sigma, right = np.linalg.svd(Y, full_matrices=False)
    u, v = _check.finite_array("u", u, ndim=1), _check.finite_array("v", v, ndim=1)
    if len(u) != len(sigma) or len(v) != len(sigma):
        raise ValueError(
            f"u and v need {len(sigma)} entries, one a mode of Y; got {len(u)} and {len(v)}"
        )
    G = _basis(len(sigma), len(sigma), rng)
    return [left * u @ G.T, G * v @ right]


def homogeneous(W, imbalances, rng=None):
    r"""Return layers with product `W` and :math:`D_l=d_lI` for the numbers d_l in `imbalances`.

    The hidden widths are all min(n, m). For two layers of other widths take any V and
    :math:`U=O\,(V^\top V+\lambda I)^{1/2}` with orthonormal columns in O.
    """
    W = _check.matrix("W", W)
    left, sigma, right = np.linalg.svd(W, full_matrices=False)
    imbalances = _check.finite_array("imbalances", imbalances, ndim=1)
    scales = np.array([layer_scales(s, imbalances) for s in sigma])
    hidden = [_basis(len(sigma), len(sigma), rng) for _ in imbalances]
    bases = [left, *hidden, right.T]
    return [
        A * scales[:, l] @ B.T for l, (A, B) in enumerate(zip(bases[:-1], bases[1:], strict=True))
    ]


def layer_scales(product, imbalances):
    r"""Return the magnitudes :math:`|w_l|` of scalar layers with given product and imbalances.

    The consecutive imbalances :math:`d_l=w_l^2-w_{l+1}^2` fix all squares up to the smallest,
    s; it is the only root :math:`s\ge0` of :math:`\prod_l(s+c_l)=w^2`
    (Mallada 2022, "Scalar networks").
    """
    target = abs(_check.number("product", product))
    offsets = np.append(np.cumsum(_check.finite_array("imbalances", imbalances)[::-1])[::-1], 0.0)
    offsets -= offsets.min()
    if target == 0:
        return np.sqrt(offsets)
    # In logarithms: the root spans many orders of magnitude.
    with np.errstate(divide="ignore"):
        log_offsets = np.log(offsets)

    def excess(log_s):
        return np.sum(np.logaddexp(log_s, log_offsets)) - 2 * np.log(target)

    highest = 2 * np.log(target) / len(offsets)
    lowest = highest - 1.0
    while excess(lowest) > 0:
        lowest -= 2 * (highest - lowest)
    log_s = brentq(excess, lowest, highest + 1e-12, xtol=1e-15, rtol=1e-15)
    return np.exp(np.logaddexp(log_s, log_offsets) / 2)


def _basis(size, rank, rng):
    """Return `rank` orthonormal columns of length `size`: axes, or random with `rng`."""
    if rng is None:
        return np.eye(size, rank)
    q, r = np.linalg.qr(_check.generator("rng", rng).standard_normal((size, rank)))
    return q * np.sign(np.diag(r))


def _sizes(sizes):
    sizes = [_check.count(f"sizes[{i}]", size) for i, size in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes must name input, hidden and output widths, got {sizes}")
    return sizes
