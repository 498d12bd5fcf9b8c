"""Assignment "Implicit bias": nuclear norms, preconditioned regression, width, completion."""

import numpy as np
from scipy.optimize import minimize_scalar

from coursework import compare
from coursework.engine import between, rounded
from overparam import completion, losses, minnorm, networks

SIZE = 5
OBSERVED = 14
STOP = 1e-6


# 1: the missing entry


def data_1(rng):
    return {"a": between(rng, 0.6, 3.0), "b": between(rng, 0.6, 3.0)}


def compare_1(part, function, rng):
    a, b = part.a, part.b
    # On both sides of the change at c² = ab.
    c = np.sqrt(a * b) * np.exp(np.outer([-1, 1], rng.uniform(0.1, 3.0, 8)).ravel())
    box = {"bounds": (-4 * a * b, 4 * a * b), "method": "bounded", "options": {"xatol": 1e-11}}

    def nuclear(x, c):
        return np.linalg.norm([[x, a], [b, c]], "nuc")

    right = np.array([minimize_scalar(nuclear, args=(value,), **box).x for value in c])
    one = a * b / c
    slips = {"one": one, "small": c, "frobenius": 0 * c, "large": np.maximum(one, c)}
    slips |= {"sign1": -right, "sign2": np.minimum(-one, -c)}
    slips |= {"below": np.where(c < np.sqrt(a * b), one, c), "constant": 0 * c + np.sqrt(a * b)}
    return [c], right, slips


# 2: a preconditioned flow


def data_2(rng):
    cases = []
    for rows, columns in ((2, 4), (3, 5), (3, 5), (4, 3)):
        X, y = rng.standard_normal((rows, columns)), rng.standard_normal(rows)
        w0, A = rng.standard_normal(columns), rng.standard_normal((columns, columns))
        P = A @ A.T / columns + 0.3 * np.eye(columns)
        cases.append([rounded(X), rounded(y), rounded(w0), rounded(P)])
    cases[0][2:] = np.zeros(4), np.eye(4)
    cases[2][0][2], cases[2][1][2] = cases[2][0][0], cases[2][1][0]
    return {"cases": [tuple(case) for case in cases]}


def compare_2(got, X, y, w0, P):
    def limit(w0, P):
        """Return w0 + P^½ (X P^½)⁺ (y - X w0): nearest to w0 in the norm of P⁻¹."""
        root = np.linalg.cholesky(P)
        return w0 + root @ np.linalg.lstsq(X @ root, y - X @ w0, rcond=1e-10)[0]

    right, identity = limit(w0, P), np.eye(len(w0))
    fits = got.shape == right.shape
    if fits and np.linalg.norm(X.T @ (X @ got - y)) > 1e-5 * np.linalg.norm(X.T @ y):
        relative = np.linalg.norm(X @ (got - right)) / np.linalg.norm(y - X @ w0)
        off = f"off by {compare.percent(relative)} of the error at the start"
        return f"is no minimizer of the loss: its predictions are {off}"
    slips = {"identity": limit(w0, identity), "zero": limit(0 * w0, P)}
    slips |= {"neither": limit(0 * w0, identity), "inverse": limit(w0, np.linalg.inv(P))}
    return right, slips


# 3: two layers, and the least norm


def data_3(rng):
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


def compare_3(part, distance):
    X, Y, start, length = part.X, part.Y, part.U0 @ part.V0.T, np.linalg.norm
    W, least = minnorm.flow_limit(X, Y, part.U0, part.V0), minnorm.minimum_norm(X, Y)
    size, unseen = length(least), length(start - np.linalg.pinv(X) @ X @ start)
    right = length(W - least) / size
    slips = {"absolute": right * size, "square": right**2, "norms": length(W) / size - 1}
    slips |= {"start": length(start - least) / size, "unseen": unseen / size}
    return right, slips | {"other": length(W - least) / length(W)}


# 4: completion at three depths


def data_4(rng):
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
    layers = {
        depth: [rounded(scale * rng.standard_normal((SIZE, SIZE)), 4) for _ in range(depth)]
        for depth, scale in ((2, 0.03), (3, 0.13))
    }
    values = rounded(truth[rows, cols], 3)
    return {"rows": rows, "cols": cols, "values": values, "shape": (SIZE, SIZE), "layers": layers}


def compare_4(part, ranks):
    loss = losses.completion(part.rows, part.cols, part.values, part.shape)
    observed = np.zeros(part.shape)
    observed[part.rows, part.cols] = part.values

    def ends(level):
        """Return the three matrices, the deeper ones where the loss is at a level."""
        found = [observed]
        for layers in part.layers.values():
            options = {"rtol": 1e-6, "atol": 1e-9}
            options["stop"] = lambda w: loss.value(networks.product(w)) - level
            path = networks.layer_flow(loss, layers, 10_000.0, **options)
            found.append(networks.product(path.final))
        return found

    def all_ranks(matrices):
        return np.array([completion.effective_rank(W) for W in matrices])

    matrices = ends(STOP)
    sigma, right = np.linalg.svd(matrices, compute_uv=False), all_ranks(matrices)
    squares = all_ranks([np.diag(s**2) for s in sigma])
    slips = {"entropy": np.log(right), "squares": squares, "nuclear": np.sum(sigma, 1)}
    slips |= {"stable": np.sum(sigma**2, 1) / sigma[:, 0] ** 2, "order": right[::-1]}
    return right, slips | {"early": all_ranks(ends(0.5)), "observed": np.ones(3)}
