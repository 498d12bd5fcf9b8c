"""Finite steps: the step in closed form, the tube, descent lemma, rate, other optimizers."""

import numpy as np
import pytest
import sympy as sp

from overparam import losses, networks, rates, steps


def gaussian_problem(rng, shape=None):
    """A target with two factors of random sizes, width 1 included."""
    m, n, k = shape or rng.integers(1, 5, 3)
    scale = rng.choice([0.3, 1.0, 2.0])
    U, V = scale * rng.standard_normal((m, k)), scale * rng.standard_normal((n, k))
    return rng.standard_normal((m, n)), U, V


def half_square(U, V, Y):
    return np.sum((Y - U @ V.T) ** 2) / 2


# ---- One step -------------------------------------------------------------------------------


def test_one_step_in_closed_form():
    u, v, y, eta = sp.symbols("u v y eta")
    e = y - u * v
    up, vp = u + eta * e * v, v + eta * e * u
    x, s, d = u * v, u**2 + v**2, u**2 - v**2
    assert sp.expand(up + vp - (1 + eta * e) * (u + v)) == 0
    assert sp.expand(up - vp - (1 - eta * e) * (u - v)) == 0
    assert sp.expand(up**2 - vp**2 - (1 - eta**2 * e**2) * d) == 0
    assert sp.expand(y - up * vp - e * (1 - eta * s - eta**2 * e * x)) == 0
    assert sp.expand(up**2 + vp**2 - s * (1 + eta**2 * e**2) - 4 * eta * e * x) == 0
    numbers = {u: 1.3, v: -0.4, y: 0.7, eta: 0.2}
    found = steps.one_step(1.3, -0.4, 0.7, 0.2)
    assert np.allclose(found, [float(up.subs(numbers)), float(vp.subs(numbers))], atol=1e-15)


def test_any_loss_of_the_product_moves_the_sums_alike():
    """-f'(uv) takes the place of e in all identities but that of the error."""
    u, v, eta, force = sp.symbols("u v eta g")
    up, vp = u - eta * force * v, v - eta * force * u
    assert sp.expand(up**2 - vp**2 - (1 - eta**2 * force**2) * (u**2 - v**2)) == 0
    assert sp.expand(up * vp - u * v * (1 + eta**2 * force**2) + eta * force * (u**2 + v**2)) == 0


def test_width_k_descends_like_two_weights():
    rng = np.random.default_rng(0)
    for k in (1, 2, 7):
        u, v = rng.standard_normal((2, k))
        a, b = steps.two_weights(u, v)
        for _ in range(20):
            u, v = steps.one_step(u, v, 1.5, 0.1)
            a, b = steps.one_step(a, b, 1.5, 0.1)
            assert np.isclose(u @ v, a * b, atol=1e-13)
            assert np.isclose(u @ u + v @ v, a**2 + b**2, rtol=1e-13)
            d = np.linalg.norm(u + v) * np.linalg.norm(u - v)
            assert np.isclose(d, abs(a**2 - b**2), atol=1e-12)


def test_matrices_move_by_a_square_of_the_error():
    rng = np.random.default_rng(1)
    for _ in range(50):
        Y, U, V = gaussian_problem(rng)
        eta, E, X = rng.uniform(0.01, 0.5), Y - U @ V.T, U @ V.T
        Up, Vp = steps.one_step(U, V, Y, eta)
        error = E - eta * (E @ V @ V.T + U @ U.T @ E) - eta**2 * E @ X.T @ E
        assert np.allclose(Y - Up @ Vp.T, error, atol=1e-11)
        change = eta**2 * (V.T @ E.T @ E @ V - U.T @ E @ E.T @ U)
        assert np.allclose(Up.T @ Up - Vp.T @ Vp, U.T @ U - V.T @ V + change, atol=1e-11)


def test_the_matrix_imbalance_may_grow_although_the_scalar_one_shrinks():
    rng, grew = np.random.default_rng(2), 0
    for _ in range(40):
        Y, U, V = gaussian_problem(rng, (2, 2, 2))
        before = np.linalg.norm(U.T @ U - V.T @ V, "nuc")
        U, V = steps.one_step(U, V, Y, 0.01)
        grew += np.linalg.norm(U.T @ U - V.T @ V, "nuc") > before
    assert 0 < grew < 40


# ---- The tube -------------------------------------------------------------------------------


