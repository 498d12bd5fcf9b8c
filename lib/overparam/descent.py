r"""From gradient flow to gradient descent (chapter "From flow to descent").

Letters: the network has L = `depth` layers :math:`W_1,\dots,W_L` with the product W (n × m),
the loss is :math:`f(W)=\tfrac12\|W-\Phi\|_F^2` with the target :math:`\Phi`, and c is the
deficiency margin. :math:`\|\cdot\|` is the spectral, :math:`\|\cdot\|_F` the Frobenius norm.
"""

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, networks


def critical_point(
    target: ArrayLike, kept: list[int], hidden: list[int], rng: np.random.Generator | None = None
) -> networks.Layers:
    r"""Return balanced layers with the product :math:`\Phi_S=\sum_{r\in S}\sigma_ru_rv_r^\top`.

    For every S this is a critical point of the squared distance to `target`, whose singular
    values are numbered from 0 in decreasing order.

    Parameters
    ----------
    target : matrix
    kept : list of int
        The set S; the empty list gives the origin.
    hidden : list of int
        The hidden widths, each at least the size of S.
    rng : numpy.random.Generator, optional
        For random hidden bases, as in `networks.balanced`.

    Raises
    ------
    ValueError
        If `kept` repeats an index or names one that is not there, or a width is too small.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import descent, networks
    >>> layers = descent.critical_point(np.diag([3.0, 2.0, 1.0]), [0, 2], [3])
    >>> np.diag(networks.product(layers)).round(6)
    array([3., 0., 1.])
    """
    target = _check.matrix("target", target)
    left, sigma, right = np.linalg.svd(target, full_matrices=False)
    kept = [_check.count("kept", index, minimum=0) for index in kept]
    if len(set(kept)) < len(kept) or max(kept, default=-1) >= len(sigma):
        raise ValueError(
            f"kept must name each singular value of target at most once, from 0 to "
            f"{len(sigma) - 1}; got {kept}"
        )
    return networks.balanced((left[:, kept] * sigma[kept]) @ right[kept], hidden, rng)


def hessian(weights: networks.Layers, G: ArrayLike) -> np.ndarray:
    r"""Return the Hessian of :math:`\tfrac12\|W_1\cdots W_L-\Phi\|_F^2` by all layers' entries.

    Parameters
    ----------
    weights : list of matrices
    G : matrix
        The gradient :math:`W-\Phi` at the product W.

    Returns
    -------
    ndarray
        Symmetric; the order is that of the layers, each row by row.

    Raises
    ------
    ValueError
        If the layers do not chain, or G does not fit their product.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import descent
    >>> descent.hessian([np.zeros((1, 1)), np.zeros((1, 1))], [[-1.0]])  # of (1 - uv)²/2 at 0
    array([[ 0., -1.],
           [-1.,  0.]])
    """
    weights, W = networks.chained(weights), networks.product(weights)
    G = _check.shaped("G", G, W.shape, "the product")
    # The imaginary part of the gradients at weights + i h E is h times their derivative along E.
    sizes, h = [layer.size for layer in weights], 2.0**-100
    parts = np.split(1j * h * np.eye(sum(sizes)), np.cumsum(sizes)[:-1], axis=1)
    moved = [layer + E.reshape(-1, *layer.shape) for layer, E in zip(weights, parts, strict=True)]
    gradients = networks.gradients(moved, lambda product: product - W + G)
    return np.hstack([g.imag.reshape(len(g), -1) for g in gradients]) / h


