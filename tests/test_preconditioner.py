"""The preconditioner of depth: the layers' own flow, the spectrum, work around a loop, width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from overparam import gradient_flow, losses, networks, preconditioner, rates

SEEDS = st.integers(0, 10**6)
SIZES = st.integers(1, 5)
DEPTHS = st.integers(1, 6)


@st.composite
def points(draw):
    """(W, G, depth, rng): a matrix of any shape and rank with a gradient there."""
    n, m, depth, rng = draw(SIZES), draw(SIZES), draw(DEPTHS), np.random.default_rng(draw(SEEDS))
    rank = draw(st.integers(0, min(n, m)))
    scale = 10 ** draw(st.floats(-2, 2))
    W = scale * rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
    return W, rng.standard_normal((n, m)), depth, rng


def singular_values(W):
    """All of them, with the exact zeros that round-off has made small."""
    sigma = np.linalg.svd(W, compute_uv=False)
    sigma[np.linalg.matrix_rank(W) :] = 0
    return sigma


def padded(sigma, size):
    return np.append(sigma, np.zeros(size))[:size]


def matrix(W, depth):
    """The matrix of G ↦ apply(W, G, depth) for G read row by row."""
    units = np.eye(W.size).reshape(-1, *W.shape)
    return np.transpose([preconditioner.apply(W, E, depth).ravel() for E in units])


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


# ---- End-to-end dynamics --------------------------------------------------------------------


def gap(start, layers, end=4.0, seed=7):
    """Largest difference between the product of the layers and the end-to-end flow."""
    loss = losses.squared_distance(np.random.default_rng(seed).standard_normal(start.shape))
    times = np.linspace(0, end, 9)
    path = preconditioner.end_to_end_flow(loss, start, len(layers), times)
    deep = networks.layer_flow(loss, layers, times, rtol=1e-12, atol=1e-14)
    return max(np.abs(networks.product(W) - V).max() for W, V in zip(deep, path, strict=True))


@given(st.lists(SIZES, min_size=2, max_size=7), SEEDS)
@settings(max_examples=12)
def test_layers_and_end_to_end_flow_agree(widths, seed):
    rng = np.random.default_rng(seed)
    rank = min(widths)
    W = rng.standard_normal((widths[0], rank)) @ rng.standard_normal((rank, widths[-1]))
    layers = networks.balanced(W / np.linalg.norm(W), widths[1:-1], rng)
    assert gap(networks.product(layers), layers) < 1e-8


def test_the_flow_takes_the_same_steps_in_any_units():
    Y, W = np.random.default_rng(3).standard_normal((2, 2, 2))
    plain = preconditioner.end_to_end_flow(losses.squared_distance(Y), W, 2, 1.0)
    for unit in (2.0**-40, 2.0**40):
        loss = losses.squared_distance(unit * Y)
        path = preconditioner.end_to_end_flow(loss, unit * W, 2, 1 / unit)
        assert np.allclose(path.t * unit, plain.t, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: losses.regression(rng.standard_normal((6, 4)), rng.standard_normal((6, 3))),
        lambda rng: losses.completion([0, 1, 3], [2, 0, 1], [1.0, -1.0, 0.5], (4, 3)),
        lambda rng: losses.sensing(rng.standard_normal((5, 4, 3)), rng.standard_normal(5)),
    ],
)
def test_agreement_holds_for_any_loss(make):
    rng = np.random.default_rng(0)
    loss, layers = make(rng), networks.balanced(rng.standard_normal((4, 3)) / 2, [5, 3], rng)
    deep = networks.layer_flow(loss, layers, 2.0, rtol=1e-12, atol=1e-14).final
    shallow = preconditioner.end_to_end_flow(loss, networks.product(layers), 3, 2.0).final
    assert np.allclose(networks.product(deep), shallow, atol=1e-8)


def test_a_bottleneck_holds_for_a_long_time():
    """Integrated naively, the end-to-end flow leaves the matrices of rank 2 and never returns."""
    rng = np.random.default_rng(1)
    loss = losses.squared_distance(np.linalg.qr(rng.standard_normal((3, 3)))[0])
    thin = rng.standard_normal((3, 2)) @ rng.standard_normal((2, 3))
    layers = networks.layer_flow(loss, networks.balanced(thin, [2], rng), 60.0).final
    path = preconditioner.end_to_end_flow(loss, thin, 2, 60.0)
    assert np.allclose(path.final, networks.product(layers), atol=1e-6)
    naive = gradient_flow(lambda W: preconditioner.apply(W, loss.gradient(W), 2), thin, 60.0)
    assert np.linalg.svd(naive.final, compute_uv=False)[2] > 0.9


def test_unbalanced_layers_do_not_follow_it():
    rng = np.random.default_rng(2)
    W = rng.standard_normal((3, 3))
    A, B, C = networks.balanced(W, [3, 3], rng)
    assert gap(W, [A, B, C]) < 1e-8
    assert gap(W, [2 * A, B, C / 2]) > 0.1


def test_small_imbalance_costs_in_proportion():
    rng = np.random.default_rng(8)
    layers = networks.balanced(rng.standard_normal((3, 3)), [3, 3], rng)
    noise = networks.gaussian([3, 3, 3, 3], 1.0, rng)
    deltas = [0.04, 0.02, 0.01, 0.005]
    disturbed = [[A + d * E for A, E in zip(layers, noise, strict=True)] for d in deltas]
    gaps = [gap(networks.product(W), W) for W in disturbed]
    assert slope(deltas, gaps) == pytest.approx(1, abs=0.1)


@given(st.lists(SIZES, min_size=2, max_size=6), SEEDS)
def test_product_of_any_layers_moves_by_the_operator(widths, seed):
    """W' = -T(∇f), T = τ*τ: symmetric, positive semidefinite, and the loss falls by ‖τ∇f‖²."""
    rng = np.random.default_rng(seed)
    layers = networks.gaussian(widths, 1.0, rng)
    loss = losses.squared_distance(rng.standard_normal((widths[0], widths[-1])))
    G = loss.gradient(networks.product(layers))
    by_layer = networks.gradients(layers, loss.gradient)
    moved = [
        networks.product([A - s * B for A, B in zip(layers, by_layer, strict=True)])
        for s in (-1e-6, 1e-6)
    ]
    velocity = (moved[1] - moved[0]) / 2e-6
    size = 1 + np.abs(velocity).max()
    assert np.allclose(velocity, -rates.apply_operator(layers, G), atol=1e-6 * size**2)
    fall = sum(np.sum(B**2) for B in by_layer)
    assert np.sum(G * rates.apply_operator(layers, G)) == pytest.approx(fall)
    T = rates.operator(layers)
    assert np.allclose(T, T.T) and np.linalg.eigvalsh(T)[0] > -1e-9 * np.abs(T).max()


