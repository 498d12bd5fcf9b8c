r"""Gradient flow :math:`\dot w = -\nabla L(w)` and its discretization, gradient descent.

A state is an array, or a list of arrays (the layers of a network).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import integrate
from scipy.interpolate import KroghInterpolator
from scipy.optimize import brentq

from overparam import _check

State = np.ndarray | list[np.ndarray]

END_OF_TIME = "end of time"
LOSS_REACHED = "loss reached"
DIVERGED = "diverged"
NOT_A_NUMBER = "gradient is NaN"
STEP_TOO_SMALL = "step too small"
EVALUATIONS = "evaluations used up"

_EPS = np.finfo(float).eps
_WORDS = {
    DIVERGED: "DIVERGED after that: the numbers grew beyond all bounds",
    NOT_A_NUMBER: "then the gradient was NaN although the numbers were moderate; look at the loss",
    STEP_TOO_SMALL: "then no step was small enough: the gradient jumps there",
    EVALUATIONS: "then the evaluations were used up; raise max_evaluations or loosen rtol, atol",
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
    note : str
        What the method has to say, for instance that the problem is stiff for it; else empty.

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
    states: State
    reason: str
    n_evaluations: int
    method: str
    note: str = ""
    _layout: "_Layout | None" = None
    _knots: tuple = field(default=())

    @property
    def final(self) -> State:
        """The last state, shaped like the start."""
        return self[-1]

    def __len__(self):
        return len(self.t)

    def __getitem__(self, index):
        if isinstance(self.states, list):
            return [layer[index] for layer in self.states]
        return self.states[index]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __eq__(self, other):
        if not isinstance(other, Trajectory):
            return NotImplemented
        names = ("reason", "n_evaluations", "method", "note", "_layout")
        return (
            all(getattr(self, name) == getattr(other, name) for name in names)
            and np.array_equal(self.t, other.t)
            and np.array_equal(self._flat(), other._flat())
        )

    __hash__ = None

    def _flat(self):
        return self._layout.pack(self.states, len(self))

    def __call__(self, t: float | np.ndarray) -> State:
        """Return the state at time `t`; for an array of times, the states (time first).

        The gradient is not computed again. Between its steps a flow is read by the polynomial of
        degree eleven through states and gradients at the six nearest ends of steps, whose
        error is of the order of the integrator's; descent is read as the polygon through the
        stored iterates.

        Raises
        ------
        ValueError
            For a time outside the path, or between the stored ones if it was computed with
            ``dense=False``.
        """
        times = _check.times("t", t)
        if times.max() > self.t[-1]:
            raise ValueError(
                f"t must lie between 0 and {self.t[-1]:g}, where this trajectory ends "
                f"({self.reason}); got values from {times.min():g} to {times.max():g}"
            )
        path = self._flat()
        found = np.array([self._read(time, path) for time in times.ravel()])
        return self._layout.unpack(found.reshape(*times.shape, -1))

    def _read(self, time, path):
        index = np.searchsorted(self.t, time)
        if self.t[index] == time:
            return path[index]
        if not self._knots:
            raise ValueError(
                f"t = {time:g} is no stored time, and this flow was computed with dense=False; "
                "leave that out to read between the stored times"
            )
        knots, states, slopes = self._knots
        after = np.searchsorted(knots, time, side="right")
        if slopes is None:
            share = (time - knots[after - 1]) / (knots[after] - knots[after - 1])
            return (1 - share) * states[after - 1] + share * states[after]
        near = slice(max(0, min(after - 3, len(knots) - 6)), max(after + 3, 6))
        values = np.stack([states[near], slopes[near]], axis=1).reshape(-1, states.shape[1])
        return KroghInterpolator(np.repeat(knots[near], 2), values)(time)

    def __repr__(self):
        text = f"Trajectory: {len(self)} states from t = {self.t[0]:g} to t = {self.t[-1]:g}"
        ending = f", {_WORDS[self.reason]}" if self.reason in _WORDS else f" ({self.reason})"
        return text + ending + (f". {self.note}" if self.note else "")


def gradient_flow(
    gradient: Callable[[State], State],
    start: State,
    t: float | np.ndarray,
    *,
    rtol: float = 1e-8,
    atol: float | None = None,
    stop: Callable[[State], float] | None = None,
    method: str | type = "DOP853",
    max_evaluations: int = 500_000,
    dense: bool = True,
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
        number the states at the integrator's own steps are kept.
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
        A method of `scipy.integrate.solve_ivp` or of extensisq, by name, or a class of that kind.
        "SSV2stab" is for long ends, where stability limits the step and not accuracy; "auto"
        begins with "DOP853", the explicit Runge–Kutta pair of order 8, and takes "SSV2stab" as
        long as that comes further with a gradient.
    max_evaluations : int
        The largest number of gradients to compute.
    dense : bool
        Whether to keep state and gradient at every step, for reading between the stored times.

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
    layout, y = _layout(start)
    times = _check.finite_array("t", t)
    if times.ndim > 1 or times.min() < 0 or not times.max() or np.any(np.diff(times.ravel()) <= 0):
        raise ValueError(
            "t must be a positive end of time or an increasing array of times from 0 on, "
            f"got {t!r:.80}"
        )
    rtol = _check.number("rtol", rtol, 100 * _EPS)
    if rtol > 0.1:
        raise ValueError(f"rtol must be at most 0.1, where methods still work, got {rtol:g}")
    atol = atol if atol is None else _check.number("atol", atol, 0, strict=True)
    velocity = _Velocity(gradient, layout, _check.count("max_evaluations", max_evaluations))
    velocity.begin(y)
    record = _Record(velocity, times, stop, dense)
    run = _Integration(velocity, record, method, times.max(), rtol, atol)
    with (
        np.errstate(over="call", invalid="ignore", call=velocity.overflows),
        warnings.catch_warnings(record=run.may_warn) as caught,
    ):
        if run.may_warn:
            warnings.simplefilter("always")
        reason = LOSS_REACHED if record.begin(y) else run.reason(y)
    kept, path = record.path(reason)
    note = _diagnosis(caught or (), run.taken)
    states, knots = layout.unpack(path), record.knots()
    return Trajectory(kept, states, reason, velocity.calls, run.taken, note, layout, knots)


def gradient_descent(
    gradient: Callable[[State], State],
    start: State,
    step: float,
    n_steps: int,
    *,
    stop: Callable[[State], float] | None = None,
    every: int = 1,
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
    layout, y = _layout(start)
    velocity = _Velocity(gradient, layout, n_steps + 1)
    velocity.begin(y)
    steps, kept = [0], [y]
    reason, j = END_OF_TIME, 0
    with np.errstate(over="call", invalid="ignore", call=velocity.overflows):
        while True:
            if stop is not None and stop(layout.unpack(y)) <= 0:
                reason = LOSS_REACHED
            if reason != END_OF_TIME or j == n_steps:
                break
            velocity.overflow = False
            following = y + step * velocity.at(y)
            if not np.isfinite(following).all():
                reason = NOT_A_NUMBER if velocity.is_nan() else DIVERGED
                break
            y, j = following, j + 1
            if j % every == 0:
                steps.append(j)
                kept.append(y)
    if steps[-1] != j:
        steps.append(j)
        kept.append(y)
    times, path = step * np.array(steps, dtype=float), np.array(kept)
    states = layout.unpack(path)
    knots = (times, path, None)
    return Trajectory(times, states, reason, velocity.calls, "descent", "", layout, knots)


@dataclass(frozen=True)
class _Layout:
    """The shapes of a state's arrays: between a state and one flat array."""

    shapes: tuple
    is_list: bool

    def pack(self, state, *leading):
        if not self.is_list:
            return np.reshape(state, (*leading, -1))
        if not leading:
            return np.concatenate([np.ravel(layer) for layer in state])
        return np.concatenate([np.reshape(layer, (*leading, -1)) for layer in state], axis=-1)

    def unpack(self, y):
        if not self.is_list:
            return y.reshape(y.shape[:-1] + self.shapes[0])
        state, begin = [], 0
        for shape in self.shapes:
            end = begin + int(np.prod(shape))
            state.append(y[..., begin:end].reshape(y.shape[:-1] + shape))
            begin = end
        return state


