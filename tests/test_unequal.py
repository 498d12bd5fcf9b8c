"""Unequal layers: limits, escape, lost modes, kernels, slow features, one neuron."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

from overparam import gradient_flow, losses, networks, riccati, unequal

# m, n, k, λ: every kind of shape, both signs, fewer and more neurons than directions.
SHAPES = [
    (3, 2, 2, 0.0), (2, 3, 4, 0.0), (3, 3, 1, 0.0), (3, 2, 2, 0.7), (3, 2, 3, 0.7), (2, 4, 2, 1.5),
    (3, 2, 2, -0.7), (2, 3, 1, -4.0), (4, 2, 1, 2.0), (1, 1, 1, 1.0), (1, 1, 1, -1.0),
]  # fmt: skip


def fields(U, V, Y):
    E = Y - U @ V.T
    return E @ V, E.T @ U


def flow(Y, U0, V0, t, **options):
    def gradient(w):
        down, across = fields(*w, Y)
        return [-down, -across]

    return gradient_flow(gradient, [U0, V0], t, **options)


def rotated(rng, singular, m, n):
    """A target with given singular values and random singular vectors."""
    left, right = np.linalg.qr(rng.standard_normal((m, m)))[0], ortho(rng, n)
    middle = np.eye(m, n)
    middle[: len(singular)] *= np.array(singular)[:, None]
    middle[len(singular) :] = 0
    return left @ middle @ right.T


def ortho(rng, n):
    if n == 1:
        return rng.choice([-1.0, 1.0], size=(1, 1))
    return ortho_group.rvs(n, random_state=rng)


def positive_part(Y, imbalance, U, V):
    """P_+ᵀR: the start in the eigenvectors of S with positive eigenvalues."""
    eigenvalues, P = np.linalg.eigh(riccati.riccati_matrix(Y, imbalance))
    return P[:, eigenvalues > 1e-12].T @ np.vstack([U, V])


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


# Where the flow goes


@pytest.mark.parametrize(("m", "n", "k", "imbalance"), SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_limit_is_that_of_the_closed_form(m, n, k, imbalance, seed):
    rng = np.random.default_rng(seed)
    Y = rotated(rng, np.linspace(2.0, 1.0, min(m, n)), m, n)
    U, V = riccati.homogeneous_start((m, n), k, imbalance, rng)
    lost = imbalance == 0 and m == n <= k and np.linalg.det(U @ V.T) * np.linalg.det(Y) < 0
    expected = riccati.solution(12.0 if lost else 60.0, Y, U, V)
    assert np.allclose(unequal.limit(Y, U, V), expected, atol=1e-6 if lost else 1e-9)


def test_limit_is_that_of_the_weights_and_of_pivots():
    rng = np.random.default_rng(2)
    Y = rotated(rng, [2.0, 1.2, 0.7], 3, 4)
    U, V = riccati.homogeneous_start((3, 4), 2, 0.5, rng)
    W = flow(Y, U, V, 60.0, rtol=1e-11, atol=1e-13).final
    X = unequal.limit(Y, U, V)
    assert np.allclose(W[0] @ W[1].T, X, atol=1e-8)
    missed = 0.5 * np.linalg.norm(Y - X) ** 2
    assert np.isclose(missed, 0.7**2 / 2)


def test_limit_on_stable_manifolds():
    """No component along the first mode, or one neuron that sees only the second: pivots skip."""
    U, V = networks.spectral(np.diag([3.0, 2.0, 1.0]), [0.0, 0.3, 0.2], [0.0, 0.3, 0.2])
    assert np.allclose(unequal.limit(np.diag([3.0, 2, 1]), U, V.T), np.diag([0, 2, 1]))
    # Two neurons with the same component along the first mode leave one direction for the rest.
    U = np.array([[0.3, 0.3], [0.2, -0.2], [0.1, 0.4]])
    Y = np.diag([3.0, 2.0, 1.0])
    assert np.allclose(unequal.limit(Y, U, U), np.diag([3, 2, 0]))
    U[1] = 0.2
    assert np.allclose(unequal.limit(Y, U, U), np.diag([3, 0, 1]))


def test_limit_with_repeated_singular_values():
    """One neuron, σ twice: the direction of the start within the eigenspace is kept."""
    a = np.array([0.6, 0.8])
    got = unequal.limit(2 * np.eye(2), 0.1 * a[:, None], 0.1 * a[:, None])
    assert np.allclose(got, 2 * np.outer(a, a))
    rng = np.random.default_rng(3)
    Y = rotated(rng, [2.0, 1.0, 1.0], 3, 3)
    U, V = riccati.homogeneous_start((3, 3), 2, 0.8, rng)
    assert np.allclose(unequal.limit(Y, U, V), riccati.solution(80.0, Y, U, V), atol=1e-9)


def test_what_is_no_start_is_refused():
    with pytest.raises(ValueError, match="homogeneous"):
        unequal.limit(np.eye(2), np.diag([2.0, 1.0]), np.eye(2))
    with pytest.raises(ValueError, match="must have 2 and 2 rows"):
        unequal.limit(np.eye(2), np.ones((3, 1)), np.ones((2, 1)))


# The right imbalance leaves no saddle


@pytest.mark.parametrize(("m", "n", "k", "imbalance"), [s for s in SHAPES if s[3] != 0])
def test_no_start_is_closer_to_a_saddle_than_the_escape_bound(m, n, k, imbalance):
    rng = np.random.default_rng(4)
    Y = rng.standard_normal((m, n))
    bound = unequal.escape_bound(Y, imbalance)
    for _ in range(30):
        U, V = riccati.homogeneous_start((m, n), k, imbalance, rng)
        singular = np.linalg.svd(positive_part(Y, imbalance, U, V), compute_uv=False)
        assert singular[k - 1] ** 2 >= bound * (1 - 1e-9)


def test_escape_bound_is_attained_by_one_weight_in_each_layer():
    y, imbalance = 1.3, 0.9
    # The component β in E_- that makes the J-form largest: β = -α tan 2θ.
    theta = np.arctan2(2 * y, imbalance) / 2
    p, q = np.array([np.cos(theta), np.sin(theta)]), np.array([-np.sin(theta), np.cos(theta)])
    w = p - np.tan(2 * theta) * q
    w *= np.sqrt(imbalance / (w[0] ** 2 - w[1] ** 2))
    along = positive_part(np.array([[y]]), imbalance, w[:1, None], w[1:, None])
    assert np.isclose(along[0, 0] ** 2, unequal.escape_bound([[y]], imbalance))
    assert unequal.escape_bound([[y]], 0.0) == 0


@pytest.mark.parametrize(("m", "n", "imbalance"), [(2, 5, 0.3), (3, 1, 0.4), (2, 2, 1.0)])
def test_right_imbalance_always_reaches_the_target(m, n, imbalance):
    """λ > 0 and k = m, whatever n; and its transpose, also from a start against the target."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        Y = rng.standard_normal((m, n))
        U, V = riccati.homogeneous_start((m, n), m, imbalance, rng)
        assert np.allclose(unequal.limit(Y, U, V), Y, atol=1e-8)
        assert np.allclose(unequal.limit(Y.T, V, U), Y.T, atol=1e-8)


