r"""Lazy training: a model beside its linearization (chapter "Lazy training").

Letters: :math:`h:\mathbb R^p\to\mathbb R^n` is the model, :math:`Dh(w)` its differential, of shape
(n, p), :math:`\bar h(w)=h(w_0)+Dh(w_0)(w-w_0)` its linearization. A loss R of the output y is a
`losses.Loss` of the column y (shape (n, 1)), such as ``losses.squared_distance(target[:, None])``,
with ½. Training is gradient flow of :math:`F_\alpha(w)=R(\alpha h(w))/\alpha^2`
(Smith 2022, 2.3; Chizat, Oyallon and Bach 2019).

``python -m overparam.lazy`` computes the table in ``data/lazy_students.csv`` afresh.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overparam import _check, flow

STUDENTS = Path(__file__).parent / "data" / "lazy_students.csv"
# Setting of the stored table: d = 100 and m = 50 as in Chizat, Oyallon and Bach 2019, figure 1.
PAPER_SIZE = {"d": 100, "m": 50, "n_train": 1000, "n_steps": 4000, "step": 0.2}
PAPER_SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

# Activation and its two derivatives; relu has no second one.
_ACTIVATIONS = {
    "tanh": (
        np.tanh,
        lambda z: 1 - np.tanh(z) ** 2,
        lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2),
    ),
    "softplus": (
        lambda z: np.logaddexp(0, z),
        lambda z: (1 + np.tanh(z / 2)) / 2,
        lambda z: (1 - np.tanh(z / 2) ** 2) / 4,
    ),
    "square": (np.square, lambda z: 2 * z, lambda z: np.full_like(z, 2.0)),
    "linear": (lambda z: z, np.ones_like, np.zeros_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float), None),
}


@dataclass(frozen=True)
class Model:
    r"""A parametric model :math:`h:\mathbb R^p\to\mathbb R^n`; called with w it returns h(w).

    Attributes
    ----------
    value, differential : callable
        h(w), shape (n,), and Dh(w), shape (n, p).
    curvature : callable or None
        :math:`\|D^2h(w)\|`, the largest :math:`\|D^2h(w)[u,v]\|` over unit u and v. None for a
        model that is not twice differentiable.
    """

    value: Callable
    differential: Callable
    curvature: Callable | None

    def __call__(self, w):
        return self.value(w)


def two_layer(X, width, activation="tanh", scale=1.0):
    r"""Return the network :math:`h(w)_i=\mathrm{scale}\cdot\sum_jb_j\sigma(a_j\cdot x_i)`.

    Parameters
    ----------
    X : matrix, shape (n, d)
        The inputs, one a row.
    width : int
        The number m of neurons. The weights w are the m rows a_j one after the other and then b,
        p = m(d + 1) numbers.
    activation : str
        "tanh", "softplus", "square", "linear" or "relu". The last is not smooth: its model has a
        differential away from the kinks and no curvature.
    scale : float
        :math:`\alpha(m)` of Smith 2022, 2.4.
    """
    X = _check.matrix("X", X)
    width = _check.count("width", width)
    scale = _check.number("scale", scale, 0, strict=True)
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}")
    sigma, slope, bend = _ACTIVATIONS[activation]
    d = X.shape[1]

    def split(w):
        w = _weights(w, width * (d + 1))
        return w[: width * d].reshape(width, d), w[width * d :]

    def value(w):
        a, b = split(w)
        return scale * sigma(X @ a.T) @ b

    def differential(w):
        a, b = split(w)
        z = X @ a.T
        if bend is None and np.any(z == 0):
            raise ValueError(
                f"w puts a neuron of activation {activation} on a kink, where the model has no "
                "differential; move w or take a smooth activation"
            )
        inner = (slope(z) * b)[:, :, None] * X[:, None, :]
        return scale * np.hstack([inner.reshape(len(X), -1), sigma(z)])

    def curvature(w):
        # D²h is a sum over neurons of forms of separate weights: its norm is the largest of theirs.
        a, b = split(w)
        z = X @ a.T
        forms = np.zeros((width, len(X), d + 1, d + 1))
        forms[:, :, :d, :d] = np.einsum("ij,ik,il->jikl", bend(z) * b, X, X, optimize=True)
        forms[:, :, :d, d] = forms[:, :, d, :d] = np.einsum("ij,ik->jik", slope(z), X)
        return scale * _largest_norm(forms)

    return Model(value, differential, None if bend is None else curvature)


def quadratic(J, Q):
    r"""Return :math:`h(w)_i=(Jw)_i+\tfrac12w^\top Q_iw`, whose :math:`D^2h` is constant.

    `J` has shape (n, p), `Q` (n, p, p) with symmetric :math:`Q_i`. The Lipschitz constant of Dh is
    its curvature.
    """
    J, Q = _check.matrix("J", J), _check.finite_array("Q", Q, ndim=3)
    if Q.shape != (*J.shape, J.shape[1]) or not np.allclose(Q, Q.transpose(0, 2, 1)):
        raise ValueError(
            f"Q must hold {len(J)} symmetric matrices of size {J.shape[1]}, got shape {Q.shape}"
        )
    norm = bilinear_norm(Q)
    return Model(
        lambda w: J @ _weights(w, J.shape[1]) + 0.5 * Q @ w @ w,
        lambda w: J + Q @ _weights(w, J.shape[1]),
        lambda w: norm,
    )


def numerical(function):
    r"""Return the `Model` of a smooth function w ↦ h(w), with differences for derivatives.

    Differences of order four; meant for few parameters (the curvature takes some 16p² calls).

    Raises
    ------
    ValueError
        From the differential, at a w where the one-sided derivatives differ (a kink).
    """
    if isinstance(function, Model):
        return function

    def value(w):
        return np.atleast_1d(_check.finite_array("model(w)", function(np.asarray(w, dtype=float))))

    def slopes(f, w, step):
        columns = []
        for e in step * np.eye(len(w)):
            near, far = f(w + e) - f(w - e), f(w + 2 * e) - f(w - 2 * e)
            columns.append((8 * near - far) / (12 * step))
        return np.stack(columns, axis=-1)

    def differential(w):
        w = _check.finite_array("w", w, ndim=1)
        if _has_kink(value, w):
            raise ValueError(
                "model has a kink at w: its one-sided derivatives differ, and lazy training "
                "needs a differential; move w or take a smooth activation"
            )
        return slopes(value, w, 1e-3)

    def curvature(w):
        differential(w)
        form = slopes(lambda v: slopes(value, v, 1e-3), _check.finite_array("w", w, ndim=1), 1e-2)
        return bilinear_norm((form + form.swapaxes(1, 2)) / 2)

    return Model(value, differential, curvature)


def linearize(model, w0):
    r"""Return the model :math:`\bar h(w)=h(w_0)+Dh(w_0)(w-w_0)` (Smith 2022, 2.1).

    Parameters
    ----------
    model : Model or callable
        A callable w ↦ h(w) is differentiated numerically (see `numerical`).
    w0 : vector, shape (p,)

    Raises
    ------
    ValueError
        If `w0` is not finite or does not fit, or if the model has a kink there.
    """
    model, w0, h0, D = _at(model, w0)
    return Model(lambda w: h0 + D @ (_weights(w, len(w0)) - w0), lambda w: D.copy(), lambda w: 0.0)


def doubled(model):
    r"""Return :math:`(u,v)\mapsto h(u)-h(v)`: zero, and antisymmetric, at a start (u, u)."""

    def halves(w):
        w = _check.finite_array("w", w, ndim=1)
        if len(w) % 2:
            raise ValueError(f"w must hold two equally long halves, got {len(w)} numbers")
        return np.split(w, 2)

    def value(w):
        u, v = halves(w)
        return model(u) - model(v)

    def differential(w):
        u, v = halves(w)
        return np.hstack([model.differential(u), -model.differential(v)])

    def curvature(w):
        return max(model.curvature(half) for half in halves(w))

    return Model(value, differential, None if model.curvature is None else curvature)


def centred(model, w0):
    r"""Return :math:`w\mapsto h(w)-h(w_0)`, the other way to a start with output zero."""
    model, w0, h0, _ = _at(model, w0)
    return Model(lambda w: model(w) - h0, model.differential, model.curvature)


def bilinear_norm(form):
    r"""Return :math:`\max\|B[u,v]\|` over unit u, v for a symmetric bilinear form B, vector valued.

    `form` has shape (n, p, p), each slice symmetric. The maximum is one over unit z of the spectral
    norm of :math:`\sum_iz_iB_i`, found by alternating maximization from n + 1 starts: exact for
    n = 1, and in general a local maximum that is global in all our checks against a grid.
    """
    form = _check.finite_array("form", form, ndim=3)
    return float(_norms(form[None])[0])


def relative_scale(model, w0, target, alpha=1.0):
    r"""Return :math:`\kappa_{\alpha h}(w_0)`, small for lazy training with the squared loss.

    .. math:: \kappa_{\alpha h}(w_0)=\frac1\alpha\,\|\alpha h(w_0)-y^*\|\,
              \frac{\|D^2h(w_0)\|}{\|Dh(w_0)\|^2}

    (Smith 2022, 2.1 and 2.2), with operator norms.

    Parameters
    ----------
    model : Model or callable
    w0 : vector, shape (p,)
    target : vector, shape (n,)
        The :math:`y^*` of :math:`\tfrac12\|y-y^*\|^2`.
    alpha : float
        Scale of the output, positive.

    Raises
    ------
    ValueError
        If :math:`D^2h` does not exist (a non-smooth activation, a kink), :math:`Dh(w_0)=0`, shapes
        do not fit or alpha is not positive.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    model, w0, h0, D = _at(model, w0)
    target = _target(target, h0)
    size = _norm(D)
    if size == 0:
        raise ValueError("w0 is a critical point of the model, Dh(w0) = 0: kappa is not defined")
    return np.linalg.norm(alpha * h0 - target) * _curvature(model, w0) / size**2 / alpha


