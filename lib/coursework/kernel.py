"""Assignment "Kernel and rich regimes": tangent kernels, linearized models, lazy travel, scales."""

import numpy as np
from scipy.optimize import brentq

from coursework import compare
from coursework.answers import Expression, Function, Number
from coursework.engine import Part, rounded
from overparam import gradient_flow, regimes

# Each with its derivative.
ACTIVATIONS = {
    "tanh": (np.tanh, lambda s: 1 / np.cosh(s) ** 2),
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
}


# 1: a tangent kernel


def tangent_data(rng):
    a, b, c = (float(rounded(rng.uniform(0.4, 1.6))) for _ in range(3))
    return {"activation": str(rng.choice(list(ACTIVATIONS))), "a": a, "b": b, "c": c}


def tangent_compare(part, function, rng):
    phi, slope = ACTIVATIONS[part.activation]
    x, z = rng.uniform(-2.5, 2.5, (2, 16))
    weights = np.array([part.a, part.b, part.c])

    def model(weights, x):
        a, b, c = weights
        return b * phi(a * x) + c * x**2

    def gradient(x):
        h = 1e-5
        return [
            (model(weights + step, x) - model(weights - step, x)) / (2 * h)
            for step in h * np.eye(3)
        ]

    at_x, at_z = gradient(x), gradient(z)
    products = [g * k for g, k in zip(at_x, at_z, strict=True)]
    right = sum(products)
    in_x = (model(weights, x + 1e-5) - model(weights, x - 1e-5)) / 2e-5
    in_z = (model(weights, z + 1e-5) - model(weights, z - 1e-5)) / 2e-5
    slips = [
        (sum(products[:2]), "which weight is missing?"),
        (sum(products[1:]), "which weight is missing?"),
        (products[0] + products[2], "which weight is missing?"),
        (products[0], "there are three weights"),
        (products[1], "there are three weights"),
        (model(weights, x) * model(weights, z), "that is a product of the predictions"),
        (in_x * in_z, "the derivatives are in the weights, not in the input"),
        (sum(at_x) * sum(at_z), "it is a sum of products, not a product of sums"),
        (
            right - products[0] + products[0] / part.b**2,
            "look at the derivative in the inner weight: what stands before it?",
        ),
        (
            right - products[0] + products[0] / (x * z),
            "look at the derivative in the inner weight: the chain rule brings the input",
        ),
        (sum(g**2 for g in at_x), "is it K(x, x)? A kernel takes two inputs"),
    ]
    return compare.formula(function, [x, z], right, "your kernel", 1e-6, slips)


# 2: the linearized model


KERNELS = ("for an invertible K", "for a singular K", "from zero", "for a large t")


def linear_data(rng):
    cases = []
    for kind in range(4):
        features = rounded(rng.standard_normal((4, 5)))
        if kind == 1:
            features[1] = features[0]  # the same input twice
        train, new = features[:3], features[3]
        y, f0, g0 = (
            rounded(rng.standard_normal(3)),
            rounded(rng.standard_normal(3)),
            rng.standard_normal(),
        )
        g0 = float(rounded(g0))
        if kind == 1:
            f0[1] = f0[0]
        if kind == 2:
            f0, g0 = np.zeros(3), 0.0
        t = 60.0 if kind == 3 else float(rounded(rng.uniform(0.2, 0.9)))
        cases.append((t, train @ train.T, train @ new, y, f0, g0))
    return {"cases": cases}


def _linear_flow(t, K, k, y, f0, g0):
    """Return the prediction at the new input by integration of f' = -K(f - y), g' = -k(f - y)."""

    def velocity(state):
        error = state[:-1] - y
        return np.append(K @ error, k @ error)

    # Stiff for the larger of the times.
    path = gradient_flow(velocity, np.append(f0, g0), t, rtol=1e-9, atol=1e-11, method="LSODA")
    return path.final[-1]


