"""The edge of stability: sharpness, the ellipse, the planar map, cycles, bounces."""

import numpy as np
import pytest
import sympy as sp
from mpmath import mp

from overparam import edge, networks, rates, steps

U, V, Y, ETA = sp.symbols("u v y eta", real=True)
E = Y - U * V
AFTER = (U + ETA * E * V, V + ETA * E * U)


def height(u, v):
    return ETA * (u**2 + v**2) + ETA**2 * Y * (Y - u * v) - 4


# ---- Sharpness of minima --------------------------------------------------------------------


def hessian(loss, w, h=1e-4):
    """Second differences of a function of a vector."""
    steps_ = h * np.eye(len(w))
    return np.array(
        [
            [loss(w + a + b) - loss(w + a - b) - loss(w - a + b) + loss(w - a - b) for a in steps_]
            for b in steps_
        ]
    ) / (4 * h**2)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1, 2), (1, 2, 2, 1), (1, 1, 1, 1, 1)])
def test_sharpness_of_a_minimum_is_the_top_eigenvalue_of_the_operator(sizes):
    rng, shapes = np.random.default_rng(0), list(zip(sizes[:-1], sizes[1:], strict=True))
    cuts = np.cumsum([a * b for a, b in shapes])[:-1]
    weights = networks.gaussian(sizes, 1.0, rng)
    target = networks.product(weights)

    def loss(w):
        layers = [part.reshape(s) for part, s in zip(np.split(w, cuts), shapes, strict=True)]
        return np.sum((networks.product(layers) - target) ** 2) / 2

    top = np.linalg.eigvalsh(hessian(loss, np.concatenate([W.ravel() for W in weights])))[-1]
    assert np.isclose(top, np.linalg.eigvalsh(rates.operator(weights))[-1], rtol=1e-4)


def test_balanced_factors_have_the_least_sharpness():
    rng, nearest = np.random.default_rng(1), np.inf
    for _ in range(300):
        depth = int(rng.integers(2, 6))
        sizes = rng.integers(1, 4, depth + 1)
        weights = networks.gaussian([int(s) for s in sizes], 1.0, rng)
        target = networks.product(weights)
        floor = depth * np.linalg.norm(target, 2) ** (2 - 2 / depth)
        top = np.linalg.eigvalsh(rates.operator(weights))[-1]
        assert top >= floor * (1 - 1e-10)
        nearest = min(nearest, top / floor)
        even = networks.balanced(target, [max(target.shape)] * (depth - 1))
        assert np.isclose(np.linalg.eigvalsh(rates.operator(even))[-1], floor, rtol=1e-9)
    assert nearest < 1.1


def test_flow_sharpness_is_that_of_the_flows_end():
    from overparam import flow

    rng = np.random.default_rng(2)
    for depth in (2, 3, 4):
        w, y = rng.uniform(0.3, 1.5, depth), 1.3

        def gradient(w, y=y):
            return -(y - np.prod(w)) * np.array([np.prod(np.delete(w, i)) for i in range(len(w))])

        end = flow.gradient_flow(gradient, w, 200.0, rtol=1e-11, atol=1e-12).final
        assert np.isclose(edge.flow_sharpness(w, y), y**2 * np.sum(1 / end**2), rtol=1e-8)
        assert np.isclose(edge.flow_sharpness(3e3 * w, 3e3**depth * y) / 3e3 ** (2 * depth - 2),
                          edge.flow_sharpness(w, y), rtol=1e-9)  # fmt: skip
    assert np.isclose(edge.flow_sharpness([1.5, 0.2], -0.7), np.hypot(1.5**2 - 0.04, 1.4))
    assert np.isclose(edge.flow_sharpness([2.0, 0.0, 1.0], 0.0), 4.0)


# ---- The ellipse ----------------------------------------------------------------------------


