"""Sensing: the flow of a factor, commuting measurements, and where the conjecture fails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from overparam import completion, gradient_flow, losses, networks, sensing

# --- one measurement ----------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(("rho", "starts"), [((1, 0.5), (0.1, 0.1)), ((1.0, -0.4), (0.2, 0.3))])
def test_one_measurement_ties_the_singular_values_together(depth, rho, starts):
    rng = np.random.default_rng(depth)
    U, V = (np.linalg.qr(rng.standard_normal((2, 2)))[0] for _ in range(2))
    loss = losses.sensing([(U * rho) @ V.T], [2.0])
    layers = networks.balanced(U * starts @ V.T, [2] * (depth - 1), rng)
    path = networks.layer_flow(loss, layers, 30.0, rtol=1e-10, atol=1e-12)
    sigma = np.array([U.T @ networks.product(Ws) @ V for Ws in path])
    assert np.abs(sigma[:, 0, 1]).max() < 1e-7 and np.abs(sigma[:, 1, 0]).max() < 1e-7
    first, other = sigma[:, 0, 0], sigma[:, 1, 1]
    assert first[-1] > 1.5
    expected = sensing.one_measurement(first, rho[1] / rho[0], *starts, depth)
    assert np.allclose(other, expected, atol=1e-7)


def test_ceiling_falls_with_depth_and_needs_alpha_below_one():
    ends = [sensing.one_measurement(1e30, 0.5, 0.1, 0.1, N) for N in (3, 4, 6, 10)]
    limits = [0.1 * 0.5 ** (-N / (N - 2)) for N in (3, 4, 6, 10)]
    assert np.allclose(ends, limits, rtol=1e-4) and np.all(np.diff(ends) < 0)
    # alpha > 1, C < 0: the other one becomes infinite at a finite value of the first.
    q = 1 / 3
    blow_up = (2 * 0.1**-q / (2 * 0.1**-q - 0.1**-q)) ** (1 / q) * 0.1
    assert sensing.one_measurement(0.999 * blow_up, 2.0, 0.1, 0.1, 3) > 1e5
    with pytest.raises(ValueError, match="sigma"):
        sensing.one_measurement(1.001 * blow_up, 2.0, 0.1, 0.1, 3)


def test_one_observed_entry_freezes_the_others_at_every_depth():
    for depth in (1, 2, 3, 5):
        loss = losses.completion([0], [0], [3.0], (3, 3))
        layers = networks.balanced(np.diag([0.2, 0.15, 0.1]), [3] * (depth - 1))
        path = networks.layer_flow(loss, layers, 100.0, rtol=1e-10, atol=1e-12)
        W = networks.product(path.final)
        assert abs(W[0, 0] - 3) < 1e-6
        assert np.allclose(np.linalg.svd(W)[1][1:], [0.15, 0.1], atol=1e-9)
        assert sensing.one_measurement(3.0, 0.0, 0.2, 0.15, depth) == pytest.approx(0.15)


# --- sensing and commuting measurements ---------------------------------------------------


def test_sensing_flow_is_a_quarter_of_the_gradient_flow():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 4, 4))
    A = A + A.transpose(0, 2, 1)
    y, U, E = rng.standard_normal(3), rng.standard_normal((4, 2)), rng.standard_normal((4, 2))

    def loss(U):
        return np.sum((np.einsum("kij,ij->k", A, U @ U.T) - y) ** 2)

    later = sensing.sensing_flow(A, y, U, 1e-7).final
    slope = (loss(U + 1e-6 * E) - loss(U - 1e-6 * E)) / 2e-6
    assert np.isclose(np.sum((later - U) / 1e-7 * E), -slope / 4, rtol=1e-4)
    S = np.einsum("k,kij->ij", np.einsum("kij,ij->k", A, U @ U.T) - y, A)
    X, X_dot = U @ U.T, (later @ later.T - U @ U.T) / 1e-7
    assert np.allclose(X_dot, -S @ X - X @ S, rtol=1e-3, atol=1e-2)
    assert np.abs(X_dot - (S @ X - X @ S)).max() > 1  # the printed field
    final = sensing.sensing_flow(A, y, 0.1 * U, 20.0).final
    assert np.linalg.matrix_rank(final @ final.T) <= 2


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_commuting_limit_is_the_end_of_the_flow(depth):
    rng = np.random.default_rng(depth)
    A, x = rng.standard_normal((2, 4)), rng.random(4) + 0.1
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    loss = losses.sensing(np.array([(basis * row) @ basis.T for row in A]), A @ x)
    path = networks.layer_flow(loss, networks.identity(4, depth, 0.6), 300.0)
    W = basis.T @ networks.product(path.final) @ basis
    assert np.allclose(W, np.diag(sensing.commuting_limit(A, A @ x, 0.6, depth)), atol=1e-6)


@given(st.integers(0, 10**6), st.sampled_from([2, 3, 4]))
@settings(max_examples=40)
def test_commuting_limit_minimizes_its_potential_and_then_the_trace(seed, depth):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((2, 5))
    y = A @ (rng.random(5) + 0.05)
    alpha = 0.3

    def potential(x):
        if depth == 2:
            return np.sum(x * (np.log(x / alpha**2) - 1))
        return np.sum(x) - depth / 2 * alpha ** (depth - 2) * np.sum(x ** (2 / depth))

    x = sensing.commuting_limit(A, y, alpha, depth)
    assert np.allclose(A @ x, y, atol=1e-8) and np.all(x > 0)
    null = np.linalg.svd(A)[2][2:]
    for direction in null:
        for step in (1e-3, -1e-3):
            assert potential(x + step * x.min() * direction) >= potential(x) - 1e-12
    least = linprog(np.ones(5), A_eq=A, b_eq=y).fun
    excess = [sensing.commuting_limit(A, y, a, depth).sum() - least for a in (0.1, 1e-3)]
    assert excess[0] >= excess[1] - 1e-7 >= -2e-7
    # The proof's bounds on the excess, with any feasible z: here the LP's solution.
    z = linprog(np.ones(5), A_eq=A, b_eq=y).x
    x = sensing.commuting_limit(A, y, 1e-3, depth)
    if depth == 2:
        bound = (_entropy(z) - _entropy(x)) / np.log(1e6)
    else:
        bound = depth / 2 * 1e-3 ** (depth - 2) * np.sum(x ** (2 / depth) - z ** (2 / depth))
    assert excess[1] <= bound + 1e-7


def _entropy(x):
    return np.sum(x * (np.log(np.maximum(x, 1e-300)) - 1))


def test_any_positive_definite_start_gives_the_least_trace():
    rng = np.random.default_rng(6)
    A = rng.standard_normal((2, 4))
    y = A @ (rng.random(4) + 0.2)
    start = rng.standard_normal((4, 4))
    start = start @ start.T + 0.2 * np.eye(4)
    least = linprog(np.ones(4), A_eq=A, b_eq=y).fun
    excess = []
    for alpha in (1e-2, 1e-8):
        U = sensing.sensing_flow(
            np.array([np.diag(row) for row in A]), y, np.linalg.cholesky(alpha * start), 300.0,
            rtol=1e-10, atol=1e-14,
        ).final  # fmt: skip
        X = U @ U.T
        assert np.allclose(A @ np.diag(X), y, atol=1e-6)
        growth = np.sqrt(np.diag(X) / np.diag(alpha * start))  # exp of A*(s), from the diagonal
        assert np.allclose(X, growth[:, None] * alpha * start * growth, atol=1e-6)
        excess.append(np.trace(X) - least)
    assert 0 <= excess[1] + 1e-6 < 0.1 * excess[0]


def test_positive_semidefiniteness_cannot_be_left_out():
    for depth in (2, 3):
        x = sensing.commuting_limit([[1.0, -0.5]], [-1.0], 1e-4, depth)
        assert np.allclose(x, [0, 2], atol=1e-3)
    assert np.isclose(np.diag([-1.0, 0.0]).trace(), -1)  # fits: 1·(-1) - ½·0 = -1, nuclear norm 1
    x = sensing.commuting_limit([[1.0, -2.0]], [1.0], 1e-4)
    free = linprog(np.ones(4), A_eq=[[1.0, -2.0, -1.0, 2.0]], b_eq=[1.0]).fun
    assert np.allclose(x, [1, 0], atol=1e-6) and np.isclose(free, 0.5)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_instance_on_which_the_schatten_quasi_norms_disagree(depth):
    A, y = [[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]], [0.0, 1.0]
    x = sensing.commuting_limit(A, y, 1e-3, depth)
    assert np.allclose(x, [1, 1, 0], atol=2e-3)
    loss = losses.sensing([np.diag(row) for row in A], y)
    path = networks.layer_flow(loss, networks.identity(3, depth, 0.1), 200.0)
    limit = sensing.commuting_limit(A, y, 0.1, depth)
    assert np.allclose(networks.product(path.final), np.diag(limit), atol=1e-5)
    for p in (0.05, 0.5, 0.95):
        for eps in (1e-3, 0.3, 1.0):
            X = np.diag([1.0, 1.0, 0.0])
            X[0, 1] = X[1, 0] = eps
            assert loss.value(X) == 0 and np.linalg.eigvalsh(X)[0] > -1e-12
            assert np.isclose(np.linalg.norm(X, "nuc"), 2)
            assert completion.schatten(X, p) < 2
            assert np.isclose(completion.schatten(X, p), (1 - eps) ** p + (1 + eps) ** p)


def test_flow_can_end_at_the_maximizer_of_every_schatten_quasi_norm():
    for depth in (2, 3, 4):
        x = sensing.commuting_limit([[1.0, 1.0]], [1.0], 0.01, depth)
        assert np.allclose(x, 0.5, atol=1e-9)
    line = np.linspace(0, 1, 101)
    for p in (0.1, 0.5, 0.9):
        assert np.argmax(line**p + (1 - line) ** p) == 50


# --- interpolants -------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_row_space_says_the_same_as_the_data_in_any_units(rank, unit):
    rng = np.random.default_rng(rank)
    left, right = rng.standard_normal((4, rank)), rng.standard_normal((rank, 5))
    X, beta = unit * left @ right, rng.standard_normal(5)
    V, sigma, c = sensing.row_space(X, X @ beta)
    assert V.shape == (5, rank) and np.allclose(V.T @ V, np.eye(rank))
    assert np.allclose(V * sigma**2 @ V.T, X.T @ X, atol=1e-12 * unit**2)
    assert np.allclose(V.T @ beta, c)
    beside = np.linalg.svd(left)[0][:, -1]  # at right angles to the range
    with pytest.raises(ValueError, match="not in the range"):
        sensing.row_space(X, X @ beta + 1e-7 * unit * beside)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("y", [1e-8, 1e-2, 2.0, 1e4, 1e8])
@pytest.mark.parametrize("weights", [1.0, np.array([0.5, 3.0])])
def test_newton_solves_its_dual_in_few_steps(unit, y, weights):
    seen = []

    def image(state):
        seen.append(np.exp(state[0]))
        return seen[-1], seen[-1]

    start = np.outer([0.0, np.inf, np.inf], np.ones(2))
    beta = sensing.dual_newton([[unit, 2 * unit]], [unit * y], image, start, weights)
    assert np.isclose(beta @ [1, 2], y, rtol=1e-13, atol=0)
    nu = np.log(beta) / (weights * np.array([1.0, 2.0]))
    assert np.isclose(*nu, rtol=1e-12) and len(seen) < 40


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_slopes_of_the_commuting_dual(depth, monkeypatch):
    images, newton = [], sensing.dual_newton

    def spy(A, y, image, *rest, **options):
        images.append(image)
        return newton(A, y, image, *rest, **options)

    monkeypatch.setattr(sensing, "dual_newton", spy)
    sensing.commuting_limit([[1.0, 2.0]], [2.0], 0.3, depth)
    u, h = np.linspace(-0.9, 0.9, 19), 1e-6
    ahead, here, behind = (images[0](np.array([v, 1 - v, 1 + v])) for v in (u + h, u, u - h))
    assert np.allclose((ahead[0] - behind[0]) / (2 * h), here[1], rtol=1e-6)


# --- where the conjecture fails -----------------------------------------------------------


def _four(R):
    A = np.zeros((3, 4, 4))
    for k, (i, j) in enumerate([(0, 2), (0, 3), (1, 2)]):
        A[k, i, j] = A[k, j, i] = 0.5
    return A, np.array([1.0, R, R])


def test_four_by_four_completion_tends_to_rank_one_at_a_higher_nuclear_norm():
    A, y = _four(3.0)
    traces = []
    for alpha in (1e-2, 1e-10, 1e-20):
        U = sensing.sensing_flow(
            A, y, np.sqrt(alpha) * np.eye(4), 150.0, rtol=1e-9, atol=1e-14
        ).final
        assert np.allclose(np.einsum("kij,ij->k", A, U @ U.T), y, atol=1e-5)
        traces.append(np.sum(U**2))
    assert 12 < traces[0] < 13 and traces[0] < traces[1] < traces[2]
    assert 19.7 < traces[2] < 20


def test_least_trace_of_the_four_by_four_completion():
    rng, R = np.random.default_rng(0), 3.0
    B = np.array([[1.0, R], [R, 1.0]])
    U, sigma, V = np.linalg.svd(B)
    best = np.block([[U * sigma @ U.T, B], [B.T, V.T * sigma @ V]])
    assert np.isclose(np.trace(best), 4 * R) and np.linalg.eigvalsh(best)[0] > -1e-12
    for _ in range(200):  # any other positive semidefinite completion has at least that trace
        Z = rng.standard_normal((4, 4)) * rng.exponential(2, (4, 1))
        X = Z @ Z.T
        block = X[:2, 2:]
        assert np.trace(X) >= 2 * np.linalg.norm(block, "nuc") - 1e-9
        x = 3 * rng.standard_normal()
        assert np.linalg.norm([[1.0, R], [R, x]], "nuc") >= 2 * R - 1e-12
    z = np.array([1.0, R, 1.0, R])
    assert np.isclose(np.trace(np.outer(z, z)), 2 + 2 * R**2)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_every_norm_goes_to_infinity_while_the_effective_rank_falls(depth):
    loss = losses.completion([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
    layers = networks.balanced(np.array([[1.0, 0.2], [0.2, 1.0]]), [2] * (depth - 1))
    end = 30.0 if depth == 2 else 3e4  # at depth 2 the determinant drowns in rounding later
    path = networks.layer_flow(
        loss, layers, np.append(0, np.geomspace(1, end, 16)), method="LSODA", rtol=1e-10, atol=1e-12
    )
    Ws = [networks.product(layers) for layers in path]
    errors = np.array([np.sqrt(3 * loss.value(W)) for W in Ws])
    signs = {tuple(np.sign([np.linalg.det(W) for W in layers])) for layers in path}
    assert len(signs) == 1 and np.prod(signs.pop()) == 1
    for W, eps in zip(Ws, errors, strict=True):
        assert eps > 1 or abs(W[0, 0]) >= (1 - eps) ** 2 / eps * (1 - 1e-9)
    assert np.all(np.diff(errors) < 0) and np.all(np.diff([W[0, 0] for W in Ws[2:]]) > 0)
    assert completion.effective_rank(Ws[-1]) < 1.001 < completion.effective_rank(Ws[0])
    if depth > 2:
        a = [W[0, 0] for W in Ws[-4:]]
        slope = np.polyfit(np.log(path.t[-4:]), np.log(a), 1)[0]
        assert abs(slope - depth / (2 * depth + 2)) < 0.01
        law = (4 / 3 * (depth + 1) * end) ** (depth / (2 * depth + 2))
        assert abs(a[-1] / law - 1) < 0.01


# --- small starts, and decay --------------------------------------------------------------


def test_small_start_is_a_power_iteration():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 4, 4))
    A, y, bar = A + A.transpose(0, 2, 1), rng.standard_normal(3), rng.standard_normal((4, 2))
    M, eta, rest = np.einsum("k,kij->ij", y, A), 0.02, []
    for alpha in (0.02, 0.01):
        U = alpha * bar
        for _ in range(12):
            residual = np.einsum("kij,ij->k", A, U @ U.T) - y
            U = U - eta * np.einsum("k,kij->ij", residual, A) @ U
        linear = np.linalg.matrix_power(np.eye(4) + eta * M, 12) @ (alpha * bar)
        rest.append(np.linalg.norm(U - linear))
    assert abs(np.log2(rest[0] / rest[1]) - 3) < 0.05


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_imbalances_decay_exactly(depth):
    rng, decay, end = np.random.default_rng(depth), 0.3, 2.0
    loss = losses.squared_distance(rng.standard_normal((3, 3)))

    def slope(layers):
        pulls = networks.gradients(layers, loss.gradient)
        return [pull + decay * W for pull, W in zip(pulls, layers, strict=True)]

    begin = networks.gaussian([3] + [4] * (depth - 1) + [3], 0.8, rng)
    last = gradient_flow(slope, begin, end, rtol=1e-10, atol=1e-12).final
    for D0, D in zip(networks.imbalance(begin), networks.imbalance(last), strict=True):
        assert np.allclose(D, np.exp(-2 * decay * end) * D0, atol=1e-8)


def test_collapsed_layers_stay_collapsed():
    """Random and hostile gradients at depth 3 and 4, from just inside the set; two layers leave."""
    rng, eta, decay, g = np.random.default_rng(1), 0.1, 0.2, 1.5

    def step(layers, hostile):
        W = networks.product(layers)
        G = rng.standard_normal(W.shape)
        if hostile:  # pushes outwards along the product
            left, _, right = np.linalg.svd(W)
            G = -left @ right
        G *= g / np.linalg.norm(G, 2)
        pulls = networks.gradients(layers, lambda _: G)
        return [(1 - eta * decay) * A - eta * D for A, D in zip(layers, pulls, strict=True)]

    def norm(layers):
        return max(np.linalg.norm(A, 2) for A in layers)

    for depth in (3, 4):
        edge = (decay / g) ** (1 / (depth - 2))
        for hostile in (False, True):
            layers = [A * 0.99 * edge / np.linalg.norm(A, 2) for A in
                      networks.gaussian([3] * (depth + 1), 1.0, rng)]  # fmt: skip
            sizes = [norm(layers)]
            for _ in range(400):
                layers = step(layers, hostile)
                sizes.append(norm(layers))
            assert np.all(np.diff(sizes) < 0) and sizes[-1] < 1e-2 * edge
        outside = networks.identity(3, depth, 1.02 * edge)
        for _ in range(400):
            outside = step(outside, True)
            if norm(outside) > 10 * edge:
                break
        assert norm(outside) > 10 * edge  # the edge is sharp
    two = networks.identity(3, 2, 1e-6)
    for _ in range(150):
        two = step(two, True)
    assert norm(two) > 1


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: sensing.one_measurement(-1.0, 0.5, 0.1, 0.1, 3), "sigma"),
        (lambda: sensing.one_measurement(1.0, 0.5, -0.1, 0.1, 3), "start"),
        (lambda: sensing.one_measurement(1.0, 0.5, 0.1, 0.0, 3), "start_other"),
        (lambda: sensing.commuting_limit([[1.0, 1.0]], [1.0, 2.0], 0.1), "A and y"),
        (lambda: sensing.commuting_limit([[1.0, 1.0]], [1.0], -0.1), "alpha"),
        (lambda: sensing.commuting_limit([[1.0, 1.0]], [1.0], 1e-4, 4), "no digits"),
        (lambda: sensing.commuting_limit([[1.0, 1.0]], [1.0], 0.1, 1), "depth"),
        (lambda: sensing.sensing_flow([np.eye(2)], [1.0], np.eye(3), 1.0), "A must have"),
        (lambda: sensing.sensing_flow([[[0, 1], [0, 0]]], [1], np.eye(2), 1.0), "symmetric"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_what_cannot_be_fitted_is_said(unit):
    for depth in (2, 3):
        with pytest.raises(RuntimeError, match="x >= 0"):
            sensing.commuting_limit([[1.0, 1.0]], [-unit], 0.1, depth)
        x = sensing.commuting_limit([[1.0, 1.0]], [unit], 0.1, depth)
        assert np.allclose(x, unit / 2, rtol=1e-9, atol=0)
