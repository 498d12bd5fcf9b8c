"""Assignment "Warm-up": two weights for one number, with other exponents, speeds and questions."""

import numpy as np
from scipy.integrate import quad

from coursework import compare
from coursework.engine import between
from overparam import gradient_descent, gradient_flow, scalar, steps

STEPS = (0.04, 0.02, 0.01, 0.005, 0.0025, 0.00125)


def _gradient(y):
    """Return the gradient of ½(y - uv)² as a function of (u, v)."""
    return lambda w: -(y - w[0] * w[1]) * np.array([w[1], w[0]])


# 1: what is conserved


def data_1(rng):
    while True:
        p, (a, b) = int(rng.integers(2, 5)), rng.choice(np.arange(3, 30), 2, replace=False) / 10
        # Else two mistakes cancel.
        if abs(np.log(a * p / b)) > 0.05:
            return {"p": p, "a": float(a), "b": float(b)}


def compare_1(part, function, rng):
    u, v = rng.uniform(0.4, 2.2, (2, 24))
    h = 10 ** rng.uniform(-5.5, -4.5, 24)  # whoever knew it could make a wave that fits
    p, a, b = part.p, part.a, part.b

    def change(du, dv):
        """Return the change of the answer in a direction, relative to that along both axes."""
        both, along_u, along_v = (
            np.abs(function(u + h * x, v + h * y) - function(u - h * x, v - h * y))
            for x, y in ((du, dv), (du, 0), (0, dv))
        )
        return both / (along_u + along_v)

    values = function(u, v)
    if not np.all(np.isfinite(values)):
        return "your expression has no real, finite value for some positive u and v"
    if np.ptp(values) <= 1e-9 * np.abs(values).max():
        return "your expression is a constant, which every flow conserves: it must depend on u, v"
    changes = change(a * p * v, b * u)
    if np.all(changes < 1e-5):
        return None
    slips = {"equal": (v, u), "divided": (b * v, a * p * u), "sign": (a * p * v, -b * u)}
    slips |= {"exponent": (a * v, b * u), "speeds": (p * v, u), "other": (a * v, b * p * u)}
    for slip, direction in slips.items():
        if np.all(change(*direction) < 1e-5):
            return "your expression changes along the flow", slip
    if np.allclose(values, function(v, u), rtol=1e-9):
        return "your expression is symmetric in u and v, which this flow is not, and it changes"
    worst = compare.percent(min(float(np.nan_to_num(changes, nan=1.0).max()), 1.0))
    terms = "what its two terms would change by, if they did not cancel at all"
    return f"your expression changes along the flow: at some points by {worst} of {terms}"


# 2: the rate at the end


def data_2(rng):
    while True:
        y, u0, v0 = (between(rng, *r) for r in ((1.2, 2.8), (0.9, 1.9), (0.15, 0.8)))
        # All the wrong answers below must be told apart.
        if u0 * v0 < 0.8 * y and abs(u0**2 - v0**2) > 0.4:
            return {"y": y, "u0": u0, "v0": v0}


def compare_2(part, rate):
    y, start = part.y, np.array([part.u0, part.v0])
    end = gradient_flow(_gradient(y), start, 40.0, rtol=1e-10, atol=1e-12).final
    right, imbalance = 2 * np.sum(end**2), start[0] ** 2 - start[1] ** 2
    slips = {"error": right / 2, "constant": right * 2, "sign": -right, "balanced": 4 * y}
    slips |= {"start": 2 * np.sum(start**2), "sum": 2 * np.hypot(imbalance, y)}
    return right, slips


# 3: the time until the loss is small


def data_3(rng):
    cases = []
    for sign in (1, 1, -1, 1):
        u0, v0 = between(rng, 0.8, 1.6), between(rng, 0.1, 0.6)
        share = float(rng.choice([0.5, 0.2, 0.05, 0.01]))
        cases.append((share, between(rng, 1.2, 2.5), u0, sign * v0))
    return {"cases": cases}


def _duration(share_of_error, y, u0, v0):
    """Return the time in which y - x shrinks to a share, from x' = (y - x) sqrt(λ0² + 4x²)."""
    imbalance, x0 = u0**2 - v0**2, u0 * v0
    x1 = y - share_of_error * (y - x0)
    return quad(lambda x: 1 / ((y - x) * np.hypot(imbalance, 2 * x)), x0, x1)[0]


def compare_3(got, share, y, u0, v0):
    imbalance, start, efolds = u0**2 - v0**2, u0**2 + v0**2, -np.log(share)
    bound = scalar.rate_bound(imbalance, scalar.margin(y, u0 * v0))
    right, end = _duration(np.sqrt(share), y, u0, v0), np.hypot(imbalance, 2 * y)
    slips = {"error": _duration(share, y, u0, v0), "bound": efolds / bound}
    return right, slips | {"start": efolds / (2 * start), "end": efolds / (2 * end)}


# 4: what descent does to the imbalance


def data_4(rng):
    while True:
        y, u0, v0 = (between(rng, *r) for r in ((1.0, 2.0), (0.9, 1.6), (0.1, 0.5)))
        if u0**2 - v0**2 > 0.6 and abs(u0**2 - v0**2 - 1) > 0.15:
            return {"y": y, "u0": u0, "v0": v0, "steps": STEPS}


def compare_4(part, drift):
    y, u0, v0 = part.y, part.u0, part.v0
    imbalance, share = abs(u0**2 - v0**2), steps.lost_imbalance(u0, v0, y)
    right, first = imbalance * share, STEPS[0]
    u, v = gradient_descent(_gradient(y), [u0, v0], first, int(np.ceil(10 / first))).final
    largest = abs(imbalance - abs(u**2 - v**2))
    slips = {"sign": -right, "relative": share, "largest": largest / first, "undivided": largest}
    return right, slips | {"smallest": right * STEPS[-1], "power": right / STEPS[-1]}
