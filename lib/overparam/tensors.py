r"""Tensor factorizations as networks (chapter "Tensor factorizations").

A factorization is a list of arrays and the einsum string that contracts them, for instance
``"ar,br,cr->abc"`` for :math:`T_{abc}=\sum_rA_{ar}B_{br}C_{cr}`. Letters to the right of the
arrow are the axes of the tensor T; a letter that several factors have in common is *shared*.
``"ab,bc->ac"`` is a linear network of two layers.

Letters: p is the order of T, R the number of components, :math:`w_r^n` column r of the n-th CP
factor, k the number of factors that share an index, σ the norm of a component. Every factor
enters once: networks that use the same weights at several places are outside.
"""

from functools import lru_cache
from string import ascii_lowercase

import numpy as np
from scipy.special import hyp2f1

from overparam import _check, flow, losses

# --- Einsum strings for the usual factorizations --------------------------------------------


def cp(order):
    r"""Return the string of :math:`\sum_r w_r^1\otimes\cdots\otimes w_r^p`: "az,bz,cz->abc".

    Factor n has shape (d_n, R) and the columns :math:`w_r^n`; the shared index is "z".

    Examples
    --------
    >>> cp(3)
    'az,bz,cz->abc'
    """
    axes = _axes(order)
    return ",".join(axis + "z" for axis in axes) + "->" + axes


def train(order):
    """Return the string of a tensor train: "az,zby,yc->abc" for order 3.

    Core k has shape (r_{k-1}, d_k, r_k), without the first or last axis at the two ends; the
    bonds are named z, y, x, … from the left (Oseledets 2011).
    """
    axes = _axes(order)
    bonds = [""] + list(ascii_lowercase[: -order - 1 : -1][: order - 1]) + [""]
    cores = [bonds[k] + axis + bonds[k + 1] for k, axis in enumerate(axes)]
    return ",".join(cores) + "->" + axes


def tree():
    """Return the string of a tree on four axes, "az,bz,zv,cx,dx,xv->abcd".

    The network that Cohen 2019, "Beyond Linear Neural Networks", draws as convolutional: a matrix
    at each leaf; the channels of neighbours are multiplied entry by entry and mixed by the next
    matrix. So z and x are shared by three factors each, v by two.
    """
    return "az,bz,zv,cx,dx,xv->abcd"


# --- The tensor and the gradients -----------------------------------------------------------