def relative_changes(model, w0, target, step):
    r"""Return the relative change in one gradient step of F and of Dh, and their predictions.

    For :math:`F=\tfrac12\|h(w)-y^*\|^2` and :math:`w_1=w_0-\eta\nabla F(w_0)`: the tuple
    (:math:`\Delta F`, :math:`\Delta Dh`, :math:`\eta\|\nabla F\|^2/F`,
    :math:`\eta\|\nabla F\|\,\|D^2h\|/\|Dh\|`) of Smith 2022, 2.1.
    """
    step = _check.number("step", step, 0, strict=True)
    model, w0, h0, D = _at(model, w0)
    target = _target(target, h0)
    residual = h0 - target
    loss, gradient = 0.5 * residual @ residual, D.T @ residual
    if loss == 0 or _norm(D) == 0:
        raise ValueError("w0 must have a positive loss and a differential that is not zero")
    w1 = w0 - step * gradient
    after = model(w1) - target
    length = np.linalg.norm(gradient)
    return (
        abs(0.5 * after @ after - loss) / loss,
        _norm(model.differential(w1) - D) / _norm(D),
        step * length**2 / loss,
        step * length * _curvature(model, w0) / _norm(D),
    )


def train(model, w0, loss, alpha, t, **options):
    r"""Integrate :math:`\dot w=-\frac1\alpha Dh(w)^\top\nabla R(\alpha h(w))`, w(0) = w0.

    The gradient flow of :math:`F_\alpha=R(\alpha h)/\alpha^2` (Smith 2022, 2.3). With
    ``linearize(model, w0)`` it is the linearized flow.

    Parameters
    ----------
    model : Model or callable
    w0 : vector
    loss : losses.Loss
        R, a function of the output as a column.
    alpha : float
        Positive.
    t, **options
        As for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For a model that is not smooth (kinks spoil the order of an adaptive method: take
        `students` or `flow.gradient_descent`, and call it descent), a loss of another size, alpha
        that is not positive, or a flow that leaves every bound.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    model, w0, h0, _ = _at(model, w0)
    _curvature(model, None)
    _loss_gradient(loss, h0)

    def gradient(w):
        return model.differential(w).T @ _loss_gradient(loss, alpha * model(w)) / alpha

    path = flow.gradient_flow(gradient, w0, t, **options)
    if path.reason == flow.DIVERGED:
        raise ValueError(f"model: its flow at alpha = {alpha:g} leaves every bound; {path!r}")
    return path


def gaps(model, w0, loss, alpha, t, rtol=1e-11, atol=1e-12):
    r"""Return the three suprema of Theorem 2.2 of Smith 2022 over the times `t`.

    :math:`\sup\|w_\alpha-w_0\|`, :math:`\sup\|w_\alpha-\bar w_\alpha\|` and
    :math:`\sup\|\alpha h(w_\alpha)-\alpha\bar h(\bar w_\alpha)\|`, as an array. `t` is an
    increasing array of times. Both flows are integrated in the variable
    :math:`v=\alpha(w-w_0)`, in which small differences keep their digits.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    times = _check.finite_array("t", t, ndim=1)
    model, w0, _, _ = _at(model, w0)
    _curvature(model, None)

    def flow_from_zero(h):
        near = Model(
            lambda v: alpha * h(w0 + v / alpha),
            lambda v: h.differential(w0 + v / alpha),
            lambda v: np.nan,
        )
        v = train(near, np.zeros_like(w0), loss, 1.0, times, rtol=rtol, atol=atol).states
        return v, np.array([near(state) for state in v])

    (v, y), (v_bar, y_bar) = flow_from_zero(model), flow_from_zero(linearize(model, w0))
    suprema = [np.linalg.norm(g, axis=1).max() for g in (v, v - v_bar, y - y_bar)]
    return np.array(suprema) / (alpha, alpha, 1)


