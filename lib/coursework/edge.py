"""Assignment "The edge of stability": what a step does, how large it may be, what comes beyond."""

import numpy as np
from scipy.optimize import brentq

from coursework import compare
from coursework.answers import Array, Expression, Function, Number
from coursework.engine import Part, rounded
from overparam import edge, gradient_flow

# 1: what a step does to the imbalance


def factor_data(rng):
    power, y = int(rng.choice([4, 6])), float(rounded(rng.uniform(0.6, 1.6)))
    return {"power": power, "y": y, "eta": float(rounded(rng.uniform(0.05, 0.3)))}


def factor_compare(part, function, rng):
    u, v = rng.uniform(0.2, 1.6, (2, 24))
    v[np.abs(u - v) < 0.05] += 0.2  # where both are equal there is nothing to measure
    error = part.y - u * v

    def factor(pull):
        return ((u + pull * v) ** 2 - (v + pull * u) ** 2) / (u**2 - v**2)

    right = factor(part.eta * error ** (part.power - 1))
    slips = [
        (2 - right, "look at the sign"),
        (factor(part.eta * error), "which power has this loss?"),
        (1 - part.eta * error ** (part.power - 1), "by which power of the step does it change?"),
        (factor(part.eta * part.power * error ** (part.power - 1)), "look at the 1/p of the loss"),
        ((1 - part.eta * error ** (part.power - 1)) ** 2, "multiply out both squares once more"),
        (np.ones_like(right), "the flow conserves it; descent does not"),
        (right * (u**2 - v**2), "the factor is asked, not what the imbalance becomes"),
    ]
    return compare.formula(function, [u, v], right, "your factor", 1e-7, slips)


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
    slips = [
        (right * c, "what does the factor c do to the step?"),
        (right * c**2, "does c multiply or divide?"),
        (1 / (c * y), "that is where the last stable minimum goes; where does your start enter?"),
        (2 / (c * y), "where does the ellipse end, and where does your start lie in it?"),
        (4 / (c * s), "where does the target enter the ellipse?"),
        (2 / (c * s), "that is the edge for the curvature at the start"),
        (2 / (c * edge.flow_sharpness([u, v], y)), "descent need not end where the flow does"),
    ]
    return compare.number(step, right, "your step", 2e-3, slips)


# 3: where the flow ends


LAYERS = ("for two layers", "for three layers", "for four layers", "for a negative y")


def stable_data(rng):
    cases = []
    for layers in (2, 3, 4, 3):
        w = rounded(np.sort(rng.uniform(0.5, 1.6, layers)) + 0.1 * np.arange(layers))
        y = float(rounded(rng.uniform(1.0, 2.5)))
        if len(cases) == 3:
            w[0], y = -w[0], -y
        cases.append((w, y, float(rounded(rng.uniform(0.5, 2.5)))))
    return {"cases": cases}


def _others(w):
    """Return the product of all other weights, for each weight."""
    return np.array([np.prod(np.delete(w, l)) for l in range(len(w))])


def _end(w, y):
    def gradient(w):
        return (np.prod(w) - y) * _others(w)

    def small(w):
        return (np.prod(w) - y) ** 2 - 1e-18

    return gradient_flow(gradient, w, 200.0, rtol=1e-10, atol=1e-12, stop=small).final


def stable_compare(part, results, probes):
    def border(w, y, c):
        return 2 / (c * np.sum(_others(_end(w, y)) ** 2))

    def slips(w, y, c):
        end = _end(w, y)
        sharpness = np.sum(_others(end) ** 2)
        flat = len(w) * abs(y) ** (2 - 2 / len(w))
        return [
            (2 / sharpness, "what does the factor c do to the curvature?"),
            (
                1 / (c * sharpness),
                "is it the step of the fastest decrease or the largest stable one?",
            ),
            (c * sharpness, "is it the curvature, or the step?"),
            (2 / (c * np.sum(_others(w) ** 2)), "is it at the start, or where the flow ends?"),
            (2 / (c * flat), "that is the flattest minimum; does the flow end there?"),
            (2 / (c * np.max(_others(end) ** 2)), "all weights move at once"),
            (
                2 / (c * np.sum(end**2)),
                "for two layers it is so; which products stand in the gradient?",
            ),
        ]

    return compare.calls(results, probes, border, 1e-5, slips)


# 4: beyond the edge


def cycle_data(rng):
    y, strength = float(rounded(rng.uniform(0.7, 1.8))), rng.uniform(1.04, 1.2)
    eta = float(rounded(strength / y, 3))
    start = rounded(np.sqrt(y) * rng.uniform(0.8, 1.0, 2))
    steps = rounded(np.linspace(0.9, 1.23, 34) / y, 4)
    return {"y": y, "eta": eta, "u0": float(start[0]), "v0": float(start[1]), "steps": steps}


def cycle_compare(part, products):
    right = edge.two_cycle(part.eta * part.y)[0] * part.y
    u, v = edge.descend(part.u0, part.v0, part.y, part.eta, 20)
    slips = [
        (right[::-1], "is the larger one the first?"),
        (right / part.y, "is it the product, or its share of y?"),
        (np.full(2, part.y), "the minimum is unstable for this step: do you start exactly on it?"),
        (np.sqrt(right), "is it a weight, or the product of both?"),
        (part.y - right, "is it the error, or the product?"),
        (np.array([u * v] * 2), "are those two steps after each other?"),
    ]
    return compare.number(products, right, "your array of products", 2e-3, slips)


PARTS = {
    "1": Part("What a step does", 4, Expression(("u", "v")), factor_data, factor_compare),
    "2": Part("The critical step", 3, Number(), critical_data, critical_compare),
    "3": Part("Where the flow ends", 4, Function(LAYERS), stable_data, stable_compare),
    "4": Part("Beyond the edge", 3, Array((2,)), cycle_data, cycle_compare),
}
