"""What steps, noise, momentum and decay choose: exact limits, orders, label noise, decay."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from overparam import choice, regimes, saddles


def problem(seed, n_data=4, size=8):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_data, size)), rng.standard_normal(n_data)


def slope(x, y):
    return np.polyfit(np.log(x), np.log(np.abs(y)), 1)[0]


def lasso_gap(X, y, beta, weights):
    """How far the conditions of f + Σ c_i|β_i| are from being met, over the largest weight."""
    g, active = X.T @ (y - X @ beta) / len(y), np.abs(beta) > 1e-9
    gap = np.maximum(np.abs(g) - weights, 0).max()
    return max(gap, np.abs(g - weights * np.sign(beta))[active].max(initial=0)) / weights.max()


# Steps


@pytest.mark.parametrize(("step", "batch"), [(0.1, None), (0.25, None), (0.05, 1), (0.05, 3)])
def test_limit_of_descent_is_exact_for_any_step_and_batch(step, batch):
    X, y = problem(0)
    rng = np.random.default_rng(1)
    beta, gain, shift = choice.descent(X, y, 0.3, step, 6000, batch, rng)
    assert np.linalg.norm(X @ beta - y) < 1e-9
    assert np.allclose(choice.limit(X, y, 0.09 * np.exp(-gain), shift), beta, atol=1e-8)
    assert np.abs(regimes.flow_limit(X, y, 0.3) - beta).max() > 1e-4


def test_descent_is_descent_on_the_weights():
    X, y = problem(1)
    w, gain = np.full((2, 8), 0.2), np.zeros(8)
    for _ in range(30):
        g = X.T @ (X @ (w[0] ** 2 - w[1] ** 2) - y) / 4
        gain -= np.log(np.abs(1 - 4 * 0.1**2 * g**2))
        w = w - 0.1 * np.array([2 * w[0] * g, -2 * w[1] * g])
    beta, got, _ = choice.descent(X, y, 0.2, 0.1, 30)
    assert np.allclose(beta, w[0] ** 2 - w[1] ** 2, rtol=1e-10)
    assert np.allclose(got, gain) and np.allclose(np.abs(w[0] * w[1]), 0.04 * np.exp(-got))


def test_limit_without_gain_is_that_of_the_flow_and_has_the_right_gradient():
    X, y = problem(2)
    flow = choice.limit(X, y, np.full(8, 0.04), np.zeros(8))
    assert np.allclose(flow, regimes.flow_limit(X, y, 0.2), atol=1e-10)
    rng = np.random.default_rng(3)
    a, theta = rng.uniform(0.01, 0.1, 8), 0.3 * rng.standard_normal(8)
    beta = choice.limit(X, y, a, theta)
    gradient = np.arcsinh(beta / (2 * a)) - theta
    kernel = np.linalg.svd(X)[2][4:]
    assert np.allclose(kernel @ gradient, 0, atol=1e-9) and np.allclose(X @ beta, y)


def test_orders_in_the_step():
    X, y = problem(4)
    steps = np.array([0.04, 0.02, 0.01])
    flow, rows = regimes.flow_limit(X, y, 0.3), []
    for step in steps:
        beta, gain, shift = choice.descent(X, y, 0.3, step, int(120 / step))
        exact = choice.limit(X, y, 0.09 * np.exp(-gain), shift)
        rows.append([np.abs(gain).max(), np.abs(shift).max(), np.abs(exact - flow).max()])
    orders = [slope(steps, column) for column in np.transpose(rows)]
    assert np.allclose(orders, [1, 2, 1], atol=0.1)


def test_bad_input_and_divergence():
    X, y = problem(5)
    with pytest.raises(ValueError, match="diverged"):
        choice.descent(X, y, 0.3, 50.0, 100)
    with pytest.raises(ValueError, match="rng"):
        choice.descent(X, y, 0.3, 0.1, 10, batch=1)
    with pytest.raises(ValueError, match="at most the number of data"):
        choice.descent(X, y, 0.3, 0.1, 10, batch=9, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="range of X"):
        choice.limit([[1.0], [1.0]], [1.0, 2.0], [1.0], [0.0])
    with pytest.raises(ValueError, match="scale_squared"):
        choice.limit([[1.0]], [1.0], [-1.0], [0.0])


# Noise


def test_stochastic_gradient_flow_in_closed_form():
    """Euler in log w of dw = ∓2w(g dt + (2ηf/N)^½ Xᵀ dB): the scale, and no shift."""
    X, y = problem(6)
    N, step, dt = len(y), 0.1, 2e-3
    rng = np.random.default_rng(7)
    logs, integral = np.zeros((2, 8)), 0.0
    h = np.mean(X**2, axis=0)
    for _ in range(30_000):
        beta = 0.09 * (np.exp(2 * logs[0]) - np.exp(2 * logs[1]))
        r = X @ beta - y
        f = r @ r / (2 * N)
        noise = np.sqrt(2 * step * f / N * dt) * (X.T @ rng.standard_normal(N))
        drift = X.T @ r / N * dt + noise
        logs = logs + np.array([-2 * drift, 2 * drift]) - 4 * step * f * h * dt
        integral += 2 * f * dt
    a = 0.09 * np.exp(-4 * step * h * integral)
    assert np.allclose(0.09 * np.exp(logs.sum(axis=0)), a, rtol=1e-9)
    beta = 0.09 * (np.exp(2 * logs[0]) - np.exp(2 * logs[1]))
    assert f < 1e-6  # the identity holds at every time, for the data as fitted so far
    assert np.allclose(choice.limit(X, X @ beta, a, np.zeros(8)), beta, atol=1e-8)
    assert np.abs(regimes.flow_limit(X, X @ beta, 0.3) - beta).max() > 1e-3


def test_smaller_scale_is_not_always_sparser():
    X, y = np.array([[3.0, -2, 0], [0, 4, -3]]), np.array([-13.0, 8])
    norms = [np.abs(regimes.flow_limit(X, y, alpha)).sum() for alpha in (0.02, 0.5, 1.5)]
    assert norms[0] < norms[2] < norms[1]
    assert np.allclose(norms, [5.002, 5.104, 5.021], atol=1e-3)
    assert np.isclose(np.abs(regimes.minimum_l1(X, y)).sum(), 5)


def label_noise_average(X, y, step, noise, dt, n_steps, n_runs, rng):
    """Mean over runs of the time average of β, by Euler in log w, label noise only."""
    N, d = X.shape
    h = np.mean(X**2, axis=0)
    total, logs = np.zeros((n_runs, d)), np.zeros((2, n_runs, d))
    for _ in range(n_steps):
        beta = 0.25 * (np.exp(2 * logs[0]) - np.exp(2 * logs[1]))
        kicks = noise * np.sqrt(step / N * dt) * (rng.standard_normal((n_runs, N)) @ X)
        drift = (beta @ X.T - y) @ X / N * dt + kicks
        logs = logs + np.array([-2 * drift, 2 * drift]) - 2 * step * noise**2 * h * dt
        total += beta * dt
    return total.mean(axis=0) / (n_steps * dt)


def test_label_noise_averages_to_the_lasso():
    X, y = problem(8, 6, 5)
    target = choice.label_noise_lasso(X, y, 0.05, 1.0)
    rng = np.random.default_rng(9)
    mean = label_noise_average(X, y, 0.05, 1.0, 0.02, 20_000, 24, rng)
    flow = np.linalg.lstsq(X, y, rcond=None)[0]  # the noiseless limit: N > d
    assert np.linalg.norm(mean - target) < 0.25 * np.linalg.norm(mean - flow)


@pytest.mark.parametrize("seed", range(6))
def test_label_noise_lasso_meets_its_conditions(seed):
    X, y = problem(seed, 5, 8)
    for noise in (0.3, 1.0, 5.0):
        beta = choice.label_noise_lasso(X, y, 0.1, noise)
        weights = 0.1 * noise**2 * np.mean(X**2, axis=0)
        assert lasso_gap(X, y, beta, weights) < 1e-8
        for unit in (1e-16, 1e16):  # of the labels, to which the squared noise is in proportion
            scaled = choice.label_noise_lasso(X, unit * y, 0.1, np.sqrt(unit) * noise)
            assert np.allclose(scaled / unit, beta, atol=1e-8)
    assert not choice.label_noise_lasso(X, y, 0.1, 100.0).any()


# Momentum


def test_momentum_in_continuous_time():
    X, y = problem(10, 3, 5)
    alpha, lam = 0.4, 0.3

    def field(_, state):
        w, v, sums = state[:10].reshape(2, 5), state[10:20].reshape(2, 5), None
        g = X.T @ (X @ (w[0] ** 2 - w[1] ** 2) - y) / 3
        force = -2 * np.array([w[0] * g, -w[1] * g])
        omega = (v / w) ** 2
        sums = np.concatenate([omega.sum(axis=0), omega[0] - omega[1]])
        return np.concatenate([v.ravel(), ((force - v) / lam).ravel(), sums])

    start = np.concatenate([np.full(10, alpha), np.zeros(20)])
    end = solve_ivp(field, (0, 400), start, rtol=1e-11, atol=1e-13, method="LSODA").y[:, -1]
    w, (total, difference) = end[:10].reshape(2, 5), end[20:].reshape(2, 5)
    assert np.all(w > 0)
    beta = w[0] ** 2 - w[1] ** 2
    a = alpha**2 * np.exp(-lam * total)
    assert np.allclose(w[0] * w[1], a, rtol=1e-8)
    assert np.allclose(choice.limit(X, y, a, -lam * difference), beta, atol=1e-7)


def heavy_ball(X, y, alpha, step, momentum, n_steps):
    """β, and the logarithms of a and the shift by the exact sums of the chapter."""
    w = np.full((2, X.shape[1]), alpha)
    old, log_a, shift = w.copy(), 0.0, 0.0
    for _ in range(n_steps):
        g = X.T @ (X @ (w[0] ** 2 - w[1] ** 2) - y) / len(y)
        new = w - 2 * step * np.array([w[0] * g, -w[1] * g]) + momentum * (w - old)
        x = new / w - 1
        psi = np.log(np.abs(1 + x)) - x - momentum / (1 - momentum) * x**2 / (1 + x)
        log_a, shift = log_a + psi[0] + psi[1], shift + psi[0] - psi[1]
        old, w = w, new
    return w[0] ** 2 - w[1] ** 2, log_a, shift


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8])
def test_limit_of_the_heavy_ball_is_exact(momentum):
    X, y = problem(11)
    beta, log_a, shift = heavy_ball(X, y, 0.3, 0.02, momentum, 20_000)
    assert np.linalg.norm(X @ beta - y) < 1e-10
    assert np.allclose(choice.limit(X, y, 0.09 * np.exp(log_a), shift), beta, atol=1e-8)


def test_momentum_parameter_gives_the_gain_to_leading_order():
    X, y = problem(12)
    # ∫ω² along the flow, for w₊ and w₋ together, from descent with a small step.
    small = 5e-3
    integral = choice.descent(X, y, 0.3, small, 16_000)[1] / (small / 2)
    for momentum in (0.0, 0.3, 0.6):
        errors = []
        for step in (0.02, 0.01):
            _, log_a, _ = heavy_ball(X, y, 0.3, step, momentum, int(80 / step))
            ratio = -log_a / integral / choice.momentum_parameter(step, momentum)
            errors.append(np.abs(ratio - 1).max())
        assert errors[1] < 0.7 * errors[0] + 0.01 and errors[1] < 0.1


# Decay


def test_decay_moves_the_scale_at_every_time():
    X, y = problem(13)
    t = np.array([0.5, 3.0, 30.0, 200.0])
    for time, beta in zip(t, choice.decay_flow(X, y, 0.7, 0.01, t), strict=True):
        scale = 0.49 * np.exp(-2 * 0.01 * time)
        again = choice.limit(X, X @ beta, np.full(8, scale), np.zeros(8))
        assert np.allclose(again, beta, atol=1e-7)


def test_decay_flow_is_that_of_the_weights():
    X, y = problem(14)

    def field(_, z):
        w = z.reshape(2, 8)
        g = X.T @ (X @ (w[0] ** 2 - w[1] ** 2) - y) / 4
        return np.ravel([-2 * w[0] * g, 2 * w[1] * g] - 0.05 * w)

    end = solve_ivp(field, (0, 20), np.full(16, 0.5), rtol=1e-11, atol=1e-13).y[:, -1]
    w = end.reshape(2, 8)
    assert np.allclose(choice.decay_flow(X, y, 0.5, 0.05, 20.0), w[0] ** 2 - w[1] ** 2, atol=1e-8)


def test_decay_ends_at_the_lasso():
    X, y = problem(15, 6, 10)
    beta = choice.decay_flow(X, y, 1.0, 0.1, 2e4)
    assert lasso_gap(X, y, beta, np.full(10, 0.05)) < 1e-6
    assert 0 < np.sum(np.abs(beta) > 1e-6) < 10


def grokking(seed=0):
    rng = np.random.default_rng(seed)
    X, truth = rng.standard_normal((20, 40)), np.zeros(40)
    truth[:3] = rng.choice([-1, 1], 3) * rng.uniform(0.5, 1.5, 3)
    return X, X @ truth, truth


def test_test_error_is_a_function_of_the_moved_scale():
    X, y, truth = grokking()
    scales, curves = np.logspace(0.3, -3, 8), []
    for alpha, decay in ((10, 1e-3), (30, 1e-3), (10, 3e-4)):
        t = np.log(alpha / scales) / decay
        beta = choice.decay_flow(X, y, alpha, decay / 20, 20 * t)
        curves.append(np.linalg.norm(beta - truth, axis=1))
    still = [np.linalg.norm(regimes.flow_limit(X, y, a) - truth) for a in scales]
    assert np.allclose(curves[0], curves[1], atol=1e-3)
    assert np.allclose(curves[0], curves[2], atol=0.02)
    assert np.allclose(curves[2], still, atol=0.03)
    assert curves[0][0] > 5 * curves[0][-1]


def test_power_laws():
    """One layer: an exponent r = (a-1)/b; the product of two: 2(a-1)/(a+b)."""
    a, b = 1.8, 2.5
    i = np.arange(1, 200_001.0)
    eigenvalues, energy = i**-b, i**-a
    t = np.logspace(4, 6, 9)
    one = np.array([0.5 * energy @ np.exp(-2 * eigenvalues * time) for time in t])
    assert np.isclose(slope(t, one), -(a - 1) / b, atol=0.02)
    rates = np.sqrt(eigenvalues * energy)  # λ_i |w_i|
    tau = np.logspace(2, 4, 9)
    two = np.array([0.5 * energy[2 * rates * x < 1].sum() for x in tau])
    assert np.isclose(slope(tau, two), -2 * (a - 1) / (a + b), atol=0.06)


def test_power_law_of_the_product_is_that_of_its_flow():
    """The threshold 2λ_i|w_i|τ = 1 against the sigmoids themselves."""
    a, b, alpha = 1.8, 2.5, 1e-12
    i = np.arange(1, 401.0)
    eigenvalues, target = i**-b, np.sqrt(i ** -(a - b))
    for tau in (3.0, 30.0):
        time = tau * np.log(1 / alpha**2)
        grown = alpha**2 * np.exp(np.minimum(2 * eigenvalues * target * time, 700))
        beta = target * grown / (target - alpha**2 + grown)
        loss = 0.5 * eigenvalues @ (beta - target) ** 2
        predicted = 0.5 * (i**-a)[2 * eigenvalues * target * tau < 1].sum()
        assert np.isclose(loss, predicted, rtol=0.1)


def test_clock_of_the_decayed_dual_agrees_with_that_of_the_chapter_before():
    """Without decay the flow is that of `saddles`, N times as slow."""
    X, y = problem(16)
    tau = np.array([0.7, 2.0])
    beta = saddles.dual_flow(X, y, tau, 1e-2)[1]
    slow = choice.decay_flow(X, y, 1e-2, 0.0, tau * 4 * saddles.clock(1e-2, 2))
    assert np.allclose(beta, slow, atol=1e-7)