def _layout(start):
    """Return the layout of a start and its flat copy."""
    if isinstance(start, (list, tuple)) and any(
        isinstance(part, np.ndarray) and part.ndim for part in start
    ):
        layers = [_check.finite_array(f"start[{i}]", layer) for i, layer in enumerate(start)]
        layout = _Layout(tuple(layer.shape for layer in layers), True)
        return layout, layout.pack(layers)
    try:
        first = _check.finite_array("start", start)
    except ValueError as error:
        raise ValueError(f"{error} (layers of different shapes: give each as an array)") from None
    return _Layout((first.shape,), False), first.ravel()


class _UsedUp(Exception):
    """The gradient was computed as often as allowed."""


class _Velocity:
    """Minus the gradient, on flat states; counts its calls and remembers the last one."""

    def __init__(self, gradient, layout, limit):
        self.gradient, self.layout, self.limit = gradient, layout, limit
        self.calls, self.overflow = 0, False

    def begin(self, y):
        """Compute the gradient at the start `y`, with a look at what comes back."""
        state = self.layout.unpack(y)
        got = self.gradient(state)
        pairs = zip(state, got, strict=False) if self.layout.is_list else [(state, got)]
        fits = not self.layout.is_list or len(got) == len(state)
        if not fits or any(np.shape(a) != np.shape(b) for a, b in pairs):
            raise ValueError("gradient must return what it is given: an array (or list) like it")
        self.calls, self.y, self.f = 1, y, -self.layout.pack(got)
        if self.f.dtype.kind not in "fiu" or not np.isfinite(self.f).all():
            raise ValueError("gradient is not finite at the start; check the loss and the data")

    def __call__(self, _, y):
        if self.calls >= self.limit:
            raise _UsedUp
        self.calls += 1
        self.y, self.f = y, -self.layout.pack(self.gradient(self.layout.unpack(y)))
        return self.f

    def at(self, y):
        """Return the velocity at the end of a step, where the method computed it last."""
        return self.f if self.y is y else self(None, y)

    def overflows(self, *_):
        self.overflow = True

    def is_nan(self):
        return bool(np.isnan(self.f).any()) and not self.overflow