def test_wrong_imbalance_can_stay_for_ever():
    Y, U, V = np.array([[1.0], [0.0], [0.0]]), np.array([[0.0], [1.0], [0.0]]), np.zeros((1, 1))
    assert all(np.allclose(part, 0) for part in fields(U, V, Y))
    assert np.allclose(unequal.limit(Y, U, V), 0)


# Balanced square starts


def test_half_of_the_balanced_square_starts_lose_the_least_mode():
    rng = np.random.default_rng(6)
    Y = rotated(rng, [2.0, 1.5, 0.8], 3, 3)
    against, total = 0, 200
    for _ in range(total):
        width = rng.integers(3, 6)
        inner = np.linalg.qr(rng.standard_normal((width, 3)))[0]
        U = 0.3 * rng.standard_normal((3, 3)) @ inner.T
        _, middle, right = np.linalg.svd(U, full_matrices=False)
        V = ortho(rng, 3) * middle @ right
        wrong = np.linalg.det(U @ V.T) * np.linalg.det(Y) < 0
        against += wrong
        loss = 0.5 * np.linalg.norm(Y - unequal.limit(Y, U, V)) ** 2
        assert np.isclose(loss, 0.8**2 / 2 if wrong else 0.0, atol=1e-10)
    assert abs(against / total - 0.5) < 4 * 0.5 / np.sqrt(total)


