r"""The neural tangent kernel (chapter "The neural tangent kernel").

A network is the list of its layers, of shapes (h_{l-1}, h_l) with h_0 = d and h_L = 1, and acts on
the rows of X, of shape (N, d):
:math:`f(X)=h_{L-1}^{-1/2}\,\sigma(\cdots h_1^{-1/2}\,\sigma(XW_1)\,W_2\cdots)\,W_L`, without
biases. For two layers :math:`f(x)=m^{-1/2}\sum_jb_j\sigma(a_j\cdot x)` with the columns
:math:`a_j` of :math:`W_1`. The factors are left out with ``scaled=False``. All layers are trained;
the start is standard normal, ``networks.gaussian(sizes, 1.0, rng)``.

Costs are functions of the N outputs and carry the weight 1/N of the empirical distribution:
:math:`C=\frac1{2N}\|f-y\|^2` for the squared cost, with the residual
:math:`r=f-y` (Smith 2022, 3.1; Jacot, Gabriel and Hongler 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from overparam import _check, activations, flow, networks
from overparam.activations import Activation
from overparam.flow import Trajectory

Layers = Sequence[ArrayLike]


def predict(
    weights: Layers, X: ArrayLike, activation: str | Activation = "relu", scaled: bool = True
) -> NDArray:
    """Return the network's outputs f(X), shape (N,).

    Parameters
    ----------
    weights : list of matrices
    X : matrix, shape (N, d)
    activation : str or Activation
    scaled : bool
        Whether the factors stand before the layers.

    Examples
    --------
    Two neurons, a = 1 and -1, b = 3 and 5: at x = 2 only the first is on, 3·2/√2.

    >>> from overparam import kernel
    >>> kernel.predict([[[1.0, -1.0]], [[3.0], [5.0]]], [[2.0]]).round(4)
    array([4.2426])
    """
    weights, X = _network(weights, X)
    return _forward(weights, X, activations.named(activation), scaled)[-1]


def gradients(
    weights: Layers, X: NDArray, gradient: Callable[[NDArray], NDArray],
    activation: str | Activation = "relu", scaled: bool = True,
) -> list[NDArray]:
    r"""Return the gradients by each layer of a cost of the outputs.

    Written out by hand and, as it stands in inner loops, without checks of its arguments.

    Parameters
    ----------
    weights : list of matrices
    X : matrix, shape (N, d)
    gradient : callable
        Maps the outputs, shape (N,), to :math:`\partial C/\partial f`, shape (N,); for instance
        ``lambda f: (f - y) / len(y)``.
    activation : str or activations.Activation
        A key of `activations.ACTIVATIONS`, or your own.
    scaled : bool
        Whether the factors :math:`h_l^{-1/2}` belong to the network.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import kernel
    >>> weights = [np.array([[1.0, -1.0]]), np.array([[3.0], [5.0]])]
    >>> first, last = kernel.gradients(weights, np.array([[2.0]]), lambda f: np.ones(1))
    >>> first.round(4), last.T.round(4)
    (array([[4.2426, 0.    ]]), array([[1.4142, 0.    ]]))
    """
    inputs, slopes, outputs = _forward(weights, X, activations.named(activation), scaled)
    return [H.T @ B for H, B in _backward(weights, inputs, slopes, gradient(outputs), scaled)]


def tangent_kernel(
    weights: Layers, X1: ArrayLike, X2: ArrayLike | None = None,
    activation: str | Activation = "relu", scaled: bool = True,
) -> NDArray:
    r"""Return the empirical tangent kernel of a network.

    :math:`\Theta(x,x')=\langle\nabla f(x),\nabla f(x')\rangle`, by all weights. The gradient of
    f(x) by layer l is an outer product, of the layer's input and what comes back to its output;
    so each layer adds the entrywise product of two Gram matrices, and no Jacobian
    is formed (Smith 2022, 3.1).

    Parameters
    ----------
    weights : list of matrices
        The last with one column.
    X1, X2 : matrices, shapes (N1, d) and (N2, d)
        X2 is X1 by default.
    activation, scaled
        As for `gradients`.

    Returns
    -------
    ndarray, shape (N1, N2)

    Examples
    --------
    One neuron, f(x) = b relu(a x) at a = 1, b = 3: the kernel is (1 + b²) x x' for x, x' > 0.

    >>> from overparam import kernel
    >>> kernel.tangent_kernel([[[1.0]], [[3.0]]], [[1.0], [2.0], [-1.0]]).round(4) + 0
    array([[10., 20.,  0.],
           [20., 40.,  0.],
           [ 0.,  0.,  0.]])
    """
    activation = activations.named(activation)

    def factors(name, X):
        layers, X = _network(weights, X, name)
        inputs, slopes, _ = _forward(layers, X, activation, scaled)
        return _backward(layers, inputs, slopes, np.ones(len(X)), scaled)

    first = factors("X1", X1)
    pairs = zip(first, first if X2 is None else factors("X2", X2), strict=True)
    return sum((H1 @ H2.T) * (B1 @ B2.T) for (H1, B1), (H2, B2) in pairs)


def relu_kernel(X1: ArrayLike, X2: ArrayLike | None = None) -> NDArray:
    r"""Return the limit kernel of two-layer ReLU networks of growing width.

    For :math:`m^{-1/2}\sum_jb_j\mathrm{relu}(a_j\cdot x)`, standard normal a and b, both trained,
    and :math:`\varphi` the angle between x and x':
    :math:`\Theta_\infty=\frac{|x||x'|}{2\pi}(\sin\varphi+(\pi-\varphi)\cos\varphi)
    +\langle x,x'\rangle\frac{\pi-\varphi}{2\pi}` (Smith 2022, 3.2; Cho and Saul 2009).

    Parameters
    ----------
    X1, X2 : matrices, shapes (N1, d) and (N2, d)
        X2 is X1 by default.

    Returns
    -------
    ndarray, shape (N1, N2)

    Examples
    --------
    >>> from overparam import kernel
    >>> kernel.relu_kernel([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).round(4) + 0
    array([[1.    , 0.1592, 0.    ],
           [0.1592, 1.    , 0.1592],
           [0.    , 0.1592, 1.    ]])
    """
    return limit_kernel(X1, X2)


def limit_kernel(
    X1: ArrayLike, X2: ArrayLike | None = None, activation: str = "relu", depth: int = 2
) -> NDArray:
    r"""Return the limit of the tangent kernel as the hidden widths grow, one after another.

    :math:`\Theta^{(1)}=\Sigma^{(1)}=\langle x,x'\rangle` and
    :math:`\Theta^{(l+1)}=\Sigma^{(l+1)}+\Theta^{(l)}\dot\Sigma^{(l+1)}`, where
    :math:`\Sigma^{(l+1)}=E\,\sigma(u)\sigma(v)`, :math:`\dot\Sigma^{(l+1)}=E\,\sigma'(u)\sigma'(v)`
    for centred normal u, v with the covariance :math:`\Sigma^{(l)}` (Jacot, Gabriel and Hongler
    2018, Theorem 1, without biases). For two layers of ReLU and the angle :math:`\varphi` between
    x and x' it is :math:`\frac{|x||x'|}{2\pi}(\sin\varphi+(\pi-\varphi)\cos\varphi)
    +\langle x,x'\rangle\frac{\pi-\varphi}{2\pi}` (Cho and Saul 2009).

    Parameters
    ----------
    X1, X2 : matrices, shapes (N1, d) and (N2, d)
        X2 is X1 by default.
    activation : {"relu", "erf"}
        Those for which the expectations are known in closed form.
    depth : int
        Number of layers L, at least 1.

    Examples
    --------
    >>> from overparam import kernel
    >>> kernel.limit_kernel([[1.0, 0.0]], [[0.0, 1.0]], depth=3).round(4)
    array([[0.1714]])
    """
    X1, X2 = _check.same_columns(X1, X1 if X2 is None else X2, "X1", "X2")
    if not isinstance(activation, str) or activation not in _LIMITS:
        raise ValueError(
            f"activation must be one of {sorted(_LIMITS)}, where the limit has a closed form, "
            f"got {activation!r:.80}; average tangent_kernel over draws for others"
        )
    return _LIMITS[activation](X1, X2, _check.count("depth", depth))


def kernel_flow(K: ArrayLike, residual: ArrayLike, t: ArrayLike) -> NDArray:
    r"""Return the residual of kernel gradient flow, :math:`e^{-Kt/N}r(0)`.

    The flow of the squared cost in function space, :math:`\dot f(x_j)=-\frac1N\sum_iK(x_j,x_i)
    r(x_i)` with :math:`r=f-y` (Smith 2022, 3.1).

    Parameters
    ----------
    K : matrix, shape (N, N)
        The kernel on the data, symmetric and positive semidefinite.
    residual : vector, shape (N,)
        r(0).
    t : float or array of floats
        Times, not negative.

    Returns
    -------
    ndarray, shape (N,) or t.shape + (N,)

    Examples
    --------
    >>> from overparam import kernel
    >>> kernel.kernel_flow([[2.0, 0.0], [0.0, 0.0]], [1.0, 1.0], 1.0).round(4)  # e^(-2/2), and 1
    array([0.3679, 1.    ])
    """
    K, t = _check.matrix("K", K), _check.not_negative("t", t)
    residual = _check.finite_array("residual", residual, ndim=1)
    close = {"rtol": 1e-8, "atol": 1e-10 * np.abs(K).max()}
    if K.shape != (len(residual), len(residual)) or not np.allclose(K, K.T, **close):
        raise ValueError(f"K must be symmetric, {len(residual)} × {len(residual)}, got {K.shape}")
    values, vectors = np.linalg.eigh(K)
    if values[0] < -1e-8 * np.abs(values).max():
        raise ValueError(f"K must be positive semidefinite, got the eigenvalue {values[0]:.3g}")
    decay = np.exp(-t[..., None] * np.maximum(values, 0) / len(residual))
    return (decay * (vectors.T @ residual)) @ vectors.T


def training_flow(
    weights: Layers, X: ArrayLike, y: ArrayLike, t: ArrayLike,
    activation: str | Activation = "tanh", scaled: bool = True, **options: object,
) -> Trajectory:
    r"""Gradient flow of the squared cost :math:`\frac1{2N}\|f(X)-y\|^2` on all layers.

    `t` and options as for `flow.gradient_flow`.

    Parameters
    ----------
    weights, X, activation, scaled
        As for `predict`.
    y : vector, shape (N,)
    t, **options
        As for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For an activation that is not smooth: the integrator's error estimate is meaningless
        across kinks, and the flow itself needs a convention there. Use `training_descent`.

    Examples
    --------
    >>> from overparam import kernel
    >>> weights, X, y = [[[1.0, -1.0]], [[1.0], [-1.0]]], [[1.0]], [2.0]
    >>> path = kernel.training_flow(weights, X, y, [0.5, 2.0])
    >>> [f"{kernel.predict(W, X, 'tanh')[0]:.3f}" for W in path]
    ['1.381', '1.833']
    """
    weights, X, gradient, _ = _problem(weights, X, y, activation, scaled)
    if not activations.named(activation).smooth:
        raise ValueError(
            f"activation {activation!r} is not smooth, and the adaptive flow needs smoothness; "
            "use training_descent, or a smooth activation such as 'tanh'"
        )
    return flow.gradient_flow(gradient, weights, t, **options)


def training_descent(
    weights: Layers, X: ArrayLike, y: ArrayLike, step: float, n_steps: int,
    activation: str | Activation = "relu", scaled: bool = True, **options: object,
) -> Trajectory:
    r"""Descend the squared cost :math:`\frac1{2N}\|f(X)-y\|^2` on all layers, with a fixed step.

    Options as for `flow.gradient_descent`. For any activation; the only choice for ReLU.

    Parameters
    ----------
    weights, X, activation, scaled
        As for `predict`.
    y : vector, shape (N,)
    step : float
    n_steps : int
    **options
        As for `flow.gradient_descent`.

    Raises
    ------
    ValueError
        If the step is so long that descent diverges, or ends higher than it began.

    Examples
    --------
    >>> from overparam import kernel
    >>> weights, X, y = [[[1.0, -1.0]], [[1.0], [-1.0]]], [[1.0]], [2.0]
    >>> path = kernel.training_descent(weights, X, y, 0.1, 2)
    >>> [f"{kernel.predict(W, X)[0]:.3f}" for W in path]
    ['0.707', '0.842', '0.986']
    """
    weights, X, gradient, cost = _problem(weights, X, y, activation, scaled)
    path = flow.gradient_descent(gradient, weights, step, n_steps, **options)
    with np.errstate(over="ignore"):
        if path.reason == flow.DIVERGED or not cost(path.final) <= cost(weights):
            raise ValueError(f"step = {step:g} makes descent diverge; take a shorter one")
    return path


def _forward(weights, X, activation, scaled):
    """Return the inputs of every layer, the slopes at every hidden one, and the outputs."""
    inputs, slopes = [X], []
    for l, W in enumerate(weights):
        z = inputs[-1] @ W
        if scaled and l:
            z *= len(W) ** -0.5
        if l == len(weights) - 1:
            return inputs, slopes, z[:, 0]
        value, slope = activation.evaluate(z)
        inputs.append(value)
        slopes.append(slope)


def _backward(weights, inputs, slopes, behind, scaled):
    """Return for each layer (H, B): the gradient of the cost by it is the product of H^T and B.

    `behind`, shape (N,), is the gradient of the cost by the outputs; row i of H and B belongs to
    the datum i.
    """
    behind, result = behind[:, None], []
    for l in reversed(range(len(weights))):
        if scaled and l:
            behind = behind * len(weights[l]) ** -0.5
        result.append((inputs[l], behind))
        if l:
            behind = (behind @ weights[l].T) * slopes[l - 1]
    return result[::-1]


def _relu_limit(X1, X2, depth):
    size1, size2 = np.linalg.norm(X1, axis=1), np.linalg.norm(X2, axis=1)
    angle, size = _angles(X1, X2), np.outer(size1, size2)
    theta = X1 @ X2.T
    for _ in range(depth - 1):
        rest = np.pi - angle
        product = size * (np.sin(angle) + rest * np.cos(angle)) / (2 * np.pi)
        theta = product + theta * rest / (2 * np.pi)
        # The angle behind the layer, from (1 - its cosine) / 2.
        bend = (np.sin(angle) - angle * np.cos(angle)) / (2 * np.pi)
        angle = 2 * np.arcsin(np.sqrt(np.maximum(np.sin(angle / 2) ** 2 - bend, 0.0)))
        size = size / 2
    return theta


def _erf_limit(X1, X2, depth):
    """Written in s = 1 + 2 |x|², without the difference s s' - 4 c² of two large numbers."""
    first, second = np.linalg.norm(X1, axis=1)[:, None], np.linalg.norm(X2, axis=1)
    angle, theta = _angles(X1, X2), X1 @ X2.T
    for _ in range(depth - 1):
        # a² b² - 4 c² = 1 + 2 |x|² + 2 |x'|² + 4 |x|² |x'|² sin²
        root = np.sqrt(1 + 2 * first**2 + 2 * second**2 + (2 * first * second * np.sin(angle)) ** 2)
        product = 2 * first * second * np.cos(angle)
        covariance = 2 / np.pi * np.arctan2(product, root)
        theta = covariance + theta * (4 / np.pi) / root
        first, second = (
            np.sqrt(2 / np.pi * np.arctan2(2 * s**2, np.sqrt(1 + 4 * s**2)))
            for s in (first, second)
        )
        cosine = covariance / np.maximum(first * second, np.finfo(float).tiny)  # 0 for |x| = 0
        angle = np.arccos(np.clip(cosine, -1, 1))
    return theta


