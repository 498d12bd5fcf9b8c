"""Assignment "The edge of stability": what a step does, how large it may be, what comes beyond."""

import numpy as np
from scipy.optimize import brentq

from coursework.answers import Array, Expression, Function, Number
from coursework.engine import Part, between, rounded
from overparam import edge, networks

# 1: what a step does to the imbalance


def factor_data(rng):
    power, y = int(rng.choice([4, 6])), between(rng, 0.6, 1.6)
    return {"power": power, "y": y, "eta": between(rng, 0.05, 0.3)}


def factor_compare(part, function, rng):
    u, v = rng.uniform(0.2, 1.6, (2, 24))
    v[np.abs(u - v) < 0.05] += 0.2  # where both are equal there is nothing to measure
    error = part.y - u * v
    pull = part.eta * error ** (part.power - 1)

    def factor(pull):
        return ((u + pull * v) ** 2 - (v + pull * u) ** 2) / (u**2 - v**2)

    right = factor(pull)
    slips = [
        (2 - right, "look at the sign"),
        (factor(part.eta * error), "which power has this loss?"),
        (1 - pull, "by which power of the step does it change?"),
        (factor(part.power * pull), "look at the 1/p of the loss"),
        (np.ones_like(right), "the flow conserves it; descent does not"),
        (right * (u**2 - v**2), "the factor is asked, not what the imbalance becomes"),
    ]
    return [u, v], right, slips


# 2: the critical step


def critical_data(rng):
    while True:
        u0, v0, y, c = rounded([rng.uniform(*r) for r in ((1.6, 3), (0.2, 1), (0.4, 1), (1.3, 3))])
        # The start decides, not the minima; and the sign of the error matters.
        step = edge.critical_step(u0, v0, y)
        if step < 0.8 / y and abs(y - u0 * v0) > 0.3:
            return {"y": float(y), "u0": float(u0), "v0": float(v0), "c": float(c)}


def critical_compare(part, step):
    y, u, v, c = part.y, part.u0, part.v0, part.c
    inside = brentq(lambda eta: edge.ellipse(u, v, y, eta), 1e-6, 2 / y)
    right, s = min(inside, 1 / y) / c, u**2 + v**2
    return right, [
        (right * c, "what does the factor c do to the step?"),
        (right * c**2, "does c multiply or divide?"),
        (1 / (c * y), "that is where the last stable minimum goes; where does your start enter?"),
        (2 / (c * y), "where does the ellipse end, and where does your start lie in it?"),
        (4 / (c * s), "where does the target enter the ellipse?"),
        (2 / (c * s), "that is the edge for the curvature at the start"),
        (2 / (c * edge.flow_sharpness([u, v], y)), "descent need not end where the flow does"),
    ]


# 3: where the flow ends


LAYERS = ("for two layers", "for three layers", "for four layers", "for a negative y")


def stable_data(rng):
    cases = []
    for layers in (2, 3, 4, 3):
        w = rounded(np.sort(rng.uniform(0.5, 1.6, layers)) + 0.1 * np.arange(layers))
        y = between(rng, 1.0, 2.5)
        if len(cases) == 3:
            w[0], y = -w[0], -y
        cases.append((w, y, between(rng, 0.5, 2.5)))
    return {"cases": cases}


def stable_compare(got, w, y, c):
    end = networks.layer_scales(y, -np.diff(w**2)) ** 2
    sharpness, start = edge.flow_sharpness(w, y), np.sum((np.prod(w) / w) ** 2)
    right, flat = 2 / (c * sharpness), len(w) * abs(y) ** (2 - 2 / len(w))
    return right, [
        (2 / sharpness, "what does the factor c do to the curvature?"),
        (right / 2, "is it the step of the fastest decrease or the largest stable one?"),
        (c * sharpness, "is it the curvature, or the step?"),
        (2 / (c * start), "is it at the start, or where the flow ends?"),
        (2 / (c * flat), "that is the flattest minimum; does the flow end there?"),
        (2 / (c * end.sum()), "for two layers it is so; which products stand in the gradient?"),
    ]


# 4: beyond the edge


def cycle_data(rng):
    y, strength = between(rng, 0.7, 1.8), rng.uniform(1.04, 1.2)
    eta = float(rounded(strength / y, 3))
    start = rounded(np.sqrt(y) * rng.uniform(0.8, 1.0, 2))
    steps = rounded(np.linspace(0.9, 1.23, 34) / y, 4)
    return {"y": y, "eta": eta, "u0": float(start[0]), "v0": float(start[1]), "steps": steps}


def cycle_compare(part, products):
    right = edge.two_cycle(part.eta * part.y)[0] * part.y
    return right, [
        (right[::-1], "is the larger one the first?"),
        (right / part.y, "is it the product, or its share of y?"),
        (np.full(2, part.y), "the minimum is unstable for this step: do you start exactly on it?"),
        (np.sqrt(right), "is it a weight, or the product of both?"),
        (part.y - right, "is it the error, or the product?"),
    ]


UV, PRODUCTS = Expression(("u", "v")), "your array of products"
PARTS = {
    "1": Part("What a step does", 4, UV, factor_data, factor_compare, 1e-7, "your factor"),
    "2": Part("The critical step", 3, Number(), critical_data, critical_compare, 2e-3, "your step"),
    "3": Part("Where the flow ends", 4, Function(LAYERS), stable_data, stable_compare, 1e-5),
    "4": Part("Beyond the edge", 3, Array((2,)), cycle_data, cycle_compare, 2e-3, PRODUCTS),
}
