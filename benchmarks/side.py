"""Measurements side by side: in turns on one core, so that a busy machine slows both."""

import importlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """One line of the table: several ratios of one pair of programs, or one number."""

    name: str
    value: float | Sequence[float]
    wanted: str
    how: str
    seconds: float | None = None  # ours
    errors: str = ""

    def cells(self) -> list[str]:
        """Return the texts of the line: a median with its range where there are several."""
        values = np.atleast_1d(self.value)
        text = f"{np.median(values):.3g}"
        if len(values) > 1:
            text += f" [{values.min():.3g}, {values.max():.3g}]"
        seconds = "" if self.seconds is None else f"{self.seconds:.2g}"
        return [self.name, text, self.wanted, seconds, self.errors, self.how]


def peer(name: str):
    """Import a package to compare with; say so and return None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed (pip install {name}): its comparisons are skipped")
        return None


def clock(work: Callable, block: int = 1):
    """Return the processor time of one of `block` calls of `work`, and the last result."""
    begin = time.process_time()
    for _ in range(block):
        result = work()
    return (time.process_time() - begin) / block, result


def pairs(ours: Callable, theirs: Callable, repeats: int = 5, block: int = 1):
    """Run both in turns; return the ratios theirs / ours and the median time of ours."""
    ours(), theirs()  # what is done only once
    times = [(clock(theirs, block)[0], clock(ours, block)[0]) for _ in range(repeats)]
    return [slow / fast for slow, fast in times], float(np.median([fast for _, fast in times]))


def enough(work: Callable, least: float = 0.02) -> int:
    """Return how many calls of `work` the clock can see."""
    return max(1, round(least / max(min(clock(work)[0] for _ in range(2)), 1e-6)))
