"""Run every benchmark in this folder and write one table to results.md.

Each module has a function `rows()` that returns rows of `side.Row` for measurements made side by
side in one run: on a noisy machine the ratios mean something, single times do not. A ratio is
given with its range over alternating runs; times are processor times. All but `ALL_CORES` runs on
one core with one thread. What is compared with and is not installed is skipped, and said so.
"""

import os
import sys

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import importlib  # noqa: E402
import platform  # noqa: E402
import time  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402
from pathlib import Path  # noqa: E402

FOLDER = Path(__file__).parent
NO_BENCHMARK = {"run", "side"}
ASKED = {"grading", "sweeps"}  # take many minutes: run when they are named
ALL_CORES = {*ASKED, "pages"}  # the others are measured on one
PEERS = ("numpy", "scipy", "extensisq", "torch", "torchdiffeq", "jax", "diffrax", "cvxpy", "scs")
HEAD = ["measured", "median [range]", "wanted", "ours: s", "errors", "how"]


def main(chosen):
    """Measure the modules named in `chosen` (all without a name) and print the table."""
    stems = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in NO_BENCHMARK)
    unknown = set(chosen) - set(stems)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(stems)}")
    sys.path.insert(0, str(FOLDER))
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    from side import Row

    begin, lines = time.perf_counter(), []
    show(lines, HEAD)
    show(lines, ["---"] * len(HEAD))
    for stem in chosen or [stem for stem in stems if stem not in ASKED]:
        if cores:
            os.sched_setaffinity(0, cores if stem in ALL_CORES else {max(cores)})
        for row in importlib.import_module(stem).rows():
            name, *cells = Row(*row).cells()
            show(lines, [f"{stem}: {name}", *cells])
    minutes = (time.perf_counter() - begin) / 60
    print(f"\n{minutes:.1f} minutes")
    if not chosen:
        text = f"# Measured by `make bench`\n\n{machine()}; {minutes:.1f} minutes.\n\n"
        (FOLDER / "results.md").write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def show(lines, cells):
    """Print a line of the table and keep it."""
    lines.append("| " + " | ".join(cells) + " |")
    print(lines[-1], flush=True)


def machine():
    """Return what it was measured with."""
    found = [f"Python {platform.python_version()}"]
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found) + f", one core, one thread, {platform.machine()}"


if __name__ == "__main__":
    main(sys.argv[1:])
