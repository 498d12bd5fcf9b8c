"""ReLU neurons: one law each, frozen signs, the early phase, switches, least norm, a trap."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from overparam import neurons


def start(rng, k, d, scale, balanced=True):
    """Random directions, norms `scale`, signs of v alternating."""
    U = rng.standard_normal((k, d))
    U *= scale / np.linalg.norm(U, axis=1)[:, None]
    v = (scale if balanced else 1.5 * scale) * np.where(np.arange(k) % 2, 1.0, -1.0)
    return U, v


def separable(rng, N=8, d=3):
    """Data with <y_i x_i, y_j x_j> > 0 for all pairs."""
    while True:
        centre = rng.standard_normal(d)
        Z = centre / np.linalg.norm(centre) + 0.35 * rng.standard_normal((N, d))
        if (Z @ Z.T).min() > 0.05:
            y = np.where(np.arange(N) % 2, 1.0, -1.0)
            return y[:, None] * Z, y


@pytest.mark.parametrize("kind", ["squared", "exponential", "logistic"])
def test_gradients_are_differences_of_the_loss(kind):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5, 3)), rng.standard_normal(5)
    U, v = rng.standard_normal((4, 3)), rng.standard_normal(4)
    gU, gv = neurons.gradients(X, y, U, v, kind)
    for _ in range(5):
        dU, dv = rng.standard_normal((4, 3)), rng.standard_normal(4)
        h = 1e-6
        plus = neurons.loss(X, y, U + h * dU, v + h * dv, kind)
        minus = neurons.loss(X, y, U - h * dU, v - h * dv, kind)
        assert np.isclose((plus - minus) / 2 / h, np.sum(gU * dU) + gv @ dv, rtol=1e-6)
    one = neurons.descend(X, y, U, v, 0.1, 1, kind=kind).final
    assert np.allclose(one[0], U - 0.1 * gU) and np.allclose(one[1], v - 0.1 * gv)


# ---- One law for each neuron ----------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3])
def test_each_neuron_keeps_its_imbalance_and_no_other_multiple(p):
    """||u||² - p v² for the activation max(z, 0)^p, with descent of order η."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((6, 3)), rng.standard_normal(6)
    drifts = {}
    for step in (4e-4, 2e-4):
        U, v = 0.5 * np.random.default_rng(2).standard_normal((5, 3)), np.linspace(-1, 1, 5)
        first = U.copy(), v.copy()
        for _ in range(round(1 / step)):
            z = np.maximum(X @ U.T, 0)
            r = y - z**p @ v
            inner = (r[:, None] * p * z ** (p - 1)).T @ X if p > 1 else (r[:, None] * (z > 0)).T @ X
            U, v = U + step * v[:, None] * inner, v + step * r @ z**p
        law = lambda U, v, q: np.sum(U**2, axis=1) - q * v**2  # noqa: E731
        drifts[step] = [np.abs(law(U, v, q) - law(*first, q)).max() for q in (p, p + 1)]
    assert drifts[2e-4][0] < 0.6 * drifts[4e-4][0]  # of first order in the step
    assert drifts[2e-4][0] < 0.1 * drifts[2e-4][1]


def test_biases_join_the_first_layer():
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.standard_normal((6, 2)), np.ones(6)])  # the bias is a weight
    y = rng.standard_normal(6)
    U, v = start(rng, 6, 3, 0.7, balanced=False)
    path = neurons.descend(X, y, U, v, 1e-4, 8000, every=8000)
    after = np.sum(path.final[0] ** 2, axis=1) - path.final[1] ** 2
    assert np.allclose(after, np.sum(U**2, axis=1) - v**2, atol=1e-3)
    short = np.sum(path.final[0][:, :2] ** 2, axis=1) - path.final[1] ** 2
    assert np.abs(short - (np.sum(U[:, :2] ** 2, axis=1) - v**2)).max() > 1e-2


