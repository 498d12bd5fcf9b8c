"""Assignment "Implicit bias": nuclear norms, preconditioned regression, width, completion."""

import numpy as np
from scipy.optimize import minimize_scalar

from coursework import compare
from coursework.answers import Array, Expression, Function, Number
from coursework.engine import Part, rounded
from overparam import completion, losses, networks

SIZE = 5
OBSERVED = 14
STOP = 1e-6


# 1: the missing entry


def entry_data(rng):
    return {"a": float(rounded(rng.uniform(0.6, 3.0))), "b": float(rounded(rng.uniform(0.6, 3.0)))}


def entry_compare(part, function, rng):
    a, b = part.a, part.b
    # On both sides of the change at c² = ab.
    c = np.sqrt(a * b) * np.exp(np.outer([-1, 1], rng.uniform(0.1, 3.0, 8)).ravel())

    def nuclear(x, c):
        return np.linalg.svd(np.array([[x, a], [b, c]]), compute_uv=False).sum()

    def best(c):
        options = {"xatol": 1e-11}
        return minimize_scalar(
            nuclear, bounds=(-4 * a * b, 4 * a * b), args=(c,), method="bounded", options=options
        ).x

    right = np.array([best(value) for value in c])
    slips = [
        (a * b / c, "is the matrix of rank one always the one with the least nuclear norm?"),
        (c, "that is so for small c only"),
        (np.zeros_like(c), "that has the least Frobenius norm"),
        (np.maximum(a * b / c, c), "which of the two cases holds for large c?"),
        (-right, "look at the sign"),
        (np.minimum(-a * b / c, -c), "look at the sign"),
        (np.where(c < np.sqrt(a * b), a * b / c, c), "which of the two cases holds for small c?"),
        (np.full_like(c, np.sqrt(a * b)), "does the entry not depend on c?"),
    ]
    return compare.formula(function, [c], right, "your entry", 1e-5, slips)


# 2: a preconditioned flow


DATA = ("from zero, with P = I", "for fewer data than weights")
DATA += ("for dependent rows of X", "for data that no w fits")


def limit_data(rng):
    cases = []
    for rows, columns in ((2, 4), (3, 5), (3, 5), (4, 3)):
        X, y = rng.standard_normal((rows, columns)), rng.standard_normal(rows)
        w0, A = rng.standard_normal(columns), rng.standard_normal((columns, columns))
        cases.append(
            [
                rounded(X),
                rounded(y),
                rounded(w0),
                rounded(A @ A.T / columns + 0.3 * np.eye(columns)),
            ]
        )
    cases[0][2:] = np.zeros(4), np.eye(4)
    cases[2][0][2], cases[2][1][2] = cases[2][0][0], cases[2][1][0]
    return {"cases": [tuple(case) for case in cases]}


def _limit(X, y, w0, P):
    """Return the limit w0 + P^½ (X P^½)⁺ (y - X w0): nearest to w0 in the norm of P⁻¹."""
    root = np.linalg.cholesky(P)
    return w0 + root @ np.linalg.lstsq(X @ root, y - X @ w0, rcond=1e-10)[0]


def limit_compare(part, results, probes):
    for got, probe in zip(results, probes, strict=True):
        X, y, w0, _ = probe.arguments
        right = _limit(*probe.arguments)
        if isinstance(got, str) or got.shape != right.shape or compare.close(got, right, 1e-6):
            continue
        if np.linalg.norm(X.T @ (X @ got - y)) > 1e-5 * np.linalg.norm(X.T @ y):
            relative = np.linalg.norm(X @ (got - right)) / np.linalg.norm(y - X @ w0)
            return (
                f"what your function returns {probe.label} is no minimizer of the loss: its "
                f"predictions are off by {compare.percent(relative)} of the error at the start"
            )

    def slips(X, y, w0, P):
        identity = np.eye(len(w0))
        return [
            (_limit(X, y, w0, identity), "it fits, but where does P enter?"),
            (_limit(X, y, 0 * w0, P), "it fits, but where does the start enter?"),
            (_limit(X, y, 0 * w0, identity), "it fits, but where do P and the start enter?"),
            (_limit(X, y, w0, np.linalg.inv(P)), "it fits: is it P or its inverse?"),
            (_limit(X, y, w0, P @ P), "it fits: how often does P enter?"),
        ]

    return compare.calls(results, probes, _limit, 1e-6, slips)


# 3: two layers, and the least norm