class _Record:
    """What is kept of a flow: the asked states, and every step for reading in between."""

    def __init__(self, velocity, times, stop, dense):
        self.velocity, self.stop, self.dense = velocity, stop, dense
        self.times = times if times.ndim else None  # None: every step
        self.t, self.y, self.steps = [], [], []

    def excess(self, y):
        return np.inf if self.stop is None else self.stop(self.velocity.layout.unpack(y))

    def begin(self, y):
        """Record the start; return whether the flow ends there."""
        ends = self.excess(y) <= 0
        self.step(0.0, y)
        if ends or self.times is None or self.times[0] == 0:
            self.keep([0.0], [y])
        return ends

    def step(self, t, y):
        self.last = t, y
        if self.dense:
            self.steps.append((t, y, self.velocity.at(y)))

    def keep(self, t, y):
        self.t.extend(t)
        self.y.extend(y)

    def add(self, solver):
        """Record a step that was taken; return whether the flow ends in it."""
        begin, end, y = solver.t_old, solver.t, solver.y
        self.step(end, y)
        ends, asked = self.excess(y) <= 0, np.empty(0)
        if self.times is not None:
            asked = self.times[(self.times > begin) & (self.times < end)]
        if ends or asked.size:
            between = solver.dense_output()
        if ends:
            signs = {begin: 1.0, end: -1.0}  # between() may miss the ends by a rounding

            def excess(t):
                return signs[t] if t in signs else self.excess(between(t))

            end = brentq(excess, begin, end, xtol=4 * _EPS * end, rtol=4 * _EPS)
            y, asked = between(end), asked[asked < end]
        if asked.size:
            self.keep(asked, between(asked).T)
        if ends or self.times is None or end in self.times:
            self.keep([end], [y])
        return ends

    def path(self, reason):
        """Return times and flat states; a flow that ended early keeps its last state, too."""
        t, y = self.last
        if reason != LOSS_REACHED and (not self.t or self.t[-1] < t):
            self.keep([t], [y])
        return np.array(self.t, dtype=float), np.array(self.y)

    def knots(self):
        return tuple(np.array(part) for part in zip(*self.steps, strict=True))