def test_one_step_multiplies_the_height():
    assert sp.expand(height(*AFTER) - (1 - ETA**2 * E * U * V) * height(U, V)) == 0
    ell = (4 - ETA**2 * Y**2) * (
        ETA * (U + V) ** 2 / (8 + 4 * ETA * Y) + ETA * (U - V) ** 2 / (8 - 4 * ETA * Y) - 1
    )
    assert sp.simplify(ell - height(U, V)) == 0
    numbers = {U: 1.3, V: -0.4, Y: 0.7, ETA: 0.2}
    found = edge.ellipse(1.3, -0.4, 0.7, 0.2)
    assert np.isclose(found, float(height(U, V).subs(numbers)), atol=1e-14)


def test_inside_border_and_outside_stay_apart():
    rng = np.random.default_rng(3)
    for eta_y in (0.1, 0.9, 1.6, 1.99, -0.7):
        eta = 0.5
        y = eta_y / eta
        u, v = 4 * rng.standard_normal((2, 2000))
        inside = edge.ellipse(u, v, y, eta) < 0
        assert 20 < inside.sum() < 1980
        for _ in range(60):
            u, v = edge.descend(u, v, y, eta, 1)
            now = np.hypot(u, v) < 1e6
            assert now[inside].all()
            u, v, inside = u[now], v[now], inside[now]
            assert np.array_equal(edge.ellipse(u, v, y, eta) < 0, inside)


def test_at_a_product_of_two_the_inside_is_empty_and_beyond_it_is_no_ellipse():
    assert edge.ellipse(0.9, 0.8, 1.0, 2.0) > 0
    assert np.isinf(edge.descend(0.9, 0.8, 1.0, 2.0, 20)[0])
    same = edge.descend(0.5, 0.5, 2.0, 1.0, 500)[0]
    assert abs(same) <= 2 + 1e-9


@pytest.mark.parametrize("eta_y", [0.1, 0.5, 0.9])
def test_inside_converges_and_outside_does_not_in_random_draws(eta_y):
    rng, eta = np.random.default_rng(4), 0.1
    y = eta_y / eta
    u, v = rng.uniform(-1, 1, (2, 4000)) * np.sqrt((8 + 4 * eta_y) / eta)
    H = edge.ellipse(u, v, y, eta)
    u, v = edge.descend(u, v, y, eta, 6000)
    reached = np.isfinite(u) & (np.abs(u * v - y) < 1e-6 * y)
    clear = np.abs(H) > 1e-3
    assert np.mean(reached[clear & (H < 0)]) > 0.999
    assert not reached[clear & (H > 0)].any()


def test_a_minimum_outside_stays():
    assert edge.ellipse(10.0, 0.1, 1.0, 0.05) > 0
    u, v = edge.descend(10.0, 0.1, 1.0, 0.05, 50)
    assert abs(u - 10) < 1e-9 and abs(v - 0.1) < 1e-9


def test_critical_step_is_where_the_start_meets_the_ellipse():
    rng = np.random.default_rng(5)
    u, v, y = rng.standard_normal((3, 2000)) * rng.choice([0.01, 1, 30], (3, 2000))
    for a, b, c in zip(u, v, y, strict=True):
        limit = edge.critical_step(a, b, c)
        s, e = a**2 + b**2, c - a * b
        with np.errstate(invalid="ignore"):
            formula = 8 / (s + np.sqrt(max(s**2 + 16 * c * e, 0)))
        assert np.isclose(limit, min(1 / abs(c), formula), rtol=1e-6)
        assert edge.ellipse(a, b, c, 0.999 * limit) < 0
        if limit < 0.999 / abs(c):
            assert edge.ellipse(a, b, c, 1.001 * limit) > 0
            assert abs(edge.ellipse(a, b, c, limit)) < 1e-9 * (4 + limit * s)


def test_simple_sufficient_step_lies_inside():
    """η ≤ min{4/(s + 4y), 1/(3y)}; with 4.5 in place of 4 it does not."""
    rng = np.random.default_rng(6)
    u, v = 3 * rng.standard_normal((2, 2000))
    y, s = rng.exponential(size=2000), u**2 + v**2
    limit = np.array([edge.critical_step(*start) for start in zip(u, v, y, strict=True)])
    assert np.all(np.minimum(4 / (s + 4 * y), 1 / (3 * y)) <= limit * (1 + 1e-12))
    beyond = np.minimum(4.5 / (s + 4 * y), 1 / (3 * y)) > limit
    assert 0.05 < beyond.mean() < 0.5