def deficiency_margin(target: ArrayLike, W0: ArrayLike) -> float:
    r"""Return :math:`c=\sigma_{\min}(\Phi)-\|W_0-\Phi\|_F`.

    While the loss does not rise above its first value, :math:`\sigma_{\min}(W)\ge c`. A result
    that is zero or negative says that there is **no** margin: some rank-deficient matrix is
    then as close to the target as `W0` is. It is returned as it is, since its size tells how
    much is missing; functions that need a margin refuse it.

    Parameters
    ----------
    target, W0 : matrices of one shape

    Returns
    -------
    float

    Notes
    -----
    Cohen 2019, "From Gradient Flow to Gradient Descent", condition 1 with c: every W
    with :math:`\sigma_{\min}(W)\le c'` has a larger loss than `W0`, if and only if
    :math:`c'<\sigma_{\min}(\Phi)-\|W_0-\Phi\|_F`, where that is positive.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import descent
    >>> round(descent.deficiency_margin(np.diag([1.5, 1.0]), np.diag([1.5, 0.75])), 6)
    0.75
    """
    target, W0 = _pair(target, W0)
    least = np.linalg.svd(target, compute_uv=False)[-1]
    return float(least - np.linalg.norm(W0 - target))


def balancedness(weights: networks.Layers, ord: str | int = "fro") -> float:
    r"""Return :math:`\delta=\max_l\|W_l^\top W_l-W_{l+1}W_{l+1}^\top\|_F`: 0 for balanced layers.

    With ``ord=2`` in the spectral norm. One layer alone is balanced.

    Examples
    --------
    >>> from overparam import descent
    >>> descent.balancedness([[[2.0]], [[1.0]]])
    3.0
    """
    return float(max((np.linalg.norm(D, ord) for D in networks.imbalance(weights)), default=0.0))


def flow_rate(margin: float, shape: tuple[int, int], depth: int) -> float:
    r"""Return a rate of decay of the loss along the balanced flow with deficiency margin c.

    :math:`2Lc^{2-2/L}` for a square product and :math:`2c^{2-2/L}` otherwise
    (Cohen 2019, "Applying Our Trajectory Analysis", for the squared distance).

    Parameters
    ----------
    margin : float
    shape : tuple (n, m)
        Of the product.
    depth : int

    Examples
    --------
    >>> from overparam import descent
    >>> [round(descent.flow_rate(0.125, shape, 3), 6) for shape in [(2, 2), (2, 3)]]
    [0.375, 0.125]
    """
    margin, depth = _margin(margin), _check.count("depth", depth)
    n, m = (_check.count("shape", size) for size in shape)
    terms = depth if n == m or depth == 1 else 1
    return 2 * terms * margin ** (2 - 2 / depth)


def unbalanced_flow_rate(target: ArrayLike, W0: ArrayLike, imbalance: float, depth: int) -> float:
    r"""Return :math:`2c^2/M^2`, a rate of the loss along the flow of layers with any imbalance.

    Here :math:`M^2=(\|\Phi\|+e_0)^{2/L}+2(L-1)\varepsilon` bounds the squared layers, with
    :math:`e_0=\|W_0-\Phi\|_F`; for a square product the rate is twice that.

    Parameters
    ----------
    target, W0 : matrices of one shape, with a deficiency margin
    imbalance : float
        :math:`\varepsilon=\max_l\|D_l\|`, spectral norm.
    depth : int, at least 2

    Examples
    --------
    >>> from overparam import descent
    >>> round(descent.unbalanced_flow_rate([[1.0]], [[1.0]], 0.0, 2), 6)  # 2·(1² + 1²)
    4.0
    """
    margin, _, reach = _start(target, W0)
    depth = _check.count("depth", depth, minimum=2)
    imbalance = _check.number("imbalance", imbalance, 0)
    n, m = np.shape(target)
    square = reach ** (2 / depth) + 2 * (depth - 1) * imbalance
    return float((4 if n == m else 2) * margin**2 / square)


def proved_balancedness(target: ArrayLike, W0: ArrayLike, depth: int) -> float:
    r"""Return :math:`\varepsilon_0=B^{2/L}/(4L^2)`, the imbalance that `proved_step` allows.

    :math:`B=\|\Phi\|+\|W_0-\Phi\|_F`; the spectral norm of every imbalance matrix may be as large.
    `W0` needs a deficiency margin.

    Parameters
    ----------
    target, W0 : matrices of one shape
        :math:`\Phi` and the product of the layers at the start.
    depth : int
        L of at least 2.

    Examples
    --------
    >>> from overparam import descent
    >>> descent.proved_balancedness([[1.0]], [[1.0]], 2)
    0.0625
    """
    depth = _check.count("depth", depth, minimum=2)
    return float(_start(target, W0)[2] ** (2 / depth) / (4 * depth**2))


