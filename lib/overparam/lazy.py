r"""Lazy training: a model beside its linearization (chapter "Lazy training").

Letters: :math:`h:\mathbb R^p\to\mathbb R^n` is the model, :math:`Dh(w)` its differential, of shape
(n, p), :math:`\bar h(w)=h(w_0)+Dh(w_0)(w-w_0)` its linearization. A loss R of the output y is a
`losses.Loss` of the column y (shape (n, 1)), such as ``losses.squared_distance(target[:, None])``,
with ½. Training is gradient flow of :math:`F_\alpha(w)=R(\alpha h(w))/\alpha^2`
(Smith 2022, 2.3; Chizat, Oyallon and Bach 2019).

The experiment with a teacher and its students is after figure 1 of Chizat, Oyallon and Bach 2019.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overparam import _check, activations, flow
from overparam.losses import Loss

# Columns seed, τ, train error, test error, moved; made by tests/test_lazy.py, run as a program.
STORED = Path(__file__).parent / "data" / "lazy_students.csv"

Classroom = namedtuple("Classroom", "X y X_test y_test a b")
Classroom.__doc__ = r"""Data from a teacher network, and the weights with which the students start.

`X`, `y`, `X_test`, `y_test` are inputs (one a row) and outputs; `a` (m, d) and `b` (m,) the
weights at scale one, the second half a copy of the first with b reversed (doubling trick).
"""


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

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import lazy
    >>> square = lazy.Model(lambda w: w**2, lambda w: 2 * np.diag(w), lambda w: 2.0)
    >>> square(np.array([3.0]))
    array([9.])
    """

    value: Callable[[ArrayLike], NDArray]
    differential: Callable[[ArrayLike], NDArray]
    curvature: Callable[[ArrayLike], float] | None

    def __call__(self, w: ArrayLike) -> NDArray:
        return self.value(w)


def two_layer(X: ArrayLike, width: int, activation: str = "tanh", scale: float = 1.0) -> Model:
    r"""Return the network :math:`h(w)_i=\mathrm{scale}\cdot\sum_jb_j\sigma(a_j\cdot x_i)`.

    Parameters
    ----------
    X : matrix, shape (n, d)
        The inputs, one a row.
    width : int
        The number m of neurons. The weights w are the m rows a_j one after the other and then b,
        p = m(d + 1) numbers.
    activation : str
        A name, or an `activations.Activation`. Without a second derivative (ReLU) the model has no
        curvature, and a differential away from the kinks only.
    scale : float
        :math:`\alpha(m)` of Smith 2022, 2.4.

    Examples
    --------
    One neuron, h = b tanh(a) for the input 1, at a = 0 and b = 2.

    >>> from overparam import lazy
    >>> network = lazy.two_layer([[1.0]], 1)
    >>> network.differential([0.0, 2.0]).round(4), round(network.curvature([0.0, 2.0]), 4)
    (array([[2., 0.]]), 1.0)
    """
    X = _check.matrix("X", X)
    width = _check.count("width", width)
    scale = _check.number("scale", scale, 0, strict=True)
    sigma = activations.named(activation)
    d = X.shape[1]

    def split(w):
        w = _weights(w, width * (d + 1))
        return w[: width * d].reshape(width, d), w[width * d :]

    def value(w):
        a, b = split(w)
        return scale * sigma.evaluate(X @ a.T)[0] @ b

    def differential(w):
        a, b = split(w)
        z = X @ a.T
        if not sigma.smooth and np.any(z == 0):
            raise ValueError(
                "w puts a neuron on a kink of its activation, where the model has no "
                "differential; move w or take a smooth activation"
            )
        values, slopes = sigma.evaluate(z)
        inner = (slopes * b)[:, :, None] * X[:, None, :]
        return scale * np.hstack([inner.reshape(len(X), -1), values])

    def curvature(w):
        # D²h is a sum over neurons of forms of separate weights: its norm is the largest of theirs.
        a, b = split(w)
        z = X @ a.T
        forms = np.zeros((width, len(X), d + 1, d + 1))
        forms[:, :, :d, :d] = np.einsum("ij,ik,il->jikl", sigma.bend(z) * b, X, X, optimize=True)
        forms[:, :, :d, d] = forms[:, :, d, :d] = np.einsum("ij,ik->jik", sigma.evaluate(z)[1], X)
        return scale * _largest_norm(forms)

    return Model(value, differential, None if sigma.bend is None else curvature)


