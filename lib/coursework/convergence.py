"""Assignment "Convergence": deep scalars, rates at late times, stable steps, acceleration."""

import numpy as np

from coursework import compare
from coursework.engine import between, rounded
from overparam import losses, networks, rates

STEPS = tuple(float(f"{step:.3g}") for step in np.geomspace(1e-3, 0.05, 13))
GOAL = 1e-3


# 1: the velocity of a balanced deep product


def data_1(rng):
    depth, power = int(rng.integers(3, 8)), int(rng.choice([4, 6]))
    return {"depth": depth, "power": power, "y": between(rng, 1.0, 3.0)}


def compare_1(part, function, rng):
    N, p, y = part.depth, part.power, part.y
    x = np.exp(rng.uniform(np.log(0.02), np.log(6), 24))
    slope, layers = (x - y) ** (p - 1), np.tile(x ** (1 / N), (N, 1))
    others = np.prod(layers[1:], axis=0)
    right = -slope * N * others**2
    slips = {"sign": -right, "layers": right / N, "chain": right / others, "factor": right * p}
    slips |= {"weight": -slope, "power": right / (x - y) ** (p - 2)}
    slips |= {"missing1": -slope * N * x**2, "missing2": -slope * N * x ** (2 - 1 / N)}
    return [x], right, slips


# 2: the rate at late times


def data_2(rng):
    left, right = (np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(2))
    Y = rounded((left * [rng.uniform(2.5, 3.5), rng.uniform(1.2, 1.8)]) @ right.T)
    U0, V0 = rounded(0.9 * rng.standard_normal((2, 2, 2)))
    return {"Y": Y, "U0": U0, "V0": V0}


def compare_2(part, rate):
    loss, start = losses.squared_distance(part.Y), [part.U0, part.V0.T]

    def arrived(w):
        return loss.value(networks.product(w)) - 5e-17

    options = {"rtol": 1e-9, "atol": 1e-12, "stop": arrived}
    end = networks.layer_flow(loss, start, 400.0, **options).final
    (u, v), (u0, v0) = np.linalg.svd([end, start], compute_uv=False) ** 2
    right, guaranteed = 2 * (u[1] + v[1]), rates.factorization_rate(part.Y, part.U0, part.V0)
    slips = {"error": right / 2, "constant": 2 * right, "sign": -right, "guaranteed": guaranteed}
    slips |= {"fastest": 2 * (u[0] + v[0]), "start": 2 * (u0[1] + v0[1])}
    return right, slips | {"both1": 2 * u[1], "both2": 2 * v[1]}


# 3: the largest step


def data_3(rng):
    shapes = [(2, 3, 3), (2, 3, 2, 3), (2, 2, 3, 2, 2), (3, 6, 2)]
    cases = [
        [rounded(rng.standard_normal(pair), 2) for pair in zip(sizes, sizes[1:], strict=False)]
        for sizes in shapes
    ]
    return {"cases": cases}


def compare_3(got, weights):
    squares = np.linalg.eigvalsh(rates.operator(weights))[::-1]  # of J's singular values

    def size(part):
        return np.linalg.norm(networks.product(part), 2) if part else 1.0

    right, whole = 2 / squares[0], size(weights)
    blocks = [size(weights[:l]) * size(weights[l + 1 :]) for l in range(len(weights))]
    slips = {"fastest": right / 2, "inverse": 1 / right, "product": 2.0}
    slips |= {"smallest": 2 / squares[-1], "trace": 2 / np.sum(squares)}
    slips |= {"matrix1": 2 / whole, "matrix2": 2 / whole**2}
    return right, slips | {"sum": 2 / np.sum(np.square(blocks))}


# 4: acceleration by depth


def data_4(rng):
    targets = rounded([rng.uniform(8, 12), rng.uniform(0.4, 1.0)])
    return {"y": targets, "start": np.array([0.1, 0.1]), "steps": STEPS, "goal": GOAL}


def _fewest(part, depth, goal=GOAL, steps=STEPS, factor=1.0, limit=20_000):
    """Return the fewest iterations with any of the steps (all run side by side), and the step."""
    step = np.array(steps)[:, None] * factor
    w = np.tile(part.start, (len(step), 1))
    a = np.full((len(step), 1), np.sqrt(np.linalg.norm(part.start)))
    v = w / a
    with np.errstate(all="ignore"):
        for k in range(limit):
            arrived = np.sum((w - part.y) ** 4, axis=1) / 4 <= goal
            if arrived.any():
                return float(k), steps[arrived.argmax()]
            pull = (part.y - w) ** 3
            if depth == 1:
                w = w + step * pull
            else:
                change = np.sum(pull * v, axis=1, keepdims=True)
                a, v = a + step * change, v + step * a * pull
                w = a * v
    return np.inf, steps[0]


def compare_4(part, iterations):
    def race(**options):
        return np.array([_fewest(part, depth, **options)[0] for depth in (1, 2)])

    def fits(values):
        return np.abs(iterations - values) <= np.maximum(1, 0.01 * values)

    (one, _), (two, best) = (_fewest(part, depth) for depth in (1, 2))
    right = np.array([one, two])
    if fits(right).all():
        return None
    same = _fewest(part, 1, steps=[best])[0]
    slips = {"order": right[::-1], "factor1": race(goal=GOAL / 4), "factor2": race(goal=4 * GOAL)}
    slips |= {"gradient": race(factor=4.0), "smallest": race(steps=STEPS[:1])}
    slips |= {"same": np.array([same, two])}
    for slip, values in slips.items():
        if fits(values).all():
            return f"your iterations are {compare.size_of_error(iterations, right)}", slip
    off = int(fits(right)[0])
    size = compare.size_of_error(iterations[off], right[off])
    return f"your number of iterations for depth {off + 1} is {size}"
