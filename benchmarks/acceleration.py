"""The grid of steps of the quartic regression: all at once against one run after another."""

import time

import numpy as np
from side import Row

from overparam import acceleration

STEPS = 10.0 ** np.arange(-2.0, -0.45, 0.1)  # 16 steps, none of which diverges


def rows(n_steps=60, repeats=7):
    """Return the rows: time one by one over time batched.

    Against the formula as one writes it in numpy, ``r**3``, which goes through the slow general
    power; and against a loop that multiplies, as the library does, so that only the batching
    is left.
    """
    X, y = acceleration.sensor_like(np.random.default_rng(0))
    start = np.random.default_rng(1).standard_normal(X.shape[1])
    start *= 1e-2 / np.linalg.norm(start)
    how, errors = "grid of 16 steps, depth by depth", "equal losses to 1e-8"
    result = []
    for depth in (1, 2, 3):
        steps = STEPS if depth > 1 else STEPS / 4  # the largest that plain descent bears
        ratios = grid_ratios(X, y, depth, steps, start, n_steps, repeats)
        name = f"l4 grid of {len(steps)} steps, depth {depth}, one run after another / batched"
        result.append(Row(name, ratios[0], "at least 4", how, ratios[2], errors))
        line = f"{name}, cubes by multiplication"
        result.append(Row(line, ratios[1], "reported", how, ratios[2], errors))
    return result


def grid_ratios(X, y, depth, steps, start, n_steps, repeats):
    """Time `losses_along` and the two loops over the steps in turns, on the same grid."""
    batched, plain, multiplied = [], [], []
    for _ in range(repeats):
        together = timed(
            batched, lambda: acceleration.losses_along(X, y, 4, depth, steps, n_steps, start)
        )
        for times, cube in ((plain, lambda r: r**3), (multiplied, lambda r: r * r * r)):
            alone = timed(
                times, lambda c=cube: [descend(X, y, depth, s, n_steps, start, c) for s in steps]
            )
            np.testing.assert_allclose(together, np.transpose(alone), rtol=1e-8)
    ratios = [np.array(times) / batched for times in (plain, multiplied)]
    return [*ratios, float(np.median(batched))]


def timed(times, work):
    """Append the CPU time of `work` to `times` and return its result."""
    begin = time.process_time()
    result = work()
    times.append(time.process_time() - begin)
    return result


def descend(X, y, depth, step, n_steps, start, cube):
    """Plain numpy: gradient descent on `depth` layers of width 1, one run."""
    scale = np.linalg.norm(start) ** (1 / depth)
    u, s = start / scale ** (depth - 1), np.full(depth - 1, scale)
    losses = []
    for _ in range(n_steps + 1):
        r = X @ (u * s.prod()) - y
        power = cube(r)
        losses.append(power @ r / (4 * len(y)))
        g = X.T @ power / len(y)
        along = u @ g
        others = np.array([np.prod(np.delete(s, j)) for j in range(depth - 1)])
        u = u - step * s.prod() * g
        s = s - step * along * others
    return losses
