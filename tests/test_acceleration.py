"""Acceleration by depth: bounds and the jump, batched runs against plain code, the data."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overparam import acceleration, losses, networks
from overparam.preconditioner import end_to_end_descent

P = st.sampled_from([2.5, 3.0, 4.0, 6.0])


def thin(start, depth):
    """Balanced layers of width 1 with the product (start, 0)."""
    return networks.balanced([[start], [0.0]], [1] * (depth - 1))


def near_zero(d, size=1e-2):
    w = np.random.default_rng(1).standard_normal(d)
    return size * w / np.linalg.norm(w)


# The recursion


def test_recursion_stays_at_zero_unless_there_is_one_layer():
    loss = acceleration.two_targets(4, 3.0)
    still = end_to_end_descent(loss, np.zeros((2, 1)), 2, 0.01, 5).final
    moved = end_to_end_descent(loss, np.zeros((2, 1)), 1, 0.01, 5).final
    assert not still.any() and moved.all()


def test_recursion_and_network_part_at_the_second_order_of_the_step():
    loss, steps = acceleration.two_targets(4, 2.0), 0.01 / 2.0 ** np.arange(4)

    def gap(step, n_steps):
        net = networks.layer_descent(loss, thin(0.5, 3), step, n_steps).final
        rec = end_to_end_descent(loss, [[0.5], [0.0]], 3, step, n_steps).final
        return np.linalg.norm(networks.product(net) - rec)

    one = [gap(step, 1) for step in steps]
    fixed = [gap(step, round(0.2 / step)) for step in steps]
    assert abs(np.polyfit(np.log(steps), np.log(one), 1)[0] - 2) < 0.1
    assert abs(np.polyfit(np.log(steps), np.log(fixed), 1)[0] - 1) < 0.1


# The family: what one layer needs


@given(P, st.floats(2, 12), st.floats(0.02, 0.999), st.floats(0, 0.5))
@example(4.0, 10.0, 0.999, 0.0)
def test_plain_descent_never_beats_the_lower_bound(p, R, share, begin):
    start, target = begin * R, 1e-3
    step = share * 2 / (R - start) ** (p - 2)
    bound = acceleration.plain_lower_bound(p, R, target, start)
    r = np.array([R - start, 1.0])
    for _ in range(int(bound)):
        assert np.sum(r**p if p == 4 else np.abs(r) ** p) / p > target
        r = r * (1 - step * np.abs(r) ** (p - 2))
    if begin == 0 and bound >= 1:
        assert np.isinf(acceleration.plain_iterations(p, R, [step], target, limit=int(bound)))


@given(P, st.floats(1.5, 50), st.floats(1.0001, 10))
def test_plain_descent_never_arrives_beyond_the_largest_step(p, R, excess):
    step = excess * 2 / R ** (p - 2)
    if step < 2:  # or the second coordinate diverges as well
        assert np.isinf(acceleration.plain_iterations(p, R, [step], limit=300))


def test_lower_bound_and_largest_step_over_many_draws():
    rng = np.random.default_rng(0)
    arrived = []
    for p, R in rng.uniform([2.05, 1.5], [6, 9], (6, 2)):
        share, limit = rng.uniform(0.05, 0.999, 40), 2 / R ** (p - 2)
        count = acceleration.plain_iterations(p, R, share * limit, limit=5000)
        assert np.all(count > acceleration.plain_lower_bound(p, R))
        arrived.append(np.isfinite(count).mean())
        beyond = acceleration.plain_iterations(p, R, (1.0001 + share) * limit, limit=500)
        assert np.all(np.isinf(beyond))
    assert np.mean(arrived) > 0.7  # or the bound would say little


def test_lower_bound_is_attained_up_to_a_factor():
    """With a target near the start's loss the second coordinate moves at full speed throughout."""
    for p, R in ((3, 1e4), (4, 200.0)):
        loss = ((1 - 0.02) ** p) / p  # reached when the second residual is down to 0.98
        steps = np.linspace(0.5, 0.9999, 80) * 2 / R ** (p - 2)
        best = acceleration.plain_iterations(p, R, steps, loss).min()
        bound = acceleration.plain_lower_bound(p, R, loss)
        assert bound < best < 3 * bound


