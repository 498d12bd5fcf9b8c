"""The course's core: instances, encoding, the parser of formulas, the judge."""

import contextlib
import doctest
import functools
import json
import math
import pickle
import time

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import coursework as course
from coursework import answers, compare, engine, expressions

ALL = [(name, part) for name in course.ASSIGNMENTS for part in course.parts(name)]
# One part of each kind: formula, number, function, array.
KINDS = [("warmup", "1"), ("warmup", "2"), ("warmup", "3"), ("convergence", "4")]


@pytest.fixture(autouse=True)
def outside_of_any_grading(monkeypatch):
    for name in ("OVERPARAM_TASKS", "NBGRADER_EXECUTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(engine, "_enrolled", engine.READER)


def data(task):
    """The drawn data of a task, as text that can be compared."""
    drawn = {k: v for k, v in vars(task).items() if k not in ("assignment", "part", "student")}
    return repr(drawn)


# Instances


@pytest.mark.parametrize(("assignment", "part"), ALL)
def test_an_id_always_gives_the_same_numbers_and_another_gives_others(assignment, part):
    own = [data(course.task(assignment, part, f"student{i}")) for i in range(20)]
    assert own == [data(course.task(assignment, part, f"student{i}")) for i in range(20)]
    assert len(set(own)) == 20


def test_capitals_and_blanks_around_an_id_do_not_matter():
    first = data(course.task("warmup", "2", "ada.lovelace"))
    assert first == data(course.task("warmup", "2", "  Ada.Lovelace\n"))
    # One letter, composed or not.
    assert course.normalise("E\u0301mile") == course.normalise("\u00c9mile")


def test_parts_differ_for_one_student():
    assert course.task("warmup", "2", "x").y != course.task("warmup", "4", "x").y


@given(st.text(max_size=300))
@settings(max_examples=40)
def test_every_text_is_an_id(student):
    assert course.task("kernel", "1", student).student == course.normalise(student)


def hand_over(monkeypatch, tmp_path, student, *parts):
    """Do what the grading does before a notebook runs: tasks come as data."""
    tasks = {("warmup", part): engine.asked("warmup", part, student) for part in parts}
    (tmp_path / "tasks").write_bytes(pickle.dumps(tasks))
    monkeypatch.setenv("OVERPARAM_TASKS", str(tmp_path / "tasks"))


def test_while_a_class_is_graded_the_task_is_the_rosters(monkeypatch, tmp_path):
    own = data(course.task("warmup", "2", "ada"))
    hand_over(monkeypatch, tmp_path, "Ada", "2")
    for student in ("bob", None, "hidden-1"):
        assert course.task("warmup", "2", student).student == "ada"
        assert data(course.task("warmup", "2", student)) == own


@pytest.mark.parametrize("student", ["hidden-1", 7, None, "", "  "])
def test_whoever_is_nobody_is_the_reader(student, capsys):
    course.enrol("ada")
    course.enrol(student)
    assert course.task("warmup", "2").student == "reader"
    assert "made for: reader" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("assignment", "part", "match"),
    [("cooldown", "1", "assignment must be one of"), ("warmup", "9", "part must be one of")],
)
def test_an_unknown_task_is_an_error(assignment, part, match):
    with pytest.raises(ValueError, match=match):
        course.task(assignment, part, "x")


# Formulas

x, y = sp.symbols("x y", positive=True)
SMALL = st.integers(-4, 4).map(sp.Integer) | st.sampled_from([x, y, sp.Rational(2, 3), sp.pi])
FORMULAS = st.recursive(
    SMALL,
    lambda inner: (
        st.builds(lambda a, b: a + b, inner, inner)
        | st.builds(lambda a, b: a * b, inner, inner)
        | st.builds(lambda a: sp.exp(-(a**2)), inner)
        | st.builds(lambda a: sp.tanh(a) / (1 + a**2), inner)
        | st.builds(lambda a, b: sp.Max(a, b), inner, inner)
        | st.builds(lambda a, b: sp.Piecewise((a, x < y), (b, True)), inner, inner)
    ),
    max_leaves=6,
)


