"""Assignment "Warm-up": two weights for one number, with other exponents, speeds and questions."""

import numpy as np
from scipy.integrate import quad

from coursework import compare
from coursework.answers import Expression, Function, Number
from coursework.engine import Part
from overparam import gradient_descent, gradient_flow, scalar

STEPS = (0.04, 0.02, 0.01, 0.005, 0.0025, 0.00125)


def _round(value, digits=2):
    return float(np.round(value, digits))


def _gradient(y):
    """Return the gradient of ½(y - uv)² as a function of (u, v)."""
    return lambda w: -(y - w[0] * w[1]) * np.array([w[1], w[0]])


# 1: what is conserved


def conserved_data(rng):
    while True:
        p, (a, b) = int(rng.integers(2, 5)), rng.choice(np.arange(3, 30), 2, replace=False) / 10
        # Else two mistakes cancel.
        if abs(np.log(a * p / b)) > 0.05:
            return {"p": p, "a": float(a), "b": float(b)}


def conserved_compare(part, function, rng):
    u, v = rng.uniform(0.4, 2.2, (2, 24))
    h = 10 ** rng.uniform(-5.5, -4.5, 24)  # whoever knew it could make a wave that fits

    def change(du, dv):
        """Return the derivative of the answer in a direction, relative to its gradient."""
        forward = function(u + h * du, v + h * dv) - function(u - h * du, v - h * dv)
        along_u = function(u + h, v) - function(u - h, v)
        along_v = function(u, v + h) - function(u, v - h)
        return np.abs(forward) / (np.abs(along_u * du) + np.abs(along_v * dv))

    values = function(u, v)
    if not np.all(np.isfinite(values)):
        return "your expression has no real, finite value for some positive u and v"
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        return "your expression is a constant, which every flow conserves: it must depend on u, v"
    p, a, b = part.p, part.a, part.b
    changes = change(a * p * v, b * u)
    if np.all(changes < 1e-5):
        return None
    slips = [
        ((v, u), "that is what f(uv) conserves at equal speeds; where do p, a and b enter?"),
        ((b * v, a * p * u), "do the speeds and the exponent multiply, or do they divide?"),
        ((a * p * v, -b * u), "look at the sign between its terms"),
        ((a * v, b * u), "it would be conserved for p = 1: where does the exponent enter?"),
        ((p * v, u), "it would be conserved for a = b = 1: where do the speeds enter?"),
        ((a * v, b * p * u), "to which of the two weights does the exponent belong?"),
        ((b * p * v, a * u), "to which of the two weights does each speed belong?"),
    ]
    for direction, hint in slips:
        if np.all(change(*direction) < 1e-5):
            return f"your expression changes along the flow: {hint}"
    if np.ptp(function(u, v)) > 0 and np.allclose(function(u, v), function(v, u), rtol=1e-9):
        return "your expression is symmetric in u and v, which this flow is not, and it changes"
    return f"your expression changes along the flow: {_share(changes)}"


def _share(changes):
    worst = compare.percent(min(float(np.nanmax(changes)), 1.0))
    return (
        f"at some points by {worst} of what its two terms would change by, "
        "if they did not cancel at all"
    )


# 2: the rate at the end


def rate_data(rng):
    while True:
        y, u0, v0 = (_round(rng.uniform(*r)) for r in ((1.2, 2.8), (0.9, 1.9), (0.15, 0.8)))
        # All the wrong answers below must be told apart.
        if u0 * v0 < 0.8 * y and abs(u0**2 - v0**2) > 0.4:
            return {"y": y, "u0": u0, "v0": v0}


def rate_compare(part, rate):
    y, start = part.y, np.array([part.u0, part.v0])
    end = gradient_flow(_gradient(y), start, 40.0, rtol=1e-10, atol=1e-12).final
    right = 2 * np.sum(end**2)
    imbalance = start[0] ** 2 - start[1] ** 2
    slips = [
        (right / 2, "is it the rate of the error or of the loss?"),
        (right * 2, "which constant does the PL inequality of this loss have, with its ½?"),
        (-right, "a rate r is that of exp(-r t)"),
        (2 * np.sum(start**2), "is it the rate at the start, which is only guaranteed?"),
        (np.sum(start**2), "is it that of the error, at the start?"),
        (2 * np.hypot(imbalance, y), "look again at u² + v² for a given imbalance and product"),
        (2 * abs(imbalance), "what does the product contribute?"),
        (4 * y, "what does the imbalance contribute?"),
    ]
    return compare.number(rate, right, "your rate", 2e-3, slips)