def test_operator_is_no_function_of_the_product():
    one, other = [np.eye(1), np.eye(1)], [2 * np.eye(1), 0.5 * np.eye(1)]
    assert networks.product(one) == networks.product(other)
    assert rates.operator(one).item() == 2 and rates.operator(other).item() == 4.25


def test_the_posters_sign_makes_the_loss_rise():
    rng = np.random.default_rng(3)
    loss, layers = losses.squared_distance(rng.standard_normal((2, 2))), networks.identity(2, 2)
    W = networks.product(layers)
    velocity = rates.apply_operator(layers, loss.gradient(W))
    assert loss.value(W + 1e-3 * velocity) > loss.value(W) > loss.value(W - 1e-3 * velocity)


# ---- The spectrum ---------------------------------------------------------------------------


@given(points())
def test_matrix_is_the_kronecker_sum(point):
    W, G, depth, rng = point
    left, _, right = np.linalg.svd(W)
    a, b = (padded(singular_values(W), size) for size in W.shape)
    powers = [
        (left * a ** (2 - 2 * l / depth) @ left.T, right.T * b ** (2 * (l - 1) / depth) @ right)
        for l in range(1, depth + 1)
    ]
    moved = preconditioner.apply(W, G, depth)
    size = 1e-10 * (1 + np.abs(moved).max())
    by_rows = sum(np.kron(P, Q) for P, Q in powers) @ G.ravel()
    assert np.allclose(by_rows, moved.ravel(), rtol=1e-9, atol=size)
    # With the columns stacked, the factors change places.
    by_columns = sum(np.kron(Q, P) for P, Q in powers) @ G.ravel(order="F")
    assert np.allclose(by_columns, moved.ravel(order="F"), rtol=1e-9, atol=size)


