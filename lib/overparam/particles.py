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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment, nnls, root

from overparam import _check, activations, flow


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

    evaluate: Callable
    dimension: int
    size: int
    homogeneity: int | None
    smooth: bool


def network(X, activation="tanh"):
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
    >>> network([[1.0, 0.0], [0.0, 1.0]], "relu").homogeneity
    2
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


def quadratic_neurons(X):
    r"""Return :math:`\Phi(u)=(Xu)_+^2/\sqrt N`: one squared-ReLU neuron with outer weight one.

    It is positively 2-homogeneous with a Lipschitz gradient, as Theorem 3.3 of Chizat and Bach
    2018 asks. `X` has shape (N, d).
    """
    X = _check.matrix("X", X)
    scale = np.sqrt(len(X))

    def evaluate(u):
        positive = np.maximum(u @ X.T, 0)
        return positive**2 / scale, lambda r: (2 * positive * r[..., None, :] / scale) @ X

    return Features(evaluate, X.shape[1], len(X), 2, True)


def fourier(cutoff):
    r"""Return :math:`\Phi(u)=|u|^2\varphi(\theta)`, u at angle :math:`\theta`, n = 2·cutoff + 1.

    :math:`\varphi(\theta)=(1,\sqrt2\cos k\theta,\sqrt2\sin k\theta)_{k\le\text{cutoff}}/\sqrt n`,
    of norm one: what an ideal low-pass filter leaves of a spike at :math:`\theta`.
    """
    cutoff = _check.count("cutoff", cutoff)
    size = 2 * cutoff + 1
    k, constant, wave = np.arange(1, cutoff + 1), 1 / np.sqrt(size), np.sqrt(2 / size)

    def evaluate(u):
        radius = np.hypot(u[..., 0], u[..., 1])
        # The angle of a particle at the origin does not matter: Φ and its gradient are zero.
        unit = np.where(radius > 0, u[..., 0] + 1j * u[..., 1], 1) / np.where(radius > 0, radius, 1)
        powers = np.cumprod(np.repeat(unit[..., None], cutoff, axis=-1), axis=-1)
        head = np.full((*radius.shape, 1), constant)
        phi = np.concatenate([head, wave * powers.real, wave * powers.imag], axis=-1)

        def pullback(r):
            even, odd = r[..., None, 1 : cutoff + 1], r[..., None, cutoff + 1 :]
            turned = np.matmul(powers, np.swapaxes(even - 1j * odd, -1, -2))[..., 0]
            slope = np.matmul(powers, np.swapaxes(1j * k * (even - 1j * odd), -1, -2))[..., 0]
            height = constant * r[..., None, 0] + wave * turned.real
            field = radius * unit * (2 * height + 1j * wave * slope.real)
            return np.stack([field.real, field.imag], axis=-1)

        return radius[..., None] ** 2 * phi, pullback

    return Features(evaluate, 2, size, 2, True)


def prediction(u, features, signs=None):
    r"""Return :math:`\int\Phi\,d\mu=\frac1m\sum_is_i\Phi(u_i)`, shape (..., n)."""
    u, signs = _particles(u, features, signs)
    return np.mean(signs[:, None] * features.evaluate(u)[0], axis=-2)


def energy(u, features, y, regularization=0.0, signs=None):
    r"""Return :math:`J_m(u)=\tfrac12\|\frac1m\sum_is_i\Phi(u_i)-y\|^2+\frac\lambda m\sum_i|u_i|^2`.

    Shape (...): one number for each run.
    """
    u, signs = _particles(u, features, signs)
    y, regularization = _data(y, features), _regularization(regularization)
    residual = np.mean(signs[:, None] * features.evaluate(u)[0], axis=-2) - y
    penalty = np.mean(np.sum(u**2, axis=-1), axis=-1)
    return np.sum(residual**2, axis=-1) / 2 + regularization * penalty


def velocity(u, features, y, regularization=0.0, signs=None):
    r"""Return :math:`-m\nabla_{u_i}J_m`, the particles' velocity, shape (..., m, d).

    :math:`-s_i\nabla\langle f-y,\Phi(u_i)\rangle-2\lambda u_i` with the prediction f: a field
    that depends on the other particles through f only.
    """
    u, signs = _particles(u, features, signs)
    y, regularization = _data(y, features), _regularization(regularization)
    return _velocity(u, features, y, regularization, signs)