def proved_step(target: ArrayLike, W0: ArrayLike, depth: int) -> float:
    r"""Return a step with which descent reaches the target, by the theorem of the chapter.

    :math:`\eta=\min\{\frac1{2LM^{2L-2}},\frac{c^2}{8L^2M^{3L-2}e_0}\}` with
    :math:`M^2=(1+\frac1L)B^{2/L}`, :math:`B=\|\Phi\|+e_0`, :math:`e_0=\|W_0-\Phi\|_F`. Every
    shorter step will do too. See `proved_balancedness` for the condition and `proved_rate` for
    the speed.

    Parameters
    ----------
    target, W0, depth
        As for `proved_balancedness`.

    Raises
    ------
    ValueError
        If `W0` has no deficiency margin.

    Examples
    --------
    >>> from overparam import descent
    >>> round(descent.proved_step([[1.0]], [[1.0]], 2), 6)  # 1/(4·1.5)
    0.166667
    """
    margin, error, reach = _start(target, W0)
    L = _check.count("depth", depth, minimum=2)
    M = np.sqrt(1 + 1 / L) * reach ** (1 / L)
    flat, curved = 2 * L * M ** (2 * L - 2), 8 * L**2 * M ** (3 * L - 2) * error / margin**2
    return float(1 / max(flat, curved))


def proved_rate(target: ArrayLike, W0: ArrayLike, depth: int, step: float) -> float:
    r"""Return :math:`r=\eta c^2/M^2`: the loss after j steps is at most :math:`(1-r)^jf(W(0))`.

    For a `step` of at most `proved_step`, and with its letters; a longer one is refused.

    Parameters
    ----------
    target, W0, depth
        As for `proved_balancedness`.
    step : float
        :math:`\eta`, positive.

    Examples
    --------
    >>> from overparam import descent
    >>> round(descent.proved_rate([[1.0]], [[1.0]], 2, 0.15), 6)  # 0.15/1.5
    0.1
    """
    limit = proved_step(target, W0, depth)
    step = _check.number("step", step, 0, strict=True)
    if step > limit * (1 + 1e-12):
        raise ValueError(
            f"step must be at most {limit:.6g}, the result of proved_step, for this rate to be "
            f"proved; got {step:g}"
        )
    margin, _, reach = _start(target, W0)
    return float(step * margin**2 / ((1 + 1 / depth) * reach ** (2 / depth)))


def guaranteed_balancedness(margin: float, norm: float, depth: int) -> float:
    r"""Return :math:`\delta=\frac{c^2}{44\,L^3\|\Phi\|_F^{2(L-1)/L}}`.

    If :math:`\|D_l\|_F\le\delta` for every layer, a step of at most `guaranteed_step` reduces the
    loss by the factor 1 - `guaranteed_rate`. The shape of this theorem is that of Arora, Cohen,
    Golowich and Hu 2019 (Cohen 2019 gives :math:`O(c^2)`); the constants 44 here and 473 there are
    those that the chapter proves.

    Parameters
    ----------
    margin : float
        The deficiency margin c, greater than 0.
    norm : float
        :math:`\|\Phi\|_F`, at least as large as the margin.
    depth : int
        L, at least 2.

    Examples
    --------
    >>> from overparam import descent
    >>> round(descent.guaranteed_balancedness(0.5, 1.0, 2) * 44 * 8, 6)
    0.25
    """
    margin, norm, depth = _margin_norm_depth(margin, norm, depth)
    return margin**2 / (44 * depth**3 * norm ** (2 - 2 / depth))


