r"""Descent with and without depth in the p-norm (chapter "Acceleration by depth").

Letters: w is the end-to-end vector of a network with one output, L = `depth` its number of
layers, :math:`\eta` the step. The two-dimensional family has the inputs :math:`e_1,e_2` and the
targets :math:`(R,1)`, with the loss :math:`\tfrac1p\sum_i|w_i-y_i|^p`. Regressions on N rows of
data carry :math:`\tfrac1{pN}\sum_i|x_i^\top w-y_i|^p`, so that a step means the same for any
number of rows. The end-to-end recursion is `preconditioner.end_to_end_descent`.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, losses, networks

# The two-dimensional family


def two_targets(p: float, R: float) -> losses.Loss:
    r"""Return the loss :math:`\tfrac1p(|w_1-R|^p+|w_2-1|^p)` of a column w.

    Examples
    --------
    >>> float(two_targets(4, 4.0).value(np.ones((2, 1))))  # 3⁴/4
    20.25
    """
    R = _check.number("R", R, 1)
    return losses.lp_regression(np.eye(2), [[R], [1.0]], p)


def plain_iterations(
    p: float, R: float, steps: ArrayLike, target: float = 1e-3, limit: int = 100_000
) -> np.ndarray:
    r"""Return how many steps of plain descent from 0 bring the loss of the family to `target`.

    One number for each of the `steps`; inf for a run that has not arrived after `limit` steps,
    which includes all with :math:`\eta\ge2/R^{p-2}` (theorem in the chapter).

    Parameters
    ----------
    p, R : floats
        Of the family, as in `two_targets`.
    steps : vector
        Step sizes, positive.
    target : float
        The loss to reach.
    limit : int
        The largest number of steps.

    Examples
    --------
    >>> plain_iterations(4, 10.0, [0.01, 0.03], limit=2000)
    array([739.,  inf])
    """
    p, R = _check.number("p", p, 2), _check.number("R", R, 1)
    steps = _check.positive("steps", steps, ndim=1)
    r = np.outer([R, 1.0], np.ones(len(steps)))  # what is left of each coordinate
    count = np.full(len(steps), np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(limit + 1):
            slope = np.abs(r) ** (p - 2)
            arrived = np.sum(r * r * slope, axis=0) <= p * target
            count[arrived & np.isinf(count)] = j
            if np.all(np.isfinite(count) | ~np.isfinite(r[0])):  # arrived or blown up
                break
            r *= 1 - steps * slope
    return count


def plain_lower_bound(p: float, R: float, target: float = 1e-3, start: float = 0.0) -> float:
    r"""Return :math:`\tfrac12(1-\delta)(R-\epsilon)^{p-2}`, :math:`\delta=(p\cdot target)^{1/p}`.

    No step brings plain descent from :math:`(\epsilon,0)`, :math:`\epsilon` = `start` < R, to a
    loss of at most `target` in this many iterations or fewer (theorem in the chapter; p > 2).

    Parameters
    ----------
    p, R : floats
        Of the family, as in `two_targets`, with p > 2.
    target : float
        The loss to reach.
    start : float
        First coordinate of the start, from 0 to below R.

    Examples
    --------
    >>> round(plain_lower_bound(4, 20.0), 1)  # the best of many steps needs 1696
    149.7
    """
    p, R = _check.number("p", p, 2), _check.number("R", R, 1)
    start, target = _check.number("start", start, 0), _check.number("target", target, 0)
    if start >= R:
        raise ValueError(f"start must lie below R = {R:g}, got {start:g}")
    return max(1 - (p * target) ** (1 / p), 0.0) * (R - start) ** (p - 2) / 2


def jump(p: float, R: float, depth: int) -> tuple[float, float]:
    r"""Return (start, step) with which the recursion lands in two steps.

    From :math:`(\epsilon,0)` the first step hits :math:`w_1=R` exactly and the second
    :math:`w_2=1` exactly; what is left is :math:`0\le w_1-R\le(L-1)s/R` with
    :math:`s=\tfrac1{L(R-\epsilon)^{p-2}}` (Cohen 2019, "Acceleration by Depth").

    Parameters
    ----------
    p, R : floats
        Of the family, as in `two_targets`, with p > 2.
    depth : int
        L of at least 2.

    Raises
    ------
    ValueError
        For depth 1, p ≤ 2, or an R too small for such a start below R/2.

    Examples
    --------
    >>> [round(float(number), 3) for number in jump(4, 20.0, 2)]
    [0.025, 0.05]
    """
    p, R, depth = _jump_arguments(p, R, depth)
    power = 2 - 2 / depth

    def plan(start):
        s = 1 / (depth * (R - start) ** (p - 2))  # w_2 after the first step
        step, square = s / start**power, R**2 + s**2
        turn = 1 + (depth - 1) * s**2 / square
        return step, step * square ** (power / 2) * (1 - s) ** (p - 2) * turn

    return _where_one(plan, R)


def layer_jump(p: float, R: float, depth: int) -> tuple[float, float]:
    """Return (start, step) with which descent on the `depth` layers lands in two steps.

    As `jump`, for gradient descent on the balanced layers of width 1 with the product (start, 0):
    its first step hits R, its second brings the second coordinate to 1.

    Parameters
    ----------
    p, R, depth
        As for `jump`.

    Examples
    --------
    >>> start, step = layer_jump(4, 20.0, 2)
    >>> layers = networks.balanced([[start], [0.0]], [1])
    >>> path = networks.layer_descent(two_targets(4, 20.0), layers, step, 2)
    >>> [networks.product(W).round(3).ravel().tolist() for W in path][1:]
    [[20.0, 0.002], [20.0, 1.0]]
    """
    p, R, depth = _jump_arguments(p, R, depth)
    loss, hidden = two_targets(p, R), [1] * (depth - 1)

    def plan(start):
        # One layer is a = start^(1/L), its gradient a^(L-1) (R - start)^(p-1).
        a = start ** (1 / depth)
        step = (R ** (1 / depth) - a) / (a ** (depth - 1) * (R - start) ** (p - 1))
        layers = networks.balanced([[start], [0.0]], hidden)
        path = networks.layer_descent(loss, layers, step, 2)
        return step, networks.product(path.final)[1, 0]

    return _where_one(plan, R)


def _where_one(plan, R):
    """Return the start below R/2, and its step, at which the plan (step, reach) reaches one.

    The reach falls from +∞ at zero.
    """
    from scipy.optimize import brentq

    def excess(log_start):
        return np.log(plan(np.exp(log_start))[1])

    high = np.log(R / 2)
    if not excess(high) < 0:
        raise ValueError(f"R must be larger for a jump from below R/2 to exist, got {R:g}")
    low = high - 1
    while excess(low) < 0:
        low -= 1
    start = np.exp(brentq(excess, low, high, xtol=1e-15, rtol=1e-15))
    return start, plan(start)[0]


def _jump_arguments(p, R, depth):
    p, R = _check.number("p", p, 2, strict=True), _check.number("R", R, 1, strict=True)
    return p, R, _check.count("depth", depth, 2)


# Regression in the p-norm: the minimum, and many runs at once


def minimize(X: ArrayLike, y: ArrayLike, p: float) -> tuple[np.ndarray, float]:
    r"""Return (w, f(w)) at the minimum of :math:`f(w)=\tfrac1{pN}\sum_i|x_i^\top w-y_i|^p`.

    Newton's method from the least-squares solution, with halved steps where a whole one does not
    descend. Newton's move is the solution of a weighted least-squares problem, so that columns
    may depend on each other.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    p : float
        The power of the loss.

    Raises
    ------
    RuntimeError
        If the Newton decrement, half of :math:`g^\top H^{-1}g`, does not come below 1e-12 of the
        loss, so that the value could not be trusted as the minimum.

    Examples
    --------
    >>> w, value = minimize([[1.0], [1.0], [1.0]], [0.0, 0.0, 3.0], p=2)
    >>> w.round(6), round(value, 6)
    (array([1.]), 1.0)
    """
    (X, y), p = _check.data(X, y), _check.number("p", p, 2)

    def f(w):
        return np.mean(np.abs(X @ w - y) ** p) / p

    w = np.linalg.lstsq(X, y, rcond=None)[0]
    fitted = 1e-14**p * f(0 * w)
    for _ in range(100):
        r, now = X @ w - y, f(w)
        root = np.abs(r) ** (p / 2 - 1)
        move = np.linalg.lstsq(root[:, None] * X, root * r, rcond=None)[0] / (p - 1)
        if now <= fitted or np.mean(root**2 * r * (X @ move)) / 2 <= 1e-12 * now:
            return w, float(now)
        while f(w - move) > now and np.any(w - move != w):
            move = move / 2
        w = w - move
    raise RuntimeError(f"the minimum was not found: 100 Newton steps were not enough (p = {p:g})")


def losses_along(
    X: ArrayLike, y: ArrayLike, p: float, method: int | str, steps: ArrayLike, n_steps: int,
    start: ArrayLike, target: float | None = None,
) -> np.ndarray:
    r"""Run one method with many steps at once; return the losses.

    Parameters
    ----------
    X, y : arrays of shapes (N, d) and (N,)
        The loss is :math:`\tfrac1{pN}\sum_i|x_i^\top w-y_i|^p`.
    p : float, at least 2
    method : int or str
        A depth: gradient descent on that many layers of width 1, balanced at the start (1 is
        plain descent). "adagrad" (Duchi, Hazan, Singer 2011) or "adadelta" (Zeiler 2012, decay
        0.95, constant 1e-6): plain w; the step multiplies the update.
    steps : array of c positive numbers
    n_steps : int
    start : array of shape (d,) or (d, c)
        The end-to-end vector at the start, or one for each run; zero for plain descent only.
    target : float, optional
        The runs end together as soon as the loss of one of them is at most this.

    Returns
    -------
    ndarray, shape (n + 1, c)
        n ≤ `n_steps`. A run whose loss exceeds 1000 times its first is given up as diverged,
        with NaN from there on.

    Notes
    -----
    The runs are the rows of two matrix products an iteration.

    Examples
    --------
    >>> losses_along([[1.0]], [1.0], 2, 1, [0.5, 1.0], 2, [0.0]).round(3)
    array([[0.5  , 0.5  ],
           [0.125, 0.   ],
           [0.031, 0.   ]])
    """
    (X, y), p = _check.data(X, y), _check.number("p", p, 2)
    steps, n_steps = _check.positive("steps", steps, 1), _check.count("n_steps", n_steps, 0)
    w = _check.finite_array("start", start)
    columns = (X.shape[1], len(steps))
    if w.shape not in (columns[:1], columns) or (method != 1 and not np.any(w, axis=0).all()):
        wanted = f"{columns[0]} entries, or a column of them for each step, and not be zero"
        raise ValueError(f"start must have {wanted} (but for depth 1), got shape {w.shape}")
    w = np.array(np.broadcast_to(w.reshape(len(w), -1), columns).T)  # a run is a row
    state, update = _begin(w, method)
    result = np.full((n_steps + 1, len(steps)), np.nan)
    running, XT = np.arange(len(steps)), np.ascontiguousarray(X.T)
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(n_steps + 1):
            r = state[0] @ XT - y
            power = r * np.abs(r) ** (p - 2)
            value = np.vecdot(power, r) / (p * len(y))
            alive = value <= 1e3 * result[0, running] if j else np.isfinite(value)
            if not alive.all():
                running, steps = running[alive], steps[alive]
                power, value = power[alive], value[alive]
                state = [part[alive] for part in state]
            result[j, running] = value
            if not running.size or (target is not None and value.min() <= target):
                return result[: j + 1]
            state = update(*state, power @ X / len(y), steps[:, None])
    return result


def iterations_to(losses: ArrayLike, target: float) -> np.ndarray:
    """Return for each column of `losses` the first iteration with at most `target`, or inf.

    `losses` has the shape (n, c); NaN, as `losses_along` gives them, never count as reached.

    Examples
    --------
    >>> iterations_to([[3.0, 9.0], [1.0, 8.0]], 2.0)
    array([ 1., inf])
    """
    reached = np.asarray(losses, dtype=float) <= _check.number("target", target)
    return np.where(reached.any(axis=0), reached.argmax(axis=0), np.inf)


def rounding_counts(
    X: ArrayLike, y: ArrayLike, p: float, method: int | str, step: float, start: ArrayLike,
    target: float, n_steps: int, copies: int = 8,
) -> np.ndarray:
    r"""Return the iterations to `target` of some `copies` of a run that only roundings tell apart.

    Their starts are :math:`(1+j\,2^{-48})\,w_0`. Descent at nearly the largest stable step can
    be chaotic at first, and then the numbers differ: none of them is a property of the method.
    inf for a run that has not arrived in `n_steps`. Arguments as in `losses_along`.

    Parameters
    ----------
    X, y, p, method, step, start
        As in `losses_along`, with one step.
    target : float
        The loss to reach.
    n_steps : int
        The largest number of iterations.
    copies : int
        How many runs.

    Examples
    --------
    >>> rounding_counts([[1.0]], [1.0], 2, 1, 0.5, [0.1], 1e-3, 20, copies=3)  # none of the digits
    array([5., 5., 5.])
    """
    starts = np.outer(_check.finite_array("start", start), 1 + np.arange(copies) * 2.0**-48)
    path = losses_along(X, y, p, method, [step] * copies, n_steps, starts)
    return iterations_to(path, target)


def race(
    X: ArrayLike, y: ArrayLike, p: float, grids: dict, start: ArrayLike,
    share: float = 1e-3, n_steps: int = 20_000,
) -> dict[int | str, tuple[int, float]]:
    r"""Return ``{method: (iterations, best step)}``, every method at its best step of a grid.

    Iterations until :math:`f-f^*\le share\cdot(f(0)-f^*)`. `grids` maps methods (as in
    `losses_along`) to the steps to try; a method ends when its fastest run arrives, since no
    other can then be faster. A step counts only if its number of iterations is the method's and
    not an accident of rounding: the `rounding_counts` of three copies agree to 3 %, and their
    median is given.

    Parameters
    ----------
    X, y, p, start
        As in `losses_along`.
    grids : dict
        From methods to vectors of steps.
    share : float
        How much of the first excess of the loss may be left.
    n_steps : int
        The largest number of iterations.

    Raises
    ------
    RuntimeError
        If no such run of a method arrives.

    Examples
    --------
    >>> race([[1.0]], [1.0], 2, {1: [0.1, 0.5], 2: [0.1, 0.5]}, [0.1])
    {1: (5, 0.5), 2: (5, 0.5)}
    """
    target, result = excess_target(X, y, p, share), {}
    for method, steps in grids.items():
        steps = list(steps)
        while method not in result:
            if not steps:
                raise RuntimeError(f"{method!r} arrives at no step whose count is no accident")
            path = losses_along(X, y, p, method, steps, n_steps, start, target)
            count = iterations_to(path, target)
            fastest = int(count.argmin())
            if np.isinf(count[fastest]):
                raise RuntimeError(f"no step of {method!r} arrived in {n_steps} iterations")
            step, limit = float(steps.pop(fastest)), int(1.05 * count[fastest]) + 1
            counts = rounding_counts(X, y, p, method, step, start, target, limit, copies=3)
            if counts.max() <= 1.03 * counts.min() < np.inf:
                result[method] = int(np.median(counts)), step
    return result


def excess_target(X: ArrayLike, y: ArrayLike, p: float, share: float) -> float:
    r"""Return :math:`f^*+share\cdot(f(0)-f^*)`, the loss at which a run counts as arrived.

    Parameters
    ----------
    X, y, p
        As for `minimize`.
    share : float
        How much of the first excess may be left.

    Examples
    --------
    >>> round(excess_target([[1.0], [1.0]], [0.0, 2.0], 2, 0.1), 6)  # from 1 down to 1/2
    0.55
    """
    share = _check.number("share", share, 0, strict=True)
    minimum = minimize(X, y, p)[1]
    return float(minimum + share * (np.mean(np.abs(y) ** p) / p - minimum))


def _begin(w, method):
    """Return the state of a method at w, a tuple that begins with w, and its update."""
    if method == "adagrad":
        return (w, 0 * w), _adagrad
    if method == "adadelta":
        return (w, 0 * w, 0 * w), _adadelta
    if isinstance(method, str):
        raise ValueError(f"method must be a depth, 'adagrad' or 'adadelta', got {method!r}")
    depth = _check.count("method", method)
    s = np.linalg.norm(w, axis=1, keepdims=True) ** (1 / depth)
    return (w, w / s ** (depth - 1), s), partial(_layered, depth)


def _layered(depth, w, u, s, G, steps):
    """Descend on `depth` layers of width 1, balanced at the start.

    All but the first are one number each, and stay equal: w = s^(L-1) u with one s for each run.
    """
    along = np.sum(u * G, axis=1, keepdims=True)
    u, s = u - steps * G * s ** (depth - 1), s - steps * along * s ** max(depth - 2, 0)
    return u * s ** (depth - 1), u, s


def _adagrad(w, squares, G, steps):
    squares = squares + G * G
    return w - steps * G / (np.sqrt(squares) + 1e-10), squares


def _adadelta(w, squares, moves, G, steps, decay=0.95, constant=1e-6):
    squares = squares + (1 - decay) * (G * G - squares)
    move = np.sqrt((moves + constant) / (squares + constant)) * G
    return w - steps * move, squares, moves + (1 - decay) * (move * move - moves)


# Data


def standardize(X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return X and y with every column of mean 0 and standard deviation 1; constants become 0.

    Examples
    --------
    >>> X, y = standardize([[1.0, 7.0], [3.0, 7.0]], [0.0, 8.0])
    >>> X.tolist(), y.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [-1.0, 1.0])
    """
    X, y = _check.data(X, y)
    return _centred(X), _centred(y)