def test_matrix_at_integer_powers():
    """Depth 2 at W = AAᵀ: the roots are W itself, without any decomposition."""
    A = np.random.default_rng(4).standard_normal((3, 3))
    W, one = A @ A.T, np.eye(3)
    expected = np.kron(W, one) + np.kron(one, W)
    assert np.allclose(matrix(W, 2), expected)
    W3 = np.linalg.matrix_power(W, 3)  # depth 3: (W³W³ᵀ)^(1/3) = W²
    W2, W4 = W @ W, np.linalg.matrix_power(W, 4)
    expected = np.kron(W4, one) + np.kron(W2, W2) + np.kron(one, W4)
    assert np.allclose(matrix(W3, 3), expected, rtol=1e-8)


@given(points())
def test_balanced_operator_is_the_preconditioner(point):
    W, G, depth, rng = point
    rank = np.linalg.matrix_rank(W)
    layers = networks.balanced(W, [rank + 1] * (depth - 1), rng)
    expected = rates.apply_operator(layers, G)
    size = 1e-9 * (1 + np.abs(expected).max())
    assert np.allclose(preconditioner.apply(W, G, depth), expected, rtol=1e-8, atol=size)


@given(points())
def test_eigenvectors_and_eigenvalues(point):
    W, G, depth, rng = point
    U, lam, V = preconditioner.modes(W, depth)
    assert lam.shape == W.shape and np.array_equal(lam, preconditioner.eigenvalues(W, depth))
    assert np.allclose(U.T @ U, np.eye(len(U))) and np.allclose(V.T @ V, np.eye(len(V)))
    for (r, s), value in np.ndenumerate(lam):
        direction = np.outer(U[:, r], V[:, s])
        moved = preconditioner.apply(W, direction, depth)
        assert np.allclose(moved, value * direction, atol=1e-10 * (1 + lam[0, 0]))
    dense = np.linalg.eigvalsh(matrix(W, depth))
    assert np.allclose(np.sort(lam.ravel()), dense, atol=1e-10 * (1 + lam[0, 0]))


@given(points())
def test_eigenvalues_are_the_quotient(point):
    W, _, depth, _ = point
    sigma, lam = singular_values(W), preconditioner.eigenvalues(W, depth)
    for r, a in enumerate(padded(sigma, W.shape[0])):
        for s, b in enumerate(padded(sigma, W.shape[1])):
            if depth == 1:
                expected = 1.0
            elif r == s or a == b:
                expected = depth * a ** (2 - 2 / depth)
            elif abs(a - b) < 1e-3 * max(a, b):
                continue  # here the quotient cancels
            else:
                expected = (a**2 - b**2) / (a ** (2 / depth) - b ** (2 / depth))
            assert lam[r, s] == pytest.approx(expected, rel=1e-8)


def test_eigenvalues_of_nearly_equal_singular_values_do_not_cancel():
    lam = preconditioner.eigenvalues(np.diag([1 + 1e-13, 1.0]), 5)
    assert np.allclose(lam, 5, rtol=1e-11)


@given(points())
def test_definite_if_and_only_if_full_rank(point):
    W, _, depth, _ = point
    (n, m), sigma, lam = W.shape, singular_values(W), preconditioner.eigenvalues(W, depth)
    assert lam.min() >= 0
    if depth == 1:
        assert np.all(lam == 1)
        return
    assert (lam.min() > 0) == (np.linalg.matrix_rank(W) == min(n, m))
    zero = np.outer(padded(sigma, n) == 0, padded(sigma, m) == 0)
    assert np.array_equal(lam == 0, zero)  # the kernel
    assert lam.max() == lam[0, 0] == pytest.approx(depth * sigma[0] ** (2 - 2 / depth))
    least = (depth if n == m else 1) * sigma[-1] ** (2 - 2 / depth)
    assert lam.min() == pytest.approx(least, rel=1e-8)