def _velocity(u, features, y, regularization, signs):
    values, pullback = features.evaluate(u)
    residual = np.mean(signs[:, None] * values, axis=-2) - y
    return -signs[:, None] * pullback(residual) - 2 * regularization * u


def particle_flow(u0, features, y, t, regularization=0.0, signs=None, **options):
    r"""Integrate :math:`\dot u_i=-m\nabla_{u_i}J_m`; options as for `flow.gradient_flow`.

    Raises
    ------
    ValueError
        For features without a locally Lipschitz gradient (ReLU): the flow need not be unique,
        and an adaptive integrator stalls at the kinks. Use `particle_descent`.
    """
    u0, signs = _particles(u0, features, signs)
    y, regularization = _data(y, features), _regularization(regularization)
    if not features.smooth:
        raise ValueError(
            "features are not smooth (relu), so that the particle flow may not be unique; take "
            'activation "squared relu" or "tanh", or particle_descent with a fixed step'
        )
    field = lambda u: -_velocity(u, features, y, regularization, signs)  # noqa: E731
    return flow.gradient_flow(field, u0, t, **options)


def particle_descent(u0, features, y, step, n_steps, regularization=0.0, signs=None, **options):
    r"""Iterate :math:`u_i\leftarrow u_i-\eta\,m\nabla_{u_i}J_m`; options as `gradient_descent`.

    Several runs may be stacked in the leading axes of `u0`.

    Raises
    ------
    ValueError
        If `step` is so long that the numbers leave every bound, or end above the first energy.
    """
    u0, signs = _particles(u0, features, signs)
    y, regularization = _data(y, features), _regularization(regularization)
    field = lambda u: -_velocity(u, features, y, regularization, signs)  # noqa: E731
    path = flow.gradient_descent(field, u0, step, n_steps, **options)
    first = energy(u0, features, y, regularization, signs)
    with np.errstate(over="ignore", invalid="ignore"):
        last = energy(path.final, features, y, regularization, signs)
    rise = np.max(last - first * (1 + 1e-9))
    if path.reason == flow.DIVERGED or not rise <= 1e-12:
        raise ValueError(
            f"step = {step:g} is too long: the energy of a run ends {rise:.3g} above its start, "
            "or is no longer finite; take a shorter step"
        )
    return path


def ring(n_particles, radius=1.0, rng=None, n_runs=None):
    """Return particles on a circle in the plane, shape (m, 2), or (n_runs, m, 2).

    Equally spaced without `rng`; with it, at independent uniform angles.
    """
    n_particles = _check.count("n_particles", n_particles)
    radius = _check.number("radius", radius, 0)
    runs = () if n_runs is None else (_check.count("n_runs", n_runs),)
    if rng is None:
        angles = np.broadcast_to(
            2 * np.pi * np.arange(n_particles) / n_particles, (*runs, n_particles)
        )
    else:
        angles = _check.generator("rng", rng).uniform(0, 2 * np.pi, (*runs, n_particles))
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def spikes(u, signs=None, merge=1e-2, least=1e-3):
    """Return angles and signed masses of the spikes that particles in the plane, (m, 2), form.

    Neighbours of the same sign within `merge` radians count as one spike, at their centre of
    mass; spikes lighter than `least` are left out.
    """
    u = _check.matrix("u", u)
    signs = _signs(signs, len(u))
    mass = signs * np.sum(u**2, axis=1) / len(u)
    found = []
    for sign in (1, -1):
        chosen = np.flatnonzero((signs == sign) & (mass != 0))
        if not len(chosen):
            continue
        angle = np.arctan2(u[chosen, 1], u[chosen, 0]) % (2 * np.pi)
        order = np.argsort(angle)
        angle, weight = angle[order], mass[chosen[order]]
        gaps = np.diff(np.append(angle, angle[0] + 2 * np.pi))
        first = np.argmax(gaps) + 1  # cut the circle at its widest gap
        angle, weight, gaps = (np.roll(a, -first) for a in (angle, weight, gaps))
        groups = np.concatenate([[0], np.cumsum(gaps[:-1] > merge)])
        total = np.bincount(groups, weight)
        centre = np.angle(
            np.bincount(groups, weight * np.cos(angle)) / total
            + 1j * np.bincount(groups, weight * np.sin(angle)) / total
        )
        found += [(c % (2 * np.pi), w) for c, w in zip(centre, total, strict=True)]
    found = sorted((c, w) for c, w in found if abs(w) >= least)
    return np.array([c for c, _ in found]), np.array([w for _, w in found])