def test_plain_iterations_count_the_steps_of_descent():
    loss = acceleration.two_targets(3, 5.0)
    for step in (0.05, 0.2, 0.39):
        path = end_to_end_descent(
            loss, np.zeros((2, 1)), 1, step, 5000, stop=lambda w: loss.value(w) - 1e-3
        )
        assert acceleration.plain_iterations(3, 5.0, [step]) == len(path) - 1


def test_without_a_power_above_two_one_step_is_enough():
    for R in (1.0, 10.0, 1e3, 1e6):
        assert acceleration.plain_iterations(2, R, [1.0]) == 1


# The family: what depth needs


@settings(max_examples=60)
@given(P, st.integers(2, 6), st.floats(1, 4))
@example(3.0, 3, 1.0)
def test_jump_lands_in_two_steps_as_close_as_the_theorem_says(p, depth, size):
    R = 20.0**size if p < 4 else 8.0 * size
    start, step = acceleration.jump(p, R, depth)
    path = end_to_end_descent(acceleration.two_targets(p, R), [[start], [0.0]], depth, step, 2)
    s = 1 / (depth * (R - start) ** (p - 2))
    (_, first, second) = path.states[:, :, 0]
    assert 0 < start < R / 2
    assert np.allclose(first, [R, s], rtol=1e-9)
    assert abs(second[1] - 1) < 1e-9
    assert -1e-9 * R <= second[0] - R <= (depth - 1) * s / R + 1e-9 * R


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize(("p", "R"), [(3, 50.0), (4, 20.0), (6, 8.0)])
def test_network_has_its_own_jump_and_diverges_at_that_of_the_recursion(p, R, depth):
    loss = acceleration.two_targets(p, R)
    start, step = acceleration.layer_jump(p, R, depth)
    own = networks.layer_descent(loss, thin(start, depth), step, 2)
    assert abs(networks.product(own[1])[0, 0] / R - 1) < 1e-9
    assert abs(networks.product(own.final)[1, 0] - 1) < 1e-9
    assert loss.value(networks.product(own.final)) < 1e-3
    start, step = acceleration.jump(p, R, depth)
    path = networks.layer_descent(loss, thin(start, depth), step, 200)
    assert path.reason == "diverged"


@pytest.mark.parametrize(
    ("p", "sizes"),
    [(3, np.geomspace(10, 100, 5)), (4, np.geomspace(5, 40, 5)), (6, np.geomspace(5, 8, 3))],
)
def test_speed_up_grows_like_the_power_p_minus_two(p, sizes):
    shares = 2 * np.linspace(0.9, 0.999, 25)
    plain = [acceleration.plain_iterations(p, R, shares / R ** (p - 2)).min() for R in sizes]
    for depth in (2, 3):
        deep = []
        for R in sizes:
            loss = acceleration.two_targets(p, R)
            start, step = acceleration.jump(p, R, depth)
            path = end_to_end_descent(
                loss, [[start], [0.0]], depth, step, 50, stop=lambda w, f=loss: f.value(w) - 1e-3
            )
            deep.append(len(path) - 1)
        assert set(deep) == {2}
        slope = np.polyfit(np.log(sizes), np.log(np.divide(plain, deep)), 1)[0]
        assert abs(slope - (p - 2)) < 0.12


@pytest.mark.parametrize(("p", "depth"), [(3, 2), (4, 2), (4, 3), (6, 4)])
def test_window_of_good_steps_shrinks_like_one_over_R(p, depth):
    R = 200.0
    loss, edge = acceleration.two_targets(p, R), (2 / depth) ** (1 / (p - 2)) / R
    start, step = acceleration.jump(p, R, depth)
    for sign in (1, -1):
        for share, reason in ((0.93, "loss reached"), (1.07, "diverged")):
            path = end_to_end_descent(
                loss,
                [[start], [0.0]],
                depth,
                step * (1 + sign * share * edge),
                5000,
                stop=lambda w: loss.value(w) - 1e-3,
            )
            assert path.reason == reason


@settings(max_examples=100)
@given(st.integers(2, 7), st.integers(2, 6), st.integers(0, 10**6))
def test_depth_changes_the_condition_number_by_at_most_itself(d, depth, seed):
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((d, d)) * np.exp(rng.standard_normal(d))
    H, w = factor @ factor.T, rng.standard_normal(d)
    w /= np.linalg.norm(w)
    PH = H + (depth - 1) * np.outer(w, w @ H)
    eigenvalues = np.linalg.eigvals(PH).real
    if np.linalg.cond(H) < 1e8:
        ratio = eigenvalues.max() / eigenvalues.min() / np.linalg.cond(H)
        assert 1 / depth - 1e-5 <= ratio <= depth + 1e-5