# ---- Two numbers ----------------------------------------------------------------------------


def test_descent_is_a_planar_map():
    z, c = ETA * E, ETA * Y
    after = ETA * (Y - AFTER[0] * AFTER[1])
    H = height(U, V)
    assert sp.expand(after - z * (z**2 - 3 - H)) == 0
    assert sp.expand(height(*AFTER) - H * (1 - c * z + z**2)) == 0
    found = edge.planar_step(0.3, -1.2, 0.8)
    assert np.allclose(found, [0.3 * (0.09 - 3 + 1.2), -1.2 * (1 - 0.24 + 0.09)], atol=1e-15)


def test_descent_has_the_units_of_the_data():
    u, v = np.random.default_rng(5).uniform(-4, 4, (2, 50))
    once = np.array(edge.descend(u, v, 1.0, 0.3, 60))
    lost = np.isinf(once)
    assert 0 < lost.sum() < lost.size
    for c in (1e-20, 0.5, 1e20):
        other = np.array(edge.descend(c * u, c * v, c**2, 0.3 / c**2, 60))
        assert np.array_equal(np.isinf(other), lost)
        assert np.allclose(other[~lost], c * once[~lost], rtol=1e-9, atol=0)


def test_on_the_ellipse_a_step_triples_the_angle():
    angle, c = sp.symbols("phi c", real=True)
    on = [
        (sp.sqrt(8 + 4 * c) * sp.cos(angle) + sign * sp.sqrt(8 - 4 * c) * sp.sin(angle)) / 2
        for sign in (1, -1)
    ]
    put = {U: on[0], V: on[1], Y: c, ETA: 1}
    assert sp.simplify(E.subs(put) + 2 * sp.cos(2 * angle)) == 0
    up, vp = (w.subs(put) for w in AFTER)
    for w, scale, wave in ((up + vp, 8 + 4 * c, sp.cos), (up - vp, 8 - 4 * c, sp.sin)):
        gap = w - sp.sqrt(scale) * wave(sp.pi - 3 * angle)
        for value in (0.3, 1.1, 2.9):
            assert abs(float(gap.subs({angle: value, c: 0.7}))) < 1e-12
    assert np.isclose(np.cos(2 * (np.pi - 3 * 0.7)) * -2, (z := -2 * np.cos(1.4)) ** 3 - 3 * z)


def test_boundary_exponent_is_the_mean_of_the_logarithms():
    angle = (np.arange(400_000) + 0.5) * 2 * np.pi / 400_000
    z = -2 * np.cos(angle)
    for c in (0.0, 0.3, 1.0, 1.7, 1.95):
        mean = np.mean(np.log(np.abs(1 - c * z + z**2)))
        assert np.isclose(edge.boundary_exponent(c), mean, atol=1e-6)
        assert edge.boundary_exponent(c) > 0
    assert np.isclose(edge.boundary_exponent(0.0), 2 * np.log((1 + np.sqrt(5)) / 2), rtol=1e-12)
    assert abs(edge.boundary_exponent(2.0)) < 1e-12


# ---- Sharpness along descent ----------------------------------------------------------------


def deep_step(w, y, eta):
    e = y - np.prod(w)
    return w + eta * e * np.array([np.prod(np.delete(w, i)) for i in range(len(w))]), e


def test_differences_of_squares_shrink_by_a_factor():
    rng = np.random.default_rng(7)
    for depth in (2, 3, 5):
        w, eta = rng.standard_normal(depth), 0.3
        new, e = deep_step(w, 0.8, eta)
        for i in range(depth):
            for j in range(i):
                others = np.prod(np.delete(w, [i, j])) ** 2
                factor = 1 - eta**2 * e**2 * others
                assert np.isclose(new[i] ** 2 - new[j] ** 2, (w[i] ** 2 - w[j] ** 2) * factor)


def largest_factor(w, e, eta):
    n = len(w)
    return max((eta * e * np.prod(np.delete(w, [i, j]))) ** 2 for i in range(n) for j in range(i))


