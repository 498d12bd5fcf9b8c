"""A step of descent of the two-layer network: the chapter's gradients against torch.

torch is no requirement of the book; without it (`pip install torch`, the build for the CPU is
enough) there is nothing to compare with, and `rows` says so and returns nothing.
"""

import time

import numpy as np

from overparam import kernel, networks

WANTED = {"relu": "at least 2", "tanh": "at least 2", "erf": "reported"}


def rows(n=200, m=100, d=20):
    """Return (name, ratio, wanted, note): time of torch's step over ours, one thread each."""
    try:
        import torch
    except ImportError:
        print("kernel: torch is not installed (pip install torch); its comparison is skipped")
        return []
    torch.set_num_threads(1)
    result = []
    for activation, wanted in WANTED.items():
        ours, theirs, usual = steps(torch, activation, n, m, d)
        gap = difference(ours, theirs, usual)
        name = f"gradient step, two layers, {activation}, n = {n}, m = {m}, d = {d}"
        note = f"median of alternating runs, float64, largest difference after 20 steps {gap:.0e}"
        lean, plain = ratios(ours, theirs, usual)
        result += [
            (f"{name}: torch, autograd.grad and update in place / ours", lean, wanted, note),
            (f"{name}: torch, backward and optim.SGD / ours", plain, wanted, note),
        ]
    return result


def steps(torch, activation, n, m, d, step=0.1):
    """Return three functions, each taking one step from the same start; they return the layers."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal(n)
    start = networks.gaussian([d, m, 1], 1.0, rng)
    mine = [layer.copy() for layer in start]
    X_torch, y_torch = torch.tensor(X), torch.tensor(y)
    lean = [torch.tensor(layer, requires_grad=True) for layer in start]
    plain = [torch.tensor(layer, requires_grad=True) for layer in start]
    optimizer = torch.optim.SGD(plain, lr=step)
    function = {"relu": torch.relu, "tanh": torch.tanh, "erf": torch.erf}[activation]

    def ours():
        slopes = kernel.gradients(mine, X, lambda f: (f - y) / n, activation)
        for layer, slope in zip(mine, slopes, strict=True):
            layer -= step * slope
        return mine

    def cost(layers):
        f = (function(X_torch @ layers[0]) @ layers[1])[:, 0] * m**-0.5
        return ((f - y_torch) ** 2).sum() / (2 * n)

    def theirs():
        slopes = torch.autograd.grad(cost(lean), lean)
        with torch.no_grad():
            for layer, slope in zip(lean, slopes, strict=True):
                layer.sub_(slope, alpha=step)
        return [layer.detach().numpy() for layer in lean]

    def usual():
        optimizer.zero_grad()
        cost(plain).backward()
        optimizer.step()
        return [layer.detach().numpy() for layer in plain]

    return ours, theirs, usual


def difference(*works, n_steps=20):
    """Return the largest difference between the layers after some steps, at most 1e-10."""
    for _ in range(n_steps):
        first, *others = [work() for work in works]
    gaps = [np.abs(a - b).max() for other in others for a, b in zip(first, other, strict=True)]
    if max(gaps) > 1e-10:
        raise AssertionError(f"the steps do not agree: {max(gaps):.1e}")
    return max(gaps)


def ratios(first, *others, repeats=31, block=100):
    """Return, for each of the others, the median of its time over that of `first`.

    Alternating blocks, as a single step is too short for the clock.
    """
    times = []
    for _ in range(repeats):
        times.append([])
        for work in (first, *others):
            begin = time.perf_counter()
            for _ in range(block):
                work()
            times[-1].append(time.perf_counter() - begin)
    times = np.array(times)
    return [float(ratio) for ratio in np.median(times[:, 1:] / times[:, :1], axis=0)]
