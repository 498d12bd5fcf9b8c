r"""Finite steps from any start (chapter "Finite steps from any start").

Descent with step η on :math:`\mathcal L(U,V)=f(UV^\top)`, U of shape (m, k), V of shape (n, k);
mostly :math:`f(X)=\tfrac12\|Y-X\|_F^2`. Letters: :math:`E=Y-UV^\top` the error, G the gradient of
f, :math:`\Lambda=U^\top U-V^\top V` the imbalance, :math:`\mathcal T` the operator of the flow,
with :math:`\lambda_{\max}(\mathcal T)=\|U\|_2^2+\|V\|_2^2`.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from overparam import _check, rates


def one_step(u: ArrayLike, v: ArrayLike, y: ArrayLike, eta: float) -> tuple:
    r"""Return the weights after one step of descent on :math:`\tfrac12\|y-uv^\top\|_F^2`.

    :math:`u^+=u+\eta ev`, :math:`v^+=v+\eta e^\top u` with :math:`e=y-uv^\top`; so
    :math:`(u\pm v)^+=(1\pm\eta e)(u\pm v)` when in- and output are numbers.

    Parameters
    ----------
    u, v : numbers, vectors of the same length k, or matrices of shapes (m, k) and (n, k)
        Vectors are one hidden layer of width k between numbers, with the product u·v.
    y : number or matrix of shape (m, n)
        The target, of the shape of the product.
    eta : float
        The step, greater than 0.

    Returns
    -------
    tuple
        The new u and v, in their shapes.

    Raises
    ------
    ValueError
        If the shapes do not fit or the step is not positive.

    Examples
    --------
    >>> u, v = one_step(2.0, 1.0, 1.0, 0.1)
    >>> print(f"{u:.2f} {v:.2f}")
    1.90 0.80
    """
    eta = _check.number("eta", eta, 0, strict=True)
    U, V, Y = _problem(u, v, y)
    E = Y - U @ V.T
    after = U + eta * E @ V, V + eta * E.T @ U
    return tuple(new.reshape(np.shape(old))[()] for new, old in zip(after, (u, v), strict=True))


def two_weights(u: ArrayLike, v: ArrayLike) -> tuple[float, float]:
    r"""Return two numbers that descend exactly like a hidden layer of width k.

    They have the same :math:`P=\|u+v\|^2` and :math:`Q=\|u-v\|^2`, of which one step makes
    :math:`(1+\eta e)^2P` and :math:`(1-\eta e)^2Q`: the same product, the same
    :math:`\|u\|^2+\|v\|^2`, and the imbalance :math:`D=\sqrt{PQ}`.

    Examples
    --------
    >>> u, v = two_weights([1.0, 0.0, 0.5], [0.0, 0.8, -0.2])
    >>> print(f"{u * v:.2f} {u**2 + v**2:.2f}")
    -0.10 1.93
    """
    u, v = _vectors(u, v)
    p, q = np.linalg.norm(u + v), np.linalg.norm(u - v)
    return float((p + q) / 2), float((p - q) / 2)


def lost_imbalance(u: ArrayLike, v: ArrayLike, y: float) -> float:
    r"""Return :math:`I=\int_0^\infty e^2\,dt` along the flow of :math:`\tfrac12(y-u\cdot v)^2`.

    Descent with a small step ends with the imbalance
    :math:`D_\infty=D_0(1-\eta I+O(\eta^2))`. With :math:`D_0=\|u+v\|\,\|u-v\|`,
    :math:`x_0=u\cdot v`,

    .. math::
       I&=\tfrac y2\Bigl[\operatorname{arsinh}\tfrac{2y}{D_0}
          -\operatorname{arsinh}\tfrac{2x_0}{D_0}\Bigr]\\
        &\quad-\tfrac14\Bigl[\sqrt{D_0^2+4y^2}-\sqrt{D_0^2+4x_0^2}\Bigr].

    Parameters
    ----------
    u, v : numbers or vectors of the same length k
    y : float

    Raises
    ------
    ValueError
        If :math:`D_0=0`: balanced weights have no imbalance to lose.

    Examples
    --------
    >>> print(f"{lost_imbalance([1.0, 0.0, 0.5], [0.0, 0.8, -0.2], 1.0):.4f}")
    0.2968
    """
    u, v = _vectors(u, v)
    y, x0 = _check.number("y", y), float(u @ v)
    D = float(np.linalg.norm(u + v) * np.linalg.norm(u - v))
    if D == 0:
        raise ValueError(
            "u and v are balanced (u = v or u = -v), so that there is no imbalance to lose; "
            "give weights with ||u + v|| ||u - v|| > 0"
        )
    # Near x0 = y both brackets cancel: there I = (y - x0)^2 / (2 sqrt(D^2 + 4y^2)) nearly.
    ends, starts = np.hypot(D, 2 * y), np.hypot(D, 2 * x0)
    if abs(y - x0) > 1e-2 * ends:
        angle = np.arcsinh(2 * y / D) - np.arcsinh(2 * x0 / D)
        return float(y * angle / 2 - (ends - starts) / 4)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    x = x0 + (y - x0) * (nodes + 1) / 2
    return float((y - x0) / 2 * np.sum(weights * (y - x) / np.hypot(D, 2 * x)))


def smoothness(U: ArrayLike, V: ArrayLike, G: ArrayLike, K: float, eta: float) -> float:
    r"""Return :math:`K_\eta` of the local descent lemma.

    .. math::
       \mathcal L^+&\le\mathcal L-\bigl(\eta-\tfrac{K_\eta\eta^2}2\bigr)\|\nabla\mathcal L\|^2,\\
       K_\eta&=K\Bigl(\sqrt{\lambda_{\max}(\mathcal T)}
               +\tfrac\eta2\|\nabla\mathcal L\|_F\Bigr)^2+\|G\|_2 .

    Parameters
    ----------
    U, V : matrices, shapes (m, k) and (n, k)
    G : matrix, shape (m, n)
        :math:`\nabla f(UV^\top)`.
    K : float
        Smoothness of f: a Lipschitz constant of its gradient.
    eta : float
        The step, at least 0.

    Examples
    --------
    >>> print(f"{smoothness([[2.0]], [[1.0]], [[1.0]], 1.0, 0.1):.4f}")
    6.5125
    """
    eta = _check.number("eta", eta, 0)
    slope, size, force, K = _local(U, V, G, K)
    return float(K * (size + eta / 2 * slope) ** 2 + force)


def largest_step(U: ArrayLike, V: ArrayLike, G: ArrayLike, K: float) -> float:
    r"""Return the largest η with :math:`\eta K_\eta\le1`, the root of a cubic.

    With it :math:`\mathcal L^+\le\mathcal L-\frac\eta2\|\nabla\mathcal L\|^2`. Arguments as for
    `smoothness`; infinite where both weights and G vanish.

    Parameters
    ----------
    U, V, G, K
        As for `smoothness`.

    Examples
    --------
    >>> print(f"{largest_step([[2.0]], [[1.0]], [[1.0]], 1.0):.4f}")
    0.1478
    """
    slope, size, force, K = _local(U, V, G, K)
    first = K * size**2 + force
    if first == 0:
        return np.inf
    # In units of 1/first the root lies in (0, 1].
    bend, twist = K * size * slope / first**2, K * slope**2 / 4 / first**3
    root = brentq(lambda s: s * (1 + s * (bend + s * twist)) - 1, 0.0, 1.0, xtol=1e-15)
    return float(root / first)


def descent_rate(U: ArrayLike, V: ArrayLike, Y: ArrayLike, eta: float) -> tuple[float, bool]:
    r"""Return (ρ, ok): if `ok`, descent on ½‖Y - UVᵀ‖² has the loss ≤ ρʲ times its start.

    :math:`\rho=1-2\underline\alpha\eta+\underline\alpha\bar K\eta^2`,
    :math:`\underline\alpha=\alpha-4\eta\mathcal L_0`, with α half of `rates.factorization_rate`,
    :math:`\bar K=\bar T(1+\frac{\eta e_0}2)^2+e_0`,
    :math:`\bar T=\bar\lambda+\sqrt{\bar\lambda^2+4(\|Y\|_2+e_0)^2}`,
    :math:`\bar\lambda=\|\Lambda_0\|_2+2\eta\mathcal L_0`, :math:`e_0=\|E_0\|_F`.

    Parameters
    ----------
    U, V : matrices, shapes (m, k) and (n, k)
        The start.
    Y : matrix, shape (m, n)
    eta : float
        The step, greater than 0.

    Returns
    -------
    rho : float
        The factor of the loss in one step.
    ok : bool
        Whether it is proved: :math:`\eta\bar K\le1` and :math:`\underline\alpha>0`. If not, rho
        is the same expression without a meaning.

    Examples
    --------
    >>> rho, ok = descent_rate([[1.0, 0.0], [0.0, 2.0]], [[0.2, 0.0], [0.0, 0.3]],
    ...                        [[0.5, 0.0], [0.0, 1.0]], 0.05)
    >>> print(f"{rho:.4f} {ok}")
    0.9289 True
    """
    eta = _check.number("eta", eta, 0, strict=True)
    U, V, Y = _problem(_check.matrix("U", U), _check.matrix("V", V), _check.matrix("Y", Y))
    error = np.linalg.norm(Y - U @ V.T)
    drift = eta * error**2  # 2η times the loss
    imbalance = np.linalg.norm(U.T @ U - V.T @ V, 2) + drift
    reach = np.linalg.norm(Y, 2) + error
    top = imbalance + np.hypot(imbalance, 2 * reach)
    bound = top * (1 + eta * error / 2) ** 2 + error
    alpha = rates.factorization_rate(Y, U, V) / 2 - 2 * drift
    rho = 1 - alpha * eta * (2 - eta * bound)
    return float(rho), bool(eta * bound <= 1 and alpha > 0)


def sign_time(u: float, v: float, y: float) -> float:
    r"""Return when the sign flow :math:`\dot u=\operatorname{sgn}(ev)`,
    :math:`\dot v=\operatorname{sgn}(eu)` reaches uv = y.

    With :math:`c=|u|-|v|`, which it conserves, and :math:`0\le x_0=uv\le y`:
    :math:`t=\frac12(\sqrt{c^2+4y}-\sqrt{c^2+4x_0})`. For other signs
    :math:`t=\frac12|q(y)-q(x_0)|`, :math:`q(x)=\operatorname{sgn}(x)(\sqrt{c^2+4|x|}-|c|)`.
    Infinite if c = 0 and the path leads into the origin.

    Parameters
    ----------
    u, v : floats
        The start.
    y : float
        The target.

    Examples
    --------
    >>> print(f"{sign_time(2.0, 0.5, 3.0):.4f}")
    0.6375
    """
    u, v, y = (_check.number(n, x) for n, x in (("u", u), ("v", v), ("y", y)))
    c, x0 = abs(abs(u) - abs(v)), u * v
    if c == 0 and y != 0 and x0 * np.sign(y) <= 0:
        return np.inf
    ends, starts = (np.sign(x) * _excess(c, x) for x in (y, x0))
    return float(abs(ends - starts) / 2)


def _excess(c, x):
    """Return √(c² + 4|x|) - |c| without cancellation."""
    root = np.hypot(c, 2 * np.sqrt(abs(x)))
    return 4 * abs(x) / (root + c) if x else 0.0


def _local(U, V, G, K):
    """Return ‖∇L‖, √λ_max(T), ‖G‖₂ and K, all that the descent lemma needs."""
    U, V, G = _check.matrix("U", U), _check.matrix("V", V), _check.matrix("G", G)
    _fit(U, V, G, "G")
    K = _check.number("K", K, 0, strict=True)
    slope = np.hypot(np.linalg.norm(G @ V), np.linalg.norm(G.T @ U))
    size = np.hypot(np.linalg.norm(U, 2), np.linalg.norm(V, 2))
    return slope, size, np.linalg.norm(G, 2), K


def _problem(u, v, y):
    """Return weights and target as matrices; a vector is one row."""
    arrays = [_check.finite_array(name, x) for name, x in (("u", u), ("v", v), ("y", y))]
    if any(array.ndim > 2 for array in arrays):
        raise ValueError("u, v and y must be numbers, vectors (u, v) or matrices")
    U, V, Y = (np.atleast_2d(array) for array in arrays)
    _fit(U, V, Y, "y")
    return U, V, Y


def _fit(U, V, Y, name):
    if U.shape[1] != V.shape[1] or Y.shape != (len(U), len(V)):
        raise ValueError(
            f"u, v and {name} do not fit: as matrices they have the shapes {U.shape}, {V.shape} "
            f"and {Y.shape}, but must have (m, k), (n, k) and (m, n)"
        )


def _vectors(u, v):
    u, v = (np.atleast_1d(_check.finite_array(n, x)) for n, x in (("u", u), ("v", v)))
    if u.ndim != 1 or u.shape != v.shape:
        raise ValueError(
            f"u and v must be numbers or vectors of one length, got shapes {u.shape} and {v.shape}"
        )
    return u, v