def test_sharpness_of_the_flows_end_does_not_rise_below_the_threshold():
    rng, checked, raised = np.random.default_rng(8), 0, 0
    for _ in range(1500):
        w = rng.standard_normal(int(rng.integers(2, 6))) * rng.uniform(0.5, 2)
        y, eta = rng.standard_normal(), 10 ** rng.uniform(-2, 0.3)
        new, e = deep_step(w, y, eta)
        before, after = edge.flow_sharpness(w, y), edge.flow_sharpness(new, y)
        if largest_factor(w, e, eta) <= 1:
            checked += 1
            assert after <= before * (1 + 1e-9)
        else:
            raised += after > before * (1 + 1e-6)
    assert checked > 500 and raised > 50


def test_for_two_weights_the_threshold_is_the_root_of_two():
    for z, rises in ((1.41, False), (1.42, True)):
        u, v, y = 2.0, 0.3, 1.0
        new, _ = deep_step(np.array([u, v]), y, z / (y - u * v))
        assert (edge.flow_sharpness(new, y) > edge.flow_sharpness([u, v], y)) == rises


# ---- Beyond the last stable minimum ---------------------------------------------------------


@pytest.mark.parametrize("q", [1.05, 1.2, 1.5, 1.9])
def test_two_cycle_and_its_multipliers(q):
    eta, y = 0.4, q / 0.4
    products, along, across = edge.two_cycle(q)
    w = np.array([np.sqrt(products[0] * y)] * 2)
    twice = lambda w: np.array(edge.descend(*edge.descend(*w, y, eta, 1), y, eta, 1))  # noqa: E731
    assert np.allclose(twice(w), w, atol=1e-12)
    assert np.isclose(np.prod(edge.descend(*w, y, eta, 1)) / y, products[1], atol=1e-12)
    jacobian = np.array([(twice(w + h) - twice(w - h)) / 2e-6 for h in 1e-6 * np.eye(2)])
    assert np.allclose(jacobian @ [1, 1], along, atol=1e-6)
    assert np.allclose(jacobian @ [1, -1], [across, -across], atol=1e-6)


def test_cycle_attracts_up_to_the_root_of_five_minus_one():
    eta = 1.0
    for q, ends in ((1.1, True), (1.23, True), (1.25, False)):
        u, v = edge.descend(0.9, 0.7, q, eta, 12_000)
        cycle = edge.two_cycle(q)[0] * q
        assert (min(abs(u * v - cycle)) < 1e-6) == ends
    assert abs(edge.two_cycle(np.sqrt(5) - 1)[1] + 1) < 1e-12


def test_bounded_inside_the_ellipse_and_unbounded_beyond():
    for q in (1.3, 1.8, 1.95):
        u, v = edge.descend(0.9, 0.8, q, 1.0, 3000)
        assert np.hypot(u, v) < np.sqrt(8 + 4 * q)
    assert np.isinf(edge.descend(0.9, 0.8, 2.05, 1.0, 100)[0])


def test_limits_of_descent_are_not_beyond_the_edge():
    rng, eta, y = np.random.default_rng(9), 0.3, 1.0
    u, v = 2 * rng.standard_normal((2, 2000))
    u, v = edge.descend(u, v, y, eta, 5000)
    done = np.abs(u * v - y) < 1e-10
    assert done.sum() > 1000
    s = u[done] ** 2 + v[done] ** 2
    assert np.all(s <= 2 / eta * (1 + 1e-6)) and s.max() > 1.9 / eta
    assert np.all((u[done] - v[done]) ** 2 <= 2 / eta - 2 * y + 1e-5)


# ---- Bounces --------------------------------------------------------------------------------


def start_beyond(Delta, q):
    """A start very near the minimum with sharpness 2 + Δ, for η = 1, y = q."""
    d = np.sqrt((2 + Delta) ** 2 - 4 * q**2)
    s = np.hypot(d, 2 * q)
    return np.sqrt((s + d) / 2) * (1 + 1e-8), np.sqrt((s - d) / 2)


