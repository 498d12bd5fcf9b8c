"""Numbers beside the right ones, and words for how far they are off without giving them away.

`number`, `formula` and `calls` return None for a right answer, and a message otherwise. `slips` are
pairs (value, hint): what a typical mistake leads to, and what to ask who has made it.
"""

import numpy as np

RATIOS = (-1.0, 2.0, 0.5, -2.0, -0.5, 3.0, 1 / 3, 4.0, 0.25, 8.0, 0.125)


def close(got, right, tolerance):
    """Tell whether `got` differs from `right` by at most `tolerance` of the size of `right`."""
    return np.shape(got) == np.shape(right) and _near(got, right, tolerance, 1.0)


def _near(got, right, tolerance, floor):
    """Tell whether each entry agrees with the right one, up to the tolerance of its own size.

    What is below `floor` times the largest value is compared with that.
    """
    got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    size = np.maximum(np.abs(right), floor * np.abs(right).max())
    off = ~np.isfinite(got) | (np.abs(got - right) > tolerance * size + 1e-300)
    return not off.any()


def size_of_error(got, right):
    """Return words for how far `got` is from `right`: one digit, no more."""
    got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    scale = np.abs(right).max()
    if scale == 0:
        return "not zero, as it should be"
    if got.size == 1:
        ratio = float(got / right)
        if ratio < 0:
            return "of the wrong sign"
        if not 0.1 <= ratio <= 10:
            return f"more than ten times too {'large' if ratio > 1 else 'small'}"
        return f"too {'large' if ratio > 1 else 'small'} by {percent(abs(ratio - 1))}"
    error = np.abs(got - right).max() / scale
    if error > 10:
        return "off by more than ten times the largest correct value"
    return f"off by up to {percent(error)} of the largest correct value"


def percent(share):
    """Return a share in percent with one digit."""
    value = 100 * share
    return f"about {float(f'{value:.1g}'):g} %" if value >= 0.1 else "less than 0.1 %"


def amount(got, right):
    """Return "is 2.00 times the correct one" for a simple ratio, else the size of the error."""
    ratio = next((r for r in RATIOS if close(got, r * np.asarray(right), 1e-3)), None)
    if ratio is not None:
        return f"is {ratio:.2f} times the correct one"
    return f"is {size_of_error(got, right)}"


def _hint(got, tolerance, slips):
    return next((f": {hint}" for value, hint in slips if close(got, value, tolerance)), "")


def number(got, right, what, tolerance=1e-3, slips=()):
    """Compare one number (or an array of few); `what` are words for it, such as "your rate"."""
    if close(got, right, tolerance):
        return None
    return f"{what} {amount(got, right)}{_hint(got, tolerance, slips)}"


def formula(function, points, right, what, tolerance=1e-6, slips=(), floor=1e-4):
    """Compare a formula (from `expressions.parse`) at points, for each with its own size.

    A curve that only runs near the right one fails where the right one is small: see `_near`.
    """
    got = function(*points)
    off = ~np.isfinite(got)
    if off.any():
        return f"{what} has no real, finite value at {_at(points, off.argmax())}"
    if _near(got, right, tolerance, floor):
        return None
    hint, words = _hint(got, tolerance, slips), amount(got, right)
    if hint or "times the correct" in words:
        return f"{what} {words}{hint}"
    worst = (np.abs(got - right) / (np.abs(right) + floor * np.abs(right).max())).argmax()
    size = size_of_error(np.ravel(got)[worst], np.ravel(right)[worst])
    return f"{what} is {size} at {_at(points, worst)}"


def _at(points, index):
    return f"({', '.join(f'{np.ravel(p)[index]:.3g}' for p in points)})"


def calls(results, probes, right_of, tolerance=1e-4):
    """Compare what a function returned at its probes: arrays, or words for what happened instead.

    `right_of` takes what was returned and the arguments, and returns the right value and slips, or
    a message. A hint is given if its slip explains every result that is off.
    """
    first, hints, what = None, None, "your function"
    for got, probe in zip(results, probes, strict=True):
        if isinstance(got, str):
            return f"{what} {got} {probe.label}"
        found = right_of(got, *probe.arguments)
        if isinstance(found, str):
            return f"what {what} returns {probe.label} {found}"
        right, slips = found
        if got.shape != np.shape(right):
            asked = f"where the shape {np.shape(right)} is asked for"
            return f"{what} returns an array of shape {got.shape} {probe.label}, {asked}"
        if not close(got, right, tolerance):
            first = first or f"what {what} returns {probe.label} {amount(got, right)}"
            fits = {hint for value, hint in slips if close(got, value, tolerance)}
            hints = fits if hints is None else hints & fits
    return f"{first}: {min(hints)}" if hints else first
