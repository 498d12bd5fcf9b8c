"""A step of descent of the two-layer network: the chapter's gradients against torch.

torch is no requirement of the book; without it (`pip install torch`, the build for the CPU is
enough) there is nothing to compare with, and `rows` says so and returns nothing.
"""

import time

import numpy as np
from side import Row, peer

from overparam import kernel, networks

WANTED = {"relu": "at least 2", "tanh": "at least 2", "erf": "at least 1"}


def rows(n=200, m=100, d=20):
    """Return the rows: time of torch's step over ours, one thread each."""
    torch = peer("torch")
    if torch is None:
        return []
    torch.set_num_threads(1)
    result = []
    for activation, wanted in WANTED.items():
        ours, theirs, usual = steps(torch, activation, n, m, d)
        gap = difference(ours, theirs, usual)
        name = f"gradient step, two layers, {activation}, n = {n}, m = {m}, d = {d}"
        errors = f"they differ by {gap:.0e} after 20 steps"
        lean, plain, seconds = ratios(ours, theirs, usual)
        for how, values in (("autograd.grad, update in place", lean), ("optim.SGD", plain)):
            result.append(Row(f"{name}: torch / ours", values, wanted, how, seconds, errors))
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


def ratios(first, *others, repeats=9, block=100):
    """Return, for each of the others, its times over those of `first`, and the median of those.

    Alternating blocks, as a single step is too short for the clock.
    """
    times = []
    for _ in range(repeats):
        times.append([])
        for work in (first, *others):
            begin = time.process_time()
            for _ in range(block):
                work()
            times[-1].append(time.process_time() - begin)
    times = np.array(times)
    return [*(times[:, 1:] / times[:, :1]).T, float(np.median(times[:, 0])) / block]
