"""The cost of the library over the plain call it wraps: a flow, and the import."""

import subprocess
import sys
import tracemalloc

import numpy as np
from scipy.integrate import solve_ivp
from side import Row, pairs

from overparam import losses, networks


def rows():
    """Return the rows of the flow and of the import."""
    return [*flow_over_solve_ivp(), seconds_of_import()]


def flow_over_solve_ivp(size=100, depth=3, end=2.0, repeats=9):
    """Compare `layer_flow` with `solve_ivp` on the same right-hand side: time and peak memory."""
    rng = np.random.default_rng(0)
    weights = networks.gaussian([size] * (depth + 1), 0.1, rng)
    loss = losses.squared_distance(rng.standard_normal((size, size)))
    start = np.concatenate([layer.ravel() for layer in weights])

    def velocity(_, y):
        layers = [part.reshape(size, size) for part in np.split(y, depth)]
        gradients = networks.gradients(layers, loss.gradient)
        return -np.concatenate([g.ravel() for g in gradients])

    def bare():
        solve_ivp(velocity, (0, end), start, method="DOP853", rtol=1e-8, atol=1e-10)

    def ours():
        networks.layer_flow(loss, weights, end)

    name = f"flow of a {size}×{size} network of depth {depth} / bare solve_ivp"
    ratios, seconds = pairs(bare, ours, repeats)
    how = "the same right-hand side, method and tolerances"
    return [
        Row(f"{name}, time", ratios, "at most 1.15", how, seconds),
        Row(f"{name}, memory", peak(ours) / peak(bare), "at most 1.15", "peak of allocated bytes"),
    ]


def peak(work):
    """Return the largest number of bytes allocated at a time while `work` runs."""
    tracemalloc.start()
    work()
    result = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result


def seconds_of_import(repeats=7):
    """Measure what `import overparam` adds to numpy and scipy.integrate."""
    code = (
        "import time, numpy, scipy.integrate; t = time.perf_counter(); import overparam; "
        "print(time.perf_counter() - t)"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(repeats)
    ]
    name = "seconds that import overparam adds to numpy and scipy.integrate"
    return Row(name, times, "at most 0.1", "new processes")