def test_off_diagonal_entries_of_the_linear_law_change():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((8, 2)), 2 * rng.standard_normal(8)
    U, v = start(rng, 6, 2, 1.0)
    end_U, end_v = neurons.descend(X, y, U, v, 1e-3, 5000, every=5000).final
    change = end_U @ end_U.T - np.outer(end_v, end_v) - (U @ U.T - np.outer(v, v))
    assert np.abs(np.diag(change)).max() < 0.02 < 0.3 < np.abs(change).max()


def test_neurons_with_equal_patterns_keep_them():
    X, y = np.eye(2), np.array([1.0, 2.0])
    U, v = np.array([[0.5, 0.4], [0.3, 0.6]]), np.array([0.4, 0.7])
    end_U, end_v = neurons.descend(X, y, U, v, 5e-4, 4000, every=4000).final
    change = end_U @ end_U.T - np.outer(end_v, end_v) - (U @ U.T - np.outer(v, v))
    assert np.all(end_U > 0) and np.abs(change).max() < 3e-3


def test_one_step_moves_the_imbalance_by_squares_of_gradients():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((7, 3)), rng.standard_normal(7)
    U, v = start(rng, 9, 3, 1.0)
    gU, gv = neurons.gradients(X, y, U, v)
    new_U, new_v = U - 0.1 * gU, v - 0.1 * gv
    change = np.sum(new_U**2, axis=1) - new_v**2 - (np.sum(U**2, axis=1) - v**2)
    assert np.allclose(change, 0.01 * (np.sum(gU**2, axis=1) - gv**2), atol=1e-13)


def test_tube_of_the_neurons():
    rng = np.random.default_rng(6)
    X, y = separable(rng)
    U, v = start(rng, 20, 3, 0.5)
    step, first = 0.01, neurons.loss(X, y, U, v, "logistic")
    before, last = np.sum(U**2, axis=1) - v**2, first
    for _ in range(500):
        gU, gv = neurons.gradients(X, y, U, v, "logistic")
        U, v = U - step * gU, v - step * gv
        now = neurons.loss(X, y, U, v, "logistic")
        assert now <= last - step / 2 * (np.sum(gU**2) + gv @ gv)
        last = now
        drift = np.abs(np.sum(U**2, axis=1) - v**2 - before).sum()
        assert drift <= 2 * step * (first - last)


def test_sign_is_frozen_when_the_second_layer_dominates_and_not_otherwise():
    X, y = np.array([[1.0, 0.0]]), np.array([-1.0])
    crossed = neurons.descend(X, y, [[1.0, 0.0]], [0.1], 0.01, 4000, every=4000).final
    assert neurons.loss(X, y, *crossed) < 1e-9 and crossed[1][0] < 0
    stuck = neurons.descend(X, y, [[1.0, 0.0]], [1.0], 0.01, 4000, every=4000).final
    assert abs(neurons.loss(X, y, *stuck) - 0.5) < 1e-3 and stuck[1][0] > 0
    rng = np.random.default_rng(7)
    for _ in range(5):
        data, targets = rng.standard_normal((8, 3)), 3 * rng.standard_normal(8)
        U, v = start(rng, 30, 3, 0.4)
        path = neurons.descend(data, targets, U, v, 2e-3, 2000, every=10)
        assert np.all(np.sign(path.states[1]) == np.sign(v))


# ---- The early phase ------------------------------------------------------------------------


def test_early_phase_solves_its_equation():
    rng = np.random.default_rng(8)
    u, x, v = rng.standard_normal(4), rng.standard_normal(4), -0.7
    t, h = np.array([0.0, 0.3, 1.1]), 1e-6
    at, v_at = neurons.early_phase(u, v, x, t)
    ahead, v_ahead = neurons.early_phase(u, v, x, t + h)
    assert np.allclose(at[0], u) and np.isclose(v_at[0], v)
    assert np.allclose((ahead - at) / h, v_at[:, None] * x, atol=1e-5)
    assert np.allclose((v_ahead - v_at) / h, at @ x, atol=1e-5)
    still = neurons.early_phase(u, v, np.zeros(4), t)
    assert np.allclose(still[0], u) and np.allclose(still[1], v)


