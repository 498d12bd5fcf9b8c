r"""Deep matrix completion (chapter "Deep matrix completion").

Letters: W (n × m) is the end-to-end matrix :math:`W_1\cdots W_L` of L = `depth` layers with
singular values :math:`\sigma_i` and singular vectors :math:`u_i,v_i`; two layers are
:math:`X=UV^\top`; G is a gradient :math:`\nabla f(W)`; s = `scale` is the size of the
initialization. ``losses.completion`` is the mean of squares, without ½.

``data/completion_tables.jsonl`` was made by tests/test_completion.py, run as a program.
"""

import json
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from overparam import _check, flow, losses, networks

# The experiment of both tables of Cohen 2019: 100 × 100, rank 5, entries of unit RMS.
SIZE, RANK, SCALE = 100, 5, 1e-4
OBSERVATIONS = (5000, 2000)
METHODS = ("nuclear norm", 2, 3, 4)
GAP_REACHED = "gap reached"
TABLES = Path(__file__).parent / "data" / "completion_tables.jsonl"


# --- How large, of which rank? -------------------------------------------------------------


def effective_rank(W: ArrayLike) -> float:
    r"""Return :math:`\exp(-\sum_iq_i\log q_i)` with :math:`q_i=\sigma_i/\sum\sigma`.

    Singular values of zero are dropped (Roy and Vetterli 2007). Between one and the rank.

    Raises
    ------
    ValueError
        For the zero matrix, which has no effective rank.

    Examples
    --------
    >>> round(effective_rank(np.diag([3.0, 3.0])), 6), round(effective_rank(np.diag([9.0, 1.0])), 3)
    (2.0, 1.384)
    """
    sigma = np.linalg.svd(_check.matrix("W", W), compute_uv=False)
    if sigma[0] == 0:
        raise ValueError("W is zero: its singular values have no distribution, hence no rank")
    p = sigma / sigma[0]  # first, or the sum of huge ones would overflow
    return float(np.exp(np.sum(entr(p / p.sum()))))


def schatten(W: ArrayLike, p: float) -> float:
    r"""Return :math:`\|W\|_{S_p}^p=\sum_i\sigma_i^p`, the p-th power of the Schatten-p norm.

    The nuclear norm for p = 1. For p < 1 only a quasi-norm; as p → 0 it tends to the rank, with
    singular values below max(n, m)·eps·σ₁ counted as zero.

    Examples
    --------
    >>> round(schatten(np.diag([9.0, 4.0]), 0.5), 6)
    5.0
    """
    p = _check.number("p", p, 0, strict=True)
    sigma = np.linalg.svd(_check.matrix("W", W), compute_uv=False)
    sigma = sigma[sigma > max(np.shape(W)) * np.finfo(float).eps * sigma[0]]
    return float(np.sum(sigma**p))


def reconstruction_error(W: ArrayLike, truth: ArrayLike) -> float:
    """Return the mean over all entries, seen or not, of (W - truth)².

    Examples
    --------
    >>> reconstruction_error([[1.0, 2.0]], [[1.0, 4.0]])
    2.0
    """
    truth = _check.matrix("truth", truth)
    return float(np.mean((_check.shaped("W", W, truth.shape, "truth") - truth) ** 2))


# --- A matrix to recover -------------------------------------------------------------------


