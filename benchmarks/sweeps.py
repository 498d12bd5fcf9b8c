"""Sweeps: one process, two, a dask cluster of two workers, and one that loses a worker.

Wall-clock times, on all cores; run it by name: ``python benchmarks/run.py sweeps``.
"""

import os
import signal
import threading
import time
from contextlib import nullcontext

import joblib
from side import Row, peer

from overparam import phase
from overparam.sweep import sweep

GRID = {"rank": [2, 5], "oversampling": [2.2, 3.0], "size": [100]}
SEEDS = range(3)


def rows(repeats=5):
    """Return the rows of joblib and dask, each warm, in turns; and of a killed worker."""
    one, alone = timed(n_jobs=1)
    both, table = timed(n_jobs=2)
    assert table.equals(alone)
    result = [Row("12 cells, one process: seconds", one, "reported", "matrices 100 × 100")]
    distributed = peer("distributed")
    pairs = []
    for _ in range(repeats):
        pairs.append([timed(n_jobs=2)[0], None])
        if distributed:
            with cluster(distributed) as client:
                timed(n_jobs=2, backend="dask")  # what is imported once
                pairs[-1][1], table = timed(n_jobs=2, backend="dask")
                assert table.equals(alone)
                client.close()
    gain = [one / pair[0] for pair in pairs]
    result.append(Row("one process / joblib on two", gain, "reported", "", both))
    if not distributed:
        return result
    cost = [dask / joblib for joblib, dask in pairs]
    result.append(Row("dask on two workers / joblib on two", cost, "at most 1.15", "", both))
    with cluster(distributed) as client:
        victim = next(iter(client.run(os.getpid).values()))
        threading.Timer(one / 5, os.kill, (victim, signal.SIGKILL)).start()
        used, table = timed(n_jobs=2, backend="dask")
        lost = len(table.compare(alone))  # in which missing values are equal
    how = f"killed after {one / 5:.1f} of {used:.1f} s"
    return [*result, Row("cells lost with a killed worker", lost, "0", how)]


def cluster(distributed):
    """Return a client of two new workers."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    return distributed.Client(**options)


def timed(n_jobs, backend=None):
    """Return the wall-clock seconds of the sweep and its table without times."""
    with joblib.parallel_config(backend=backend) if backend else nullcontext():
        begin = time.perf_counter()
        table = sweep(phase.cell, GRID, SEEDS, n_jobs=n_jobs, progress=False)
        return time.perf_counter() - begin, table.drop(columns="seconds")