def _centred(columns):
    shifted = columns - columns.mean(axis=0)
    spread = shifted.std(axis=0)
    constant = spread <= 1e-12 * np.abs(columns).max(axis=0)
    return shifted / np.where(constant, np.inf, spread)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Return (X, y), standardized: 442 patients × 10, which comes with scikit-learn.

    Examples
    --------
    >>> X, y = diabetes()
    >>> X.shape, round(float(np.linalg.cond(X)))
    ((442, 10), 22)
    """
    from sklearn.datasets import load_diabetes

    return standardize(*load_diabetes(return_X_y=True))


def sensor_like(
    rng: np.random.Generator, n_rows: int = 2565, n_columns: int = 128,
    condition: float = 100.0, noise: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Return made (X, y), standardized, of the size of the sensor-array data.

    Normal rows whose principal axes point anywhere and have standard deviations falling
    geometrically from 1 to 1 / `condition`; y is a random linear function of them with standard
    deviation 1, plus normal noise of standard deviation `noise`.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_rows, n_columns : int
        Numbers of data and of columns.
    condition : float
        Ratio of the largest to the smallest standard deviation.
    noise : float
        Standard deviation of the noise of y, before it is standardized.

    Examples
    --------
    >>> X, y = sensor_like(np.random.default_rng(0), 300, 10)
    >>> X.shape, round(float(y.std()), 6)
    ((300, 10), 1.0)
    """
    _check.generator("rng", rng)
    n_columns = _check.count("n_columns", n_columns, 2)
    n_rows = _check.count("n_rows", n_rows, n_columns + 1)
    condition = _check.number("condition", condition, 1)
    noise = _check.number("noise", noise, 0)
    axes = np.linalg.qr(rng.standard_normal((n_columns, n_columns)))[0]
    spread = np.geomspace(1, 1 / condition, n_columns)
    X = (rng.standard_normal((n_rows, n_columns)) * spread) @ axes.T
    signal = X @ rng.standard_normal(n_columns)
    y = signal / signal.std() + noise * rng.standard_normal(n_rows)
    return standardize(X, y)