# Regression


def small_regression(seed=0, n=40, d=5):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d)
    return X, X @ rng.standard_normal(d) + 0.5 * rng.standard_normal(n)


@pytest.mark.parametrize("p", [2, 3, 4, 6])
def test_minimum_is_one(p):
    X, y = small_regression()
    w, value = acceleration.minimize(X, y, p)
    loss = losses.lp_regression(X, y[:, None], p)
    assert np.isclose(value, loss.value(w[:, None]) / len(y), rtol=1e-12)
    rng = np.random.default_rng(2)
    for scale in (1e-3, 0.1, 1):
        around = w[:, None] + scale * rng.standard_normal((5, 200))
        assert min(loss.value(v[:, None]) for v in around.T) / len(y) >= value
    assert np.abs(loss.gradient(w[:, None])).max() / len(y) < 1e-6 * value


def test_minimum_for_dependent_columns_and_for_data_that_fit():
    X, y = small_regression()
    doubled = np.hstack([X, X])
    assert np.isclose(acceleration.minimize(doubled, y, 4)[1], acceleration.minimize(X, y, 4)[1])
    w, value = acceleration.minimize(X, X @ np.arange(5.0), 4)
    assert value < 1e-20 and np.allclose(w, np.arange(5.0))


def test_target_is_a_share_of_the_first_excess():
    X, y = small_regression()
    first, least = np.mean(y**4) / 4, acceleration.minimize(X, y, 4)[1]
    assert np.isclose(acceleration.excess_target(X, y, 4, 1.0), first)
    assert np.isclose(acceleration.excess_target(X, y, 4, 0.1), least + 0.1 * (first - least))


def adagrad_reference(X, y, p, step, n_steps, w):
    squares, values = 0.0, []
    for _ in range(n_steps + 1):
        r = X @ w - y
        values.append(np.mean(np.abs(r) ** p) / p)
        g = X.T @ (np.sign(r) * np.abs(r) ** (p - 1)) / len(y)
        squares = squares + g**2
        w = w - step * g / (np.sqrt(squares) + 1e-10)
    return values


def adadelta_reference(X, y, p, step, n_steps, w):
    squares, moves, values = 0.0, 0.0, []
    for _ in range(n_steps + 1):
        r = X @ w - y
        values.append(np.mean(np.abs(r) ** p) / p)
        g = X.T @ (np.sign(r) * np.abs(r) ** (p - 1)) / len(y)
        squares = 0.95 * squares + 0.05 * g**2
        move = np.sqrt(moves + 1e-6) / np.sqrt(squares + 1e-6) * g
        moves = 0.95 * moves + 0.05 * move**2
        w = w - step * move
    return values


@pytest.mark.parametrize("p", [2, 3, 4])
def test_columns_are_the_runs_one_by_one(p):
    X, y = small_regression()
    start, steps, n = near_zero(5), np.array([0.02, 0.1, 0.3]), 60
    loss = losses.lp_regression(X, y[:, None], p)
    for depth in (1, 2, 3, 4):
        together = acceleration.losses_along(X, y, p, depth, steps, n, start)
        for j, step in enumerate(steps):
            layers = networks.balanced(start[:, None], [1] * (depth - 1))
            path = networks.layer_descent(loss, layers, step / len(y), n)
            alone = [loss.value(networks.product(Ws)) / len(y) for Ws in path]
            assert np.allclose(together[:, j], alone, rtol=1e-8)
    for method, reference in (("adagrad", adagrad_reference), ("adadelta", adadelta_reference)):
        together = acceleration.losses_along(X, y, p, method, steps, n, start)
        for j, step in enumerate(steps):
            assert np.allclose(together[:, j], reference(X, y, p, step, n, start), rtol=1e-8)


