"""Assignment "Convergence": deep scalars, rates at late times, stable steps, acceleration."""

import numpy as np

from coursework import compare
from coursework.answers import Array, Expression, Function, Number
from coursework.engine import Part, rounded
from overparam import gradient_flow, networks, rates

STEPS = tuple(float(f"{step:.3g}") for step in np.geomspace(1e-3, 0.05, 13))
GOAL = 1e-3


# 1: the velocity of a balanced deep product


def velocity_data(rng):
    return {
        "depth": int(rng.integers(3, 8)),
        "power": int(rng.choice([4, 6])),
        "y": float(rounded(rng.uniform(1.0, 3.0))),
    }


def velocity_compare(part, function, rng):
    N, p, y = part.depth, part.power, part.y
    x = np.exp(rng.uniform(np.log(0.02), np.log(6), 24))
    layers = np.tile(x ** (1 / N), (N, 1))
    others = np.array([np.prod(np.delete(layers, l, axis=0), axis=0) for l in range(N)])
    slope = (x - y) ** (p - 1)
    right = -slope * np.sum(others**2, axis=0)
    slips = [
        (-right, "the flow goes against the gradient"),
        (right / N, "how many layers move?"),
        (-slope * np.sum(others, axis=0), "each layer enters twice: what is the chain rule of it?"),
        (-slope * others[0], "each layer enters twice, and how many layers move?"),
        (right * p, "look at the factor before the loss"),
        (-slope, "that is the velocity of one weight"),
        (-(x - y) * np.sum(others**2, axis=0), "which power has this loss?"),
        (-slope * N * x**2, "one layer is missing in each product of the others"),
        (-slope * N * x ** (2 - 1 / N), "one layer is missing in each product of the others"),
    ]
    return compare.formula(function, [x], right, "your velocity", 1e-6, slips, 1e-7)


# 2: the rate at late times


def late_data(rng):
    left, right = (np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(2))
    Y = rounded((left * [rng.uniform(2.5, 3.5), rng.uniform(1.2, 1.8)]) @ right.T)
    U0, V0 = rounded(0.9 * rng.standard_normal((2, 2, 2)))
    return {"Y": Y, "U0": U0, "V0": V0}


def late_compare(part, rate):
    Y, start = part.Y, [part.U0, part.V0]
    path = gradient_flow(
        lambda w: [(w[0] @ w[1].T - Y) @ w[1], (w[0] @ w[1].T - Y).T @ w[0]],
        start,
        400.0,
        rtol=1e-9,
        atol=1e-12,
        stop=lambda w: np.sum((w[0] @ w[1].T - Y) ** 2) - 1e-16,
    )
    U, V = path.final
    u, v = (np.linalg.svd(A, compute_uv=False) ** 2 for A in (U, V))
    u0, v0 = (np.linalg.svd(A, compute_uv=False) ** 2 for A in start)
    right = 2 * (u[1] + v[1])
    slips = [
        (right / 2, "is it the rate of the error or of the loss?"),
        (2 * right, "which constant does the PL inequality of this loss have, with its ½?"),
        (-right, "a rate r is that of exp(-r t)"),
        (2 * (u[0] + v[0]), "is it the fastest direction? At late times the slowest is left"),
        (2 * (u0[1] + v0[1]), "is it taken at the start? At late times the weights are others"),
        (rates.factorization_rate(Y, *start), "is it a guaranteed rate? The true one is larger"),
        (2 * u[1], "both factors move"),
        (2 * v[1], "both factors move"),
        (2 * min(u[0] + v[1], u[1] + v[0]), "which pair of singular values is the smallest?"),
    ]
    return compare.number(rate, right, "your rate", 1e-2, slips)


# 3: the largest step


LAYERS = ("for two layers", "for three layers", "for four layers", "for a wide hidden layer")


def step_data(rng):
    shapes = [(2, 3, 3), (2, 3, 2, 3), (2, 2, 3, 2, 2), (3, 6, 2)]
    cases = [
        [rounded(rng.standard_normal(pair), 2) for pair in zip(sizes, sizes[1:], strict=False)]
        for sizes in shapes
    ]
    return {"cases": cases}


def _jacobian(weights):
    """Return the matrix of the product's derivative in all entries of all layers."""
    blocks = []
    for l in range(len(weights)):
        before = np.eye(weights[0].shape[0])
        for W in weights[:l]:
            before = before @ W
        after = np.eye(weights[l].shape[1])
        for W in weights[l + 1 :]:
            after = after @ W
        blocks.append(np.kron(before, after.T))
    return np.hstack(blocks)


