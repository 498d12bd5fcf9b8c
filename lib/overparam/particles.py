r"""Particle gradient descent on measures (chapter "Particle gradient descent").

The problem is :math:`\min_\mu J(\mu)=\tfrac12\|\int\Phi\,d\mu-y\|^2+\lambda\int|u|^2d\mu(u)` over
non-negative measures on :math:`\mathbb R^d`; m particles :math:`u_1,\dots,u_m` stand for
:math:`\mu=\frac1m\sum_is_i\delta_{u_i}`, with fixed signs :math:`s_i=\pm1` that multiply
:math:`\Phi(u_i)` (all +1 unless given). With ½, unlike Smith 2022, which leaves the loss open.

The particle flow is :math:`\dot u_i=-m\nabla_{u_i}J_m` **with** the factor m of Chizat and Bach
2018, which makes the velocity a function of the measure alone.

Arrays: particles u of shape (..., m, d), where the leading axes are independent runs; signs of
shape (m,); y of shape (n,). On the circle (`fourier`) a particle :math:`u=r(\cos\theta,\sin\theta)`
is a spike of mass :math:`\pm r^2/m` at :math:`\theta`, and :math:`\lambda` weighs the total
variation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls, root

from overparam import _check, activations, flow

Signs = ArrayLike | None


@dataclass(frozen=True)
class Features:
    r"""A map :math:`\Phi:\mathbb R^d\to\mathbb R^n`, one particle's share of the prediction.

    Attributes
    ----------
    evaluate : callable
        Maps u, shape (..., m, d), to the values :math:`\Phi(u)`, shape (..., m, n), and to a
        function that maps r, shape (..., n), to :math:`\nabla_u\langle r,\Phi(u)\rangle`,
        shape (..., m, d).
    dimension, size : int
        d and n.
    homogeneity : int or None
        p with :math:`\Phi(cu)=c^p\Phi(u)` for all c > 0, or None.
    smooth : bool
        Whether :math:`\nabla\Phi` is locally Lipschitz, as the theorems need.
    """

    evaluate: Callable[[NDArray], tuple[NDArray, Callable[[NDArray], NDArray]]]
    dimension: int
    size: int
    homogeneity: int | None
    smooth: bool


def network(X: ArrayLike, activation: str | activations.Activation = "tanh") -> Features:
    r"""Return the features of a two-layer network: :math:`\Phi(w,a)=w\,\sigma(Xa)/\sqrt N`.

    A particle is one neuron, u = (w, a); its prediction at the N rows of X is the mean of
    :math:`w\,\sigma(\langle a,x\rangle)` over the neurons, divided by :math:`\sqrt N` so that
    ½‖·‖² is half a mean square. A column of ones in X makes a bias.

    Parameters
    ----------
    X : matrix, shape (N, d - 1)
    activation : str or activations.Activation
        A name from `activations.ACTIVATIONS`, or an activation of your own.

    Examples
    --------
    >>> from overparam import particles
    >>> neurons = particles.network([[1.0, 0.0], [0.0, 1.0]], "relu")
    >>> neurons.homogeneity, neurons.smooth
    (2, False)
    """
    X = _check.matrix("X", X)
    sigma, scale = activations.named(activation), np.sqrt(len(X))
    homogeneity = sigma.homogeneity and sigma.homogeneity + 1  # the outer weight adds one

    def evaluate(u):
        w, z = u[..., :1], u[..., 1:] @ X.T
        value, slope = sigma.evaluate(z)
        hidden = value / scale

        def pullback(r):
            back = w * slope * r[..., None, :] / scale
            return np.concatenate([hidden @ r[..., None], back @ X], axis=-1)

        return w * hidden, pullback

    return Features(evaluate, X.shape[1] + 1, len(X), homogeneity, sigma.smooth)


def quadratic_neurons(X: ArrayLike) -> Features:
    r"""Return :math:`\Phi(u)=(Xu)_+^2/\sqrt N`: one squared-ReLU neuron with outer weight one.

    It is positively 2-homogeneous with a Lipschitz gradient, as Theorem 3.3 of Chizat and Bach
    2018 asks. `X` has shape (N, d).

    Examples
    --------
    >>> from overparam import particles
    >>> neuron = particles.quadratic_neurons([[1.0, 0.0]])
    >>> particles.prediction([[3.0, 4.0]], neuron)
    array([9.])
    """
    X = _check.matrix("X", X)
    scale = np.sqrt(len(X))

    def evaluate(u):
        positive = np.maximum(u @ X.T, 0)
        return positive**2 / scale, lambda r: (2 * positive * r[..., None, :] / scale) @ X

    return Features(evaluate, X.shape[1], len(X), 2, True)


def fourier(cutoff: int) -> Features:
    r"""Return :math:`\Phi(u)=|u|^2\varphi(\theta)`, u at angle :math:`\theta`, n = 2·cutoff + 1.

    :math:`\varphi(\theta)=(1,\sqrt2\cos k\theta,\sqrt2\sin k\theta)_{k\le\text{cutoff}}/\sqrt n`,
    of norm one: what an ideal low-pass filter leaves of a spike at :math:`\theta`.

    Examples
    --------
    >>> from overparam import particles
    >>> particles.prediction([[1.0, 0.0]], particles.fourier(1)).round(4)  # at the angle 0
    array([0.5774, 0.8165, 0.    ])
    """
    cutoff = _check.count("cutoff", cutoff)

    def evaluate(u):
        phi = _phi(np.arctan2(u[..., 1], u[..., 0]), cutoff)

        def pullback(r):
            height, climb = (phi @ v[..., None] for v in (r, _turned(r)))
            return 2 * height * u + climb * np.stack([-u[..., 1], u[..., 0]], axis=-1)

        return np.sum(u**2, axis=-1, keepdims=True) * phi, pullback

    return Features(evaluate, 2, 2 * cutoff + 1, 2, True)


def prediction(u: ArrayLike, features: Features, signs: Signs = None) -> NDArray:
    r"""Return :math:`\int\Phi\,d\mu=\frac1m\sum_is_i\Phi(u_i)`, shape (..., n).

    Parameters
    ----------
    u : array_like, shape (..., m, d)
        The particles.
    features : Features
        Their :math:`\Phi`.
    signs : vector, shape (m,), optional
        The :math:`s_i`, +1 or -1; all +1 by default.

    Examples
    --------
    >>> from overparam import particles
    >>> features = particles.quadratic_neurons([[1.0]])
    >>> particles.prediction([[3.0], [1.0]], features, signs=[1, -1])  # (9 - 1) / 2
    array([4.])
    """
    u, signs = _particles(u, features, signs)
    return np.mean(signs[:, None] * features.evaluate(u)[0], axis=-2)


def energy(
    u: ArrayLike, features: Features, y: ArrayLike, regularization: float = 0.0, signs: Signs = None
) -> NDArray:
    r"""Return :math:`J_m(u)=\tfrac12\|\frac1m\sum_is_i\Phi(u_i)-y\|^2+\frac\lambda m\sum_i|u_i|^2`.

    Shape (...): one number for each run.

    Parameters
    ----------
    u, features, signs
        As for `prediction`.
    y : vector, shape (n,)
        The data.
    regularization : float
        :math:`\lambda\ge0`.

    Examples
    --------
    >>> from overparam import particles
    >>> features = particles.quadratic_neurons([[1.0]])
    >>> print(particles.energy([[2.0]], features, [1.0], 0.5))  # (4 - 1)²/2 + 0.5·4
    6.5
    """
    u, J, _ = _problem(u, features, y, regularization, signs)
    return J(u)


def velocity(
    u: ArrayLike, features: Features, y: ArrayLike, regularization: float = 0.0, signs: Signs = None
) -> NDArray:
    r"""Return :math:`-m\nabla_{u_i}J_m`, the particles' velocity, shape (..., m, d).

    :math:`-s_i\nabla\langle f-y,\Phi(u_i)\rangle-2\lambda u_i` with the prediction f: a field
    that depends on the other particles through f only.

    Parameters
    ----------
    u, features, y, regularization, signs
        As for `energy`.

    Examples
    --------
    >>> from overparam import particles
    >>> features = particles.quadratic_neurons([[1.0]])
    >>> particles.velocity([[2.0]], features, [1.0], 0.5)  # -(4 - 1)·2·2 - 2·0.5·2
    array([[-14.]])
    """
    u, _, field = _problem(u, features, y, regularization, signs)
    return -field(u)


def particle_flow(
    u0: ArrayLike, features: Features, y: ArrayLike, t: ArrayLike, regularization: float = 0.0,
    signs: Signs = None, **options: object,
) -> flow.Trajectory:
    r"""Integrate :math:`\dot u_i=-m\nabla_{u_i}J_m`; options as for `flow.gradient_flow`.

    Parameters
    ----------
    u0, features, y, regularization, signs
        As for `energy`.
    t, **options
        As for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For features without a locally Lipschitz gradient (ReLU): the flow need not be unique,
        and an adaptive integrator stalls at the kinks. Use `particle_descent`.

    Examples
    --------
    One particle in the place of one spike ends with its mass less the penalty.

    >>> from overparam import particles
    >>> y = particles.transform([0.0], [1.0], cutoff=2)
    >>> path = particles.particle_flow([[0.5, 0.0]], particles.fourier(2), y, 20.0, 0.1)
    >>> (path.final**2).round(4)
    array([[0.9, 0. ]])
    """
    u0, _, field = _problem(u0, features, y, regularization, signs, "u0")
    if not features.smooth:
        raise ValueError(
            "features are not smooth (relu), so that the particle flow may not be unique; take "
            'activation "squared relu" or "tanh", or particle_descent with a fixed step'
        )
    return flow.gradient_flow(field, u0, t, **options)


def particle_descent(
    u0: ArrayLike, features: Features, y: ArrayLike, step: float, n_steps: int,
    regularization: float = 0.0, signs: Signs = None, **options: object,
) -> flow.Trajectory:
    r"""Iterate :math:`u_i\leftarrow u_i-\eta\,m\nabla_{u_i}J_m`; options as `gradient_descent`.

    Several runs may be stacked in the leading axes of `u0`.

    Parameters
    ----------
    u0, features, y, regularization, signs
        As for `energy`.
    step : float
    n_steps : int
    **options
        As for `flow.gradient_descent`.

    Raises
    ------
    ValueError
        If `step` is so long that the numbers leave every bound, or end above the first energy.

    Examples
    --------
    >>> from overparam import particles
    >>> y = particles.transform([0.0], [1.0], cutoff=2)
    >>> start, features = [[0.5, 0.0]], particles.fourier(2)
    >>> (particles.particle_descent(start, features, y, 0.05, 300, 0.1).final**2).round(4)
    array([[0.9, 0. ]])
    """
    u0, J, field = _problem(u0, features, y, regularization, signs, "u0")
    path = flow.gradient_descent(field, u0, step, n_steps, **options)
    with np.errstate(over="ignore", invalid="ignore"):
        fell = np.all(J(path.final) <= J(u0) * (1 + 1e-9))
    if path.reason == flow.DIVERGED or not fell:
        raise ValueError(
            f"step = {step:g} is too long: the energy of a run ends above its start, or is no "
            "longer finite; take a shorter step"
        )
    return path


def ring(
    n_particles: int, radius: float = 1.0, rng: np.random.Generator | None = None,
    n_runs: int | None = None,
) -> NDArray:
    """Return particles on a circle in the plane, shape (m, 2), or (n_runs, m, 2).

    Equally spaced without `rng`; with it, at independent uniform angles.

    Parameters
    ----------
    n_particles : int
        m.
    radius : float
    rng : numpy.random.Generator, optional
    n_runs : int, optional
        How many rings to stack.

    Examples
    --------
    >>> from overparam import particles
    >>> particles.ring(4).round(4) + 0
    array([[ 1.,  0.],
           [ 0.,  1.],
           [-1.,  0.],
           [ 0., -1.]])
    """
    m, radius = _check.count("n_particles", n_particles), _check.number("radius", radius, 0)
    shape = (m,) if n_runs is None else (_check.count("n_runs", n_runs), m)
    if rng is None:
        angles = np.broadcast_to(2 * np.pi * np.arange(m) / m, shape)
    else:
        angles = _check.generator("rng", rng).uniform(0, 2 * np.pi, shape)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def spikes(
    u: ArrayLike, signs: Signs = None, merge: float = 1e-2, least: float = 1e-3
) -> tuple[NDArray, NDArray]:
    """Return angles and signed masses of the spikes that particles in the plane, (m, 2), form.

    Neighbours of the same sign within `merge` radians count as one spike, at their centre of
    mass; spikes lighter than `least` times the heaviest are left out.

    Parameters
    ----------
    u : matrix, shape (m, 2)
    signs : vector, shape (m,), optional
    merge : float
        In radians.
    least : float
        A share of the heaviest mass.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import particles
    >>> u = [[2.0, 0.0], [1.0, 0.0], [0.0, -1.0]]  # masses (4 + 1) / 3 and 1/3
    >>> angles, masses = particles.spikes(u)
    >>> print(angles.round(4), masses.round(4))
    [0.     4.7124] [1.6667 0.3333]
    """
    u = _check.shaped("u", u, (*np.shape(u)[:1], 2), "particles in the plane")
    signs, points = _signs(signs, len(u)), u[:, 0] + 1j * u[:, 1]
    found = np.zeros((0, 2))
    for sign in (1, -1):
        z = points[(signs == sign) & (points != 0)]
        if len(z):
            z = z[np.argsort(np.angle(z))]
            gaps = np.diff(np.angle(z), prepend=np.angle(z[-1]) - 2 * np.pi)
            group = np.cumsum(gaps > _check.number("merge", merge, 0))
            count = max(group[-1], 1)  # without a gap in front, the first group is the last one
            member = group % count == np.arange(count)[:, None]
            centre = np.angle(member @ (np.abs(z) * z)) % (2 * np.pi)
            mass = member @ np.abs(z) ** 2 / len(u)
            found = np.vstack([found, np.column_stack([centre, sign * mass])])
    least = _check.number("least", least, 0) * np.abs(found[:, 1]).max(initial=0)
    found = found[np.abs(found[:, 1]) >= least]
    return tuple(found[np.argsort(found[:, 0])].T)


def transform(angles: ArrayLike, masses: ArrayLike, cutoff: int) -> NDArray:
    r"""Return :math:`\sum_ja_j\varphi(\theta_j)`, the Fourier features of a sum of spikes.

    Parameters
    ----------
    angles : vector
        The :math:`\theta_j`, in radians.
    masses : vector
        The :math:`a_j`.
    cutoff : int
        The highest frequency.

    Examples
    --------
    >>> from overparam import particles
    >>> particles.transform([0.0, 3.141592653589793], [1.0, 1.0], 1).round(4) + 0
    array([1.1547, 0.    , 0.    ])
    """
    angles = _check.finite_array("angles", angles, ndim=1)
    masses = _check.shaped("masses", masses, angles.shape, "angles")
    return masses @ _phi(angles, _check.count("cutoff", cutoff))


def certificate(theta: ArrayLike, residual: ArrayLike, regularization: float) -> NDArray:
    r"""Return :math:`\eta(\theta)=\langle y-f,\varphi(\theta)\rangle/\lambda` for y - f = residual.

    A measure with prediction f is optimal if and only if :math:`\eta\le1` everywhere, or
    :math:`|\eta|\le1` for signed measures, with equality (and the right sign) where it has mass.

    Parameters
    ----------
    theta : array_like
        Angles in radians.
    residual : vector of 2·cutoff + 1 entries
    regularization : float
        :math:`\lambda>0`.

    Examples
    --------
    The data of a spike of mass 1 at 0, less the optimum's mass 0.9.

    >>> from overparam import particles
    >>> residual = particles.transform([0.0], [0.1], 2)
    >>> particles.certificate([0.0, 1.0], residual, 0.1).round(4)
    array([1.    , 0.2497])
    """
    residual, cutoff = _filtered("residual", residual)
    regularization = _check.number("regularization", regularization, 0, strict=True)
    theta = np.atleast_1d(_check.finite_array("theta", theta))
    return _phi(theta, cutoff) @ residual / regularization


def duality_gap(
    angles: ArrayLike, masses: ArrayLike, y: ArrayLike, regularization: float, signed: bool = False
) -> float:
    r"""Return J - D of spikes on the circle: an upper bound of their distance from the optimum.

    D is the dual :math:`\lambda\langle y,q\rangle-\frac{\lambda^2}2|q|^2` at the residual divided
    by :math:`\lambda\max(1,\max\eta)`, which makes it feasible. The maximum is that of a
    trigonometric polynomial, taken over the zeros of its derivative.

    Parameters
    ----------
    angles, masses : vectors
        The spikes, as for `transform`.
    y : vector of 2·cutoff + 1 entries
        The data.
    regularization : float
        :math:`\lambda>0`.
    signed : bool
        Whether masses may be negative.

    Raises
    ------
    ValueError
        For negative masses unless `signed`.

    Examples
    --------
    >>> from overparam import particles
    >>> y = particles.transform([0.0], [1.0], 2)
    >>> print(*(f"{abs(particles.duality_gap([0.0], [m], y, 0.1)):.3f}" for m in (0.9, 0.8)))
    0.000 0.005
    """
    y, cutoff = _filtered("y", y)
    regularization = _check.number("regularization", regularization, 0, strict=True)
    masses = np.atleast_1d(masses)
    if not signed and np.any(masses < 0):
        raise ValueError("masses must not be negative; for signed measures set signed=True")
    residual = y - transform(angles, masses, cutoff) if len(masses) else y
    top = _extreme(residual, cutoff, signed) / regularization
    q = residual / (regularization * max(1.0, top))
    primal = residual @ residual / 2 + regularization * np.sum(np.abs(masses))
    return float(primal - regularization * y @ q + regularization**2 * q @ q / 2)


def optimum(
    y: ArrayLike, regularization: float, signed: bool = False, n_grid: int = 2000
) -> tuple[NDArray, NDArray, float]:
    r"""Return the minimizer of J over measures on the circle as (angles, masses, J*).

    Not by particles: the dual is the projection of :math:`y/\lambda` onto
    :math:`\{q:\eta_q\le1\}` (:math:`|\eta_q|\le1` if signed). It is solved exactly on a grid as
    a least-distance problem (Lawson and Hanson: non-negative least squares), and Newton's method
    then moves the spikes off the grid. The result is certified by `duality_gap`.

    Parameters
    ----------
    y, regularization, signed
        As for `duality_gap`.
    n_grid : int
        The number of points of the grid, at least eight times the cutoff.

    Raises
    ------
    ValueError
        If the certified gap is not below :math:`10^{-10}|y|^2` (for instance because the minimizer
        is not unique).

    Examples
    --------
    >>> from overparam import particles
    >>> y = particles.transform([0.5, 3.0], [1.0, 0.5], 4)
    >>> angles, masses, least = particles.optimum(y, 0.1)
    >>> print(angles.round(3), masses.round(3), f"{least:.4f}")
    [0.498 3.004] [0.887 0.387] 0.1387
    """
    y, cutoff = _filtered("y", y)
    regularization = _check.number("regularization", regularization, 0, strict=True)
    grid = 2 * np.pi * np.arange(_check.count("n_grid", n_grid, 8 * cutoff)) / n_grid
    if _extreme(y, cutoff, signed) <= regularization:
        return np.zeros(0), np.zeros(0), float(y @ y / 2)
    size = np.linalg.norm(y)  # all that follows is for data of norm one
    y, regularization = y / size, regularization / size
    sides = (1.0, -1.0) if signed else (1.0,)
    G = -np.concatenate([side * _phi(grid, cutoff) for side in sides])
    # min |q - y/λ| with G q >= -1: shift to x = q - y/λ, so G x >= h, the last of the rows.
    rows = np.vstack([G.T, -1 - G @ y / regularization])
    last = np.append(np.zeros(len(y)), 1.0)
    dual = nnls(rows, last, maxiter=50 * len(G))[0]
    # The multipliers are the masses on the grid; a spike between two grid points uses both.
    masses = regularization * dual / (last - rows @ dual)[-1]
    u = np.sqrt(len(G) * masses)[:, None] * np.tile(ring(n_grid), (len(sides), 1))
    angles, masses = spikes(u, np.repeat(sides, n_grid), merge=6 * np.pi / n_grid, least=1e-12)
    directions = np.sign(masses)

    def equations(x):
        a, theta = np.split(x, 2)
        phi = _phi(theta, cutoff)
        residual = (y - a @ phi) / regularization
        return np.append(phi @ residual - directions, phi @ _turned(residual))

    # A grid solution is itself optimal if η is 1 everywhere; a spike that turns over is none.
    while duality_gap(angles, masses, y, regularization, signed) > 1e-13:
        masses, angles = np.split(root(equations, np.append(masses, angles), tol=1e-14).x, 2)
        kept = masses * directions > 1e-12
        angles, masses, directions = angles[kept] % (2 * np.pi), masses[kept], directions[kept]
        if np.all(kept):
            break
    gap = duality_gap(angles, masses, y, regularization, signed)
    if gap > 1e-10:
        raise ValueError(
            f"no certified optimum for this y and regularization: the gap is {gap:.1e}; the "
            "minimizer may not be unique, or two spikes too close for the grid (raise n_grid)"
        )
    order = np.argsort(angles)
    residual = y - transform(angles, masses, cutoff)
    value = residual @ residual / 2 + regularization * np.sum(np.abs(masses))
    return angles[order], size * masses[order], float(size**2 * value)


def _phi(theta, cutoff):
    """Return φ at the angles theta, shape (..., 2 cutoff + 1)."""
    turn = np.exp(1j * np.asarray(theta))[..., None]
    waves = np.sqrt(2) * np.cumprod(np.repeat(turn, cutoff, axis=-1), axis=-1)
    ones = np.ones((*np.shape(theta), 1))
    return np.concatenate([ones, waves.real, waves.imag], axis=-1) / np.sqrt(2 * cutoff + 1)


def _turned(r):
    """Return the vector whose product with φ is that of r with φ'."""
    even, odd = np.split(r[..., 1:], 2, axis=-1)
    k = np.arange(1, even.shape[-1] + 1)
    return np.concatenate([np.zeros_like(r[..., :1]), k * odd, -k * even], axis=-1)