def bounce_of_two_weights(Delta, q, n_steps):
    u, v = start_beyond(Delta, q)
    highest = 0.0
    for _ in range(n_steps):
        u, v = u + (q - u * v) * v, v + (q - u * v) * u
        highest = max(highest, (q - u * v) ** 2)
    assert abs(q - u * v) < 1e-8 < highest
    return np.hypot(u**2 - v**2, 2 * q) - 2, highest


@pytest.mark.parametrize("q", [0.3, 0.5, 0.7])
def test_bounce_ends_as_far_below_as_it_began_above(q):
    kappa, errors = q**2, []
    for Delta in (0.02, 0.01):
        end, highest = bounce_of_two_weights(Delta, q, int(60 / Delta))
        assert np.isclose(highest, Delta**2 / (2 * (1 - kappa)), rtol=8 * Delta)
        second = -Delta + 2 / 3 * (4 * kappa - 1) / (1 - kappa) * Delta**2
        errors.append(abs(end - second) / Delta)
    # What is left is of third order.
    assert errors[0] < 2e-3 and errors[1] < max(0.3 * errors[0], 1e-5)


@pytest.mark.parametrize(("ratio", "constant"), [(0.5, 1.37), (2.0, 2.4)])
def test_bounce_close_to_the_last_minimum(ratio, constant):
    gap = 1e-3
    q = 1 - gap
    a = 1 - q**2
    end, _ = bounce_of_two_weights(ratio * a, q, int(100 / a / min(ratio, 1)))
    error = 1 / abs(end) / (1 / (ratio * a) + 2 / a) - 1
    assert np.isclose(abs(error) / gap, constant, rtol=0.15)
    frozen = edge.bounce(ratio * a, 2 * q**2 / a)
    assert abs(frozen / end - 1) > 0.03  # freezing the drift is not the law


def truncated(expression, order, *small):
    """Keep the terms of an expression up to a total degree in the small symbols."""
    poly = sp.Poly(sp.expand(expression), *small)
    kept = [
        coefficient * sp.prod([x**n for x, n in zip(small, powers, strict=True)])
        for powers, coefficient in poly.terms()
        if sum(powers) <= order
    ]
    return sp.Add(*kept)


@pytest.mark.parametrize("c", [sp.Rational(2, 5), sp.Rational(3, 4)])
def test_normal_form_is_conserved_to_fourth_order(c):
    z, D = sp.symbols("z Delta")
    k = c**2

    def cut(expression):
        return truncated(expression, 5, z, D)

    def root(B):
        """2√(1 + B/4) for a small B."""
        total, power = 1, 1
        for n in range(1, 6):
            power = cut(power * B / 4)
            total += sp.binomial(sp.Rational(1, 2), n) * power
        return 2 * total

    # Exactly: (ηs)² = (2 + Δ)² - 4κ + 4(c - z)², (ηd)² = (2 + Δ)² - 4κ.
    zp = cut(z * (1 - root(cut((2 + D) ** 2 - 4 * k + 4 * (c - z) ** 2 - 4)) - z * (c - z)))
    Dp = cut(root(cut((1 - z**2) ** 2 * ((2 + D) ** 2 - 4 * k) + 4 * k - 4)) - 2)
    J = (
        D**2 + 2 * (1 - k) * z**2 + sp.Rational(2, 3) * (4 * k - 1) / (k - 1) * D**3
        + 2 * (1 - 3 * k) * D * z**2 - 2 * c * (1 - k) * z**3 + c * (1 + 3 * k) * D * z**3
    )  # fmt: skip
    powers = {(0, 0): sp.Integer(1)}
    for i in range(4):
        for j in range(4):
            if (i, j) != (0, 0):
                last = (i - 1, j) if i else (i, j - 1)
                powers[i, j] = cut(powers[last] * (zp if i else Dp))
    after = sum(
        coefficient * powers[key] for key, coefficient in sp.Poly(sp.expand(J), z, D).terms()
    )
    change = sp.expand(after - J)
    assert sp.simplify(truncated(change, 4, z, D)) == 0
    assert sp.simplify(truncated(change, 5, z, D)) != 0