@given(st.floats(0, 5), st.floats(0, 5), st.floats(1e-3, 5), st.integers(2, 6))
def test_eigenvalues_increase_with_both_singular_values(a, b, more, depth):
    def multiplier(a, b):
        lam = preconditioner.eigenvalues(np.diag([max(a, b), min(a, b)]), depth)
        return lam[0, 1]

    a, b = a + 1e-6, b + 1e-6
    assert multiplier(a + more, b) > multiplier(a, b) and multiplier(a, b + more) > multiplier(a, b)


@given(points())
def test_components_are_multiplied_by_their_eigenvalue(point):
    W, G, depth, _ = point
    U, lam, V = preconditioner.modes(W, depth)
    moved = U.T @ preconditioner.apply(W, G, depth) @ V
    assert np.allclose(moved, lam * (U.T @ G @ V), atol=1e-10 * (1 + lam[0, 0]))


@given(points())
def test_rotations_commute(point):
    W, G, depth, rng = point
    Q, R = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in W.shape)
    turned = preconditioner.apply(Q @ W @ R, Q @ G @ R, depth)
    expected = Q @ preconditioner.apply(W, G, depth) @ R
    assert np.allclose(turned, expected, atol=1e-8 * (1 + np.abs(expected).max()))


def test_depth_one_is_the_identity_also_at_zero():
    G = np.random.default_rng(5).standard_normal((3, 2))
    for W in (np.zeros((3, 2)), G @ np.diag([1, 0]), G):
        assert np.allclose(preconditioner.apply(W, G, 1), G, rtol=1e-14)
        assert np.array_equal(preconditioner.eigenvalues(W, 1), np.ones((3, 2)))
        assert np.allclose(matrix(W, 1), np.eye(6), atol=1e-14)
    assert np.all(preconditioner.apply(np.zeros((3, 2)), G, 3) == 0)


def test_logarithmic_mean_at_infinite_depth():
    limit = preconditioner.eigenvalues(np.diag([2.0, 1.0]), 20_000)[0, 1] / 20_000
    assert limit == pytest.approx(3 / np.log(4), rel=1e-3)


def test_powers_of_round_off_do_not_show():
    """At depth 6 a zero that comes out as 1e-17 would give 1e-6 here, 1e-16 in WWᵀ 1e-3."""
    rng = np.random.default_rng(6)
    for _ in range(50):
        W = rng.standard_normal((5, 2)) @ rng.standard_normal((2, 4))
        G = rng.standard_normal((5, 4))
        exact = rates.apply_operator(networks.balanced(W, [2] * 5, rng), G)
        assert np.allclose(preconditioner.apply(W, G, 6), exact, atol=1e-9)


def test_small_singular_values_are_kept():
    """1e-9 is small, but no round-off: its powers count."""
    lam = preconditioner.eigenvalues(np.diag([1.0, 1e-9]), 6)
    small = 1e-9 ** (1 / 3)
    assert lam[0, 1] == pytest.approx(sum(small**k for k in range(6)), rel=1e-6)


# ---- One output -----------------------------------------------------------------------------


@given(st.integers(1, 6), DEPTHS, SEEDS, st.booleans())
def test_one_output(d, depth, seed, transposed):
    rng = np.random.default_rng(seed)
    w, g = rng.standard_normal((2, d, 1))
    along = w * (w.T @ g) / np.sum(w**2)
    expected = np.linalg.norm(w) ** (2 - 2 / depth) * (g + (depth - 1) * along)
    if transposed:
        w, g, expected = w.T, g.T, expected.T
    assert np.allclose(preconditioner.apply(w, g, depth), expected)


@given(st.integers(2, 6), DEPTHS, SEEDS)
def test_velocity_turns_towards_the_weights(d, depth, seed):
    rng = np.random.default_rng(seed)
    w, g = rng.standard_normal((2, d, 1))

    def tangent(x):
        along = np.abs(w.T @ x).item() / np.linalg.norm(w)
        return np.sqrt(max(np.sum(x**2) - along**2, 0)) / along

    assert tangent(preconditioner.apply(w, g, depth)) == pytest.approx(tangent(g) / depth, rel=1e-6)