def test_fewer_neurons_have_no_such_obstruction():
    rng = np.random.default_rng(7)
    Y = rotated(rng, [2.0, 1.5, 0.8], 3, 3)
    for _ in range(30):
        U, V = riccati.homogeneous_start((3, 3), 2, 0.0, rng)
        assert np.isclose(np.linalg.norm(Y - unequal.limit(Y, U, V)), 0.8)


def test_determinant_keeps_its_sign():
    rng = np.random.default_rng(8)
    Y = rng.standard_normal((3, 3))
    for _ in range(10):
        U, V = riccati.homogeneous_start((3, 3), 3, 0.0, rng)
        X = riccati.solution(np.linspace(0, 6, 60), Y, U, V)
        signs = np.sign(np.linalg.det(X))
        assert np.all(signs == signs[0])


def test_small_imbalance_frees_the_mode_after_a_logarithm():
    sigma, sizes, freed = 0.5, np.array([1e-3, 1e-5, 1e-7]), []
    Y, t = np.diag([2.0, sigma]), np.linspace(0, 45, 1501)
    for imbalance in sizes:
        U = np.diag([0.3, 0.3])
        V = np.diag([np.sqrt(0.09 - imbalance), -np.sqrt(0.09 - imbalance)])
        X = riccati.solution(t, Y, U, V)
        freed.append(t[np.argmax(X[:, 1, 1] > sigma / 2)])
    gain = -np.polyfit(np.log(sizes), freed, 1)[0]
    assert np.isclose(gain * sigma, 1, atol=0.01)


def test_descent_breaks_the_balance_unless_the_start_is_a_mirror():
    rng = np.random.default_rng(4)
    Y = np.diag([3.0, 2.0, 1.0])
    loss = losses.squared_distance(Y)
    while True:
        start = networks.orthogonal(3, 2, 0.5, rng)
        if np.linalg.det(networks.product(start)) < 0:
            break
    path = networks.layer_descent(loss, start, 0.05, 4000, every=50)
    values = np.array([loss.value(networks.product(W)) for W in path])
    assert abs(values[2] - 0.5) < 0.02 and values[-1] < 1e-6
    mirror = [np.diag([0.5, 0.5, 0.5]), np.diag([0.5, 0.5, -0.5])]
    stuck = networks.layer_descent(loss, mirror, 0.05, 4000).final
    assert np.isclose(loss.value(networks.product(stuck)), 0.5, atol=1e-12)


@pytest.mark.parametrize(("m", "n", "k", "rank"), [(3, 3, 3, 1), (4, 3, 2, 1), (3, 5, 6, 2)])
def test_zero_modes_die_like_one_over_t(m, n, k, rank):
    rng = np.random.default_rng(9)
    Y = rotated(rng, [2.0, 1.0][:rank], m, n)
    U, V = riccati.homogeneous_start((m, n), k, 0.0, rng)
    t = np.array([1000.0, 2000.0, 4000.0])
    scaled = t**2 * 0.5 * np.sum((riccati.solution(t, Y, U, V) - Y) ** 2, axis=(1, 2))
    expected = (min(k, m, n) - rank) / 8
    extrapolated = 2 * scaled[1:] - scaled[:-1]  # the rest is of order 1/t
    assert np.allclose(extrapolated, expected, rtol=0.02)
    assert np.all(np.diff(np.abs(scaled - expected)) < 0)


def test_zero_modes_with_imbalance_die_exponentially():
    rng = np.random.default_rng(10)
    Y = rotated(rng, [2.0, 1.0], 3, 3)
    U, V = riccati.homogeneous_start((3, 3), 3, -0.6, rng)
    t = np.array([20.0, 25.0])
    error = np.linalg.norm(riccati.solution(t, Y, U, V) - Y, axis=(1, 2))
    assert np.isclose(np.log(error[0] / error[1]) / 5, 0.6, rtol=1e-3)


def test_one_singular_imbalance_keeps_the_slow_decay():
    """Unequal imbalances need not help: one of the two modes here is balanced."""
    U, V, t = np.diag([1.3, 0.7]), np.diag([0.5, 0.7]), 2000.0
    W = flow(np.zeros((2, 2)), U, V, t, rtol=1e-10, atol=1e-14).final
    assert np.isclose(t**2 * 0.5 * np.sum((W[0] @ W[1].T) ** 2), 0.125, rtol=0.01)


# The kernel