def run_with_armijo(loss, weights, step, n_steps):
    """Descend while every step keeps the Armijo inequality with ½; yield after each."""
    start = networks.imbalance(weights)
    first = last = loss.value(networks.product(weights))
    for _ in range(n_steps):
        G = networks.gradients(weights, loss.gradient)
        size = sum(np.sum(g**2) for g in G)
        weights = [W - step * g for W, g in zip(weights, G, strict=True)]
        value = loss.value(networks.product(weights))
        if value > last - step / 2 * size:
            return
        last = value
        drifts = [A - B for A, B in zip(networks.imbalance(weights), start, strict=True)]
        yield [np.linalg.norm(D, "nuc") for D in drifts], first - value


@pytest.mark.parametrize("sizes", [(2, 5, 3), (3, 1, 2), (2, 4, 3, 2), (1, 2, 2, 3, 1)])
def test_armijo_steps_keep_every_imbalance_in_its_tube(sizes):
    rng, seen = np.random.default_rng(3), 0
    for loss in (
        losses.squared_distance(rng.standard_normal((sizes[0], sizes[-1]))),
        losses.lp_regression(np.eye(sizes[0]), rng.standard_normal((sizes[0], sizes[-1])), 4),
    ):
        for step in (0.02, 0.1):
            weights = networks.gaussian(sizes, 0.8, rng)
            for drifts, fallen in run_with_armijo(loss, weights, step, 200):
                seen += 1
                assert max(drifts) <= 2 * step * fallen * (1 + 1e-9) + 1e-12
                assert sum(drifts) <= 4 * step * fallen * (1 + 1e-9) + 1e-12
    assert seen > 100


def test_tube_is_of_the_order_of_the_step_and_no_wider_than_needed():
    """One layer moves at first: the drift of a first step is η² ‖G‖², Armijo gives ≥ η² ‖G‖²."""
    U, V, Y = np.array([[2.0]]), np.array([[0.0]]), np.array([[1.0]])
    ratios = []
    for eta in (1e-2, 1e-3, 1e-4):
        Up, Vp = steps.one_step(U, V, Y, eta)
        drift = abs((Up**2 - Vp**2 - 4).item())
        ratios.append(drift / (2 * eta * (half_square(U, V, Y) - half_square(Up, Vp, Y))))
    # The first order of the loss's fall is η‖G‖²: the tube is exactly twice the drift here.
    assert np.allclose(ratios, 0.5, atol=0.05) and abs(ratios[-1] - 0.5) < 1e-3


def test_constants_of_the_tube_are_attained():
    """Only the middle of three numbers moves, and the Armijo condition is an equality."""
    numbers, step = [np.array([[w]]) for w in (2.0, 0.0, 1.0)], 0.25
    for drifts, fallen in run_with_armijo(losses.squared_distance([[1.0]]), numbers, step, 1):
        assert (
            fallen == 0.5 and max(drifts) == 2 * step * fallen and sum(drifts) == 4 * step * fallen
        )
        break
    else:
        pytest.fail("the step was no Armijo step")


def test_without_armijo_the_drift_leaves_the_tube():
    u, v, y, eta = 3.0, 0.1, 1.0, 0.2
    d, first = u**2 - v**2, (y - u * v) ** 2 / 2
    ratios = []
    for _ in range(60):
        u, v = steps.one_step(u, v, y, eta)
        fallen = first - (y - u * v) ** 2 / 2
        ratios.append(abs(u**2 - v**2 - d) / (2 * eta * fallen) if fallen > 0 else np.inf)
    assert min(ratios) > 1.2


# ---- How much is lost -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("u", "v", "y"),
    [
        (1.5, 0.2, 1.0),
        (0.3, -1.0, 2.0),
        (1.0, 2.0, 0.5),
        (1.2, 0.9, -0.7),
        ([1, 0, 0.5], [0, 0.8, -0.2], 1.0),
        ([1, 0.3], [0.2, 0.9], 0.479),
    ],
)
def test_lost_imbalance_is_the_slope_in_the_step(u, v, y):
    def loss_per_step(eta):
        a, b = steps.two_weights(u, v)
        first = a**2 - b**2
        while abs(e := y - a * b) > 1e-12:
            a, b = a + eta * e * b, b + eta * e * a
        return (1 - (a**2 - b**2) / first) / eta

    coarse, fine = loss_per_step(2e-3), loss_per_step(1e-3)
    lost = steps.lost_imbalance(u, v, y)
    assert lost >= 0
    assert np.isclose(2 * fine - coarse, lost, rtol=2e-4)
    assert not np.isclose(2 * fine - coarse, 2 * lost, rtol=0.1)


