"""Numbers beside the right ones, and words for how far they are off without giving them away.

Every function returns None for a right answer, and a message otherwise.
"""

import numpy as np

RATIOS = (-1.0, 2.0, 0.5, -2.0, -0.5, 3.0, 1 / 3, 4.0, 0.25, 8.0, 0.125)


def close(got, right, tolerance):
    """Tell whether `got` differs from `right` by at most `tolerance` of the size of `right`."""
    got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    if got.shape != right.shape or not np.all(np.isfinite(got)):
        return False
    return bool(np.abs(got - right).max() <= tolerance * np.abs(right).max() + 1e-300)


def close_at_each(got, right, tolerance, floor):
    """Tell whether values at points agree with the right ones, each for its own size.

    A curve that only runs near the right one fails where the right one is small; what is below
    `floor` times the largest value is compared with that.
    """
    got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    size = np.maximum(np.abs(right), floor * np.abs(right).max())
    return bool(np.all(np.abs(got - right) <= tolerance * size + 1e-300))


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
        if ratio > 10:
            return "more than ten times too large"
        if ratio < 0.1:
            return "more than ten times too small"
        return f"too {'large' if ratio > 1 else 'small'} by {percent(abs(ratio - 1))}"
    error = np.abs(got - right).max() / scale
    if error > 10:
        return "off by more than ten times the largest correct value"
    return f"off by up to {percent(error)} of the largest correct value"


def percent(share):
    """Return a share in percent with one digit."""
    value = 100 * share
    if value < 0.1:
        return "less than 0.1 %"
    return f"about {float(f'{value:.1g}'):g} %"


def common_ratio(got, right, tolerance=1e-6):
    """Return the simple number that `got` is a multiple of `right` by, or None."""
    return next((r for r in RATIOS if close(got, r * np.asarray(right), tolerance)), None)


def _recognised(got, right, tolerance, slips):
    """Return words for an answer that a slip explains, or a simple ratio; None for others."""
    for value, hint in slips:
        if close(got, value, tolerance):
            return f"{amount(got, right)}: {hint}"
    ratio = common_ratio(got, right, tolerance)
    return None if ratio is None else f"is {ratio:.2f} times the correct one"


def number(got, right, what, tolerance=1e-3, slips=()):
    """Compare one number (or an array of few).

    Parameters
    ----------
    what : str
        Words for the answer, such as "your rate".
    slips : sequence of (value, hint)
        Answers that a typical mistake leads to, and what to ask who has made it.
    """
    if close(got, right, tolerance):
        return None
    words = _recognised(got, right, tolerance, slips) or f"is {size_of_error(got, right)}"
    return f"{what} {words}"


def amount(got, right):
    """Return "is 2.00 times the correct one" for one number, the size of the error otherwise."""
    got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    ratio = common_ratio(got, right, 1e-3)
    if ratio is not None:
        return f"is {ratio:.2f} times the correct one"
    return f"is {size_of_error(got, right)}"


def formula(function, points, right, what, tolerance=1e-6, slips=(), floor=1e-4):
    """Compare a formula at points with the right values.

    Parameters
    ----------
    function : callable
        From `expressions.parse`.
    points : sequence of arrays
        Values for each of its symbols.
    right : array
        The right values there.
    slips : sequence of (values, hint)
    floor : float
        See `close_at_each`.
    """
    got = function(*points)
    undefined = ~np.isfinite(got)
    if undefined.any():
        at = ", ".join(f"{np.ravel(p)[undefined.argmax()]:.3g}" for p in points)
        return f"{what} has no real, finite value at ({at})"
    if close_at_each(got, right, tolerance, floor):
        return None
    words = _recognised(got, right, tolerance, slips)
    if words is not None:
        return f"{what} {words}"
    worst = (np.abs(got - right) / (np.abs(right) + floor * np.abs(right).max())).argmax()
    at = ", ".join(f"{np.ravel(p)[worst]:.3g}" for p in points)
    return f"{what} is {size_of_error(np.ravel(got)[worst], np.ravel(right)[worst])} at ({at})"


def calls(results, probes, right_of, tolerance=1e-4, slips=None):
    """Compare what a function returned at its probes.

    Parameters
    ----------
    results : list of arrays, or of words for what happened instead
    right_of : callable
        Takes the arguments and returns what is right.
    slips : callable, optional
        Takes the arguments and returns pairs (value, hint). A hint is given if the slip explains
        every result that is off.
    """
    faults, explained, what = [], None, "your function"
    for got, probe in zip(results, probes, strict=True):
        right = np.asarray(right_of(*probe.arguments), dtype=float)
        if isinstance(got, str):
            return f"{what} {got} {probe.label}"
        if got.shape != right.shape:
            return (
                f"{what} returns an array of shape {got.shape} {probe.label}, "
                f"where the shape {right.shape} is asked for"
            )
        if close(got, right, tolerance):
            continue
        faults.append((got, probe, right))
        if slips is not None:
            hints = {
                hint for value, hint in slips(*probe.arguments) if close(got, value, tolerance)
            }
            explained = hints if explained is None else explained & hints
    if not faults:
        return None
    got, probe, right = faults[0]
    if explained:
        return f"what {what} returns {probe.label} {amount(got, right)}: {min(explained)}"
    return f"what {what} returns {probe.label} {amount(got, right)}"