# ---- No gradient ----------------------------------------------------------------------------


def work(gradient, R, depth, d=2):
    """Work of w ↦ P_w(∇f(w)) along -Re → Re and back on a half circle, e along ∇f(0)."""
    g = gradient(np.zeros(d))
    e = g / np.linalg.norm(g)
    normal = np.eye(d)[np.argmin(np.abs(e))]
    normal = normal - (normal @ e) * e
    normal /= np.linalg.norm(normal)

    def F(w):
        return preconditioner.apply(w[:, None], gradient(w)[:, None], depth)[:, 0]

    def back(t):
        w = R * (np.cos(t) * e + np.sin(t) * normal)
        return F(w) @ (R * (np.cos(t) * normal - np.sin(t) * e))

    total = quad(lambda s: F(s * e) @ e, -R, R, points=[0])[0] + quad(back, 0, np.pi)[0]
    return total / (2 * np.linalg.norm(g) * R ** (3 - 2 / depth))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("d", [2, 4])
def test_work_around_a_small_loop(depth, d):
    """It tends to (N-1)(N-2)/(3N-2), so from three layers on the field is no gradient."""
    rng = np.random.default_rng(9)
    data = rng.standard_normal((6, d))
    loss = losses.exponential(data, np.sign(data @ np.ones(d)))

    def gradient(w):
        return loss.gradient(w[:, None])[:, 0]

    limit = (depth - 1) * (depth - 2) / (3 * depth - 2)
    gaps = [abs(work(gradient, R, depth, d) - limit) for R in (0.1, 0.01)]
    assert gaps[1] < 1e-3 and gaps[1] <= 0.2 * gaps[0] + 1e-7


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_curl_of_a_linear_loss(depth):
    """(N-1)(N-2)/N · w2 ‖w‖^(-2/N) for f = w1; 2/3 w2 ‖w‖^(-2/3) for N = 3."""
    import sympy as sp

    w1, w2 = sp.symbols("w1 w2", positive=True)
    N, r = sp.Integer(depth), sp.sqrt(w1**2 + w2**2)
    F = r ** (2 - 2 / N) * sp.Matrix([1 + (N - 1) * w1**2 / r**2, (N - 1) * w1 * w2 / r**2])
    curl = sp.diff(F[1], w1) - sp.diff(F[0], w2)
    assert sp.simplify(curl - (N - 1) * (N - 2) / N * w2 * r ** (-2 / N)) == 0
    for point in np.random.default_rng(depth).random((3, 2)):  # the library has this field
        there = preconditioner.apply(point[:, None], np.array([[1.0], [0.0]]), depth)[:, 0]
        here = [float(part.subs({w1: point[0], w2: point[1]})) for part in F]
        assert np.allclose(there, here)


def test_exceptions_are_gradients():
    """N = 2 with a linear or round quadratic loss; every depth with ∇f(0) = 0 and f round."""
    rng = np.random.default_rng(10)
    a, c = rng.standard_normal(3), 0.7
    norm = np.linalg.norm
    cases = [
        (2, lambda w: a, lambda w: norm(w) * (a @ w)),
        (2, lambda w: c * w - a, lambda w: 2 * c / 3 * norm(w) ** 3 - norm(w) * (a @ w)),
        (4, lambda w: w, lambda w: 4 * norm(w) ** 3.5 / 3.5),
    ]
    for depth, gradient, potential in cases:
        w = rng.standard_normal(3)
        steps = 1e-6 * np.eye(3)
        numeric = [(potential(w + s) - potential(w - s)) / 2e-6 for s in steps]
        field = preconditioner.apply(w[:, None], gradient(w)[:, None], depth)[:, 0]
        assert np.allclose(numeric, field, rtol=1e-7)