def guaranteed_step(margin: float, norm: float, depth: int) -> float:
    r"""Return :math:`\eta=\frac{c^{(4L-2)/L}}{473\,L^3\|\Phi\|_F^{(6L-4)/L}}`.

    Arguments and source as for `guaranteed_balancedness` (the talk gives :math:`O(c^4)`).

    Parameters
    ----------
    margin, norm, depth
        As for `guaranteed_balancedness`.

    Examples
    --------
    >>> from overparam import descent
    >>> round(descent.guaranteed_step(0.5, 1.0, 2) * 473 * 8, 6)
    0.125
    """
    margin, norm, depth = _margin_norm_depth(margin, norm, depth)
    return margin ** (4 - 2 / depth) / (473 * depth**3 * norm ** (6 - 4 / depth))


def guaranteed_rate(margin: float, depth: int, step: float) -> float:
    r"""Return :math:`r=\eta\,c^{2(L-1)/L}`, by which each step reduces the loss.

    After j steps it is at most :math:`(1-r)^jf(W(0))`, for a `step` of at most `guaranteed_step`
    and under the condition of `guaranteed_balancedness` (the talk gives :math:`\Omega(c^2\eta)`).

    Parameters
    ----------
    margin, depth
        As for `guaranteed_balancedness`.
    step : float
        :math:`\eta`, positive.

    Examples
    --------
    >>> from overparam import descent
    >>> round(descent.guaranteed_rate(0.25, 2, 0.1), 6)
    0.025
    """
    margin, depth = _margin(margin), _check.count("depth", depth, minimum=2)
    return _check.number("step", step, 0, strict=True) * margin ** (2 - 2 / depth)


def margin_probability(size: ArrayLike, dimension: int) -> np.ndarray:
    r"""Return P(margin > 0) for output dimension 1 and a start in a random direction.

    The start A has length `size` times :math:`\|\Phi\|` and a direction uniform on the sphere of
    :math:`\mathbb R^d`; then :math:`\|A-\Phi\|<\|\Phi\|` has the probability
    :math:`\tfrac12I_{1-t^2}(\tfrac{d-1}2,\tfrac12)` with t = size/2 < 1 and the regularized
    incomplete beta function I for d ≥ 2, below ½, and ½ for d = 1. It is 0 for t ≥ 1
    (Cohen 2019, "From Gradient Flow to Gradient Descent", last claim).

    Parameters
    ----------
    size : array_like, positive
    dimension : int
        d, at least 1.

    Examples
    --------
    >>> from overparam import descent
    >>> descent.margin_probability([0.1, 1.0, 2.0], 3).round(3)  # (1 - t)/2 in three dimensions
    array([0.475, 0.25 , 0.   ])
    """
    from scipy.special import betainc

    size, dimension = _check.positive("size", size), _check.count("dimension", dimension)
    inside = np.clip(1 - (size / 2) ** 2, 0.0, None)
    return betainc((dimension - 1) / 2, 0.5, inside) / 2  # its first argument may be zero


def _pair(target, W0):
    target = _check.matrix("target", target)
    return target, _check.shaped("W0", W0, target.shape, "target")


def _start(target, W0):
    """Return the margin c, the distance e_0 and B: no W as close as W0 has a larger norm."""
    target, W0 = _pair(target, W0)
    error = np.linalg.norm(W0 - target)
    return _margin(deficiency_margin(target, W0)), error, np.linalg.norm(target, 2) + error


def _margin(margin):
    margin = _check.number("margin", margin)
    if margin <= 0:
        raise ValueError(
            f"margin must be greater than 0, got {margin:g}: there is no deficiency margin, and "
            "nothing is guaranteed; start closer to the target than every rank-deficient matrix"
        )
    return margin


def _margin_norm_depth(margin, norm, depth):
    margin, norm = _margin(margin), _check.number("norm", norm, 0, strict=True)
    if margin > norm:
        raise ValueError(
            f"norm must be at least the margin {margin:g}, got {norm:g}: the margin is at most "
            "the least singular value of the target"
        )
    return margin, norm, _check.count("depth", depth, minimum=2)