def test_diverged_columns_leave_and_do_not_disturb_the_others():
    X, y = small_regression()
    start = near_zero(5)
    mixed = acceleration.losses_along(X, y, 4, 2, [100.0, 0.1, 50.0], 80, start)
    alone = acceleration.losses_along(X, y, 4, 2, [0.1], 80, start)
    assert np.allclose(mixed[:, 1], alone[:, 0], rtol=1e-12)
    assert np.isnan(mixed[-1, [0, 2]]).all() and np.isfinite(mixed[:, 1]).all()
    hopeless = acceleration.losses_along(X, y, 4, 1, [1e6], 80, start)
    assert len(hopeless) < 81 and np.isnan(hopeless[-1, 0])


def test_runs_stop_at_the_first_arrival_and_count_it():
    X, y = small_regression()
    target = acceleration.excess_target(X, y, 4, 1e-2)
    path = acceleration.losses_along(X, y, 4, 1, [0.05, 0.2], 5000, near_zero(5), target)
    count = acceleration.iterations_to(path, target)
    assert np.nanmin(path[-1]) <= target < np.nanmin(path[-2])
    assert count.min() == len(path) - 1
    table = np.array([[3.0, 1.0], [2.0, np.nan]])
    assert acceleration.iterations_to(table, 1.5).tolist() == [np.inf, 0]


def test_best_step_of_a_race_is_that_of_the_full_runs():
    X, y = small_regression(1)
    steps = np.geomspace(0.01, 1, 9)
    target = acceleration.excess_target(X, y, 4, 1e-3)
    for method, (count, best) in acceleration.race(
        X, y, 4, {1: steps, 2: steps, "adadelta": steps}, near_zero(5)
    ).items():
        alone = acceleration.losses_along(X, y, 4, method, [best], count, near_zero(5))
        assert alone[-1, 0] <= target < alone[-2, 0]
        every = acceleration.losses_along(X, y, 4, method, steps, count, near_zero(5))
        assert acceleration.iterations_to(every, target).min() == count


@pytest.fixture(scope="module")
def sensor():
    return acceleration.sensor_like(np.random.default_rng(5), 600, 64, noise=0.3)


def test_depth_accelerates_the_quartic_regression_and_not_the_quadratic(sensor):
    grid = {m: 10.0 ** np.arange(-2, 0.51, 0.25) for m in (1, 2, 3)}
    quartic = acceleration.race(*sensor, 4, grid, near_zero(64))
    assert quartic[1][0] > 1.5 * max(quartic[2][0], quartic[3][0])
    quadratic = acceleration.race(*sensor, 2, grid, near_zero(64))
    assert quadratic[1][0] < 1.5 * min(quadratic[2][0], quadratic[3][0])


def test_counts_that_are_accidents_of_rounding_are_found_and_not_used():
    """Depth 3 at step 1 on the diabetes data: a chaotic start, then any number of iterations."""
    (X, y), start = acceleration.diabetes(), near_zero(10)
    target = acceleration.excess_target(X, y, 4, 1e-3)
    chaotic = acceleration.rounding_counts(X, y, 4, 3, 1.0, start, target, 1500)
    calm = acceleration.rounding_counts(X, y, 4, 3, 0.5, start, target, 600, copies=4)
    assert chaotic.max() > 1.2 * chaotic.min() and np.ptp(calm) == 0
    count, step = acceleration.race(X, y, 4, {3: [0.5, 1.0]}, start)[3]
    assert step == 0.5 and count == calm[0]
    with pytest.raises(RuntimeError, match="3 arrives at no step whose count is no accident"):
        acceleration.race(X, y, 4, {3: [1.0]}, start)


def test_race_says_when_nothing_arrives():
    X, y = small_regression()
    with pytest.raises(RuntimeError, match="no step of 'adagrad' arrived in 3 iterations"):
        acceleration.race(X, y, 4, {"adagrad": [1e-3]}, near_zero(5), n_steps=3)


# Data


def test_data_are_standardized_and_of_their_size():
    cases = {
        (442, 10): acceleration.diabetes(),
        (2565, 128): acceleration.sensor_like(np.random.default_rng(0)),
        (300, 20): acceleration.sensor_like(np.random.default_rng(0), 300, 20, condition=1e3),
    }
    for shape, (X, y) in cases.items():
        assert X.shape == shape and y.shape == shape[:1]
        assert np.allclose(X.mean(axis=0), 0) and np.allclose(X.std(axis=0), 1)
        assert np.isclose(y.std(), 1)
    assert 50 < np.linalg.cond(cases[2565, 128][0]) < 200
    assert np.linalg.cond(cases[300, 20][0]) > 500


