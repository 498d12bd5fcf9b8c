"""Deep matrix completion: minimizers, flows, singular values, and the counterexamples.

`python tests/test_completion.py` computes the cells of both tables that the chapter shows.
"""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam import completion, losses, networks

I2 = np.eye(2)
HOLE = ([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], (2, 2))


def problem(size, rank, n_observed, seed):
    rng = np.random.default_rng(seed)
    truth = completion.random_low_rank((size, size), rank, rng)
    rows, cols = completion.random_positions(truth.shape, n_observed, rng)
    return truth, (rows, cols, truth[rows, cols], truth.shape)


# --- measures -----------------------------------------------------------------------------


@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_effective_rank_lies_between_one_and_the_rank(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 7, 2)
    rank = rng.integers(1, min(n, m) + 1)
    W = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, m))
    erank = completion.effective_rank(W)
    assert 1 - 1e-9 <= erank <= rank + 1e-9
    assert np.isclose(erank, completion.effective_rank(-3 * W.T))
    assert np.isclose(completion.schatten(W, 1), np.linalg.norm(W, "nuc"))
    assert np.isclose(completion.schatten(W, 2), np.sum(W**2))
    assert abs(completion.schatten(W, 1e-9) - rank) < 1e-6


def test_effective_rank_of_known_spectra():
    assert np.isclose(completion.effective_rank(5 * np.eye(4)), 4)
    assert np.isclose(completion.effective_rank(np.ones((3, 5))), 1)
    # p = (1/2, 1/4, 1/4): entropy 3/2 bits
    assert np.isclose(completion.effective_rank(np.diag([2.0, 1.0, 1.0])), 2**1.5)


def test_schatten_below_one_violates_the_triangle_inequality():
    E, F = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    for p in (0.2, 0.7):
        norm = [completion.schatten(X, p) ** (1 / p) for X in (E, F, E + F)]
        assert norm[2] > norm[0] + norm[1] + 0.1


def test_random_matrix_has_the_numbers_of_the_talks_tables():
    rng = np.random.default_rng(0)
    draws = [completion.random_low_rank((100, 100), 5, rng) for _ in range(60)]
    assert all(np.isclose(np.linalg.norm(W), 100) for W in draws)
    assert np.linalg.matrix_rank(draws[0]) == 5
    assert abs(np.mean([np.linalg.norm(W, "nuc") for W in draws]) - 220.2) < 0.8
    assert abs(np.mean([completion.effective_rank(W) for W in draws]) - 4.92) < 0.03


# --- nuclear norm -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "n_observed"), [((8, 8), 40), ((12, 7), 30), ((40, 40), 700), ((3, 30), 45)]
)
def test_gap_is_proven_by_the_dual_matrix(shape, n_observed):
    rng = np.random.default_rng(n_observed)
    truth = completion.random_low_rank(shape, 2, rng)
    rows, cols = completion.random_positions(shape, n_observed, rng)
    values = truth[rows, cols]
    best = completion.nuclear_norm_minimizer(rows, cols, values, shape)
    assert np.array_equal(best.X[rows, cols], values)
    unseen = np.ones(shape, bool)
    unseen[rows, cols] = False
    assert np.all(best.dual[unseen] == 0) and np.linalg.norm(best.dual, 2) <= 1 + 1e-12
    excess = np.linalg.norm(best.X, "nuc") - np.sum(best.dual[rows, cols] * values)
    assert np.isclose(excess, best.gap, atol=1e-10) and best.gap <= 1e-6
    # Weak duality, on completions that know nothing of the minimizer.
    for _ in range(20):
        other = best.X + unseen * rng.standard_normal(shape)
        assert np.linalg.norm(other, "nuc") >= np.linalg.norm(best.X, "nuc") - best.gap


@pytest.mark.parametrize(("size", "rank", "n_observed"), [(12, 1, 70), (25, 2, 300), (40, 3, 640)])
def test_nuclear_norm_agrees_with_cvxpy(size, rank, n_observed):
    cvxpy = pytest.importorskip("cvxpy")
    truth, data = problem(size, rank, n_observed, size)
    rows, cols, values, shape = data
    best = completion.nuclear_norm_minimizer(*data)
    X, mask = cvxpy.Variable(shape), np.zeros(shape)
    mask[rows, cols] = 1
    task = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.normNuc(X)), [cvxpy.multiply(mask, X) == mask * truth]
    )
    task.solve(solver=cvxpy.SCS, eps=1e-7)
    assert np.isclose(np.linalg.norm(best.X, "nuc"), task.value, rtol=1e-5)


