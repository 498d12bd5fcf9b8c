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

import numpy as np

from overparam import _check, activations, flow, networks


def predict(weights, X, activation="relu", scaled=True):
    """Return the network's outputs f(X), shape (N,)."""
    weights, X = _network(weights, X)
    inputs, _ = _forward(weights[:-1], X, activations.named(activation), scaled)
    return (inputs[-1] @ weights[-1])[:, 0] * _factors(weights, scaled)[-1]


def gradients(weights, X, gradient, activation="relu", scaled=True):
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
    """
    inputs, slopes = _forward(weights[:-1], X, activations.named(activation), scaled)
    factors = _factors(weights, scaled)
    last = factors[-1] * weights[-1][:, 0]
    behind = gradient(inputs[-1] @ last)
    result = [None] * len(weights)
    result[-1] = factors[-1] * (behind @ inputs[-1])[:, None]
    if len(weights) == 1:
        return result
    # The rank-one factors behind @ last stay outside of the product with the inputs.
    result[-2] = ((inputs[-2] * behind[:, None]).T @ slopes[-1]) * (factors[-2] * last)
    behind = (behind[:, None] * slopes[-1]) * last if len(weights) > 2 else None
    for l in range(len(weights) - 3, -1, -1):
        behind = (behind @ weights[l + 1].T) * slopes[l] * factors[l + 1]
        result[l] = factors[l] * (inputs[l].T @ behind)
    return result


def tangent_kernel(weights, X1, X2=None, activation="relu", scaled=True):
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
    """
    weights, X1 = _network(weights, X1, "X1")
    first = second = _tangent_factors(weights, X1, activation, scaled)
    if X2 is not None:
        second = _tangent_factors(*_network(weights, X2, "X2"), activation, scaled)
    pairs = zip(first, second, strict=True)
    return sum((H1 @ H2.T) * (B1 @ B2.T) for (H1, B1), (H2, B2) in pairs)


def relu_kernel(X1, X2=None):
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
    """
    return limit_kernel(X1, X2)


def limit_kernel(X1, X2=None, activation="relu", depth=2):
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
    """
    X1 = _check.matrix("X1", X1)
    X2 = X1 if X2 is None else _check.matrix("X2", X2)
    if X1.shape[1] != X2.shape[1]:
        raise ValueError(
            f"X1 and X2 must have as many columns, got shapes {X1.shape} and {X2.shape}"
        )
    if not isinstance(activation, str) or activation not in _LIMITS:
        raise ValueError(
            f"activation must be one of {sorted(_LIMITS)}, where the limit has a closed form, "
            f"got {activation!r:.80}; average tangent_kernel over draws for others"
        )
    return _LIMITS[activation](X1, X2, _check.count("depth", depth))


def principal_components(K):
    r"""Return the rates :math:`\lambda_i/N`, in decreasing order, and the components as columns.

    The residual of kernel gradient flow decays like :math:`e^{-\lambda_it/N}` along the
    eigenvector :math:`u_i` of the kernel's matrix K on the N data.
    """
    K = _kernel("K", K)
    values, vectors = np.linalg.eigh(K)
    return np.maximum(values[::-1], 0) / len(K), vectors[:, ::-1]


