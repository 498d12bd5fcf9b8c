"""Matrix completion: the flow against the published method, the minimizer against cvxpy."""

import subprocess
import sys

import numpy as np
from side import Row, clock, pairs, peer

from overparam import completion, networks

SHAPE = (completion.SIZE, completion.SIZE)
WANTED = {2: 60, 3: 45, 4: 30}


def rows():
    """Return the rows of the published method, of the tables and of the nuclear norm."""
    result = []
    for depth in WANTED:
        result += published_over_flow(depth)
    return [*result, *one_seed(), *minimizer_over_cvxpy()]


def published(
    data, layers, digits="float32", truth=None, step=1e-3, decay=0.99, floor=1e-4, goal=1e-6
):
    """Descend as in the experiments of Arora et al. 2019; yield the layers after each step.

    One step length for all layers: `step` over the root of a running mean of the squared norm of
    the whole gradient (decay 0.99, bias corrected) plus `floor`. Torch in its usual single
    precision, gradients by autograd; it ends when the training loss, a mean of squares, is 1e-6.
    With the true matrix it does what the authors' program does besides: at each step the error
    over all entries and the layers' squares, at every thousandth the singular values.
    """
    import torch

    digits = getattr(torch, digits)

    torch.set_num_threads(1)
    rows, cols, values, _ = data
    rows, cols = torch.from_numpy(rows), torch.from_numpy(cols)
    values = torch.tensor(values, dtype=digits)
    truth = truth if truth is None else torch.tensor(truth, dtype=digits)
    layers = [torch.tensor(W, dtype=digits, requires_grad=True) for W in layers]
    mean, count = 0.0, 0
    while True:
        product = layers[0]
        for layer in layers[1:]:
            product = product @ layer
        loss = (product[rows, cols] - values).pow(2).mean()
        if loss.item() <= goal:
            return
        if truth is not None:
            sum(layer.pow(2).sum() for layer in layers)
        slopes = torch.autograd.grad(loss, layers)
        count += 1
        with torch.no_grad():
            if truth is not None:
                (truth - product).pow(2).mean()
                if count % 1000 == 1:
                    torch.linalg.svd(product)
            square = sum(slope.pow(2).sum() for slope in slopes)
            mean = decay * mean + (1 - decay) * square
            length = step / ((mean / (1 - decay**count)).sqrt() + floor)
            for layer, slope in zip(layers, slopes, strict=True):
                layer -= length * slope
        yield layers


def published_over_flow(depth, n_observed=2000, repeats=5, block=400):
    """Compare the published method, run to its end once, with the flow in the same precision.

    The flow is run in turns with blocks of the published method's steps, which cost the same
    throughout; the ratio of each pair takes as many of them as it needs to its end.
    """
    truth, index_rows, index_cols = completion.table_problem(0, n_observed)
    data = index_rows, index_cols, truth[index_rows, index_cols], SHAPE
    start = completion.start(SHAPE, depth, completion.SCALE, np.random.default_rng(0))

    def flow(**options):
        rng = np.random.default_rng(0)
        return completion.complete(*data, depth, completion.SCALE, rng, **options)

    def error(layers):
        product = networks.product([np.asarray(W, dtype=float) for W in layers])
        return completion.reconstruction_error(product, truth)

    exact = error(flow(rtol=1e-8, method="DOP853").final)
    name, result = f"depth {depth}, {n_observed} observations", []
    for precision, single in (("single", True), ("double", False)):
        found = error(flow(single=single).final)
        line = f"{name}, {precision} precision: final error / that of the exact flow, less one"
        how = "exact: DOP853 at rtol 1e-8; the error is the mean square over all entries"
        errors = f"{found:.4g}, exact {exact:.4g}"
        result.append(Row(line, abs(found / exact - 1), "at most 5e-3", how, errors=errors))
    if peer("torch") is None:
        return result
    steps = published(data, start)
    programs = {
        "single precision: published method": (True, steps),
        "single precision: authors' program": (True, published(data, start, truth=truth)),
        "double precision: published method": (False, published(data, start, "float64")),
    }
    times = {kind: [] for kind in programs}
    for _ in range(repeats):
        for kind, (single, program) in programs.items():
            slow, _ = clock(lambda program=program: [next(program) for _ in range(block)])
            quick, _ = clock(lambda single=single: flow(single=single))
            times[kind].append((slow / block, quick))
    rest = list(steps)  # the same layers each time
    n_steps, theirs = repeats * block + len(rest), error([W.detach().numpy() for W in rest[-1]])
    errors = f"published {theirs:.4g} ({theirs / exact - 1:+.1%} from exact)"
    for kind, pairs_of in times.items():
        slow, quick = np.transpose(pairs_of)
        how = f"{n_steps} steps in torch, {n_steps * np.median(slow):.3g} s"
        line, wanted = f"{name}, {kind} / flow", f"at least {WANTED[depth]}"
        result.append(Row(line, n_steps * slow / quick, wanted, how, np.median(quick), errors))
        errors = ""  # the others take as many steps
    return result


def one_seed():
    """Measure the eight cells of both tables for one seed, in a new process."""
    code = (
        "import re, time; from overparam import completion as c; t = time.process_time();"
        "[c.table_cell(0, n, m) for n in c.OBSERVATIONS for m in c.METHODS];"
        "peak = re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1];"
        "print(time.process_time() - t, int(peak) / 1024)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
        for _ in range(5)
    ]
    used, memory = np.transpose([list(map(float, run.stdout.split())) for run in runs])
    name, how = "both tables, one seed", "new processes, processor time"
    return [
        Row(f"{name}: seconds", used, "at most 2.5", how, float(np.median(used))),
        Row(f"{name}: MB", memory, "at most 160", "peak of the process, imports included"),
    ]


def minimizer_over_cvxpy(n_observed=2000, repeats=5):
    """Compare the certified minimizer with cvxpy and SCS at the same accuracy."""
    truth, index_rows, index_cols = completion.table_problem(0, n_observed)
    values = truth[index_rows, index_cols]
    mask = np.zeros(SHAPE)
    mask[index_rows, index_cols] = 1
    problem = index_rows, index_cols, values, SHAPE

    def excess(X):
        X = X.copy()
        X[index_rows, index_cols] = values
        return np.linalg.norm(X, "nuc") - least

    def ours():
        return completion.nuclear_norm_minimizer(*problem, tolerance=1e-6).X

    best = completion.nuclear_norm_minimizer(*problem, tolerance=1e-9)
    least = np.linalg.norm(best.X, "nuc")
    name = f"nuclear norm, {n_observed} observations"
    gap = completion.nuclear_norm_minimizer(*problem, tolerance=1e-6).gap
    how = f"absolute, of a norm of {least:.0f}"
    result = [Row(f"{name}: proven gap", gap, "at most 1e-6", how)]
    cvxpy = peer("cvxpy")
    if cvxpy is None:
        return result

    def theirs(eps=1e-7):
        X = cvxpy.Variable(SHAPE)
        fits = cvxpy.multiply(mask, X) == mask * truth
        cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(X)), [fits]).solve(solver=cvxpy.SCS, eps=eps)
        return X.value

    ratios, seconds = pairs(ours, theirs, repeats)
    errors = f"above the minimum: {excess(ours()):.0e}, SCS {excess(theirs()):.0e}"
    line = f"{name}: cvxpy with SCS / ours"
    how = "SCS at eps 1e-7, with which it is as accurate"
    return [Row(line, ratios, "at least 10", how, seconds, errors), *result]
