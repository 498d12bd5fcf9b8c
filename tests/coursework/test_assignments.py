"""The assignments: release, solutions, typical wrong answers, and nothing that leaks."""

import ast
import contextlib
import html
import importlib.util
import inspect
import io
import itertools
import json
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import matplotlib
import pytest
import sympy

import coursework as course
from coursework import engine

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PRIVATE = ROOT / "book" / "assignments" / "private"
UNUSUAL = [
    "Ada Lovelace ",
    "学生-７",
    "o'hara+x@example.edu",
    "0",
    "-1.5",
    "x" * 500,
    "\u200b\n%s{}",
]


def load_tool():
    """Import book/_tools/assignments.py, which is no package."""
    folder = ROOT / "book" / "_tools"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("assignments", folder / "assignments.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


tool = load_tool()
ALL = [(name, part) for name in course.ASSIGNMENTS for part in course.parts(name)]


@pytest.fixture(autouse=True)
def outside_of_any_grading(monkeypatch):
    for name in ("OVERPARAM_TASKS", "NBGRADER_EXECUTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(engine, "_enrolled", engine.READER)
    matplotlib.use("agg")


@cache
def source(assignment):
    return tool.notebooks.read(tool.source(assignment))


@cache
def released(assignment):
    return tool.notebooks.read(tool.RELEASED / f"{assignment}.ipynb")


def grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def cells(notebook):
    """The cells that nbgrader knows: grade_id → source."""
    return {grade_id(cell): cell.source for cell in notebook.cells if grade_id(cell)}


def name_of_answer(assignment, part):
    """The name that the check of a part reads."""
    return re.search(
        r"^check\(part, (\w+)\)", cells(released(assignment))[f"{assignment}-{part}-check"]
    )[1]


@cache
def wrong(assignment):
    return runpy.run_path(str(PRIVATE / "wrong" / f"{assignment}.py"))


def quietly(code, names):
    """Run a cell as Jupyter would; return what it printed and the exception, if any."""
    out, error = io.StringIO(), None
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "cell", "exec"), names)
        except Exception as caught:
            error = caught
    return out.getvalue(), error


def answer(assignment, part, student, code, given=""):
    """Return the record of an answer cell, run after the part's given cell."""
    names = {}
    quietly(f"from coursework import enrol\nenrol({student!r})", names)
    for text in (cells(source(assignment))[f"{assignment}-{part}-given"], given, code):
        error = quietly(text, names)[1]
        assert error is None, f"{error!r} in\n{text}"
    return course.encode(names["part"], names[name_of_answer(assignment, part)])


@cache
def solved(assignment, part, student):
    """Return the record of the solution."""
    code = cells(source(assignment))[f"{assignment}-{part}"]
    return answer(assignment, part, student, code)


# One source


def test_every_assignment_has_a_source_a_release_and_wrong_answers():
    assert set(tool.names()) == set(course.ASSIGNMENTS)
    for folder, suffix in ((tool.RELEASED, "ipynb"), (PRIVATE / "wrong", "py")):
        assert {p.stem for p in folder.glob(f"*.{suffix}")} == set(course.ASSIGNMENTS)


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_release_is_what_the_source_gives(assignment):
    made = tool.release(source(assignment))
    assert tool.same_cells(made, released(assignment)), "run python book/_tools/assignments.py"


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_cells_are_those_that_the_grading_expects(assignment):
    found = [cell.metadata.nbgrader for cell in source(assignment).cells if grade_id(cell)]
    names = [meta.grade_id for meta in found]
    assert len(set(names)) == len(names)
    kinds = {meta.grade_id: (meta.grade, meta.solution, meta.locked) for meta in found}
    assert kinds["student"] == (False, True, False)
    for part in course.parts(assignment):
        assert kinds[f"{assignment}-{part}-given"] == (False, False, True)
        assert kinds[f"{assignment}-{part}"] == (False, True, False)
        assert kinds[f"{assignment}-{part}-check"] == (True, False, True)


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_points_agree_and_add_up_to_twenty(assignment):
    points = {
        grade_id(cell): cell.metadata.nbgrader.points
        for cell in source(assignment).cells
        if grade_id(cell) and cell.metadata.nbgrader.grade
    }
    assert sum(points.values()) == 20
    for part, (_, worth) in course.parts(assignment).items():
        assert points[f"{assignment}-{part}-check"] == worth
    human = [name for name in points if not name.endswith("-check")]
    assert len(human) == 2  # an interpretation and an open question


