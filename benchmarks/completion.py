"""Matrix completion: the flow against normalized descent, the minimizer against cvxpy."""

import subprocess
import sys
import time

import numpy as np

from overparam import completion, losses, networks

SHAPE = (completion.SIZE, completion.SIZE)


def rows():
    """Return (name, ratio, wanted, note) for each measurement."""
    return [*flow_over_descent(), *one_seed(), *minimizer_over_cvxpy()]


def descent(loss, layers, step, goal=1e-6, decay=0.99, floor=1e-4):
    """Descend as in the experiments of Arora et al. 2019, from the start until `goal`.

    The step is divided by the root of a running mean of the squared gradient, over all layers
    (decay 0.99, bias corrected), plus `floor`.
    """
    square, count = 0.0, 0
    while loss.value(networks.product(layers)) > goal:
        slopes = networks.gradients(layers, loss.gradient)
        count += 1
        square = decay * square + (1 - decay) * sum(np.sum(slope**2) for slope in slopes)
        length = step / (np.sqrt(square / (1 - decay**count)) + floor)
        layers = [W - length * slope for W, slope in zip(layers, slopes, strict=True)]
    return layers


def flow_over_descent(n_observed=2000, repeats=1):
    """Compare processor time and final error of the flow with published descent and exact flow."""
    result = []
    for depth, wanted in ((2, 60), (3, 45), (4, 30)):
        truth, index_rows, index_cols = completion.table_problem(0, n_observed)
        data = index_rows, index_cols, truth[index_rows, index_cols], SHAPE
        loss = losses.completion(*data)

        def flow(data=data, depth=depth, **options):
            rng = np.random.default_rng(0)
            return completion.complete(*data, depth, completion.SCALE, rng, **options)

        def error(layers, truth=truth):
            return completion.reconstruction_error(networks.product(layers), truth)

        start = completion.start(SHAPE, depth, completion.SCALE, np.random.default_rng(0))
        name = f"depth {depth}, {n_observed} observations"
        ours, ratios = error(flow().final), []
        for _ in range(repeats):
            fast, _ = seconds(flow)
            slow, layers = seconds(lambda loss=loss, start=start: descent(loss, start, 1e-3))
            ratios.append(slow / fast)
        exact = error(flow(rtol=1e-9, method="DOP853").final) if depth < 4 else None
        note = f"processor time; final error of descent is off by {error(layers) / ours - 1:.1e}"
        line = f"{name}: published descent, in numpy / flow"
        result.append((line, np.median(ratios), f"at least {wanted}", note))
        if exact is not None:
            off = abs(ours / exact - 1)
            result.append((f"{name}: final error", off, "at most 5e-3", "against the exact flow"))
    return result


def one_seed():
    """Measure the eight cells of both tables for one seed, in a new process."""
    code = (
        "import resource, time; from overparam import completion as c; t = time.process_time();"
        "[c.table_cell(0, n, m) for n in c.OBSERVATIONS for m in c.METHODS];"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024;"
        "print(time.process_time() - t, peak)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
        for _ in range(3)
    ]
    used, memory = np.median([list(map(float, run.stdout.split())) for run in runs], axis=0)
    name = "both tables, one seed"
    return [
        (f"{name}: seconds", used, "at most 2.5", "processor time, median of 3 processes"),
        (f"{name}: MB", memory, "at most 160", "peak of the process, imports included"),
    ]


def minimizer_over_cvxpy(n_observed=2000, repeats=5):
    """Compare the certified minimizer with cvxpy and SCS at the same accuracy."""
    import cvxpy

    truth, index_rows, index_cols = completion.table_problem(0, n_observed)
    values = truth[index_rows, index_cols]
    mask = np.zeros(SHAPE)
    mask[index_rows, index_cols] = 1

    def ours():
        return completion.nuclear_norm_minimizer(
            index_rows, index_cols, values, SHAPE, tolerance=1e-6
        )

    def theirs():
        X = cvxpy.Variable(SHAPE)
        fits = cvxpy.multiply(mask, X) == mask * truth
        problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(X)), [fits])
        problem.solve(solver=cvxpy.SCS, eps=1e-7)
        return X.value

    best = completion.nuclear_norm_minimizer(index_rows, index_cols, values, SHAPE, tolerance=1e-9)
    ratios = []
    for _ in range(repeats):
        fast, found = seconds(ours)
        slow, X = seconds(theirs)
        ratios.append(slow / fast)
    X[index_rows, index_cols] = values
    excess = np.linalg.norm(X, "nuc") - np.linalg.norm(best.X, "nuc")
    note = f"processor time, median of {repeats}; excess over the minimum: SCS {excess:.1e}"
    name = f"nuclear norm, {n_observed} observations"
    return [
        (f"{name}: cvxpy with SCS / ours", np.median(ratios), "at least 10", note),
        (f"{name}: proven gap", found.gap, "at most 1e-6", "absolute, of a norm of about 217"),
    ]


def seconds(work):
    """Return the processor time of `work` and its result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result
