"""Assignment "Conservation and Riccati": weight decay, logistic modes, symmetric factors, order."""

import numpy as np
from scipy.linalg import expm

from coursework.answers import Array, Expression, Function
from coursework.engine import Part, between, rounded
from overparam import gradient_flow, losses, networks, riccati

END = 16.0  # of the experiment
TIMES = np.linspace(0, END, 1601)


# 1: the imbalance under weight decay


def decay_data(rng):
    return {"speed": between(rng, 1.2, 3.0, 1), "decay": between(rng, 0.05, 0.4)}


def decay_compare(part, function, rng):
    Y, U0, V0 = (rng.standard_normal(shape) for shape in ((2, 3), (2, 2), (3, 2)))
    times = np.sort(rng.uniform(0.05, 9, 12)) / (2 * part.speed * part.decay)

    def gradient(state):
        U, V = state
        E = Y - U @ V.T
        return [part.speed * (part.decay * U - E @ V), part.speed * (part.decay * V - E.T @ U)]

    path = gradient_flow(gradient, [U0, V0], times, rtol=1e-11, atol=1e-13)
    sizes = np.array([np.linalg.norm(U.T @ U - V.T @ V) for U, V in path])
    right = sizes / np.linalg.norm(U0.T @ U0 - V0.T @ V0)
    slips = [
        (np.sqrt(right), "the weights decay like that, without the data; what does U'U do?"),
        (right**2, "is it the squared norm?"),
        (1 / right, "look at the sign in the exponent"),
        (np.ones_like(right), "without weight decay it would be so"),
        (right ** (1 / part.speed), "where does the speed enter?"),
        (right ** (1 / part.decay), "where does the constant of the weight decay enter?"),
    ]
    return [times], right, slips


# 2: one mode


def mode_data(rng):
    return {"y": between(rng, 0.6, 1.9), "start": between(rng, 0.01, 0.09, 3)}


def mode_compare(part, function, rng):
    y, start = part.y, part.start
    times = np.sort(rng.uniform(0.02, 10, 16)) / y

    def weights(factor):
        """Return the product of two equal weights; the squared error has `factor` times its ½."""
        return riccati.mode(factor * times, y, start, 0.0)

    right = weights(2)
    slips = [
        (weights(1), "there is no ½ in this loss"),
        (weights(4), "the exponent is twice too large"),
        (weights(0.5), "two weights move, and there is no ½ in this loss"),
        (start * np.exp(4 * y * times), "so it begins, but where does the growth end?"),
        (y - (y - start) * np.exp(-4 * y * times), "so it ends; is the beginning slow or fast?"),
        (y - (y - start) * np.exp(-2 * times), "one weight alone would move like that"),
        (np.sqrt(right), "is it one of the two factors, or their product?"),
    ]
    return [times], right, slips


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
        cases.append((0.0 if kind == 3 else between(rng, 0.6, 2.5), Y, U0))
    return {"cases": cases}


def symmetric_compare(got, t, Y, U0):
    def flow(t, U0):
        return riccati.solution(t, Y, U0, U0)

    growth, half = expm(t * Y), 2 * flow(t, U0 / np.sqrt(2))
    # The closed form is that of two factors, whose difference grows from rounding errors.
    end = gradient_flow(lambda U: (U @ U.T - Y) @ U, U0, 60.0).final
    return flow(t, U0), [
        (half, "which factor does the quadratic term of the equation for Q have?"),
        (flow(2 * t, U0), "look at the exponents"),
        (flow(t / 2, U0), "look at the exponents"),
        (growth @ U0 @ U0.T @ growth, "the growth must end: where is the quadratic term?"),
        (end @ end.T, "that is the limit for large t"),
    ]


# 4: which mode first


def order_data(rng):
    left, right = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    sigma = np.array([rng.uniform(3.2, 4.0), rng.uniform(1.8, 2.4), rng.uniform(1.0, 1.3), 0.0])
    Y = rounded((left * sigma) @ right.T, 3)
    U0, V0 = rounded(rng.standard_normal((2, 4, 4)), 3)
    return {"Y": Y, "U0": 1e-3 * U0, "V0": 1e-3 * V0}


def order_compare(part, times):
    start, options = [part.U0, part.V0.T], {"rtol": 1e-8, "atol": 1e-11}
    path = networks.layer_flow(losses.squared_distance(part.Y), start, TIMES, **options)
    U, V = path.states
    product = np.linalg.svd(U @ V, compute_uv=False)[:, :3]
    goal = np.linalg.svd(part.Y, compute_uv=False)[:3]

    def first(curves, levels):
        """Return when each column first reaches its level (NaN if never)."""
        k = np.argmax(curves >= levels, axis=0)
        before, after = (np.take_along_axis(curves, i[None], 0)[0] for i in (k - 1, k))
        return np.where(k, TIMES[k - 1] + (levels - before) / (after - before) * TIMES[1], np.nan)

    right = first(product, goal / 2)
    factor = first(np.linalg.svd(U, compute_uv=False)[:, :3], goal / 2)
    return right, [
        (right[::-1], "is it the order of the singular values, the largest first?"),
        (factor, "are those the singular values of U, or of the product?"),
        *(
            (first(product, share * goal), "is it half of the target that you waited for?")
            for share in (0.9, 0.99, 0.25)
        ),
        (np.diff(right, prepend=0.0), "times from the start are asked, not from mode to mode"),
    ]


T, WHAT = Expression(("t",)), "your expression"
ORDER = "your array of times"
PARTS = {
    "1": Part("The imbalance under weight decay", 3, T, decay_data, decay_compare, 1e-6, WHAT),
    "2": Part("One mode", 3, T, mode_data, mode_compare, 1e-6, WHAT),
    "3": Part("Symmetric factors", 5, Function(KINDS), symmetric_data, symmetric_compare, 1e-5),
    "4": Part("Which mode first", 3, Array((3,)), order_data, order_compare, 0.01, ORDER),
}
