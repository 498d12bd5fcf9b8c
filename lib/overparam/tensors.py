r"""Tensor factorizations as networks (chapter "Tensor factorizations").

A factorization is a list of arrays and the einsum string that contracts them, for instance
``"ar,br,cr->abc"`` for :math:`T_{abc}=\sum_rA_{ar}B_{br}C_{cr}`. Letters to the right of the
arrow are the axes of the tensor T; a letter that several factors have in common is *shared*.
``"ab,bc->ac"`` is a linear network of two layers.

Letters: p is the order of T, R the number of components, :math:`w_r^n` column r of the n-th CP
factor, k the number of factors that share an index, σ the norm of a component. Every factor
enters once: networks that use the same weights at several places are outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from string import ascii_lowercase

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import hyp2f1

from overparam import _check, flow, losses

Factors = Sequence[ArrayLike]

# --- Einsum strings for the usual factorizations --------------------------------------------


def cp(order: int) -> str:
    r"""Return the string of :math:`\sum_r w_r^1\otimes\cdots\otimes w_r^p`: "az,bz,cz->abc".

    Factor n has shape (d_n, R) and the columns :math:`w_r^n`; the shared index is "z".

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.cp(3)
    'az,bz,cz->abc'
    """
    axes = _axes(order)
    return ",".join(axis + "z" for axis in axes) + "->" + axes


def train(order: int) -> str:
    """Return the string of a tensor train: "az,zby,yc->abc" for order 3.

    Core k has shape (r_{k-1}, d_k, r_k), without the first or last axis at the two ends; the
    bonds are named z, y, x, … from the left (Oseledets 2011).

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.train(4)
    'az,zby,ycx,xd->abcd'
    """
    axes = _axes(order)
    bonds = [""] + list(ascii_lowercase[: -order - 1 : -1][: order - 1]) + [""]
    cores = [bonds[k] + axis + bonds[k + 1] for k, axis in enumerate(axes)]
    return ",".join(cores) + "->" + axes


def tree() -> str:
    """Return the string of a tree on four axes, "az,bz,zv,cx,dx,xv->abcd".

    The network that Cohen 2019, "Beyond Linear Neural Networks", draws as convolutional: a matrix
    at each leaf; the channels of neighbours are multiplied entry by entry and mixed by the next
    matrix. So z and x are shared by three factors each, v by two.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.tree()
    'az,bz,zv,cx,dx,xv->abcd'
    """
    return "az,bz,zv,cx,dx,xv->abcd"


# --- The tensor and the gradients -----------------------------------------------------------


def contract(subscripts: str, factors: Factors) -> NDArray:
    """Return the tensor that the factors make.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.contract("az,bz->ab", [[[1.0], [2.0]], [[3.0], [4.0]]]).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return _einsum(subscripts, *checked(subscripts, factors))


def gradients(
    subscripts: str, factors: Factors, gradient: Callable[[NDArray], NDArray]
) -> list[NDArray]:
    r"""Return the gradients of :math:`f(T)` by each factor.

    T is linear in each factor, so that the gradient by one is :math:`\nabla f(T)` contracted
    with all others. `gradient` is :math:`\nabla f`, for instance ``loss.gradient``.

    Parameters
    ----------
    subscripts : str
    factors : list of arrays
    gradient : callable
        Maps a tensor to one of its shape.

    Examples
    --------
    >>> from overparam import tensors
    >>> import numpy as np
    >>> weights = [np.array([[2.0]]), np.array([[3.0]])]
    >>> tensors.gradients("ab,bc->ac", weights, lambda T: T - 5)  # of (uv - 5)²/2: (v, u)
    [array([[3.]]), array([[2.]])]
    """
    inputs, output = _split(subscripts)
    G = gradient(_einsum(subscripts, *factors))
    result = []
    for n, axes in enumerate(inputs):
        behind = ",".join([output, *inputs[:n], *inputs[n + 1 :]]) + "->" + axes
        result.append(_einsum(behind, G, *factors[:n], *factors[n + 1 :]))
    return result


