"""What pages at risk print does not depend on the processor.

OpenBLAS and numpy choose their loops by the processor, and sums then differ in the last bits. Here
the chapters that print counts or ends of long or unstable runs are executed with loops of another
kind than the machine's own; the workflow `arithmetic` does so for every page, the library's tests
and every kind.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

ROOT = Path(__file__).resolve().parents[1]
AT_RISK = ["edge"]
# The races of the chapter on acceleration, a step among them at which the count is an accident of
# rounding: the page on all its data takes ten times as long, and the workflow runs it.
RACE = """
import numpy as np
from overparam import acceleration
X, y = acceleration.diabetes()
w = np.random.default_rng(1).standard_normal(10)
grids = {1: [0.1, 0.18], 2: [0.32, 0.56], 3: [0.56, 1.0], "adagrad": [0.056, 0.1]}
print(acceleration.race(X, y, 4, grids, 0.01 * w / np.linalg.norm(w)))
"""


def other_kind():
    """Return the settings of another kind of arithmetic than the machine's own."""
    np.linalg.norm(np.eye(2) @ np.eye(2))
    own = {pool["architecture"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    features = np._core._multiarray_umath.__cpu_features__
    dispatched = np._core._multiarray_umath.__cpu_dispatch__
    disabled = [name for name in dispatched if features.get(name)]
    return {
        "OPENBLAS_CORETYPE": "Nehalem" if "Nehalem" not in own else "Haswell",
        "NPY_DISABLE_CPU_FEATURES": " ".join(disabled),
    }


@pytest.fixture(scope="module")
def environment():
    settings = other_kind()
    environment = os.environ | settings
    code = (
        "import numpy as np; from threadpoolctl import threadpool_info as info\n"
        "print([p['architecture'] for p in info() if p['user_api'] == 'blas'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if settings["OPENBLAS_CORETYPE"] not in run.stdout:
        pytest.skip("numpy's linear algebra is not OpenBLAS with all kinds of loops here")
    return environment


def test_the_loops_are_of_another_kind(environment):
    """Else the test below would say nothing."""
    code = (
        "import numpy as np; rng = np.random.default_rng(0); A = rng.standard_normal((200, 200))\n"
        "print(np.sum(A @ A @ A).hex(), np.sum(np.exp(A[0])).hex())"
    )
    prints = {
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True).stdout
        for env in (os.environ, environment)
    }
    assert len(prints) == 2


@pytest.mark.parametrize("chapter", [c for c in AT_RISK if (ROOT / f"book/{c}.ipynb").exists()])
def test_pages_at_risk_print_the_same_with_other_loops(chapter, environment):
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q"]
    command += ["-p", "no:cacheprovider", "--nbval-cell-timeout", "600", f"book/{chapter}.ipynb"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


def test_races_end_the_same_with_other_loops(environment):
    prints = [
        subprocess.run([sys.executable, "-c", RACE], env=env, capture_output=True, text=True).stdout
        for env in (os.environ, environment)
    ]
    assert prints[0] == prints[1] and "3: (" in prints[0] and "1.0" not in prints[0]
