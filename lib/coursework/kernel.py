"""Assignment "Kernel and rich regimes": tangent kernels, linearized models, lazy travel, scales."""

import numpy as np
from scipy.optimize import brentq

from coursework.answers import Expression, Function, Number
from coursework.engine import Part, between, rounded
from overparam import regimes

ACTIVATIONS = {"tanh": np.tanh, "sin": np.sin, "exp": np.exp}
H = 1e-5  # of central differences


# 1: a tangent kernel


def tangent_data(rng):
    a, b, c = (between(rng, 0.4, 1.6) for _ in range(3))
    return {"activation": str(rng.choice(list(ACTIVATIONS))), "a": a, "b": b, "c": c}


def tangent_compare(part, function, rng):
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
    factor = "look at the derivative in the inner weight: what stands before it?"
    chain = "look at the derivative in the inner weight: the chain rule brings the input"
    slips = [
        (inner + outer, "which weight is missing?"),
        (outer + skip, "which weight is missing?"),
        (inner + skip, "which weight is missing?"),
        (model(weights, x) * model(weights, z), "that is a product of the predictions"),
        (in_input(x) * in_input(z), "the derivatives are in the weights, not in the input"),
        (sum(at_x) * sum(at_z), "it is a sum of products, not a product of sums"),
        (right - inner + inner / part.b**2, factor),
        (right - inner + inner / (x * z), chain),
        (sum(g**2 for g in at_x), "is it K(x, x)? A kernel takes two inputs"),
    ]
    return [x, z], right, slips


# 2: the linearized model


KERNELS = ("for an invertible K", "for a singular K", "from zero", "for a large t")


def linear_data(rng):
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


def linear_compare(got, t, K, k, y, f0, g0):
    def learned(t, f0):
        """Return what is added by f' = -K(f - y) at the new input."""
        rates, modes = np.linalg.eigh(K)
        rates = np.maximum(rates, np.finfo(float).tiny)  # k does not see the null vectors of K
        return k @ modes @ (-np.expm1(-t * rates) / rates * ((y - f0) @ modes))

    added = learned(t, f0)
    return g0 + added, [
        (g0 + learned(t, 0 * f0), "it is the error y - f0 that is learned"),
        (added, "where is the prediction g0 at the start?"),
        (g0 + learned(2 * t, f0), "the loss has its ½: look at the exponent"),
        (g0 + learned(t / 2, f0), "look at the exponent"),
        (g0 + learned(1e3, f0), "that is the limit for large t"),
        (g0 + t * k @ (y - f0), "that is the first step only"),
    ]


# 3: how far lazy training goes


def travel_data(rng):
    X = rounded(rng.standard_normal((3, 6)))
    # Far enough to be no longer lazy at the scale one.
    y, w0 = rounded(8 * rng.standard_normal(3)), rounded(rng.uniform(0.5, 1.5, 6))
    return {"X": X, "y": y, "w0": w0}


def travel_compare(part, travel):
    X, y, start = part.X, part.y, np.concatenate([part.w0, part.w0])

    def model(w):
        return X @ (w[:6] ** 2 - w[6:] ** 2)

    def shortest(A):
        return np.linalg.lstsq(A, y, rcond=None)[0]

    J = np.array([(model(start + e) - model(start - e)) / (2 * H) for e in H * np.eye(12)]).T
    step, size = shortest(J), np.linalg.norm
    right = size(step)
    return right, [
        (right**2, "is it the squared distance?"),
        (size(shortest(J[:, :6])), "both halves of the weights move"),
        (right / size(start), "is it relative to the weights at the start?"),
        (size(shortest(X)), "is it the weights that you measure, or the predictor?"),
        (np.abs(step).max(), "which norm do you take?"),
        (np.abs(step).sum(), "which norm do you take?"),
        (right / 100, "did you multiply by the scale?"),
        (right / 1000, "did you multiply by the scale?"),
    ]


# 4: the scale between the regimes


def scale_data(rng):
    while True:
        X = rounded(rng.standard_normal((3, 8)))
        truth = np.zeros(8)
        truth[rng.integers(8)] = rng.uniform(1.0, 2.5)
        y = rounded(X @ truth, 3)
        sparse, dense = regimes.minimum_l1(X, y), regimes.minimum_l2(X, y)
        if np.abs(dense).sum() > 1.25 * np.abs(sparse).sum():
            return {"X": X, "y": y}


def scale_compare(part, alpha):
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
    return right, [
        (right**2, "is it alpha or its square? The weights start at alpha"),
        (np.log10(right), "is it alpha, or its logarithm?"),
        (crossing(2), "in which norm do you look for the middle?"),
        (crossing(1, 0.25), "is it the middle between the two norms?"),
        (crossing(1, 0.75), "is it the middle between the two norms?"),
    ]


XZ, TRAVEL = Expression(("x", "z")), "your travel"
PARTS = {
    "1": Part("A tangent kernel", 3, XZ, tangent_data, tangent_compare, 1e-6, "your kernel"),
    "2": Part("The linearized model", 5, Function(KERNELS), linear_data, linear_compare, 1e-5),
    "3": Part("How far lazy training goes", 3, Number(), travel_data, travel_compare, 1e-2, TRAVEL),
    "4": Part("The scale between the regimes", 3, Number(), scale_data, scale_compare, 0.02,
              "your alpha"),
}  # fmt: skip