def quadratic(J: ArrayLike, Q: ArrayLike) -> Model:
    r"""Return :math:`h(w)_i=(Jw)_i+\tfrac12w^\top Q_iw`, whose :math:`D^2h` is constant.

    `J` has shape (n, p), `Q` (n, p, p) with symmetric :math:`Q_i`. The Lipschitz constant of Dh is
    its curvature.

    Examples
    --------
    >>> from overparam import lazy
    >>> square = lazy.quadratic([[0.0]], [[[2.0]]])  # w² = 0·w + ½·2·w²
    >>> square([3.0]), square.differential([3.0]), square.curvature([3.0])
    (array([9.]), array([[6.]]), 2.0)
    """
    J, Q = _check.matrix("J", J), _check.finite_array("Q", Q, ndim=3)
    n, p = J.shape
    if Q.shape != (n, p, p) or not np.allclose(Q, Q.transpose(0, 2, 1)):
        raise ValueError(f"Q must hold {n} symmetric matrices of size {p}, got shape {Q.shape}")
    norm = bilinear_norm(Q)
    return Model(
        lambda w: J @ _weights(w, p) + 0.5 * Q @ w @ w,
        lambda w: J + Q @ _weights(w, p),
        lambda w: norm,
    )


def linearize(model: Model, w0: ArrayLike) -> Model:
    r"""Return the model :math:`\bar h(w)=h(w_0)+Dh(w_0)(w-w_0)` (Smith 2022, 2.1).

    Parameters
    ----------
    model : Model
    w0 : vector, shape (p,)

    Raises
    ------
    ValueError
        If `w0` is not finite or does not fit, or if a network has a kink there.

    Examples
    --------
    >>> from overparam import lazy
    >>> square = lazy.quadratic([[0.0]], [[[2.0]]])
    >>> lazy.linearize(square, [1.0])([3.0])  # 1 + 2·(3 - 1)
    array([5.])
    """
    w0, h0, D = _at(model, w0)
    return Model(lambda w: h0 + D @ (_weights(w, len(w0)) - w0), lambda w: D.copy(), lambda w: 0.0)


def doubled(model: Model) -> Model:
    r"""Return :math:`(u,v)\mapsto h(u)-h(v)`: zero, and antisymmetric, at a start (u, u).

    Examples
    --------
    >>> from overparam import lazy
    >>> double = lazy.doubled(lazy.quadratic([[0.0]], [[[2.0]]]))  # u² - v²
    >>> double([3.0, 1.0]), double.differential([3.0, 1.0])
    (array([8.]), array([[ 6., -2.]]))
    """

    def halves(w):
        w = _check.finite_array("w", w, ndim=1)
        if len(w) % 2:
            raise ValueError(f"w must hold two equally long halves, got {len(w)} numbers")
        return np.split(w, 2)

    def differential(w):
        u, v = halves(w)
        return np.hstack([model.differential(u), -model.differential(v)])

    return Model(
        lambda w: np.subtract(*map(model, halves(w))),
        differential,
        model.curvature and (lambda w: max(map(model.curvature, halves(w)))),
    )


def centred(model: Model, w0: ArrayLike) -> Model:
    r"""Return :math:`w\mapsto h(w)-h(w_0)`, the other way to a start with output zero.

    Examples
    --------
    >>> from overparam import lazy
    >>> lazy.centred(lazy.quadratic([[0.0]], [[[2.0]]]), [1.0])([3.0])  # w² - 1
    array([8.])
    """
    w0, h0, _ = _at(model, w0)
    return Model(lambda w: model(w) - h0, model.differential, model.curvature)


def bilinear_norm(form: ArrayLike) -> float:
    r"""Return :math:`\max\|B[u,v]\|` over unit u, v for a symmetric bilinear form B, vector valued.

    `form` has shape (n, p, p), each slice symmetric. The maximum is one over unit z of the spectral
    norm of :math:`\sum_iz_iB_i`, found by alternating maximization from n + 1 starts: exact for
    n = 1, and in general a local maximum that is global in all our checks against a grid.

    Examples
    --------
    >>> from overparam import lazy
    >>> lazy.bilinear_norm([[[1.0, 0.0], [0.0, -3.0]]])
    3.0
    """
    form = _check.finite_array("form", form, ndim=3)
    flat = form.reshape(len(form), -1)
    z = np.vstack([np.eye(len(form)), np.linalg.eigh(flat @ flat.T)[1][:, -1]])
    before = 0.0
    for _ in range(100):
        values, vectors = np.linalg.eigh(np.tensordot(z, form, 1))
        u = vectors[np.arange(len(z)), :, np.argmax(np.abs(values), axis=1)]
        image = np.einsum("ki,kj,nij->kn", u, u, form)  # B[u, u], never shorter than before
        lengths = np.linalg.norm(image, axis=1, keepdims=True)
        if np.all(lengths - before <= 1e-12 * lengths):
            break
        z, before = image / np.maximum(lengths, np.finfo(float).tiny), lengths
    return float(lengths.max())