@given(FORMULAS, st.floats(0.3, 2.0), st.floats(0.3, 2.0))
@settings(max_examples=60)
def test_a_formula_means_what_sympy_means(formula, a, b):
    assume(abs(a - b) > 1e-3)
    expected = complex(formula.subs({x: a, y: b}).evalf())
    assume(abs(expected) < 1e12)
    got = expressions.parse(str(formula), ("x", "y"))(a, b)
    assert got == pytest.approx(expected.real, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch /tmp/broken')",
        "().__class__.__bases__[0]",
        "x.real",
        "x[0]",
        "[x for x in (1, 2)]",
        "lambda: 0",
        "x if x else y",
        "exp(x, y=2)",
        "exp(*[x])",
        "(exp)(x)(x)",
        "open('/etc/passwd')",
        "'x'",
        "f'{x}'",
        "x := 2",
        "x == y",
        "True",
        "1j * x",
        "I * x",
        "zoo",
        "Eq(x, y)",
        "w",
        "exp()",
        "Piecewise(x)",
        "Piecewise((x, 'a' < y))",
        "x; y",
        "",
        "\x00",
        "(" * 500 + "x" + ")" * 500,
        "-" * 3000 + "x",
        "+".join(["x"] * 1500),
        "x" * 10_000,
    ],
)
def test_what_is_no_formula_is_refused_in_words(text):
    with pytest.raises(expressions.ExpressionError) as error:
        expressions.parse(text, ("x", "y"))
    assert 10 < len(str(error.value)) < 200


@pytest.mark.parametrize("text", ["9**9**9**9", "10**10**10 - x", "9" * 3900, "x**(10**300)"])
def test_huge_numbers_become_infinite_at_once(text):
    start = time.process_time()
    with contextlib.suppress(expressions.ExpressionError):
        assert not np.isfinite(expressions.parse(text, ("x",))(2.0))
    assert time.process_time() - start < 1


@given(st.text(max_size=60) | st.text("xy+-*/().,0123456789 expsqrtPiecewise<>&|", max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_formula_or_an_expression_error(text):
    try:
        function = expressions.parse(text, ("x", "y"))
    except expressions.ExpressionError:
        return
    assert function(np.ones(3), np.ones(3)).shape == (3,)


# Encoding


class Nasty:
    def __getattribute__(self, name):
        raise RuntimeError("no")

    def __float__(self):
        raise RuntimeError("no")

    def __str__(self):
        raise RuntimeError("no")


ODD = [
    None, True, "text", b"bytes", {}, set(), object(), Nasty(), 1j, float("nan"), -np.inf, [],
    [[1.0], [1.0, 2.0]], ["a"], np.array(["a"]), np.zeros((0, 3)), np.ones(20_000), sp.Symbol("q"),
    sp.Integer(3), sp.Eq(x, 1), range(3), lambda: 1, 10**400, np.datetime64("2020-01-01"), type,
    np.ones(3, dtype=complex), [Nasty()], sp.Matrix([1, 2]), (1, 2), np.float32(2), iter([1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("assignment", "part"), KINDS)
@pytest.mark.parametrize("index", range(len(ODD)))
def test_any_answer_becomes_plain_data_and_a_message(assignment, part, index, capsys):
    answer = ODD[index]  # pytest itself would stumble over some of them
    own = course.task(assignment, part, "x")
    record = course.encode(own, answer)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    verdict = course.judge(assignment, part, "x", record)
    assert verdict.fraction == 0 and verdict.message[-1] in ".?"
    course.check(own, answer)
    assert capsys.readouterr().out == f"Part {part}: {verdict.message}\n"


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda *a: raise_(KeyError("secret")), "raises KeyError"),
        (lambda *a: raise_(SystemExit(3)), "raises SystemExit"),
        (lambda *a: raise_(type("<b>odd</b>", (Exception,), {})()), "raises unknown"),
        (lambda *a: "text", "returns a formula or text"),
        (lambda *a: np.nan, "returns no finite number"),
        (lambda *a: 1 / 0, "raises ZeroDivisionError"),
        (lambda *a: None if a[0] == 0.5 else 1.0, "returns"),
        (lambda: 1.0, "raises TypeError"),
        (lambda *a: print(), "does it end with return"),
        (lambda *a: np.ones((2, 2)), "shape (2, 2)"),
    ],
)
def test_what_a_function_does_is_told(function, words):
    own = course.task("warmup", "3", "x")
    message = course.judge("warmup", "3", "x", course.encode(own, function)).message
    assert words in message and "<b>" not in message and "secret" not in message


def test_a_function_cannot_change_what_it_is_asked():
    own = course.task("conservation", "3", "x")
    before = data(own)

    def greedy(t, Y, U0):
        Y[:] = 0
        U0[:] = 0
        return Y

    course.encode(own, greedy)
    own.cases[0][1][:] = 0  # even if the student does so himself
    course.encode(own, greedy)
    assert data(course.task("conservation", "3", "x")) == before


# Judging

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=20)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
RECORDS = JSON | st.fixed_dictionaries(
    {"kind": st.sampled_from(["none", "number", "array", "expression", "calls", "error", "other"])},
    optional={
        "value": JSON,
        "shape": JSON | st.lists(st.integers(-2, 10**9), max_size=3) | st.just([2]),
        "values": JSON | st.lists(st.floats() | JSON, max_size=4),
        "text": JSON | st.text("uv+-*/()0123456789", max_size=20),
        "results": st.lists(
            JSON | st.fixed_dictionaries({"kind": st.just("number"), "value": JSON}), max_size=5
        ),
        "type": JSON,
    },
)


