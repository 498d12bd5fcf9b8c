"""Grading: a class in which everything goes wrong once, and the walls between its notebooks.

The class is graded once, on a notebook that is a part of the warm-up assignment's source; the
tests then look at what came out. What needs bubblewrap is skipped, with a reason, without it.
"""

import csv
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest
import simulate
from bs4 import BeautifulSoup
from hypothesis import example, given
from hypothesis import strategies as st

from coursework import __main__, task
from coursework.grading import (
    execute,
    grade,
    intake,
    judging,
    outputs,
    page,
    rebuild,
    report,
    roster,
    sandbox,
    source,
    state,
)

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "book" / "assignments" / "private" / "source"
LIMITS = sandbox.Limits(cell=5, total=60)
PORT = 8791  # where the notebook "network" tries to get out
ODD = ["o'brien $(touch pwned) *[a]?", "名前", "-{nbgrader_step}-" + 100 * "a"]
ABROAD = "../../evil"  # an id that no folder can have
# What would do harm to the machine of who runs the tests.
WALLS = {"reading", "writing", "network", "disk", "staying", "forks"}

walled = sandbox.works("bubblewrap")
# Root must say so to run code without walls; what is left of it without WALLS does no harm.
WANTED = "limits" if os.geteuid() == 0 and not (walled or sandbox.works("user")) else "auto"
needs_walls = pytest.mark.skipif(not walled, reason="bubblewrap is not here, or not allowed")


# The class


def write_source(folder):
    """Write the warm-up assignment without its slow parts; returns the folder."""
    notebook = nbformat.read(SOURCES / "warmup" / "warmup.ipynb", as_version=4)
    left_out = ("warmup-1", "warmup-4")
    notebook.cells = [
        c for c in notebook.cells if not (source.grade_id(c) or "").startswith(left_out)
    ]
    (folder / "warmup").mkdir(parents=True)
    nbformat.write(notebook, folder / "warmup" / "warmup.ipynb")
    return folder


def released(folder, asked):
    with grade.open_course(folder, asked, []) as course:
        return course.release


def own_rate(student):
    """Return the answer to part 2, as a number."""
    part = task("warmup", "2", student)
    return 2 * ((part.u0**2 - part.v0**2) ** 2 + 4 * part.y**2) ** 0.5