def test_lost_imbalance_is_the_integral_of_the_squared_error():
    from scipy.integrate import quad

    rng = np.random.default_rng(4)
    for gap in (1.0, 1e-1, 1e-3, 1e-6):
        u, v = rng.standard_normal((2, 3))
        y = u @ v + gap
        D = np.linalg.norm(u + v) * np.linalg.norm(u - v)
        area = quad(lambda r: r / np.hypot(D, 2 * (y - gap * r)), 0, 1, epsabs=0)[0] * gap**2  # noqa: B023
        assert np.isclose(steps.lost_imbalance(u, v, y), area, rtol=1e-9, atol=0)


def test_width_needs_the_product_of_both_norms():
    """With ||u||² - ||v||² in place of D the answer is another."""
    u, v = np.array([1, 0, 0.5]), np.array([0, 0.8, -0.2])
    signed = u @ u - v @ v
    a, b = steps.two_weights(u, v)
    assert np.isclose(steps.lost_imbalance(u, v, 1.0), 0.2968, atol=5e-5)
    assert abs(signed) < 0.9 * (a**2 - b**2)


# ---- The descent lemma ----------------------------------------------------------------------


def log_cosh(Y):
    """A loss with K = 1 that is not quadratic: Σ log cosh (X - Y)."""
    return lambda X: np.sum(np.logaddexp(X - Y, Y - X) - np.log(2)), lambda X: np.tanh(X - Y)


def test_local_descent_lemma_holds_for_every_step():
    rng, tight, needed = np.random.default_rng(5), 0.0, 0
    for draw in range(1500):
        Y, U, V = gaussian_problem(rng)
        value, gradient = log_cosh(Y)
        if draw % 2:
            value, gradient = lambda X, Y=Y: np.sum((X - Y) ** 2) / 2, lambda X, Y=Y: X - Y
        G, eta = gradient(U @ V.T), 10 ** rng.uniform(-3, 0.5)
        size = np.sum((G @ V) ** 2) + np.sum((G.T @ U) ** 2)
        new = value((U - eta * G @ V) @ (V - eta * G.T @ U).T)
        K = steps.smoothness(U, V, G, 1.0, eta)
        bend = (new - value(U @ V.T) + eta * size) / (eta**2 * size / 2)
        assert bend <= K * (1 + 1e-8) + 1e-8
        tight = max(tight, bend / K)
        needed += bend > K - np.linalg.norm(G, 2) + 1e-9
    assert tight > 0.9  # half of K_η would not do
    assert needed > 0  # nor would K_η without the norm of the gradient


def test_largest_step_solves_its_cubic_in_any_units():
    rng = np.random.default_rng(6)
    for _ in range(100):
        Y, U, V = gaussian_problem(rng)
        G = U @ V.T - Y
        eta = steps.largest_step(U, V, G, 1.0)
        assert np.isclose(eta * steps.smoothness(U, V, G, 1.0, eta), 1, rtol=1e-12)
        # Weights c times, products c² times as large: the step is in units of 1/c².
        scaled = steps.largest_step(1e4 * U, 1e4 * V, 1e8 * G, 1.0)
        assert np.isclose(scaled, eta / 1e8, rtol=1e-10, atol=0)
    assert steps.largest_step([[0.0]], [[0.0]], [[0.0]], 1.0) == np.inf


def test_step_rule_is_always_armijo_and_tends_to_the_inverse_of_the_top_eigenvalue():
    rng = np.random.default_rng(7)
    Y, U, V = gaussian_problem(rng, (2, 3, 4))
    while half_square(U, V, Y) > 1e-20:
        G = U @ V.T - Y
        eta = steps.largest_step(U, V, G, 1.0)
        before, size = half_square(U, V, Y), np.sum((G @ V) ** 2) + np.sum((G.T @ U) ** 2)
        U, V = steps.one_step(U, V, Y, eta)
        assert half_square(U, V, Y) <= before - eta / 2 * size + 1e-15
    top = np.linalg.eigvalsh(rates.operator([U, V.T]))[-1]
    assert np.isclose(eta, 1 / top, rtol=1e-8)


