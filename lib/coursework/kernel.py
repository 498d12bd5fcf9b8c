"""Assignment "Kernel and rich regimes": tangent kernels, linearized models, lazy travel, scales."""

import numpy as np
from scipy.optimize import brentq

from coursework.engine import between, rounded
from overparam import regimes

ACTIVATIONS = {"tanh": np.tanh, "sin": np.sin, "exp": np.exp}
H = 1e-5  # of central differences


# 1: a tangent kernel


def data_1(rng):
    a, b, c = (between(rng, 0.4, 1.6) for _ in range(3))
    return {"activation": str(rng.choice(list(ACTIVATIONS))), "a": a, "b": b, "c": c}


def compare_1(part, function, rng):
    x, z = rng.uniform(-2.5, 2.5, (2, 16))
    weights = np.array([part.a, part.b, part.c])

    def model(weights, x):
        a, b, c = weights
        return b * ACTIVATIONS[part.activation](a * x) + c * x**2

    def gradient(x):
        return [(model(weights + e, x) - model(weights - e, x)) / (2 * H) for e in H * np.eye(3)]

    def in_input(x):
        return (model(weights, x + H) - model(weights, x - H)) / (2 * H)

    at_x, at_z = gradient(x), gradient(z)
    inner, outer, skip = products = [g * k for g, k in zip(at_x, at_z, strict=True)]
    right = sum(products)
    slips = {"weight1": inner + outer, "weight2": outer + skip, "weight3": inner + skip}
    slips |= {"predictions": model(weights, x) * model(weights, z)}
    slips |= {"input": in_input(x) * in_input(z), "sums": sum(at_x) * sum(at_z)}
    slips |= {"factor": outer + skip + inner / part.b**2, "chain": outer + skip + inner / (x * z)}
    slips |= {"diagonal": sum(g**2 for g in at_x)}
    return [x, z], right, slips


# 2: the linearized model


def data_2(rng):
    cases = []
    for kind in range(4):
        features = rounded(rng.standard_normal((4, 5)))
        if kind == 1:
            features[1] = features[0]  # the same input twice
        train, new = features[:3], features[3]
        y, f0 = (rounded(rng.standard_normal(3)) for _ in range(2))
        g0 = float(rounded(rng.standard_normal()))
        if kind == 1:
            f0[1] = f0[0]
        if kind == 2:
            f0, g0 = np.zeros(3), 0.0
        t = 60.0 if kind == 3 else between(rng, 0.2, 0.9)
        cases.append((t, train @ train.T, train @ new, y, f0, g0))
    return {"cases": cases}


def compare_2(got, t, K, k, y, f0, g0):
    def learned(t, f0):
        """Return what is added by f' = -K(f - y) at the new input."""
        rates, modes = np.linalg.eigh(K)
        rates = np.maximum(rates, np.finfo(float).tiny)  # k does not see the null vectors of K
        return k @ modes @ (-np.expm1(-t * rates) / rates * ((y - f0) @ modes))

    added = learned(t, f0)
    slips = {"data": g0 + learned(t, 0 * f0), "start": added, "faster": g0 + learned(2 * t, f0)}
    slips |= {"slower": g0 + learned(t / 2, f0), "limit": g0 + learned(1e3, f0)}
    return g0 + added, slips | {"step": g0 + t * k @ (y - f0)}


# 3: how far lazy training goes


def data_3(rng):
    X = rounded(rng.standard_normal((3, 6)))
    # Far enough to be no longer lazy at the scale one.
    y, w0 = rounded(8 * rng.standard_normal(3)), rounded(rng.uniform(0.5, 1.5, 6))
    return {"X": X, "y": y, "w0": w0}


def compare_3(part, travel):
    X, y, start = part.X, part.y, np.concatenate([part.w0, part.w0])

    def model(w):
        return X @ (w[:6] ** 2 - w[6:] ** 2)

    def shortest(A):
        return np.linalg.lstsq(A, y, rcond=None)[0]

    J = np.array([(model(start + e) - model(start - e)) / (2 * H) for e in H * np.eye(12)]).T
    step, size = shortest(J), np.linalg.norm
    right = size(step)
    slips = {"square": right**2, "half": size(shortest(J[:, :6]))}
    slips |= {"relative": right / size(start), "predictor": size(shortest(X))}
    slips |= {"norm1": np.abs(step).max(), "norm2": np.abs(step).sum()}
    return right, slips | {"scale1": right / 100, "scale2": right / 1000}


# 4: the scale between the regimes


def data_4(rng):
    while True:
        X = rounded(rng.standard_normal((3, 8)))
        truth = np.zeros(8)
        truth[rng.integers(8)] = rng.uniform(1.0, 2.5)
        y = rounded(X @ truth, 3)
        sparse, dense = regimes.minimum_l1(X, y), regimes.minimum_l2(X, y)
        if np.abs(dense).sum() > 1.25 * np.abs(sparse).sum():
            return {"X": X, "y": y}


def compare_4(part, alpha):
    X, y = part.X, part.y
    ends = regimes.minimum_l1(X, y), regimes.minimum_l2(X, y)
    if alpha <= 0:
        return "your alpha is not positive, and it is a scale of the weights"

    def crossing(p, share=0.5):
        sparse, dense = (np.linalg.norm(end, p) for end in ends)
        goal = (1 - share) * sparse + share * dense

        def excess(exponent):
            return np.linalg.norm(regimes.flow_limit(X, y, 10**exponent), p) - goal

        if excess(-5.0) * excess(2.0) > 0:  # not for the l1 norm
            return np.nan
        return 10 ** brentq(excess, -5.0, 2.0, xtol=1e-5)

    right = crossing(1)
    slips = {"square": right**2, "logarithm": np.log10(right), "norm": crossing(2)}
    return right, slips | {"middle1": crossing(1, 0.25), "middle2": crossing(1, 0.75)}
