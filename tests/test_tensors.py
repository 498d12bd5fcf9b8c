"""Tensor factorizations: what their flow conserves, how components grow, and what goes wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from overparam import flow, gradient_flow, losses, networks, tensors

SEEDS = st.integers(0, 10**6)
CP3 = tensors.cp(3)
TUCKER = "az,by,zyv,cx,dw,xwu,vu->abcd"
# Linear network, CP of order 3 and 4, trains, trees, ring, the tree with a vector at its root, a
# diagonal network, an index that two factors share and the tensor keeps, and two that are one.
STRINGS = [
    "ab,bc,cd->ad",
    CP3,
    tensors.cp(4),
    tensors.train(3),
    tensors.train(5),
    tensors.tree(),
    TUCKER,
    "zax,xby,ycz->abc",
    "ar,br,ru,cs,ds,su,u->abcd",
    "a,a,a->a",
    "ab,bc->abc",
    "azy,zyb->ab",
    "azy,bzy,zyc->abc",
]


def random_factors(string, rng, scale=0.6, largest=3):
    letters = sorted(set(string) - set(",->"))
    return tensors.gaussian(
        string, {e: int(rng.integers(1, largest + 1)) for e in letters}, scale, rng
    )


def quartic(shape, rng):
    """A loss that is no sum of squares."""
    Y = rng.standard_normal(shape)
    return losses.Loss(
        lambda T: np.sum((T - Y) ** 4 + np.cos(T)),
        lambda T: 4 * (T - Y) ** 3 - np.sin(T),
        *4 * [None],
    )


# --- The tensor and its gradients -----------------------------------------------------------


def test_strings_name_the_usual_factorizations():
    rng = np.random.default_rng(0)
    w = [rng.standard_normal((d, 4)) for d in (2, 3, 5)]
    outer = sum(
        np.multiply.outer(np.outer(a, b), c) for a, b, c in zip(*(f.T for f in w), strict=True)
    )
    assert np.allclose(tensors.contract(CP3, w), outer)
    first, core, last = (rng.standard_normal(s) for s in ((2, 3), (3, 4, 2), (2, 5)))
    T = tensors.contract(tensors.train(3), [first, core, last])
    assert T.shape == (2, 4, 5)
    assert all(np.allclose(T[:, i], first @ core[:, i] @ last) for i in range(4))
    leaves = [rng.standard_normal((2, 3)) for _ in range(4)]
    left, right = rng.standard_normal((2, 3, 4))
    T = tensors.contract(tensors.tree(), [*leaves[:2], left, *leaves[2:], right])
    # The channels of two neighbours are multiplied, and the next matrix mixes the products.
    for a, b, c, d in np.ndindex(T.shape):
        ab, cd = leaves[0][a] * leaves[1][b], leaves[2][c] * leaves[3][d]
        assert T[a, b, c, d] == pytest.approx((ab @ left) @ (cd @ right))
    shared = {e: len(n) for e, n in tensors.shared_indices(tensors.tree()).items()}
    assert shared == {"z": 3, "x": 3, "v": 2}


@pytest.mark.parametrize("string", STRINGS)
def test_gradients_agree_with_differences(string):
    rng = np.random.default_rng(1)
    factors = random_factors(string, rng)
    loss = quartic(tensors.contract(string, factors).shape, rng)
    for n, g in enumerate(tensors.gradients(string, factors, loss.gradient)):
        direction = rng.standard_normal(g.shape)
        ends = []
        for h in (1e-6, -1e-6):
            moved = [w + h * direction if m == n else w for m, w in enumerate(factors)]
            ends.append(loss.value(tensors.contract(string, moved)))
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
            np.sum(g * direction), rel=1e-5, abs=1e-6
        )


# --- What the flow conserves ----------------------------------------------------------------


@settings(max_examples=4)
@given(SEEDS)
@pytest.mark.parametrize("string", STRINGS)
def test_every_shared_index_conserves(string, seed):
    rng = np.random.default_rng(seed)
    start = random_factors(string, rng, largest=2 if len(string) > 25 else 3)
    loss = quartic(tensors.contract(string, start).shape, rng)
    path = tensors.factor_flow(string, start, loss, 0.5, rtol=1e-8, atol=1e-10)
    assert path.reason == flow.END_OF_TIME
    assert set("".join(tensors.drift(string, path))) == set(tensors.shared_indices(string))
    assert max(np.abs(w - v).max() for w, v in zip(path.final, start, strict=True)) > 1e-4
    size = 1 + max(np.abs(w).max() ** 2 for state in path for w in state)
    assert max(tensors.drift(string, path).values()) <= 1e-6 * size


def test_each_index_has_as_many_laws_as_the_chapter_says():
    rng = np.random.default_rng(0)
    lengths = dict.fromkeys("abcd", 3)
    D = tensors.imbalance(
        tensors.cp(4), tensors.gaussian(tensors.cp(4), lengths | {"z": 5}, 1, rng)
    )
    assert D["z"].shape == (3, 5)
    bonds = {"z": 2, "y": 3, "x": 4}
    D = tensors.imbalance(
        tensors.train(4), tensors.gaussian(tensors.train(4), lengths | bonds, 1, rng)
    )
    assert {e: d.shape for e, d in D.items()} == {e: (h, h) for e, h in bonds.items()}
    assert all(np.array_equal(d, d.T) for d in D.values())
    # Three factors meet, or the index stays in the tensor: differences only.
    assert tensors.imbalance("a,a->a", [np.ones(4), np.ones(4)])["a"].shape == (1, 4)


@pytest.mark.parametrize(
    ("string", "lengths", "laws"),
    [
        (tensors.cp(4), {"z": 5}, 15),
        (tensors.train(4), {"z": 2, "y": 3, "x": 2}, 12),
        (TUCKER, dict.fromkeys("zyxwvu", 2), 18),
        (tensors.tree(), dict.fromkeys("zxv", 2), 4 + 4 + 3),
        ("azy,zyb->ab", {"z": 2, "y": 2}, 10),  # one joint matrix, not two of three laws
        ("azy,bzy,cyz->abc", {"z": 2, "y": 3}, 2 * 6),
        ("ab,bc->ac", {"a": 1, "b": 4, "c": 1}, 10 - 3),  # the laws depend on each other
        ("ab,bc->ac", {"a": 2, "b": 4, "c": 1}, 10 - 1),
        ("ab,bc->ac", {"a": 2, "b": 4, "c": 2}, 10),
    ],
)
def test_number_of_independent_laws(string, lengths, laws):
    rng = np.random.default_rng(0)
    factors = tensors.gaussian(string, dict.fromkeys("abcd", 3) | lengths, 1.0, rng)
    assert tensors.independent_laws(string, factors) == laws
    assert tensors.independent_laws(string, [1e-6 * w for w in factors]) == laws


def test_two_indices_of_the_same_factors_conserve_one_joint_matrix():
    rng = np.random.default_rng(3)
    A, B = rng.standard_normal((3, 2, 2)), rng.standard_normal((2, 2, 4))
    joint = tensors.imbalance("azy,zyb->ab", [A, B])["yz"]
    for z, y, v, x in np.ndindex(2, 2, 2, 2):
        expected = A[:, z, y] @ A[:, v, x] - B[z, y] @ B[v, x]
        assert joint[2 * y + z, 2 * x + v] == pytest.approx(expected)


def test_imbalance_is_that_of_linear_networks_and_the_bond_imbalance_of_trains():
    rng = np.random.default_rng(1)
    weights = networks.gaussian([3, 4, 2, 3], 1.0, rng)
    ours = tensors.imbalance("ab,bc,cd->ad", weights)
    for index, D in zip("bc", networks.imbalance(weights), strict=True):
        assert np.allclose(ours[index], D)
    cores = tensors.gaussian(tensors.train(4), dict.fromkeys("abcdzyx", 3), 1.0, rng)
    G, H = cores[1], cores[2]
    bond = sum(G[:, i].T @ G[:, i] for i in range(3)) - sum(H[:, i] @ H[:, i].T for i in range(3))
    assert np.allclose(tensors.imbalance(tensors.train(4), cores)["y"], bond)


@pytest.mark.parametrize("order", [3, 4])
def test_cp_conserves_nothing_off_the_diagonal(order):
    rng = np.random.default_rng(2)
    string = tensors.cp(order)
    start = tensors.gaussian(string, dict.fromkeys("abcd", 3) | {"z": 2}, 0.7, rng)
    loss = losses.squared_distance(rng.standard_normal((3,) * order))
    end = tensors.factor_flow(string, start, loss, 3.0, rtol=1e-9, atol=1e-11).final
    change = np.subtract(*[w[0].T @ w[0] - w[1].T @ w[1] for w in (end, start)])
    assert np.abs(np.diag(change)).max() < 1e-6 and abs(change[0, 1]) > 0.05


def test_the_tree_conserves_nothing_off_the_diagonal_where_three_factors_meet():
    rng = np.random.default_rng(2)
    lengths = dict.fromkeys("abcd", 3) | dict.fromkeys("zxv", 2)
    start = tensors.gaussian(tensors.tree(), lengths, 0.7, rng)
    loss = losses.squared_distance(rng.standard_normal((3,) * 4))
    end = tensors.factor_flow(tensors.tree(), start, loss, 3.0, rtol=1e-9, atol=1e-11).final
    for i, j in ((0, 1), (3, 4)):
        change = np.subtract(*[w[i].T @ w[i] - w[j].T @ w[j] for w in (end, start)])
        assert np.abs(np.diag(change)).max() < 1e-6 and abs(change[0, 1]) > 0.05
    mixed = [w[2].T @ w[2] - w[5].T @ w[5] for w in (end, start)]  # v joins two: the matrix
    assert np.allclose(*mixed, atol=1e-6)


def test_an_index_that_the_tensor_keeps_conserves_no_matrix():
    rng = np.random.default_rng(3)
    start = tensors.gaussian("ab,bc->abc", {"a": 3, "b": 2, "c": 3}, 0.7, rng)
    loss = losses.squared_distance(rng.standard_normal((3, 2, 3)))
    end = tensors.factor_flow("ab,bc->abc", start, loss, 3.0).final
    change = np.subtract(*networks.imbalance(end), *networks.imbalance(start))
    assert np.abs(np.diag(change)).max() < 1e-6 and abs(change[0, 1]) > 0.05


@given(SEEDS, st.floats(1e-3, 0.3))
def test_a_step_of_descent_changes_the_law_to_second_order(seed, step):
    rng = np.random.default_rng(seed)
    w = random_factors(CP3, rng)
    g = tensors.gradients(CP3, w, quartic(tensors.contract(CP3, w).shape, rng).gradient)
    after = [a - step * b for a, b in zip(w, g, strict=True)]
    change = tensors.imbalance(CP3, after)["z"] - tensors.imbalance(CP3, w)["z"]
    squares = step**2 * np.array([np.sum(b**2, axis=0) for b in g])
    assert np.allclose(change, squares[:-1] - squares[1:], atol=1e-9 * (1 + squares.max()))
    path = flow.gradient_descent(lambda _: g, w, step, 2)  # on a line, away from the start
    laws = [tensors.imbalance(CP3, state)["z"] for state in path]
    farthest = max(np.abs(law - laws[0]).max() for law in laws)
    assert tensors.drift(CP3, path)["z"] == pytest.approx(farthest, rel=1e-12)


# --- Components -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("string", "index"),
    [
        (tensors.cp(2), "z"),
        (CP3, "z"),
        (tensors.cp(4), "z"),
        (tensors.train(4), "y"),
        (tensors.tree(), "v"),
        (tensors.tree(), "z"),
        (TUCKER, "v"),
        ("ar,br,ru,cs,ds,su,u->abcd", "u"),
        ("a,a,a->a", "a"),
    ],
)
def test_component_norms_move_as_the_formula_says(string, index):
    rng = np.random.default_rng(4)
    start = random_factors(string, rng)
    loss = losses.squared_distance(rng.standard_normal(tensors.contract(string, start).shape))
    h = 1e-4
    path = tensors.factor_flow(string, start, loss, [h, 2 * h], rtol=1e-12, atol=1e-14)
    before, middle, after = (
        tensors.component_norms(string, w, index) for w in (start, path[0], path[1])
    )
    G = loss.gradient(tensors.contract(string, path[0]))
    velocity = tensors.component_velocity(string, path[0], G, index)
    assert np.allclose((after - before) / (2 * h), velocity, rtol=1e-4, atol=1e-4)
    k = len(tensors.shared_indices(string)[index])
    gain = middle**2 * np.sum(tensors.slice_norms(string, path[0], index) ** -2.0, axis=0)
    assert np.all(gain >= k * middle ** (2 - 2 / k) * (1 - 1e-12))


@given(st.integers(2, 5), SEEDS)
def test_balanced_components_move_with_order_as_depth(order, seed):
    rng = np.random.default_rng(seed)
    string, shape = tensors.cp(order), (2, 3, 2, 2, 3)[:order]
    sigma = rng.uniform(0.1, 2, 3)
    w = tensors.balanced_cp(shape, sigma, rng)
    assert np.allclose(tensors.slice_norms(string, w, "z"), sigma ** (1 / order))
    assert np.allclose(tensors.component_norms(string, w), sigma)
    G = rng.standard_normal(shape)
    units = [f / np.linalg.norm(f, axis=0) for f in w]
    along = [np.sum(G * tensors.contract(string, [u[:, [r]] for u in units])) for r in range(3)]
    expected = -order * sigma ** (2 - 2 / order) * along
    assert np.allclose(tensors.component_velocity(string, w, G), expected)


def test_components_of_the_tree_move_with_the_exponent_four_thirds():
    rng = np.random.default_rng(6)
    sigma, string = np.array([0.3, 2.0]), tensors.tree()
    lengths = dict.fromkeys("abcd", 3) | dict.fromkeys("zxv", 2)
    A, B, C, *rest = tensors.gaussian(string, lengths, 1.0, rng)
    units = [A / np.linalg.norm(A, axis=0), B / np.linalg.norm(B, axis=0)]
    units.append(C / np.linalg.norm(C, axis=1, keepdims=True))
    root = sigma ** (1 / 3)
    w = [root * units[0], root * units[1], root[:, None] * units[2], *rest]
    G = rng.standard_normal((3,) * 4)
    parts = [
        tensors.contract(string, [units[0][:, [r]], units[1][:, [r]], units[2][[r]], *rest])
        for r in range(2)
    ]
    expected = [-3 * sigma[r] ** (4 / 3) * np.sum(G * parts[r]) for r in range(2)]
    assert np.allclose(tensors.component_velocity(string, w, G), expected)


def test_balanced_formula_is_wrong_for_unbalanced_components():
    rng = np.random.default_rng(5)
    w = tensors.balanced_cp((3, 3, 3), [1.0], rng)
    G = rng.standard_normal((3, 3, 3))
    even, uneven = (
        tensors.component_velocity(CP3, f, G) for f in (w, [4 * w[0], w[1] / 2, w[2] / 2])
    )
    # the factor 3 becomes 1/16 + 4 + 4
    assert uneven[0] / even[0] == pytest.approx((1 / 16 + 8) / 3)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_the_tensor_has_no_flow_of_its_own_beyond_matrices(order):
    string, sigma = tensors.cp(order), 8.0
    unit = np.zeros((2, 2))
    unit[0, 0] = 1.0
    one = [sigma ** (1 / order) * unit] * order
    two = [(sigma / 2) ** (1 / order) * np.array([[1.0, 1.0], [0.0, 0.0]])] * order
    assert np.allclose(tensors.contract(string, one), tensors.contract(string, two))
    ones = losses.Loss(None, lambda T: -np.ones_like(T), *4 * [None])
    speeds = []
    for start in (one, two):
        end = tensors.factor_flow(string, start, ones, 1e-6).final
        speeds.append((tensors.contract(string, end) - tensors.contract(string, start)).ravel()[0])
    assert speeds[1] / speeds[0] == pytest.approx(2 ** (2 / order - 1), rel=1e-3)


@pytest.mark.parametrize("zeros", [1, 2])
def test_a_component_with_two_zero_vectors_is_dead_and_with_one_is_not(zeros):
    rng = np.random.default_rng(6)
    start = tensors.balanced_cp((3, 3, 3), [1.0], rng)
    for n in range(zeros):
        start[n] = np.zeros((3, 1))
    loss = losses.squared_distance(rng.standard_normal((3, 3, 3)))
    end = tensors.factor_flow(CP3, start, loss, 2.0).final
    assert (tensors.component_norms(CP3, end)[0] > 1e-3) == (zeros == 1)


# --- One after another ----------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_waiting_time_is_that_of_the_decoupled_equation(order):
    target, start = 1.7, 0.02
    sizes = np.array([0.05, 0.6, 1.5, 1.69])
    times = tensors.waiting_time(sizes, start, target, order)
    power = 2 - 2 / order
    path = solve_ivp(
        lambda _, s: order * s**power * (target - s),
        (0, times[-1]),
        [start],
        t_eval=times,
        rtol=1e-11,
        atol=1e-13,
    )
    assert np.allclose(path.y[0], sizes, rtol=1e-7)
    assert tensors.waiting_time(start, start, target, order) == 0


@pytest.mark.parametrize("order", [2, 3, 4])
def test_orthogonal_targets_decouple(order):
    rng = np.random.default_rng(7)
    string, target = tensors.cp(order), np.array([2.0, 1.0])
    bases = [np.linalg.qr(rng.standard_normal((4, 2)))[0] for _ in range(order)]
    Y = tensors.contract(string, [target ** (1 / order) * U for U in bases])
    start = [0.05 ** (1 / order) * U for U in bases]
    loss = losses.squared_distance(Y)
    t1 = tensors.waiting_time(1.0, 0.05, 2.0, order)
    end = tensors.factor_flow(string, start, loss, t1, rtol=1e-10, atol=1e-13).final
    first, second = tensors.component_norms(string, end)
    assert first == pytest.approx(1.0, rel=1e-6)
    assert tensors.waiting_time(second, 0.05, 1.0, order) == pytest.approx(t1, rel=1e-6)
    for w, U in zip(end, bases, strict=True):
        assert np.allclose(np.abs(np.sum(w * U, axis=0)), np.linalg.norm(w, axis=0))


@pytest.mark.parametrize("order", [3, 4, 6])
def test_waiting_component_grows_by_a_constant_factor(order):
    errors = []
    for size in (1e-6, 1e-10):
        t1 = tensors.waiting_time(1.5, size, 3.0, order)
        assert t1 * (order - 2) * 3 * size ** (1 - 2 / order) == pytest.approx(1, rel=0.1)
        factor = (1 - 1 / 3) ** (-order / (order - 2))
        errors.append(abs(tensors.waiting_time(factor * size, size, 1.0, order) / t1 - 1))
    assert errors[1] < errors[0] and errors[1] < 1e-3


def test_waiting_component_of_a_matrix_grows_by_a_power():
    def reached(size):
        t1 = tensors.waiting_time(1.0, size, 2.0, 2)
        return size * np.exp(2 * t1)  # target 1, far from its end

    sizes = np.array([1e-6, 1e-8, 1e-10])
    assert np.polyfit(np.log(sizes), np.log([reached(s) for s in sizes]), 1)[0] == pytest.approx(
        0.5
    )


@pytest.mark.parametrize("order", [2, 3, 4])
def test_time_scales_with_the_size_of_the_start(order):
    rng = np.random.default_rng(8)
    Y = rng.standard_normal((3,) * order)
    force = losses.Loss(None, lambda T: -Y, *4 * [None])
    string, alpha = tensors.cp(order), 0.1
    v = tensors.balanced_cp(Y.shape, [1.0], rng)
    t = 0.05
    large = tensors.factor_flow(string, v, force, t, rtol=1e-11, atol=1e-13).final
    small = tensors.factor_flow(
        string, [alpha * f for f in v], force, alpha ** (2 - order) * t, rtol=1e-11, atol=1e-13
    ).final
    assert all(np.allclose(alpha * a, b, rtol=1e-7) for a, b in zip(large, small, strict=True))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_one_component_wins_in_tensors_and_all_share_in_matrices(order):
    string, shape = tensors.cp(order), (5,) * order
    target = tensors.balanced_cp(shape, [2.0, 1.0], np.random.default_rng(1))
    loss = losses.squared_distance(tensors.contract(string, target))
    shares = []
    for size in (1e-2, 1e-4):
        start = tensors.balanced_cp(shape, np.full(6, size), np.random.default_rng(2))
        path = tensors.factor_flow(
            string,
            start,
            loss,
            1e4,
            rtol=1e-6,
            stop=lambda w: loss.value(tensors.contract(string, w)) - 0.51,
        )
        assert path.reason == flow.LOSS_REACHED
        norms = np.sort(tensors.component_norms(string, path.final))
        shares.append(norms[-2] / norms[-1])
    if order == 2:
        assert min(shares) > 0.2
    else:
        assert shares[1] < shares[0] / 50 and shares[1] < 1e-3


# --- Completion -----------------------------------------------------------------------------


def problem(seed, size):
    rng = np.random.default_rng(seed)
    truth = tensors.contract(CP3, tensors.balanced_cp((10,) * 3, [4.0, 2.0, 1.0], rng))
    truth /= np.sqrt(np.mean(truth**2))
    observed = rng.random(truth.shape) < 0.25
    start = tensors.balanced_cp(truth.shape, np.full(10, size), rng)
    return truth, observed, start


def unseen_error(seed, size, **options):
    truth, observed, start = problem(seed, size)
    options = {"goal": 1e-3, "rtol": 1e-4, "atol": 1e-7, "method": "RK45"} | options
    path = tensors.complete(CP3, start, truth, observed, 1e4, **options)
    assert path.reason == flow.LOSS_REACHED
    T = tensors.contract(CP3, path.final)
    assert tensors.completion(truth, observed).value(T) == pytest.approx(options["goal"], rel=0.01)
    return np.mean((T - truth)[~observed] ** 2), path


def test_no_small_start_completes_the_second_problem():
    truth = tensors.balanced_cp((10,) * 3, [4.0, 2.0, 1.0], np.random.default_rng(1))
    for size in (1e-2, 1e-3, 1e-4):
        error, path = unseen_error(1, size)
        largest = np.argmax(tensors.component_norms(CP3, path.final))
        cosines = np.prod(
            [
                w[:, largest] @ u / (np.linalg.norm(w[:, largest]) * np.linalg.norm(u, axis=0))
                for w, u in zip(path.final, truth, strict=True)
            ],
            axis=0,
        )
        assert error > 0.5 and np.abs(cosines).max() < 0.3


def test_components_of_the_completed_tensor_come_one_after_another():
    _, path = unseen_error(0, 1e-3, rtol=1e-7, method="DOP853")
    norms = np.array([tensors.component_norms(CP3, w) for w in path])
    final = np.sort(norms[-1])[::-1]
    assert final[2] > 3 * final[3]
    leaders = np.argsort(norms[-1])[::-1][:3]
    times = [path.t[np.argmax(norms[:, r] > norms[-1, r] / 2)] for r in leaders]
    assert times[0] < times[1] < times[2]


def test_completion_of_a_matrix_is_the_core_loss():
    rng = np.random.default_rng(9)
    data, observed, W = rng.standard_normal((4, 5)), rng.random((4, 5)) < 0.5, np.ones((4, 5))
    ours = tensors.completion(np.where(observed, data, np.nan), observed)
    core = losses.completion(*np.nonzero(observed), data[observed], data.shape)
    assert ours.value(W) == pytest.approx(core.value(W))
    assert np.allclose(ours.gradient(W), core.gradient(W))
    assert ours.pl_constant == core.pl_constant


def test_unfolding_keeps_every_entry():
    T = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(tensors.unfolding(T, 1)[2], T[:, 2].ravel())
    assert np.array_equal(tensors.unfolding(T, (0, 1)), T.reshape(6, 4))
    assert tensors.unfolding(T, [2, 0]).shape == (8, 3)


# --- When it fails --------------------------------------------------------------------------


def test_degenerate_sequence_comes_arbitrarily_close():
    a, b = np.eye(2)
    Y = sum(np.einsum("i,j,k->ijk", *v) for v in ((a, a, b), (a, b, a), (b, a, a)))
    for n in (1.0, 10.0, 100.0):
        w = np.array([a + b / (2 * n), a - b / (2 * n)]).T
        T = tensors.contract(CP3, [w * [n, -n], w, w])
        assert np.linalg.norm(T - Y) == pytest.approx(1 / (4 * n**2), rel=1e-6)
    mixed = Y[1] @ np.linalg.inv(Y[0])  # not diagonalizable, so the rank is not two
    assert np.allclose(mixed @ mixed, 0) and np.any(mixed)


@pytest.mark.parametrize("seed", [4])  # the chapter has 3
def test_flow_escapes_at_the_predicted_rate_where_no_best_approximation_exists(seed):
    a, b = np.eye(2)
    Y = sum(np.einsum("i,j,k->ijk", *v) for v in ((a, a, b), (a, b, a), (b, a, a)))
    loss, t = losses.squared_distance(Y), np.geomspace(1, 1e5, 31)
    start = tensors.balanced_cp((2, 2, 2), [0.5, 0.5], np.random.default_rng(seed))
    path = tensors.factor_flow(CP3, start, loss, t, rtol=1e-7, atol=1e-9, method="LSODA")
    late = t > 1e4
    norms = np.array([tensors.component_norms(CP3, w) for w in path])[late]
    values = np.array([loss.value(tensors.contract(CP3, w)) for w in path])[late]
    assert np.allclose(norms.T, (7 * t[late] / 8) ** (3 / 14), rtol=0.01)
    assert np.allclose(values, (7 * t[late] / 8) ** (-6 / 7) / 32, rtol=0.1)


def test_completion_that_does_not_arrive_comes_back_with_its_reason():
    truth, observed, start = problem(0, 1e-3)
    path = tensors.complete(CP3, start, truth, observed, 10.0, rtol=1e-4, method="RK45")
    assert path.reason == flow.END_OF_TIME and path.t[-1] == 10
    values = [tensors.completion(truth, observed).value(tensors.contract(CP3, w)) for w in path]
    assert 1e-6 < values[-1] < values[0]


def test_a_flow_without_lower_bound_is_reported_as_diverged():
    force = losses.Loss(None, lambda T: -np.ones_like(T), *4 * [None])
    path = tensors.factor_flow(CP3, [np.ones((2, 1))] * 3, force, 10.0)
    # each vector is s(1, 1) with s' = 4 s² at last: infinite at t = 1/4
    assert path.reason == flow.DIVERGED and path.t[-1] == pytest.approx(0.25, rel=1e-3)


def test_nothing_moves_from_zero():
    loss = losses.squared_distance(np.ones((2, 2, 2)))
    path = tensors.factor_flow(CP3, [np.zeros((2, 3))] * 3, loss, 5.0)
    assert not any(np.any(w) for w in path.final)


ONES = np.ones((2, 2, 2))
GOOD = [np.ones((2, 3))] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tensors.cp(1), "order"),
        (lambda: tensors.train(13), "order"),
        (lambda: tensors.contract("az,bz", GOOD), "subscripts"),
        (lambda: tensors.contract("aa,az->z", GOOD[:2]), "subscripts.*distinct"),
        (lambda: tensors.contract("az,bz->abc", GOOD[:2]), "no factor has the axis 'c'"),
        (lambda: tensors.contract("az,by,bz->ab", GOOD), "'y' is summed over in one factor"),
        (lambda: tensors.contract(CP3, GOOD[:2]), "factors must be a list of 3"),
        (lambda: tensors.contract(CP3, ONES), "factors must be a list"),
        (lambda: tensors.contract(CP3, [*GOOD[:2], ONES]), r"factors\[2\] must have 2 dimension"),
        (lambda: tensors.contract(CP3, [*GOOD[:2], np.ones((2, 4))]), r"factors\[2\].*length 4"),
        (lambda: tensors.contract(CP3, [*GOOD[:2], np.full((2, 3), np.nan)]), r"factors\[2\].*NaN"),
        (lambda: tensors.contract(CP3, [np.ones((2, 0))] * 3), r"factors\[0\] is empty"),
        (lambda: tensors.component_norms(CP3, GOOD, "a"), "index must be one of z"),
        (lambda: tensors.component_velocity(CP3, GOOD, np.ones((2, 2))), "G must have the shape"),
        (lambda: tensors.component_velocity(CP3, [np.zeros((2, 3))] * 3, ONES), "norm zero"),
        (lambda: tensors.waiting_time(2.0, 0.1, 1.0, 3), "size"),
        (lambda: tensors.waiting_time(0.5, 0.0, 1.0, 3), "start"),
        (lambda: tensors.waiting_time(0.5, 0.1, 1.0, 1), "order"),
        (
            lambda: tensors.gaussian(CP3, {"a": 2, "b": 2, "c": 2}, 1, np.random.default_rng(0)),
            r"lengths\['z'\] must be a whole number",
        ),
        (
            lambda: tensors.gaussian(
                CP3, dict.fromkeys("abc", 2) | {"z": 0}, 1, np.random.default_rng(0)
            ),
            r"lengths\['z'\] must be at least 1",
        ),
        (
            lambda: tensors.gaussian(CP3, dict.fromkeys("abcz", 2), 0, np.random.default_rng(0)),
            "scale",
        ),
        (lambda: tensors.gaussian(CP3, dict.fromkeys("abcz", 2), 1, 7), "rng"),
        (lambda: tensors.balanced_cp((2,), [1.0], np.random.default_rng(0)), "shape"),
        (lambda: tensors.balanced_cp((2, 2), [], np.random.default_rng(0)), "norms is empty"),
        (lambda: tensors.balanced_cp((2, 2), [-1.0], np.random.default_rng(0)), "norms"),
        (lambda: tensors.completion(ONES, ONES), "observed must be booleans"),
        (lambda: tensors.completion(ONES, np.ones((2, 2), bool)), "observed must be booleans"),
        (lambda: tensors.completion(ONES, ONES < 0), "observed is False everywhere"),
        (lambda: tensors.completion(np.nan * ONES, ONES > 0), "values has entries that are NaN"),
        (lambda: tensors.completion(1j * ONES, ONES > 0), "values must be an array of real"),
        (lambda: tensors.completion(ONES.astype(str), ONES > 0), "values must be an array of real"),
        (lambda: tensors.completion(np.ma.array(ONES, mask=ONES), ONES > 0), "or masked"),
        (lambda: tensors.completion(ONES, ONES > 0).value(np.ones(2)), "T must have shape"),
        (
            lambda: tensors.factor_flow(
                CP3, GOOD, tensors.completion(np.ones((3, 2, 2)), np.ones((3, 2, 2)) > 0), 1.0
            ),
            "T must have shape",
        ),
        (lambda: tensors.complete(CP3, GOOD, ONES, ONES > 0, 1.0, goal=0), "goal"),
        (lambda: tensors.complete(CP3, GOOD, ONES, ONES > 0, -1.0), "limit"),
        (lambda: tensors.unfolding(ONES, (0, 0)), "axes"),
        (lambda: tensors.unfolding(ONES, 5), "axes"),
        (lambda: tensors.unfolding(ONES, -1), "axes"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_state_that_is_no_factorization_is_refused():
    path = gradient_flow(lambda w: w, [1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="factors"):
        tensors.drift(CP3, path)