def width_data(rng):
    while True:
        X, Y = rounded(rng.standard_normal((2, 4))), rounded(rng.standard_normal((2, 2)))
        U0, V0 = (rounded(0.6 * rng.standard_normal((rows, 5))) for rows in (4, 2))
        pseudo = np.linalg.pinv(X)
        size = np.linalg.norm(pseudo @ Y)
        unseen = np.linalg.norm((np.eye(4) - pseudo @ X) @ U0 @ V0.T)
        # Relative and absolute distances must differ, the distance must not be small, and the
        # flow must not take for ever.
        differ = 0.4 < size < 0.8 or 1.25 < size < 2.5
        if differ and unseen > 0.5 * size and np.linalg.cond(X) < 4:
            return {"X": X, "Y": Y, "U0": U0, "V0": V0}


def width_compare(part, distance):
    X, Y = part.X, part.Y
    loss = losses.regression(X, Y)
    path = networks.layer_flow(
        loss,
        [part.U0, part.V0.T],
        2000.0,
        rtol=1e-9,
        atol=1e-12,
        stop=lambda w: loss.value(networks.product(w)) - 1e-15,
    )
    W, least = networks.product(path.final), np.linalg.pinv(X) @ Y
    size = np.linalg.norm(least)
    right = np.linalg.norm(W - least) / size
    slips = [
        (right * size, "is it relative to the norm of the solution?"),
        (right**2, "is it the squared distance?"),
        (np.linalg.norm(W) / size - 1, "is it the distance, or the difference of the norms?"),
        (
            np.linalg.norm(part.U0 @ part.V0.T - least) / size,
            "is it the distance at the start?",
        ),
        (
            np.linalg.norm((np.eye(4) - np.linalg.pinv(X) @ X) @ part.U0 @ part.V0.T) / size,
            "V moves too: the part that X does not see is not what it was at the start",
        ),
        (np.linalg.norm(W - least) / np.linalg.norm(W), "relative to which of the two?"),
    ]
    return compare.number(distance, right, "your distance", 2e-3, slips)


# 4: completion at three depths


def depths_data(rng):
    while True:
        rows, cols = np.divmod(rng.choice(SIZE**2, OBSERVED, replace=False), SIZE)
        truth = np.outer(*rng.standard_normal((2, SIZE)))
        truth *= 3 / np.linalg.norm(truth)
        observed = np.zeros((SIZE, SIZE))
        observed[rows, cols] = truth[rows, cols]
        counts = [np.bincount(index, minlength=SIZE).min() for index in (rows, cols)]
        # Every row and column is seen twice, and one layer leaves something to be gained.
        if min(counts) > 1 and completion.effective_rank(observed) > 1.7:
            break
    return {
        "rows": rows,
        "cols": cols,
        "values": rounded(truth[rows, cols], 3),
        "shape": (SIZE, SIZE),
        "layers": {
            2: [rounded(0.03 * rng.standard_normal((SIZE, SIZE)), 4) for _ in range(2)],
            3: [rounded(0.13 * rng.standard_normal((SIZE, SIZE)), 4) for _ in range(3)],
        },
    }


def depths_compare(part, ranks):
    loss = losses.completion(part.rows, part.cols, part.values, part.shape)
    observed = np.zeros(part.shape)
    observed[part.rows, part.cols] = part.values

    def ends(stop):
        found = [observed]
        for layers in part.layers.values():
            path = networks.layer_flow(
                loss,
                layers,
                10_000.0,
                rtol=1e-6,
                atol=1e-9,
                stop=lambda w: loss.value(networks.product(w)) - stop,
            )
            found.append(networks.product(path.final))
        return found

    matrices = ends(STOP)
    sigma = [np.linalg.svd(W, compute_uv=False) for W in matrices]
    right = np.array([completion.effective_rank(W) for W in matrices])
    early = np.array([completion.effective_rank(W) for W in ends(0.5)])
    squares = np.array([completion.effective_rank(np.diag(s**2)) for s in sigma])
    slips = [
        (np.log(right), "that is the entropy; the effective rank is its exponential"),
        (squares, "is it the entropy of the singular values, or of their squares?"),
        (np.array([np.sum(s**2) / s[0] ** 2 for s in sigma]), "that is the stable rank"),
        (np.array([np.sum(s) for s in sigma]), "that is the nuclear norm"),
        (right[::-1], "is it depth 1 first and depth 3 last?"),
        (np.exp(np.log(right) / np.log(2)), "is the logarithm of the entropy the natural one?"),
        (early, "was the loss small when you stopped?"),
        (np.ones(3), "that is the rank of the matrix that was observed"),
    ]
    return compare.number(ranks, right, "your array of effective ranks", 0.01, slips)


PARTS = {
    "1": Part("The missing entry", 4, Expression(("c",)), entry_data, entry_compare),
    "2": Part("A preconditioned flow", 4, Function(DATA), limit_data, limit_compare),
    "3": Part("Two layers, and the least norm", 3, Number(), width_data, width_compare),
    "4": Part("Completion at three depths", 3, Array((3,)), depths_data, depths_compare),
}
