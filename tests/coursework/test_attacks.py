"""No unearned point: programs that attack the grading, each with the points that it may have.

They are handed in three at a time, one for each automatic part of a notebook, and graded once. What
a part gets is the better of a run with the others and a run alone, so they cannot hide each other.
"""

import functools
import itertools
import json
import re

import attacks
import nbformat
import numpy as np
import pytest
import simulate
import test_grading
from test_assignments import answer, cells, solved, source

import coursework as course
from coursework import engine
from coursework.grading import grade, gradebook, work
from coursework.grading import source as sources_of

PARTS = ("2", "3")


def by_part():
    """Return the attacks in rows of one for each part; None where there is none left."""
    lists = [[n for n, a in attacks.ATTACKS.items() if a.part == part] for part in PARTS]
    return list(itertools.zip_longest(*lists))


def attack_class(folder):
    """Hand in all attacks, and grade them."""
    notebook = nbformat.read(test_grading.SOURCES / "warmup" / "warmup.ipynb", as_version=4)
    notebook.cells = [
        c
        for c in notebook.cells
        if not (sources_of.grade_id(c) or "").startswith(("warmup-1", "warmup-4"))
    ]
    (folder / "source" / "warmup").mkdir(parents=True)
    nbformat.write(notebook, folder / "source" / "warmup" / "warmup.ipynb")
    asked = sources_of.read("warmup", folder / "source")
    release = gradebook.release(asked.notebook)
    students = [f"a{number:02d}" for number in range(len(by_part()))]
    targets = [str(folder / "out" / "secret"), str(folder / "out" / "gradebook.db")]
    for student, names in zip(students, by_part(), strict=True):
        nb = json.loads(json.dumps(release))
        codes = {f"warmup-{attacks.ATTACKS[n].part}": attacks.ATTACKS[n].code for n in names if n}
        codes["student"] = f"student = {student!r}"
        for cell in nb["cells"]:
            name = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if name in codes:
                cell["source"] = codes[name].replace("TARGETS", repr(targets))
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub" / f"{student}.ipynb").write_text(json.dumps(nb), encoding="utf-8")
    simulate.write_roster(folder / "roster.csv", students)
    grade.grade(
        folder / "sub", "warmup", folder / "roster.csv", folder / "out",
        sources=folder / "source", limits=test_grading.limits(), progress=False,
    )  # fmt: skip
    (folder / "facts.json").write_text("{}")


@pytest.fixture(scope="session")
def attacked(tmp_path_factory):
    """Name of attack → (points, row)."""
    folder, _ = test_grading.shared_folder(tmp_path_factory, "attacks", attack_class)
    found = {}
    for row, names in zip(test_grading.read_table(folder / "out"), by_part(), strict=True):
        found |= {n: (row[attacks.ATTACKS[n].part], row) for n in names if n}
    return found | {"out": folder / "out"}


def test_nothing_that_is_heard_early_is_shown(attacked):
    """What goes in when the sandbox asks comes out of it as right or wrong only."""
    _, row = attacked["function: asks early, and shows what it hears"]
    out = attacked["out"]
    texts = [p.read_text() for p in out.rglob("*") if row["student"] in p.parts if p.is_file()]
    assert len(texts) >= 3 and not any("HEARD b" in t for t in [*texts[1:], row["reason"]])


def test_there_are_at_least_forty():
    assert len(attacks.ATTACKS) >= 40


@pytest.mark.parametrize("name", [n for n, a in attacks.ATTACKS.items() if a.part in PARTS])
def test_an_attack_gets_what_its_answers_earn(attacked, name):
    points, row = attacked[name]
    assert float(points) == attacks.ATTACKS[name].points, row


@pytest.mark.parametrize("name", [n for n, a in attacks.ATTACKS.items() if a.part == "1"])
def test_a_formula_gets_what_it_earns(name):
    """Their code makes an answer and attacks nothing else: it needs no sandbox."""
    record = answer("warmup", "1", "ada", attacks.ATTACKS[name].code)
    for seed in "abc":
        fraction = course.judge("warmup", "1", "ada", record, seed).fraction
        assert 4 * fraction == attacks.ATTACKS[name].points


# Formulas that only run near the right one

FORMULAS = [("conservation", "1"), ("conservation", "2"), ("convergence", "1"), ("bias", "1")]


@functools.cache
def values_of(assignment, part, student):
    """Return the points that seeds ask for, and the right values there."""
    from coursework import engine

    own, compare = engine._task(assignment, part, student), engine._part(assignment, part).compare
    seen = [compare(own, None, np.random.default_rng(seed))[:2] for seed in range(40)]
    points = np.concatenate([x for (x,), _ in seen])
    values = np.concatenate([y for _, y in seen])
    order = np.argsort(points)
    return points[order], values[order]