def write_answer(path, nb, code, declared=None):
    """Write a notebook with this code as the answer to part 2."""
    nb = json.loads(json.dumps(nb))
    for cell in nb["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name == "warmup-2":
            cell["source"] = code
        if name == "student" and declared is not None:
            cell["source"] = f"student = {declared!r}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb), encoding="utf-8")


def write_class(folder):
    """Write sources, submissions and a roster, and return what must become of whom."""
    asked = source.read("warmup", write_source(folder / "source"))
    release = released(folder / "release", asked)
    harmless = [kind for kind in simulate.BREAKAGES if walled or kind not in WALLS]
    kinds = {f"s{n:02d}": kind for n, kind in enumerate(harmless)}
    students = ["ann", "bob", *kinds]
    sub = folder / "sub"
    targets = [sub / "ann" / "warmup" / "warmup.ipynb", folder / "source/warmup/warmup.ipynb"]
    targets += [folder / "out" / "gradebook.db", folder / "out" / "state" / "warmup" / "ann.json"]
    targets += [SOURCES / "warmup" / "warmup.ipynb", folder / "roster.csv"]
    expected = simulate.make_class(sub, asked, release, students, kinds, targets)

    def solved(student):
        return simulate.solved(asked, release, student)

    # Numbers of one's own, of another, and another's notebook.
    number = f"rate = {own_rate('number')!r}"
    write_answer(sub / "number" / "warmup.ipynb", solved("number"), number)
    # As Canvas names what it gives out: by the person, with its own numbers.
    write_answer(sub / "doejane_LATE_4711_99_warmup.ipynb", solved("copier"), number)
    shutil.copytree(sub / "bob", sub / "thief")
    for student in ODD:
        nb = solved(student)
        write_answer(sub / f"{student}.ipynb", nb, "rate = 2.0")
    write_answer(sub / "stranger" / "warmup.ipynb", solved("stranger"), "rate = 1.0")
    untouched = sub / "untouched" / "warmup.ipynb"
    untouched.parent.mkdir()
    nbformat.write(release, untouched)
    others = ["number", "copier", "thief", "untouched", *ODD, ABROAD]
    simulate.write_roster(folder / "roster.csv", [*students, *others])
    text = (folder / "roster.csv").read_text(encoding="utf-8").splitlines()
    numbered = [f"{line},{'4711' if line.startswith('copier,') else ''}" for line in text[1:]]
    lines = [text[0] + ",canvas", *numbered]
    (folder / "roster.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {student: list(entry) for student, entry in expected.items()}


def listen(seen):
    """Listen where the notebook "network" knocks, until the socket that is returned is closed."""
    server = socket.create_server(("127.0.0.1", PORT))

    def count():
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return
            seen.append(time.time())

    threading.Thread(target=count, daemon=True).start()
    return server


def grade_class(folder):
    expected = write_class(folder)
    seen = []
    try:
        server = listen(seen)
        socket.create_connection(("127.0.0.1", PORT)).close()  # somebody could come through
    except OSError:
        server = None
    text = grade.grade(
        folder / "sub",
        "warmup",
        folder / "roster.csv",
        folder / "out",
        sources=folder / "source",
        limits=LIMITS,
        progress=False,
        wanted=WANTED,
    )
    time.sleep(0.2)
    if server is not None:
        server.close()
    facts = {"expected": expected, "summary": text, "connections": len(seen)}
    facts["listened"] = server is not None
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@pytest.fixture(scope="session")
def klass(tmp_path_factory):
    """The graded class, made by whoever of pytest's workers comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "grading"
    folder.mkdir(exist_ok=True)
    # Reached through this folder of root's alone: what is in it is as the umask makes it.
    with (shared / "grading.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "facts.json").exists():
            grade_class(folder)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    rows = {row["student"]: row for row in read_table(folder / "out")}
    expected = {s: simulate.Expected(*entry) for s, entry in facts["expected"].items()}
    return {"folder": folder, "out": folder / "out", "rows": rows, **facts, "expected": expected}


def read_table(out):
    with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def student_of(klass, kind):
    return next(student for student, entry in klass["expected"].items() if entry.kind == kind)


def autograded(klass, student):
    name = roster.safe_name(student)
    path = klass["out"] / "autograded" / name / "warmup" / "warmup.ipynb"
    return nbformat.read(path, as_version=4)


def shown(klass, student, grade_id="warmup-2"):
    """Return the text that a cell of a student displayed."""
    cell = next(c for c in autograded(klass, student).cells if source.grade_id(c) == grade_id)
    return "".join(
        o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs
    )


def feedback_of(klass, student):
    name = roster.safe_name(student)
    path = klass["out"] / "feedback" / name / "warmup" / "warmup.html"
    return path.read_text(encoding="utf-8")


def test_everybody_on_the_roster_has_a_row_in_its_order(klass):
    students = [student.id for student in roster.read(klass["folder"] / "roster.csv")]
    assert [row["student"] for row in read_table(klass["out"])] == students
    assert len(students) >= 24


@pytest.mark.parametrize("kind", simulate.BREAKAGES)
def test_each_breakage_has_its_status_points_and_reason(klass, kind):
    if kind in WALLS and not walled:
        pytest.skip("bubblewrap is not here, or not allowed")
    entry = klass["expected"][student_of(klass, kind)]
    row = klass["rows"][student_of(klass, kind)]
    assert row["status"] == entry.status
    assert float(row["points"]) == entry.points
    assert entry.words in row["reason"]
    assert row["needs_human"] == "yes" or not entry.human
    if entry.status in ("graded", "incomplete"):
        # The part that is broken never takes the next one with it.
        assert float(row["3"]) == 4
        assert float(row["2"]) == (3 if simulate.BREAKAGES[kind].lost == "nothing" else 0)
        assert row["5"] == ""


def test_who_solves_all_gets_all_and_waits_for_a_human_only_for_the_open_question(klass):
    row = klass["rows"]["ann"]
    assert (row["status"], row["points"], row["max"]) == ("graded", "7", "10")
    assert (row["2"], row["3"], row["5"], row["needs_human"]) == ("3", "4", "", "yes")
    assert row["reason"] == ""


def test_the_notebook_as_handed_out_gets_nothing_and_needs_nobody(klass):
    row = klass["rows"]["untouched"]
    assert (row["status"], row["points"], row["needs_human"]) == ("graded", "0", "no")
    assert row["reason"] == ""
    assert "Part 2: no answer yet." in feedback_of(klass, "untouched")


def test_a_number_is_right_for_its_owner_only(klass):
    assert klass["rows"]["number"]["2"] == "3"
    assert klass["rows"]["copier"]["2"] == "0"


def test_another_students_notebook_is_graded_for_who_handed_it_in_and_shown_to_a_human(klass):
    row = klass["rows"]["thief"]
    assert "the notebook gives the id of bob" in row["reason"]
    assert "the same answers as bob" in row["reason"]
    assert row["needs_human"] == "yes"
    assert "the same answers as thief" in klass["rows"]["bob"]["reason"]
    assert "bob" not in feedback_of(klass, "thief").split("<body>")[1].split("Assignment")[0]


def test_odd_ids_get_a_row_and_no_path_leaves_the_folder(klass):
    for student in ODD:
        assert klass["rows"][student.lower()]["3"] == "4", student
    assert klass["rows"][ABROAD]["status"] == "missing"
    names = {p.name for p in klass["folder"].iterdir()}
    assert names <= {"source", "release", "sub", "roster.csv", "out", "facts.json"}
    assert not list(klass["folder"].parent.glob("evil*"))


def test_a_file_as_canvas_names_it_finds_its_owner(klass):
    assert klass["rows"]["copier"]["3"] == "4"
    assert "belong to nobody on the roster: stranger" in klass["summary"]


def test_the_gradebook_holds_what_the_table_says(klass):
    from coursework.grading import gradebook

    scores = gradebook.scores(klass["out"], "warmup")
    for student, row in klass["rows"].items():
        own = scores.get(roster.safe_name(student))
        assert (own is not None) == (row["status"] in ("graded", "incomplete")), student
        if own is not None:
            assert sum(score for score, _ in own.values()) == float(row["points"])
    with gradebook.open_gradebook(klass["out"]) as book:
        assert len(book.students) == len(klass["rows"])
        assert book.find_student("ann").first_name == "First0"


def test_everybody_has_feedback_that_can_run_nothing(klass):
    for student in klass["rows"]:
        soup = BeautifulSoup(feedback_of(klass, student), "html.parser")
        policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
        assert "default-src 'none'" in policy["content"]
        assert not soup.find_all(page.REMOVED)
        for element in soup.find_all(True):
            for name, value in element.attrs.items():
                assert not name.startswith("on"), student
                assert name != "href" or value.startswith("#"), student
                assert name != "src" or value.startswith("data:image/png"), student


def test_the_notebook_for_the_human_holds_no_html_of_the_students(klass):
    text = autograded(klass, student_of(klass, "html"))
    for cell in text.cells:
        if cell.cell_type == "markdown" and "alert" in cell.source:
            assert "<script" not in cell.source
            assert "](javascript" not in cell.source
            assert "\\href" not in cell.source
        for output in cell.get("outputs", []):
            assert set(output.get("data", {})) <= {"text/plain", "image/png"}
    assert "&lt;script>alert(5)" in "".join(c.source for c in text.cells)


def test_feedback_says_why_and_keeps_hidden_tests(klass):
    assert "Part 2: right." in feedback_of(klass, "ann")
    assert "a human has not graded this yet: 5" in feedback_of(klass, "ann")
    assert "hidden-" not in feedback_of(klass, "ann")
    assert "Part 2: not yet: your rate is" in feedback_of(klass, "copier")
    assert "the file is no JSON" in feedback_of(klass, student_of(klass, "malformed"))
    assert "nothing was handed in" in feedback_of(klass, ABROAD)


@needs_walls
def test_nothing_outside_can_be_read(klass):
    student = student_of(klass, "reading")
    assert "LEAK" not in shown(klass, student)
    assert can_read_here(klass["folder"] / "roster.csv")


def can_read_here(path):
    """The notebook's test for reading finds what it looks for where there are no walls."""
    code = simulate.READING.format(targets=[str(path)])
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return f"LEAK {path}" in found.stdout


@needs_walls
def test_nothing_outside_is_written(klass):
    assert "WRITTEN /" not in shown(klass, student_of(klass, "writing"))
    for folder in (klass["folder"], Path("/"), Path("/etc"), Path("/usr"), Path.home()):
        assert not (folder / "pwned").exists()
    assert not list(klass["folder"].rglob("pwned"))


@needs_walls
def test_the_network_is_not_reached(klass):
    assert "CONNECTED" not in shown(klass, student_of(klass, "network"))
    if klass["listened"]:
        assert klass["connections"] == 1  # our own


@needs_walls
def test_no_process_stays(klass):
    commands = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not [c for c in commands if "86311" in c or "86312" in c]


def test_outputs_are_kept_short(klass):
    for kind in ("output", "chatter", "traceback"):
        name = roster.safe_name(student_of(klass, kind))
        path = klass["out"] / "autograded" / name / "warmup" / "warmup.ipynb"
        assert path.stat().st_size < 100_000
        assert len(feedback_of(klass, student_of(klass, kind))) < 200_000


def test_the_summary_names_the_sandbox_and_the_counts(klass):
    text = klass["summary"]
    assert "sandbox: " in text and "(2 at a time)" in text
    rejected = sum(row["status"] == "rejected" for row in klass["rows"].values())
    assert f"{rejected} rejected" in text
    assert "grades.csv" in text


# Again, and one alone


@pytest.fixture
def course(klass, tmp_path):
    """A copy of the graded course, with room for submissions of one's own."""
    shutil.copytree(klass["out"], tmp_path / "out")
    (tmp_path / "sub").mkdir()
    return tmp_path


def grade_again(course, klass, sub=None, **options):
    return grade.grade(
        sub or course / "sub",
        "warmup",
        klass["folder"] / "roster.csv",
        course / "out",
        sources=klass["folder"] / "source",
        limits=LIMITS,
        progress=False,
        wanted=WANTED,
        **options,
    )


def test_a_second_run_grades_nobody_again(course, klass):
    record = course / "out" / "state" / "warmup" / "ann.json"
    before = record.stat().st_mtime_ns
    assert grade_again(course, klass, klass["folder"] / "sub").startswith("0 graded")
    assert record.stat().st_mtime_ns == before
    assert {row["student"]: row for row in read_table(course / "out")} == klass["rows"]


def test_one_student_is_graded_again_and_the_others_are_left(course, klass):
    nb = simulate.solved(*materials(klass), "ann")
    write_answer(course / "sub" / "ann.ipynb", nb, "rate = 1.0")
    text = grade_again(course, klass, only=["Ann "])
    assert text.startswith("1 graded")
    rows = {row["student"]: row for row in read_table(course / "out")}
    assert (rows["ann"]["points"], rows["ann"]["2"]) == ("4", "0")
    assert rows["number"] == klass["rows"]["number"]
    assert grade_again(course, klass, only=["ann"]).startswith("0 graded")
    assert grade_again(course, klass, only=["ann"], regrade=True).startswith("1 graded")
    from coursework.grading import gradebook

    with gradebook.open_gradebook(course / "out") as book:
        assert book.find_submission("warmup", "ann").score == 4


def materials(klass):
    asked = source.read("warmup", klass["folder"] / "source")
    path = klass["out"] / "release" / "warmup" / "warmup.ipynb"
    return asked, nbformat.read(path, as_version=4)


def test_who_takes_the_notebook_back_has_no_grade(course, klass):
    grade_again(course, klass, only=["ann"])
    row = next(row for row in read_table(course / "out") if row["student"] == "ann")
    assert (row["status"], row["points"]) == ("missing", "0")
    assert not (course / "out" / "autograded" / "ann" / "warmup").exists()


def test_what_a_human_grades_counts_and_is_kept_in_the_table(course, klass):
    from coursework.grading import gradebook

    with gradebook.open_gradebook(course / "out") as book:
        entry = book.find_grade("warmup-5", "warmup", "warmup", "ann")
        entry.manual_score, entry.needs_manual_grade = 2.5, False
        comment = book.find_comment("warmup-5", "warmup", "warmup", "ann")
        comment.manual_comment = "Two costs, well supported."
        book.db.commit()
    folder = klass["folder"]
    simulate.write_roster(course / "roster.csv", ["ann", "thief"])
    grade.update("warmup", course / "roster.csv", course / "out", sources=folder / "source")
    row = next(row for row in read_table(course / "out") if row["student"] == "ann")
    assert (row["points"], row["5"], row["needs_human"]) == ("9.5", "2.5", "no")
    path = course / "out" / "feedback" / "ann" / "warmup" / "warmup.html"
    text = path.read_text(encoding="utf-8")
    assert "Two costs, well supported." in text and "not graded this yet" not in text
    thief = next(row for row in read_table(course / "out") if row["student"] == "thief")
    assert "the same answers as bob" in thief["reason"]


def test_a_killed_run_goes_on_without_losing_or_repeating_a_grade(klass, tmp_path):
    students, after = ["a", "b", "c", "d"], 1
    asked, release = materials(klass)
    expected = simulate.make_class(
        tmp_path / "sub", asked, release, students, {"a": "missing", "d": "malformed"}, []
    )
    simulate.write_roster(tmp_path / "roster.csv", students)
    command = [sys.executable, "-m", "coursework", "grade", str(tmp_path / "sub")]
    command += ["--assignment", "warmup", "--roster", str(tmp_path / "roster.csv"), "--quiet"]
    command += ["--out", str(tmp_path / "out"), "--source", str(klass["folder"] / "source")]
    command += ["--workers", "1", "--sandbox", WANTED]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    records = tmp_path / "out" / "state" / "warmup"
    deadline = time.monotonic() + 120
    # In the middle: something is stored, and the sandbox of the next student is running.
    while len(list(records.glob("?.json"))) < after or not descendants(run.pid):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = descendants(run.pid)
    run.kill()
    run.communicate()
    done = {path.name: path.read_bytes() for path in records.glob("?.json")}
    assert after <= len(done) < len(students)
    if walled:
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
    rows = {row["student"]: row for row in read_table(tmp_path / "out")}
    assert set(rows) == set(students)  # even then
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(f"{len(students) - len(done)} graded")
    for name, content in done.items():
        assert (records / name).read_bytes() == content
    for row in read_table(tmp_path / "out"):
        entry = expected[row["student"]]
        assert (row["status"], float(row["points"])) == (entry.status, entry.points)
    from coursework.grading import gradebook

    with gradebook.open_gradebook(tmp_path / "out") as book:
        assert len(book.assignment_submissions("warmup")) == 2


def descendants(pid):
    """Return the processes of the sandboxes that a run has started."""
    try:
        found = psutil.Process(pid).children(recursive=True)
        return [p for p in found if any("ipykernel" in word for word in p.cmdline())]
    except psutil.Error:
        return []


def test_two_runs_do_not_share_a_folder(klass, tmp_path):
    with state.locked(tmp_path), pytest.raises(ValueError, match="another run"):
        grade.update("warmup", klass["folder"] / "roster.csv", tmp_path, sources=SOURCES)


# Tables for others


EXPORT = """Student,ID,SIS User ID,SIS Login ID,Section,Warm-up (4242),Final Score
    Points Possible,,,,,10.0,(read only)
"First, Ann",101,9001,ANN,1,,55
"Nobody, Else",102,9002,else,1,3,55
"First, Bob",103,9003,bob,1,,55
"""


def test_canvas_gets_its_own_table_back_with_one_column_filled(klass, tmp_path):
    (tmp_path / "export.csv").write_text(EXPORT, encoding="utf-8")
    rows = list(klass["rows"].values())
    lines, left = report.canvas(rows, tmp_path / "export.csv", "Warm-up", "SIS Login ID")
    fixed = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert list(lines[0]) == [*fixed, "Warm-up (4242)"]
    assert [line["Warm-up (4242)"] for line in lines] == ["10.0", "7", "7"]
    assert [line["ID"] for line in lines] == ["", "101", "103"]
    assert "thief" in left
    with pytest.raises(ValueError, match="fits 0 columns"):
        report.canvas(rows, tmp_path / "export.csv", "Cool-down", "SIS Login ID")
    with pytest.raises(ValueError, match="needs the columns"):
        report.canvas(rows, tmp_path / "export.csv", "Warm-up", "Email")


def test_gradescope_gets_a_line_each_and_an_autograder(course, klass, capsys):
    folder = klass["folder"]
    common = ["--assignment", "warmup", "--roster", str(folder / "roster.csv")]
    common += ["--out", str(course / "out"), "--source", str(folder / "source")]
    assert __main__.main(["gradescope", *common]) == 0
    assert "an autograder for" in capsys.readouterr().out
    with (course / "out" / "gradescope-warmup.csv").open(encoding="utf-8") as file:
        lines = {line["SID"]: line for line in csv.DictReader(file)}
    assert lines["ann"]["warmup"] == "7" and lines["ann"]["warmup - Max Points"] == "10"
    assert len(lines) == len(klass["rows"])
    assert autograder_gives(course, {"email": " S0@Example.org "}) == {
        "Part 2": (3, 3),
        "Part 3": (4, 4),
        "Part 5": (0, 3),
    }
    assert autograder_gives(course, {"email": "nobody@example.org"}) == {}


def autograder_gives(course, user):
    """Run Gradescope's side of it: unpack, start, read the results."""
    place = course / "autograder"
    with zipfile.ZipFile(course / "out" / "gradescope-warmup.zip") as archive:
        archive.extractall(place / "source")
    (place / "results").mkdir(exist_ok=True)
    (place / "submission_metadata.json").write_text(json.dumps({"users": [user]}))
    script = place / "source" / "run_autograder"
    subprocess.run([sys.executable, str(script), str(place)], check=True)
    results = json.loads((place / "results" / "results.json").read_text())
    return {t["name"]: (t["score"], t["max_score"]) for t in results.get("tests", [])}


# Errors


def call(capsys, *arguments):
    status = __main__.main(list(map(str, arguments)))
    return status, capsys.readouterr().err


def test_errors_name_what_is_missing(klass, tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "bad.csv").write_text("name,email\nAnn,a@example.org\n")
    (tmp_path / "twice.csv").write_text("student\nann\n Ann\n")
    good = klass["folder"] / "roster.csv"
    sources = klass["folder"] / "source"

    def error(submissions="sub", assignment="warmup", roster=good, source=sources, **more):
        options = {"assignment": assignment, "roster": roster, "source": source}
        options |= {"sandbox": WANTED, **more}
        words = [w for key, value in options.items() for w in (f"--{key}", value)]
        status, text = call(capsys, "grade", tmp_path / submissions, *words)
        assert status == 2 and text.startswith("error: ") and text.count("\n") == 1
        return text

    out = {"out": tmp_path / "out"}
    assert "nothing.csv is not there" in error(roster=tmp_path / "nothing.csv", **out)
    assert "needs a column 'student'" in error(roster=tmp_path / "bad.csv", **out)
    assert "twice" in error(roster=tmp_path / "twice.csv", **out)
    assert "there are: warmup" in error(assignment="cooldown", **out)
    assert "--source" in error(source=tmp_path / "none", **out)
    assert "is no folder" in error(submissions="none", **out)
    assert "cannot be written to" in error(out=tmp_path / "file" / "out")
    assert "not on the roster: zoe" in error(student="zoe", **out)
    assert "workers must be at least 1" in error(workers=0, **out)
    assert not (tmp_path / "out").exists()


def test_students_code_is_not_run_as_root_without_a_sandbox(monkeypatch):
    monkeypatch.setattr(sandbox, "works", lambda kind: False)
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 0)
    with pytest.raises(ValueError, match="must not run as root"):
        sandbox.choose()
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)
    assert sandbox.choose() == "limits"
    with pytest.raises(ValueError, match="does not work on this machine"):
        sandbox.choose("bubblewrap")