def test_one_step_contracts_with_the_local_pl_inequality():
    rng = np.random.default_rng(8)
    for _ in range(300):
        Y, U, V = gaussian_problem(rng)
        G, lowest = U @ V.T - Y, rates.smallest_eigenvalue([U, V.T])
        eta = rng.uniform(0.1, 1.9) * steps.largest_step(U, V, G, 1.0)
        K = steps.smoothness(U, V, G, 1.0, eta)
        if eta * K >= 2:
            continue
        factor = 1 - 2 * lowest * eta + lowest * K * eta**2
        after = half_square(*steps.one_step(U, V, Y, eta), Y)
        assert after <= factor * half_square(U, V, Y) * (1 + 1e-10)


# ---- Any start ------------------------------------------------------------------------------


def alpha_in_full(U, V, Y, error):
    """α of the theorem, written out: an independent second form of rates.factorization_rate."""
    m, n, k = *Y.shape, U.shape[1]
    values = np.sort(np.linalg.eigvalsh(U.T @ U - V.T @ V))[::-1]
    at = lambda v, i: max(v[i - 1], 0.0) if i <= k else 0.0  # noqa: E731
    high, low = at(values, 1), at(-values[::-1], 1)
    under_high, under_low = at(values, m), at(-values[::-1], n)
    sigma = np.append(np.linalg.svd(Y, compute_uv=False), np.zeros(max(m, n)))
    sn, sm = max(sigma[n - 1] - error, 0), max(sigma[m - 1] - error, 0)
    return 0.5 * (
        (-high + under_low + np.hypot(high + under_low, 2 * sn))
        + (-low + under_high + np.hypot(low + under_high, 2 * sm))
    )


def test_descent_rate_of_two_weights_by_hand():
    """u = 2, v = ½, y = 2, η = 0.01: error 1, drift 0.01, imbalance 3.76, reach 3."""
    u, v, y = [[2.0]], [[0.5]], [[2.0]]
    bound = (3.76 + np.sqrt(3.76**2 + 6**2)) * 1.005**2 + 1
    alpha = rates.factorization_rate(y, u, v) / 2 - 0.02
    rho, ok = steps.descent_rate(u, v, y, 0.01)
    assert ok and np.isclose(rho, 1 - alpha * 0.01 * (2 - 0.01 * bound), rtol=1e-12)


def test_descent_from_any_start_obeys_rate_and_tube():
    rng, proved = np.random.default_rng(9), 0
    for _ in range(60):
        Y, U, V = gaussian_problem(rng)
        eta = 10 ** rng.uniform(-4, -2)
        rho, ok = steps.descent_rate(U, V, Y, eta)
        alpha = alpha_in_full(U, V, Y, np.linalg.norm(Y - U @ V.T))
        assert np.isclose(alpha, rates.factorization_rate(Y, U, V) / 2, atol=1e-10)
        if not ok:
            continue
        proved += 1
        first, start = half_square(U, V, Y), U.T @ U - V.T @ V
        for j in range(1, 100):
            U, V = steps.one_step(U, V, Y, eta)
            value = half_square(U, V, Y)
            assert value <= first * rho**j * (1 + 1e-9)
            drift = np.linalg.norm(U.T @ U - V.T @ V - start, "nuc")
            assert drift <= 2 * eta * (first - value) + 1e-11
    assert proved > 15


def test_proved_rate_tends_to_that_of_the_flow_and_is_almost_attained():
    U, V, Y = [[1.0, 0.0], [0.0, 2.0]], [[0.2, 0.0], [0.0, 0.3]], np.diag([0.5, 1.0])
    for eta in (1e-3, 1e-5):
        rho, ok = steps.descent_rate(U, V, Y, eta)
        assert ok
        flow_rate = rates.factorization_rate(Y, np.array(U), np.array(V))
        assert abs(-np.log(rho) / eta / flow_rate - 1) < 30 * eta
    # A scalar start with e = 0 in the limit: the bound is the rate of the linearization.
    rho, _ = steps.descent_rate([[1.0]], [[0.999]], [[1.0]], 1e-4)
    u, v = steps.one_step(1.0, 0.999, 1.0, 1e-4)
    ratio = ((1 - u * v) / (1 - 0.999)) ** 2
    assert ratio <= rho < 1 - 0.95 * (1 - ratio)


def test_alpha_is_two_lipschitz_in_the_imbalance():
    rng, largest = np.random.default_rng(10), 0.0

    def alpha(a, b, sigma):
        return 0.5 * (-a + b + np.hypot(a + b, 2 * sigma))

    for _ in range(4000):
        a, b, sigma = rng.exponential(size=3)
        da, db = rng.uniform(-1, 1, 2) * 1e-3
        both = alpha(abs(a + da), abs(b + db), sigma) - alpha(a, b, sigma)
        largest = max(largest, 2 * abs(both) / (max(abs(da), abs(db)) + 1e-300))
    assert 1.9 < largest <= 2 + 1e-6  # one of the two brackets of α, doubled