def paired(a, b, eta, n_steps, four=False):
    """Descent on ½(1 - a²b²)² in two variables, or in four weights tied in pairs."""
    factor, highest = (1 if four else 2) * eta, 0.0
    for _ in range(n_steps):
        e = 1 - a**2 * b**2
        a, b = a + factor * e * a * b**2, b + factor * e * a**2 * b
        highest = max(highest, abs(e))
    return a, b, highest


@pytest.mark.parametrize(("four", "constant"), [(False, 2.0), (True, 0.5)])
def test_four_weights_end_just_below_the_edge(four, constant):
    gaps = []
    for eta in (0.04, 0.02):
        # Sharpness at ab = 1: 4(a² + b²) in two variables, half of it for four weights.
        top = 2.2 / eta / (2 if four else 4)
        a = np.sqrt((top + np.sqrt(top**2 - 4)) / 2)
        a, b, highest = paired(a * (1 + 1e-3), 1 / a, eta, int((60 if four else 30) / eta**2), four)
        assert highest > 0.1 and abs(1 - a * b) < 1e-7
        gaps.append((2 / eta - (2 if four else 4) * (a**2 + b**2)) / eta)
    assert abs(gaps[1] - constant) < 0.05 * constant
    assert abs(gaps[1] - constant) < 0.6 * abs(gaps[0] - constant) + 1e-3


def test_bounce_solves_its_equation():
    for a in (1e-3, 0.7, 12.0, 800.0):
        Delta = np.array([1e-6, 1e-3, 0.03, 0.5])
        end = edge.bounce(Delta, a)
        assert np.all(end <= 0) and np.all(end >= -1 / a)
        side = lambda x, a=a: np.log1p(a * x) - a * x  # noqa: E731
        far = (a * Delta > 3e-2) & (a * Delta < 30)
        assert np.allclose(side(end[far]), side(Delta[far]), rtol=1e-8)
        near = a * Delta < 3e-2
        assert np.allclose(end[near], -Delta[near], rtol=0.03)
    s = np.array([2.9999e-3, 3.0001e-3])  # the two branches of the code meet
    assert abs(np.diff(edge.bounce(s, 1.0) + s)[0]) < 2e-9
    assert edge.bounce(0.0, 3.0) == 0
    assert np.isclose(edge.bounce(50.0, 200.0), -1 / 200, rtol=1e-12)


def test_width_k_has_the_same_ellipse():
    rng = np.random.default_rng(10)
    for _ in range(50):
        u, v = rng.standard_normal((2, 4))
        y, eta = 0.8, 0.6
        a, b = steps.two_weights(u, v)
        H = edge.ellipse(a, b, y, eta)
        assert np.isclose(H, eta * (u @ u + v @ v) + eta**2 * y * (y - u @ v) - 4, atol=1e-12)


# ---- Bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [1e-5, 1e-3, 2.9e-3, 3.1e-3, 0.1, 2.0, 30.0])
def test_bounce_to_ten_digits_on_both_sides_of_its_series(s):
    with mp.workdps(60):
        end = -1 - mp.lambertw(-(1 + mp.mpf(s)) * mp.exp(-1 - mp.mpf(s)))
    assert np.isclose(edge.bounce(s / 0.25, 0.25), float(end) / 0.25, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edge.ellipse(1, 1, 1, 0), "eta must be greater than 0"),
        (lambda: edge.critical_step(np.nan, 1, 1), "u has entries that are NaN"),
        (lambda: edge.descend(1, 1, 1, 0.1, -1), "n_steps must be at least 0"),
        (lambda: edge.flow_sharpness([1], 1), "at least two weights"),
        (lambda: edge.flow_sharpness([[1, 2]], 1), "w must have 1 dimension"),
        (lambda: edge.two_cycle(0.9), "at least 1 for a cycle"),
        (lambda: edge.bounce(-0.1, 1), "Delta0 must be at least 0"),
        (lambda: edge.bounce(0.1, 0), "a must be greater than 0"),
        (lambda: edge.boundary_exponent(2.1), "at most 2"),
        (lambda: edge.planar_step("a", 1, 1), "z must be an array"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