def sensor_array(source: str | Path, gas: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return (X, y), standardized: the real sensor-array data of the experiment, from its files.

    UCI data set 270, "Gas Sensor Array Drift at Different Concentrations"
    (https://archive.ics.uci.edu/dataset/270): 128 features and the concentration of one gas. Gas
    1, ethanol, should give 2565 × 128.

    Parameters
    ----------
    source : path
        A file of the set, or the folder with its batch1.dat … batch10.dat. Lines read
        ``gas;concentration 1:value 2:value …``.
    gas : int
        1 ethanol, 2 ethylene, 3 ammonia, 4 acetaldehyde, 5 acetone, 6 toluene.

    Raises
    ------
    ValueError
        If there is no such file, or it is not of this form, or has nothing of this gas.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "batch1.dat"
    >>> _ = file.write_text("1;10.0 1:5.0 2:1.0\\n2;99.0 1:0.0 2:0.0\\n1;30.0 1:7.0 2:2.0\\n")
    >>> sensor_array(file)[1].tolist()  # two readings of gas 1
    [-1.0, 1.0]
    """
    gas, source = _check.count("gas", gas), Path(source)
    files = sorted(source.glob("batch*.dat")) if source.is_dir() else [source]
    if not files or not source.exists():
        cure = "unpack UCI's data set 270 there, or use sensor_like(rng), which is similar"
        raise ValueError(f"source has no file of the data (batch1.dat …): {source}; {cure}")
    lines = [line for file in files for line in file.read_text().splitlines()]
    rows = [line.partition(";")[2] for line in lines if line.startswith(f"{gas};")]
    if not rows:
        raise ValueError(f"source has no line `{gas};…`, so nothing of gas {gas}")
    try:
        table = np.loadtxt([re.sub(r"\s\d+:", " ", row) for row in rows], ndmin=2)
    except ValueError as error:
        raise ValueError(f"source has a line that cannot be read: {error}") from None
    return standardize(table[:, 1:], table[:, 0])