def random_low_rank(
    shape: tuple[int, int], rank: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a product of two Gaussian factors, rescaled to entries of root mean square one.

    Parameters
    ----------
    shape : tuple
        (n, m).
    rank : int
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        For a rank larger than the smaller side of `shape`.

    Examples
    --------
    >>> W = random_low_rank((6, 4), 2, np.random.default_rng(0))
    >>> np.linalg.matrix_rank(W), round(float(np.mean(W**2)), 6)
    (np.int64(2), 1.0)
    """
    rows, cols = _shape(shape)
    rank = _check.count("rank", rank)
    if rank > min(rows, cols):
        raise ValueError(f"rank must be at most {min(rows, cols)}, the smaller side; got {rank}")
    _check.generator("rng", rng)
    W = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, cols))
    return W * np.sqrt(rows * cols) / np.linalg.norm(W)


def random_positions(
    shape: tuple[int, int], n_observed: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and cols of `n_observed` entries drawn uniformly without replacement.

    Parameters
    ----------
    shape : tuple
        (n, m).
    n_observed : int
    rng : numpy.random.Generator

    Examples
    --------
    >>> rows, cols = random_positions((2, 3), 6, np.random.default_rng(0))
    >>> sorted(zip(rows.tolist(), cols.tolist()))  # all of them
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    """
    n_rows, n_cols = _shape(shape)
    n_observed = _check.count("n_observed", n_observed)
    if n_observed > n_rows * n_cols:
        raise ValueError(f"n_observed must be at most {n_rows * n_cols}, got {n_observed}")
    _check.generator("rng", rng)
    return np.divmod(rng.choice(n_rows * n_cols, n_observed, replace=False), n_cols)


# --- The convex competitor -----------------------------------------------------------------


class Minimizer(NamedTuple):
    """A completion and the proof that it is nearly the best.

    Attributes
    ----------
    X : ndarray
        Agrees with all observations exactly.
    gap : float
        No completion has a nuclear norm below that of X by more than this.
    dual : ndarray
        The proof: zero where nothing is observed and of spectral norm at most one, so that
        ⟨dual, W⟩ ≤ ‖W‖_* for every W, with the same left side for all completions.
    iterations : int
    reason : str
        "gap reached", or "end of iterations" if the gap is above the tolerance still.
    """

    X: np.ndarray
    gap: float
    dual: np.ndarray
    iterations: int
    reason: str


def nuclear_norm_minimizer(
    rows: ArrayLike, cols: ArrayLike, values: ArrayLike, shape: tuple[int, int], *,
    tolerance: float = 1e-7, max_iterations: int = 20_000,
) -> Minimizer:
    r"""Minimize :math:`\|W\|_*` over all W with the observed entries, with a proven gap.

    Douglas–Rachford splitting: in turn the projection on the matrices with the observed entries
    and soft thresholding of the singular values. The difference of the two, on the observed
    entries and scaled to spectral norm at most one, is a feasible point of the dual problem

    .. math:: \max\ \langle\Lambda,P_\Omega W\rangle\quad\text{with}\quad\|\Lambda\|_2\le1

    and Λ zero off the observed entries; its value bounds the minimum from below.

    Parameters
    ----------
    rows, cols, values, shape
        As in `losses.completion`.
    tolerance : float
        The gap to reach, in units of the root mean square of `values`.
    max_iterations : int
        Each costs one singular value decomposition.

    Returns
    -------
    Minimizer
        The best one that was found, with the reason why it ended there.

    Raises
    ------
    ValueError
        For no observation, one outside `shape`, or an entry observed twice.

    Examples
    --------
    >>> best = nuclear_norm_minimizer([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], (2, 2))
    >>> round(float(best.X[1, 1]), 2), best.gap < 1e-6  # the norm 5; rank one would need 6 here
    (1.0, True)
    """
    _, data, seen = _observations(rows, cols, values, shape)
    tolerance = _check.number("tolerance", tolerance, 0, strict=True)
    max_iterations = _check.count("max_iterations", max_iterations)
    if not np.any(data):
        return Minimizer(data, 0.0, data, 0, GAP_REACHED)
    goal = tolerance * np.linalg.norm(data) / np.sqrt(seen.sum())
    # Every threshold converges, and so does a stride below two; how fast depends on both.
    threshold, stride = 0.2 * np.linalg.norm(data, 2), 1.6
    look, basis = 10, None
    Z = shrunk = np.zeros(shape)
    best = Minimizer(data, np.inf, Z, 0, "end of iterations")
    for iteration in range(1, max_iterations + 1):
        fitted, before = np.where(seen, data, Z), shrunk
        shrunk, basis = _shrink(2 * fitted - Z, threshold, basis)
        dual, Z = (fitted - Z) / threshold, Z + stride * (shrunk - fitted)
        if iteration in (look, max_iterations):  # a look costs as much as eight iterations
            found = _certify(shrunk, dual, data, seen, iteration)
            best = min(best, found, key=lambda minimizer: minimizer.gap)
            if best.gap <= goal:
                return best._replace(reason=GAP_REACHED)
            # A smaller threshold favours the constraint, a larger one the dual matrix: keep the
            # two residuals in balance, ever more seldom, so that the method converges still.
            constraint = np.linalg.norm(shrunk - fitted) / np.linalg.norm(fitted)
            change = np.linalg.norm(shrunk - before) / np.linalg.norm(fitted - Z)
            factor = np.clip(change / constraint, 1 / 1.3, 1.3)
            Z = np.where(seen, data + factor * (Z - data), Z)  # keeps the dual matrix
            threshold *= factor
            look = iteration + 10 + iteration // 8
    return best


def _shrink(M, threshold, basis):
    """Lower the singular values of M by `threshold`, to no less than zero.

    Only those above the threshold matter, and M changes little from one call to the next: one
    power step on the last call's right singular vectors, `basis`, usually finds them. What that
    leaves out cannot spoil the result, since the gap is measured without it.
    """
    span = np.eye(len(M)) if basis is None else np.linalg.qr(M @ basis)[0]
    inner = span.T @ M
    squares, turn = np.linalg.eigh(inner @ inner.T)  # faster than the decomposition of inner
    sigma = np.sqrt(np.maximum(squares, 0))[::-1]
    if basis is not None and sigma[-4] > threshold:
        return _shrink(M, threshold, None)
    count = np.count_nonzero(sigma > threshold)
    left, right = span @ turn[:, ::-1], turn.T[::-1] @ inner
    shrunk = left[:, :count] * (1 - threshold / sigma[:count]) @ right[:count]
    return shrunk, right[: count + 8].T if 2 * (count + 8) < min(M.shape) else None


def _certify(X, dual, data, seen, iteration):
    """Make X and the dual matrix feasible and measure the gap between them."""
    X = np.where(seen, data, X)
    dual = dual / max(1.0, np.linalg.norm(dual, 2))
    gap = np.linalg.norm(X, "nuc") - np.vdot(dual, data)
    return Minimizer(X, float(max(gap, 0.0)), dual, iteration, "end of iterations")


# --- Gradient flow on the layers -----------------------------------------------------------


def complete(
    rows: ArrayLike, cols: ArrayLike, values: ArrayLike, shape: tuple[int, int], depth: int,
    scale: float, rng: np.random.Generator, *, t: ArrayLike | None = None, goal: float = 1e-6,
    rtol: float = 2.5e-4, method: str | type = "auto", single: bool = False,
) -> flow.Trajectory:
    r"""Complete a matrix by gradient flow on `depth` layers from a small Gaussian start.

    The flow of :math:`\mathrm{mean}_\Omega(W-W^*)^2` (without ½), :math:`W=W_1\cdots W_L`, all
    hidden widths min(n, m) so that the layers leave the rank free, from independent entries of
    standard deviation :math:`s^{1/L}/\sqrt{\min(n,m)}` (see `start`); as in
    Cohen 2019, "Experiments Testing Nuclear Norm Conjecture".

    Parameters
    ----------
    rows, cols, values, shape
        As in `losses.completion`.
    depth : int
        The number of layers L, at least 2.
    scale : float
        The size s > 0 of the start.
    rng : numpy.random.Generator
    t : float or increasing array of floats, optional
        As for `flow.gradient_flow`. By default from 0 to 1e5 times
        :math:`|\Omega|/(L\sigma^{2-2/L})`, with σ the largest singular value of the observed
        matrix: about 1e5 times the fastest motion at the end. Start and end alone are kept then
        (100 × 100 at depth 4 would take 300 MB).
    goal : float
        The training loss at which to stop.
    rtol : float
        Tolerance of the integrator. At the default the final error over all entries agrees with
        that of the exact flow to 0.5 % in the tables' problems.
    method : str or class
        As for `flow.gradient_flow`. The default takes a stabilized explicit method of order two
        for the long slow stretch at the end, in which stability, not accuracy, limits the step.
        For the path itself take "DOP853" with ``rtol=5e-8``: right to a relative 1e-5 in the
        tables' problems at depths 2 and 3.
    single : bool
        As for `flow.gradient_flow`: in single precision, the usual one in torch, the tables'
        problems take two thirds of the time and end within the same 0.5 %.

    Returns
    -------
    flow.Trajectory
        Of the layers: ``networks.product(path.final)`` is the completed matrix. Its ``reason``
        is "loss reached", or "end of time" if the last of the times came first.

    Raises
    ------
    ValueError
        For no observation, one outside `shape`, an entry observed twice, a depth below 2 (one
        layer never moves an entry that is not observed), a scale that is not positive, or
        values that are all zero.

    Examples
    --------
    >>> hole = ([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], (2, 2))
    >>> path = complete(*hole, depth=3, scale=1e-4, rng=np.random.default_rng(0))
    >>> round(float(networks.product(path.final)[1, 1]), 1), path.reason
    (6.0, 'loss reached')
    """
    loss, data, seen = _observations(rows, cols, values, shape)
    layers = start(shape, depth, scale, rng)
    goal = _check.number("goal", goal, 0, strict=True)
    rtol = _check.number("rtol", rtol, 0, strict=True)
    if not np.any(data):
        raise ValueError("values are all zero: the start is as good as any completion")
    if t is None:
        slowness = seen.sum() / (depth * np.linalg.norm(data, 2) ** (2 - 2 / depth))
        t = [0.0, 1e5 * slowness]
    # The flow's layers need no check, and `networks.product` would copy them in double precision.
    return networks.layer_flow(
        loss, layers, t, rtol=rtol, atol=0.1 * rtol * np.std(layers[0]), method=method,
        stop=lambda weights: loss.value(reduce(np.matmul, weights)) - goal, single=single,
    )  # fmt: skip


def start(
    shape: tuple[int, int], depth: int, scale: float, rng: np.random.Generator
) -> networks.Layers:
    r"""Return Gaussian layers of standard deviation :math:`s^{1/L}/\sqrt k`, k = min(n, m).

    All hidden widths are k. The product has
    :math:`\mathbb E\|W\|_F^2=s^2\max(n,m)`: for n × n matrices :math:`\|W\|_F\approx s\sqrt n`.

    Parameters
    ----------
    shape : tuple
        (n, m).
    depth : int
        L of at least 2.
    scale : float
        s, in units of the product.
    rng : numpy.random.Generator

    Examples
    --------
    >>> [layer.shape for layer in start((5, 3), 3, 1e-3, np.random.default_rng(0))]
    [(5, 3), (3, 3), (3, 3)]
    """
    rows, cols = _shape(shape)
    depth = _check.count("depth", depth, minimum=2)
    scale = _check.number("scale", scale, 0, strict=True)
    width = min(rows, cols)
    deviation = scale ** (1 / depth) / np.sqrt(width)
    return networks.gaussian([rows] + [width] * (depth - 1) + [cols], deviation, rng)


# --- Two layers: components, the norm of the weights, decay --------------------------------


def component_imbalances(U: ArrayLike, V: ArrayLike, mask: ArrayLike) -> list[np.ndarray]:
    r"""Return :math:`U_R^\top U_R-V_C^\top V_C` for the rows R and columns C of each component.

    Rows and columns are the vertices of a graph, each observed entry is an edge between its row
    and its column; a row or column without an observed entry is a component of its own. The
    matrices are conserved by the flow of every loss of :math:`X=UV^\top` that sees the entries in
    `mask` only.

    Parameters
    ----------
    U, V : matrices, shapes (m, k) and (n, k)
    mask : bool array, shape (m, n)
        True where an entry is observed.

    Returns
    -------
    list of ndarray, shape (k, k)

    Examples
    --------
    >>> [D.tolist() for D in component_imbalances([[2.0], [3.0]], [[1.0]], [[True], [False]])]
    [[[3.0]], [[9.0]]]
    """
    from scipy.sparse.csgraph import connected_components

    U, V = _check.same_columns(U, V)
    (m, n), mask = (len(U), len(V)), np.asarray(mask)
    if mask.shape != (m, n) or not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"mask must be a matrix of booleans of shape {m, n}, got {mask!r:.80}")
    count, label = connected_components(np.pad(mask, ((0, n), (m, 0))), directed=False)
    parts = [(U[label[:m] == c], V[label[m:] == c]) for c in range(count)]
    return [A.T @ A - B.T @ B for A, B in parts]