@pytest.mark.parametrize(("assignment", "part"), KINDS)
@given(record=RECORDS)
@settings(max_examples=60)
def test_the_judge_has_a_word_for_every_record(assignment, part, record):
    verdict = course.judge(assignment, part, "x", record)
    assert verdict.fraction == 0
    assert isinstance(verdict.message, str) and 5 < len(verdict.message) < 400
    assert verdict.message.isprintable()


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "array", "shape": [10**9, 10**9], "values": []},
        {"kind": "array", "shape": [2], "values": [1.0] * 10**6},
        {"kind": "array", "shape": nested(5000), "values": nested(5000)},
        {"kind": "calls", "results": [nested(5000)] * 4},
        {"kind": "calls", "results": [{"kind": "array", "shape": [0] * 10**5, "values": []}] * 4},
        {"kind": "expression", "text": "(" * 10**6},
        {"kind": "expression", "text": "9**9**9**9*u"},
        {"kind": "error", "type": "<script>alert(1)</script>"},
        {"kind": "other", "type": "x" * 10**6},
        {"kind": nested(3)},
        nested(100_000),
    ],
)
@pytest.mark.parametrize(("assignment", "part"), KINDS)
def test_the_judge_is_quick_with_hostile_records(assignment, part, record):
    start = time.process_time()
    verdict = course.judge(assignment, part, "x", record)
    assert time.process_time() - start < 2
    assert verdict.fraction == 0 and len(verdict.message) < 400 and "<" not in verdict.message


@pytest.mark.parametrize("assignment", [None, 3, "nothing", [], {}])
def test_the_judge_knows_no_other_assignment(assignment):
    assert course.judge(assignment, "1", "x", {"kind": "none"}).fraction == 0
    assert course.judge("warmup", assignment, "x", {"kind": "none"}).fraction == 0


def test_stock_nbgrader_sees_an_error_unless_right_and_no_traceback(monkeypatch, capsys):
    own = course.task("kernel", "3", "x")
    J = np.hstack([2 * own.X * own.w0, -2 * own.X * own.w0])
    right = np.linalg.norm(np.linalg.pinv(J) @ own.y)
    monkeypatch.setenv("NBGRADER_EXECUTION", "validate")
    course.check(own, right)
    assert capsys.readouterr() == ("Part 3: right.\n", "")
    for part, answer, words in ((own, 2 * right, "2.00 times"), (own, None, "no answer yet")):
        course.check(part, answer)
        out, err = capsys.readouterr()
        assert out == "" and words in err and "Traceback" not in err
    course.check(5, right)
    assert "Run that cell again" in capsys.readouterr().err


def test_stock_nbgraders_validate_gives_our_words_and_no_traceback(tmp_path):
    import nbformat
    from nbgrader.validator import Validator

    cells = [("a", "from coursework import check, task\npart = task('warmup', '2', 'x')", {})]
    meta = {"grade_id": "c", "points": 3, "grade": True, "solution": False, "locked": True}
    cells.append(
        ("c", "check(part, 1.0)", {"nbgrader": meta | {"schema_version": 3, "task": False}})
    )
    made = [nbformat.v4.new_code_cell(text, id=name, metadata=m) for name, text, m in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made), tmp_path / "x.ipynb")
    found = Validator(ignore_checksums=True).validate(str(tmp_path / "x.ipynb"))
    (failed,) = found["failed"]
    assert failed["raw_error"].startswith("Part 2: not yet: your rate")
    assert "Traceback" not in failed["raw_error"]


def shown_by(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda d, raw: shown.append((d, raw)))
    return shown


def test_while_a_class_is_graded_the_answer_is_displayed_and_not_judged(
    monkeypatch, capsys, tmp_path
):
    shown = shown_by(monkeypatch)
    hand_over(monkeypatch, tmp_path, "ada", "2", "3")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    course.check(course.task("warmup", "2", "bob"), math.pi)
    (bundle, raw), *more = shown
    assert raw and not more and bundle["text/plain"] == "recorded"
    record = {"kind": "number", "value": math.pi}
    assert bundle[engine.MIME] == {"assignment": "warmup", "part": "2", "record": record}
    assert capsys.readouterr().out == ""
    # A function is kept, and asked with other data at the end.
    course.check(course.task("warmup", "3"), lambda *given: sum(given))
    engine.record_hidden([("warmup", "3", [[(1, 2, 3, 4)], [(0, 0, 0, 1), (1, 1, 1, 1)]])])
    hidden = shown[-1][0][engine.MIME]["hidden"]
    assert [[r["value"] for r in record["results"]] for record in hidden] == [[10], [1, 4]]