def _extreme(p, cutoff, signed):
    """Return the largest <p, φ(θ)> (the largest |·| if signed) over the circle."""
    k = np.arange(1, cutoff + 1)
    # <p, φ>' is Re Σ i k c_k z^k; times z^cutoff it is a polynomial in z = exp(iθ).
    c = 1j * k * (p[1 : cutoff + 1] - 1j * p[cutoff + 1 :])
    zeros = np.angle(np.roots(np.concatenate([c[::-1], [0], np.conj(c)])))
    theta = np.append(zeros, 2 * np.pi * np.arange(16 * cutoff) / (16 * cutoff))
    values = _phi(theta, cutoff) @ p
    return float(np.max(np.abs(values) if signed else values))


def _particles(u, features, signs, name="u"):
    u, d = _check.finite_array(name, u), features.dimension
    if u.ndim < 2 or u.shape[-1] != d:
        raise ValueError(f"{name} must hold particles, shape (..., m, {d}); got shape {u.shape}")
    return u, _signs(signs, u.shape[-2])


def _signs(signs, m):
    signs = np.ones(m) if signs is None else _check.finite_array("signs", signs, ndim=1)
    if len(signs) != m or np.any(np.abs(signs) != 1):
        raise ValueError(f"signs must be {m} numbers +1 or -1, one a particle")
    return signs


def _problem(u, features, y, regularization, signs, name="u"):
    """Return the particles, checked, with their energy and m times its gradient as functions."""
    y, (u, signs) = _check.finite_array("y", y, ndim=1), _particles(u, features, signs, name)
    if len(y) != features.size:
        raise ValueError(f"y must match the {features.size} features, got {len(y)} entries")
    regularization = _check.number("regularization", regularization, 0)

    def residual(values):
        return np.mean(signs[:, None] * values, axis=-2) - y

    def energy(u):
        misfit = np.sum(residual(features.evaluate(u)[0]) ** 2, axis=-1)
        return misfit / 2 + regularization * np.mean(np.sum(u**2, axis=-1), axis=-1)

    def field(u):
        values, pullback = features.evaluate(u)
        return signs[:, None] * pullback(residual(values)) + 2 * regularization * u

    return u, energy, field


def _filtered(name, y):
    """Return Fourier features and their cutoff."""
    y = _check.finite_array(name, y, ndim=1)
    if len(y) < 3 or len(y) % 2 == 0:
        raise ValueError(f"{name} must have 2·cutoff + 1 entries, at least 3; got {len(y)}")
    return y, len(y) // 2