@given(st.floats(-2, 2), st.floats(0.1, 3), st.floats(0.1, 3))
@settings(max_examples=30)
def test_two_by_two_minimizer_in_closed_form(a, b, c):
    if a**2 > 0.9 * b * c:
        a = 0.9 * np.sqrt(b * c) * np.sign(a)
    best = completion.nuclear_norm_minimizer([0, 0, 1], [0, 1, 0], [a, b, c], (2, 2))
    assert abs(np.linalg.norm(best.X, "nuc") - (b + c)) < 1e-6
    assert abs(best.X[1, 1] - a) < 5e-3  # the norm is flat there, so that x is known to half of it
    W = best.X
    assert np.isclose(
        np.linalg.norm(W, "nuc") ** 2, np.sum(W**2) + 2 * abs(np.linalg.det(W)), atol=1e-9
    )


def test_zero_and_full_data():
    assert np.all(completion.nuclear_norm_minimizer([0], [1], [0.0], (2, 2)).X == 0)
    W = np.random.default_rng(0).standard_normal((4, 3))
    rows, cols = np.indices(W.shape).reshape(2, -1)
    best = completion.nuclear_norm_minimizer(rows, cols, W.ravel(), W.shape)
    assert np.array_equal(best.X, W) and best.gap < 1e-6


def test_spread_out_matrices_are_recovered_and_an_unseen_spike_is_not():
    rng = np.random.default_rng(1)
    truth = completion.random_low_rank((40, 40), 1, rng)
    rows, cols = completion.random_positions(truth.shape, 800, rng)
    X = completion.nuclear_norm_minimizer(rows, cols, truth[rows, cols], truth.shape).X
    assert completion.reconstruction_error(X, truth) < 1e-10
    spike = np.zeros((40, 40))
    row, col = next(
        (r, c) for r in range(40) for c in range(40) if not np.any((rows == r) & (cols == c))
    )
    spike[row, col] = 40.0
    X = completion.nuclear_norm_minimizer(rows, cols, spike[rows, cols], spike.shape).X
    assert np.all(X == 0)


# --- completion by flow -------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_start_has_the_frobenius_norm_s_root_n(depth):
    rng = np.random.default_rng(depth)
    for n, m in ((60, 60), (30, 50)):
        squares = [
            np.sum(networks.product(completion.start((n, m), depth, 1e-3, rng)) ** 2)
            for _ in range(40)
        ]
        assert abs(np.mean(squares) / (1e-6 * max(n, m)) - 1) < 0.15
    layers = completion.start((30, 50), depth, 1e-3, rng)
    assert [W.shape[0] for W in layers] == [30] * depth


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_complete_is_the_gradient_flow(depth):
    _, data = problem(12, 2, 90, 0)
    path = completion.complete(*data, depth, 1e-2, np.random.default_rng(1))
    assert path.reason == "loss reached"
    loss = losses.completion(*data)
    assert np.isclose(loss.value(networks.product(path.final)), 1e-6, rtol=1e-3)
    start = completion.start((12, 12), depth, 1e-2, np.random.default_rng(1))
    assert all(np.array_equal(A, B) for A, B in zip(path[0], start, strict=True))
    end = path.t[-1]
    times = np.linspace(0, end, 6)[:-1]
    exact = networks.layer_flow(loss, start, np.append(times, end), rtol=1e-11, atol=1e-13)
    fast = completion.complete(
        *data, depth, 1e-2, np.random.default_rng(1),
        t=[*times, 1e9], rtol=5e-8, method="DOP853",
    )  # fmt: skip
    assert len(fast) == 6
    for A, B in zip(fast, exact, strict=True):
        A, B = networks.product(A), networks.product(B)
        assert np.linalg.norm(A - B) < 1e-5 * np.linalg.norm(B)
    for ends in zip(networks.imbalance(fast.final), networks.imbalance(start), strict=True):
        assert np.abs(ends[0] - ends[1]).max() < 1e-6


