r"""Losses of the end-to-end matrix W, each with the constants that the theorems need.

A loss is a `Loss`; the functions below make the ones that the book uses. Each says its
normalization: :math:`\tfrac12` is there unless the source of a theorem leaves it out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check


@dataclass(frozen=True, eq=False)
class Loss:
    r"""A loss f of the end-to-end matrix W. Those made by this module can be pickled.

    Attributes
    ----------
    value, gradient : callable
        :math:`f(W)` and :math:`\nabla f(W)`; a W of another shape is refused.
    pl_constant : float or None
        The largest known :math:`\gamma` with :math:`\|\nabla f\|_F^2\ge\gamma\,(f-f^*)`.
    strong_convexity, smoothness : float or None
        :math:`\mu` and :math:`K` with :math:`\mu I\preceq\nabla^2f\preceq KI` everywhere.
    minimum : float or None
        :math:`f^*=\inf f`.

    A constant is None where none holds everywhere, or none is known in closed form.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import losses
    >>> loss = losses.squared_distance([[1.0, 2.0]])
    >>> print(f"{loss.value(np.zeros((1, 2))):.1f}", loss.gradient(np.zeros((1, 2))))
    2.5 [[-1. -2.]]
    """

    value: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], np.ndarray]
    pl_constant: float | None = None
    strong_convexity: float | None = None
    smoothness: float | None = None
    minimum: float | None = None
    _recipe: tuple | None = field(default=None, repr=False)  # the function that made it, its data

    def __reduce__(self):
        return self._recipe or super().__reduce__()


def squared_distance(Y: ArrayLike) -> Loss:
    r"""Matrix factorization: :math:`f(W)=\tfrac12\|Y-W\|_F^2`.

    Here :math:`\gamma=2` holds with equality (Mallada 2023, "Warm-up").

    Parameters
    ----------
    Y : array
        The target; W has its shape.

    Returns
    -------
    Loss

    Examples
    --------
    >>> from overparam import losses
    >>> loss = losses.squared_distance([[3.0]])
    >>> print(loss.pl_constant, loss.value([[1.0]]))
    2.0 2.0
    """
    Y = _check.finite_array("Y", Y)
    return _quadratic((squared_distance, (Y,)), lambda W: _shaped(Y.shape, W) - Y, lambda r: r, 0.5)


def regression(X: ArrayLike, Y: ArrayLike) -> Loss:
    r"""Linear regression: :math:`f(W)=\tfrac12\|Y-XW\|_F^2`.

    :math:`\gamma=2\sigma^2` with the least singular value of X that is not zero, so that it is
    positive also where f is not strongly convex (Mallada 2022, "Assumptions").

    Parameters
    ----------
    X : matrix, shape (N, n)
    Y : matrix, shape (N, m)

    Returns
    -------
    Loss
        Of W of shape (n, m).

    Examples
    --------
    >>> from overparam import losses
    >>> loss = losses.regression([[1.0], [1.0]], [[0.0], [2.0]])
    >>> print(f"{loss.minimum:.2f} {loss.pl_constant:.2f}")
    1.00 4.00
    """
    X, Y = _check.data(X, Y, "Y", 2)
    return _least_squares((regression, (X, Y)), "X", X, Y, 0.5, (X.shape[1], Y.shape[1]))


def lp_regression(X: ArrayLike, Y: ArrayLike, p: float) -> Loss:
    r"""Regression in the p-norm: :math:`f(W)=\tfrac1p\sum_{ij}|XW-Y|_{ij}^p`, :math:`p\ge2`.

    For p = 2 it is `regression`. The talk (Cohen 2019, "Acceleration by Depth") has
    1/N in place of 1/p, which only rescales time. For p > 2 no constant holds everywhere.

    Parameters
    ----------
    X : matrix, shape (N, n)
    Y : matrix, shape (N, m)
    p : float

    Returns
    -------
    Loss
        Of W of shape (n, m).

    Examples
    --------
    >>> from overparam import losses
    >>> print(losses.lp_regression([[2.0]], [[1.0]], 4).value([[1.0]]))
    0.25
    """
    (X, Y), p = _check.data(X, Y, "Y", 2), _check.number("p", p, 2)
    if p == 2:
        return regression(X, Y)
    residual = _residual(X, Y, (X.shape[1], Y.shape[1]))

    def gradient(W):
        r = residual(W)
        return X.T @ (np.sign(r) * np.abs(r) ** (p - 1))

    return Loss(
        value=lambda W: np.sum(np.abs(residual(W)) ** p) / p, gradient=gradient,
        strong_convexity=0.0, _recipe=(lp_regression, (X, Y, p)),
    )


def sensing(A: ArrayLike, y: ArrayLike) -> Loss:
    r"""Matrix sensing: :math:`f(W)=\sum_i(y_i-\langle A_i,W\rangle)^2`, without ½ as in the talks.

    :math:`\gamma=4\sigma^2` with the least singular value, not zero, of
    :math:`W\mapsto(\langle A_i,W\rangle)_i` (Mallada 2022, "Assumptions").

    Parameters
    ----------
    A : array, shape (N, n, m)
        One measurement matrix after another.
    y : array, shape (N,)

    Returns
    -------
    Loss
        Of W of shape (n, m).

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import losses
    >>> print(losses.sensing([np.eye(2)], [3.0]).value(np.eye(2)))
    1.0
    """
    A, y = _check.finite_array("A", A, ndim=3), _check.finite_array("y", y, ndim=1)
    _check.same_rows(A, y, "A")
    rows, column = A.reshape(len(A), -1), y[:, None]
    return _least_squares((sensing, (A, y)), "A", rows, column, 1.0, A.shape[1:])


def completion(rows: ArrayLike, cols: ArrayLike, values: ArrayLike, shape: Sequence[int]) -> Loss:
    r"""Matrix completion: the mean of :math:`(W_{ij}-v_{ij})^2` over the observed entries.

    Without ½, as in the experiments of Cohen 2019.

    Parameters
    ----------
    rows, cols : arrays of whole numbers of any type, shape (N,)
        The indices of the observed entries, each once.
    values : array, shape (N,)
    shape : pair of int
        The shape of W.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        For no observation, one outside `shape`, or an entry observed twice.

    Examples
    --------
    >>> from overparam import losses
    >>> loss = losses.completion([0, 1], [1, 0], [2.0, 3.0], (2, 2))
    >>> print(loss.gradient([[7.0, 2.0], [4.0, -9.0]]))
    [[0. 0.]
     [1. 0.]]
    """
    values = _check.finite_array("values", values, ndim=1)
    shape = tuple(_check.count("shape", size) for size in shape)
    place, size = _places(rows, cols, shape), np.prod(shape)
    if place.shape != values.shape:
        raise ValueError(f"values has {values.size} entries for {place.size} observed positions")

    def residual(W):
        return _shaped(shape, W).ravel()[place] - values  # thrice as fast as two indices

    def adjoint(r):
        return np.bincount(place, r, size).reshape(shape)

    recipe = (completion, (*np.unravel_index(place, shape), values, shape))
    return _quadratic(recipe, residual, adjoint, 1 / place.size, full=place.size == size)


def exponential(X: ArrayLike, y: ArrayLike) -> Loss:
    r"""Classification with the exponential loss: :math:`f(W)=\sum_i\exp(-y_i\,x_i^\top W)`.

    For separable data the infimum 0 is not attained, and :math:`\|\nabla f\|\ge\gamma f` with the
    margin :math:`\gamma` (Mallada 2022, "Conclusion") replaces the PL inequality.

    Parameters
    ----------
    X : matrix, shape (N, n)
    y : array, shape (N,)
        The labels, +1 or -1.

    Returns
    -------
    Loss
        Of W of shape (n, 1).

    Examples
    --------
    >>> from overparam import losses
    >>> losses.exponential([[1.0], [2.0]], [1, -1]).gradient([[0.0]])
    array([[1.]])
    """
    X, y = _check.data(X, y)
    if not np.all(np.abs(y) == 1):
        raise ValueError("y must hold labels +1 and -1 only")
    signed = X * y[:, None]

    def weights(W):
        return np.exp(-signed @ _shaped((X.shape[1], 1), W))

    recipe = (exponential, (X, y))
    return Loss(lambda W: np.sum(weights(W)), lambda W: -signed.T @ weights(W), _recipe=recipe)


def _residual(X, Y, shape):
    """Return the map from W of this shape, read as a matrix, to XW - Y."""
    return lambda W: X @ _shaped(shape, W).reshape(X.shape[1], -1) - Y


def _least_squares(recipe, name, X, Y, factor, shape):
    """Return the loss factor·‖XW - Y‖² of a W of this shape; the argument X is called `name`."""
    best, _, rank, singular = np.linalg.lstsq(X, Y, rcond=None)
    if not rank:
        raise ValueError(f"{name} is zero: there is nothing to learn from it")
    residual, minimum = _residual(X, Y, shape), factor * np.sum((X @ best - Y) ** 2)

    def adjoint(r):
        return (X.T @ r).reshape(shape)

    singular, full = singular[:rank], rank == X.shape[1]
    return _quadratic(recipe, residual, adjoint, factor, singular, full, minimum)


def _quadratic(recipe, residual, adjoint, factor, singular=(1.0,), full=True, minimum=0.0):
    """Return factor·‖residual‖², from the nonzero singular values of the residual's linear part."""
    curvature = 2 * factor * np.square(singular)
    return Loss(
        value=lambda W: factor * np.sum(residual(W) ** 2),
        gradient=lambda W: adjoint(2 * factor * residual(W)),
        pl_constant=2 * curvature[-1], strong_convexity=curvature[-1] if full else 0.0,
        smoothness=curvature[0], minimum=minimum, _recipe=recipe,
    )


def _shaped(shape, W):
    """Return W as an array. It may hold NaN: what diverges is reported by the flow."""
    W = np.asarray(W)
    if W.shape != shape or W.dtype.kind not in "fiu":
        raise ValueError(f"W must be a real array of shape {shape}, got {W.dtype} {W.shape}")
    return W


def _places(rows, cols, shape):
    """Return the observed positions as indices of the flattened matrix."""
    try:
        whole = [np.asarray(part).astype(np.intp, casting="same_kind") for part in (rows, cols)]
        place = np.ravel_multi_index(np.stack(whole), shape)
    except (TypeError, ValueError):
        raise ValueError(f"rows and cols must match and be whole, not outside {shape}") from None
    if np.unique(place).size < place.size:
        raise ValueError("rows and cols name a position twice; keep each observation once")
    return place