def test_no_rate_at_the_origin():
    rho, ok = steps.descent_rate([[0.0]], [[0.0]], [[1.0]], 0.01)
    assert not ok and rho >= 1
    assert steps.one_step(0.0, 0.0, 1.0, 0.01) == (0.0, 0.0)


def test_end_of_descent_is_the_linearization():
    rng = np.random.default_rng(11)
    for _ in range(5):
        Y, U, V = gaussian_problem(rng, (2, 3, 4))
        eta = 0.2 / (np.linalg.norm(U, 2) ** 2 + np.linalg.norm(V, 2) ** 2 + np.linalg.norm(Y))
        for _ in range(20_000):
            before = U, V
            U, V = steps.one_step(U, V, Y, eta)
            error = np.linalg.norm(Y - U @ V.T)
            if error < 1e-12:
                break
        assert error < 1e-12
        ratio = error / np.linalg.norm(Y - before[0] @ before[1].T)
        left, right = np.linalg.eigvalsh(U @ U.T), np.linalg.eigvalsh(V @ V.T)
        assert np.isclose(ratio, np.abs(1 - eta * np.add.outer(left, right)).max(), rtol=2e-3)


# ---- Other optimizers -----------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_powers_of_the_weights_are_conserved_by_the_flow_of_powers(p):
    from scipy.integrate import solve_ivp

    def velocity(_, w):
        e = 2.0 - w[0] * w[1]
        z = e * w[::-1]
        return np.abs(z) ** (p - 1) * np.sign(z)

    end = solve_ivp(velocity, (0, 0.4), [1.2, 0.5], rtol=1e-10, atol=1e-12).y[:, -1]
    assert np.isclose(end[0] ** p - end[1] ** p, 1.2**p - 0.5**p, rtol=1e-8)
    if p != 2:
        assert abs(end[0] ** 2 - end[1] ** 2 - (1.2**2 - 0.5**2)) > 0.01


@pytest.mark.parametrize(
    ("u", "v", "y"),
    [(2, 0.5, 3), (0.5, 0.5, 1), (-1, -0.3, 2), (2, 2, 1), (1, -0.4, 2), (1, 0, -3)],
)
def test_sign_time_is_the_time_of_the_sign_flow(u, v, y):
    a, b, h, t = float(u), float(v), 1e-5, 0.0
    side = np.sign(y - a * b)
    while np.sign(y - a * b) == side:
        e = y - a * b
        a, b, t = a + h * np.sign(e * b), b + h * np.sign(e * a), t + h
    assert abs(t - steps.sign_time(u, v, y)) < 5e-5


def test_sign_time_in_closed_form_and_without_end():
    c = 1.5
    exact = (np.sqrt(c**2 + 12) - np.sqrt(c**2 + 4)) / 2
    assert np.isclose(steps.sign_time(2, 0.5, 3), exact, rtol=1e-14)
    assert np.isclose(steps.sign_time(2e-9, 0.5e-9, 3e-18), exact * 1e-9, rtol=1e-12, atol=0)
    assert steps.sign_time(1, -1, 1) == np.inf == steps.sign_time(0, 0, 1)
    assert steps.sign_time(1, -1, -1) == 0 == steps.sign_time(1, 0, 0)


# ---- Bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps.one_step(1, 1, 1, 0), "eta must be greater than 0"),
        (lambda: steps.one_step([1, 2], [1, 2, 3], 1, 0.1), "do not fit"),
        (lambda: steps.one_step(np.ones((1, 1, 1)), 1, 1, 0.1), "must be numbers, vectors"),
        (lambda: steps.two_weights([[1]], [[1]]), "vectors of one length"),
        (lambda: steps.lost_imbalance(1, 1, 2), "no imbalance to lose"),
        (lambda: steps.smoothness([[1]], [[1]], [[1, 2]], 1, 0.1), "do not fit"),
        (lambda: steps.smoothness([[1]], [[1]], [[1]], 0, 0.1), "K must be greater than 0"),
        (lambda: steps.largest_step([1], [[1]], [[1]], 1), "U must have 2 dimension"),
        (lambda: steps.descent_rate([[1]], [[1]], [[np.nan]], 0.1), "NaN"),
        (lambda: steps.sign_time([1, 2], 1, 1), "u must be one number"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