def polynomial(x, y, degree, name, log):
    """Return the text of a polynomial fitted to points, in x or in its logarithm."""
    z = np.log(x) if log else x
    low, high = z.min(), z.max()
    fit = np.polynomial.Chebyshev.fit(z, y, degree, domain=[low, high])
    coefficients = fit.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1]).coef
    arg = f"(({'log' if log else ''}({name}) - ({low:.12g}))*{2 / (high - low):.12g} - 1)"
    text = f"{coefficients[-1]:.10g}"
    for c in coefficients[-2::-1]:
        text = f"({text})*{arg} + ({c:.10g})" if len(text) < 3000 else text
    return text


@pytest.mark.parametrize(("assignment", "part"), FORMULAS)
@pytest.mark.parametrize("degree", [3, 5, 8, 12, 20])
def test_a_fitted_curve_is_no_formula(assignment, part, degree):
    """All points and values that any seed could ask for are known to whoever knows the source."""
    x, y = values_of(assignment, part, "ada")
    name = {"conservation": "t", "convergence": "x", "bias": "c"}[assignment]
    for log in (False, True):
        text = polynomial(x, y, degree, name, log)
        for seed in ("1", "2", "3"):
            record = {"kind": "expression", "text": text}
            assert course.judge(assignment, part, "ada", record, seed).fraction == 0


@pytest.mark.parametrize(("assignment", "part"), [*FORMULAS, ("warmup", "1"), ("kernel", "1")])
def test_the_right_formula_is_right_at_every_seed(assignment, part):
    for student in ("ada", "bob"):
        record = solved(assignment, part, student)
        for seed in range(25):
            assert course.judge(assignment, part, student, record, str(seed)).fraction == 1


def test_a_table_of_the_public_points_is_no_formula():
    """At home everybody sees where a check compares; the grading draws other points."""
    assert "warmup-1" in cells(source("warmup"))
    x, y = values_of("conservation", "2", "ada")
    pieces = ", ".join(f"({b:.9g}, t < {a:.9g})" for a, b in zip(x[::8], y[::8], strict=True))
    record = {"kind": "expression", "text": f"Piecewise({pieces}, (1.0, t > 0))"[:4000]}
    assert course.judge("conservation", "2", "ada", record, "s").fraction == 0


def test_a_fit_with_all_digits_is_no_formula_and_would_be_one(monkeypatch):
    """In whole numbers, each of them short: what would pass is told by its digits alone."""
    from coursework import expressions

    x, y = values_of("conservation", "1", "ada")
    z = np.log(x)
    a, b = 2 / np.ptp(z), -(z.max() + z.min()) / np.ptp(z)
    angles = np.arccos(np.clip(a * z + b, -1, 1))
    fit = np.linalg.lstsq(np.cos(np.outer(angles, np.arange(41))), y, rcond=None)[0]

    def whole(value):
        """Return a number as a sum of short ones."""
        digits = f"{abs(round(value * 10**12)):013d}"
        pieces = [f"{digits[-k - 3 : -k or None]}/10**{12 - k}" for k in range(0, 12, 3)]
        return f"{'-' if value < 0 else ''}({'+'.join([digits[:-12], *pieces])})"

    # Leading zeros are no numbers in Python.
    def short(text):
        return re.sub(r"(?<![\d*])0+(?=\d)", "", text)

    angle = short(f"acos(Min(1,Max(-1,{whole(a)}*log(t)+{whole(b)})))")
    text = short("+".join(f"{whole(c)}*cos({k}*A)" for k, c in enumerate(fit)))
    record = {"kind": "expression", "text": text.replace("A", angle)}
    monkeypatch.setattr(expressions, "LONGEST", 10**6)
    monkeypatch.setattr(engine.answers, "LONGEST", 10**6)
    for most, earned in ((expressions.MOST_DIGITS, 0), (10**6, 1)):
        monkeypatch.setattr(expressions, "MOST_DIGITS", most)
        assert course.judge("conservation", "1", "ada", record, "1").fraction == earned


def test_hidden_instances_are_other_ones_for_every_student_file_and_secret():
    job = work.Job("warmup", "ann", "ann", "d", [], [], "secret")
    names = set(work._hidden_ids(job, "3"))
    assert len(names) == work.INSTANCES
    for other in ({"student": "bob"}, {"digest": "e"}, {"secret": "x"}):
        assert not names & set(work._hidden_ids(job._replace(**other), "3"))