def test_balanced_neuron_turns_by_half_angles():
    rng = np.random.default_rng(9)
    u, x = rng.standard_normal(3), rng.standard_normal(3)
    size, length = np.linalg.norm(u), np.linalg.norm(x)
    theta = np.arccos(u @ x / size / length)
    for t in (0.2, 1.0):
        at, v_at = neurons.early_phase(u, size, x, t)
        now = np.linalg.norm(at)
        angle = np.arccos(at @ x / now / length)
        assert np.isclose(np.tan(angle / 2), np.tan(theta / 2) * np.exp(-length * t))
        grown = np.cos(theta / 2) ** 2 * np.exp(length * t) + np.sin(theta / 2) ** 2 * np.exp(
            -length * t
        )
        assert np.isclose(now, size * grown) and np.isclose(v_at, now)


def test_frozen_residual_errs_by_the_square_of_the_scale():
    X, y = np.array([[1.0, 0.2], [0.3, 1.0]]), np.array([1.0, -0.4])
    direction = np.array([0.8, 0.6])

    def end(scale):
        path = neurons.descend(X, y, [scale * direction], [scale], 1e-3, 500, every=500)
        at = path.final[0][0]
        return at / np.linalg.norm(at)

    limit, frozen = end(1e-6), neurons.early_phase(direction, 1.0, X.T @ y, 0.5)[0]
    assert np.allclose(limit, frozen / np.linalg.norm(frozen), atol=1e-3)
    errors = [np.linalg.norm(end(scale) - limit) for scale in (0.1, 0.05, 0.025)]
    slopes = np.diff(np.log(errors)) / np.log(0.5)
    assert np.allclose(slopes, 2, atol=0.15)


# ---- Switches -------------------------------------------------------------------------------


def test_on_separable_data_preactivations_are_monotone_and_switch_once():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, y = separable(rng)
        U, v = start(rng, 30, 3, 1e-2)
        path = neurons.descend(X, y, U, v, 0.01, 2000, kind="logistic")
        assert neurons.activation_switches(path, X).max() == 1
        moves = np.diff(path.states[0] @ X.T, axis=0) * y * np.sign(v)[:, None]
        assert moves.min() >= -1e-15


def test_without_separability_a_datum_of_its_own_class_is_switched_off():
    X, y = np.array([[2.0, 0.0], [-0.6, 0.8]]), np.ones(2)
    path = neurons.descend(
        X, y, [[0.03, 0.06]], [np.hypot(0.03, 0.06)], 0.01, 3000, kind="logistic"
    )
    assert neurons.activation_switches(path, X)[0, 1] == 1
    assert path.final[0][0] @ X[1] < 0 < path.final[1][0]


def test_the_final_pattern_need_not_be_the_own_class():
    X, y = np.array([[0.1, 0.0], [0.2, 10.0]]), np.ones(2)
    U = np.array([[0.5, 0.2], [-1.0, 0.5]])
    v = np.linalg.norm(U, axis=1)
    path = neurons.descend(X, y, U, v, 1e-3, 6000, kind="exponential", retimed=True, every=2000)
    active = path.states[0] @ X.T > 0
    assert active[:, 1, 1].all() and not active[:, 1, 0].any()


def test_retimed_descent_goes_on_where_the_loss_underflows():
    path = neurons.descend(
        [[1.0]], [1.0], [[40.0]], [40.0], 0.1, 1, kind="exponential", retimed=True
    )
    assert neurons.loss([[1.0]], [1.0], [[40.0]], [40.0], "exponential") == 0
    moved = 40 + 0.1 * 40 / (1 + 40**2)
    assert path.final[0][0, 0] == pytest.approx(moved, rel=1e-14)
    assert path.final[1][0] == pytest.approx(moved, rel=1e-14)