def test_constant_columns_become_zero():
    X, _ = acceleration.standardize([[1.0, 2.0], [1.0, 4.0]], [0.0, 1.0])
    assert X.tolist() == [[0.0, -1.0], [0.0, 1.0]]


LINES = [
    "1;10.000000 1:15596.1 2:1.8 3:2.3",
    "2;30.000000 1:1.0 2:2.0 3:3.0",
    "1;50.000000 1:26402.0 2:2.5 3:5.3",
    "1;20.000000 1:42103.5 2:3.4 3:9.0",
]
RAW = np.array([[15596.1, 1.8, 2.3], [26402.0, 2.5, 5.3], [42103.5, 3.4, 9.0]])


def test_files_of_the_real_data_are_read(tmp_path):
    (tmp_path / "batch1.dat").write_text("\n".join(LINES[:2]) + "\n\n")
    (tmp_path / "batch2.dat").write_text("\n".join(LINES[2:]))
    X, y = acceleration.sensor_array(tmp_path)
    wanted = acceleration.standardize(RAW, [10.0, 50.0, 20.0])
    assert np.allclose(X, wanted[0]) and np.allclose(y, wanted[1])
    one_file = tmp_path / "all.txt"
    one_file.write_text("\n".join(LINES))
    assert np.allclose(acceleration.sensor_array(one_file)[0], X)


def test_data_that_are_not_there_say_what_to_do(tmp_path):
    for source in (tmp_path, tmp_path / "missing.dat"):
        with pytest.raises(ValueError, match="source has no file.*sensor_like"):
            acceleration.sensor_array(source)


def test_standardized_data_do_not_depend_on_the_units():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    wanted = acceleration.standardize(X, y)[0]
    for scale in (1e-12, 1e12):
        assert np.allclose(acceleration.standardize(scale * X, y)[0], wanted)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 1:2.0 2:3.0", "no line `1;…`"),
        ("1;x 1:2.0", "cannot be read"),
        ("1;10.0", "X is empty"),
        ("1;10.0 1:2.0 2:3.0\n1;20.0 1:2.0", "cannot be read.* number of columns changed"),
        ("2;10.0 1:2.0", "so nothing of gas 1"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, text, match):
    file = tmp_path / "batch1.dat"
    file.write_text(text)
    with pytest.raises(ValueError, match=match):
        acceleration.sensor_array(file)


# Bad input

X0, Y0 = np.eye(3), np.ones(3)
W0 = np.ones(3)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: acceleration.two_targets(1.5, 3.0), "p must be at least 2"),
        (lambda: acceleration.two_targets(4, 0.5), "R must be at least 1"),
        (lambda: acceleration.plain_iterations(4, 5.0, [-1.0]), "steps must be greater than 0"),
        (lambda: acceleration.plain_iterations(1, 5.0, [1.0]), "p must be at least 2"),
        (lambda: acceleration.plain_lower_bound(4, 5.0, start=5.0), "start must lie below"),
        (lambda: acceleration.jump(2, 5.0, 2), "p must be greater than 2"),
        (lambda: acceleration.jump(4, 5.0, 1), "depth must be at least 2"),
        (lambda: acceleration.jump(2.01, 1.2, 2), "R must be larger"),
        (lambda: acceleration.minimize(X0, np.ones(2), 4), "X and y must have as many rows"),
        (lambda: acceleration.minimize(X0, Y0, 1), "p must be at least 2"),
        (lambda: acceleration.losses_along(X0, Y0, 4, 1, [0.0], 5, W0), "steps must be greater"),
        (lambda: acceleration.losses_along(X0, Y0, 4, 2, [1.0], 5, 0 * W0), "start must have 3"),
        (lambda: acceleration.losses_along(X0, Y0, 4, 1, [1.0], 5, W0[:2]), "start must have 3"),
        (lambda: acceleration.losses_along(X0, Y0, 4, "adam", [1.0], 5, W0), "method must be"),
        (lambda: acceleration.losses_along(X0, Y0, 4, 0, [1.0], 5, W0), "method must be at least"),
        (lambda: acceleration.excess_target(X0, Y0, 4, -1), "share must be greater than 0"),
        (lambda: acceleration.sensor_like(0), "rng must be a numpy.random.Generator"),
        (lambda: acceleration.sensor_like(np.random.default_rng(0), 20), "n_rows must be at least"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
