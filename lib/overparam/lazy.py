r"""Lazy training: a model beside its linearization (chapter "Lazy training").

Letters: :math:`h:\mathbb R^p\to\mathbb R^n` is the model, :math:`Dh(w)` its differential, of shape
(n, p), :math:`\bar h(w)=h(w_0)+Dh(w_0)(w-w_0)` its linearization. A loss R of the output y is a
`losses.Loss` of the column y (shape (n, 1)), such as ``losses.squared_distance(target[:, None])``,
with ½. Training is gradient flow of :math:`F_\alpha(w)=R(\alpha h(w))/\alpha^2`
(Smith 2022, 2.3; Chizat, Oyallon and Bach 2019).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from overparam import _check, activations, flow


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
    activation : str or activations.Activation
        Without a second derivative (ReLU) the model has no curvature, and a differential away from
        the kinks only.
    scale : float
        :math:`\alpha(m)` of Smith 2022, 2.4.
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
        return scale * sigma.value(X @ a.T) @ b

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
        forms[:, :, :d, d] = forms[:, :, d, :d] = np.einsum("ij,ik->jik", sigma.slope(z), X)
        return scale * _largest_norm(forms)

    return Model(value, differential, None if sigma.bend is None else curvature)


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


def linearize(model, w0):
    r"""Return the model :math:`\bar h(w)=h(w_0)+Dh(w_0)(w-w_0)` (Smith 2022, 2.1).

    Parameters
    ----------
    model : Model
    w0 : vector, shape (p,)

    Raises
    ------
    ValueError
        If `w0` is not finite or does not fit, or if a network has a kink there.
    """
    w0, h0, D = _at(model, w0)
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
    w0, h0, _ = _at(model, w0)
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
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    w0, h0, D = _at(model, w0)
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
    w0, h0, D = _at(model, w0)
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
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    w0, h0, _ = _at(model, w0)
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
    w0, _, _ = _at(model, w0)
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

    With :math:`\Delta R=R(0)-\inf R`, :math:`s_1=\|Dh(w_0)\|`, H = `lipschitz`, R K-smooth,
    :math:`\rho=\sqrt{T\Delta R}/\alpha` and :math:`G=\sqrt{2K\Delta R}`: the weights move at most
    :math:`\rho`, the outputs differ by at most
    :math:`g=(2s_1+H\rho)H\rho G\,\frac{e^{s_1^2KT}-1}{s_1^2K}`, the weights by at most
    :math:`\frac T\alpha(H\rho G+s_1Kg)`. The form of Theorem 2.2 of Smith 2022 that the chapter
    proves; H is a Lipschitz constant of Dh on the ball of radius :math:`\rho`.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    T = _check.number("time", time, 0, strict=True)
    H = _check.number("lipschitz", lipschitz, 0)
    _, h0, D = _at(model, w0)
    _need_zero(h0)
    K = _constant(loss, "smoothness")
    excess = loss.value(h0[:, None]) - _constant(loss, "minimum")
    s_1, G = _norm(D), np.sqrt(2 * K * excess)
    rho = np.sqrt(T * excess) / alpha
    growth = np.expm1(s_1**2 * K * T) / (s_1**2 * K) if s_1 * K else T
    outputs = (2 * s_1 + H * rho) * H * rho * G * growth
    return np.array([rho, T / alpha * (H * rho * G + s_1 * K * outputs), outputs])


def convergence_threshold(D, condition, lipschitz):
    r"""Return :math:`s^2/(4\sqrt{K/\mu}\,H)`.

    The flow converges exponentially when :math:`\|h(w_0)-y^*/\alpha\|` is less than this, as the
    chapter proves. `D` is :math:`Dh(w_0)`, shape (n, p), onto, with the smallest singular value s;
    `condition` is :math:`K/\mu` of the loss and `lipschitz` the Lipschitz constant H of Dh.
    """
    _, s, condition, lipschitz = _onto(D, condition, lipschitz)
    return s**2 / (4 * np.sqrt(condition) * lipschitz)


def convergence_rate(D, strong_convexity):
    r"""Return :math:`\mu s^2/4`, the rate of :math:`\|\alpha h-y^*\|` in Theorem 2.4."""
    _, s, _, _ = _onto(D, 1.0, 1.0)
    return _check.number("strong_convexity", strong_convexity, 0, strict=True) * s**2 / 4


def uniform_bounds(model, w0, loss, target, alpha, lipschitz):
    r"""Return bounds on the three `gaps` over all :math:`t\ge0`, for :math:`h(w_0)=0`.

    For R with the constants :math:`\mu,K` and minimizer `target`, :math:`Dh(w_0)` onto and alpha
    above the threshold: with :math:`c=\sqrt{K/\mu}`, :math:`s_1=\|Dh(w_0)\|`, s its smallest
    singular value, :math:`\rho=2c\|y^*\|/(\alpha s)` and
    :math:`A=(2s_1+H\rho)H\rho Kc\|y^*\|/s`, the bounds are :math:`\rho` (weights moved),
    :math:`\frac4{\alpha\mu s^2}(H\rho Kc\|y^*\|+s_1Kg)` (weights apart) and
    :math:`g=\frac{4s_1A}{3\mu s^2}` (outputs apart), of order 1/α, 1/α² and 1/α.
    """
    alpha = _check.number("alpha", alpha, 0, strict=True)
    _, h0, D = _at(model, w0)
    _need_zero(h0)
    size = np.linalg.norm(_target(target, h0))
    mu, K = _constant(loss, "strong_convexity"), _constant(loss, "smoothness")
    _, s, condition, H = _onto(D, K / mu if mu else np.inf, lipschitz)
    least = size / convergence_threshold(D, condition, H)
    if alpha <= least:
        raise ValueError(f"alpha must be more than {least:g} for these bounds, got {alpha:g}")
    s_1, rate, c = _norm(D), mu * s**2 / 4, np.sqrt(condition)
    rho, force = 2 * c * size / (alpha * s), K * c * size
    outputs = s_1 * (2 * s_1 + H * rho) * H * rho * force / s / (3 * rate)
    return np.array([rho, (H * rho * force + s_1 * K * outputs) / (alpha * rate), outputs])


def bounded_weights(width, d, rng):
    r"""Return w for `two_layer`: unit vectors :math:`a_j`, uniform, and random signs :math:`b_j`.

    Bounded and symmetric, as the bound on :math:`\mathbb E\,\kappa` in the chapter asks.
    """
    width, d = _check.count("width", width), _check.count("d", d)
    a = _check.generator("rng", rng).standard_normal((width, d))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return np.concatenate([a.ravel(), rng.choice([-1.0, 1.0], size=width)])


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
            "needs a smooth one; take softplus or tanh, or train by descent"
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


def _onto(D, condition, lipschitz):
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
