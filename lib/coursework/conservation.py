"""Assignment "Conservation and Riccati": weight decay, logistic modes, symmetric factors, order."""

import numpy as np
from scipy.linalg import expm

from coursework import compare
from coursework.answers import Array, Expression, Function
from coursework.engine import Part, rounded
from overparam import gradient_flow

END = 16.0  # of the experiment
TIMES = np.linspace(0, END, 1601)


# 1: the imbalance under weight decay


def decay_data(rng):
    return {
        "speed": float(rounded(rng.uniform(1.2, 3.0), 1)),
        "decay": float(rounded(rng.uniform(0.05, 0.4))),
    }


def decay_compare(part, function, rng):
    Y, U0, V0 = (
        rng.standard_normal((2, 3)),
        rng.standard_normal((2, 2)),
        rng.standard_normal((3, 2)),
    )
    times = np.sort(rng.uniform(0.05, 9, 12)) / (2 * part.speed * part.decay)

    def gradient(state):
        U, V = state
        E = Y - U @ V.T
        return [
            part.speed * (part.decay * U - E @ V),
            part.speed * (part.decay * V - E.T @ U),
        ]

    path = gradient_flow(gradient, [U0, V0], times, rtol=1e-11, atol=1e-13)
    sizes = np.array([np.linalg.norm(U.T @ U - V.T @ V) for U, V in path])
    right = sizes / np.linalg.norm(U0.T @ U0 - V0.T @ V0)
    slips = [
        (np.sqrt(right), "the weights decay like that, without the data; what does U'U do?"),
        (right**2, "is it the squared norm?"),
        (1 / right, "look at the sign in the exponent"),
        (np.ones_like(right), "without weight decay it would be so"),
        (right ** (1 / part.speed), "where does the speed enter?"),
        (right ** (0.5 / part.speed), "where does the speed enter, and is U'U quadratic in U?"),
        (right ** (1 / part.decay), "where does the constant of the weight decay enter?"),
    ]
    return compare.formula(function, [times], right, "your expression", 1e-6, slips)


# 2: one mode


def mode_data(rng):
    return {
        "y": float(rounded(rng.uniform(0.6, 1.9))),
        "start": float(rounded(rng.uniform(0.01, 0.09), 3)),
    }


def mode_compare(part, function, rng):
    y, start = part.y, part.start
    times = np.sort(rng.uniform(0.02, 10, 16)) / y

    def weights(scale):
        """Return the product of two equal weights; `scale` stands before the squared error."""
        path = gradient_flow(
            lambda w: -2 * scale * (y - w[0] * w[1]) * np.array([w[1], w[0]]),
            np.sqrt([start, start]),
            times,
            rtol=1e-11,
            atol=1e-14,
        )
        return path.states.prod(axis=1)

    right = weights(1.0)
    slips = [
        (weights(0.5), "there is no ½ in this loss"),
        (weights(2.0), "the exponent is twice too large"),
        (weights(0.25), "two weights move, and there is no ½ in this loss"),
        (start * np.exp(4 * y * times), "so it begins, but where does the growth end?"),
        (y - (y - start) * np.exp(-4 * y * times), "so it ends; is the beginning slow or fast?"),
        (y - (y - start) * np.exp(-2 * times), "one weight alone would move like that"),
        (np.sqrt(right), "is it one of the two factors, or their product?"),
    ]
    return compare.formula(function, [times], right, "your expression", 1e-6, slips)


# 3: symmetric factors


KINDS = ("for an invertible Y", "for a singular Y")
KINDS += ("for a Y with a negative eigenvalue", "at t = 0")


def symmetric_data(rng):
    cases = []
    for kind in range(4):
        size, width = (3, 2) if kind != 2 else (4, 3)
        basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
        spectrum = rng.uniform(0.5, 2.0, size)
        if kind == 2:
            spectrum[0] *= -1
        Y = rounded((basis * spectrum) @ basis.T)
        if kind == 1:  # exactly singular, whatever was rounded
            Y[2], Y[:, 2] = 0.0, 0.0
        U0 = rounded(0.5 * rng.standard_normal((size, width)))
        cases.append((0.0 if kind == 3 else float(rounded(rng.uniform(0.6, 2.5))), Y, U0))
    return {"cases": cases}