def contract(subscripts, factors):
    """Return the tensor that the factors make.

    Examples
    --------
    >>> contract("az,bz->ab", [[[1.0], [2.0]], [[3.0], [4.0]]]).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    factors = checked(subscripts, factors)
    return _einsum(subscripts, *factors)


def gradients(subscripts, factors, gradient):
    r"""Return the gradients of :math:`f(T)` by each factor.

    T is linear in each factor, so that the gradient by one is :math:`\nabla f(T)` contracted
    with all others. `gradient` is :math:`\nabla f`, for instance ``loss.gradient``.
    """
    inputs, output = _split(subscripts)
    G = gradient(_einsum(subscripts, *factors))
    return [
        _einsum(
            ",".join([output, *inputs[:n], *inputs[n + 1 :]]) + "->" + inputs[n],
            G,
            *factors[:n],
            *factors[n + 1 :],
        )
        for n in range(len(inputs))
    ]


def factor_flow(subscripts, factors, loss, t, **options):
    """Gradient flow of loss(T) on the factors; options as for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For factors that do not fit `subscripts`, or a loss of tensors of another shape.
    """
    factors = checked(subscripts, factors)
    return flow.gradient_flow(
        lambda state: gradients(subscripts, state, loss.gradient), factors, t, **options
    )


def checked(subscripts, factors):
    """Return the factors as finite float64 arrays that fit the einsum string.

    Raises
    ------
    ValueError
        For a string that is no factorization (see `shared_indices`), another number of factors,
        or shapes that disagree about the length of an index.
    """
    inputs, _ = _split(subscripts)
    if not isinstance(factors, (list, tuple)) or len(factors) != len(inputs):
        got = len(factors) if isinstance(factors, (list, tuple)) else type(factors).__name__
        raise ValueError(f"factors must be a list of {len(inputs)} for {subscripts!r}, got {got}")
    arrays, length = [], {}
    for n, (letters, factor) in enumerate(zip(inputs, factors, strict=True)):
        array = _check.finite_array(f"factors[{n}]", factor)
        if array.ndim != len(letters):
            raise ValueError(
                f"factors[{n}] must have {len(letters)} axes, {letters!r}; got shape {array.shape}"
            )
        for letter, size in zip(letters, array.shape, strict=True):
            if length.setdefault(letter, size) != size:
                raise ValueError(
                    f"factors[{n}] has length {size} along {letter!r}, another has "
                    f"{length[letter]}: a shared index has one length"
                )
        arrays.append(array)
    return arrays


# --- What the flow conserves ----------------------------------------------------------------


def shared_indices(subscripts):
    """Return {letter: numbers of the factors that have it} for each letter of several factors.

    Raises
    ------
    ValueError
        If `subscripts` is no factorization: no arrow, a letter twice in one factor or in the
        output, an axis that no factor has, or a letter of one factor that is summed over.
    """
    inputs, _ = _split(subscripts)
    letters = sorted(set("".join(inputs)))
    owners = {e: [n for n, axes in enumerate(inputs) if e in axes] for e in letters}
    return {e: where for e, where in owners.items() if len(where) > 1}


def slice_norms(subscripts, factors, index):
    r"""Return :math:`\|A_i[e=r]\|`, shape (k, length of e), for the k factors that share e."""
    factors, (inputs, _) = checked(subscripts, factors), _split(subscripts)
    return np.array(
        [np.sqrt(np.diag(_gram(inputs[n], factors[n], index))) for n in _owners(subscripts, index)]
    )


def imbalance(subscripts, factors):
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
    >>> row, column = [[1.0, 2.0]], [[3.0], [0.0]]
    >>> imbalance("ab,bc->ac", [row, column])["b"].tolist()
    [[-8.0, 2.0], [2.0, 4.0]]
    """
    factors = checked(subscripts, factors)
    inputs, output = _split(subscripts)
    groups = {}
    for index, where in shared_indices(subscripts).items():
        key = tuple(where), index in output
        groups[key] = groups.get(key, "") + index
    result = {}
    for (where, kept), letters in groups.items():
        grams = [_gram(inputs[n], factors[n], letters) for n in where]
        if len(where) == 2 and not kept:
            result[letters] = grams[0] - grams[1]
        else:
            squares = np.array([np.diag(gram) for gram in grams])
            result[letters] = squares[:-1] - squares[1:]
    return result


def independent_laws(subscripts, factors):
    """Return the rank of the derivative of all entries of `imbalance` by the factors.

    The number of laws that are independent to first order at these factors. Random factors have
    the number of almost all factors of their shapes.

    Examples
    --------
    >>> independent_laws("ab,bc->ac", [np.ones((1, 1)), np.ones((1, 1))])
    1
    """
    factors = checked(subscripts, factors)

    def laws(state):
        return np.concatenate([D.ravel() for D in imbalance(subscripts, state).values()])

    columns, step = [], max(np.abs(w).max() for w in factors) or 1.0
    for n, factor in enumerate(factors):
        for place in np.ndindex(factor.shape):
            ends = []
            for sign in (1, -1):  # exact for quadratic functions, whatever the step
                moved = [w.copy() for w in factors]
                moved[n][place] += sign * step
                ends.append(laws(moved))
            columns.append(ends[0] - ends[1])
    return int(np.linalg.matrix_rank(np.array(columns)))