@pytest.mark.parametrize(("depth", "seed"), [(2, 2), (2, 6), (3, 0)])
def test_complete_ends_where_the_exact_flow_does(depth, seed):
    """With many observations the last error is small, and noise of the integrator would show."""
    truth, rows, cols = completion.table_problem(seed, 5000)
    data = rows, cols, truth[rows, cols], truth.shape, depth, completion.SCALE
    exact, *errors = (
        completion.reconstruction_error(networks.product(path.final), truth)
        for path in (
            completion.complete(*data, np.random.default_rng(seed), **options)
            for options in ({"rtol": 1e-6, "method": "DOP853"}, {}, {"single": True})
        )
    )
    assert np.abs(np.array(errors) / exact - 1).max() < 5e-3


def test_single_precision_does_not_hide_that_stability_limits_the_step():
    truth, rows, cols = completion.table_problem(0, 2000)
    data = rows, cols, truth[rows, cols], truth.shape, 2, completion.SCALE
    single, double = (
        completion.complete(*data, np.random.default_rng(0), single=single)
        for single in (True, False)
    )
    assert "SSV2stab" in single.method and single.n_evaluations < 1.2 * double.n_evaluations


def test_complete_says_when_time_runs_out():
    _, data = problem(12, 2, 90, 0)
    rng = np.random.default_rng(1)
    path = completion.complete(*data, 2, 1e-2, rng, t=1.0)
    assert path.reason == "end of time" and path.t[-1] == 1.0
    path = completion.complete(*data, 2, 1e-2, rng, t=[0.0, 0.5, 2.0])
    assert path.reason == "end of time" and path.t.tolist() == [0.0, 0.5, 2.0]


@pytest.mark.parametrize("unit", [1e-150, 1e-12, 1e12, 1e150])
def test_the_least_nuclear_norm_has_the_unit_of_the_data(unit):
    """Norm and gap scale; the entries are known to the root of the gap's tolerance only."""
    known = [0, 0, 1], [0, 1, 0]
    plain = completion.nuclear_norm_minimizer(*known, [1.0, 2.0, 3.0], (2, 2))
    scaled = completion.nuclear_norm_minimizer(*known, unit * np.array([1.0, 2.0, 3.0]), (2, 2))
    goal = 1e-7 * np.sqrt(14 / 3)
    assert plain.reason == scaled.reason and max(plain.gap, scaled.gap / unit) <= goal
    norms = np.linalg.norm(plain.X, "nuc"), np.linalg.norm(scaled.X / unit, "nuc")
    assert np.allclose(norms, 5, atol=goal)
    assert np.allclose(plain.X, scaled.X / unit, atol=10 * np.sqrt(goal))


def test_completion_is_equivariant_under_a_change_of_units():
    _, (rows, cols, values, shape) = problem(10, 1, 60, 3)
    for depth in (2, 3):
        one, big = (
            completion.complete(
                rows, cols, c * values, shape, depth, c * 1e-2, np.random.default_rng(0),
                goal=c**2 * 1e-6,
            )
            for c in (1.0, 50.0)
        )  # fmt: skip
        assert np.isclose(big.t[-1] * 50 ** (2 - 2 / depth), one.t[-1], rtol=1e-4)
        assert np.allclose(
            networks.product(big.final), 50 * networks.product(one.final), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_one_hole_is_filled_with_rank_one_not_with_the_least_nuclear_norm(depth):
    path = completion.complete(*HOLE, depth, 1e-8, np.random.default_rng(0), goal=1e-12)
    W = networks.product(path.final)
    assert abs(W[1, 1] - 6) < 0.05 and np.linalg.norm(W, "nuc") > 6.5
    assert abs(completion.nuclear_norm_minimizer(*HOLE).X[1, 1] - 1) < 1e-3


def test_few_observations_depth_lowers_the_effective_rank_not_the_nuclear_norm():
    truth, data = problem(40, 3, 500, 3)
    convex = completion.nuclear_norm_minimizer(*data).X
    deep = {
        depth: networks.product(
            completion.complete(*data, depth, 1e-4, np.random.default_rng(depth), goal=1e-5).final
        )
        for depth in (2, 3)
    }
    ranks = [completion.effective_rank(W) for W in (convex, deep[2], deep[3])]
    errors = [completion.reconstruction_error(W, truth) for W in (convex, deep[2], deep[3])]
    assert ranks[2] < min(ranks[:2]) - 1 and errors[2] < 1e-3 < errors[1]
    assert min(np.linalg.norm(W, "nuc") for W in deep.values()) > np.linalg.norm(convex, "nuc")


# --- the tables ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "n_observed", "method"),
    [
        (4, 2000, "nuclear norm"),
        (5, 2000, 2),
        (6, 5000, 3),
        (7, 2000, 3),
        (8, 5000, "nuclear norm"),
    ],
)
def test_stored_cells_are_what_the_code_computes(seed, n_observed, method):
    which = {"seed": seed, "n_observed": n_observed, "method": method}
    (stored,) = (r for r in completion.stored_tables() if which.items() <= r.items())
    cell = completion.table_cell(seed, n_observed, method)
    for key in ("error", "nuclear_norm", "effective_rank", "training_loss"):
        assert np.isclose(cell[key], stored[key], rtol=5e-3, atol=1e-12)
    assert cell["reason"] == stored["reason"]


