"""Assignment "The edge of stability": what a step does, how large it may be, what comes beyond."""

import numpy as np
from scipy.optimize import brentq

from coursework.engine import between, rounded
from overparam import edge, networks

# 1: what a step does to the imbalance


def data_1(rng):
    power, y = int(rng.choice([4, 6])), between(rng, 0.6, 1.6)
    return {"power": power, "y": y, "eta": between(rng, 0.05, 0.3)}


def compare_1(part, function, rng):
    u, v = rng.uniform(0.2, 1.6, (2, 24))
    v[np.abs(u - v) < 0.05] += 0.2  # where both are equal there is nothing to measure
    error = part.y - u * v
    pull = part.eta * error ** (part.power - 1)

    def factor(pull):
        return ((u + pull * v) ** 2 - (v + pull * u) ** 2) / (u**2 - v**2)

    right = factor(pull)
    slips = {"sign": 2 - right, "power": factor(part.eta * error), "root": 1 - pull}
    slips |= {"factor": factor(part.power * pull), "flow": 0 * right + 1}
    slips |= {"becomes": right * (u**2 - v**2)}
    return [u, v], right, slips


# 2: the critical step


def data_2(rng):
    while True:
        u0, v0, y, c = rounded([rng.uniform(*r) for r in ((1.6, 3), (0.2, 1), (0.4, 1), (1.3, 3))])
        # The start decides, not the minima; and the sign of the error matters.
        step = edge.critical_step(u0, v0, y)
        if step < 0.8 / y and abs(y - u0 * v0) > 0.3:
            return {"y": float(y), "u0": float(u0), "v0": float(v0), "c": float(c)}


def compare_2(part, step):
    y, u, v, c = part.y, part.u0, part.v0, part.c
    inside = brentq(lambda eta: edge.ellipse(u, v, y, eta), 1e-6, 2 / y)
    right, s = min(inside, 1 / y) / c, u**2 + v**2
    slips = {"factor": right * c, "divided": right * c**2, "minimum": 1 / (c * y)}
    slips |= {"ellipse": 2 / (c * y), "target": 4 / (c * s), "start": 2 / (c * s)}
    return right, slips | {"flow": 2 / (c * edge.flow_sharpness([u, v], y))}


# 3: where the flow ends


def data_3(rng):
    cases = []
    for layers in (2, 3, 4, 3):
        w = rounded(np.sort(rng.uniform(0.5, 1.6, layers)) + 0.1 * np.arange(layers))
        y = between(rng, 1.0, 2.5)
        if len(cases) == 3:
            w[0], y = -w[0], -y
        cases.append((w, y, between(rng, 0.5, 2.5)))
    return {"cases": cases}


def compare_3(got, w, y, c):
    end = networks.layer_scales(y, -np.diff(w**2)) ** 2
    sharpness, start = edge.flow_sharpness(w, y), np.sum((np.prod(w) / w) ** 2)
    right, flat = 2 / (c * sharpness), len(w) * abs(y) ** (2 - 2 / len(w))
    slips = {"factor": 2 / sharpness, "fastest": right / 2, "curvature": c * sharpness}
    slips |= {"start": 2 / (c * start), "flattest": 2 / (c * flat), "sum": 2 / (c * end.sum())}
    return right, slips


# 4: beyond the edge


def data_4(rng):
    y, strength = between(rng, 0.7, 1.8), rng.uniform(1.04, 1.2)
    eta = float(rounded(strength / y, 3))
    start = rounded(np.sqrt(y) * rng.uniform(0.8, 1.0, 2))
    steps = rounded(np.linspace(0.9, 1.23, 34) / y, 4)
    return {"y": y, "eta": eta, "u0": float(start[0]), "v0": float(start[1]), "steps": steps}


def compare_4(part, products):
    right = edge.two_cycle(part.eta * part.y)[0] * part.y
    slips = {"order": right[::-1], "share": right / part.y, "minimum": np.full(2, part.y)}
    return right, slips | {"weight": np.sqrt(right), "error": part.y - right}