def factor_flow(
    subscripts: str, factors: Factors, loss: losses.Loss, t: ArrayLike, **options: object
) -> flow.Trajectory:
    """Gradient flow of loss(T) on the factors; options as for `flow.gradient_flow`.

    Parameters
    ----------
    subscripts : str
    factors : list of arrays
        The start.
    loss : losses.Loss
        Of tensors.
    t, **options
        As for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For factors that do not fit `subscripts`, or a loss of tensors of another shape.

    Examples
    --------
    >>> from overparam import tensors
    >>> from overparam import losses
    >>> start, loss = [[[1.0]], [[1.0]], [[1.0]]], losses.squared_distance([[[8.0]]])
    >>> path = tensors.factor_flow(tensors.cp(3), start, loss, 5.0)
    >>> print(*(f"{w[0, 0]:.4f}" for w in path.final))
    2.0000 2.0000 2.0000
    """
    return flow.gradient_flow(
        lambda state: gradients(subscripts, state, loss.gradient),
        checked(subscripts, factors), t, **options,
    )  # fmt: skip


def checked(subscripts: str, factors: Factors) -> list[NDArray]:
    """Return the factors as finite float64 arrays that fit the einsum string.

    Raises
    ------
    ValueError
        For a string that is no factorization (see `shared_indices`), another number of factors,
        or shapes that disagree about the length of an index.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.checked("a,a->a", [[1, 2], [3, 4]])
    [array([1., 2.]), array([3., 4.])]
    """
    inputs, _ = _split(subscripts)
    if not isinstance(factors, (list, tuple)) or len(factors) != len(inputs):
        raise ValueError(f"factors must be a list of {len(inputs)} arrays for {subscripts!r}")
    arrays, length = [], {}
    for n, (letters, factor) in enumerate(zip(inputs, factors, strict=True)):
        array = _check.finite_array(f"factors[{n}]", factor, ndim=len(letters))
        for letter, size in zip(letters, array.shape, strict=True):
            if length.setdefault(letter, size) != size:
                raise ValueError(
                    f"factors[{n}] has length {size} along {letter!r}, another has "
                    f"{length[letter]}: a shared index has one length"
                )
        arrays.append(array)
    return arrays


# --- What the flow conserves ----------------------------------------------------------------


def shared_indices(subscripts: str) -> dict[str, list[int]]:
    """Return {letter: numbers of the factors that have it} for each letter of several factors.

    Raises
    ------
    ValueError
        If `subscripts` is no factorization: no arrow, a letter twice in one factor or in the
        output, an axis that no factor has, or a letter of one factor that is summed over.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.shared_indices("az,zby,yc->abc")
    {'y': [1, 2], 'z': [0, 1]}
    """
    inputs, _ = _split(subscripts)
    owners = {e: [n for n, axes in enumerate(inputs) if e in axes] for e in "".join(inputs)}
    return {e: where for e, where in sorted(owners.items()) if len(where) > 1}


def slice_norms(subscripts: str, factors: Factors, index: str) -> NDArray:
    r"""Return :math:`\|A_i[e=r]\|`, shape (k, length of e), for the k factors that share e.

    Parameters
    ----------
    subscripts : str
    factors : list of arrays
    index : str
        e, a letter that factors share.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.slice_norms("ab,bc->ac", [[[3.0], [4.0]], [[2.0]]], "b")
    array([[5.],
           [2.]])
    """
    factors, (inputs, _) = checked(subscripts, factors), _split(subscripts)
    shared = shared_indices(subscripts)
    if index not in shared:
        raise ValueError(f"index must be one of {', '.join(shared)}, which are shared; got {index}")
    slices = [unfolding(factors[n], inputs[n].index(index)) for n in shared[index]]
    return np.array([np.linalg.norm(rows, axis=1) for rows in slices])