def test_stored_tables_are_complete():
    cells = [(r["seed"], r["n_observed"], r["method"]) for r in completion.stored_tables()]
    assert sorted(cells, key=str) == sorted(
        ((s, n, m) for s in range(10) for n in completion.OBSERVATIONS for m in completion.METHODS),
        key=str,
    )
    assert completion.TABLES.stat().st_size < 20_000
    assert all(r["training_loss"] <= 1.001e-6 for r in completion.stored_tables())


def test_stored_tables_support_what_the_chapter_says():
    def column(n_observed, method, key):
        return np.array(
            [
                r[key]
                for r in completion.stored_tables()
                if (r["n_observed"], r["method"]) == (n_observed, method)
            ]
        )

    published = {2: (2e-2, 217, 7), 3: (3e-5, 221, 5), 4: (2e-5, 221, 5)}
    for method, (error, nuclear, rank) in published.items():
        assert 0.5 < np.median(column(2000, method, "error")) / error < 2
        assert abs(np.median(column(2000, method, "nuclear_norm")) / nuclear - 1) < 0.02
        assert abs(np.median(column(2000, method, "effective_rank")) - rank) < 0.5
    for method in (2, 3, 4):
        assert np.all(column(5000, method, "error") < 1e-5)
    assert np.all(column(5000, "nuclear norm", "error") < 1e-12)
    order = [column(2000, m, "effective_rank") for m in ("nuclear norm", 2, 3)]
    assert np.all(order[0] > order[1]) and np.all(order[1] > order[2])
    least = column(2000, "nuclear norm", "nuclear_norm")
    assert all(np.all(least < column(2000, m, "nuclear_norm")) for m in (2, 3, 4))


# --- singular values ----------------------------------------------------------------------


def random_balanced(n, m, depth, rng):
    k = min(n, m)
    sigma = np.sort(rng.uniform(0.3, 1.0, k))[::-1] + 0.7 * np.arange(k)[::-1]
    U, V = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (n, m))
    W = U * sigma @ V.T
    return W, networks.balanced(W, [max(n, m)] * (depth - 1), rng)


def moved(layers, loss, step):
    slopes = networks.gradients(layers, loss.gradient)
    return networks.product([A - step * B for A, B in zip(layers, slopes, strict=True)])


def aligned(W, reference):
    """Decompose W with the signs of the decomposition of `reference`."""
    (U, sigma, V), (U0, _, V0) = (np.linalg.svd(X, full_matrices=False) for X in (W, reference))
    signs = np.sign(np.sum(U * U0, axis=0))
    assert np.array_equal(signs, np.sign(np.sum(V * V0, axis=1)))
    return U * signs, sigma, V.T * signs


@pytest.mark.parametrize(
    ("n", "m", "depth"),
    [(3, 3, 1), (3, 3, 2), (5, 3, 2), (2, 4, 3), (4, 4, 4), (6, 2, 3), (3, 4, 7)],
)
def test_singular_values_and_vectors_move_as_the_formulas_say(n, m, depth):
    rng = np.random.default_rng(10 * n + m + depth)
    W, layers = random_balanced(n, m, depth, rng)
    loss, h = losses.squared_distance(rng.standard_normal((n, m))), 1e-5
    G = loss.gradient(W)
    after, before = (aligned(moved(layers, loss, s), W) for s in (h, -h))
    quotient = [(p - q) / (2 * h) for p, q in zip(after, before, strict=True)]
    U_dot, V_dot = completion.singular_vector_velocity(W, G, depth)
    assert np.allclose(quotient[1], completion.singular_value_velocity(W, G, depth), atol=1e-6)
    assert np.allclose(quotient[0], U_dot, atol=1e-6)
    assert np.allclose(quotient[2], V_dot, atol=1e-6)