@pytest.mark.parametrize("part", [None, 3, "x", object(), np.ones(3)])
def test_a_part_that_is_none_is_told_and_nothing_is_raised(part, capsys):
    course.check(part, 1.0)
    assert "Run that cell again" in capsys.readouterr().out


# Messages


def test_a_message_gives_a_simple_ratio_or_one_digit_of_the_error():
    assert compare.number(2.0, 1.0, "it") == "it is 2.00 times the correct one"
    assert compare.number(1.2345, 1.0, "it") == "it is too large by about 20 %"
    assert compare.number(-1.2, 1.0, "it") == "it is of the wrong sign"
    assert compare.number(37.0, 1.0, "it") == "it is more than ten times too large"
    assert compare.number(1.0004, 1.0, "it") is None
    assert compare.number(0.1, 0.0, "it") == "it is not zero, as it should be"


@given(st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_no_message_gives_the_answer_away(got, right):
    """One digit of the relative error is left, so that the answer is not simply worked out."""
    message = compare.number(got, right, "it")
    if message is None or "times the correct one" in message:
        return
    digits = [word for word in message.split() if word[0].isdigit()]
    assert all(len(word.strip("0.")) <= 1 for word in digits)


def test_answers_are_read_back_as_they_were():
    for asked, answer in [
        ({"number": True}, 1 / 3),
        ({"number": True}, np.float32(0.1)),
        ({"number": True}, sp.sqrt(2)),
        ({"array": [2, 2]}, np.array([[1 / 3, 1e-300], [-0.0, 1e300]])),
    ]:
        record = json.loads(json.dumps(answers.encode(answer)))
        assert np.array_equal(answers.decode(asked, None, record), np.asarray(answer, dtype=float))


@pytest.mark.parametrize("module", [engine, expressions])
def test_examples_in_docstrings_say_what_comes_out(module):
    found = doctest.testmod(module)
    assert found.attempted >= 2 and not found.failed


# Slips of form: the words for the commonest ones

SLIPS = [
    ("1", r"\frac{u^2}{2}", "LaTeX"),
    ("1", "u^2 - v^2", "powers are written with **"),
    ("1", "u² - v²", "powers are written with **"),
    ("1", "2u - v", "write the multiplication *"),
    ("1", "2(u - v)", "write the multiplication *"),
    ("1", "u(1 + v)", "write the multiplication *"),
    ("1", "exp 2*u", "all parentheses"),
    ("1", "(u + v", "look at the parentheses"),
    ("1", "I = u - v", "right-hand side only"),
    ("1", "u == v", "right-hand side only"),
    ("1", "3,5*u", "the decimal sign is a point"),
    ("1", "|u - v|", "Abs(x)"),
    ("1", "√u", "sqrt(x)"),
    ("1", "u − v", "the minus sign is written -"),
    ("1", "u × v", "the multiplication is written *"),
    ("1", "e**u", "the exponential is written exp(x)"),
    ("1", "y*u", "holds the symbol y; it may hold: u, v"),
    ("1", [1.0, 2.0], "a formula (a sympy expression) is asked for, and yours is an array"),
    ("1", lambda u, v: u, "a function: give what it returns"),
    ("2", (3, 14), "the decimal sign is a point"),
    ("2", "3.14", "a number is written without quotes"),
    ("2", {3.14}, "leave out the braces"),
    ("2", 3.14 + 0j, "take its real part"),
    ("2", True, "a truth value"),
    ("2", math.nan, "not finite"),
    ("3", 3.14, "give the function itself, without calling it"),
    ("3", lambda *a: None if a else 0, "returns None (does it end with return, not with print?)"),
]


@pytest.mark.parametrize(("part", "answer", "words"), SLIPS)
def test_a_slip_of_form_is_told_with_its_cure(part, answer, words):
    """C19."""
    own = course.task("warmup", part, "x")
    verdict = course.judge("warmup", part, "x", course.encode(own, answer))
    assert verdict.fraction == 0 and words in verdict.message


def test_a_function_as_handed_out_is_no_answer_yet():
    def time_to(share, y, u0, v0):
        """Return when the loss is share times what it was at the start."""
        # YOUR CODE HERE

    own = course.task("warmup", "3", "x")
    assert course.encode(own, time_to) == {"kind": "none"}


@pytest.mark.parametrize(
    ("number", "most"), [("0.12345", 18), ("12345/100000", 15), ("(.123 + 45e-5)", 18), ("7", 90)]
)
def test_many_digits_are_a_fit_and_no_formula(number, most):
    """However they are written: as decimals, as fractions, in pieces."""
    parse = functools.partial(expressions.parse, names=("u",))
    assert parse(" + ".join([f"{number}*u"] * most))(1.0) > 0
    with pytest.raises(expressions.ExpressionError, match="as a fitted curve does"):
        parse(" + ".join([f"{number}*u"] * (most + 1)))