def relative_scale(model: Model, w0: ArrayLike, target: ArrayLike, alpha: float = 1.0) -> float:
    r"""Return :math:`\kappa_{\alpha h}(w_0)`, small for lazy training with the squared loss.

    .. math:: \kappa_{\alpha h}(w_0)=\frac1\alpha\,\|\alpha h(w_0)-y^*\|\,
              \frac{\|D^2h(w_0)\|}{\|Dh(w_0)\|^2}

    (Smith 2022, 2.1 and 2.2), with operator norms.

    Parameters
    ----------
    model : Model
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

    Examples
    --------
    The model w² at 1 with the target 3: the distance is 2, and κ = 2·2/2².

    >>> from overparam import lazy
    >>> print(f"{lazy.relative_scale(lazy.quadratic([[0.0]], [[[2.0]]]), [1.0], [3.0]):.2f}")
    1.00
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    w0, h0, D = _at(model, w0)
    size = np.linalg.norm(D, 2)
    if size == 0:
        raise ValueError("w0 is a critical point of the model, Dh(w0) = 0: kappa is not defined")
    return np.linalg.norm(_residual(alpha * h0, target)) * _curvature(model)(w0) / size**2 / alpha


def relative_changes(
    model: Model, w0: ArrayLike, target: ArrayLike, step: float
) -> tuple[float, float, float, float]:
    r"""Return the relative change in one gradient step of F and of Dh, and their predictions.

    For :math:`F=\tfrac12\|h(w)-y^*\|^2` and :math:`w_1=w_0-\eta\nabla F(w_0)`: the tuple
    (:math:`\Delta F`, :math:`\Delta Dh`, :math:`\eta\|\nabla F\|^2/F`,
    :math:`\eta\|\nabla F\|\,\|D^2h\|/\|Dh\|`) of Smith 2022, 2.1.

    Parameters
    ----------
    model, w0, target
        As for `relative_scale`.
    step : float
        :math:`\eta`, positive.

    Examples
    --------
    >>> from overparam import lazy
    >>> square = lazy.quadratic([[0.0]], [[[2.0]]])
    >>> print(*(f"{number:.4f}" for number in lazy.relative_changes(square, [1.0], [3.0], 0.001)))
    0.0080 0.0040 0.0080 0.0040
    """
    step = _check.number("step", step, 0, strict=True)
    w0, h0, D = _at(model, w0)
    residual, size = _residual(h0, target), np.linalg.norm(D, 2)
    loss, gradient = 0.5 * residual @ residual, D.T @ residual
    if loss == 0 or size == 0:
        raise ValueError("w0 must have a positive loss and a differential that is not zero")
    w1 = w0 - step * gradient
    after = _residual(model(w1), target)
    length = np.linalg.norm(gradient)
    return (
        abs(0.5 * after @ after - loss) / loss,
        np.linalg.norm(model.differential(w1) - D, 2) / size,
        step * length**2 / loss,
        step * length * _curvature(model)(w0) / size,
    )


def train(
    model: Model, w0: ArrayLike, loss: Loss, alpha: float, t: ArrayLike, **options: object
) -> flow.Trajectory:
    r"""Integrate :math:`\dot w=-\frac1\alpha Dh(w)^\top\nabla R(\alpha h(w))`, w(0) = w0.

    The gradient flow of :math:`F_\alpha=R(\alpha h)/\alpha^2` (Smith 2022, 2.3). With
    ``linearize(model, w0)`` it is the linearized flow.

    Parameters
    ----------
    model : Model
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
        `flow.gradient_descent`, and call it descent), a loss of another size, alpha
        that is not positive, or a flow that leaves every bound.

    Examples
    --------
    >>> from overparam import lazy, losses
    >>> square, loss = lazy.quadratic([[0.0]], [[[2.0]]]), losses.squared_distance([[4.0]])
    >>> lazy.train(square, [1.0], loss, 1.0, 5.0).final.round(4)
    array([2.])
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    w0, _, _ = _at(model, w0)
    _curvature(model)

    def gradient(w):
        return model.differential(w).T @ loss.gradient(alpha * model(w)[:, None])[:, 0] / alpha

    path = flow.gradient_flow(gradient, w0, t, **options)
    if path.reason == flow.DIVERGED:
        raise ValueError(f"model: its flow at alpha = {alpha:g} leaves every bound; {path!r}")
    return path