def test_singular_value_formula_fails_for_unbalanced_layers():
    rng = np.random.default_rng(3)
    W, (A, B) = random_balanced(3, 3, 2, rng)
    loss, h = losses.squared_distance(rng.standard_normal((3, 3))), 1e-6
    layers = [3 * A, B / 3]
    change = aligned(moved(layers, loss, h), W)[1] - aligned(W, W)[1]
    expected = completion.singular_value_velocity(W, loss.gradient(W), 2)
    assert np.abs(change / h - expected).max() > 0.1


def test_standing_singular_vectors_mean_a_diagonal_gradient():
    rng = np.random.default_rng(4)
    W, _ = random_balanced(4, 3, 3, rng)
    U, _, V = np.linalg.svd(W, full_matrices=False)
    velocity = completion.singular_vector_velocity(W, U * [1.0, -2.0, 3.0] @ V, 3)
    assert max(np.abs(part).max() for part in velocity) < 1e-10
    off = U * [1.0, -2.0, 3.0] @ V + 0.1 * np.outer(U[:, 0], V[1])
    assert max(np.abs(p).max() for p in completion.singular_vector_velocity(W, off, 3)) > 1e-2


def test_depth_speeds_up_large_and_slows_down_small_singular_values():
    W, G = np.diag([4.0, 0.25]), -np.eye(2)
    speeds = np.array([completion.singular_value_velocity(W, G, N) for N in range(1, 9)])
    assert np.allclose(speeds[0], 1)
    assert np.all(np.diff(speeds[:, 0] / speeds[:, 1]) > 0)
    assert np.allclose(speeds[1:, 0] / speeds[1:, 1], 16 ** (2 - 2 / np.arange(2, 9)))
    for N in (2, 3, 5):
        edge = N ** (-N / (2 * N - 2))
        low, high = completion.singular_value_velocity(
            np.diag([1.01 * edge, 0.99 * edge]), -np.eye(2), N
        )[::-1]
        assert low < 1 < high
    assert completion.singular_value_velocity(np.diag([1.0, 0.0]), G, 2)[1] == 0


def test_gap_between_singular_values_grows_with_depth():
    loss, ratios = losses.squared_distance(np.diag([3.0, 1.0])), []
    for depth in (1, 2, 3, 5):
        layers = networks.identity(2, depth, 1e-3 ** (1 / depth))
        path = networks.layer_flow(
            loss, layers, 1e4, stop=lambda Ws: 1.5 - networks.product(Ws)[0, 0]
        )
        x, y = np.diag(networks.product(path.final))
        ratios.append(y / x)
    assert np.all(np.diff(ratios) < 0) and ratios[0] > 0.3 and ratios[-1] < 0.01


# --- components, the norm of the weights, decay ---------------------------------------------


def random_mask(rng, m, n):
    return rng.random((m, n)) < 1.2 / max(m, n)


@pytest.mark.parametrize("seed", range(6))
def test_components_are_those_of_the_graph(seed):
    """With the unit vectors as rows, D names the rows and columns of its component: ±1."""
    mask = random_mask(np.random.default_rng(seed), 7, 5)
    U, V = np.split(np.eye(12), [7])
    parts = [np.diag(D) for D in completion.component_imbalances(U, V, mask)]
    assert np.array_equal(sum(parts), [1] * 7 + [-1] * 5)
    part_of = np.argmax(np.abs(parts), axis=0)
    rows, cols = np.nonzero(mask)
    assert np.array_equal(part_of[rows], part_of[7 + cols])
    # Independently: as many components as vertices less the rank of the incidence matrix.
    incidence = U[rows] - V[cols]
    assert len(parts) == 12 - np.linalg.matrix_rank(incidence)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_every_component_has_its_own_law_and_moves_alone(k):
    rng = np.random.default_rng(k)
    mask = np.zeros((5, 4), bool)
    mask[:2, :2] = True
    mask[2, 2] = mask[3, 2] = True  # row 4 and column 3 are not observed
    U, V = rng.standard_normal((5, k)), rng.standard_normal((4, k))
    truth = rng.standard_normal((5, 4))
    loss = losses.completion(*np.nonzero(mask), truth[mask], truth.shape)
    end = networks.layer_flow(loss, [U, V.T], 3.0, rtol=1e-11, atol=1e-13).final
    pairs = zip(
        completion.component_imbalances(U, V, mask),
        completion.component_imbalances(end[0], end[1].T, mask),
        strict=True,
    )
    assert all(np.abs(a - b).max() < 1e-8 for a, b in pairs)
    assert np.array_equal(end[0][4], U[4]) and np.array_equal(end[1][:, 3], V[3])
    assert np.abs(end[0][:2].T @ end[0][:2] - U[:2].T @ U[:2]).max() > 1e-2  # not each half
    rows, cols = [0, 1], [0, 1]
    # Alone it has four of the six entries: its mean is 6/4 of the other's share.
    block = losses.completion([0, 0, 1, 1], [0, 1, 0, 1], truth[:2, :2].ravel(), (2, 2))
    alone = networks.layer_flow(
        block, [U[rows], V[cols].T], 3.0 * 4 / 6, rtol=1e-11, atol=1e-13
    ).final
    assert np.allclose(alone[0], end[0][rows], atol=1e-8)