def finite_time_bounds(model, w0, loss, alpha, time, lipschitz):
    r"""Return bounds on the three `gaps` for :math:`h(w_0)=0` on [0, time].

    With :math:`\Delta R=R(0)-\inf R`, :math:`K=\|Dh(w_0)\|`, L = `lipschitz`, R M-smooth,
    :math:`\rho=\sqrt{T\Delta R}/\alpha` and :math:`G=\sqrt{2M\Delta R}`: the weights move at most
    :math:`\rho`, the outputs differ by at most
    :math:`g=(2K+L\rho)L\rho G\,\frac{e^{K^2MT}-1}{K^2M}`, the weights by at most
    :math:`\frac T\alpha(L\rho G+KMg)`. The form of Theorem 2.2 of Smith 2022 that the chapter
    proves; L is a Lipschitz constant of Dh on the ball of radius :math:`\rho`.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    T = _check.number("time", time, 0, strict=True)
    L = _check.number("lipschitz", lipschitz, 0)
    _, _, h0, D = _at(model, w0)
    _need_zero(h0)
    M = _constant(loss, "smoothness")
    excess = loss.value(h0[:, None]) - _constant(loss, "minimum")
    K, G = _norm(D), np.sqrt(2 * M * excess)
    rho = np.sqrt(T * excess) / alpha
    growth = np.expm1(K**2 * M * T) / (K**2 * M) if K else T
    outputs = (2 * K + L * rho) * L * rho * G * growth
    return np.array([rho, T / alpha * (L * rho * G + K * M * outputs), outputs])


def printed_threshold(D, condition, lipschitz):
    r"""Return :math:`C_0=\sigma_{\min}^3/(32\kappa^{3/2}\|Dh\|\,\mathrm{Lip}(Dh))`.

    Theorem 2.4 of Smith 2022 asks for :math:`\|h(w_0)\|\le C_0` and :math:`\alpha>\|y^*\|/C_0`.
    `D` is :math:`Dh(w_0)`, shape (n, p), `condition` the :math:`\kappa=M/m` of the loss.
    """
    D, sigma, condition, lipschitz = _surjective(D, condition, lipschitz)
    return sigma**3 / (32 * condition**1.5 * _norm(D) * lipschitz)


def convergence_threshold(D, condition, lipschitz):
    r"""Return :math:`\sigma_{\min}^2/(4\sqrt\kappa\,\mathrm{Lip}(Dh))`.

    The flow converges exponentially when :math:`\|h(w_0)-y^*/\alpha\|` is less than this, as the
    chapter proves. It is at least 8 times `printed_threshold`, and enough for its hypotheses.
    """
    _, sigma, condition, lipschitz = _surjective(D, condition, lipschitz)
    return sigma**2 / (4 * np.sqrt(condition) * lipschitz)


def convergence_rate(D, strong_convexity):
    r"""Return :math:`m\sigma_{\min}^2/4`, the rate of :math:`\|\alpha h-y^*\|` in Theorem 2.4."""
    _, sigma, _, _ = _surjective(D, 1.0, 1.0)
    return _check.number("strong_convexity", strong_convexity, 0, strict=True) * sigma**2 / 4


def uniform_bounds(model, w0, loss, target, alpha, lipschitz):
    r"""Return bounds on the three `gaps` over all :math:`t\ge0`, for :math:`h(w_0)=0`.

    For R with constants m, M and minimizer `target`, :math:`\kappa=M/m`, surjective
    :math:`Dh(w_0)` and alpha above the threshold: with :math:`r=\|y^*\|`,
    :math:`\rho=2\sqrt\kappa\,r/(\alpha\sigma)`, :math:`K=\|Dh(w_0)\|` and
    :math:`A=(2K+L\rho)L\rho M\sqrt\kappa\,r/\sigma`, the bounds are :math:`\rho` (weights moved),
    :math:`\frac4{\alpha m\sigma^2}(L\rho M\sqrt\kappa\,r+KMg)` (weights apart) and
    :math:`g=\frac{4KA}{3m\sigma^2}` (outputs apart), of order 1/α, 1/α² and 1/α.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    _, _, h0, D = _at(model, w0)
    _need_zero(h0)
    r = np.linalg.norm(_target(target, h0))
    m, M = _constant(loss, "strong_convexity"), _constant(loss, "smoothness")
    _, sigma, condition, L = _surjective(D, M / m if m else np.inf, lipschitz)
    if r >= alpha * convergence_threshold(D, condition, L):
        raise ValueError(
            f"alpha must be more than {r / convergence_threshold(D, condition, L):g} for these "
            f"bounds, got {alpha:g}"
        )
    K, speed = _norm(D), m * sigma**2 / 4
    rho, force = 2 * np.sqrt(condition) * r / (alpha * sigma), M * np.sqrt(condition) * r
    outputs = K * (2 * K + L * rho) * L * rho * force / sigma / (3 * speed)
    return np.array([rho, (L * rho * force + K * M * outputs) / (alpha * speed), outputs])


