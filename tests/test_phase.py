"""The stored phase picture is what its function computes, and carries what the chapter says."""

import runpy

import numpy as np
import pytest

from overparam import completion, phase

FAST = ("alternating", "nuclear norm", "depth 2", "depth 3")


def test_the_store_is_whole_and_small(capsys):
    table = phase.stored()
    cells = len(phase.GRID["rank"]) * len(phase.GRID["oversampling"])
    assert len(table) == cells * len(phase.SEEDS) and (table["error"] == "").all()
    assert phase.STORED.stat().st_size <= 150_000
    runpy.run_path(phase.__file__, run_name="imported")
    assert capsys.readouterr().out == ""  # only as a program it computes the store


def chosen(table):
    """Cells from everywhere, by a fixed seed: easy, at the border of the networks, hopeless."""
    rng = np.random.default_rng(0)
    known = table[table.determined]
    border = known[(known["depth 3"] > 1e-3) | (known["depth 4"] > 1e-3)]
    parts = (table[~table.determined], border, known.drop(border.index))
    return [part.iloc[rng.integers(len(part))] for part in parts for _ in range(2)]


@pytest.mark.parametrize("number", range(6))
def test_cells_from_everywhere_are_computed_as_stored(number):
    row = chosen(phase.stored())[number]
    methods = phase.METHODS if number == 2 else FAST  # depth 4 takes seconds at the border
    now = phase.cell(np.random.default_rng(row.seed), int(row["rank"]), row.oversampling, methods)
    assert now.pop("determined") == row.determined
    for method in methods if row.determined else ():
        assert now[method] == pytest.approx(row[method], rel=0.1), method
        assert now[f"{method} rank"] == pytest.approx(row[f"{method} rank"], abs=0.1), method
    if row.determined:
        assert set(filter(None, now["unfinished"].split(", "))) <= set(row.unfinished.split(", "))


def test_stored_cells_carry_the_conclusions_of_the_chapter():
    known = phase.stored().query("determined")
    good = {method: known[method] < 1e-3 for method in phase.METHODS}

    def split(one, two):
        return np.sum(good[one] & ~good[two]), np.sum(good[two] & ~good[one])

    for pair in (("depth 3", "depth 2"), ("depth 3", "nuclear norm"), ("alternating", "depth 3")):
        more, less = split(*pair)
        assert more >= 10 and less == 0  # a fair coin would do this once in a thousand times
    assert good["alternating"].mean() > 0.95


def test_a_short_row_leaves_the_matrix_undetermined():
    rng = np.random.default_rng(1)
    for size, rank in ((8, 1), (8, 2), (10, 3)):
        truth = completion.random_low_rank((size, size), rank, rng)
        mask = np.ones((size, size), bool)
        mask[0, rank:] = False  # rank entries left: just enough
        assert phase.determined(*np.nonzero(mask), truth, rank)
        mask[0, 0] = False
        assert not phase.determined(*np.nonzero(mask), truth, rank)


def test_determined_needs_as_many_entries_as_degrees_of_freedom():
    rng = np.random.default_rng(2)
    size, rank = 8, 2
    truth = completion.random_low_rank((size, size), rank, rng)
    counts = phase.freedom(size, rank) + np.array([-1, 0])
    sure = [
        [
            phase.determined(*completion.random_positions((size, size), count, rng), truth, rank)
            for _ in range(200)
        ]
        for count in counts
    ]
    assert not any(sure[0]) and any(sure[1])
    rows, cols = np.indices((size, size)).reshape(2, -1)
    mask = np.ones((size, size), bool)
    mask[0, 1:] = False
    for scale in (1e-12, 1.0, 1e12):  # the units do not matter
        assert phase.determined(rows, cols, scale * truth, rank)
        assert not phase.determined(*np.nonzero(mask), scale * truth, rank)


def test_not_determined_means_a_curve_of_completions():
    """Follow the kernel of the Jacobian for a step: the entries stay, the matrix does not."""
    rng = np.random.default_rng(3)
    U, V = rng.standard_normal((6, 2)), rng.standard_normal((6, 2))
    mask = np.ones((6, 6), bool)
    mask[0, 1:] = False
    assert not phase.determined(*np.nonzero(mask), U @ V.T, 2)
    other = U.copy()
    other[0] += np.array([-V[0, 1], V[0, 0]])  # any vector orthogonal to the one column seen
    assert np.allclose((other @ V.T)[mask], (U @ V.T)[mask])
    assert np.abs(other @ V.T - U @ V.T).max() > 0.1


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_alternating_finds_the_matrix_in_any_units(scale):
    rng = np.random.default_rng(4)
    truth = scale * completion.random_low_rank((30, 30), 2, rng)
    rows, cols = completion.random_positions((30, 30), 300, rng)
    X, reason = phase.alternating(
        rows, cols, truth[rows, cols], truth.shape, 2, goal=1e-10 * scale**2
    )
    assert reason == "loss reached"
    assert np.linalg.matrix_rank(X) == 2
    assert completion.reconstruction_error(X, truth) < 1e-8 * scale**2
    data, observed = np.zeros_like(truth), truth[rows, cols]
    start, reason = phase.alternating(rows, cols, observed, truth.shape, 2, sweeps=0)
    assert reason == "end of sweeps"
    data[rows, cols] = observed
    left, sigma, right = np.linalg.svd(data)
    assert np.allclose(start, left[:, :2] * sigma[:2] @ right[:2], atol=1e-12 * scale)


@pytest.mark.parametrize("values", [[1, 2, np.nan], [1, 2, 1j], list("abc"), [1, 2]])
def test_what_is_no_matrix_with_holes_is_refused(values):
    with pytest.raises(ValueError, match="values"):
        phase.alternating([0, 0, 1], [0, 1, 0], values, (2, 2), 1)


def test_all_methods_of_a_cell_complete_the_same_matrix(monkeypatch):
    truths = []
    original = completion.reconstruction_error
    monkeypatch.setattr(
        completion,
        "reconstruction_error",
        lambda W, truth: truths.append(truth) or original(W, truth),
    )
    one = phase.cell(np.random.default_rng(7), 1, 3.0, FAST, size=12)
    two = phase.cell(np.random.default_rng(7), 1, 3.0, FAST[::-1], size=12)
    assert all(np.array_equal(truths[0], truth) for truth in truths) and one == two