def imbalance(subscripts: str, factors: Factors) -> dict[str, NDArray]:
    r"""Return what gradient flow conserves, by shared index e.

    Indices that are shared by the same factors, and all summed over or all kept, count as one:
    e runs over the tuples of their values. If exactly two factors A, B share e, and e is summed
    over, the matrix

    .. math:: D_{rs}=\sum A[e=r]\,A[e=s]-\sum B[e=r]\,B[e=s]

    (sums over all other indices of A, of B), which is `networks.imbalance` for a linear network
    and the bond imbalance of a tensor train. Otherwise the array of shape (k - 1, length of e)
    of differences :math:`\|A_i[e=r]\|^2-\|A_{i+1}[e=r]\|^2` of consecutive factors that share e,
    as for a CP factorization (Razin, Maman and Cohen 2021, 2022). The entries need not be
    independent functions of the factors: see `independent_laws`.

    Returns
    -------
    dict
        From the letters of the index to the conserved array.

    Examples
    --------
    >>> from overparam import tensors
    >>> row, column = [[1.0, 2.0]], [[3.0], [0.0]]
    >>> tensors.imbalance("ab,bc->ac", [row, column])["b"].tolist()
    [[-8.0, 2.0], [2.0, 4.0]]
    """
    factors, (inputs, output) = checked(subscripts, factors), _split(subscripts)
    groups, result = {}, {}
    for index, where in shared_indices(subscripts).items():
        key = tuple(where), index in output
        groups[key] = groups.get(key, "") + index
    for (where, kept), letters in groups.items():
        slices = [unfolding(factors[n], [inputs[n].index(e) for e in letters]) for n in where]
        if len(where) == 2 and not kept:
            A, B = slices
            result[letters] = A @ A.T - B @ B.T
        else:
            result[letters] = -np.diff([np.sum(rows**2, axis=1) for rows in slices], axis=0)
    return result


def independent_laws(subscripts: str, factors: Factors) -> int:
    """Return the rank of the derivative of all entries of `imbalance` by the factors.

    The number of laws that are independent to first order at these factors. Random factors have
    the number of almost all factors of their shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import tensors
    >>> tensors.independent_laws("ab,bc->ac", [np.ones((1, 1)), np.ones((1, 1))])
    1
    """
    factors = checked(subscripts, factors)

    def laws(state):
        return np.concatenate([D.ravel() for D in imbalance(subscripts, state).values()])

    columns, step = [], max(np.abs(w).max() for w in factors) or 1.0
    for n, factor in enumerate(factors):
        for move in step * np.eye(factor.size).reshape(-1, *factor.shape):
            # exact for quadratic functions, whatever the step
            up, down = (
                laws([*factors[:n], moved, *factors[n + 1 :]])
                for moved in (factor + move, factor - move)
            )
            columns.append(up - down)
    return int(np.linalg.matrix_rank(np.array(columns)))


def drift(subscripts: str, trajectory: flow.Trajectory) -> dict[str, float]:
    """Return how far each array of `imbalance` has moved at most, by the letters of its index.

    Examples
    --------
    >>> from overparam import tensors
    >>> from overparam import losses
    >>> start, loss = [[[1.0]], [[2.0]]], losses.squared_distance([[9.0]])
    >>> path = tensors.factor_flow("ab,bc->ac", start, loss, 1.0)
    >>> tensors.drift("ab,bc->ac", path)["b"] < 1e-6
    True
    """
    laws = [imbalance(subscripts, factors) for factors in trajectory]
    return {e: max(float(np.abs(D[e] - first).max()) for D in laws) for e, first in laws[0].items()}


# --- Components -----------------------------------------------------------------------------


def component_norms(subscripts: str, factors: Factors, index: str = "z") -> NDArray:
    r"""Return :math:`\sigma_r=\prod_i\|A_i[e=r]\|` over the factors that share the index e.

    For CP, :math:`\|w_r^1\otimes\cdots\otimes w_r^p\|`.

    Parameters
    ----------
    subscripts, factors, index
        As for `slice_norms`.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.component_norms(tensors.cp(3), [[[2.0]], [[3.0], [4.0]], [[1.0]]])
    array([10.])
    """
    return slice_norms(subscripts, factors, index).prod(axis=0)