def nuclear_bounds(U: ArrayLike, V: ArrayLike) -> tuple[float, float]:
    r"""Return bounds on :math:`\|UV^\top\|_*` that the weights know without its decomposition.

    .. math::
       w-\tfrac12\|U^\top U-V^\top V\|_*&\le\|UV^\top\|_*\le w,\\
       w&=\tfrac12(\|U\|_F^2+\|V\|_F^2)

    The imbalance is conserved by the flow, so along it the two bounds keep their distance.

    Returns
    -------
    (float, float)
        The lower bound, which may be negative, and the upper one.

    Examples
    --------
    >>> nuclear_bounds([[2.0]], [[1.0]])  # of the number 2
    (1.0, 2.5)
    """
    U, V = _check.same_columns(U, V)
    weights = (np.sum(U**2) + np.sum(V**2)) / 2
    distance = np.linalg.norm(U.T @ U - V.T @ V, "nuc") / 2
    return float(weights - distance), float(weights)


def decay_penalty(W: ArrayLike, depth: int) -> float:
    r"""Return the least :math:`\frac12\sum_l\|W_l\|_F^2` of `depth` layers with product W.

    It is :math:`\frac L2\sum_i\sigma_i^{2/L}`, attained by balanced layers of widths at least the
    rank: the Schatten-2/L (quasi-)norm to the power 2/L, times L/2.

    Examples
    --------
    >>> W = np.diag([4.0, 1.0])
    >>> decay_penalty(W, 1), decay_penalty(W, 2)
    (8.5, 5.0)
    """
    depth = _check.count("depth", depth)
    return depth / 2 * schatten(W, 2 / depth)