def kernel_of(U, V):
    return np.kron(V @ V.T, np.eye(len(U))) + np.kron(np.eye(len(V)), U @ U.T)


@pytest.mark.parametrize(
    ("m", "n", "k", "imbalance", "holds"),
    [
        (3, 2, 4, 0.0, True), (3, 3, 3, 0.8, True), (3, 3, 3, -0.8, True), (3, 5, 3, 0.8, True),
        (5, 3, 3, -0.8, True), (5, 3, 3, 0.8, False), (3, 3, 2, 0.8, False), (3, 5, 3, -0.8, False),
    ],
)  # fmt: skip
def test_kernel_is_a_function_of_the_product(m, n, k, imbalance, holds):
    rng = np.random.default_rng(11)
    U, V = riccati.homogeneous_start((m, n), k, imbalance, rng)
    same = np.allclose(kernel_of(U, V), unequal.tangent_kernel(U @ V.T, imbalance), atol=1e-10)
    assert same == holds


def test_kernel_moves_the_product():
    rng = np.random.default_rng(12)
    Y = rng.standard_normal((2, 3))
    U, V = riccati.homogeneous_start((2, 3), 2, 0.7, rng)
    down, across = fields(U, V, Y)
    velocity = down @ V.T + U @ across.T
    K = unequal.tangent_kernel(U @ V.T, 0.7)
    assert np.allclose(K @ (Y - U @ V.T).ravel(order="F"), velocity.ravel(order="F"))


@pytest.mark.parametrize("sign", [1, -1])
def test_right_imbalance_is_lazy_of_second_order(sign):
    rng = np.random.default_rng(13)
    X, Y, sizes = rng.standard_normal((3, 3)), rng.standard_normal((3, 3)), [40.0, 80, 160, 320]
    changes = []
    for size in sizes:
        before, after = (unequal.tangent_kernel(Z, sign * size) for Z in (X, Y))
        changes.append(np.linalg.norm(after - before) / np.linalg.norm(before))
    assert np.isclose(slope(sizes, changes), -2, atol=0.03)


# The wrong imbalance: lazy, then rich


def late_problem(m=5, n=2, k=2, seed=14):
    rng = np.random.default_rng(seed)
    Y = rotated(rng, [1.5, 1.0, 0.6][: min(n, m)], m, n)
    return Y, np.linalg.qr(rng.standard_normal((m, k)))[0]


@pytest.mark.parametrize(("n", "k"), [(2, 2), (3, 2), (2, 3)])
def test_wrong_imbalance_is_first_lazy_and_then_follows_oja(n, k):
    Y, O = late_problem(n=n, k=k)
    sizes, early, late = np.array([20.0, 40, 80, 160]), [], []
    for size in sizes:
        U0, V0 = np.sqrt(size) * O, np.zeros((n, k))
        s, tau = 0.7, 0.9
        X = riccati.solution(s / size, Y, U0, V0)
        early.append(np.linalg.norm(X - (1 - np.exp(-s)) * O @ O.T @ Y))
        projector = unequal.slow_subspace(Y, U0, tau)
        late.append(np.linalg.norm(riccati.solution(tau * size, Y, U0, V0) - projector @ Y))
    assert np.allclose([slope(sizes, early), slope(sizes, late)], -2, atol=0.05)


def test_oja_flow_solves_its_equation():
    Y, O = late_problem()
    h, P = 1e-5, unequal.slow_subspace(Y, O, 0.6)
    rate = (unequal.slow_subspace(Y, O, 0.6 + h) - unequal.slow_subspace(Y, O, 0.6 - h)) / (2 * h)
    M, I = Y @ Y.T, np.eye(5)
    assert np.allclose(rate, (I - P) @ M @ P + P @ M @ (I - P), atol=1e-8)
    assert np.allclose(unequal.slow_subspace(Y, O, 0.0), O @ O.T)
    left = np.linalg.svd(Y)[0][:, :2]
    assert np.allclose(unequal.slow_subspace(Y, O, 500.0), left @ left.T)


def test_kernel_turns_by_the_angles_however_large_the_imbalance():
    Y, O = late_problem()
    size = 64.0
    U0, V0 = np.sqrt(size) * O, np.zeros((2, 2))
    end = flow(Y, U0, V0, 60 * size, method="LSODA", rtol=1e-9, atol=1e-11).final
    change = np.linalg.norm(kernel_of(*end) - kernel_of(U0, V0)) / np.linalg.norm(kernel_of(U0, V0))
    predicted = np.sqrt(2 * np.sum(np.sin(subspace_angles(O, Y)) ** 2) / 2)
    assert np.isclose(change, predicted, rtol=3e-3) and predicted > 0.5