def test_two_layers_with_an_uneven_quadratic_are_no_gradient():
    jacobian = np.empty((2, 2))
    w, S = np.array([0.6, 0.8]), np.diag([2.0, 1.0])
    for k, s in enumerate(1e-6 * np.eye(2)):
        up, down = (
            preconditioner.apply(x[:, None], (S @ x)[:, None], 2)[:, 0] for x in (w + s, w - s)
        )
        jacobian[:, k] = (up - down) / 2e-6
    curl = jacobian[1, 0] - jacobian[0, 1]
    assert curl == pytest.approx(-(w[0] * w[1] * 1.0 - w[1] * w[0] * 2.0), rel=1e-6)


# ---- Steps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[3, 4, 2], [3, 3, 3, 3], [4, 2, 5, 4]])
def test_orders_of_the_recursion(sizes):
    """From balanced layers: distance of second order after one step, of first after time 1."""
    rng = np.random.default_rng(11)
    n, m, rank = sizes[0], sizes[-1], min(sizes)
    loss = losses.squared_distance(rng.standard_normal((n, m)))
    W = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m)) / 2
    layers = networks.balanced(W, sizes[1:-1], rng)
    start, depth = networks.product(layers), len(layers)

    def distance(step, n_steps):
        deep = networks.layer_descent(loss, layers, step, n_steps).final
        end = preconditioner.end_to_end_descent(loss, start, depth, step, n_steps).final
        return np.linalg.norm(networks.product(deep) - end)

    steps = 0.01 / 2.0 ** np.arange(5)
    assert slope(steps, [distance(h, 1) for h in steps]) == pytest.approx(2, abs=0.05)
    assert slope(steps, [distance(h, round(1 / h)) for h in steps]) == pytest.approx(1, abs=0.1)


def test_descent_with_a_long_step_says_that_it_diverged():
    loss = losses.squared_distance(np.eye(2))
    path = preconditioner.end_to_end_descent(loss, 3 * np.eye(2), 3, 1.0, 100)
    assert path.reason == "diverged" and np.all(np.isfinite(path.states))


# ---- Width ----------------------------------------------------------------------------------

Y = np.array([[1.5, 0.4], [-0.3, 0.8], [0.2, 0.5]])


def wide_flow(h, tangent_kernel, seed, times):
    """F, A, B of the two-layer flow in either scaling (h^(-1/2) before it, or in the entries)."""
    scale, deviation = (h**-0.5, 1.0) if tangent_kernel else (1.0, h**-0.5)
    start = networks.gaussian([3, h, 2], deviation, np.random.default_rng([h, seed]))

    def gradient(Ws):
        return networks.gradients(Ws, lambda W: scale * (scale * W - Y))

    path = gradient_flow(gradient, start, times, rtol=1e-9)
    F = np.array([scale * P @ Q for P, Q in path])
    A = np.array([scale**2 * P @ P.T for P, Q in path])
    B = np.array([scale**2 * Q.T @ Q for P, Q in path])
    return F, A, B


def root(M):
    values, vectors = np.linalg.eigh(M)
    return vectors * np.sqrt(values) @ vectors.T


@pytest.mark.parametrize("tangent_kernel", [True, False])
def test_width_enters_only_through_a_factor(tangent_kernel):
    """F' = -(AG+GB), A' = -κ(GFᵀ+FGᵀ), B' = -κ(GᵀF+FᵀG), κ = 1/h or 1: integrated by itself."""
    times, h = np.linspace(0, 3, 7), 30
    F, A, B = wide_flow(h, tangent_kernel, 0, times)
    kappa = 1 / h if tangent_kernel else 1.0

    def minus_velocity(state):
        F, A, B = state
        G = F - Y
        return [A @ G + G @ B, kappa * (G @ F.T + F @ G.T), kappa * (G.T @ F + F.T @ G)]

    closed = gradient_flow(minus_velocity, [F[0], A[0], B[0]], times, rtol=1e-10).states
    for layers, alone in zip((F, A, B), closed, strict=True):
        assert np.allclose(layers, alone, atol=1e-7)


