"""The program that falsifies formulas: it must itself be able to tell."""

import random

import mutations
import pytest


def lines(source):
    return [line for line, _ in mutations.mutants(source)]


def test_every_kind_of_mutation_is_made():
    assert lines("y = 3 * x") == ["y = 3 / x", "y = 6 * x"]
    assert lines("y = x ** 2") == ["y = x ** 3"]
    assert lines("y = -x[0]") == ["y = +x[0]", "y = -x[1]"]
    assert lines("assert a <= b") == ["assert a > b"]


def test_sizes_seeds_tolerances_and_drawings_are_left_alone():
    for source in (
        "rng = default_rng(2 * 3)",
        "t = np.linspace(0, 2 * end, 50)",
        "ax.plot(2 * x)",
        "f(x, rtol=2 * eps)",
        "print(f'{2 * x}')",
    ):
        assert lines(source) == []
    assert lines("np.allclose(2 * a, b, 1 - c)") == ["np.allclose(2 / a, b, 1 - c)"] + [
        "np.allclose(4 * a, b, 1 - c)"
    ]


@pytest.mark.parametrize("check, noticed", [("assert x == 4", True), ("assert x > 0", False)])
def test_a_check_that_cannot_fail_is_found(tmp_path, monkeypatch, check, noticed):
    """2·2 becomes 2/2, 4·2 and 2·4: none of them is noticed by a check of the sign alone."""
    book = tmp_path / "book"
    book.mkdir()
    cell = f'{{"cell_type": "code", "source": "x = 2 * 2\\n{check}", "outputs": []}}'
    (book / "toy.ipynb").write_text(f'{{"cells": [{cell}]}}')
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    tried, survived = mutations.page_survivors("toy", 60, random.Random(0))
    assert tried == 4  # the comparison is turned too, and always noticed
    assert survived == ([] if noticed else ["x = 2 / 2", "x = 4 * 2", "x = 2 * 4"])


def test_only_what_uses_the_mutated_cell_is_run_again():
    """Also through a function that reads a global name; not what binds the name anew."""
    sources = ["def f(): return x", "x = 2", "y = 3", "z = f()", "x = 1", "x + y", "[z for y in x]"]
    cells = [{"source": source} for source in sources]
    assert [at for at, _ in mutations._dependent(cells, 1)] == [1, 3, 6]
    assert [at for at, _ in mutations._dependent(cells, 2)] == [2, 5]


def test_the_mutated_library_is_the_one_that_is_tested(tmp_path, monkeypatch):
    """Whatever path the settings of pytest put first."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["lib"]\n')
    for folder in ("lib/overparam", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lib/overparam/__init__.py").touch()
    (tmp_path / "lib/overparam/toy.py").write_text("def twice(x):\n    return 2 * x\n")
    test = "from overparam import toy\n\ndef test():\n    assert toy.twice(3) == 6\n"
    (tmp_path / "tests/test_toy.py").write_text(test)
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    assert mutations.library_survivors("toy", 60, random.Random(0)) == (2, [])