def test_slow_subspace_refuses_dependent_columns():
    with pytest.raises(ValueError, match="independent"):
        unequal.slow_subspace(np.eye(2), np.ones((2, 2)), 1.0)


# Learning rates, singular values


def test_learning_rates_are_an_imbalance():
    rng = np.random.default_rng(15)
    Y, U0, V0 = (
        rng.standard_normal((3, 2)),
        rng.standard_normal((3, 2)),
        rng.standard_normal((2, 2)),
    )
    rates, t = np.array([0.4, 2.5]), 1.7

    def gradient(w):
        down, across = fields(*w, Y)
        return [-rates[0] * down, -rates[1] * across]

    tight = {"rtol": 1e-12, "atol": 1e-13}
    U, V = gradient_flow(gradient, [U0, V0], t, **tight).final
    plain = unequal.equal_rates(Y, U0, V0, rates)
    W = flow(*plain, rates.prod() * t, **tight).final
    assert np.allclose(np.sqrt(rates.prod()) * W[0] @ W[1].T, U @ V.T, atol=1e-9)
    conserved = [A.T @ A / rates[0] - B.T @ B / rates[1] for A, B in ((U0, V0), (U, V))]
    assert np.allclose(*conserved, atol=1e-9)
    with pytest.raises(ValueError, match="two positive"):
        unequal.equal_rates(Y, U0, V0, (1.0, 0.0))


@pytest.mark.parametrize("imbalance", [0.9, -0.9, 0.0])
def test_singular_values_follow_a_mirror_flow_for_any_loss(imbalance):
    rng = np.random.default_rng(16)
    T = rng.standard_normal((3, 4))
    U, V = riccati.homogeneous_start((3, 4), 2, imbalance, rng)
    X = U @ V.T
    G = np.tanh(X - T) + 0.3 * (X - T) ** 3  # gradient of a loss that is not quadratic
    h = 1e-6
    moved = [(U - e * G @ V) @ (V - e * G.T @ U).T for e in (h, -h)]
    singular = [np.linalg.svd(M, compute_uv=False)[:2] for M in moved]
    left, sigma, right = np.linalg.svd(X)
    pull = np.array([left[:, r] @ G @ right[r] for r in range(2)])
    rate = (singular[0] - singular[1]) / (2 * h)
    assert np.allclose(rate, -np.hypot(imbalance, 2 * sigma[:2]) * pull, atol=1e-6)


# One neuron


def neuron_flow(X, y, u0, v0, t=400.0):
    def gradient(w):
        pull = X.T @ (X @ (w[:-1] * w[-1]) - y)
        return np.append(w[-1] * pull, w[:-1] @ pull)

    w = gradient_flow(gradient, np.append(u0, v0), t, rtol=1e-11, atol=1e-13, method="LSODA").final
    return w[:-1] * w[-1], w


def neuron_problem(seed):
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(rng.standard_normal((4, 2)))[0].T * np.array([[1.0], [1.8]])
    sizes = rng.choice([0.3, 1.0, 2.5], size=2)
    return X, rng.standard_normal(2), sizes[0] * rng.standard_normal(4), sizes[1] * rng.normal()


@pytest.mark.parametrize("seed", range(10))
def test_neuron_limit_is_that_of_the_flow(seed):
    X, y, u0, v0 = neuron_problem(seed)
    beta, w = neuron_flow(X, y, u0, v0)
    assert np.allclose(unequal.neuron_limit(X, y, u0, v0), beta, atol=1e-7)


def test_neuron_limit_minimizes_its_potential_with_the_final_sign():
    crossed = 0
    for seed in range(12):
        X, y, u0, v0 = neuron_problem(seed)
        beta = unequal.neuron_limit(X, y, u0, v0)
        imbalance, (_, w) = u0 @ u0 - v0**2, neuron_flow(X, y, u0, v0, 30.0)
        sign = np.sign(w[-1])
        crossed += sign != np.sign(v0)

        def objective(b, sign=sign, u0=u0, imbalance=imbalance):
            return unequal.neuron_potential(np.linalg.norm(b), imbalance) - sign * u0 @ b

        kernel = np.linalg.svd(X)[2][2:]
        best = objective(beta)
        others = [objective(beta + 0.05 * (np.cos(a) * kernel[0] + np.sin(a) * kernel[1]))
                  for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]  # fmt: skip
        assert min(others) > best
    assert crossed > 0