def outputs(notebook):
    """Text that the check cells printed, by part."""
    return {
        grade_id(cell).split("-")[1]: "".join(out.get("text", "") for out in cell.outputs)
        for cell in notebook.cells
        if (grade_id(cell) or "").endswith("-check")
    }


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_headings_name_each_part_once_with_its_points(assignment):
    text = "\n".join(c.source for c in source(assignment).cells if c.cell_type == "markdown")
    headings = re.findall(r"^## Part (\d): (.*) \((\d+)(?: \+ 3)? points\)$", text, re.MULTILINE)
    parts = course.parts(assignment).items()
    wanted = [(number, title.lower(), f"{points:g}") for number, (title, points) in parts]
    got = [(number, title.lower(), points) for number, title, points in headings]
    assert got == [*wanted, ("5", "an open question", "3")]


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_source_shows_full_marks_and_release_none(assignment):
    """The committed outputs; nbval checks that a new run gives the same."""
    for part, text in outputs(source(assignment)).items():
        assert set(text.splitlines()) == {f"Part {part}: right."}
    for part, text in outputs(released(assignment)).items():
        assert text == f"Part {part}: no answer yet.\n"


def test_a_hole_in_the_source_is_not_released():
    broken = json.loads(json.dumps(source("warmup")))
    notebook = tool.notebooks.v4.reads(json.dumps(broken))
    cell = next(c for c in notebook.cells if grade_id(c) == "warmup-2")
    cell.source = cell.source.replace("### END SOLUTION", "")
    with pytest.raises(RuntimeError, match="no end solution"):
        tool.release(notebook)


# Nothing leaks


def regions(text, name):
    return re.findall(rf"### BEGIN {name}\n(.*?)### END {name}", text, re.DOTALL)


@cache
def public_lines():
    """Lines of the chapters, which are no secret."""
    texts = [
        cell.source
        for path in (ROOT / "book").glob("*.ipynb")
        for cell in tool.notebooks.read(path).cells
    ]
    return {line.strip() for text in texts for line in text.splitlines()}


@cache
def secrets(assignment):
    """Distinctive lines of solutions and of notes for the persons who grade."""
    found = []
    for cell in source(assignment).cells:
        if cell.cell_type == "code":
            texts = regions(cell.source, "SOLUTION")
        elif grade_id(cell):
            texts = [cell.source]
        else:
            texts = []
        lines = {line.strip() for text in texts for line in text.splitlines()}
        found += [line for line in lines if len(line) >= 24 and line not in public_lines()]
    return found


def leaks(text, lines):
    """Lines that a text holds, plain or written as JSON or HTML."""
    without_tags = html.unescape(re.sub(r"<[^<>]*>", "", text))
    texts = [" ".join(form.split()) for form in (text, without_tags)]
    found = []
    for line in lines:
        forms = {" ".join(form.split()) for form in (line, json.dumps(line)[1:-1])}
        if any(form in text for form in forms for text in texts):
            found.append(line)
    return found


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_there_are_secrets_to_look_for_and_the_search_finds_them(assignment):
    lines = secrets(assignment)
    assert len(lines) >= 12
    plain = "\n".join(cell.source for cell in source(assignment).cells)
    written = tool.source(assignment).read_text(encoding="utf-8")
    page = html.escape(plain).replace("=", '<span class="o">=</span>')
    for text in (plain, written, page):
        assert set(leaks(text, lines)) == set(lines)


def test_release_holds_no_solution():
    lines = list(itertools.chain(*map(secrets, course.ASSIGNMENTS)))
    for assignment in course.ASSIGNMENTS:
        text = (tool.RELEASED / f"{assignment}.ipynb").read_text(encoding="utf-8")
        assert leaks(text, lines) == []
        assert "BEGIN SOLUTION" not in text and "HIDDEN" not in text


def test_library_holds_no_solution():
    lines = list(itertools.chain(*map(secrets, course.ASSIGNMENTS)))
    for path in (ROOT / "lib" / "coursework").rglob("*.*"):
        if path.suffix == ".pyc":
            continue
        assert leaks(path.read_text(encoding="utf-8"), lines) == [], path


