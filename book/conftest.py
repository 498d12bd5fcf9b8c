"""Settings for nbval, which compares each notebook's outputs with those of a new run.

One line is shown for each notebook instead of one for each cell.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "_tools"))

import kernels  # noqa: E402

kernels.use()
left: Counter[str] = Counter()  # cells to come, for each notebook
seconds: Counter[str] = Counter()


def pytest_collectstart(collector):
    """Leave out images and HTML, which committed notebooks do not hold (nbval knows only PNG)."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += (
            "image/svg+xml",
            "text/html",
            "application/papermill.record/image/png",
            "application/papermill.record/image/svg+xml",
            "application/papermill.record/text/html",
        )


def notebook(cell: str) -> str:
    """Return the notebook of a cell that pytest names ``book/scalar::ipynb::Cell 4``."""
    return cell.partition("::Cell")[0].replace("::", ".")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids):
    """Count the cells (every worker sends the same list) and keep the terminal."""
    global terminal
    terminal = node.config.pluginmanager.get_plugin("terminalreporter")
    left.update(Counter(map(notebook, ids)) - left)


def pytest_report_teststatus(report):
    """Show no dot for a cell that passed."""
    return ("passed", "", "") if report.when == "call" and report.passed else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """Say so when the last cell of a notebook is done."""
    name = notebook(report.nodeid)
    if name not in left:
        return  # a worker, which has no list and no terminal
    seconds[name] += report.duration
    if report.when != "teardown":
        return
    left[name] -= 1
    if left[name] == 0:
        done = sum(count == 0 for count in left.values())
        terminal.write_line(f"  [{done}/{len(left)}] {name}: {seconds[name]:.1f} s")