def decay_thresholds(decay: float, depth: int) -> tuple[float, float]:
    r"""Return :math:`(s_{loc},s_{glob})`: when weight decay leaves a mode alive.

    For :math:`\frac12(\sigma-s)^2+\frac{\lambda L}2\sigma^{2/L}` over :math:`\sigma\ge0`, with
    :math:`\lambda` = `decay`: a positive local minimum exists for :math:`s>s_{loc}`, and it is a
    global one from :math:`s_{glob}` on. For two layers both are :math:`\lambda`.

    Examples
    --------
    >>> [tuple(round(s, 4) for s in decay_thresholds(0.1, depth)) for depth in (2, 3)]
    [(0.1, 0.1), (0.312, 0.3557)]
    """
    decay = _check.number("decay", decay, 0, strict=True)
    depth = _check.count("depth", depth, minimum=2)
    if depth == 2:
        return decay, decay
    power = depth / (2 * depth - 2)
    local = (2 * depth - 2) / (depth - 2) * (decay * (depth - 2) / depth) ** power
    return local, (depth - 1) / (depth - 2) * (decay * (depth - 2)) ** power


# --- Singular values on the move -----------------------------------------------------------


def singular_value_velocity(W: ArrayLike, G: ArrayLike, depth: int) -> np.ndarray:
    r"""Return :math:`\dot\sigma_i=-L\,\sigma_i^{2-2/L}\,\langle G,u_iv_i^\top\rangle`.

    The motion of the singular values of a product of L balanced layers under gradient flow, in
    decreasing order of :math:`\sigma_i`, from the singular value decomposition of W, which must
    have distinct singular values (Cohen 2019, "Dynamics of Singular Values"; Arora
    et al. 2019, Theorem 3). For L = 1 they must also be positive, or be given signs.

    Parameters
    ----------
    W : matrix, shape (n, m)
    G : matrix, shape (n, m)
        The gradient of the loss at W.
    depth : int
        L of at least 1.

    Examples
    --------
    >>> singular_value_velocity(np.diag([3.0, 1.0]), -np.eye(2), 2)  # twice as fast as the value
    array([6., 2.])
    """
    left, sigma, right, G, depth = _decomposition(W, G, depth)
    return -depth * sigma ** (2 - 2 / depth) * np.sum(left * (G @ right), axis=0)