def component_velocity(
    subscripts: str, factors: Factors, G: ArrayLike, index: str = "z"
) -> NDArray:
    r"""Return :math:`\dot\sigma_r=\sigma_r^2\sum_i\|A_i[e=r]\|^{-2}\,\langle-G,\hat C_r\rangle`.

    The motion of the component norms under gradient flow, G being :math:`\nabla f(T)` and
    :math:`\hat C_r` the part of T that has e = r, divided by :math:`\sigma_r`. If the k slices
    are of equal norm it is :math:`k\,\sigma_r^{2-2/k}\langle-G,\hat C_r\rangle` (Razin, Maman and
    Cohen 2021, Theorem 1, for CP, where k is the order of the tensor).

    Parameters
    ----------
    subscripts, factors, index
        As for `slice_norms`.
    G : array of the shape of T

    Raises
    ------
    ValueError
        For a component of norm zero, whose norm has no derivative.

    Examples
    --------
    >>> from overparam import tensors
    >>> tensors.component_velocity(tensors.cp(3), [[[2.0]]] * 3, [[[-1.0]]])  # 3·8^(4/3)
    array([48.])
    """
    factors, (inputs, output) = checked(subscripts, factors), _split(subscripts)
    G = _check.shaped("G", G, _einsum(subscripts, *factors).shape, "the tensor")
    norms = slice_norms(subscripts, factors, index)
    if not np.all(norms > 0):
        raise ValueError("factors have a slice of norm zero, whose direction is not defined")
    along = _einsum(",".join([output, *inputs]) + "->" + index, G, *factors)
    sigma = norms.prod(axis=0)
    return -sigma * np.sum(norms**-2.0, axis=0) * along


def waiting_time(size: ArrayLike, start: ArrayLike, target: float, order: int) -> NDArray:
    r"""Return the time at which one balanced component has grown from `start` to `size`.

    The closed form of :math:`\dot\sigma=p\,\sigma^{2-2/p}(\lambda-\sigma)`, the flow of
    :math:`\tfrac12\|T-Y\|^2` on a component whose directions are those of a component of norm
    λ = `target` of an orthogonal target. p = `order` ≥ 2; 0 < start ≤ size < target.

    Parameters
    ----------
    size, start : array_like
    target : float
    order : int

    Examples
    --------
    >>> from overparam import tensors
    >>> round(float(tensors.waiting_time(0.5, 0.1, 1.0, 2)), 3)  # log(9)/2
    1.099
    """
    size, start = _check.finite_array("size", size), _check.finite_array("start", start)
    target = _check.number("target", target, 0, strict=True)
    order = _check.count("order", order, 2)
    if np.any(start <= 0) or np.any(size < start) or np.any(size >= target):
        raise ValueError("size must lie between start > 0 and the target, which is never reached")

    def antiderivative(u):  # of u^(2/p - 2)/(1 - u)
        if order == 2:
            return np.log(u) - np.log1p(-u)
        q = 1 - 2 / order
        return -(u**-q) / q * hyp2f1(1, -q, 1 - q, u)

    unit = order * target ** (2 - 2 / order)
    return (antiderivative(size / target) - antiderivative(start / target)) / unit


# --- Starts ---------------------------------------------------------------------------------


