"""A teacher and its students: descent, the linearized limit, the stored table, bad input."""

import numpy as np
import pytest

from overparam import lazy, students


def test_one_step_of_the_students_is_gradient_descent():
    room, scale, step = students.classroom(5, 4, 30, np.random.default_rng(1), n_test=10), 0.7, 0.1
    model = lazy.two_layer(room.X, 4, "relu")
    w = scale * np.concatenate([room.a.ravel(), room.b])
    assert np.abs(model(w)).max() < 1e-12  # doubled
    first = w.copy()
    for _ in range(3):
        w = w - step / (1 + scale**2) * model.differential(w).T @ (model(w) - room.y) / 30
    train_error, _, moved = students.trained(room, [0.1, scale], 3, step)
    assert train_error[1] == pytest.approx(0.5 * np.mean((model(w) - room.y) ** 2), rel=1e-10)
    assert moved[1] == pytest.approx(np.linalg.norm(w - first) / np.linalg.norm(first), rel=1e-10)


def test_students_of_large_scale_are_the_linearized_one():
    room = students.classroom(10, 8, 60, np.random.default_rng(2), n_test=200)
    scales = np.array([10.0, 40.0, 160.0])
    errors, moves = np.array(students.trained(room, scales, 500, 0.2))[1:]
    limit = students.linearized(room, 500, 0.2)[1]
    assert np.all(np.diff(np.abs(errors - limit)) < 0)
    assert errors[-1] == pytest.approx(limit, rel=1e-3)
    assert np.log(moves[2] / moves[1]) / np.log(4) == pytest.approx(-2, abs=0.05)


@pytest.mark.parametrize("seed", [0, 1])
def test_rich_students_generalize_and_lazy_ones_do_not(seed):
    room = students.classroom(20, 20, 200, np.random.default_rng(seed))
    test_error = students.trained(room, [0.01, 30.0], 2000, 0.2)[1]
    assert test_error[0] < 0.1 * test_error[1]


def test_stored_table_is_what_its_command_makes():
    """One of the scales again (they are trained side by side and do not interact)."""
    table = students.stored()
    assert table.shape == (3 * (len(students.LARGE_SCALES) + 1), 5)
    rows = students.large(1, scales=[3.0])
    stored = table[(table[:, 0] == 1) & np.isin(table[:, 1], [3.0, np.inf])]
    assert np.allclose(rows, stored, rtol=1e-3)
    for seed in range(3):
        test_error = table[table[:, 0] == seed][:, 3]
        assert test_error[0] < test_error[-1] / 20
    assert table[:, 2].max() < 0.01


def test_divergence_is_reported():
    room = students.classroom(5, 4, 30, np.random.default_rng(1), n_test=10)
    with pytest.raises(ValueError, match="step = 50 is too long"):
        students.trained(room, [1.0], 300, 50.0)
    with pytest.raises(ValueError, match="step = 50 is too long"):
        students.linearized(room, 300, 50.0)
    with pytest.raises(ValueError, match="scales must be positive"):
        students.trained(room, [1.0, 0.0], 3, 0.1)
    with pytest.raises(ValueError, match="m must be even"):
        students.classroom(5, 3, 30, np.random.default_rng(1))