def transform(angles, masses, cutoff):
    r"""Return :math:`\sum_ja_j\varphi(\theta_j)`, the Fourier features of a sum of spikes."""
    angles = _check.finite_array("angles", angles, ndim=1)
    masses = _check.finite_array("masses", masses, ndim=1)
    if len(angles) != len(masses):
        raise ValueError(f"angles and masses differ in length: {len(angles)} and {len(masses)}")
    return masses @ _phi(angles, _check.count("cutoff", cutoff))


def certificate(theta, residual, regularization):
    r"""Return :math:`\eta(\theta)=\langle y-f,\varphi(\theta)\rangle/\lambda` for y - f = residual.

    A measure with prediction f is optimal if and only if :math:`\eta\le1` everywhere, or
    :math:`|\eta|\le1` for signed measures, with equality (and the right sign) where it has mass.
    """
    residual = _check.finite_array("residual", residual, ndim=1)
    regularization = _check.number("regularization", regularization, 0, strict=True)
    theta = np.atleast_1d(_check.finite_array("theta", theta))
    return _phi(theta, _cutoff("residual", residual)) @ residual / regularization


def duality_gap(angles, masses, y, regularization, signed=False):
    r"""Return J - D of spikes on the circle: an upper bound of their distance from the optimum.

    D is the dual :math:`\lambda\langle y,q\rangle-\frac{\lambda^2}2|q|^2` at the residual divided
    by :math:`\lambda\max(1,\max\eta)`, which makes it feasible. The maximum is that of a
    trigonometric polynomial, taken over the zeros of its derivative.

    Raises
    ------
    ValueError
        For negative masses unless `signed`.
    """
    y = _check.finite_array("y", y, ndim=1)
    cutoff = _cutoff("y", y)
    regularization = _check.number("regularization", regularization, 0, strict=True)
    if len(np.atleast_1d(masses)) == 0:
        masses, f = np.zeros(0), np.zeros_like(y)
    else:
        f = transform(angles, masses, cutoff)
    if not signed and np.any(np.asarray(masses) < 0):
        raise ValueError("masses must not be negative; for signed measures set signed=True")
    residual = y - f
    top = _extreme(residual, cutoff, signed) / regularization
    q = residual / (regularization * max(1.0, top))
    primal = residual @ residual / 2 + regularization * np.sum(np.abs(masses))
    return float(primal - regularization * y @ q + regularization**2 * q @ q / 2)


def optimum(y, regularization, signed=False, n_grid=2000):
    r"""Return the minimizer of J over measures on the circle as (angles, masses, J*).

    Not by particles: the dual is the projection of :math:`y/\lambda` onto
    :math:`\{q:\eta_q\le1\}` (:math:`|\eta_q|\le1` if signed). It is solved exactly on a grid as
    a least-distance problem (Lawson and Hanson: non-negative least squares), and Newton's method
    then moves the spikes off the grid. The result is certified by `duality_gap`.

    Raises
    ------
    ValueError
        If the certified gap is not below 1e-10 (for instance because the minimizer is not unique).
    """
    y = _check.finite_array("y", y, ndim=1)
    cutoff = _cutoff("y", y)
    regularization = _check.number("regularization", regularization, 0, strict=True)
    grid = 2 * np.pi * np.arange(_check.count("n_grid", n_grid, 8 * cutoff)) / n_grid
    if _extreme(y, cutoff, signed) <= regularization:
        return np.zeros(0), np.zeros(0), float(y @ y / 2)
    phi = _phi(grid, cutoff)
    G = -np.concatenate([phi, -phi]) if signed else -phi
    # min |q - y/λ| with G q >= -1: shift to x = q - y/λ, so G x >= h.
    h = -1 - G @ y / regularization
    dual = nnls(np.vstack([G.T, h]), np.append(np.zeros(len(y)), 1.0), maxiter=50 * len(h))[0]
    residual = np.vstack([G.T, h]) @ dual - np.append(np.zeros(len(y)), 1.0)
    # The multipliers are the masses on the grid; a spike between two grid points uses both.
    masses = -regularization * dual / residual[-1]
    weights = masses[:n_grid] - masses[n_grid:] if signed else masses
    points = np.sqrt(n_grid * np.abs(weights))[:, None] * np.stack([np.cos(grid), np.sin(grid)], 1)
    directions = np.where(weights < 0, -1.0, 1.0)
    angles, masses = spikes(points, directions, merge=3 * 2 * np.pi / n_grid, least=1e-12)
    directions = np.sign(masses)

    def equations(x):
        a, theta = np.split(x, 2)
        residual = y - a @ _phi(theta, cutoff)
        value = _phi(theta, cutoff) @ residual / regularization - directions
        return np.append(value, _phi_slope(theta, cutoff) @ residual / regularization)

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
    return angles[order], masses[order], float(value)