def test_neuron_limit_waits_for_the_slowest_direction():
    """All of the target lies along a singular value of 0.02: the sign of v takes a time of 1e4."""
    X, u0, v0 = np.array([[1.0, 0.0, 0.0], [0.0, 0.02, 0.0]]), np.array([0.1, 0.2, 0.5]), -0.05
    y = X @ [0.0, 1.0, 0.0]
    beta, w = neuron_flow(X, y, u0, v0, 1e5)
    assert w[-1] > 0 and np.allclose(unequal.neuron_limit(X, y, u0, v0), beta, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-4, 30.0, 1e4])
def test_neuron_limit_has_the_units_of_the_start(unit):
    """Also where v crosses zero, which is found by a flow of its own."""
    for seed in range(40):
        X, y, u0, v0 = neuron_problem(seed)
        beta = unequal.neuron_limit(X, y, u0, v0)
        scaled = unequal.neuron_limit(X, unit**2 * y, unit * u0, unit * v0)
        assert np.allclose(scaled / unit**2, beta, rtol=1e-6, atol=1e-8 * np.linalg.norm(beta))


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_limit_of_equal_singular_values_has_the_units_of_the_target(unit):
    """Equal up to rounding: they are one group, of which a narrow start sees one direction."""
    rng = np.random.default_rng(4)
    P, Q = (ortho_group.rvs(4, random_state=rng) for _ in range(2))
    Y = P @ np.diag([2.0, 2.0, 2.0, 1.0]) @ Q.T
    U0, V0 = rng.standard_normal((2, 4, 1))
    plain = unequal.limit(Y, U0, V0)
    scaled = unequal.limit(unit**2 * Y, unit * U0, unit * V0)
    assert np.allclose(scaled / unit**2, plain, atol=1e-9)


@pytest.mark.parametrize("imbalance", [2.0, 0.0, -2.0])
def test_neuron_potential_has_the_first_weight_as_slope(imbalance):
    r, h = np.array([0.2, 1.0, 5.0]), 1e-6
    step = unequal.neuron_potential(r + h, imbalance) - unequal.neuron_potential(r - h, imbalance)
    u = np.sqrt((imbalance + np.sqrt(imbalance**2 + 4 * r**2)) / 2)
    assert np.allclose(step / (2 * h), u, rtol=1e-7)


def test_neuron_limits_at_both_ends_of_the_imbalance():
    """Large second layer: the nearest interpolant. Large first layer: a focus at the origin."""
    X, y = np.array([[1.0, 0.4]]), np.array([1.0])
    direction, errors, sizes = np.array([0.6, 0.8]), [], np.array([10.0, 20.0, 40.0])
    for size in sizes:
        v0 = size
        u0 = np.array([0.3, -0.7]) / size  # beta_0 fixed, λ → -∞
        start = u0 * v0
        nearest = start + np.linalg.pinv(X) @ (y - X @ start)
        errors.append(np.linalg.norm(unequal.neuron_limit(X, y, u0, v0) - nearest))
    assert slope(sizes, errors) < -3.5  # in λ = -size²: order λ^-2
    points = []
    for size in (1e2, 1e3):
        beta = unequal.neuron_limit(X, y, size * direction, 0.0)
        kernel = np.array([-0.4, 1.0]) / np.hypot(0.4, 1.0)
        points.append(abs((beta / np.linalg.norm(beta) - direction) @ kernel))
    assert points[1] < 1e-4 * 1.0 and points[1] < points[0] / 50


def test_neuron_without_an_interpolant_or_on_the_stable_manifold():
    with pytest.raises(ValueError, match="range of X"):
        unequal.neuron_limit([[1.0], [1.0]], [1.0, 2.0], [1.0], 1.0)
    with pytest.raises(ValueError, match="saddle"):
        unequal.neuron_limit([[1.0]], [1.0], [-0.5], 0.5)
    assert np.allclose(unequal.neuron_limit([[1.0, 0.0]], [0.0], [0.5, 1.0], 2.0)[0], 0)
