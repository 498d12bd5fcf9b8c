"""What the flow conserves, what descent breaks, and which dynamics conserve other things."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from overparam import conservation, gradient_flow, losses, networks

SEEDS = st.integers(0, 10**6)
SIZES = st.lists(st.integers(1, 5), min_size=3, max_size=5)


def classification(rng, n):
    X = rng.standard_normal((8, n))
    return losses.exponential(X, np.sign(X @ rng.standard_normal(n)))


@given(SIZES, SEEDS)
@settings(max_examples=25)
def test_the_flow_conserves_every_imbalance(sizes, seed):
    rng = np.random.default_rng(seed)
    loss = losses.squared_distance(rng.standard_normal((sizes[0], sizes[-1])))
    path = networks.layer_flow(
        loss, networks.gaussian(sizes, 0.7, rng), 5.0, rtol=1e-10, atol=1e-12
    )
    assert conservation.drift(path).shape == (len(path), len(sizes) - 2)
    assert conservation.drift(path).max() <= 1e-9


@given(SEEDS)
@settings(max_examples=20)
def test_the_law_holds_for_a_loss_that_is_not_quadratic(seed):
    rng = np.random.default_rng(seed)
    path = networks.layer_flow(
        classification(rng, 3),
        networks.gaussian([3, 5, 2, 1], 0.7, rng),
        5.0,
        rtol=1e-10,
        atol=1e-12,
    )
    assert conservation.drift(path).max() <= 1e-9


@given(SIZES, SEEDS, st.floats(1e-4, 0.5))
def test_one_step_of_descent_changes_the_imbalance_by_the_formula(sizes, seed, step):
    rng = np.random.default_rng(seed)
    weights = networks.gaussian(sizes, 0.7, rng)
    loss = losses.squared_distance(rng.standard_normal((sizes[0], sizes[-1])))
    G = networks.gradients(weights, loss.gradient)
    after = networks.imbalance([W - step * g for W, g in zip(weights, G, strict=True)])
    for l, (new, old) in enumerate(zip(after, networks.imbalance(weights), strict=True)):
        change = step**2 * (G[l].T @ G[l] - G[l + 1] @ G[l + 1].T)
        assert np.allclose(new - old, change, atol=1e-9 * (1 + np.abs(new).max()))


def test_drift_of_descent_over_a_fixed_time_is_of_order_one():
    rng = np.random.default_rng(0)
    loss = losses.squared_distance(rng.standard_normal((4, 3)))
    weights = networks.gaussian([4, 6, 5, 3], 0.5, rng)
    steps = 0.02 / 2.0 ** np.arange(5)
    drifts = [
        conservation.drift(networks.layer_descent(loss, weights, step, round(4 / step)))[-1]
        for step in steps
    ]
    for l in range(2):
        slope = np.polyfit(np.log(steps), np.log(np.array(drifts)[:, l]), 1)[0]
        assert slope == pytest.approx(1, abs=0.05)
    path = networks.layer_descent(loss, weights, 0.02, 9)
    first, last = (networks.imbalance(path[j]) for j in (0, -1))
    moved = [np.linalg.norm(b - a) for a, b in zip(first, last, strict=True)]  # Frobenius
    assert conservation.drift(path)[-1] == pytest.approx(moved)


@given(st.integers(1, 4), SEEDS)
def test_the_symmetric_generator_is_the_gradient_of_the_conserved_quantity(h, seed):
    rng = np.random.default_rng(seed)
    A, W1, W2 = (
        rng.standard_normal((h, h)),
        rng.standard_normal((3, h)),
        rng.standard_normal((h, 2)),
    )
    E, F = rng.standard_normal((3, h)), rng.standard_normal((h, 2))
    symmetric, rotation = (A + A.T) / 2, (A - A.T) / 2

    def charge(s, B):
        D = networks.imbalance([W1 + s * E, W2 + s * F])[0]
        return np.sum(B * D) / 2

    derivative = (charge(1e-5, symmetric) - charge(-1e-5, symmetric)) / 2e-5
    generator = np.sum(W1 @ symmetric * E) - np.sum(symmetric @ W2 * F)
    assert derivative == pytest.approx(generator, rel=1e-5, abs=1e-7)
    assert charge(1.0, rotation) == pytest.approx(0, abs=1e-10)


def test_heavy_balls_keep_neither_the_imbalance_nor_the_would_be_charge():
    for friction in (0.0, 1.0):

        def motion(_, s, friction=friction):
            u, v, du, dv = s
            r = 1 - u * v
            return [du, dv, r * v - friction * du, r * u - friction * dv]

        u, v, du, dv = solve_ivp(motion, (0, 12), [1.5, -0.4, 0, 0], rtol=1e-10, atol=1e-12).y
        assert np.ptp(u**2 - v**2) > 0.1 and np.ptp(u * du - v * dv) > 0.1


def test_small_starts_end_nearly_balanced_to_second_order():
    target = np.diag([3.0, 2.0, 1.0])
    direction = networks.gaussian([3, 3, 3, 3], 1.0, np.random.default_rng(4))
    loss, sizes, relative = losses.squared_distance(target), np.array([0.1, 0.03, 0.01]), []
    for eps in sizes:
        path = networks.layer_flow(
            loss,
            [eps * W for W in direction],
            1e5,
            stop=lambda w: loss.value(networks.product(w)) - 1e-4,
        )
        assert path.reason == "loss reached"
        relative.append(
            np.linalg.norm(networks.imbalance(path.final)[0]) / np.linalg.norm(path.final[0]) ** 2
        )
    assert np.polyfit(np.log(sizes), np.log(relative), 1)[0] == pytest.approx(2, abs=0.1)


def test_identity_layers_are_balanced_if_square_only():
    assert all(not np.any(D) for D in networks.imbalance(networks.identity(4, 3)))
    assert np.linalg.norm(networks.imbalance([np.eye(4, 6), np.eye(6, 5)])[0]) == 1


def test_weight_decay_makes_the_imbalance_decay():
    rng = np.random.default_rng(1)
    loss, start = (
        losses.squared_distance(rng.standard_normal((3, 2))),
        networks.gaussian([3, 4, 2], 1, rng),
    )
    path = gradient_flow(
        lambda Ws: [
            g + 0.3 * W for g, W in zip(networks.gradients(Ws, loss.gradient), Ws, strict=True)
        ],
        start,
        2.0,
        rtol=1e-11,
        atol=1e-13,
    )
    before, after = networks.imbalance(start)[0], networks.imbalance(path.final)[0]
    assert np.allclose(after, np.exp(-1.2) * before, atol=1e-8)


def test_bad_input_is_named():
    one_layer = gradient_flow(lambda w: w, [1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="trajectory"):
        conservation.drift(one_layer)


# How many laws


def full_rank_at(m, n, k, seed):
    return np.random.default_rng(seed).standard_normal((m + n, k))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 11), SEEDS)
def test_the_count_is_the_rank_of_the_imbalance_and_of_what_gradients_reach(m, n, k, seed):
    """Lie algebra by numerical brackets: what it reaches and the laws make up all weights."""
    R, J = full_rank_at(m, n, k, seed), np.diag([1.0] * m + [-1.0] * n)
    units = np.eye(R.size).reshape(-1, *R.shape)
    derivative = [np.ravel(E.T @ J @ R + R.T @ J @ E) for E in units]
    assert np.linalg.matrix_rank(derivative) == conservation.count(m, n, k)
    fields = []
    for G in np.eye(m * n).reshape(-1, m, n):
        fields.append(np.block([[np.zeros((m, m)), G], [G.T, np.zeros((n, n))]]))
    brackets = [A @ B - B @ A for A in fields for B in fields]
    reached = np.linalg.matrix_rank([np.ravel(M @ R) for M in [*fields, *brackets]])
    assert reached == R.size - conservation.count(m, n, k)


def momentum_algebra(m, n):
    """A basis of the Lie algebra that the fields of the heavy ball generate, by brackets."""
    size = m + n
    zero = np.zeros((size, size))
    algebra = [np.block([[zero, np.eye(size)], [zero, zero]])]
    for G in np.eye(m * n).reshape(-1, m, n):
        S = np.block([[np.zeros((m, m)), G], [G.T, np.zeros((n, n))]])
        algebra.append(np.block([[zero, zero], [S, zero]]))
    rank = 0
    while rank < len(algebra):
        rank = len(algebra)
        brackets = [A @ B - B @ A for A in algebra for B in algebra]
        rows = np.reshape([*algebra, *brackets], (-1, 4 * size**2))
        _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
        algebra = list(basis[sizes > 1e-9 * sizes[0]].reshape(-1, 2 * size, 2 * size))
    return algebra


@pytest.mark.parametrize("m, n", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_the_count_with_momentum_is_what_the_algebra_leaves(m, n):
    size, algebra = m + n, momentum_algebra(m, n)
    assert len(algebra) == (6 if m * n == 1 else size * (2 * size + 1))
    for k in range(1, 2 * size + 4):
        Z = np.random.default_rng(k).standard_normal((2 * size, k))
        reached = np.linalg.matrix_rank([np.ravel(M @ Z) for M in algebra])
        assert Z.size - reached == conservation.count_momentum(m, n, k)


@pytest.mark.parametrize("friction", [0.0, 0.7])
@pytest.mark.parametrize("m, n, k", [(2, 2, 3), (1, 3, 2), (1, 1, 3)])
def test_the_rotation_charge_is_kept_by_the_heavy_ball(m, n, k, friction):
    rng = np.random.default_rng(2)
    Y, size = rng.standard_normal((m, n)), (m + n) * k

    def motion(_, s):
        R, P = s[:size].reshape(-1, k), s[size:].reshape(-1, k)
        r = Y - R[:m] @ R[m:].T
        return np.concatenate(
            [s[size:], np.ravel([*(r @ R[m:]), *(r.T @ R[:m])]) - friction * P.ravel()]
        )

    begin = rng.standard_normal(2 * size)
    path = solve_ivp(motion, (0, 3), begin, rtol=1e-11, atol=1e-13)
    charges = []
    for t, s in zip(path.t, path.y.T, strict=True):
        charge = s[:size].reshape(-1, k).T @ s[size:].reshape(-1, k)
        charges.append(np.exp(friction * t) * (charge - charge.T))
    assert np.ptp(charges, axis=0).max() < 1e-7
    assert np.linalg.norm(charges[0]) > 0.1


def imbalance_rank(widths):
    """Rank of the derivative of all D_l, which are quadratic: differences are exact."""
    W, rows = networks.gaussian(list(widths), 1.0, np.random.default_rng(1)), []
    for layer in W:
        for index in np.ndindex(layer.shape):
            layer[index] += 1
            ahead = np.concatenate([np.ravel(D) for D in networks.imbalance(W)])
            layer[index] -= 2
            rows.append(ahead - np.concatenate([np.ravel(D) for D in networks.imbalance(W)]))
            layer[index] += 1
    return np.linalg.matrix_rank(rows)


@pytest.mark.parametrize(
    "widths", [(2, 2, 1), (3, 2, 2), (1, 3, 1), (2, 5, 1), (2, 2, 2, 2), (2, 1, 2, 2), (2, 5, 5, 1)]
)
def test_deep_networks_have_no_laws_but_the_imbalances(widths):
    assert conservation.deep_count(widths) == imbalance_rank(widths)
    if len(widths) == 3:
        assert conservation.deep_count(widths) == conservation.count(
            widths[0], widths[2], widths[1]
        )


@pytest.mark.parametrize(
    "widths, laws, imbalances",
    [
        ((1, 2, 2, 1), 7, 6),
        ((1, 3, 3, 1), 14, 12),
        ((3, 1, 2, 2, 1), 8, 7),
        ((1, 1, 1, 1), 2, 2),
        ((1, 2, 1, 1), 4, 4),
        ((1, 3, 1, 1), 6, 6),
        ((1, 2, 1, 2, 1), 7, 7),
    ],
)
def test_scalar_parts_with_two_wide_hidden_layers_have_more_laws(widths, laws, imbalances):
    assert conservation.deep_count(widths) == laws
    assert imbalance_rank(widths) == imbalances


def test_a_scalar_network_moves_along_one_curve_whatever_the_loss():
    """Hence 1-2-2-1 has one law more than its imbalances: back with another loss, same way."""
    start = networks.gaussian([1, 2, 2, 1], 1.0, np.random.default_rng(0))
    away = networks.layer_flow(losses.squared_distance([[3.0]]), start, 0.2, rtol=1e-11)
    back = networks.layer_flow(
        losses.squared_distance([[-30.0]]), away.final, 1.0, rtol=1e-11, atol=1e-13,
        stop=lambda W: networks.product(W).item() - networks.product(start).item(),
    )  # fmt: skip
    for first, last, between in zip(start, back.final, away.final, strict=True):
        assert np.allclose(first, last, atol=1e-7) and not np.allclose(first, between, atol=1e-2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: conservation.count(0, 1, 1), "m must"),
        (lambda: conservation.count(1, 1.5, 1), "n must"),
        (lambda: conservation.count_momentum(1, 1, 0), "k must"),
        (lambda: conservation.deep_count([2, 2]), "widths"),
        (lambda: conservation.deep_count([2, 0, 2]), "widths"),
    ],
)
def test_bad_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
