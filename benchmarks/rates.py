"""The smallest eigenvalue of the operator T without forming its matrix."""

import time

import numpy as np
from scipy.sparse.linalg import lobpcg
from side import Row

from overparam import networks, rates


def rows(size=30, repeats=5):
    """Return the rows: dense `eigvalsh` over `rates.smallest_eigenvalue`, and scipy's lobpcg.

    Three layers with a product of shape (30, 30), so that T has a matrix of 900 × 900. Hidden
    widths 30, 40 and 60: the narrower they are, the closer T is to singular.
    """
    rng = np.random.default_rng(0)
    ratios, error = [], 0.0
    for _ in range(repeats):
        batch = [
            networks.gaussian([size, hidden, hidden, size], hidden**-0.5, rng)
            for hidden in (size, size + 10, 2 * size) * 2
        ]
        spectra, dense = clock(lambda w: np.linalg.eigvalsh(rates.operator(w)), batch)
        found, ours = clock(rates.smallest_eigenvalue, batch)
        ratios.append(dense / ours)
        errors = [abs(z - s[0]) / s[-1] for z, s in zip(found, spectra, strict=True)]
        error = max(error, *errors)
    name = f"smallest eigenvalue of T, {size}×{size} product of three layers"
    how = "six networks each, hidden widths 30, 40, 60"
    errors = f"{error:.0e} of the largest"
    return [
        Row(f"{name}: dense / ours", ratios, "at least 20", how, ours / 6, errors),
        against_lobpcg(30, rng, repeats),
        against_lobpcg(100, rng, 5),
    ]


def against_lobpcg(size, rng, repeats):
    """Compare the iteration with scipy's under the same preconditioner, start and tolerance."""
    ratios = []
    for _ in range(repeats):
        weights = networks.gaussian([size] * 4, size**-0.5, rng)
        factors = rates._factors(weights)
        (theirs,), slow = clock(lambda f: scipys(*f), [factors])
        (ours,), fast = clock(lambda f: rates._lowest(*f), [factors])
        top = np.prod([np.linalg.norm(w, 2) ** 2 for w in weights])
        if abs(theirs - ours) > 1e-8 * top:
            raise AssertionError(f"lobpcg {theirs:g}, ours {ours:g}")
        ratios.append(slow / fast)
    name = f"smallest eigenvalue of T, {size}×{size}, scipy's lobpcg with our preconditioner / ours"
    wanted = "above 1, or scipy's would do" if size < 100 else "none stated"
    return Row(name, ratios, wanted, "three layers", fast, "equal to 1e-8")


def scipys(left, right, tol=1e-8):
    """Return the smallest eigenvalue by `lobpcg`; what is before the call is as in `_lowest`."""
    between = list(zip(left[1:-1], right[1:-1], strict=True))
    least = lambda A: np.linalg.eigvalsh(A)[0]  # noqa: E731
    U = np.linalg.eigh(left[-1] + sum(least(Q) * P for P, Q in between))[1]
    V = np.linalg.eigh(right[0] + sum(least(P) * Q for P, Q in between))[1]
    left, right = [U.T @ P @ U for P in left], [V.T @ Q @ V for Q in right]
    diagonal = sum(np.outer(np.diag(P), np.diag(Q)) for P, Q in zip(left, right, strict=True))
    shape, diagonal = diagonal.shape, diagonal.ravel()
    floor = 1e-9 * diagonal.max()
    coarse = np.argpartition(diagonal, rates.COARSE)[: rates.COARSE]
    i, j = np.divmod(coarse, shape[1])
    block = sum(P[np.ix_(i, i)] * Q[np.ix_(j, j)] for P, Q in zip(left, right, strict=True))
    levels, modes = np.linalg.eigh(block)
    fine, inner = 1 / np.maximum(diagonal, floor)[:, None], 1 / np.maximum(levels, floor)[:, None]
    between = list(zip(left[1:-1], right[1:-1], strict=True))

    def apply(X):
        E = X.T.reshape(-1, *shape)
        result = left[-1] @ E + E @ right[0] + sum(P @ E @ Q for P, Q in between)
        return result.reshape(len(E), -1).T

    def precondition(X):
        H = X * fine
        H[coarse] = modes @ (inner * (modes.T @ X[coarse]))
        return H

    start = precondition(np.cos(np.arange(diagonal.size) ** 2.0)[:, None])
    options = {"largest": False, "tol": tol * diagonal.max(), "maxiter": 500}
    return max(lobpcg(apply, start, M=precondition, **options)[0][0], 0.0)


def clock(work, batch):
    """Return the results of `work` over the batch and the processor time they took."""
    start = time.process_time()
    results = [work(item) for item in batch]
    return results, time.process_time() - start