# 3: the time until the loss is small


def time_label(case):
    return "for share = {:g}, y = {:g}, u0 = {:g}, v0 = {:g}".format(*case)


def time_data(rng):
    cases = []
    for sign in (1, 1, -1, 1):
        u0, v0 = _round(rng.uniform(0.8, 1.6)), _round(rng.uniform(0.1, 0.6))
        share = float(rng.choice([0.5, 0.2, 0.05, 0.01]))
        cases.append((share, _round(rng.uniform(1.2, 2.5)), u0, sign * v0))
    return {"cases": cases}


def _duration(share_of_error, y, u0, v0, imbalance=None):
    """Return the time in which y - x shrinks to a share, from x' = (y - x) sqrt(λ0² + 4x²)."""
    lam = u0**2 - v0**2 if imbalance is None else imbalance
    x0 = u0 * v0
    x1 = y - share_of_error * (y - x0)
    return quad(lambda x: 1 / ((y - x) * np.hypot(lam, 2 * x)), x0, x1)[0]


def time_compare(part, results, probes):
    def right(share, *rest):
        return _duration(np.sqrt(share), *rest)

    def slips(share, y, u0, v0):
        imbalance = u0**2 - v0**2
        bound = scalar.rate_bound(imbalance, scalar.margin(y, u0 * v0))
        return [
            (_duration(share, y, u0, v0), "is it the loss that falls to that share, or the error?"),
            (_duration(share**0.25, y, u0, v0), "how does the loss depend on the error?"),
            (-np.log(share) / bound, "a guaranteed rate gives an upper bound of the time only"),
            (
                -np.log(share) / (2 * (u0**2 + v0**2)),
                "the rate does not stay what it is at the start",
            ),
            (
                -np.log(share) / (2 * np.hypot(imbalance, 2 * y)),
                "the rate is not from the start what it is at the end",
            ),
        ]

    return compare.calls(results, probes, right, 2e-3, slips)


# 4: what descent does to the imbalance


def drift_data(rng):
    while True:
        y, u0, v0 = (_round(rng.uniform(*r)) for r in ((1.0, 2.0), (0.9, 1.6), (0.1, 0.5)))
        if u0**2 - v0**2 > 0.6 and abs(u0**2 - v0**2 - 1) > 0.15:
            return {"y": y, "u0": u0, "v0": v0, "steps": STEPS}


def drift_compare(part, drift):
    y, u0, v0 = part.y, part.u0, part.v0
    imbalance = u0**2 - v0**2
    # A step of descent multiplies the imbalance by 1 - η²(y - uv)²: sum that up along the flow.
    total = quad(lambda x: (y - x) / np.hypot(imbalance, 2 * x), u0 * v0, y)[0]
    right = abs(imbalance) * total

    def measured(step):
        path = gradient_descent(_gradient(y), [u0, v0], step, int(np.ceil(10 / step)))
        return abs(imbalance - (path.final[0] ** 2 - path.final[1] ** 2))

    largest = measured(STEPS[0])
    tiny = right * STEPS[-1]
    slips = [
        (-right, "is it its absolute value? The imbalance shrinks"),
        (total, "is it the relative drift? The imbalance's own is asked"),
        (largest / STEPS[0], "that is the quotient at the largest step: take smaller ones"),
        (largest, "that is the drift at the largest step: divide by the step, then let it shrink"),
        (tiny, "that is the drift at the smallest step: divide by the step"),
        (right / STEPS[-1], "by which power of the step do you divide?"),
    ]
    return compare.number(drift, right, "your drift for each unit of step", 0.02, slips)


PARTS = {
    "1": Part("What is conserved", 4, Expression(("u", "v")), conserved_data, conserved_compare),
    "2": Part("The rate at late times", 3, Number(), rate_data, rate_compare),
    "3": Part("Time to a small loss", 4, Function(time_label), time_data, time_compare),
    "4": Part("What descent does to it", 3, Number(), drift_data, drift_compare),
}