def singular_vector_velocity(
    W: ArrayLike, G: ArrayLike, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return :math:`\dot U,\dot V` for the thin decomposition :math:`W=USV^\top`.

    With :math:`F_{ij}=1/(\sigma_j^{2/L}-\sigma_i^{2/L})`, zero on the diagonal,

    .. math::
       \dot U&=-U\big(F\odot[U^\top GVS+SV^\top G^\top U]\big)\\
             &\quad-(I-UU^\top)GVS^{1-2/L},\\
       \dot V&=-V\big(F\odot[SU^\top GV+V^\top G^\top US]\big)\\
             &\quad-(I-VV^\top)G^\top US^{1-2/L}

    (Arora et al. 2019, Lemma 2, where equation (9) has :math:`U^\top` for the last U). The signs
    of the vectors are those that `numpy.linalg.svd` returns.

    Parameters
    ----------
    W, G, depth
        As for `singular_value_velocity`.

    Raises
    ------
    ValueError
        Unless the singular values are distinct and positive, to a relative 1e-10.

    Examples
    --------
    >>> turns = singular_vector_velocity(np.diag([2.0, 1.0]), [[0.0, 1.0], [1.0, 0.0]], 2)
    >>> [float(np.abs(turn[1, 0]).round(6)) for turn in turns]  # (2 + 1)/(2 - 1)
    [3.0, 3.0]
    """
    left, sigma, right, G, depth = _decomposition(W, G, depth)
    if np.any(-np.diff(np.append(sigma, 0.0)) <= 1e-10 * sigma[0]):
        raise ValueError("W must have distinct, positive singular values")
    roots = sigma ** (2 / depth)
    gaps = roots - roots[:, None]
    np.fill_diagonal(gaps, np.inf)

    def turn(left, right, G):
        pull = G @ right
        inner = left.T @ pull
        within = (inner * sigma + sigma[:, None] * inner.T) / gaps
        return -left @ within - (pull - left @ inner) * sigma ** (1 - 2 / depth)

    return turn(left, right, G), turn(right, left, G.T)


# --- The two tables ------------------------------------------------------------------------


def table_problem(seed: int, n_observed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (truth, rows, cols) of the tables' experiment: 100 × 100, rank 5, unit RMS.

    Examples
    --------
    >>> truth, rows, cols = table_problem(0, 2000)
    >>> truth.shape, len(rows)
    ((100, 100), 2000)
    """
    rng = np.random.default_rng([_check.count("seed", seed, 0), n_observed])
    truth = random_low_rank((SIZE, SIZE), RANK, rng)
    return truth, *random_positions((SIZE, SIZE), n_observed, rng)


def table_cell(seed: int, n_observed: int, method: str | int, scale: float = SCALE) -> dict:
    """Compute one cell of the tables: one seed, one number of observations, one method.

    Parameters
    ----------
    seed, n_observed : int
    method : "nuclear norm" or int
        An int is the depth of the network.
    scale : float
        The size of its start.

    Returns
    -------
    dict
        With error, nuclear_norm, effective_rank, training_loss, evaluations and reason.

    Examples
    --------
    >>> cell = table_cell(0, 5000, "nuclear norm")
    >>> cell["error"] < 1e-12, cell["reason"]
    (True, 'gap reached')
    """
    truth, rows, cols = table_problem(seed, n_observed)
    values, shape = truth[rows, cols], truth.shape
    if method == "nuclear norm":
        best = nuclear_norm_minimizer(rows, cols, values, shape)
        W, evaluations, reason = best.X, best.iterations, best.reason
    else:
        rng = np.random.default_rng([seed, n_observed, method])
        path = complete(rows, cols, values, shape, method, scale, rng)
        W, evaluations, reason = networks.product(path.final), path.n_evaluations, path.reason
    return {
        "error": reconstruction_error(W, truth),
        "nuclear_norm": float(np.linalg.norm(W, "nuc")),
        "effective_rank": effective_rank(W),
        "training_loss": float(np.mean((W[rows, cols] - values) ** 2)),
        "evaluations": evaluations,
        "reason": reason,
    }


def stored_tables() -> list[dict]:
    """Return the stored cells: dicts as of `table_cell`, with seed, n_observed and method.

    Examples
    --------
    >>> len(stored_tables())  # 10 seeds, 2 numbers of observations, 4 methods
    80
    """
    return [json.loads(line) for line in TABLES.read_text(encoding="utf-8").splitlines()]


# --- Checks --------------------------------------------------------------------------------


def _shape(shape):
    try:
        rows, cols = shape
    except (TypeError, ValueError):
        raise ValueError(f"shape must be two numbers, rows and columns, got {shape!r}") from None
    return _check.count("shape[0]", rows), _check.count("shape[1]", cols)


def _observations(rows, cols, values, shape):
    """Return the loss, which checks them, the observed entries with zeros elsewhere, and where."""
    loss = losses.completion(rows, cols, values, _shape(shape))
    data, seen = np.zeros(shape), np.zeros(shape, dtype=bool)
    data[rows, cols], seen[rows, cols] = values, True
    return loss, data, seen


def _decomposition(W, G, depth):
    W = _check.matrix("W", W)
    G = _check.shaped("G", G, W.shape, "W")
    left, sigma, right = np.linalg.svd(W, full_matrices=False)
    return left, sigma, right.T, G, _check.count("depth", depth)