def step_compare(part, results, probes):
    def border(weights):
        return 2 / np.linalg.norm(_jacobian(weights), 2) ** 2

    def slips(weights):
        J = _jacobian(weights)
        singular = np.linalg.svd(J, compute_uv=False)
        right = 2 / singular[0] ** 2
        product = networks.product(weights)
        first, last = (np.linalg.norm(weights[l], 2) for l in (0, -1))
        bound = 2 / sum(
            np.linalg.norm(block, 2) ** 2
            for block in np.split(J, np.cumsum([W.size for W in weights])[:-1], axis=1)
        )
        return [
            (right / 2, "is it the step of the fastest decrease or the largest stable one?"),
            (2 * right, "with the ½ in the loss, what is its second derivative?"),
            (1 / right, "does the step grow or shrink with the curvature?"),
            (2.0, "that is the largest step for the loss of the product"),
            (2 / singular[-1] ** 2, "which eigenvalue of the second derivative counts?"),
            (2 / singular[0], "eigenvalues of J'J are squares of singular values of J"),
            (2 / np.sum(singular**2), "is it the trace or the largest eigenvalue?"),
            (2 / np.linalg.norm(product, 2), "which matrix has the largest curvature in it?"),
            (2 / np.linalg.norm(product, 2) ** 2, "which matrix has the largest curvature in it?"),
            (2 / first**2, "all layers move at once"),
            (2 / last**2, "all layers move at once"),
            (bound, "a sum of the layers' largest eigenvalues is only a bound"),
        ]

    return compare.calls(results, probes, border, 1e-5, slips)


# 4: acceleration by depth


def race_data(rng):
    targets = rounded([rng.uniform(8, 12), rng.uniform(0.4, 1.0)])
    return {"y": targets, "start": np.array([0.1, 0.1]), "steps": STEPS, "goal": GOAL}


def _fewest(part, depth, goal=GOAL, steps=STEPS, factor=1.0, limit=20_000):
    """Return the fewest iterations with any of the steps: all run side by side."""
    step = np.array(steps)[:, None] * factor
    w = np.tile(part.start, (len(step), 1))
    a = np.full((len(step), 1), np.sqrt(np.linalg.norm(part.start)))
    v = w / a
    with np.errstate(all="ignore"):
        for k in range(limit):
            if np.any(np.sum((w - part.y) ** 4, axis=1) / 4 <= goal):
                return float(k)
            pull = (part.y - w) ** 3
            if depth == 1:
                w = w + step * pull
            else:
                change = np.sum(pull * v, axis=1, keepdims=True)
                a, v = a + step * change, v + step * a * pull
                w = a * v
    return np.inf


def race_compare(part, iterations):
    right = np.array([_fewest(part, depth) for depth in (1, 2)])
    if np.all(np.abs(iterations - right) <= np.maximum(1, 0.01 * right)):
        return None
    slips = [
        (right[::-1], "is it depth 1 first and depth 2 second?"),
        (
            np.array([_fewest(part, d, goal=GOAL / 4) for d in (1, 2)]),
            "look at the factor before the loss",
        ),
        (
            np.array([_fewest(part, d, goal=4 * GOAL) for d in (1, 2)]),
            "look at the factor before the loss",
        ),
        (
            np.array([_fewest(part, d, factor=4.0) for d in (1, 2)]),
            "look at the factor before the loss, in the gradient",
        ),
        (
            np.array([_fewest(part, d, steps=STEPS[:1]) for d in (1, 2)]),
            "that is with the smallest step; each depth may take its best one",
        ),
    ]
    # The step that is best for depth 2, taken for both.
    limit = int(min(right[1], 20_000.0)) + 1
    best = [step for step in STEPS if np.isfinite(_fewest(part, 2, steps=[step], limit=limit))]
    if best:
        same = np.array([_fewest(part, 1, steps=best[:1]), right[1]])
        slips.append((same, "each depth may take its own best step"))
    for values, hint in slips:
        if np.all(np.abs(iterations - values) <= np.maximum(1, 0.01 * values)):
            return f"your iterations are {compare.size_of_error(iterations, right)}: {hint}"
    depth = 1 if abs(iterations[0] - right[0]) > max(1, 0.01 * right[0]) else 2
    size = compare.size_of_error(iterations[depth - 1], right[depth - 1])
    return f"your number of iterations for depth {depth} is {size}"


FORMULA = Expression(("x",))
PARTS = {
    "1": Part("The velocity of a deep product", 3, FORMULA, velocity_data, velocity_compare),
    "2": Part("The rate at late times", 3, Number(), late_data, late_compare),
    "3": Part("The largest stable step", 5, Function(LAYERS, single=True), step_data, step_compare),
    "4": Part("Acceleration by depth", 3, Array((2,)), race_data, race_compare),
}