def rank_of_laws(rows, cols, k, rng):
    """Rank of the Jacobian of a component's imbalance at a random point."""
    U, V = rng.standard_normal((rows, k)), rng.standard_normal((cols, k))
    upper = np.triu_indices(k)
    jacobian = []
    for part, sign in ((U, 1), (V, -1)):
        for i in range(len(part)):
            for j in range(k):
                D = np.zeros((k, k))
                D[j] += sign * part[i]
                D[:, j] += sign * part[i]
                jacobian.append(D[upper])
    return np.linalg.matrix_rank(np.array(jacobian))


@pytest.mark.parametrize(("rows", "cols"), [(1, 0), (1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_number_of_laws_of_a_component(rows, cols, k):
    size = rows + cols
    expected = k * (k + 1) // 2 if k <= size else k * size - size * (size - 1) // 2
    assert rank_of_laws(rows, cols, k, np.random.default_rng(k)) == expected


@given(st.integers(0, 10**6))
@settings(max_examples=100)
def test_weights_know_the_nuclear_norm(seed):
    rng = np.random.default_rng(seed)
    (m, n, k), scale = rng.integers(1, 6, 3), 10.0 ** rng.integers(-3, 4)
    U, V = scale * rng.standard_normal((m, k)), rng.standard_normal((n, k)) / scale
    low, high = completion.nuclear_bounds(U, V)
    nuclear = np.linalg.norm(U @ V.T, "nuc")
    assert low <= nuclear * (1 + 1e-9) + 1e-9 * high and nuclear <= high * (1 + 1e-12)


def test_both_nuclear_bounds_are_attained():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((4, 3))
    U, V = networks.balanced(W, [3], rng)
    low, high = completion.nuclear_bounds(U, V.T)
    assert np.isclose(low, high) and np.isclose(high, np.linalg.norm(W, "nuc"))
    low, _ = completion.nuclear_bounds(np.diag([2.0, 0.0]), np.diag([0.0, 3.0]))  # product zero
    assert low == 0
    U, V = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    low, high = completion.nuclear_bounds(U, V)
    assert np.linalg.norm(U @ V.T, "nuc") > low + 0.01 * high  # in general strict
    assert np.isclose(high - low, np.linalg.norm(U.T @ U - V.T @ V, "nuc") / 2)


def test_complete_blocks_give_the_least_nuclear_norm():
    rng = np.random.default_rng(3)
    mask = np.zeros((5, 5), bool)
    mask[:2, :3] = mask[2:4, 3:] = True  # row 4 is not observed
    truth = rng.standard_normal((5, 5))
    blocks = [truth[:2, :3], truth[2:4, 3:]]
    least = sum(np.linalg.norm(block, "nuc") for block in blocks)
    data = (*np.nonzero(mask), truth[mask], truth.shape)
    best = completion.nuclear_norm_minimizer(*data)
    assert abs(np.linalg.norm(best.X, "nuc") - least) < 1e-5
    for scale in (1e-1, 1e-2, 1e-3):
        U, V = scale * rng.standard_normal((2, 5, 5))
        end = networks.layer_flow(losses.completion(*data), [U, V.T], 2000.0).final
        laws = completion.component_imbalances(U, V, mask)
        above = sum(np.linalg.norm(law, "nuc") for law in laws) / 2
        excess = np.linalg.norm(networks.product(end), "nuc") - least
        assert -1e-6 <= excess <= above and above < 60 * scale**2


def test_angle_of_the_start_decides_among_the_minimizers():
    loss = losses.completion([0, 1], [0, 1], [1.0, 2.0], (2, 2))
    for seed in range(3):
        U, V = 1e-4 * np.random.default_rng(seed).standard_normal((2, 2, 3))
        W = networks.product(networks.layer_flow(loss, [U, V.T], 200.0).final)
        a, b = U[0] + V[0], U[1] + V[1]
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert np.allclose([W[0, 1], W[1, 0]], np.sqrt(2) * cosine, atol=1e-3)


def test_without_complete_blocks_the_nuclear_norm_is_not_least():
    rows, cols, values = [0, 0, 1, 2], [0, 1, 0, 2], [1.0, 2.0, 3.0, 1.0]
    path = completion.complete(
        rows, cols, values, (3, 3), 2, 1e-8, np.random.default_rng(0), goal=1e-12
    )
    W = networks.product(path.final)
    best = completion.nuclear_norm_minimizer(rows, cols, values, (3, 3))
    assert abs(W[1, 1] - 6) < 0.1 and abs(np.linalg.norm(best.X, "nuc") - 6) < 1e-5
    assert np.linalg.norm(W, "nuc") > 7.9


@pytest.mark.parametrize("move", ["flow", "descent"])
def test_rank_of_the_stacked_factors_is_kept(move):
    rng = np.random.default_rng(0)
    truth, data = problem(8, 3, 40, 0)
    R = rng.standard_normal((16, 2)) @ rng.standard_normal((2, 6))
    layers = [R[:8], R[8:].T]
    loss = losses.completion(*data)
    if move == "flow":
        end = networks.layer_flow(loss, layers, 20.0).final
    else:
        end = networks.layer_descent(loss, layers, 0.05, 200).final
    values = np.linalg.svd(np.vstack([end[0], end[1].T]), compute_uv=False)
    assert values[2] < 1e-6 * values[0] and values[1] > 1e-2 * values[0]
    assert np.linalg.norm(networks.product(end) - R[:8] @ R[8:].T) > 0.1  # it did move


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_decay_penalty_is_the_least_norm_of_the_weights(depth):
    rng = np.random.default_rng(depth)
    W = rng.standard_normal((4, 3)) @ np.diag([1.0, 0.5, 0.0])
    least = completion.decay_penalty(W, depth)
    layers = networks.balanced(W, [4] * (depth - 1), rng)
    assert np.isclose(sum(np.sum(A**2) for A in layers) / 2, least)
    for _ in range(30):  # other layers with the same product
        moved = [A.copy() for A in layers]
        for l in range(depth - 1):
            M = np.eye(4) + 0.3 * rng.standard_normal((4, 4))
            moved[l], moved[l + 1] = moved[l] @ M, np.linalg.solve(M, moved[l + 1])
        assert np.allclose(networks.product(moved), W)
        assert sum(np.sum(A**2) for A in moved) / 2 >= least * (1 - 1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
@pytest.mark.parametrize("decay", [1e-3, 0.1, 2.0])
def test_decay_thresholds_on_a_grid(depth, decay):
    local, best = completion.decay_thresholds(decay, depth)
    assert local <= best

    def curve(s):
        grid = np.linspace(0, 1.2 * s, 200_001)
        return grid, (grid - s) ** 2 / 2 + decay * depth / 2 * grid ** (2 / depth)

    for factor, has_local, is_global in ((0.98, False, False), (1.02, True, depth == 2)):
        grid, value = curve(factor * local)
        inner = (np.diff(value)[:-1] < 0) & (np.diff(value)[1:] > 0)
        assert np.any(inner) == has_local
        assert (grid[np.argmin(value)] > 0) == is_global
    for factor in (0.99, 1.01):
        grid, value = curve(factor * best)
        assert (grid[np.argmin(value)] > 0) == (factor > 1)
        if factor > 1 and depth > 2:  # it jumps, to at least this height
            assert grid[np.argmin(value)] >= (decay * (depth - 2)) ** (depth / (2 * depth - 2))


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize("solve", [completion.nuclear_norm_minimizer, None])
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (([], [], [], (2, 2)), "values is empty"),
        (([0, 0], [1, 1], [1.0, 1.0], (2, 2)), "twice"),
        (([0, 2], [1, 1], [1.0, 1.0], (2, 2)), "outside"),
        (([0, 1], [1], [1.0, 1.0], (2, 2)), "rows and cols"),
        (([0, 1], [1, 1], [1.0], (2, 2)), "values has 1"),
        (([0], [1], [np.nan], (2, 2)), "values"),
        (([0], [1], [1.0], (2,)), "shape"),
        (([0], [1], [1.0], (2, 0)), r"shape\[1\]"),
        (([0], [1], [1.0], 4), "shape"),
    ],
)
def test_bad_observations(solve, data, match):
    with pytest.raises(ValueError, match=match):
        if solve:
            solve(*data)
        else:
            completion.complete(*data, 2, 1e-3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"depth": 1}, "depth must be at least 2"),
        ({"depth": 2.5}, "depth"),
        ({"scale": 0.0}, "scale"),
        ({"scale": -1e-3}, "scale"),
        ({"rng": 0}, "rng"),
        ({"goal": 0.0}, "goal"),
        ({"rtol": -1.0}, "rtol"),
        ({"t": 0.0}, "t must be"),
        ({"t": [1.0, 0.5]}, "t must be"),
    ],
)
def test_bad_settings_of_complete(change, match):
    settings_of = {"depth": 2, "scale": 1e-3, "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=match):
        completion.complete([0, 1], [0, 1], [1.0, 2.0], (2, 2), **settings_of)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda rng: completion.random_low_rank((3, 5), 4, rng), "rank must be at most 3"),
        (lambda rng: completion.random_low_rank((3, 5), 0, rng), "rank"),
        (lambda rng: completion.random_positions((3, 5), 16, rng), "n_observed must be at most 15"),
        (lambda rng: completion.random_positions((3, 5), 0, rng), "n_observed"),
        (lambda rng: completion.effective_rank(np.zeros((2, 2))), "W is zero"),
        (lambda rng: completion.effective_rank([1.0, 2.0]), "W must have 2"),
        (lambda rng: completion.schatten(np.eye(2), 0), "p must be"),
        (lambda rng: completion.schatten(np.eye(2), -1), "p must be"),
        (lambda rng: completion.reconstruction_error(np.eye(2), np.eye(3)), "shape"),
        (lambda rng: completion.complete([0], [0], [0.0], (2, 2), 2, 0.1, rng), "values are all"),
        (lambda rng: completion.singular_value_velocity(np.eye(2), np.eye(3), 2), "G must"),
        (lambda rng: completion.singular_vector_velocity(np.eye(2), np.eye(2), 2), "distinct"),
        (lambda rng: completion.nuclear_norm_minimizer(*HOLE, tolerance=0), "tolerance"),
        (lambda rng: completion.component_imbalances(I2, I2, I2 / 2), "mask must be a matrix of"),
        (lambda rng: completion.component_imbalances(I2, I2, [[True]]), r"of shape \(2, 2\)"),
        (lambda rng: completion.nuclear_bounds(I2, np.ones((2, 3))), "as many columns"),
        (lambda rng: completion.decay_penalty(I2, 0), "depth"),
        (lambda rng: completion.decay_thresholds(0.1, 1), "depth must be at least 2"),
        (lambda rng: completion.decay_thresholds(0.0, 3), "decay must be greater"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call(np.random.default_rng(0))


def test_what_was_not_reached_comes_back_with_its_reason():
    data = problem(20, 2, 200, 1)[1]
    best, full = (completion.nuclear_norm_minimizer(*data, max_iterations=n) for n in (30, 20_000))
    assert best.reason == "end of iterations" and full.reason == "gap reached"
    assert np.array_equal(best.X[data[0], data[1]], data[2])
    # Its gap is true, though large: the minimum is no more than that below.
    short = np.linalg.norm(best.X, "nuc") - np.linalg.norm(full.X, "nuc")
    assert full.gap < short <= best.gap
    path = completion.complete(*data, 3, 1e-3, np.random.default_rng(0), t=1.0)
    assert path.reason == "end of time"


if __name__ == "__main__":
    with completion.TABLES.open("w", encoding="utf-8") as table:
        for seed, n, method in itertools.product(
            range(10), completion.OBSERVATIONS, completion.METHODS
        ):
            cell = {"seed": seed, "n_observed": n, "method": method}
            cell |= completion.table_cell(seed, n, method)
            rounded = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in cell.items()}
            table.write(json.dumps(rounded) + "\n")