def gaussian(
    subscripts: str, lengths: Mapping[str, int], scale: float, rng: np.random.Generator
) -> list[NDArray]:
    """Return factors with independent normal entries of standard deviation `scale`.

    `lengths` maps each letter of `subscripts` to the length of that index.

    Parameters
    ----------
    subscripts : str
    lengths : mapping of letters to ints
    scale : float
    rng : numpy.random.Generator

    Examples
    --------
    >>> from overparam import tensors
    >>> import numpy as np
    >>> sizes = {"a": 2, "b": 3, "c": 4, "z": 5}
    >>> [w.shape for w in tensors.gaussian(tensors.cp(3), sizes, 1.0, np.random.default_rng(0))]
    [(2, 5), (3, 5), (4, 5)]
    """
    inputs, _ = _split(subscripts)
    # a letter that lengths leaves out is None, which is no count
    sizes = {e: _check.count(f"lengths[{e!r}]", lengths.get(e)) for e in "".join(inputs)}
    scale = _check.number("scale", scale, 0, strict=True)
    _check.generator("rng", rng)
    return [scale * rng.standard_normal([sizes[e] for e in letters]) for letters in inputs]


def balanced_cp(shape: Sequence[int], norms: ArrayLike, rng: np.random.Generator) -> list[NDArray]:
    r"""Return CP factors of components with the given norms, balanced, in random directions.

    Column r of factor n has norm :math:`\sigma_r^{1/p}`; `norms` holds the R numbers
    :math:`\sigma_r\ge0`.

    Parameters
    ----------
    shape : sequence of ints
        Lengths of the p axes.
    norms : vector, shape (R,)
    rng : numpy.random.Generator

    Examples
    --------
    >>> from overparam import tensors
    >>> import numpy as np
    >>> w = tensors.balanced_cp((2, 3, 4), [8.0, 1.0], np.random.default_rng(0))
    >>> tensors.component_norms(tensors.cp(3), w).round(4), np.linalg.norm(w[0], axis=0).round(4)
    (array([8., 1.]), array([2., 1.]))
    """
    shape = [_check.count(f"shape[{n}]", d) for n, d in enumerate(shape)]
    if len(shape) < 2:
        raise ValueError(f"shape must name at least two axes, got {shape}")
    norms = _check.not_negative("norms", norms, ndim=1)
    _check.generator("rng", rng)
    columns = [rng.standard_normal((d, len(norms))) for d in shape]
    return [norms ** (1 / len(shape)) * w / np.linalg.norm(w, axis=0) for w in columns]


# --- Completion -----------------------------------------------------------------------------


def completion(data: ArrayLike, observed: ArrayLike) -> losses.Loss:
    """Tensor completion: the mean of (T - data)² over the observed entries, without ½.

    Like `losses.completion`, for tensors of any order. Entries of `data` that are not observed
    are never read; they may be NaN.

    Parameters
    ----------
    data : array
    observed : boolean array of the same shape

    Raises
    ------
    ValueError
        For a mask of another shape or type, a mask without a True, or an observed entry that is
        not finite.

    Examples
    --------
    >>> from overparam import tensors
    >>> import numpy as np
    >>> loss = tensors.completion([[[1.0, np.nan]]], [[[True, False]]])
    >>> print(loss.value([[[3.0, 7.0]]]), loss.gradient([[[3.0, 7.0]]]))
    4.0 [[[4. 0.]]]
    """
    data, observed = np.asanyarray(data), np.asarray(observed)  # a mask of its own is kept
    if observed.dtype != bool or observed.shape != data.shape:
        raise ValueError(f"observed must be booleans of shape {data.shape}, got {observed!r:.80}")
    if not observed.any():
        raise ValueError("observed is False everywhere: there is no entry to learn from")
    places = np.flatnonzero(observed)
    flat = losses.completion(0 * places, places, data[observed], (1, data.size))

    def row(T):
        if np.shape(T) != data.shape:
            raise ValueError(f"T must have shape {data.shape}, got {np.shape(T)}")
        return np.reshape(T, (1, -1))

    return replace(
        flat,
        value=lambda T: flat.value(row(T)),
        gradient=lambda T: flat.gradient(row(T)).reshape(data.shape),
        _recipe=None,
    )