def drift(subscripts, trajectory):
    """Return how far each array of `imbalance` has moved at most, by the letters of its index."""
    first = imbalance(subscripts, trajectory[0])
    worst = dict.fromkeys(first, 0.0)
    for factors in trajectory:
        for index, now in imbalance(subscripts, factors).items():
            worst[index] = max(worst[index], float(np.abs(now - first[index]).max()))
    return worst


# --- Components -----------------------------------------------------------------------------


def component_norms(subscripts, factors, index="z"):
    r"""Return :math:`\sigma_r=\prod_i\|A_i[e=r]\|` over the factors that share the index e.

    For CP, :math:`\|w_r^1\otimes\cdots\otimes w_r^p\|`.
    """
    return slice_norms(subscripts, factors, index).prod(axis=0)


def component_velocity(subscripts, factors, G, index="z"):
    r"""Return :math:`\dot\sigma_r=\sigma_r^2\sum_i\|A_i[e=r]\|^{-2}\,\langle-G,\hat C_r\rangle`.

    The motion of the component norms under gradient flow, G being :math:`\nabla f(T)` and
    :math:`\hat C_r` the part of T that has e = r, divided by :math:`\sigma_r`. If the k slices
    are of equal norm it is :math:`k\,\sigma_r^{2-2/k}\langle-G,\hat C_r\rangle` (Razin, Maman and
    Cohen 2021, Theorem 1, for CP, where k is the order of the tensor).

    Raises
    ------
    ValueError
        For a component of norm zero, whose norm has no derivative.
    """
    factors, (inputs, output) = checked(subscripts, factors), _split(subscripts)
    G = _check.finite_array("G", G)
    norms = slice_norms(subscripts, factors, index)
    if not np.all(norms > 0):
        raise ValueError("factors have a slice of norm zero, whose direction is not defined")
    shape = _einsum(subscripts, *factors).shape
    if G.shape != shape:
        raise ValueError(f"G must have the shape {shape} of the tensor, got {G.shape}")
    along = _einsum(",".join([output, *inputs]) + "->" + index, G, *factors)
    sigma = norms.prod(axis=0)
    return -sigma * np.sum(norms**-2.0, axis=0) * along


def waiting_time(size, start, target, order):
    r"""Return the time at which one balanced component has grown from `start` to `size`.

    The closed form of :math:`\dot\sigma=p\,\sigma^{2-2/p}(\lambda-\sigma)`, the flow of
    :math:`\tfrac12\|T-Y\|^2` on a component whose directions are those of a component of norm
    λ = `target` of an orthogonal target. p = `order` ≥ 2; 0 < start ≤ size < target.

    Examples
    --------
    >>> round(float(waiting_time(0.5, 0.1, 1.0, 2)), 3)  # log(9)/2
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


def gaussian(subscripts, lengths, scale, rng):
    """Return factors with independent normal entries of standard deviation `scale`.

    `lengths` maps each letter of `subscripts` to the length of that index.
    """
    inputs, _ = _split(subscripts)
    missing = set("".join(inputs)) - set(lengths)
    if missing:
        raise ValueError(f"lengths leaves out the index {min(missing)!r} of {subscripts!r}")
    sizes = {e: _check.count(f"lengths[{e!r}]", lengths[e]) for e in sorted(set("".join(inputs)))}
    scale = _check.number("scale", scale, 0, strict=True)
    _check.generator("rng", rng)
    return [scale * rng.standard_normal([sizes[e] for e in letters]) for letters in inputs]


def balanced_cp(shape, norms, rng):
    r"""Return CP factors of components with the given norms, balanced, in random directions.

    Column r of factor n has norm :math:`\sigma_r^{1/p}`; `norms` holds the R numbers
    :math:`\sigma_r\ge0`.
    """
    shape = [_check.count(f"shape[{n}]", d) for n, d in enumerate(shape)]
    if len(shape) < 2:
        raise ValueError(f"shape must name at least two axes, got {shape}")
    norms = _check.finite_array("norms", norms, ndim=1)
    if np.any(norms < 0):
        raise ValueError(f"norms must not be negative, got {norms.min():g}")
    _check.generator("rng", rng)
    columns = [rng.standard_normal((d, len(norms))) for d in shape]
    return [norms ** (1 / len(shape)) * w / np.linalg.norm(w, axis=0) for w in columns]


# --- Completion -----------------------------------------------------------------------------


def completion(data, observed):
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
    """
    data, observed = np.asarray(data, dtype=float), np.asarray(observed)
    if observed.dtype != bool or observed.shape != data.shape:
        raise ValueError(
            f"observed must be a boolean array of the shape {data.shape} of data, "
            f"got {observed.dtype} of shape {observed.shape}"
        )
    if not observed.any():
        raise ValueError("observed is False everywhere: there is no entry to learn from")
    if not np.all(np.isfinite(data[observed])):
        raise ValueError("data has observed entries that are NaN or infinite; mark them unobserved")
    n_observed = int(observed.sum())
    known = np.where(observed, data, 0.0)
    weight = observed / n_observed

    def residual(T):
        if np.shape(T) != known.shape:
            raise ValueError(f"T must have shape {known.shape}, got {np.shape(T)}")
        return T - known

    return losses.Loss(
        value=lambda T: np.sum(weight * residual(T) ** 2),
        gradient=lambda T: 2 * weight * residual(T),
        pl_constant=4 / n_observed,
        strong_convexity=2 / n_observed if observed.all() else 0.0,
        smoothness=2 / n_observed,
        minimum=0.0,
    )


