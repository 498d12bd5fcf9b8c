"""Assignment "Conservation and Riccati": weight decay, logistic modes, symmetric factors, order."""

import numpy as np
from scipy.linalg import expm

from coursework.engine import between, rounded
from overparam import gradient_flow, losses, networks, riccati

END = 16.0  # of the experiment
TIMES = np.linspace(0, END, 1601)


# 1: the imbalance under weight decay


def data_1(rng):
    return {"speed": between(rng, 1.2, 3.0, 1), "decay": between(rng, 0.05, 0.4)}


def compare_1(part, function, rng):
    Y, U0, V0 = (rng.standard_normal(shape) for shape in ((2, 3), (2, 2), (3, 2)))
    times = np.sort(rng.uniform(0.05, 9, 12)) / (2 * part.speed * part.decay)

    def gradient(state):
        U, V = state
        E = Y - U @ V.T
        return [part.speed * (part.decay * U - E @ V), part.speed * (part.decay * V - E.T @ U)]

    path = gradient_flow(gradient, [U0, V0], times, rtol=1e-11, atol=1e-13)
    sizes = np.array([np.linalg.norm(U.T @ U - V.T @ V) for U, V in path])
    right = sizes / np.linalg.norm(U0.T @ U0 - V0.T @ V0)
    slips = {"root": np.sqrt(right), "square": right**2, "sign": 1 / right, "none": 0 * right + 1}
    slips |= {"speed": right ** (1 / part.speed), "decay": right ** (1 / part.decay)}
    return [times], right, slips


# 2: one mode


def data_2(rng):
    return {"y": between(rng, 0.6, 1.9), "start": between(rng, 0.01, 0.09, 3)}


def compare_2(part, function, rng):
    y, start = part.y, part.start
    times = np.sort(rng.uniform(0.02, 10, 16)) / y

    def weights(factor):
        """Return the product of two equal weights; the squared error has `factor` times its ½."""
        return riccati.mode(factor * times, y, start, 0.0)

    right = weights(2)
    slips = {"half": weights(1), "twice": weights(4), "both": weights(0.5)}
    slips |= {"growth": start * np.exp(4 * y * times), "factor": np.sqrt(right)}
    slips |= {"approach": y - (y - start) * np.exp(-4 * y * times)}
    slips |= {"alone": y - (y - start) * np.exp(-2 * times)}
    return [times], right, slips


# 3: symmetric factors


def data_3(rng):
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


def compare_3(got, t, Y, U0):
    def flow(t, U0):
        return riccati.solution(t, Y, U0, U0)

    growth, half = expm(t * Y), 2 * flow(t, U0 / np.sqrt(2))
    # The closed form is that of two factors, whose difference grows from rounding errors.
    end = gradient_flow(lambda U: (U @ U.T - Y) @ U, U0, 60.0).final
    slips = {"factor": half, "exponent1": flow(2 * t, U0), "exponent2": flow(t / 2, U0)}
    return flow(t, U0), slips | {"growth": growth @ U0 @ U0.T @ growth, "limit": end @ end.T}


# 4: which mode first


def data_4(rng):
    left, right = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    sigma = np.array([rng.uniform(3.2, 4.0), rng.uniform(1.8, 2.4), rng.uniform(1.0, 1.3), 0.0])
    Y = rounded((left * sigma) @ right.T, 3)
    U0, V0 = rounded(rng.standard_normal((2, 4, 4)), 3)
    return {"Y": Y, "U0": 1e-3 * U0, "V0": 1e-3 * V0}


def compare_4(part, times):
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
    slips = {"order": right[::-1], "factor": factor, "differences": np.diff(right, prepend=0.0)}
    shares = {"share1": 0.9, "share2": 0.99, "share3": 0.25}
    return right, slips | {slip: first(product, share * goal) for slip, share in shares.items()}