class _Integration:
    """The method at work; for "auto" the one of two that comes further with a gradient."""

    def __init__(self, velocity, record, method, end, rtol, atol):
        self.velocity, self.record = velocity, record
        self.end, self.rtol, self.atol = end, rtol, atol
        self.auto = isinstance(method, str) and method == "auto"
        self.kind = _method("DOP853" if self.auto else method)
        self.may_warn = self.auto or self.kind.__module__.startswith("extensisq")
        self.taken, self.window, self.direction = self.kind.__name__, 150, None

    def reason(self, y):
        """Integrate; return why the flow ends."""
        try:
            size, step = self.scales(y)
            self.atol = self.rtol / 100 * size if self.atol is None else self.atol
            self.begin(0.0, y, step)
            while self.solver.status == "running":
                self.velocity.overflow = False
                self.solver.step()
                if self.solver.status == "failed":
                    return self.failure()
                if self.record.add(self.solver):
                    return LOSS_REACHED
                if self.auto and self.velocity.calls - self.began[1] >= self.window:
                    self.review()
        except _UsedUp:
            return EVALUATIONS
        return END_OF_TIME

    def begin(self, t, y, step):
        options = {"rtol": self.rtol, "atol": self.atol, "first_step": min(step, self.end - t)}
        self.solver = self.kind(self.velocity, t, y, self.end, **options)
        self.began = t, self.velocity.calls

    def scales(self, y):
        """Return the size of the start and a first step, both in the problem's own units.

        The size is the largest entry or, from a start of zeros, how far the first velocity leads
        before it changes.
        """
        f, size = self.velocity.f, np.abs(y).max()
        speed = np.abs(f).max()
        if not speed:
            return size or 1.0, self.end
        probe = 1e-6 * (min(self.end, size / speed) if size else self.end)
        rate = np.abs(self.velocity(None, y + probe * f) - f).max() / (probe * speed)
        rate = max(rate if np.isfinite(rate) else 1e6 / self.end, 1 / self.end)
        size = size or speed / rate
        return size, self.rtol**0.125 / max(rate, speed / size)

    def failure(self):
        """Tell why there is no further step: the last gradient is one of a tiny step away."""
        if self.velocity.is_nan():
            return NOT_A_NUMBER
        change = np.abs(self.velocity.f).max() * 1e6 * np.spacing(self.solver.t)
        # In a blow-up the state changes even over the shortest time.
        return STEP_TOO_SMALL if change < np.abs(self.solver.y).max() else DIVERGED

    def review(self):
        """Change the method if the other one is better, or may be."""
        t, y, step = self.solver.t, self.solver.y, self.solver.t - self.solver.t_old
        speed = (t - self.began[0]) / (self.velocity.calls - self.began[1])
        other = None
        if self.kind is not integrate.DOP853:
            if speed < self.to_beat:
                other = "DOP853"
                self.window *= 2  # do not try again soon
        elif step * self.steepest(y) > 4:  # it is stable up to 6.1
            self.to_beat, other = speed, "SSV2stab"
        self.began = t, self.velocity.calls
        if other and t < self.end:
            self.kind = _method(other)
            self.taken += f", {other} from t = {t:.3g}"
            self.begin(t, y, step)

    def steepest(self, y):
        """Return the Hessian's largest eigenvalue, by the power method on differences."""
        f, length = self.velocity.at(y), 1e-7 * np.linalg.norm(y)
        direction = f if self.direction is None else self.direction
        for _ in range(8):
            norm = np.linalg.norm(direction)
            if not norm or not length:
                return 0.0
            direction = (self.velocity(None, y + length / norm * direction) - f) / length
        self.direction = direction
        return np.linalg.norm(direction)


def _method(method):
    """Return the class of a method of scipy or extensisq."""
    kind = method
    if isinstance(method, str):
        import extensisq

        kind = getattr(integrate, method, getattr(extensisq, method, None))
    abstract = kind is integrate.OdeSolver
    if not isinstance(kind, type) or not issubclass(kind, integrate.OdeSolver) or abstract:
        raise ValueError(
            "method must be 'auto', the name of a method of scipy.integrate.solve_ivp ('DOP853', "
            "'RK45', 'Radau', ...) or of extensisq ('Ts5', 'SSV2stab', ...), or a class of that "
            f"kind, got {method!r:.60}"
        )
    return kind


def _diagnosis(caught, taken):
    """Return in words what a method of extensisq warned of; pass other warnings on."""
    texts = []
    for entry in caught:
        if "extensisq" in entry.filename:
            texts.append(" ".join(str(entry.message).split()))
        else:
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)
    if not texts:
        return ""
    remedy = '"Radau" or "BDF"' if "SSV2stab" in taken else '"auto" or "SSV2stab"'
    return f'{taken} says: "{texts[0]}" Try the method {remedy}'