def bounded_weights(width, d, rng):
    r"""Return w for `two_layer`: unit vectors :math:`a_j`, uniform, and random signs :math:`b_j`.

    Bounded and symmetric, as the bound on :math:`\mathbb E\,\kappa` in the chapter asks.
    """
    width, d = _check.count("width", width), _check.count("d", d)
    a = _check.generator("rng", rng).standard_normal((width, d))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return np.concatenate([a.ravel(), rng.choice([-1.0, 1.0], size=width)])


@dataclass(frozen=True)
class Classroom:
    """Data from a teacher network, and the weights with which the students start.

    `X`, `y`, `X_test`, `y_test` are inputs (one a row) and outputs; `a` (m, d) and `b` (m,) the
    weights at scale one, the second half a copy of the first with b reversed (doubling trick).
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    a: np.ndarray
    b: np.ndarray


def classroom(d, m, n_train, rng, n_teacher=3, n_test=1000):
    r"""Return a `Classroom`: a sum of `n_teacher` ReLU neurons to be learnt by `m` of them.

    Inputs are uniform on the sphere of radius :math:`\sqrt d`, the teacher's weights unit vectors,
    its output divided by its standard deviation. Students have weights of variance 1/d and 1/m,
    doubled, so that their first output is zero.
    """
    d, m, n_teacher = (
        _check.count(*pair) for pair in [("d", d), ("m", m), ("n_teacher", n_teacher)]
    )
    n_train, n_test = _check.count("n_train", n_train), _check.count("n_test", n_test, 2)
    _check.generator("rng", rng)
    if m % 2:
        raise ValueError(f"m must be even, because half of the neurons mirror the rest; got {m}")

    def on_sphere(count):
        Z = rng.standard_normal((count, d))
        return Z / np.linalg.norm(Z, axis=1, keepdims=True)

    X, X_test = np.sqrt(d) * on_sphere(n_train), np.sqrt(d) * on_sphere(n_test)
    teacher = on_sphere(n_teacher)
    y, y_test = (np.maximum(Z @ teacher.T, 0).sum(axis=1) for Z in (X, X_test))
    half = rng.standard_normal((m // 2, d)) / np.sqrt(d)
    signs = rng.standard_normal(m // 2) / np.sqrt(m)
    a, b = np.concatenate([half, half]), np.concatenate([signs, -signs])
    return Classroom(X, y / y_test.std(), X_test, y_test / y_test.std(), a, b)


def students(room, scales, n_steps, step):
    r"""Train ReLU students from weights of several scales by gradient **descent**.

    Each runs `n_steps` steps of length :math:`\text{step}/(1+\tau^2)` on
    :math:`\frac1{2n}\|h-y\|^2` from the weights :math:`\tau(a,b)`. By homogeneity that is output
    scale :math:`\alpha=\tau^2`. All scales move together in one stack of weights.

    Parameters
    ----------
    room : Classroom
    scales : vector of positive numbers
    n_steps : int
    step : float

    Returns
    -------
    train_error, test_error, moved : ndarrays, one entry a scale
        Half the mean squared errors, and :math:`\|w-w_0\|/\|w_0\|`.

    Raises
    ------
    ValueError
        If a scale is not positive, or the step is so long that the numbers blow up.
    """
    scales = np.atleast_1d(_check.finite_array("scales", scales))
    if np.any(scales <= 0):
        raise ValueError(f"scales must be positive, got {scales.min():g}")
    n_steps, step = _check.count("n_steps", n_steps), _check.number("step", step, 0, strict=True)
    (m, d), count, n = room.a.shape, len(scales), len(room.y)
    a0 = (scales[:, None, None] * room.a).reshape(count * m, d)
    b0 = scales[:, None] * room.b
    a, b, steps = a0.copy(), b0.copy(), step / (1 + scales**2)

    def outputs(X):
        active = np.maximum(X @ a.T, 0).reshape(len(X), count, m)
        return active, (active * b).sum(axis=2)

    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(n_steps):
            active, h = outputs(room.X)
            r = (h - room.y[:, None]) * (steps / n)
            pull = (active > 0) * (r[:, :, None] * b)
            a, b = (
                a - pull.reshape(n, -1).T @ room.X,
                b - np.einsum("nsm,ns->sm", active, r),
            )
        errors = [
            0.5 * np.mean((outputs(X)[1] - y[:, None]) ** 2, axis=0)
            for X, y in ((room.X, room.y), (room.X_test, room.y_test))
        ]
    if not np.all(np.isfinite(errors)):
        raise ValueError(f"step = {step:g} is too long: descent diverged; take a shorter one")
    squares = ((a - a0) ** 2).reshape(count, -1).sum(axis=1) + ((b - b0) ** 2).sum(axis=1)
    return *errors, np.sqrt(squares / (scales**2 * (np.sum(room.a**2) + np.sum(room.b**2))))


def lazy_student(room, n_steps, step):
    r"""Return (train error, test error) of the linearized student, the limit of large scale.

    `n_steps` of kernel gradient descent with the tangent kernel at the start, summed in closed form
    with its eigenvectors. The limit of `students` for :math:`\tau\to\infty`.
    """
    n_steps, step = _check.count("n_steps", n_steps), _check.number("step", step, 0, strict=True)

    def kernel(X, Z):
        zx, zz = X @ room.a.T, Z @ room.a.T
        gates = ((zx > 0) * room.b**2) @ (zz > 0).T
        return gates * (X @ Z.T) + np.maximum(zx, 0) @ np.maximum(zz, 0).T

    values, vectors = np.linalg.eigh(kernel(room.X, room.X))
    shrink = 1 - step * values / len(room.y)
    if shrink.min() < -1:
        raise ValueError(f"step = {step:g} is too long: descent diverges; take a shorter one")
    # sum over k < n_steps of shrink^k, which is n_steps where the kernel vanishes
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(1 - shrink > 1e-12, (1 - shrink**n_steps) / (1 - shrink), n_steps)
    coefficients = vectors @ (total * (vectors.T @ room.y)) * step / len(room.y)
    return tuple(
        0.5 * np.mean((kernel(X, room.X) @ coefficients - y) ** 2)
        for X, y in ((room.X, room.y), (room.X_test, room.y_test))
    )


def paper_students(seed, scales=PAPER_SCALES):
    """Return rows (seed, scale, train error, test error, moved) at the size of the paper.

    The last row, with scale infinity, is the linearized student.
    """
    size = PAPER_SIZE
    room = classroom(size["d"], size["m"], size["n_train"], np.random.default_rng(seed))
    columns = students(room, scales, size["n_steps"], size["step"])
    rows = [(seed, *row) for row in zip(scales, *columns, strict=True)]
    return [*rows, (seed, np.inf, *lazy_student(room, size["n_steps"], size["step"]), 0.0)]


def stored_students():
    """Return the stored table as an array with columns seed, scale, train, test, moved."""
    return np.loadtxt(STUDENTS, delimiter=",", skiprows=1)


def main():
    """Compute the stored table afresh: about a minute for three seeds."""
    with STUDENTS.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["seed", "scale", "train_error", "test_error", "moved"])
        for seed in range(3):
            for row in paper_students(seed):
                table.writerow([f"{number:.6g}" for number in row])


def _weights(w, size):
    w = np.asarray(w, dtype=float)
    if w.shape != (size,):
        raise ValueError(f"w must be a vector of {size} weights, got shape {w.shape}")
    return w


def _at(model, w0):
    """Return the model as a `Model`, w0, h(w0) and Dh(w0), all checked."""
    model = numerical(model)
    w0 = _check.finite_array("w0", w0, ndim=1)
    h0 = _check.finite_array("model(w0)", model(w0), ndim=1)
    return model, w0, h0, _check.matrix("the differential of model at w0", model.differential(w0))


def _target(target, h0):
    target = np.atleast_1d(_check.finite_array("target", target))
    if target.shape != h0.shape:
        raise ValueError(
            f"target must have the shape of the model's output, {h0.shape}, got {target.shape}"
        )
    return target


def _curvature(model, w):
    """Return ‖D²h(w)‖; with w None only insist that it exists."""
    if model.curvature is None:
        raise ValueError(
            "model is not twice differentiable (a non-smooth activation such as relu), and this "
            "needs a smooth one; take softplus or tanh, or train by descent with `students`"
        )
    return None if w is None else model.curvature(w)


def _loss_gradient(loss, y):
    try:
        column = np.asarray(loss.gradient(y[:, None]))
    except ValueError:
        column = np.empty(0)
    if column.shape != (len(y), 1):
        raise ValueError(
            f"loss must be one of columns of {len(y)} outputs: make it with a target[:, None] of "
            f"shape {(len(y), 1)}"
        )
    return column[:, 0]


def _constant(loss, name):
    value = getattr(loss, name)
    if value is None:
        raise ValueError(f"loss has no known constant {name!r}, which this theorem needs")
    return value


def _need_zero(h0):
    if np.abs(h0).max() > 1e-12:
        raise ValueError("model must have output zero at w0; see `doubled` and `centred`")


def _surjective(D, condition, lipschitz):
    D = _check.matrix("D", D)
    condition = _check.number("condition", condition, 1)
    lipschitz = _check.number("lipschitz", lipschitz, 0, strict=True)
    singular = np.linalg.svd(D, compute_uv=False)
    if D.shape[0] > D.shape[1] or singular[-1] <= 1e-13 * singular[0]:
        raise ValueError(
            f"D of shape {D.shape} must have full row rank (as many independent rows as outputs)"
        )
    return D, singular[-1], condition, lipschitz


def _norm(D):
    return np.linalg.norm(D, 2)


def _has_kink(value, w):
    """Tell whether one-sided slopes along an axis differ by an amount that does not shrink."""
    here = value(w)
    for e in np.eye(len(w)):
        jumps = []
        for step in (1e-4, 1e-6):
            ahead, behind = value(w + step * e) - here, here - value(w - step * e)
            jumps.append(np.abs(ahead - behind).max() / step)
        slope = max(np.abs(ahead).max(), np.abs(behind).max()) / step
        # The last term is well above round-off in the values.
        if jumps[1] > max(0.5 * jumps[0], 1e-5 * slope, 1e-8 * np.abs(here).max()):
            return True
    return False


def _largest_norm(forms):
    """Return the largest norm of a stack of forms, shape (m, n, p, p).

    The unfolded forms bound the norms from above, so that not all of the stack is looked at.
    """
    m, n, p, _ = forms.shape
    flat, wide = forms.reshape(m, n, -1), forms.swapaxes(1, 2).reshape(m, p, -1)
    grams = [M @ M.swapaxes(1, 2) for M in (flat, wide)]
    bounds = np.sqrt(np.min([np.linalg.eigvalsh(gram)[:, -1] for gram in grams], axis=0))
    order, best = np.argsort(-bounds), 0.0
    for begin in range(0, m, 16):
        chunk = order[begin : begin + 16]
        if bounds[chunk[0]] <= best:
            break
        best = max(best, _norms(forms[chunk]).max())
    return float(best)


def _norms(forms, tolerance=1e-12, max_iterations=100):
    """Return the norms of a stack of symmetric bilinear forms, shape (m, n, p, p)."""
    m, n, p, _ = forms.shape
    flat = forms.reshape(m, n, p * p)
    starts = [np.broadcast_to(e, (m, n)) for e in np.eye(n)]
    starts.append(np.linalg.eigh(flat @ flat.swapaxes(1, 2))[1][:, :, -1])
    z, before = np.stack(starts, axis=1), np.zeros((m, n + 1, 1))  # z: (m, n + 1, n)
    for _ in range(max_iterations):
        values, vectors = np.linalg.eigh((z @ flat).reshape(m, -1, p, p))
        top = np.argmax(np.abs(values), axis=-1)[..., None, None]
        u = np.take_along_axis(vectors, top, axis=-1)[..., 0]
        squares = (u[..., :, None] * u[..., None, :]).reshape(m, -1, p * p)
        image = squares @ flat.swapaxes(1, 2)  # B[u, u] for each start, never shorter than before
        lengths = np.linalg.norm(image, axis=-1, keepdims=True)
        if np.all(lengths - before <= tolerance * lengths):
            break
        z, before = np.where(lengths > 0, image / np.where(lengths > 0, lengths, 1), z), lengths
    return lengths[..., 0].max(axis=1)


if __name__ == "__main__":
    main()