def test_switches_are_counted():
    path = np.array([[[1.0, 0.0]], [[-1.0, 1.0]], [[1.0, 1.0]], [[1.0, -1.0]]])
    assert neurons.activation_switches(path, np.eye(2)).tolist() == [[2, 2]]


# ---- Least norm, two margins, a trap --------------------------------------------------------


def test_least_norm_is_the_value_of_a_linear_program():
    rng = np.random.default_rng(10)
    y = np.array([1.0, 1.0, 0.4, -1.2])
    W = rng.standard_normal((6000, 4))
    W /= np.linalg.norm(W, axis=1)[:, None]
    features = np.maximum(W, 0).T
    found = linprog(np.ones(12_000), A_eq=np.hstack([features, -features]), b_eq=y).fun
    least = neurons.least_norm(y)
    assert least <= found < 1.1 * least
    best = np.array([[1.0, 1.0, 0.4, 0.0], [0.0, 0.0, 0.0, 1.2]])
    U = best / np.sqrt(np.linalg.norm(best, axis=1))[:, None]
    v = np.sqrt(np.linalg.norm(best, axis=1)) * [1, -1]
    assert np.allclose(neurons.predict(np.eye(4), U, v), y)
    assert np.isclose(np.sum(np.abs(v) * np.linalg.norm(U, axis=1)), least)


def test_flow_from_small_starts_tends_to_the_least_norm():
    X, y, excess = np.eye(4), np.array([1.0, 1.0, 1.0, -1.2]), []
    for scale in (1e-2, 1e-3, 1e-4):
        U, v = start(np.random.default_rng(1), 40, 4, scale)
        U[:2] = scale / 2 * np.array([[-1, -1, -1, 1], [1, 1, 1, -1]])
        steps = 3000 + round(-1500 * np.log10(scale))
        end = neurons.descend(X, y, U, v, 0.02, steps, every=steps).final
        assert neurons.loss(X, y, *end) < 1e-12
        norm = np.sum(np.abs(end[1]) * np.linalg.norm(end[0], axis=1))
        excess.append(norm - neurons.least_norm(y))
    assert min(excess) > 0
    slopes = -np.diff(np.log10(excess))
    assert np.all(np.abs(slopes - 2 * (1 - np.sqrt(2 / 3))) < 0.05)


def test_max_margin_is_the_quadratic_program():
    rng = np.random.default_rng(11)
    for _ in range(3):
        X = np.array([2.0, 1.0, 0.0]) + rng.standard_normal((6, 3)) * 0.5
        w = neurons.max_margin(X)
        assert (X @ w).min() > 1 - 1e-9
        constraint = {"type": "ineq", "fun": lambda z, X=X: X @ z - 1}
        other = minimize(lambda z: z @ z, [3.0, 3.0, 3.0], constraints=constraint).x
        assert np.allclose(w, other, rtol=1e-3, atol=1e-3)
        assert np.allclose(neurons.max_margin(1e-6 * X), 1e6 * w, rtol=1e-9)


def test_two_max_margin_directions():
    rng = np.random.default_rng(0)
    angle, radius = np.deg2rad(20 + rng.uniform(-40, 40, 8)), rng.uniform(0.7, 1.3, 8)
    y = np.where(np.arange(8) < 4, 1.0, -1.0)
    X = y[:, None] * radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    U, v = start(rng, 20, 2, 1e-3)
    first = neurons.descend(X, y, U, v, 0.01, 1500, kind="exponential", every=1500).final
    path = neurons.descend(X, y, *first, 0.05, 8000, kind="exponential", retimed=True, every=2000)
    angles = []
    for U, v in path:
        size = np.linalg.norm(U, axis=1)
        grown = size > 0.02
        goal = np.where(v[:, None] > 0, neurons.max_margin(X[y > 0]), neurons.max_margin(X[y < 0]))
        cosine = np.sum(U * goal, axis=1) / size / np.linalg.norm(goal, axis=1)
        angles.append(np.arccos(np.clip(cosine[grown], -1, 1)).max())
    assert angles[-1] < 0.09 < 0.2 < angles[0] and np.all(np.diff(angles) < 0)


