r"""Gradient flow :math:`\dot w = -\nabla L(w)` and its discretization, gradient descent.

A state is an array, or a list of arrays (the layers of a network).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy import integrate
from scipy.interpolate import KroghInterpolator
from scipy.optimize import brentq

from overparam import _check

State = np.ndarray | list[np.ndarray]

END_OF_TIME, LOSS_REACHED = "end of time", "loss reached"
DIVERGED, NOT_A_NUMBER = "diverged", "gradient is NaN"

_WORDS = {
    DIVERGED: "DIVERGED after that: the numbers grew beyond all bounds",
    NOT_A_NUMBER: "then the gradient was NaN although the numbers were moderate; look at the loss",
    "step too small": "then no step was small enough: the gradient jumps there",
    "evaluations used up": "then the evaluations were used up: loosen rtol, which may be too small "
    "for the method, or take 'auto' if stability limits its steps, or raise max_evaluations",
}


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory:
    """The path of a flow or of descent. It can be compared (``==``) and pickled.

    Attributes
    ----------
    t : ndarray, shape (n,)
        Times of the stored states; step j of gradient descent has time j·step.
    states : ndarray of shape (n, ...) or list of such arrays
        The states at those times, as a list if the state is a list.
    reason : str
        Why the path ends: "end of time"; "loss reached" (the `stop` function came down to zero);
        "diverged" (the numbers grew beyond all bounds); "gradient is NaN" (at moderate numbers);
        "step too small" (the gradient jumps); "evaluations used up". Whatever it is, the states
        are the good ones before it.
    n_evaluations : int
        How often the gradient was computed.
    method : str
        What integrated it, with the times at which "auto" changed its mind.

    Examples
    --------
    >>> from overparam import gradient_flow
    >>> path = gradient_flow(lambda w: w, [1.0, 2.0], 1.0)
    >>> path.reason, path.method
    ('end of time', 'DOP853')
    >>> print(path.final.round(4), path(0.5).round(4))
    [0.3679 0.7358] [0.6065 1.2131]
    """

    t: np.ndarray
    reason: str
    n_evaluations: int
    method: str
    _layout: "_Layout"
    _path: tuple  # the flat states, as they were made: stacked they would need the memory twice
    _slopes: tuple | None = None  # the velocities there, for reading in between

    @property
    def states(self) -> State:
        """All stored states, time first."""
        return self[:]

    @property
    def final(self) -> State:
        """The last state, shaped like the start."""
        return self[-1]

    def __len__(self):
        return len(self.t)

    def __getitem__(self, index):
        return self._layout.unpack(np.asarray(self._path[index], dtype=float))

    def __eq__(self, other):
        return isinstance(other, Trajectory) and all(
            map(np.array_equal, vars(self).values(), vars(other).values())
        )

    def __call__(self, t: float | np.ndarray) -> State:
        """Return the state at time `t`; for an array of times, the states (time first).

        The gradient is not computed again. Between its steps a flow is read by the polynomial of
        degree eleven through states and gradients at the six nearest ends of steps, whose
        error is of the order of the integrator's; descent is read as the polygon through the
        stored iterates.

        Raises
        ------
        ValueError
            For a time outside the path, or between the stored ones if they were asked for.
        """
        times = _check.not_negative("t", t)
        if times.max() > self.t[-1]:
            raise ValueError(f"t must be ≤ {self.t[-1]:g} ({self.reason}), got {times.max():g}")
        found = np.array([self._read(time) for time in times.ravel()])
        return self._layout.unpack(found.reshape(*times.shape, -1))

    def _read(self, time):
        k = np.searchsorted(self.t, time)
        if self.t[k] == time:
            return self._path[k]
        if self.method == "descent":
            return KroghInterpolator(self.t[k - 1 : k + 1], self._path[k - 1 : k + 1])(time)
        if self._slopes is None:
            raise ValueError(f"t = {time:g} is no time asked for; give the end alone to read any")
        near = slice(max(0, min(k - 3, len(self) - 6)), max(k, 3) + 3)
        values = np.hstack([self._path[near], self._slopes[near]]).reshape(-1, len(self._path[0]))
        return KroghInterpolator(np.repeat(self.t[near], 2), values)(time)

    def __repr__(self):
        text = f"Trajectory: {len(self)} states from t = {self.t[0]:g} to t = {self.t[-1]:g}"
        return text + (f", {_WORDS[self.reason]}" if self.reason in _WORDS else f" ({self.reason})")


def gradient_flow(
    gradient: Callable[[State], State], start: State, t: float | np.ndarray, *,
    rtol: float = 1e-8, atol: float | None = None, stop: Callable[[State], float] | None = None,
    method: str | type = "DOP853", max_evaluations: int = 500_000, single: bool = False,
) -> Trajectory:
    r"""Integrate :math:`\dot w = -\nabla L(w)`, :math:`w(0)` = `start`.

    Parameters
    ----------
    gradient : callable
        Maps a state to the gradient of the loss, in the same form.
    start : array or list of arrays
        A list that holds an array is a list of layers; nested lists of numbers are one array.
    t : float or increasing array of floats
        The end of time, or the times (not negative) at which to keep the state. With a single
        number the states at the integrator's own steps are kept, and any time can be read.
    rtol : float
        Relative tolerance of each step, from 2.3e-14 to 0.1.
    atol : float, optional
        Absolute tolerance of each step, in the units of the state. By default rtol/100 times the
        largest entry of the start, so that a tiny start is followed as well as a large one; from
        a start of zeros, of the first step that is worth taking.
    stop : callable, optional
        A continuous function of the state; the flow ends where it comes down to zero, for
        instance ``lambda w: loss(w) - 1e-6``. It is looked at after every step: where it dips
        below zero and comes up again within one step, it is missed.
    method : str or class
        A method of `scipy.integrate.solve_ivp` or of extensisq, by name, or a class of that kind;
        those of extensisq warn of stiffness. "SSV2stab" is for long ends, where stability limits
        the step and not accuracy; "auto" begins with "DOP853", the explicit Runge–Kutta pair of
        order 8, at a tenth of the tolerances, and takes "SSV2stab" as long as that comes further
        with a gradient.
    max_evaluations : int
        The largest number of gradients to compute.
    single : bool
        Whether `gradient` and `stop` get states in single precision, in which products of large
        matrices take half the time: for `rtol` from 1.2e-5. "SSV2stab" then works in it, too.

    Returns
    -------
    Trajectory
        With its reason to end; nothing is raised for a flow that does not reach the end of time.

    Raises
    ------
    ValueError
        For a start that is not finite, a gradient of another shape, times that do not increase,
        an unknown method, tolerances that are not positive or that no method can honour.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import gradient_flow
    >>> pull = lambda w: -(1 - w[0] * w[1]) * w[::-1]
    >>> path = gradient_flow(pull, np.full(2, 1e-8), 50.0, stop=lambda w: 0.5 - w[0] * w[1])
    >>> print(path.reason, f"at {path.t[-1]:.4f}")
    loss reached at 18.4207
    """
    times = _check.not_negative("t", t)
    if times.ndim > 1 or not times.max() or np.any(np.diff(times.ravel()) <= 0):
        raise ValueError(f"t must be an end of time or increasing times from 0 on, got {t!r:.60}")
    digits = np.float32 if single else np.float64
    rtol = _check.number("rtol", rtol, 100 * np.finfo(digits).eps)
    if rtol > 0.1:
        raise ValueError(f"rtol must be at most 0.1, where methods still work, got {rtol:g}")
    atol = atol if atol is None else _check.number("atol", atol, 0, strict=True)
    kind = _method("DOP853" if method == "auto" else method)
    velocity = _Velocity(gradient, start, max_evaluations, stop, kind.__name__, digits)
    rows, reason, every = [], END_OF_TIME, not times.ndim

    def row(t, y):
        return (t, y, velocity.at(y)) if every else (t, y)

    last = row(0.0, velocity.y)
    with velocity.watched():
        try:
            if velocity.excess(velocity.y) <= 0:
                raise _Ended(LOSS_REACHED)
            for solver in _steps(velocity, kind, method == "auto", times.max(), rtol, atol):
                begin, t, y = solver.t_old, solver.t, solver.y
                ends = velocity.excess(y) <= 0
                asked = times[(begin <= times) & (times < t)]
                if ends or np.any(begin < asked):
                    between = solver.dense_output()
                if ends:
                    t = _crossing(velocity.excess, between, begin, t)
                    y = between(t)
                # Two states too close spoil the polynomial between them.
                if every and not (rows and t - begin < 0.05 * (solver.t - begin)):
                    rows.append(last)
                rows += [(s, between(s)) if begin < s else last for s in asked if s < t]
                last = row(t, y)
                if ends:
                    raise _Ended(LOSS_REACHED)
        except _Ended as ended:
            reason = str(ended)
    return velocity.trajectory([*rows, last], reason)


def gradient_descent(
    gradient: Callable[[State], State], start: State, step: float, n_steps: int, *,
    stop: Callable[[State], float] | None = None, every: int = 1,
) -> Trajectory:
    r"""Iterate :math:`w_{j+1} = w_j - \eta\,\nabla L(w_j)`, the explicit Euler steps of the flow.

    Parameters
    ----------
    gradient, start, stop
        As in `gradient_flow`; `stop` is looked at after every step.
    step : float
        The step size :math:`\eta > 0`.
    n_steps : int
        The largest number of steps.
    every : int
        Keep every so many iterates (the first and the last are always kept).

    Returns
    -------
    Trajectory
        With reason "diverged" or "gradient is NaN" if an iterate is no longer finite; the
        iterates before it are kept.

    Examples
    --------
    >>> from overparam import gradient_descent
    >>> print(gradient_descent(lambda w: w, [1.0], 0.5, 3).states.ravel())
    [1.    0.5   0.25  0.125]
    >>> gradient_descent(lambda w: w, [1.0], 3.0, 5000).reason
    'diverged'
    """
    step = _check.number("step", step, 0, strict=True)
    n_steps = _check.count("n_steps", n_steps, 0)
    every = _check.count("every", every)
    velocity = _Velocity(gradient, start, n_steps + 1, stop, "descent")
    rows, reason, j, following = [], None, -1, velocity.y
    with velocity.watched():
        while not reason:
            j, y = j + 1, following
            if velocity.excess(y) <= 0:
                reason = LOSS_REACHED
            elif j == n_steps:
                reason = END_OF_TIME
            else:
                velocity.overflow = False
                following = y + step * velocity.at(y)
                if not np.isfinite(following).all():
                    reason = NOT_A_NUMBER if velocity.is_nan() else DIVERGED
            if j % every == 0 or reason:
                rows.append((j * step, y))
    return velocity.trajectory(rows, reason)


class _Ended(Exception):
    """A flow ends before the end of time, for the reason that it says."""


@dataclass(frozen=True)
class _Layout:
    """Where the arrays of a state stand in a flat one: begin, end and shape of each."""

    parts: list
    is_list: bool

    def pack(self, state):
        return np.concatenate(state if self.is_list else [state], axis=None)

    def unpack(self, y):
        arrays = [y[..., i:k].reshape(y.shape[:-1] + shape) for i, k, shape in self.parts]
        return arrays if self.is_list else arrays[0]


class _Velocity:
    """Minus the gradient on flat states: counts its calls, remembers the last one."""

    def __init__(self, gradient, start, limit, stop, method, digits=np.float64):
        self.gradient, self.stop, self.method, self.digits = gradient, stop, method, digits
        self.calls, self.limit = 1, _check.count("max_evaluations", limit)
        self.layout, self.y, self.overflow = *_layout("start", start), False
        like, slope = _layout("gradient at the start", gradient(self._state(self.y)))
        if like != self.layout:
            raise ValueError("gradient must return what it is given: an array (or list) like it")
        self.f = -slope

    def __call__(self, _, y):
        if self.calls >= self.limit:
            raise _Ended("evaluations used up")
        self.calls += 1
        self.y, self.f = y, self.layout.pack(self.gradient(self._state(y)))
        return np.negative(self.f, out=self.f)

    def _state(self, y):
        return self.layout.unpack(y.astype(self.digits, copy=False))

    def at(self, y):
        """Return the velocity at the end of a step, where the method computed it last."""
        return self.f if self.y is y else self(None, y)

    def excess(self, y):
        return np.inf if self.stop is None else self.stop(self._state(y))

    def watched(self):
        """Watch for overflow, which tells what diverges from what is NaN by itself."""
        return np.errstate(over="call", invalid="ignore", call=self._overflows)

    def _overflows(self, *_):
        self.overflow = True

    def is_nan(self):
        return bool(np.isnan(self.f).any()) and not self.overflow

    def trajectory(self, rows, reason):
        t, *parts = zip(*rows, strict=True)
        return Trajectory(np.array(t), reason, self.calls, self.method, self.layout, *parts)


def _layout(name, state):
    """Return the layout of a state, called `name`, and its flat copy."""
    is_list = isinstance(state, (list, tuple)) and any(getattr(part, "ndim", 0) for part in state)
    names, parts = (name + "[{}]", state) if is_list else (name, [state])
    arrays = [_check.finite_array(names.format(i), part) for i, part in enumerate(parts)]
    ends = [0, *accumulate(array.size for array in arrays)]
    parts = [(*ends[i : i + 2], array.shape) for i, array in enumerate(arrays)]
    return _Layout(parts, is_list), np.concatenate([array.ravel() for array in arrays])


def _steps(velocity, kind, auto, end, rtol, atol):
    """Yield the solver after every step; `auto` takes the one of two that comes further."""
    y = velocity.y
    size, step = _scales(velocity, y, end)
    atol, eps = rtol / 100 * size if atol is None else atol, np.finfo(velocity.digits).eps

    def begin(kind, t, y, step):
        # Where its stability limits the steps, errors of DOP853 do not die out: a floor of noise.
        part = 0.1 if auto and kind is integrate.DOP853 and rtol > 1e3 * eps else 1.0
        solver = kind(velocity, t, y, end, first_step=step, rtol=part * rtol, atol=part * atol)
        if velocity.digits is np.float32 and hasattr(solver, "sqrtu"):
            # SSV2stab's arrays, and the relative difference by which it measures stiffness. Below
            # its step becomes a plain number: one of numpy's would make the arrays double again.
            solver.y, solver.W, solver.sqrtu = np.float32(solver.y), np.float32(solver.W), eps**0.5
            solver.fun_single, solver.direction = velocity, 1.0
        return solver

    solver = begin(kind, 0.0, y, rtol**0.125 * step)
    mark, window, to_beat = (0.0, velocity.calls), 150, 0.0
    while solver.status == "running":
        velocity.overflow, solver.absh = False, float(getattr(solver, "absh", 0.0))
        solver.step()
        if solver.status == "failed":
            raise _Ended(_failure(velocity, solver, size))
        yield solver
        t, calls, other = solver.t, velocity.calls - mark[1], None
        if auto and calls >= window and t < end:
            speed, mark = (t - mark[0]) / calls, (t, velocity.calls)
            if speed < to_beat:
                other, window, to_beat = "DOP853", 2 * window, 0.0  # do not try again soon
            elif not to_beat and _is_stiff(solver):
                other, to_beat = "SSV2stab", speed
            if other:
                velocity.method += f", {other} from t = {t:.3g}"
                solver = begin(_method(other), t, solver.y, min(t - solver.t_old, end - t))


def _scales(velocity, y, end):
    """Return the size of the start and the time in which it changes, in the problem's own units.

    From a start of zeros the size is how far the first velocity leads before it changes.
    """
    f, size, speed = velocity.f, np.abs(y).max(), np.abs(velocity.f).max()
    if not speed:
        return size or 1.0, end
    if not size:
        probe = 1e-6 * end
        rate = np.abs(velocity(None, probe * f) - f).max() / (probe * speed)
        size = speed / max(rate if np.isfinite(rate) else 1e6 / end, 1 / end)
    return size, min(end, size / speed)


def _is_stiff(solver):
    """Tell from the last two stages of a step of DOP853 whether its stability limits the step."""
    apart = solver.y - solver.y_old - solver.h_previous * solver.A[-1] @ solver.K[:-1]
    change = solver.h_previous * (solver.K[-1] - solver.K[-2])
    # It is stable up to 6.1; rounding in single precision keeps its steps to a third of that.
    return np.linalg.norm(change) > 2 * np.linalg.norm(apart)


def _failure(velocity, solver, size):
    """Tell why there is no further step: the last gradient is one of a tiny step away."""
    if velocity.is_nan():
        return NOT_A_NUMBER
    change = np.abs(velocity.f).max() * 1e6 * np.spacing(solver.t)
    # In a blow-up the state changes even over the shortest time.
    return "step too small" if change < max(size, np.abs(solver.y).max()) else DIVERGED


def _crossing(excess, between, begin, end):
    """Return where the excess comes down to zero within a step."""
    signs = {begin: 1.0, end: -1.0}  # between() may miss the ends by a rounding
    return brentq(lambda t: signs.get(t) or excess(between(t)), begin, end, xtol=1e-300)


def _method(method):
    """Return the class of a method of scipy or extensisq."""
    if isinstance(method, str):
        import extensisq

        method = getattr(integrate, method, getattr(extensisq, method, method))
    if not hasattr(method, "_step_impl") or method is integrate.OdeSolver:
        raise ValueError(f"method must be 'auto', or one of solve_ivp or extensisq; got {method!r}")
    return method