_LIMITS = {"relu": _relu_limit, "erf": _erf_limit}


def _angles(X1, X2):
    """Return the angles by two chords: the arccosine loses half the digits close to 0 and pi."""
    sizes = (np.linalg.norm(X, axis=1, keepdims=True) for X in (X1, X2))
    first, second = (X / np.where(n == 0, 1.0, n) for X, n in zip((X1, X2), sizes, strict=True))
    return 2 * np.arctan2(cdist(first, second), cdist(first, -second))


def _network(weights, X, name="X"):
    weights = networks.chained(weights)
    X = _check.matrix(name, X)
    if weights[-1].shape[1] != 1:
        raise ValueError(f"weights[-1] must have one column, got shape {weights[-1].shape}")
    if X.shape[1] != len(weights[0]):
        raise ValueError(f"{name} has {X.shape[1]} columns, weights[0] {len(weights[0])} rows")
    return weights, X


def _problem(weights, X, y, activation, scaled):
    """Return weights and X, checked, and the gradient and the value of the squared cost."""
    weights, X = _network(weights, X)
    y, activation = _check.finite_array("y", y, ndim=1), activations.named(activation)
    _check.same_rows(X, y)

    def gradient(layers):
        return gradients(layers, X, lambda f: (f - y) / len(y), activation, scaled)

    def cost(layers):
        return np.sum((predict(layers, X, activation, scaled) - y) ** 2)

    return weights, X, gradient, cost