TRAP = np.array([[-0.5, 1.0], [0.0, 1.0], [0.5, 1.0]]), np.array([1.0, 2.0, 1.0])


def test_alignment_traps_small_starts():
    X, y = TRAP
    assert np.allclose(neurons.predict(X, [[2.0, 2.0], [4.0, 0.0]], [1.0, -1.0]), y)
    for seed in range(2):
        U, v = start(np.random.default_rng(seed), 40, 2, 1e-5)
        end = neurons.descend(X, y, U, v, 0.04, 2500, every=2500).final
        assert abs(neurons.loss(X, y, *end) - 1 / 3) < 1e-6
        assert np.allclose(neurons.predict(X, *end), 4 / 3, atol=1e-4)
        U, v = start(np.random.default_rng(seed), 40, 2, 0.1)
        end = neurons.descend(X, y, U, v, 0.04, 2500, every=2500).final
        assert neurons.loss(X, y, *end) < 1e-4


def test_the_trap_is_a_critical_point():
    X, y = TRAP
    U, v = np.array([[0.0, 2 / 3], [0.0, 4 / 3], [1.0, -3.0]]), np.array([1.0, 0.5, 0.3])
    gU, gv = neurons.gradients(X, y, U, v)
    assert np.isclose(neurons.loss(X, y, U, v), 1 / 3)
    assert np.abs(gU).max() < 1e-15 and np.abs(gv).max() < 1e-15


@pytest.mark.parametrize(("u", "v"), [([0.3, 0.5], 0.2), ([2.0, 0.4], 0.1), ([0.1, 0.3], 1.5)])
def test_final_angle_is_that_of_the_flow(u, v):
    end = neurons.descend([[1.0, 0.0]], [1.3], [u], [v], 1e-3, 14_000, every=14_000).final
    assert abs(end[0][0, 0] * end[1][0] - 1.3) < 1e-6
    angle = np.arctan2(end[0][0, 1], end[0][0, 0])
    assert np.isclose(neurons.final_angle(u, v, [2.0, 0.0], 1.3), angle, rtol=3e-3)


def test_final_angle_in_its_limits():
    far = neurons.final_angle([1e6, 0.5], 0.0, [1, 0], 1.0)
    assert np.isclose(far, 0.5e-6, rtol=1e-9, atol=0)
    small = neurons.final_angle([1e-9, 1e-3], 1e-9, [1, 0], 4.0)
    assert np.isclose(small, 1e-3 / 2, rtol=1e-5)
    second = neurons.final_angle([0.0, 1e-9], 1e6, [1, 0], 1.0)
    assert np.isclose(second, 1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neurons.predict([[1, 2]], [[1]], [1]), "must have the shapes"),
        (lambda: neurons.loss([[1]], [1, 2], [[1]], [1]), "one entry for each of the 1 rows"),
        (lambda: neurons.gradients([[1]], [1], [[1]], [1], "hinge"), "kind must be one of"),
        (lambda: neurons.descend([[1]], [1], [[1]], [1], 0, 5), "step must be greater than 0"),
        (lambda: neurons.descend([[1]], [1], [[1]], [1], 1, 5, retimed=True), "retimed needs"),
        (lambda: neurons.early_phase([1, 2], 1, [1], 0), "x must have the shape"),
        (lambda: neurons.final_angle([1, 2], 1, [0, 0], 1), "nonzero vector"),
        (lambda: neurons.final_angle([1, 2], 1, [1, 0], -1), "y must be greater than 0"),
        (lambda: neurons.activation_switches(np.ones((2, 1, 3)), np.eye(2)), "3 columns"),
        (lambda: neurons.max_margin([[1, 0], [-1, 0]]), "no open half-space"),
        (lambda: neurons.max_margin([[0, 0]]), "X is zero"),
        (lambda: neurons.least_norm([]), "y is empty"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