def complete(
    subscripts: str, factors: Factors, data: ArrayLike, observed: ArrayLike, limit: float, *,
    goal: float = 1e-6, **options: object,
) -> flow.Trajectory:
    """Complete a tensor by gradient flow on its factors, until the training loss is `goal`.

    Parameters
    ----------
    subscripts : str
    factors : list of arrays
        The start.
    data, observed
        As in `completion`, whose value is the training loss.
    limit : float
        The latest time.
    goal : float
        The training loss at which to stop.
    **options
        As for `flow.gradient_flow`.

    Returns
    -------
    flow.Trajectory
        ``contract(subscripts, path.final)`` is the completed tensor. Its ``reason`` is "loss
        reached", or why the flow ended before: "end of time" at the limit, or "diverged".

    Raises
    ------
    ValueError
        As `completion` and `factor_flow`, or for a goal or limit that is not positive.

    Examples
    --------
    >>> from overparam import tensors
    >>> path = tensors.complete("ab,bc->ac", [[[1.0]], [[1.0]]], [[4.0]], [[True]], 10.0)
    >>> path.reason, tensors.contract("ab,bc->ac", path.final).round(2)
    ('loss reached', array([[4.]]))
    """
    loss = completion(data, observed)
    goal = _check.number("goal", goal, 0, strict=True)
    limit = _check.number("limit", limit, 0, strict=True)

    return factor_flow(
        subscripts, factors, loss, limit,
        stop=lambda state: loss.value(_einsum(subscripts, *state)) - goal, **options,
    )  # fmt: skip


def unfolding(T: ArrayLike, axes: int | Sequence[int]) -> NDArray:
    """Return T as a matrix whose rows are indexed by the given axes, columns by the others.

    Examples
    --------
    >>> from overparam import tensors
    >>> import numpy as np
    >>> tensors.unfolding(np.arange(8.0).reshape(2, 2, 2), 1)
    array([[0., 1., 4., 5.],
           [2., 3., 6., 7.]])
    """
    T = _check.finite_array("T", T)
    axes = [_check.count("axes", axis, 0) for axis in np.atleast_1d(axes).tolist()]
    if len(set(axes)) < len(axes) or max(axes) >= T.ndim:
        raise ValueError(f"axes must be some of 0 to {T.ndim - 1}, each once; got {axes}")
    front = np.moveaxis(T, axes, range(len(axes)))
    return front.reshape(np.prod(front.shape[: len(axes)]), -1)


# --- Einsum ---------------------------------------------------------------------------------


def _axes(order):
    order = _check.count("order", order, 2)
    if order > 12:
        raise ValueError(f"order must be at most 12, or the letters run out; got {order}")
    return ascii_lowercase[:order]


@lru_cache(maxsize=256)
def _split(subscripts):
    """Return the letters of the factors and of the tensor."""
    if not isinstance(subscripts, str) or subscripts.count("->") != 1:
        raise ValueError(f"subscripts must be a string like 'ar,br,cr->abc', got {subscripts!r}")
    left, output = subscripts.split("->")
    inputs = left.split(",")
    for letters in [*inputs, output]:
        if not letters.isalpha() or len(set(letters)) < len(letters):
            raise ValueError(f"subscripts {subscripts!r} must name distinct letters in {letters!r}")
    counts = {e: sum(e in letters for letters in inputs) for e in set(left + output) - {","}}
    for e, count in sorted(counts.items()):
        if count == 0:
            raise ValueError(f"subscripts {subscripts!r}: no factor has the axis {e!r}")
        if count == 1 and e not in output:
            raise ValueError(f"subscripts {subscripts!r}: {e!r} is summed over in one factor alone")
    return inputs, output


@lru_cache(maxsize=4096)
def _path(subscripts, shapes):
    # Only the shapes matter for the order of the contractions.
    operands = [np.broadcast_to(0.0, shape) for shape in shapes]
    return np.einsum_path(subscripts, *operands, optimize="greedy")[0]


def _einsum(subscripts, *operands):
    path = _path(subscripts, tuple(np.shape(operand) for operand in operands))
    return np.einsum(subscripts, *operands, optimize=path)