def wasserstein(u, v):
    r"""Return :math:`W_2` between the uniform measures on the points u and v.

    Shapes (m, d) and (km, d) for a whole number k, or the other way round: every point of the
    smaller set is taken k times, and the best assignment found exactly.
    """
    u, v = _check.matrix("u", u), _check.matrix("v", v)
    if len(u) > len(v):
        u, v = v, u
    if u.shape[1] != v.shape[1] or len(v) % len(u):
        raise ValueError(
            f"u and v must be points of one space, with a number of points that divides the "
            f"other; got shapes {u.shape} and {v.shape}"
        )
    u = np.repeat(u, len(v) // len(u), axis=0)
    cost = np.sum(u**2, axis=1)[:, None] + np.sum(v**2, axis=1) - 2 * u @ v.T
    rows, columns = linear_sum_assignment(cost)
    return float(np.sqrt(np.mean(np.sum((u[rows] - v[columns]) ** 2, axis=1))))


def _phi(theta, cutoff):
    turns = np.multiply.outer(theta, np.arange(1, cutoff + 1))
    waves = np.sqrt(2) * np.concatenate([np.cos(turns), np.sin(turns)], axis=-1)
    return np.concatenate([np.ones((*np.shape(theta), 1)), waves], axis=-1) / np.sqrt(
        2 * cutoff + 1
    )


def _phi_slope(theta, cutoff):
    k = np.arange(1, cutoff + 1)
    turns = np.multiply.outer(theta, k)
    waves = np.sqrt(2) * np.concatenate([-k * np.sin(turns), k * np.cos(turns)], axis=-1)
    return np.concatenate([np.zeros((*np.shape(theta), 1)), waves], axis=-1) / np.sqrt(
        2 * cutoff + 1
    )


def _extreme(p, cutoff, signed):
    """Return the largest <p, φ(θ)> (the largest |·| if signed) over the circle."""
    k = np.arange(1, cutoff + 1)
    # <p, φ>' is Re Σ i k c_k z^k; times z^cutoff it is a polynomial in z = exp(iθ).
    c = 1j * k * (p[1 : cutoff + 1] - 1j * p[cutoff + 1 :])
    zeros = np.angle(np.roots(np.concatenate([c[::-1], [0], np.conj(c)])))
    theta = np.append(zeros, 2 * np.pi * np.arange(16 * cutoff) / (16 * cutoff))
    values = _phi(theta, cutoff) @ p
    return float(np.max(np.abs(values) if signed else values))


def _particles(u, features, signs):
    u = _check.finite_array("u", u)
    if u.ndim < 2 or u.shape[-1] != features.dimension:
        raise ValueError(
            f"u must hold particles of {features.dimension} coordinates, shape (..., m, "
            f"{features.dimension}); got shape {u.shape}"
        )
    return u, _signs(signs, u.shape[-2])


def _signs(signs, n_particles):
    if signs is None:
        return np.ones(n_particles)
    signs = _check.finite_array("signs", signs, ndim=1)
    if len(signs) != n_particles or np.any(np.abs(signs) != 1):
        raise ValueError(f"signs must be {n_particles} numbers +1 or -1, one a particle")
    return signs


def _data(y, features):
    y = _check.finite_array("y", y, ndim=1)
    if len(y) != features.size:
        raise ValueError(
            f"y has {len(y)} entries, but the features have {features.size}: they do not match"
        )
    return y


def _regularization(value):
    return _check.number("regularization", value, 0)


def _cutoff(name, y):
    if len(y) < 3 or len(y) % 2 == 0:
        raise ValueError(f"{name} must have 2·cutoff + 1 entries, at least 3; got {len(y)}")
    return len(y) // 2