def kernel_flow(K, residual, t):
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
    """
    rates, vectors = principal_components(K)
    residual = _residual(residual, len(vectors))
    t = _check.finite_array("t", t)
    if t.min() < 0:
        raise ValueError(f"t must not be negative, got {t.min():g}")
    return (np.exp(-t[..., None] * rates) * (vectors.T @ residual)) @ vectors.T


def kernel_descent(K, residual, step, n_steps):
    r"""Return the residuals of kernel gradient descent, shape (n_steps + 1, N).

    :math:`r_{j+1}=r_j-\frac\eta NKr_j`.

    Raises
    ------
    ValueError
        If the step is not below :math:`2N/\lambda_1`, where descent diverges.
    """
    rates, vectors = principal_components(K)
    residual = _residual(residual, len(vectors))
    step = _check.number("step", step, 0, strict=True)
    n_steps = _check.count("n_steps", n_steps, 0)
    if step * rates[0] >= 2:
        raise ValueError(
            f"step must be below 2N/lambda_1 = {2 / rates[0]:.4g}, where descent diverges; "
            f"got {step:g}"
        )
    powers = (1 - step * rates) ** np.arange(n_steps + 1)[:, None]
    return (powers * (vectors.T @ residual)) @ vectors.T


def kernel_prediction(K, K_new, residual, t=np.inf):
    r"""Return what kernel gradient flow has added to the predictions at new points by time t.

    .. math::
       &f(t,x)-f(0,x)\\
       &\quad=-\sum_i\frac{1-e^{-\lambda_it/N}}{\lambda_i}\langle K(x,X),u_i\rangle
              \langle u_i,r(0)\rangle

    For :math:`t=\infty` it is :math:`-K(x,X)K^+r(0)`, the interpolant nearest to the start in the
    norm of the kernel.

    Parameters
    ----------
    K : matrix, shape (N, N)
        The kernel on the data.
    K_new : matrix, shape (M, N)
        The kernel between the new points and the data.
    residual : vector, shape (N,)
        r(0) at the data.
    t : float
        Time; infinity is allowed.

    Raises
    ------
    ValueError
        For :math:`t=\infty` and a residual outside of the range of K: then nothing interpolates.
    """
    rates, vectors = principal_components(K)
    residual = _residual(residual, len(vectors))
    K_new = _check.matrix("K_new", K_new)
    if K_new.shape[1] != len(rates):
        raise ValueError(
            f"K_new must have a column for each of the {len(rates)} data, got shape {K_new.shape}"
        )
    components = vectors.T @ residual
    learned = rates > len(rates) * np.finfo(float).eps * rates[0]
    if t == np.inf:
        missed = np.linalg.norm(components[~learned])
        if missed > 1e-9 * np.linalg.norm(residual):
            raise ValueError(
                f"K is singular and the residual has a part of norm {missed:.2g} outside of its "
                "range, which is never learned: t must be finite"
            )
    else:
        t = _check.number("t", t, 0)
    weights = np.zeros_like(rates)  # K(x, X) has no part along the null vectors of K
    weights[learned] = -np.expm1(-t * rates[learned]) / rates[learned]
    return -K_new @ (vectors @ (weights * components)) / len(rates)


def training_flow(weights, X, y, t, activation="tanh", scaled=True, **options):
    r"""Gradient flow of the squared cost :math:`\frac1{2N}\|f(X)-y\|^2` on all layers.

    `t` and options as for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For an activation that is not smooth: the integrator's error estimate is meaningless
        across kinks, and the flow itself needs a convention there. Use `training_descent`.
    """
    weights, X, y = _problem(weights, X, y)
    if not activations.named(activation).smooth:
        raise ValueError(
            f"activation {activation!r} is not smooth, and the adaptive flow needs smoothness; "
            "use training_descent, or a smooth activation such as 'tanh'"
        )
    return flow.gradient_flow(_cost_gradient(X, y, activation, scaled), weights, t, **options)


def training_descent(weights, X, y, step, n_steps, activation="relu", scaled=True, **options):
    r"""Descend the squared cost :math:`\frac1{2N}\|f(X)-y\|^2` on all layers, with a fixed step.

    Options as for `flow.gradient_descent`. For any activation; the only choice for ReLU.

    Raises
    ------
    ValueError
        If the step is so long that descent diverges, or ends higher than it began.
    """
    weights, X, y = _problem(weights, X, y)
    gradient = _cost_gradient(X, y, activation, scaled)
    path = flow.gradient_descent(gradient, weights, step, n_steps, **options)

    def cost(state):
        return np.sum((predict(state, X, activation, scaled) - y) ** 2)

    with np.errstate(over="ignore"):
        failed = path.reason == flow.DIVERGED or not cost(path.final) <= cost(weights)
    if failed:
        K = tangent_kernel(weights, X, activation=activation, scaled=scaled)
        limit = 2 * len(X) / np.linalg.eigvalsh(K)[-1]
        raise ValueError(
            f"step = {step:g} makes descent diverge; at the start the kernel allows steps below "
            f"2N/lambda_1 = {limit:.3g}"
        )
    return path


def drift(trajectory, X, activation="tanh", scaled=True):
    r"""Return :math:`\|\Theta(t)-\Theta(0)\|_F/\|\Theta(0)\|_F` at the times of a trajectory.

    The trajectory is one of the layers, from `training_flow` or `training_descent`; the kernel is
    taken on the rows of X.
    """
    start = tangent_kernel(trajectory[0], X, activation=activation, scaled=scaled)
    moved = [
        np.linalg.norm(tangent_kernel(state, X, activation=activation, scaled=scaled) - start)
        for state in trajectory
    ]
    return np.array(moved) / np.linalg.norm(start)


def _forward(hidden, X, activation, scaled):
    """Return the inputs of every layer and the slopes of the activation at every hidden one."""
    inputs, slopes = [X], []
    for l, W in enumerate(hidden):
        z = inputs[-1] @ W
        if scaled and l:
            z *= W.shape[0] ** -0.5
        value, slope = activation.evaluate(z)
        inputs.append(value)
        slopes.append(slope)
    return inputs, slopes


def _factors(weights, scaled):
    """Return the factor of each layer: one for the first, then h**-0.5."""
    return [W.shape[0] ** -0.5 if scaled and l else 1.0 for l, W in enumerate(weights)]


def _tangent_factors(weights, X, activation, scaled):
    """Return for each layer (H, B): the gradient of f(x_i) by it is the outer product of rows."""
    inputs, slopes = _forward(weights[:-1], X, activations.named(activation), scaled)
    factors = _factors(weights, scaled)
    behind = np.full((len(X), 1), factors[-1])
    result = [(inputs[-1], behind)]
    for l in range(len(weights) - 2, -1, -1):
        behind = (behind @ weights[l + 1].T) * slopes[l] * factors[l]
        result.append((inputs[l], behind))
    return result


def _cost_gradient(X, y, activation, scaled):
    activation = activations.named(activation)

    def misfit(f):
        return (f - y) / len(y)

    return lambda weights: gradients(weights, X, misfit, activation, scaled)


def _relu_limit(X1, X2, depth):
    size1, size2 = np.linalg.norm(X1, axis=1), np.linalg.norm(X2, axis=1)
    angle, size = _angles(X1, X2, size1, size2), np.outer(size1, size2)
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
    size1, size2 = np.linalg.norm(X1, axis=1), np.linalg.norm(X2, axis=1)
    angle = _angles(X1, X2, size1, size2)
    first, second = size1[:, None], size2[None, :]
    theta = X1 @ X2.T
    for _ in range(depth - 1):
        # a² b² - 4 c² = 1 + 2 |x|² + 2 |x'|² + 4 |x|² |x'|² sin²
        root = np.sqrt(1 + 2 * first**2 + 2 * second**2 + (2 * first * second * np.sin(angle)) ** 2)
        product = 2 * first * second * np.cos(angle)
        covariance = 2 / np.pi * np.arctan2(product, root)
        theta = covariance + theta * (4 / np.pi) / root
        new1, new2 = (
            np.sqrt(2 / np.pi * np.arctan2(2 * s**2, np.sqrt(1 + 4 * s**2)))
            for s in (first, second)
        )
        first, second = new1, new2
        cosine = np.divide(
            covariance, first * second, where=first * second > 0, out=np.zeros_like(covariance)
        )
        angle = np.arccos(np.clip(cosine, -1, 1))
    return theta


_LIMITS = {"relu": _relu_limit, "erf": _erf_limit}


def _angles(X1, X2, size1, size2):
    """Return the angles by two chords: the arccosine loses half the digits close to 0 and pi."""
    first, second = (
        X / np.where(sizes == 0, 1.0, sizes)[:, None] for X, sizes in ((X1, size1), (X2, size2))
    )
    first, second = first[:, None, :], second[None, :, :]
    chords = np.linalg.norm(first - second, axis=-1), np.linalg.norm(first + second, axis=-1)
    return 2 * np.arctan2(*chords)


def _network(weights, X, name="X"):
    weights = networks.chained(weights)
    X = _check.matrix(name, X)
    if weights[-1].shape[1] != 1:
        raise ValueError(
            f"weights[{len(weights) - 1}] must have one column, as the network has one output; "
            f"got shape {weights[-1].shape}"
        )
    if X.shape[1] != weights[0].shape[0]:
        raise ValueError(
            f"{name} has {X.shape[1]} columns, but weights[0] of shape {weights[0].shape} takes "
            f"inputs with {weights[0].shape[0]} entries"
        )
    return weights, X


def _problem(weights, X, y):
    weights, X = _network(weights, X)
    y = _check.finite_array("y", y, ndim=1)
    if len(y) != len(X):
        raise ValueError(f"X and y must have as many rows, got {len(X)} and {len(y)}")
    return weights, X, y


def _kernel(name, K):
    K = _check.matrix(name, K)
    if K.shape[0] != K.shape[1] or not np.allclose(K, K.T, rtol=1e-8, atol=1e-10 * np.abs(K).max()):
        raise ValueError(f"{name} must be a symmetric matrix, got an array of shape {K.shape}")
    values = np.linalg.eigvalsh(K)
    if values[0] < -1e-8 * max(values[-1], 0) or values[-1] < 0:
        raise ValueError(
            f"{name} must be positive semidefinite, got the eigenvalue {values[0]:.3g}"
        )
    return (K + K.T) / 2


def _residual(residual, size):
    residual = _check.finite_array("residual", residual, ndim=1)
    if len(residual) != size:
        raise ValueError(f"residual must have {size} entries, one a datum, got {len(residual)}")
    return residual