def gaps(model: Model, w0: ArrayLike, loss: Loss, alpha: float, t: ArrayLike) -> NDArray:
    r"""Return the three suprema of Theorem 2.2 of Smith 2022 over the times `t`.

    :math:`\sup\|w_\alpha-w_0\|`, :math:`\sup\|w_\alpha-\bar w_\alpha\|` and
    :math:`\sup\|\alpha h(w_\alpha)-\alpha\bar h(\bar w_\alpha)\|`, as an array. `t` is an
    increasing array of times. Both flows are integrated in the variable
    :math:`v=\alpha(w-w_0)`, in which small differences keep their digits.

    Parameters
    ----------
    model, w0, loss, alpha
        As for `train`.
    t : increasing vector
        The times.

    Examples
    --------
    The model w + w²/2 with the target 1 at two scales: about 1/α, 1/α² and 1/α.

    >>> import numpy as np
    >>> from overparam import lazy, losses
    >>> h, loss = lazy.quadratic([[1.0]], [[[1.0]]]), losses.squared_distance([[1.0]])
    >>> times = np.linspace(0, 20, 101)
    >>> small, large = (lazy.gaps(h, [0.0], loss, alpha, times) for alpha in (100, 1000))
    >>> np.log10(small / large).round(2)
    array([1., 2., 1.])
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    times = _check.finite_array("t", t, ndim=1)
    w0, _, _ = _at(model, w0)

    def path(h):
        point = lambda v: w0 + v / alpha  # noqa: E731
        near = Model(lambda v: alpha * h(point(v)), lambda v: h.differential(point(v)), h.curvature)
        v = train(near, np.zeros_like(w0), loss, 1.0, times, rtol=1e-11).states
        return v, np.array([near(state) for state in v])

    (v, y), (v_bar, y_bar) = path(model), path(linearize(model, w0))
    suprema = [np.linalg.norm(g, axis=1).max() for g in (v, v - v_bar, y - y_bar)]
    return np.array(suprema) / (alpha, alpha, 1)


def classroom(
    d: int, m: int, n_train: int, rng: np.random.Generator, n_teacher: int = 3
) -> Classroom:
    r"""Return a `Classroom`: a sum of `n_teacher` ReLU neurons to be learnt by `m` of them.

    Inputs (1000 of them for the test) are uniform on the sphere of radius :math:`\sqrt d`, the
    teacher's weights unit vectors, its output divided by its standard deviation. Students have
    weights of variance 1/d and 1/m, doubled, so that their first output is zero.

    Parameters
    ----------
    d : int
        Dimension of the inputs.
    m : int
        Number of the students' neurons, even.
    n_train : int
        Number of data.
    rng : numpy.random.Generator
    n_teacher : int
        Number of the teacher's neurons.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import lazy
    >>> room = lazy.classroom(5, 4, 20, np.random.default_rng(0))
    >>> room.X.shape, room.a.shape
    ((20, 5), (4, 5))
    """
    d, m, n_train = _check.count("d", d), _check.count("m", m), _check.count("n_train", n_train)
    if m % 2:
        raise ValueError(f"m must be even, because half of the neurons mirror the rest; got {m}")
    normal = _check.generator("rng", rng).standard_normal

    def on_sphere(count):
        Z = normal((count, d))
        return Z / np.linalg.norm(Z, axis=1, keepdims=True)

    X, X_test = np.sqrt(d) * on_sphere(n_train), np.sqrt(d) * on_sphere(1000)
    teacher = on_sphere(_check.count("n_teacher", n_teacher))
    y, y_test = (np.maximum(Z @ teacher.T, 0).sum(axis=1) for Z in (X, X_test))
    a, b = normal((m // 2, d)) / np.sqrt(d), normal(m // 2) / np.sqrt(m)
    a, b = np.concatenate([a, a]), np.concatenate([b, -b])
    return Classroom(X, y / y_test.std(), X_test, y_test / y_test.std(), a, b)


def trained(room: Classroom, tau: float, n_steps: int, step: float) -> tuple[float, float, float]:
    r"""Train a ReLU student from the weights :math:`\tau(a,b)` by gradient **descent**.

    `n_steps` steps of length :math:`\text{step}/(1+\tau^2)` on :math:`\frac1{2n}\|h-y\|^2`. By
    homogeneity :math:`\tau` is the output scale :math:`\alpha=\tau^2`.

    Parameters
    ----------
    room : Classroom
    tau : float
        The scale, positive.
    n_steps : int
    step : float

    Returns
    -------
    train_error, test_error, moved : floats
        Half the mean squared errors, and :math:`\|w-w_0\|/\|w_0\|`.

    Raises
    ------
    ValueError
        If the scale is not positive, or the step is so long that the numbers blow up.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import lazy
    >>> room = lazy.classroom(5, 4, 20, np.random.default_rng(0))
    >>> rich, late = (lazy.trained(room, tau, 500, 0.2) for tau in (0.1, 10.0))
    >>> print(f"{rich[2]:.0f} {late[2]:.2f}")
    9 0.02
    """
    tau, step = (_check.number(*pair, 0, strict=True) for pair in (("tau", tau), ("step", step)))
    n, a0, b0 = len(room.y), tau * room.a, tau * room.b
    a, b = a0, b0
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_check.count("n_steps", n_steps)):
            active = np.maximum(room.X @ a.T, 0)
            r = (active @ b - room.y) * (step / (1 + tau**2) / n)
            a, b = a - ((active > 0) * np.outer(r, b)).T @ room.X, b - active.T @ r
        pairs = (room.X, room.y), (room.X_test, room.y_test)
        errors = [np.mean((np.maximum(X @ a.T, 0) @ b - y) ** 2) / 2 for X, y in pairs]
    if not np.all(np.isfinite(errors)):
        raise ValueError(f"step = {step:g} is too long: descent diverged; take a shorter one")
    moved = np.hypot(np.linalg.norm(a - a0), np.linalg.norm(b - b0))
    return *errors, moved / np.hypot(np.linalg.norm(a0), np.linalg.norm(b0))


def linearized(room: Classroom, n_steps: int, step: float) -> tuple[float, float]:
    r"""Return (train error, test error) of the linearized student, the limit of large scale.

    `n_steps` of its descent, summed in closed form with the eigenvectors of its tangent kernel. The
    limit of `trained` for :math:`\tau\to\infty`.

    Parameters
    ----------
    room : Classroom
    n_steps : int
    step : float
        That of `trained`, in the limit.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import lazy
    >>> room = lazy.classroom(5, 4, 20, np.random.default_rng(0))
    >>> print(*(f"{error:.3f}" for error in lazy.linearized(room, 500, 0.2)))
    0.729 1.167
    """
    n_steps, step = _check.count("n_steps", n_steps), _check.number("step", step, 0, strict=True)
    student = two_layer(np.vstack([room.X, room.X_test]), len(room.b), "relu")
    D, n = student.differential(np.concatenate([room.a.ravel(), room.b])), len(room.y)
    kernel = D @ D[:n].T
    values, vectors = np.linalg.eigh(kernel[:n])
    shrink = 1 - step / n * values
    if shrink[-1] < -1:
        raise ValueError(f"step = {step:g} is too long: descent diverges; take a shorter one")
    total = np.polyval(np.ones(n_steps), shrink)  # the geometric series of each mode
    outputs = kernel @ vectors @ (total * (vectors.T @ room.y)) * step / n
    errors = (outputs - np.concatenate([room.y, room.y_test])) ** 2 / 2
    return errors[:n].mean(), errors[n:].mean()


def _weights(w, size):
    w = np.asarray(w, dtype=float)
    if w.shape != (size,):
        raise ValueError(f"w must be a vector of {size} weights, got shape {w.shape}")
    return w


def _at(model, w0):
    """Return w0, h(w0) and Dh(w0), all checked."""
    if not isinstance(model, Model):
        raise ValueError(f"model must be a lazy.Model with its differential, got {model!r:.80}")
    w0 = _check.finite_array("w0", w0, ndim=1)
    h0 = _check.finite_array("model(w0)", model(w0), ndim=1)
    return w0, h0, _check.matrix("the differential of model at w0", model.differential(w0))


def _residual(output, target):
    return output - _check.shaped("target", np.atleast_1d(target), output.shape, "h")


def _curvature(model):
    """Return the function ‖D²h‖, or say that there is none."""
    if model.curvature is None:
        raise ValueError("model is not twice differentiable (relu?): take softplus, or descent")
    return model.curvature


def _largest_norm(forms):
    """Return the largest norm of a stack of forms, shape (m, n, p, p).

    The unfolded forms bound the norms from above, so that not all of the stack is looked at.
    """
    m, n, p, _ = forms.shape
    unfolded = forms.reshape(m, n, -1), forms.swapaxes(1, 2).reshape(m, p, -1)
    bounds = np.min([np.linalg.norm(M, 2, axis=(1, 2)) for M in unfolded], axis=0)
    best = 0.0
    for j in np.argsort(-bounds):
        if bounds[j] <= best:
            break
        best = max(best, bilinear_norm(forms[j]))
    return best
