"""Limits of the diagonal network: by the dual, by fixed-step descent, by direct integration."""

import time

import numpy as np
from scipy.integrate import solve_ivp
from side import Row, pairs

from overparam import regimes


def rows():
    """Return the rows of the limit and of the figure's sweep."""
    return [
        limit_against_descent(0.03, "at least 100"),
        limit_against_descent(0.9, "none stated"),
        limit_against_integration(),
        seconds_of_the_sweep(),
    ]


def data(seed, n_data, size, n_nonzero=5, noise=0.1):
    """Return the sparse regression of Smith 2022, 1.5, with noise of variance 0.01."""
    rng = np.random.default_rng(seed)
    X, truth = rng.standard_normal((n_data, size)), np.zeros(size)
    truth[:n_nonzero] = 1 / np.sqrt(n_nonzero)
    return X, X @ truth + noise * rng.standard_normal(n_data)


def limit_against_descent(share, wanted, alpha=1e-3, tolerance=1e-6):
    """Compare with plain descent whose step is a share of the largest stable one.

    Descent follows the flow with an error in proportion to its step, and so ends at another
    interpolant; the ratio means something at a step for which that error is small.
    """
    X, y = data(0, 100, 1000)
    limit = regimes.flow_limit(X, y, alpha)
    # Close to the limit the curvature is 8 |X diag(w)|², and |w|² is close to |beta|.
    step = 2 * share / (8 * np.linalg.norm(X * np.sqrt(np.abs(limit)), 2) ** 2)

    def descent():
        plus, minus = np.full(1000, alpha), np.full(1000, alpha)
        residual = X @ (plus**2 - minus**2) - y
        while np.linalg.norm(residual) > tolerance * np.linalg.norm(y):
            pull = 4 * step * (X.T @ residual)
            plus, minus = plus - pull * plus, minus + pull * minus
            residual = X @ (plus**2 - minus**2) - y
        return plus**2 - minus**2

    name = f"descent at {share} of its largest step / limit by the dual, alpha = {alpha:g}"
    return against(name, descent, limit, wanted, lambda: regimes.flow_limit(X, y, alpha))


def against(name, work, limit, wanted, ours):
    """Return the row of one way to the limit."""
    gap = np.abs(work() - limit).sum() / np.abs(limit).sum()
    ratios, seconds = pairs(ours, work)
    return Row(name, ratios, wanted, "d = 1000, N = 100", seconds, f"{gap:.0e} (l1) off the limit")


def limit_against_integration(alpha=1e-3, tolerance=1e-6):
    """Compare with `solve_ivp` on the weights."""
    X, y = data(0, 100, 1000)
    size = X.shape[1]

    def velocity(_, w):
        pull = 4 * (X.T @ (X @ (w[:size] ** 2 - w[size:] ** 2) - y))
        return np.concatenate([-pull * w[:size], pull * w[size:]])

    def stop(_, w):
        misfit = np.linalg.norm(X @ (w[:size] ** 2 - w[size:] ** 2) - y)
        return misfit - tolerance * np.linalg.norm(y)

    stop.terminal = True

    def direct():
        start = np.full(2 * size, alpha)
        options = {"method": "DOP853", "rtol": 1e-8, "atol": 1e-11, "events": stop}
        end = solve_ivp(velocity, (0, 1e4), start, **options).y[:, -1]
        return end[:size] ** 2 - end[size:] ** 2

    limit = regimes.flow_limit(X, y, alpha)
    name = "direct solve_ivp / limit by the dual, alpha = 1e-3"
    return against(name, direct, limit, "none stated", lambda: regimes.flow_limit(X, y, alpha))


def seconds_of_the_sweep():
    """Time the book's figure: 13 scales, two depths, five seeds."""
    used = []
    for X, y in (data(seed, 100, 1000) for seed in range(5)):
        begin = time.process_time()
        for alpha in np.logspace(-5, 1, 13):
            for depth in (2, 3):
                regimes.flow_limit(X, y, alpha, depth)
        used.append(5 * (time.process_time() - begin))
    name = "seconds, 13 scales × 2 depths × 5 seeds"
    return Row(name, used, "at most 3", "d = 1000, N = 100; range over the seeds")