def complete(subscripts, factors, data, observed, limit, *, goal=1e-6, times=None, **options):
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
    times : increasing array of floats, optional
        Times below `limit` at which to keep the factors; by default the integrator's own.
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
    """
    loss = completion(data, observed)
    goal = _check.number("goal", goal, 0, strict=True)
    limit = _check.number("limit", limit, 0, strict=True)
    if times is not None:
        times = _check.finite_array("times", times, ndim=1)
        times = np.append(times[times < limit], limit)

    def excess(state):
        return loss.value(_einsum(subscripts, *state)) - goal

    times = limit if times is None else times
    return factor_flow(subscripts, factors, loss, times, stop=excess, **options)


def unfolding(T, axes):
    """Return T as a matrix whose rows are indexed by the given axes, columns by the others."""
    T = _check.finite_array("T", T)
    axes = [_check.count("axes", axis, 0) for axis in np.atleast_1d(axes).tolist()]
    others = [n for n in range(T.ndim) if n not in axes]
    if len(set(axes)) < len(axes) or max(axes) >= T.ndim or not others:
        raise ValueError(f"axes must be some, not all, of 0 to {T.ndim - 1}, got {axes}")
    return T.transpose(axes + others).reshape(np.prod([T.shape[n] for n in axes]), -1)


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


def _owners(subscripts, index):
    shared = shared_indices(subscripts)
    if index not in shared:
        raise ValueError(f"index must be one of {', '.join(shared)}, which are shared; got {index}")
    return shared[index]


def _gram(letters, factor, index):
    """Return the matrix of inner products of the slices of `factor` along one or more letters."""
    axes = [letters.index(e) for e in index]
    rows = np.moveaxis(factor, axes, range(len(axes)))
    rows = rows.reshape(np.prod([factor.shape[axis] for axis in axes]), -1)
    return rows @ rows.T


@lru_cache(maxsize=4096)
def _path(subscripts, shapes):
    # Only the shapes matter for the order of the contractions.
    operands = [np.broadcast_to(0.0, shape) for shape in shapes]
    return np.einsum_path(subscripts, *operands, optimize="greedy")[0]


def _einsum(subscripts, *operands):
    path = _path(subscripts, tuple(np.shape(operand) for operand in operands))
    return np.einsum(subscripts, *operands, optimize=path)
