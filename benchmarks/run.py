"""Run every benchmark in this folder and write the table of ratios to results.md.

Each module has a function `rows()` that returns (name, value, wanted, note) for measurements
made side by side in one run: on a noisy machine the ratios mean something, single times do not.
One BLAS thread, set before numpy is imported.
"""

import os
import sys

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import importlib  # noqa: E402
import platform  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy  # noqa: E402
import scipy  # noqa: E402

FOLDER = Path(__file__).parent
ASKED = {"grading"}  # takes many minutes and writes its own table: run when it is named


def main(chosen):
    """Measure the modules named in `chosen` (all without a name) and print the table."""
    stems = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "run")
    unknown = set(chosen) - set(stems)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(stems)}")
    sys.path.insert(0, str(FOLDER))
    lines = ["| benchmark | measured | wanted | how |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for stem in chosen or [stem for stem in stems if stem not in ASKED]:
        rows = importlib.import_module(stem).rows()
        for name, value, wanted, note in rows:
            lines.append(f"| {stem}: {name} | {value:.3g} | {wanted} | {note} |")
            print(lines[-1], flush=True)
        if not rows:
            lines.append(f"| {stem} | not measured | | an optional package is not installed |")
            print(lines[-1], flush=True)
    if not chosen:
        versions = f"Python {platform.python_version()}, numpy {numpy.__version__}"
        machine = f"{versions}, scipy {scipy.__version__}, one BLAS thread, {platform.machine()}"
        text = f"# Measured by `make bench`\n\n{machine}\n\n" + "\n".join(lines) + "\n"
        (FOLDER / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
