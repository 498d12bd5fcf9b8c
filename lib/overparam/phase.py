r"""When does completion succeed? A sweep over methods, ranks and numbers of observations.

A matrix of size n × n and rank r has :math:`2nr-r^2` degrees of freedom (`freedom`); the grid
counts observed entries in this unit, ``oversampling``. `determined` decides whether anybody could
complete a matrix from its observed positions.

``python -m overparam.phase`` computes the stored results anew, on all cores, and goes on where it
was if it is stopped: some five minutes of one core.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, completion, losses, networks
from overparam.sweep import sweep

SIZE, SCALE = 100, 1e-4  # size and start of the tables in the completion chapter
METHODS = ("alternating", "nuclear norm", "depth 2", "depth 3", "depth 4")
GRID = {"rank": [2, 5, 8], "oversampling": [1.2, 1.5, 1.8, 2.2, 2.6, 3.0]}
SEEDS = range(6)
VERSION = "3"  # of the stored results: a new one when `cell` computes something else
STORED = Path(__file__).parent / "data" / "phase.jsonl"


def freedom(size: int, rank: int) -> int:
    r"""Return :math:`2nr-r^2`, the degrees of freedom of n × n matrices of rank r.

    Examples
    --------
    >>> freedom(100, 5)
    975
    """
    return 2 * size * rank - rank**2


def cell(
    rng: np.random.Generator, rank: int, oversampling: float, methods: Sequence[str] = METHODS,
    size: int = SIZE, goal: float = 1e-6,
) -> dict:
    """Complete one random matrix by each method and say how well it went.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the matrix, the observed positions and the seed of the starts, in this order:
        all methods complete the same matrix.
    rank, size : int
        The truth is size × size of this rank, with entries of root mean square one.
    oversampling : float
        Observed entries for each degree of freedom.
    methods : sequence of str
        "depth 2" and so on: gradient flow on so many layers. "nuclear norm". "alternating":
        least squares that is told the rank (`alternating`).
    goal : float
        Training loss, the mean of squares, at which flow and alternation stop.

    Returns
    -------
    dict
        ``determined``, whether anybody could complete it (see `determined`). If so, for each
        method its error, the mean square over all entries, and as "depth 2 rank" its effective
        rank; and ``unfinished``, the methods that ended without having reached their goal.

    Examples
    --------
    >>> result = cell(np.random.default_rng(0), 1, 3.0, ["alternating", "depth 3"], size=20)
    >>> result["determined"], result["depth 3"] < 1e-4, result["unfinished"]
    (True, True, '')
    """
    truth = completion.random_low_rank((size, size), rank, rng)
    n_observed = round(oversampling * freedom(size, rank))
    rows, cols = completion.random_positions(truth.shape, n_observed, rng)
    problem = (rows, cols, truth[rows, cols], truth.shape)
    seed = int(rng.integers(2**32))
    if not determined(rows, cols, truth, rank):
        return {"determined": False}
    result, unfinished = {"determined": True}, []
    for method in methods:
        found, reason = _complete(method, problem, rank, seed, goal)
        result[method] = float(f"{completion.reconstruction_error(found, truth):.3g}")
        result[f"{method} rank"] = round(completion.effective_rank(found), 2)
        if not reason.endswith("reached"):
            unfinished.append(method)
    return result | {"unfinished": ", ".join(unfinished)}


def _complete(method, problem, rank, seed, goal):
    """Return what `method` makes of the observed entries, and why it ended."""
    if method == "alternating":
        return alternating(*problem, rank, goal=goal)
    if method == "nuclear norm":
        best = completion.nuclear_norm_minimizer(*problem, tolerance=1e-4, max_iterations=3000)
        return best.X, best.reason
    depth = int(method.removeprefix("depth "))
    rng = np.random.default_rng([seed, depth])
    path = completion.complete(*problem, depth, SCALE, rng, goal=goal)
    return networks.product(path.final), path.reason


def determined(rows: ArrayLike, cols: ArrayLike, truth: ArrayLike, rank: int) -> bool:
    r"""Say whether `truth` is isolated among the matrices of its rank with the same entries.

    The matrices :math:`UV^\top` near `truth` change their observed entries by
    :math:`\dot u_i\cdot v_j+u_i\cdot\dot v_j`, a linear map whose rank is
    :math:`2nr-r^2` (for n × n) if and only if nothing but the freedom of the factors is lost.
    If the rank is smaller and `truth` is generic, a whole curve of matrices of this rank passes
    through it and has the same observed entries: nobody can tell them apart.

    Parameters
    ----------
    rows, cols : arrays of int
        The observed positions.
    truth : matrix
    rank : int

    Examples
    --------
    >>> truth = np.array([[1.0, 2.0], [3.0, 6.0]])
    >>> determined([0, 0, 1], [0, 1, 0], truth, 1), determined([0, 1], [0, 1], truth, 1)
    (True, False)
    """
    truth, rank = _check.matrix("truth", truth), _check.count("rank", rank)
    rows, cols = np.asarray(rows), np.asarray(cols)
    left, _, right = np.linalg.svd(truth, full_matrices=False)
    U, V = left[:, :rank], right[:rank].T  # any bases will do: they do not change the image
    n, m = truth.shape
    jacobian = np.zeros((len(rows), n + m, rank))
    entry = np.arange(len(rows))
    jacobian[entry, rows], jacobian[entry, n + cols] = V[cols], U[rows]
    jacobian = jacobian.reshape(len(rows), -1)
    seen = np.linalg.matrix_rank(jacobian.T @ jacobian, rtol=1e-11, hermitian=True)
    return bool(seen == (n + m) * rank - rank**2)


def alternating(
    rows: ArrayLike, cols: ArrayLike, values: ArrayLike, shape: tuple[int, int], rank: int, *,
    goal: float = 1e-6, sweeps: int = 500,
) -> tuple[np.ndarray, str]:
    r"""Fit :math:`UV^\top` with r columns each by least squares in U and in V, in turn.

    The competitor that is told the rank. It minimizes the squared errors plus
    :math:`\rho(\|U\|_F^2+\|V\|_F^2)` and lowers :math:`\rho` by a tenth in every sweep, from
    the spectral norm of the observed matrix down to 1e-9 times that. Without this, near the
    border, it runs away to huge factors. It starts at the best matrix of its rank for the data
    with zeros for the unobserved entries.

    Parameters
    ----------
    rows, cols, values, shape
        As in `losses.completion`.
    rank : int
    goal : float
        The training loss, the mean of squares, at which to stop.
    sweeps : int
        The most pairs of least squares.

    Returns
    -------
    (matrix, str)
        The completion and the reason: "loss reached" or "end of sweeps".

    Examples
    --------
    >>> hole = ([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], (2, 2))
    >>> X, reason = alternating(*hole, 1, goal=1e-12)
    >>> round(float(X[1, 1]), 3), reason
    (6.0, 'loss reached')
    """
    losses.completion(rows, cols, values, shape)  # refuses what is no matrix with holes
    mask, data = np.zeros(shape), np.zeros(shape)
    mask[rows, cols], data[rows, cols] = 1.0, values
    left, sigma, right = np.linalg.svd(data, full_matrices=False)
    root = np.sqrt(sigma[:rank])
    U, V = left[:, :rank] * root, right[:rank].T * root
    for sweep_number in range(sweeps):
        ridge = sigma[0] * max(0.9**sweep_number, 1e-9)
        U = _least_squares(V, mask, data, ridge)
        V = _least_squares(U, mask.T, data.T, ridge)
        if np.mean((np.sum(U[rows] * V[cols], axis=1) - values) ** 2) <= goal:
            return U @ V.T, "loss reached"
    return U @ V.T, "end of sweeps"


def _least_squares(V, mask, data, ridge):
    """Return the U that minimizes the errors of U Vᵀ where `mask` is one, plus the penalty."""
    pairs = (V[:, :, None] * V[:, None, :]).reshape(len(V), -1)
    grams = (mask @ pairs).reshape(len(mask), V.shape[1], V.shape[1])
    return np.linalg.solve(grams + ridge * np.eye(V.shape[1]), (data @ V)[..., None])[..., 0]


def stored():
    """Return the stored results as the table of `sweep`, which computes a cell only if missing.

    Examples
    --------
    >>> table = stored()
    >>> len(table), int(table.determined.sum())  # 3 ranks, 6 numbers of entries, 6 seeds
    (108, 85)
    """
    return sweep(cell, GRID, SEEDS, store=STORED, version=VERSION, progress=False)


if __name__ == "__main__":
    from overparam import phase  # so that the store names the module, not __main__

    print(sweep(phase.cell, GRID, SEEDS, store=STORED, version=VERSION, n_jobs=-1).to_string())
