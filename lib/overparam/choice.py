r"""What steps, noise, momentum and decay choose (chapter of that name).

Diagonal networks :math:`\beta=w_+^2-w_-^2` from :math:`w_\pm=\alpha\mathbf 1` on
:math:`f(\beta)=\tfrac1{2N}\|y-X\beta\|^2`, **with** 1/N and ½, trained by descent with any step
and any batches, by label noise, with momentum and with the penalty
:math:`\tfrac\lambda2\|w\|^2`.

Letters: X (N × d) and y are the data, :math:`g=\nabla f`, :math:`a=w_+w_-` entry by entry the
squared scale, :math:`h_i=\tfrac1N\sum_nx_{ni}^2`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.linalg import lstsq

from overparam import _check, regimes

MAX_SWEEPS = 20_000


def descent(
    X: ArrayLike, y: ArrayLike, alpha: float, step: float, n_steps: int,
    batch: int | None = None, rng: np.random.Generator | None = None,
) -> tuple[NDArray, NDArray, NDArray]:
    r"""Run gradient descent on the weights; return β, the gain and the shift.

    In step j, with the gradient :math:`g_j` of the loss of the batch,
    :math:`w_\pm\leftarrow(1\mp2\eta g_j)w_\pm`. The gain is
    :math:`\log(\alpha^2/a)=-\sum_j\log|1-4\eta^2g_j^2|`, the shift
    :math:`\theta=\sum_j\big(\log\big|\tfrac{1-2\eta g_j}{1+2\eta g_j}\big|+4\eta g_j\big)`.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    alpha, step : float, positive
    n_steps : int
    batch : int, optional
        Draw so many data without replacement in each step; all of them by default.
    rng : numpy.random.Generator
        Needed with `batch`.

    Returns
    -------
    beta, gain, shift : ndarrays, shape (d,)
        `limit` takes ``alpha**2 * exp(-gain)`` and the shift.

    Raises
    ------
    ValueError
        For bad input, or if the weights diverge or one of them becomes exactly zero.

    Examples
    --------
    >>> from overparam import choice
    >>> beta, gain, shift = choice.descent([[1.0, 0.5]], [1.0], 0.1, 0.1, 400)
    >>> beta.round(4), gain.round(4)
    (array([0.9475, 0.1051]), array([0.4005, 0.0989]))
    """
    X, y = _check.data(X, y)
    alpha = _check.number("alpha", alpha, 0, strict=True)
    step = _check.number("step", step, 0, strict=True)
    n_steps = _check.count("n_steps", n_steps, 0)
    if batch is not None:
        batch, rng = _check.count("batch", batch), _check.generator("rng", rng)
        if batch > len(y):
            raise ValueError(f"batch must be at most the number of data, {len(y)}, got {batch}")
    rows, labels, size = X, y, len(y)
    logs = np.zeros((2, X.shape[1]))  # of |w_±|/α; the signs drop out of w²
    pull = beta = np.zeros(X.shape[1])  # pull is 4η Σ g
    with np.errstate(all="ignore"):
        for _ in range(n_steps):
            if batch is not None:
                chosen = rng.permutation(len(y))[:batch]
                rows, labels, size = X[chosen], y[chosen], batch
            move = (2 * step / size) * ((rows @ beta - labels) @ rows)
            logs, pull = logs + np.log(np.abs([1 - move, 1 + move])), pull + 2 * move
            plus, minus = np.exp(2 * logs)
            beta = alpha**2 * (plus - minus)
    if not (np.all(np.isfinite(beta)) and np.all(np.isfinite(logs))):
        raise ValueError(f"descent with step = {step:g} diverged or hit zero; take it smaller")
    plus, minus = logs
    return beta, -(plus + minus), plus - minus + pull


def limit(X: ArrayLike, y: ArrayLike, scale_squared: ArrayLike, shift: ArrayLike) -> NDArray:
    r"""Return the interpolant that minimizes :math:`\sum_ia_iq(\beta_i/a_i)-\langle\theta,\beta\rangle`.

    :math:`q'(z)=\operatorname{arsinh}(z/2)` (`regimes.q`). With
    :math:`\beta=2a\sinh(\theta+X^\top\nu)` it solves :math:`X\beta=y` (`regimes.interpolant`).

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,), in the range of X
    scale_squared : vector, shape (d,), positive
        a.
    shift : vector, shape (d,)
        θ.

    Raises
    ------
    ValueError
        For bad input, for data that no β fits, or if Newton's iteration does not reach
        :math:`\|X\beta-y\|\le10^{-10}\|y\|`.

    Examples
    --------
    >>> from overparam import choice
    >>> choice.limit([[1.0, 0.5]], [1.0], [0.01, 0.01], [0.0, 0.0]).round(4)
    array([0.9517, 0.0965])
    """  # noqa: E501
    X, y = _check.data(X, y)
    a = _check.shaped("scale_squared", scale_squared, X.shape[1:], "a row of X")
    theta = _check.shaped("shift", shift, X.shape[1:], "a row of X")
    a = _check.positive("scale_squared", a)
    return regimes.interpolant(X, y, a, theta, cause="scale_squared is")


def label_noise_lasso(X: ArrayLike, y: ArrayLike, step: float, noise: float) -> NDArray:
    r"""Return the minimizer of :math:`f(\beta)+\eta\delta^2\sum_ih_i|\beta_i|`.

    What the time average tends to under noise of standard deviation δ in the labels, the only
    noise, with steps η.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    step, noise : float, positive
        η and δ.

    Raises
    ------
    ValueError
        For bad input, or if coordinate descent does not find the support (columns that are
        nearly dependent).

    Examples
    --------
    >>> from overparam import choice
    >>> choice.label_noise_lasso([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.1], 0.1, 2.0).round(4)
    array([0.6, 0. ])
    """
    X, y = _check.data(X, y)
    step = _check.number("step", step, 0, strict=True)
    noise = _check.number("noise", noise, 0, strict=True)
    gram, pull = X.T @ X / len(y), X.T @ y / len(y)
    h = np.diag(gram)
    weights, beta = step * noise**2 * h, np.zeros(len(h))
    g = pull.copy()  # -∇f
    learnt = np.flatnonzero(h)
    for sweep in range(MAX_SWEEPS):
        for i in learnt:
            raw = g[i] + h[i] * beta[i]
            new = np.sign(raw) * max(abs(raw) - weights[i], 0.0) / h[i]
            if new != beta[i]:
                g -= gram[:, i] * (new - beta[i])
                beta[i] = new
        if sweep % 20 == 0:
            exact = _on_support(gram, pull, weights, np.sign(beta))
            if exact is not None:
                return exact
    raise ValueError("X has columns that are nearly dependent: the support was not found")


def _on_support(gram, pull, weights, signs):
    """Return the Lasso solution with these signs if there is one."""
    beta, active = np.zeros(len(pull)), signs != 0
    if active.any():
        block = gram[np.ix_(active, active)]
        beta[active] = lstsq(block, (pull - weights * signs)[active])[0]
    slack = 1e-10 * np.abs(pull).max()
    g = pull - gram @ beta
    right = np.all(np.abs(g) <= weights + slack) and np.all(beta[active] * signs[active] > 0)
    return beta if right and np.allclose(g[active], (weights * signs)[active], atol=slack) else None


def momentum_parameter(step: float, momentum: float) -> float:
    r"""Return λ of :math:`\lambda\ddot w+\dot w=-\nabla L` for heavy ball with (η, b).

    :math:`\lambda=\eta(1+b)/(2(1-b)^2)`, to leading order as η → 0 with b fixed.

    Examples
    --------
    >>> from overparam import choice
    >>> round(choice.momentum_parameter(0.01, 0.9), 6)
    0.95
    """
    step = _check.number("step", step, 0, strict=True)
    momentum = _check.number("momentum", momentum, 0)
    if momentum >= 1:
        raise ValueError(f"momentum must be less than 1, got {momentum:g}")
    return step * (1 + momentum) / (2 * (1 - momentum) ** 2)


def decay_flow(X: ArrayLike, y: ArrayLike, alpha: float, decay: float, t: ArrayLike) -> NDArray:
    r"""Return β at the times t of the flow with weight decay, from :math:`w_\pm=\alpha\mathbf 1`.

    The flow of :math:`f(w_+^2-w_-^2)+\tfrac\lambda2(\|w_+\|^2+\|w_-\|^2)`, in its dual
    :math:`\dot\nu=\tfrac4N(y-X\beta)`, :math:`\beta=2\alpha^2e^{-2\lambda t}\sinh X^\top\nu`.

    Parameters
    ----------
    X : matrix, shape (N, d)
    y : vector, shape (N,)
    alpha : float, positive
    decay : float, not negative
        λ.
    t : float or increasing array of floats, not negative

    Returns
    -------
    ndarray, shape of t followed by (d,)

    Raises
    ------
    ValueError
        For bad input or times that do not increase, or if the integrator gives up.

    Examples
    --------
    Half of the penalty is the bias of the Lasso.

    >>> from overparam import choice
    >>> choice.decay_flow([[1.0, 0.0]], [1.0], 1.0, 0.2, 100.0).round(4)
    array([0.9, 0. ])
    """
    X, y = _check.data(X, y)
    alpha = _check.number("alpha", alpha, 0, strict=True)
    decay, t = _check.number("decay", decay, 0), _check.finite_array("t", t)
    times = np.atleast_1d(t)
    if times.ndim != 1 or times[0] < 0 or np.any(np.diff(times) <= 0):
        raise ValueError("t must be one time, or times from 0 on in increasing order")
    N, far = len(y), 200.0

    def parts(time, nu):
        log_scale, u = 2 * (np.log(alpha) - decay * time), nu @ X
        # Cut where only trial steps of the integrator go.
        return (np.exp(np.minimum(log_scale + side, far)) for side in (u, -u))

    def velocity(time, nu):
        plus, minus = parts(time, nu)
        return (4 / N) * (y - X @ (plus - minus))

    def jacobian(time, nu):
        plus, minus = parts(time, nu)
        return -(4 / N) * (X * (plus + minus)) @ X.T

    found = solve_ivp(
        velocity, (0.0, max(times[-1], 1e-300)), np.zeros(N), "LSODA", t_eval=times,
        jac=jacobian, rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    if found.status != 0:
        raise ValueError(f"alpha = {alpha:g}, decay = {decay:g}: {found.message}")
    states = [parts(time, nu) for time, nu in zip(times, found.y.T, strict=True)]
    beta = np.array([plus - minus for plus, minus in states])
    return beta.reshape(*t.shape, -1)