def test_tangent_kernel_scaling_freezes_the_operator():
    """Movement ~ 1/h, and below the bound 4C/(μh) for all times."""
    times, widths = np.linspace(0, 8, 9), 4 ** np.arange(3, 7)
    moved = []
    for h in widths:
        of_seeds = []
        for seed in range(5):
            F, A, B = wide_flow(h, True, seed, times)
            e0 = np.linalg.norm(Y - F[0])
            C = e0 * (np.linalg.norm(Y) + e0)
            mu = np.linalg.eigvalsh(A[0])[0] + np.linalg.eigvalsh(B[0])[0]
            shift = max(np.linalg.norm(X - X[0], axis=(1, 2)).max() for X in (A, B))
            if h > 16 * C / mu**2:
                assert 4 * C / (mu * h) / 40 <= shift <= 4 * C / (mu * h)  # within a factor of 40
            of_seeds.append(shift)
        moved.append(np.median(of_seeds))
    assert h > 16 * C / mu**2  # the bound was put to the test
    assert slope(widths, moved) == pytest.approx(-1, abs=0.15)


def test_small_variance_alone_does_not_freeze_the_operator():
    """Movement O(1) at every width; the limit is (I+YYᵀ)^(1/2), (I+YᵀY)^(1/2)."""
    times, widths = np.array([0.0, 10.0]), 4 ** np.arange(3, 7)
    moved = [np.linalg.norm(np.diff(wide_flow(h, False, 0, times)[1], axis=0)) for h in widths]
    assert slope(widths, moved) == pytest.approx(0, abs=0.1)
    F, A, B = wide_flow(20_000, False, 1, times)
    assert np.allclose(F[-1], Y, atol=1e-4)
    assert np.allclose(A[-1], root(np.eye(3) + Y @ Y.T), atol=0.03)
    assert np.allclose(B[-1], root(np.eye(2) + Y.T @ Y), atol=0.03)


@pytest.mark.parametrize("tangent_kernel", [True, False])
def test_both_scalings_start_from_the_same_operator(tangent_kernel):
    _, A, B = wide_flow(20_000, tangent_kernel, 2, [1e-9])
    assert np.allclose(A[0], np.eye(3), atol=0.03) and np.allclose(B[0], np.eye(2), atol=0.03)


# ---- Bad input ------------------------------------------------------------------------------

LOSS = losses.squared_distance(np.eye(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: preconditioner.apply(np.eye(2), np.eye(3), 2), "G must have the shape"),
        (lambda: preconditioner.apply(np.ones(2), np.ones(2), 2), "W must have 2 dim"),
        (lambda: preconditioner.apply(np.eye(2), [[1, np.nan], [0, 1]], 2), "G has entries"),
        (lambda: preconditioner.eigenvalues(np.eye(2), 0), "depth must be at least 1"),
        (lambda: preconditioner.eigenvalues(np.eye(2), 2.5), "depth must be a whole number"),
        (lambda: preconditioner.modes([[np.inf]], 2), "W has entries"),
        (lambda: preconditioner.modes(np.zeros((0, 2)), 2), "W is empty"),
        (lambda: preconditioner.end_to_end_flow(LOSS, np.eye(3), 2, 1.0), "W0 of shape"),
        (lambda: preconditioner.end_to_end_flow(LOSS, np.eye(2), -1, 1.0), "depth must be"),
        (lambda: preconditioner.end_to_end_flow(LOSS, np.eye(2), 2, -1.0), "t must be at"),
        (lambda: preconditioner.end_to_end_flow(LOSS, [1.0, 2.0], 2, 1.0), "W0 must have 2"),
        (lambda: preconditioner.end_to_end_descent(LOSS, np.eye(2), 2, 0.0, 5), "step must be"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_loss_of_another_shape_is_named():
    loss = losses.regression(np.ones((4, 3)), np.ones((4, 2)))
    for W0 in (np.ones((2, 2)), np.ones((3, 1))):
        with pytest.raises(ValueError, match="W0 of shape"):
            preconditioner.end_to_end_flow(loss, W0, 2, 1.0)


@pytest.mark.parametrize(
    "gradient", [lambda W: -2 * W, lambda W: np.where(np.abs(W) < 2, -1.0, -1e308)]
)
def test_diverging_flow_says_so(gradient):
    loss = losses.Loss(lambda W: 0.0, gradient, None, None, None, None)
    path = preconditioner.end_to_end_flow(loss, np.eye(2), 4, 10.0)
    assert path.reason == "diverged" and np.all(np.isfinite(path.states))