# The sandbox by itself


def run_cells(*sources, kind=None, limits=LIMITS):
    cells = [{"id": f"c{n}", "source": text} for n, text in enumerate(sources)]
    outcome = sandbox.run(cells, "ann", kind or sandbox.choose(), limits)
    return {event["cell"]: event for event in outcome.events if "cell" in event}


def text_of(event):
    return "".join(output.get("text", "") for output in event["outputs"])


IDENTITY = "import os\nprint(os.getuid(), os.environ['OVERPARAM_STUDENT'], sorted(os.environ))"


@needs_walls
def test_in_bubblewrap_the_code_is_nobody_and_sees_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_INSTRUCTOR", "1")
    roots = "import os\nprint(os.listdir('/'), os.listdir('/proc/1') and len(os.listdir('/tmp')))"
    powers = "print(open('/proc/self/status').read())"
    found = run_cells(IDENTITY, roots, powers)
    uid = int(text_of(found["c0"]).split()[0])
    assert uid != 0 or os.geteuid() != 0
    assert " ann " in text_of(found["c0"]) and "SECRET" not in text_of(found["c0"])
    assert "'home'" not in text_of(found["c1"])
    status = dict(line.split(":\t") for line in text_of(found["c2"]).splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"


@needs_walls
def test_the_runner_cannot_be_looked_into():
    spying = (
        "import os\nparent = os.getppid()\n"
        "for name in ('mem', 'environ', 'fd/1', 'fd/3'):\n"
        "    try:\n        open(f'/proc/{parent}/{name}', 'rb').read(1)\n        print('SEEN')\n"
        "    except OSError:\n        print('no')"
    )
    assert text_of(run_cells(spying)["c0"]).split() == ["no"] * 4


@pytest.mark.skipif(not sandbox.works("user"), reason="root's Python is not for other users here")
def test_another_user_can_run_but_not_read_what_is_roots():
    found = run_cells(IDENTITY, "open('/etc/shadow')", kind="user")
    assert text_of(found["c0"]).startswith(str(sandbox.FIRST_UID))
    assert found["c1"]["error"] == "PermissionError"


def test_limits_hold_without_walls():
    big = "x = bytearray(2 << 30)"
    file = "open('big', 'wb').write(bytes(40 << 20))"
    found = run_cells("for _ in range(1000): print('x' * 10**4)", file, big, kind="limits")
    assert found["c0"]["cut"] and len(text_of(found["c0"])) <= LIMITS.output
    assert found["c1"]["error"] == "OSError"
    assert found["c2"]["end"] == "memory"


# Pieces


@given(st.text(min_size=1).filter(lambda s: s.strip()))
@example("..")
@example("con\\aux/../x")
def test_names_for_files_are_harmless_and_different(student):
    name = roster.safe_name(student.strip().lower())
    assert roster.PLAIN.fullmatch(name) and ".." not in name
    assert name != roster.safe_name(student.strip().lower() + "x")
    assert roster.safe_name(name) == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
fields = st.sampled_from(["cells", "metadata", "source", "nbgrader", "grade_id", "cell_type"])
notebooks = st.recursive(
    json_values,
    lambda inner: st.dictionaries(fields | st.just("nbformat"), inner | st.lists(inner)),
    max_leaves=20,
)


@given(notebooks)
@example({"nbformat": 4, "cells": [{"cell_type": "code", "source": [1, "x"], "metadata": 3}]})
@example({"nbformat": 2, "worksheets": 7})
def test_whatever_is_handed_in_is_read_or_refused(tmp_path_factory, notebook):
    path = tmp_path_factory.getbasetemp() / "fuzz.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    found = intake.read([path], ["warmup-2"])
    assert found.status in ("ready", "rejected")
    assert found.status == "ready" or found.notes


@given(
    st.lists(
        json_values | st.dictionaries(st.sampled_from(["output_type", "data", "text"]), json_values)
    )
)
def test_whatever_is_displayed_becomes_text_or_pictures(raw):
    for output in outputs.clean(raw):
        nbformat.validate(output, ref="output", version=4)
        assert set(output.get("data", {})) <= {"text/plain", "image/png"}
    assert isinstance(outputs.error(raw), str)


@given(
    st.lists(
        json_values
        | st.fixed_dictionaries(
            {"cell": st.just("a"), "end": st.sampled_from(["done", "x"]), "outputs": json_values}
        )
    )
)
def test_whatever_the_sandbox_says_is_read_as_events_or_not_at_all(events):
    rest = [{"id": "a", "source": "", "stage": 0, "grade_id": None}]
    found = execute._accepted([event for event in events if isinstance(event, dict)], rest)
    assert set(found) <= {"a"}
    for event in found.values():
        assert isinstance(event["outputs"], list) and event["end"] == "done"


def test_only_the_records_that_the_source_asks_for_are_judged(klass):
    asked, _ = materials(klass)
    program = [
        {"id": "two", "grade_id": "warmup-2-check", "stage": 1, "source": ""},
        {"id": "three", "grade_id": "warmup-3-check", "stage": 2, "source": ""},
    ]

    def display(part, student, record="r"):
        data = {"assignment": "warmup", "part": part, "student": student, "record": record}
        return {"output_type": "display_data", "data": {outputs.RECORD: data}}

    hidden = [entry.hidden for entry in asked.graded[1].asked if entry.hidden]
    assert len(hidden) == 2
    right = [display("3", "ann")] + [display("3", name) for name in hidden]

    def found(two, three):
        events = [
            {"cell": name, "end": "done", "error": "", "cut": False, "outputs": shown}
            for name, shown in (("two", two), ("three", three))
        ]
        made = judging.match(events, program, asked, "Ann")
        return made["warmup-2-check"], made["warmup-3-check"]

    two, three = found([display("2", "ann")], right)
    assert two == [["warmup", "2", "ann", "r"]] and len(three) == 3
    for wrong in ([], [display("2", "bob")], [display("3", "ann")], [display("2", "ann")] * 2):
        assert isinstance(found(wrong, right)[0], str)
    for wrong in (right[:2], right[::-1], [right[0]] * 3):
        assert isinstance(found([], wrong)[1], str)


def test_a_part_is_worth_its_worst_record(klass):
    asked, _ = materials(klass)
    items = [["warmup", "3", name, None] for name in ("ann", "hidden-a", "hidden-b")]

    def points(fractions):
        verdicts = [[fraction, f"said {fraction}"] for fraction in fractions]
        found = {"warmup-2-check": "x", "warmup-3-check": items}
        return judging.results(found, asked, lambda _: verdicts)["warmup-3-check"]

    assert points([1, 1, 1]).points == 4
    assert points([1, 0.25, 1]).points == 1
    assert points([1, 0.25, 1]).message == "with other data than yours, said 0.25"
    assert points([float("nan"), 1, 1]).points == 0
    assert points([7, 9, 8]).points == 4


def test_a_judge_that_dies_is_replaced(monkeypatch):
    right = ["warmup", "2", "ann", {"kind": "number", "value": own_rate("ann")}]
    with judging.judge() as ask:
        assert ask([right]) == [[1.0, "right."]]
        # Too much for JSON's reader of numbers: the process raises and ends.
        monkeypatch.setattr(judging.json, "dumps", lambda items: "9" * 10**5)
        assert ask([right]) is None
        monkeypatch.undo()
        assert ask([right]) == [[1.0, "right."]]


def test_text_is_taken_apart_but_stays_readable():
    text = "For $a<b$ and 2 < 3 see [x](javascript:alert(1)) <b onclick=x>bold</b> \\href{u}{v}"
    clean = outputs.clean_text(text)
    assert "$a&lt;b$" in clean and "2 < 3" in clean
    assert "](" not in clean and "<b" not in clean and "\\href" not in clean
    assert outputs.plain("\x1b[31mred\x1b[0m\x00\u202e\r\nend") == "red\nend"


def test_cells_of_ones_own_run_where_they_stand(klass):
    asked, release = materials(klass)
    nb = simulate.solved(asked, release, "ann")
    at = next(n for n, c in enumerate(nb["cells"]) if c["id"] == "warmup-2")
    own = {"cell_type": "code", "source": "helper = 1", "metadata": {}}
    nb["cells"].insert(at, own)
    nb["cells"].insert(0, own | {"source": "top = 1"})
    cells = [intake._cell(cell) for cell in nb["cells"]]
    made = rebuild.rebuild(asked, release, cells)
    order = [entry["grade_id"] or entry["source"] for entry in made.program]
    assert order[0] == "top = 1"
    place = order.index("helper = 1")
    assert order[place - 1 : place + 3] == [
        "warmup-2-given",
        "helper = 1",
        "warmup-2",
        "warmup-2-check",
    ]
    assert len(made.notebook.cells) == len(nb["cells"])  # no text of the release twice
    check = next(e for e in made.program if e["grade_id"] == "warmup-3-check")
    assert "hidden-" in check["source"]
    assert not any("hidden-" in cell.source for cell in made.notebook.cells)


def test_an_interrupted_run_leaves_no_sandbox(klass, tmp_path):
    asked, release = materials(klass)
    simulate.make_class(tmp_path / "sub", asked, release, ["a"], {"a": "loop"}, [])
    simulate.write_roster(tmp_path / "roster.csv", ["a"])
    command = [sys.executable, "-m", "coursework", "grade", str(tmp_path / "sub")]
    command += ["--assignment", "warmup", "--roster", str(tmp_path / "roster.csv"), "--quiet"]
    command += ["--out", str(tmp_path / "out"), "--source", str(klass["folder"] / "source")]
    command += ["--sandbox", WANTED]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not descendants(run.pid):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = descendants(run.pid)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130 and "goes on from here" in err
    assert not psutil.wait_procs(family, timeout=5)[1]
