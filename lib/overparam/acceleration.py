r"""Descent with and without depth in the p-norm (chapter "Acceleration by depth").

Letters: w is the end-to-end vector of a network with one output, L = `depth` its number of
layers, :math:`\eta` the step. The two-dimensional family has the inputs :math:`e_1,e_2` and the
targets :math:`(R,1)`, with the loss :math:`\tfrac1p\sum_i|w_i-y_i|^p`. Regressions on N rows of
data carry :math:`\tfrac1{pN}\sum_i|x_i^\top w-y_i|^p`, so that a step means the same for any
number of rows.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from overparam import _check, flow, losses, networks

ADAGRAD, ADADELTA = "adagrad", "adadelta"
COPIES = 8  # of a run, from starts that differ in their last bits


# The two-dimensional family


def precondition(w: ArrayLike, gradient: ArrayLike, depth: int) -> np.ndarray:
    r"""Return :math:`\|w\|^{2-2/L}\big(g+(L-1)\,\mathrm{Pr}_wg\big)` for each column.

    What L = `depth` balanced layers with one output make of the gradient g; the single-output
    case of `preconditioner.apply` (Arora, Cohen, Hazan 2018). At w = 0 it is 0 for L > 1.

    Parameters
    ----------
    w, gradient : arrays of one shape (d,) or (d, c)
        In the second case c independent vectors, one a column.
    depth : int

    Examples
    --------
    >>> precondition([1.0, 0.0], [-1.0, -1.0], depth=2)
    array([-2., -1.])
    """
    w, depth = _check.finite_array("w", w), _check.count("depth", depth)
    gradient = _check.finite_array("gradient", gradient)
    if gradient.shape != w.shape:
        raise ValueError(f"gradient must have the shape {w.shape} of w, got {gradient.shape}")
    return _precondition(w, gradient, depth)


def _precondition(w, gradient, depth):
    if depth == 1:
        return gradient.copy()
    norm = np.linalg.norm(w, axis=0)
    unit = np.divide(w, norm, out=np.zeros_like(w), where=norm > 0)
    along = np.sum(unit * gradient, axis=0)
    return norm ** (2 - 2 / depth) * (gradient + (depth - 1) * unit * along)


def recursion(loss, start: ArrayLike, depth: int, step: float, n_steps: int, **options):
    r"""Iterate :math:`w\leftarrow w-\eta\,\|w\|^{2-2/L}(\nabla f+(L-1)\mathrm{Pr}_w\nabla f)`.

    The "discrete version of the end-to-end dynamics" (Cohen 2019, "Acceleration by
    Depth") for one output: `start` is a column (d, 1). Options as for `flow.gradient_descent`,
    which also describes the result, a `Trajectory`. It is not descent on the layers: see `layers`.

    Examples
    --------
    >>> start, step = jump(4, 10.0, depth=2)
    >>> path = recursion(two_targets(4, 10.0), [[start], [0.0]], 2, step, 2)
    >>> path.final.round(3).T
    array([[10.001,  1.   ]])
    """
    start, depth = _check.matrix("start", start), _check.count("depth", depth)
    return flow.gradient_descent(
        lambda w: _precondition(w, loss.gradient(w), depth), start, step, n_steps, **options
    )


def two_targets(p: float, R: float) -> losses.Loss:
    r"""Return the loss :math:`\tfrac1p(|w_1-R|^p+|w_2-1|^p)` of a column w."""
    R = _check.number("R", R, 1)
    return losses.lp_regression(np.eye(2), [[R], [1.0]], p)


def layers(start: float, depth: int) -> list[np.ndarray]:
    """Return balanced layers of width 1 with the product (`start`, 0): for `layer_descent`."""
    start = _check.number("start", start, 0, strict=True)
    return networks.balanced([[start], [0.0]], [1] * (_check.count("depth", depth) - 1))


def plain_iterations(
    p: float, R: float, steps: ArrayLike, target: float = 1e-3, limit: int = 100_000
) -> np.ndarray:
    r"""Return how many steps of plain descent from 0 bring the loss of the family to `target`.

    One number for each of the `steps`; inf for a run that has not arrived after `limit` steps,
    which includes all with :math:`\eta\ge2/R^{p-2}` (theorem in the chapter).

    Examples
    --------
    >>> plain_iterations(4, 10.0, [0.01, 0.03], limit=2000)
    array([739.,  inf])
    """
    R = _check.number("R", R, 1)
    # losses_along takes the mean of two rows: half the loss, and twice the step.
    steps, stop = 2 * _check.finite_array("steps", steps, ndim=1), _arrived(np.max, target / 2)
    path = losses_along(np.eye(2), [R, 1.0], p, 1, steps, limit, np.zeros(2), stop)
    return iterations_to(path, target / 2)


def plain_lower_bound(p: float, R: float, target: float = 1e-3, start: float = 0.0) -> float:
    r"""Return :math:`\tfrac12(1-\delta)(R-\epsilon)^{p-2}`, :math:`\delta=(p\cdot target)^{1/p}`.

    No step brings plain descent from :math:`(\epsilon,0)`, :math:`\epsilon` = `start` < R, to a
    loss of at most `target` in this many iterations or fewer (theorem in the chapter; p > 2).
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

    Raises
    ------
    ValueError
        For depth 1, p ≤ 2, or an R too small for such a start below R/2.
    """
    p, R, depth = _jump_arguments(p, R, depth)
    power = 2 - 2 / depth

    def share(start):  # w_2 after the first step
        return 1 / (depth * (R - start) ** (p - 2))

    def reach(start):
        s = share(start)
        turn = 1 + (depth - 1) * s**2 / (R**2 + s**2)
        return s / start**power * (R**2 + s**2) ** (power / 2) * (1 - s) ** (p - 2) * turn

    start = _where_one(reach, R)
    return start, share(start) / start**power


def layer_jump(p: float, R: float, depth: int) -> tuple[float, float]:
    """Return (start, step) with which descent on the `depth` layers lands in two steps.

    As `jump`, for gradient descent on the balanced layers `layers(start, depth)` themselves: its
    first step hits R, its second brings the second coordinate to 1.
    """
    p, R, depth = _jump_arguments(p, R, depth)
    loss = two_targets(p, R)

    def step_for(start):
        # One layer is a = start^(1/L), its gradient a^(L-1) (R - start)^(p-1).
        scale = start ** (1 / depth)
        return (R ** (1 / depth) - scale) / (scale ** (depth - 1) * (R - start) ** (p - 1))

    def reach(start):
        path = networks.layer_descent(loss, layers(start, depth), step_for(start), 2)
        return networks.product(path.final)[1, 0]

    start = _where_one(reach, R)
    return start, step_for(start)


def _where_one(reach, R):
    """Return the start below R/2 at which `reach` is one; it falls from +∞ at zero."""
    from scipy.optimize import brentq

    high = np.log(R / 2)
    if not reach(R / 2) < 1:
        raise ValueError(f"R must be larger for a jump from below R/2 to exist, got {R:g}")
    low = high - 1
    while reach(np.exp(low)) < 1:
        low -= 1
    return np.exp(brentq(lambda x: np.log(reach(np.exp(x))), low, high, xtol=1e-15, rtol=1e-15))


def _jump_arguments(p, R, depth):
    p, R = _check.number("p", p, 2, strict=True), _check.number("R", R, 1, strict=True)
    return p, R, _check.count("depth", depth, 2)


# Regression in the p-norm: the minimum, and many runs at once


def minimize(X: ArrayLike, y: ArrayLike, p: float) -> tuple[np.ndarray, float]:
    r"""Return (w, f(w)) at the minimum of :math:`f(w)=\tfrac1{pN}\sum_i|x_i^\top w-y_i|^p`.

    Least squares for p = 2; otherwise the convex problem is solved by Newton's method in a trust
    region (scipy), from the least-squares solution.

    Raises
    ------
    RuntimeError
        If the Newton decrement, half of :math:`g^\top H^{-1}g`, is not below 1e-9 of the loss,
        so that the value could not be trusted as the minimum.
    """
    from scipy import optimize

    X, y, p = _data(X, y, p)
    w = np.linalg.lstsq(X, y, rcond=None)[0]
    if p == 2:
        return w, np.mean((X @ w - y) ** 2) / 2
    # In the coordinates of an orthonormal basis the trust region is a ball that fits the data.
    left, singular, right = np.linalg.svd(X, full_matrices=False)
    keep = singular > max(X.shape) * np.finfo(float).eps * singular[0]
    Q, basis = left[:, keep], right[keep].T / singular[keep]
    v = Q.T @ y
    scale = np.mean(np.abs(Q @ v - y) ** p) / p
    if scale <= 1e-14**p * np.mean(np.abs(y) ** p):
        return w, scale

    def value(v):
        return np.mean(np.abs(Q @ v - y) ** p) / (p * scale)

    def gradient(v):
        return Q.T @ _power(Q @ v - y, p - 1) / (len(y) * scale)

    def hessian(v):
        return (p - 1) * (Q.T * np.abs(Q @ v - y) ** (p - 2)) @ Q / (len(y) * scale)

    found = optimize.minimize(
        value, v, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-12}
    )
    g, H = gradient(found.x), hessian(found.x)
    decrement = 0.5 * g @ np.linalg.lstsq(H, g, rcond=None)[0]
    if not decrement <= 1e-9 * found.fun:
        raise RuntimeError(f"the minimum was not found: {found.message} (p = {p:g})")
    return basis @ found.x, scale * found.fun


def losses_along(
    X: ArrayLike, y: ArrayLike, p: float, method: int | str, steps: ArrayLike, n_steps: int,
    start: ArrayLike, stop=None,
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
    stop : callable, optional
        Given the least losses so far, shape (c,), says whether to end.

    Returns
    -------
    ndarray, shape (n + 1, c)
        n ≤ `n_steps`. A run whose loss exceeds 1000 times its first is given up as diverged,
        with NaN from there on.

    Notes
    -----
    The runs are the rows of two matrix products an iteration.
    """
    X, y, p = _data(X, y, p)
    steps = _check.finite_array("steps", steps, ndim=1)
    if np.any(steps <= 0):
        raise ValueError(f"steps must be positive, got {steps.min():g}")
    n_steps, w = _check.count("n_steps", n_steps, 0), _check.finite_array("start", start)
    columns = (X.shape[1], len(steps))
    if w.shape not in (columns[:1], columns) or (method != 1 and not np.any(w, axis=0).all()):
        wanted = f"{columns[0]} entries, or a column of them for each step, and not be zero"
        raise ValueError(f"start must have {wanted} (but for depth 1), got shape {w.shape}")
    w = np.array(np.broadcast_to(w.reshape(len(w), -1), columns).T)  # a run is a row
    state, update = _METHODS.get(method, _layered)(w, method)
    result = np.full((n_steps + 1, len(steps)), np.nan)
    least = np.full(len(steps), np.inf)
    running, XT = np.arange(len(steps)), np.ascontiguousarray(X.T)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(n_steps + 1):
            r = state["w"] @ XT - y
            power = r if p == 2 else _power(r, p - 1)
            value = np.einsum("ij,ij->i", power, r) / (p * len(y))
            alive = value <= 1e3 * result[0, running] if k else np.isfinite(value)
            if not alive.all():
                running, steps = running[alive], steps[alive]
                power, value = power[alive], value[alive]
                state = {name: array[alive] for name, array in state.items()}
            result[k, running] = value
            least[running] = np.minimum(least[running], value)
            if not running.size or (stop is not None and stop(least)):
                return result[: k + 1]
            update(state, power @ X / len(y), steps[:, None])
    return result


def iterations_to(losses: ArrayLike, target: float) -> np.ndarray:
    """Return for each column of `losses` the first iteration with at most `target`, or inf.

    `losses` has the shape (n, c); NaN, as `losses_along` gives them, never count as reached.
    """
    reached = np.asarray(losses, dtype=float) <= target
    return np.where(reached.any(axis=0), reached.argmax(axis=0), np.inf)


def rounding_counts(
    X: ArrayLike, y: ArrayLike, p: float, method: int | str, step: float, start: ArrayLike,
    target: float, n_steps: int = 20_000,
) -> np.ndarray:
    r"""Return the iterations to `target` of `COPIES` runs that only roundings tell apart.

    Their starts are :math:`(1+j\,2^{-48})\,w_0`. Descent at nearly the largest stable step can
    be chaotic at first, and then the numbers differ: none of them is a property of the method.
    inf for a run that has not arrived in `n_steps`. Arguments as in `losses_along`.
    """
    start = _check.finite_array("start", start, ndim=1)
    starts = np.outer(start, 1 + np.arange(COPIES) * 2.0**-48)
    stop = _arrived(np.max, target)
    path = losses_along(X, y, p, method, [step] * COPIES, n_steps, starts, stop)
    return iterations_to(path, target)


def _arrived(reduce, target):
    return lambda least: reduce(least) <= target


def race(
    X: ArrayLike, y: ArrayLike, p: float, grids: dict, start: ArrayLike,
    share: float = 1e-3, n_steps: int = 20_000,
) -> dict[int | str, tuple[int, float]]:
    r"""Return ``{method: (iterations, best step)}``, every method at its best step of a grid.

    Iterations until :math:`f-f^*\le share\cdot(f(0)-f^*)`. `grids` maps methods (as in
    `losses_along`) to the steps to try; a method ends when its fastest run arrives, since no
    other can then be faster. A step counts only if its number of iterations is the method's and
    not an accident of rounding: the `rounding_counts` agree to 3 %, and their median is given.

    Raises
    ------
    RuntimeError
        If no such run of a method arrives.
    """
    target = excess_target(X, y, p, share)
    result = {}
    for method, steps in grids.items():
        steps = np.array(steps, dtype=float)
        while method not in result:
            if not steps.size:
                raise RuntimeError(f"{method!r} arrives at no step whose count is no accident")
            first = losses_along(X, y, p, method, steps, n_steps, start, _arrived(np.min, target))
            count = iterations_to(first, target)
            best = int(count.argmin())
            if np.isinf(count[best]):
                raise RuntimeError(f"no step of {method!r} arrived in {n_steps} iterations")
            limit = 2 * int(count[best]) + 1
            counts = rounding_counts(X, y, p, method, steps[best], start, target, limit)
            if counts.max() <= 1.03 * counts.min() < np.inf:
                result[method] = int(np.median(counts)), float(steps[best])
            steps = np.delete(steps, best)
    return result


def excess_target(X: ArrayLike, y: ArrayLike, p: float, share: float) -> float:
    r"""Return :math:`f^*+share\cdot(f(0)-f^*)`, the loss at which a run counts as arrived."""
    share = _check.number("share", share, 0, strict=True)
    minimum = minimize(X, y, p)[1]
    return minimum + share * (np.mean(np.abs(y) ** p) / p - minimum)


def _layered(w, depth):
    """Return state and update of descent on `depth` layers: u (c, d) and depth - 1 numbers."""
    if isinstance(depth, str):
        raise ValueError(f"method must be a depth, 'adagrad' or 'adadelta', got {depth!r}")
    depth = _check.count("method", depth)
    scale = np.linalg.norm(w, axis=1, keepdims=True) ** (1 / depth)
    state = {"w": w, "u": w / scale ** (depth - 1), "s": np.tile(scale, depth - 1)}

    def update(state, G, steps):
        u, s = state["u"], state["s"]
        along = np.einsum("ij,ij->i", u, G)
        by_s = [along * np.prod(np.delete(s, j, axis=1), axis=1) for j in range(depth - 1)]
        u -= G * (steps * np.prod(s, axis=1, keepdims=True))
        for j in range(depth - 1):
            s[:, j] -= steps[:, 0] * by_s[j]
        state["w"] = u * np.prod(s, axis=1, keepdims=True)

    return state, update


def _adagrad(w, _):
    state = {"w": w, "squares": np.zeros_like(w)}

    def update(state, G, steps):
        state["squares"] += G * G
        state["w"] -= steps * G / (np.sqrt(state["squares"]) + 1e-10)

    return state, update


def _adadelta(w, _, decay=0.95, constant=1e-6):
    state = {"w": w, "squares": np.zeros_like(w), "moves": np.zeros_like(w)}

    def update(state, G, steps):
        squares, moves = state["squares"], state["moves"]
        squares += (1 - decay) * (G * G - squares)
        move = np.sqrt((moves + constant) / (squares + constant)) * G
        moves += (1 - decay) * (move * move - moves)
        state["w"] -= steps * move

    return state, update


_METHODS = {ADAGRAD: _adagrad, ADADELTA: _adadelta}


def _power(r, q):
    """Return sign(r)|r|^q; by multiplications where q is 3, which is ten times as fast."""
    return r * r * r if q == 3 else np.sign(r) * np.abs(r) ** q


def _data(X, y, p):
    X, y = _check.matrix("X", X), _check.finite_array("y", y, ndim=1)
    if len(X) != len(y):
        raise ValueError(f"X and y must have as many rows, got {len(X)} and {len(y)}")
    if not np.any(X):
        raise ValueError("X is zero: there is nothing to learn from it")
    return X, y, _check.number("p", p, 2)


# Data


def standardize(X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return X and y with every column of mean 0 and standard deviation 1; constants become 0."""
    X, y = _check.matrix("X", X), _check.finite_array("y", y, ndim=1)
    return _centred(X), _centred(y)


def _centred(columns):
    shifted = columns - columns.mean(axis=0)
    spread = shifted.std(axis=0)
    constant = spread <= 1e-12 * np.abs(columns).max(axis=0)
    return shifted / np.where(constant, np.inf, spread)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Return (X, y), standardized: 442 patients × 10, which comes with scikit-learn."""
    from sklearn.datasets import load_diabetes

    return standardize(*load_diabetes(return_X_y=True))


def sensor_like(rng: np.random.Generator, n_rows=2565, n_columns=128, condition=100.0, noise=0.5):
    """Return made (X, y), standardized, of the size of the sensor-array data.

    Normal rows whose principal axes point anywhere and have standard deviations falling
    geometrically from 1 to 1 / `condition`; y is a random linear function of them with standard
    deviation 1, plus normal noise of standard deviation `noise`.
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
    """
    from sklearn.datasets import load_svmlight_file

    gas, source = _check.count("gas", gas), Path(source)
    files = sorted(source.glob("batch*.dat")) if source.is_dir() else [source]
    if not files or not source.exists():
        cure = "unpack UCI's data set 270 there, or use sensor_like(rng), which is similar"
        raise ValueError(f"source has no file of the data (batch1.dat …): {source}; {cure}")
    lines = [line for file in files for line in file.read_text().splitlines() if line.strip()]
    rows = [line.partition(";")[2] for line in lines if line.startswith(f"{gas};")]
    if not rows:
        raise ValueError(f"source has no line `{gas};…`, so nothing of gas {gas}")
    try:
        X, y = load_svmlight_file(BytesIO("\n".join(rows).encode()), zero_based=False)
    except ValueError as error:
        raise ValueError(f"source has a line that cannot be read: {error}") from None
    # The reader takes what a line leaves out for zero; in this set such a line is torn.
    if any(row.count(":") != X.shape[1] for row in rows):
        raise ValueError("source has lines with different numbers of features")
    return standardize(X.toarray(), y)