def _symmetric_flow(t, Y, U0):
    """Return UUᵀ at time t by integration of U' = (Y - UUᵀ)U."""
    if t == 0:
        return U0 @ U0.T
    path = gradient_flow(lambda U: (U @ U.T - Y) @ U, U0, t, rtol=1e-10, atol=1e-12)
    return path.final @ path.final.T


def symmetric_compare(part, results, probes):
    def slips(t, Y, U0):
        growth = expm(t * Y)
        U = gradient_flow(lambda U: (U @ U.T - Y) @ U, U0, max(t, 1e-9)).final
        return [
            (
                2 * _symmetric_flow(t, Y, U0 / np.sqrt(2)),
                "which factor does the quadratic term of the equation for Q have?",
            ),
            (_symmetric_flow(2 * t, Y, U0), "look at the exponents"),
            (_symmetric_flow(t / 2, Y, U0), "look at the exponents"),
            (growth @ U0 @ U0.T @ growth, "the growth must end: where is the quadratic term?"),
            (_symmetric_flow(60.0, Y, U0), "that is the limit for large t"),
            (U, "is it U, or the product of U with its transpose?"),
            (Y, "that is the target"),
        ]

    return compare.calls(results, probes, _symmetric_flow, 1e-5, slips)


# 4: which mode first


def order_data(rng):
    left, right = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    sigma = np.array([rng.uniform(3.2, 4.0), rng.uniform(1.8, 2.4), rng.uniform(1.0, 1.3), 0.0])
    Y = rounded((left * sigma) @ right.T, 3)
    U0, V0 = rounded(rng.standard_normal((2, 4, 4)), 3)
    return {"Y": Y, "U0": 1e-3 * U0, "V0": 1e-3 * V0}


def order_compare(part, times):
    Y = part.Y
    path = gradient_flow(
        lambda w: [(w[0] @ w[1].T - Y) @ w[1], (w[0] @ w[1].T - Y).T @ w[0]],
        [part.U0, part.V0],
        TIMES,
        rtol=1e-8,
        atol=1e-11,
    )
    U, V = path.states
    product = np.linalg.svd(U @ np.swapaxes(V, 1, 2), compute_uv=False)[:, :3]
    factor = np.linalg.svd(U, compute_uv=False)[:, :3]
    goal = np.linalg.svd(Y, compute_uv=False)[:3]

    def first(curves, levels):
        """Return when each column first reaches its level (NaN if never)."""
        found = []
        for curve, level in zip(curves.T, levels, strict=True):
            k = np.argmax(curve >= level)
            share = (level - curve[k - 1]) / (curve[k] - curve[k - 1]) if k else np.nan
            found.append(TIMES[k - 1] + share * (TIMES[k] - TIMES[k - 1]))
        return np.array(found)

    right = first(product, goal / 2)
    slips = [
        (right[::-1], "is it the order of the singular values, the largest first?"),
        (first(factor, goal / 2), "are those the singular values of U, or of the product?"),
        (first(product, 0.9 * goal), "is it half of the target that you waited for?"),
        (first(product, 0.99 * goal), "is it half of the target that you waited for?"),
        (first(product, goal / 4), "is it half of the target that you waited for?"),
        (np.diff(right, prepend=0.0), "times from the start are asked, not from mode to mode"),
    ]
    return compare.number(times, right, "your array of times", 0.01, slips)


PARTS = {
    "1": Part("The imbalance under weight decay", 3, Expression(("t",)), decay_data, decay_compare),
    "2": Part("One mode", 3, Expression(("t",)), mode_data, mode_compare),
    "3": Part("Symmetric factors", 5, Function(KINDS), symmetric_data, symmetric_compare),
    "4": Part("Which mode first", 3, Array((3,)), order_data, order_compare),
}