def linear_compare(part, results, probes):
    def slips(t, K, k, y, f0, g0):
        return [
            (_linear_flow(t, K, k, y, 0 * f0, g0), "it is the error y - f0 that is learned"),
            (_linear_flow(t, K, k, y, f0, 0.0), "where is the prediction g0 at the start?"),
            (_linear_flow(t, K, k, y, 0 * f0, 0.0), "where are the predictions at the start?"),
            (_linear_flow(2 * t, K, k, y, f0, g0), "the loss has its ½: look at the exponent"),
            (_linear_flow(t / 2, K, k, y, f0, g0), "look at the exponent"),
            (_linear_flow(1e3, K, k, y, f0, g0), "that is the limit for large t"),
            (g0 + t * k @ (y - f0), "that is the first step only"),
        ]

    return compare.calls(results, probes, _linear_flow, 1e-5, slips)


# 3: how far lazy training goes


def travel_data(rng):
    X = rounded(rng.standard_normal((3, 6)))
    # Far enough to be no longer lazy at the scale one.
    y, w0 = rounded(8 * rng.standard_normal(3)), rounded(rng.uniform(0.5, 1.5, 6))
    return {"X": X, "y": y, "w0": w0}


def travel_compare(part, travel):
    X, y, w0 = part.X, part.y, part.w0

    def model(w):
        return X @ (w[:6] ** 2 - w[6:] ** 2)

    start, h = np.concatenate([w0, w0]), 1e-5
    J = np.array([(model(start + e) - model(start - e)) / (2 * h) for e in h * np.eye(12)]).T
    step = np.linalg.lstsq(J, y, rcond=None)[0]
    right = np.linalg.norm(step)
    K = J @ J.T
    one = np.linalg.norm(np.linalg.lstsq(J[:, :6], y, rcond=None)[0])
    slips = [
        (right**2, "is it the squared distance?"),
        (y @ np.linalg.solve(K, y), "is it the squared distance?"),
        (one, "both halves of the weights move"),
        (right / np.linalg.norm(start), "is it relative to the weights at the start?"),
        (
            np.linalg.norm(np.linalg.lstsq(X, y, rcond=None)[0]),
            "is it the weights that you measure, or the predictor?",
        ),
        (np.abs(step).max(), "which norm do you take?"),
        (np.abs(step).sum(), "which norm do you take?"),
        (np.linalg.norm(np.linalg.solve(K, y)), "are those the coefficients of the kernel?"),
        (right / 100, "did you multiply by the scale?"),
        (right / 1000, "did you multiply by the scale?"),
    ]
    return compare.number(travel, right, "your travel", 1e-2, slips)


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
    sparse, dense = regimes.minimum_l1(X, y), regimes.minimum_l2(X, y)

    def size(beta, p=1):
        return np.linalg.norm(beta, p)

    def crossing(p, share=0.5):
        goal = (1 - share) * size(sparse, p) + share * size(dense, p)

        def excess(exponent):
            return size(regimes.flow_limit(X, y, 10**exponent), p) - goal

        if excess(-5.0) * excess(2.0) > 0:  # not for the l1 norm
            return np.nan
        return 10 ** brentq(excess, -5.0, 2.0, xtol=1e-5)

    right = crossing(1)
    if compare.close(alpha, right, 0.02):
        return None
    if alpha <= 0:
        return "your alpha is not positive, and it is a scale of the weights"
    slips = [
        (right**2, "is it alpha or its square? The weights start at alpha"),
        (np.sqrt(right), "is it alpha or its square root? The weights start at alpha"),
        (np.log10(right), "is it alpha, or its logarithm?"),
        (np.log(right), "is it alpha, or its logarithm?"),
        (crossing(2), "in which norm do you look for the middle?"),
        (crossing(1, 0.25), "is it the middle between the two norms?"),
        (crossing(1, 0.75), "is it the middle between the two norms?"),
    ]
    return compare.number(alpha, right, "your alpha", 0.02, slips)


PARTS = {
    "1": Part("A tangent kernel", 3, Expression(("x", "z")), tangent_data, tangent_compare),
    "2": Part("The linearized model", 5, Function(KERNELS), linear_data, linear_compare),
    "3": Part("How far lazy training goes", 3, Number(), travel_data, travel_compare),
    "4": Part("The scale between the regimes", 3, Number(), scale_data, scale_compare),
}