def test_site_holds_no_solution():
    if not (SITE / "book").is_dir():
        pytest.fail("the site is not built: run make book")
    lines = list(itertools.chain(*map(secrets, course.ASSIGNMENTS)))
    for path in SITE.rglob("*"):
        assert "private" not in path.relative_to(SITE).parts
        if path.suffix not in {".html", ".ipynb", ".txt", ".md", ".py", ".js", ".json"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if "assignments" in path.parts or path.name in {"searchindex.js", "search.js"}:
            assert leaks(text, lines) == [], path
        else:  # by a copy of a whole source only
            assert "BEGIN HIDDEN TESTS" not in text and "BEGIN SOLUTION" not in text, path
            assert not re.search("hidden-[0-9a-f]{4}", text), path


# Right and wrong


@pytest.mark.parametrize(("assignment", "part"), ALL)
def test_solution_gets_full_marks_for_many_ids(assignment, part):
    for student in (*UNUSUAL, "hidden-0a"):
        if student.startswith("hidden"):  # as a hidden instance: another student's function
            own = course.task(assignment, part, student)
            if solved(assignment, part, "reader")["kind"] != "calls":
                continue
            text = cells(source(assignment))[f"{assignment}-{part}"]
            record = answer(assignment, part, "reader", text, f"part = task(*{ids(own)!r})")
        else:
            record = solved(assignment, part, student)
        assert course.judge(assignment, part, student, record, "seed") == (1.0, "right.")


def ids(own):
    return own.assignment, own.part, own.student


@pytest.mark.parametrize(("assignment", "part"), ALL)
def test_stub_gets_nothing(assignment, part):
    record = answer(assignment, part, "ada", cells(released(assignment))[f"{assignment}-{part}"])
    assert course.judge(assignment, part, "ada", record) == (0.0, "no answer yet.")


@pytest.mark.parametrize(("assignment", "part"), ALL)
def test_numbers_of_one_student_are_wrong_for_another(assignment, part):
    students = UNUSUAL[:4]
    for a, b in itertools.permutations(students, 2):
        assert course.judge(assignment, part, b, solved(assignment, part, a)).fraction == 0


def typical():
    for assignment, part in ALL:
        for label, code, words in wrong(assignment)["WRONG"][part]:
            yield pytest.param(assignment, part, code, words, id=f"{assignment}-{part}: {label}")


@pytest.mark.parametrize(("assignment", "part", "code", "words"), list(typical()))
def test_typical_wrong_answer_gets_its_message(assignment, part, code, words):
    given = wrong(assignment).get("GIVEN", {}).get(part, "")
    record = answer(assignment, part, "reader", code, given)
    verdict = course.judge(assignment, part, "reader", record)
    assert verdict.fraction == 0
    assert words in verdict.message


@pytest.mark.parametrize(("assignment", "part"), ALL)
def test_there_are_three_typical_wrong_answers_with_messages_of_their_own(assignment, part):
    words = {words for _, _, words in wrong(assignment)["WRONG"][part]}
    assert len(words) >= 3


OPTIONS = {"atol", "bounds", "method", "options", "rtol", "stop", "xatol"}  # of flows and scipy


@pytest.mark.parametrize(("assignment", "part"), ALL)
def test_each_slip_has_its_hint_and_each_hint_its_slip(assignment, part):
    definition = engine._part(assignment, part)
    tree = ast.parse(inspect.getsource(definition.compare))
    keys = {k.value for n in ast.walk(tree) if isinstance(n, ast.Dict) for k in n.keys if k}
    slips = {key.rstrip("0123456789") for key in keys - OPTIONS}
    assert slips == set(definition.hints)


# No part spoils another

SABOTAGE = [
    "check = task = part = student = np = sp = plt = print = enrol = 5",
    "del check, task, part",
    "raise RuntimeError('stop')",
    "def check(*a): print('Part 1: right.')\nimport sys\nsys.modules.pop('sympy', None) and None",
    "part.y = part.X = part.cases = part.steps = None\nstudent = 'somebody else'",
    "from numpy import *\nfrom math import *\nlist = dict = len = range = 0",
]


def run_all(assignment, changed=None):
    """Run the cells of a release in one namespace, the answers of `changed` put in.

    As Jupyter does when it is told to go on after an exception.
    """
    names, printed = {}, {}
    for cell in released(assignment).cells:
        if cell.cell_type == "code":
            text, _ = quietly((changed or {}).get(grade_id(cell), cell.source), names)
            printed[grade_id(cell)] = text
    return printed


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_nothing_in_one_part_spoils_another(assignment, sabotage, monkeypatch):
    """The last part is solved, everything before is sabotaged: it stays right."""
    monkeypatch.setitem(sys.modules, "sympy", sympy)  # put back for the tests after this one
    *before, last = course.parts(assignment)
    text = cells(source(assignment))[f"{assignment}-{last}"]
    changed = {f"{assignment}-{part}": sabotage for part in before}
    printed = run_all(assignment, {**changed, f"{assignment}-{last}": text})
    assert printed[f"{assignment}-{last}-check"] == f"Part {last}: right.\n"


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_a_lost_student_cell_leaves_the_readers_numbers(assignment):
    printed = run_all(assignment, {"student": "1 / 0"})
    assert printed[f"{assignment}-1-check"] == "Part 1: no answer yet.\n"


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_each_part_has_a_name_of_its_own_for_the_answer(assignment):
    """Else the answer of one part would count for another whose cell raises."""
    names = {part: name_of_answer(assignment, part) for part in course.parts(assignment)}
    assert len(set(names.values())) == len(names)
    for part, name in names.items():
        others = [
            text
            for key, text in cells(source(assignment)).items()
            if key.startswith(f"{assignment}-") and not key.startswith(f"{assignment}-{part}")
        ]
        assert not re.search(rf"\b{name}\b\s*=[^=]", "\n".join(others)), name


@pytest.mark.parametrize("assignment", course.ASSIGNMENTS)
def test_figure_cells_of_the_source_run(assignment):
    """nbval runs them too; here it is enough that each source has one that draws."""
    figures = [text for name, text in cells(source(assignment)).items() if name.endswith("-figure")]
    assert figures and all("plt.show()" in text and "xlabel=" in text for text in figures)
