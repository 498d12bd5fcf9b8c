"""Checks of arguments: each raises an error that names the argument and the remedy."""

import numpy as np

_NO_NUMBERS = (str, bytes, complex, np.complexfloating, type(None))


def finite_array(name, value, ndim=None):
    """Return a float64 copy of `value`, or say what is wrong with the argument `name`.

    It is a copy, so that what a function keeps does not change when the caller's array does.

    Raises
    ------
    ValueError
        If `value` is no array of real, finite numbers up to 1.8e308 (complex, masked and textual
        input is refused, not converted), is empty, or has not `ndim` dimensions.
    """
    try:
        found = np.asarray(value)
        parts = found.ravel() if found.dtype == object else ()
        if found.dtype.kind not in "biufO" or any(isinstance(p, _NO_NUMBERS) for p in parts):
            raise TypeError
        array = np.array(found, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be an array of real numbers, got {value!r:.80}") from None
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}); give it at least one entry")
    if np.ma.is_masked(value) or not np.isfinite(array).all():
        raise ValueError(f"{name} has entries that are NaN or infinite, or masked; remove them")
    if ndim is not None and array.ndim != ndim:
        wanted = f"have {ndim} dimension(s)" if ndim else "be one number"
        raise ValueError(f"{name} must {wanted}, got an array of shape {array.shape}")
    return array


def not_negative(name, value, ndim=None):
    """Return `value` as finite numbers, such as times, none negative (see `finite_array`)."""
    return _bounded(name, finite_array(name, value, ndim), 0)


def positive(name, value, ndim=None):
    """Return `value` as finite numbers, such as steps, all positive (see `finite_array`)."""
    return _bounded(name, finite_array(name, value, ndim), 0, strict=True)


def matrix(name, value):
    """Return `value` as a finite float64 matrix (see `finite_array`)."""
    return finite_array(name, value, ndim=2)


def number(name, value, minimum=-np.inf, strict=False):
    """Return `value` as a finite float of at least `minimum` (more than it if `strict`)."""
    return float(_bounded(name, finite_array(name, value, ndim=0), minimum, strict))


def count(name, value, minimum=1):
    """Return `value` as an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(_bounded(name, np.array(value), minimum))


def _bounded(name, array, minimum, strict=False):
    least = array.min()
    if least < minimum or (strict and least == minimum):
        relation = "greater than" if strict else "at least"
        raise ValueError(f"{name} must be {relation} {minimum:g}, got {least:g}")
    return array


def generator(name, value):
    """Return `value` if it is a `numpy.random.Generator`."""
    if not isinstance(value, np.random.Generator):
        raise ValueError(f"{name} must be a numpy.random.Generator (default_rng(0)), got {value!r}")
    return value


def data(X, y, name="y", ndim=1):
    """Return a matrix of data and their labels, a vector or, with `ndim` = 2, a matrix."""
    X, y = matrix("X", X), finite_array(name, y, ndim)
    same_rows(X, y, second=name)
    return X, y


def same_rows(X, Y, first="X", second="y"):
    """Refuse two arrays of different lengths."""
    if len(X) != len(Y):
        raise ValueError(f"{first} and {second} must have as many rows, got {len(X)} and {len(Y)}")


def same_columns(U, V, first="U", second="V"):
    """Return two matrices with as many columns each, such as the factors of a product U Vᵀ."""
    U, V = matrix(first, U), matrix(second, V)
    if U.shape[1] != V.shape[1]:
        raise ValueError(f"{first} and {second} must have as many columns: {U.shape}, {V.shape}")
    return U, V


def factors(U0, V0, m, n):
    """Return the factors U0 (m, k) and V0 (n, k) of an m × n matrix U0 V0ᵀ."""
    U0, V0 = same_columns(U0, V0, "U0", "V0")
    if (len(U0), len(V0)) != (m, n):
        raise ValueError(f"U0 and V0 must have {m} and {n} rows, got {len(U0)} and {len(V0)}")
    return U0, V0


def shaped(name, value, shape, of):
    """Return `value` as finite numbers of the shape of `of`, an argument or another thing."""
    array = finite_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {shape} of {of}, got {array.shape}")
    return array
