"""Grading: a class in which everything goes wrong once, and the walls between its notebooks.

The class is graded once, on a notebook that is a part of the warm-up assignment's source; the
tests then look at what came out. What needs bubblewrap is skipped, with a reason, without it.
"""

import contextlib
import csv
import fcntl
import functools
import json
import os
import re
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
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coursework import __main__, task
from coursework.grading import course as folder_of
from coursework.grading import (
    grade,
    gradebook,
    intake,
    outputs,
    rebuild,
    report,
    roster,
    sandbox,
    source,
    work,
)

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "book" / "assignments" / "private" / "source"
PORT = 8791  # where the notebook "network" tries to get out
ODD = ["o'brien $(touch pwned) *[a]?", "名前", "=1+1"]
ABROAD = "../../evil"  # an id that no folder can have


@functools.cache
def walls():
    """Return the walls of this machine; skips what runs code where there are none."""
    try:
        return sandbox.choose()
    except ValueError as error:
        pytest.skip(str(error))


@functools.cache
def limits():
    """Return limits of time that honest cells keep on this machine, however busy it is."""
    begin = time.monotonic()
    cell = [{"id": "c", "source": "import numpy, scipy.integrate, sympy, matplotlib.pyplot"}]
    sandbox.run(cell, {}, [], walls(), sandbox.Limits(cell=600, total=900))
    took = time.monotonic() - begin
    return sandbox.Limits(cell=max(10, 3 * took), total=max(240, 60 * took))


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


def materials(folder):
    """Return the source that `write_source` wrote, and its release."""
    asked = source.read("warmup", folder)
    return asked, gradebook.release(asked.notebook)


def own_rate(student):
    """Return the answer to part 2, as a number: a simulation's, not the solution's formula."""
    from coursework import warmup
    from overparam import gradient_flow

    part = task("warmup", "2", student)
    gradient, start = warmup._gradient(part.y), [part.u0, part.v0]
    return 2 * float((gradient_flow(gradient, start, 40.0, rtol=1e-9).final ** 2).sum())


def write_answer(path, nb, code, declared=None):
    """Write a notebook with this code as the answer to part 2."""
    nb = json.loads(json.dumps(nb))
    for cell in nb["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name == "warmup-2" and code is not None:
            cell["source"] = code
        if name == "student" and declared is not None:
            cell["source"] = f"student = {declared!r}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nb), encoding="utf-8")


DRAWING = """
import matplotlib.pyplot as plt
from IPython.display import SVG, display
plt.plot([1, 2])
plt.show()
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>1</script></svg>'))
"""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
PNG += "AABJRU5ErkJggg=="


IMAGE = r'<img src="data:image/svg\+xml;base64,[\w+/=]+">'


def without_metadata(nb):
    nb = json.loads(json.dumps(nb))
    for cell in nb["cells"]:
        cell["metadata"] = {}
        cell.pop("id", None)
    return nb


def write_class(folder):
    """Write sources, submissions and a roster, and return what must become of whom."""
    asked, release = materials(write_source(folder / "source"))
    kinds = {f"s{n:02d}": kind for n, kind in enumerate(simulate.BREAKAGES)}
    students = ["ann", "bob", *kinds]
    sub = folder / "sub"
    targets = [sub / "ann" / "warmup" / "warmup.ipynb", folder / "source/warmup/warmup.ipynb"]
    targets += [folder / "out" / name for name in ("gradebook.db", "secret", "log.jsonl")]
    targets += [SOURCES / "warmup" / "warmup.ipynb", folder / "roster.csv"]
    expected = simulate.make_class(sub, asked, release, students, kinds, targets)

    def solved(student):
        return simulate.solved(asked, release, student)

    # Numbers of one's own, of another, and another's notebook.
    number = f"rate = {own_rate('number')!r}"
    write_answer(sub / "number" / "warmup.ipynb", solved("number"), number)
    # As Canvas names what it gives out: by the person, with its own numbers.
    write_answer(sub / "doejane_LATE_4711_99_warmup.ipynb", solved("copier"), number)
    write_answer(sub / "evil_4712_98_x_4711_y.ipynb", solved("evil"), number)
    shutil.copytree(sub / "bob", sub / "thief")
    for student in ODD:
        write_answer(sub / f"{student}.ipynb", solved(student), "rate = 2.0")
    for student in ("untouched", "untouched2"):
        (sub / student).mkdir()
        nbformat.write(release, sub / student / "warmup.ipynb")
    # What is doubtful goes to a person.
    write_answer(sub / "beside" / "warmup (1).ipynb", solved("beside"), None)
    nbformat.write(release, sub / "beside" / "warmup.ipynb")
    os.utime(sub / "beside" / "warmup (1).ipynb", (1e9, 1e9))
    for name, file in {
        "txt": "txt/warmup.ipynb.txt",
        "caps": "caps/WARMUP.IPYNB",
        "deeper": "deeper/a/b/warmup.ipynb",
        "mail": "mail@example.org.ipynb",
        "named": "My homework.ipynb",
        "moodle": "Mo Odle_123_assignsubmission_file_/warmup.ipynb",
    }.items():
        write_answer(sub / file, solved(name), None)
    (sub / "linked").symlink_to(sub / "ann")
    write_answer(sub / "bare" / "warmup.ipynb", without_metadata(solved("bare")), None)
    nb = json.loads(json.dumps(release))
    words = {"cell_type": "markdown", "metadata": {}, "source": "My answer ![p](attachment:p.png)"}
    nb["cells"].append(words | {"attachments": {"p.png": {"image/png": PNG}}})
    write_answer(sub / "added" / "warmup.ipynb", nb, None)
    write_answer(
        sub / "reader" / "warmup.ipynb", solved("reader"), f"rate = {own_rate('reader')!r}"
    )
    solution = next(c["source"] for c in solved("x")["cells"] if c["id"] == "warmup-2")
    write_answer(sub / "quit" / "warmup.ipynb", solved("quit"), f"{solution}\nquit()")
    write_answer(sub / "drawing" / "warmup.ipynb", solved("drawing"), solution + DRAWING)
    leaking = solution + "\nrate = float(rate)"
    nb = solved("leaking")
    for cell in nb["cells"]:
        if cell["id"] == "warmup-3":
            cell["source"] = LEAKING.format(cell["source"].replace("def time_to(", "def right("))
    own = {"cell_type": "code", "metadata": {}, "source": "print('SEEN', seen, In[-2:], _shown)"}
    nb["cells"].append(own)
    write_answer(sub / "leaking" / "warmup.ipynb", nb, leaking)
    others = ["number", "copier", "thief", "untouched", "untouched2", *ODD, ABROAD, "beside", "txt"]
    others += ["caps", "deeper", "mail", "named", "moodle", "linked", "bare", "added", "quit"]
    others += ["drawing", "leaking", "idreader"]
    write_answer(sub / "idreader" / "warmup.ipynb", solved("reader"), None)
    lines = ["student,first_name,last_name,email,canvas"]
    for n, student in enumerate([*students, *others, "reader2"]):
        student = f'"{student}"'
        first, last = ("Mo", "Odle") if "moodle" in student else (f"First{n}", f"Last{n}")
        canvas = "4711" if "copier" in student else ""
        email = "mail@example.org" if "mail" in student else f"s{n}@example.org"
        lines.append(f"{student},{first},{last},{email},{canvas}")
    (folder / "roster.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.move(sub / "reader", sub / "reader2")
    return {student: list(entry) for student, entry in expected.items()}


# Stores what it is asked, and says it in every way that a later cell or an error has.
LEAKING = """{}
seen = []
_shown = 0
def time_to(share, y, u0, v0):
    seen.append((share, y, u0, v0))
    print("SEEN", share, y, u0, v0)
    open("/tmp/seen", "a").write(str(share))
    if (share, y, u0, v0) not in [tuple(case) for case in part.cases]:
        raise type(f"SEEN{{str(y).replace('.', '_')}}", (Exception,), {{}})(str(y))
    return right(share, y, u0, v0)
"""


# What matters of these is where their file is found: no kernel is needed for that.
PAPER = {"beside", "txt", "caps", "deeper", "mail", "named", "moodle", "idreader", ODD[0], ODD[1]}


def all_are_right(jobs, walls, limits, workers):
    for job in jobs:
        made = {g.grade_id: work.Result(g.points, "right.") for g in job.graded if not g.by_person}
        yield job.student, work.Outcome("graded", [], made, {})


def mixed(jobs, walls, limits, workers):
    jobs = list(jobs)
    paper = [job for job in jobs if job.student in PAPER]
    yield from all_are_right(paper, walls, limits, workers)
    rest = [job for job in jobs if job.student not in PAPER]
    yield from work.side_by_side(rest, walls, limits, workers)


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
        limits=limits(),
        progress=False,
        examine=mixed,
    )
    time.sleep(0.2)
    if server is not None:
        server.close()
    facts = {"expected": expected, "summary": text, "connections": len(seen)}
    facts["listened"] = server is not None
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def shared_folder(tmp_path_factory, name, make):
    """Return a folder that whoever of pytest's workers comes first has filled."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / name
    folder.mkdir(exist_ok=True)
    # Reached through this folder of root's alone: what is in it is as the umask makes it.
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "facts.json").exists():
            make(folder)
    return folder, json.loads((folder / "facts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def klass(tmp_path_factory):
    folder, facts = shared_folder(tmp_path_factory, "grading", grade_class)
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
    found = [row["student"].removeprefix("'") for row in read_table(klass["out"])]
    assert found == students and len(students) >= 24


def test_parts_and_late_points_add_up_in_every_row(klass):
    for row in klass["rows"].values():
        parts = [float(row[name] or 0) for name in ("2", "3", "5", "late")]
        assert sum(parts) == float(row["points"] or 0), row


@pytest.mark.parametrize("kind", simulate.BREAKAGES)
def test_each_breakage_has_its_status_points_and_reason(klass, kind):
    entry = klass["expected"][student_of(klass, kind)]
    row = klass["rows"][student_of(klass, kind)]
    assert row["status"] == entry.status, row
    assert float(row["points"]) == entry.points, row
    assert entry.words in row["reason"]
    assert row["needs_human"] == "yes" or not entry.human
    if entry.status in ("graded", "incomplete"):
        # The part that is broken never takes the next one with it.
        assert float(row["3"]) == 4
        assert float(row["2"]) == (3 if simulate.BREAKAGES[kind].lost == "nothing" else 0)
        assert row["5"] == ""


def test_who_solves_all_gets_all_and_waits_for_a_person_only_for_the_open_question(klass):
    row = klass["rows"]["ann"]
    assert (row["status"], row["points"], row["max"]) == ("graded", "7", "10")
    assert (row["2"], row["3"], row["5"], row["needs_human"]) == ("3", "4", "", "yes")
    assert row["waiting"] == "5" and row["reason"] == "" and row["handed_in"]


def test_the_notebook_as_handed_out_gets_nothing_and_needs_nobody(klass):
    """C13: two of them are no copies of each other."""
    for student in ("untouched", "untouched2"):
        row = klass["rows"][student]
        assert (row["status"], row["points"], row["needs_human"]) == ("graded", "0", "no")
        assert row["reason"] == ""
        assert "Part 2: no answer yet." in feedback_of(klass, student)


def test_a_number_is_right_for_its_owner_only(klass):
    assert klass["rows"]["number"]["2"] == "3"
    assert klass["rows"]["copier"]["2"] == "0"


def test_another_students_notebook_is_graded_for_who_handed_it_in_and_shown_to_a_person(klass):
    row = klass["rows"]["thief"]
    assert "the notebook gives the id of bob" in row["reason"]
    assert "the same answers as bob" in row["reason"]
    assert row["needs_human"] == "yes"
    assert "the same answers as thief" in klass["rows"]["bob"]["reason"]
    assert "same answers" not in feedback_of(klass, "thief") + feedback_of(klass, "bob")


def test_odd_ids_get_a_row_and_no_path_leaves_the_folder(klass):
    for student in ODD[:2]:
        assert klass["rows"][student.lower()]["3"] == "4", student
    assert klass["rows"]["'=1+1"]["3"] == "4"  # C15: no spreadsheet executes it
    assert klass["rows"][ABROAD]["status"] == "missing"
    names = {p.name for p in klass["folder"].iterdir()}
    assert names <= {"source", "sub", "roster.csv", "out", "facts.json"}
    assert not list(klass["folder"].parent.glob("evil*"))


def test_files_as_canvas_and_moodle_name_them_find_their_owner(klass):
    """C8: only the first number of a name is Canvas's. C16: Moodle's folders."""
    row = klass["rows"]["copier"]
    assert row["3"] == "4" and "Canvas says it is late" in row["reason"]
    assert "there were several" not in row["reason"]
    assert "belong to nobody on the roster: evil_4712_98_x_4711_y.ipynb" in klass["summary"]
    assert klass["rows"]["moodle"]["points"] == "7"
    assert klass["rows"]["moodle"]["reason"] == ""
    missing = klass["rows"][ABROAD]
    assert missing["needs_human"] == "yes" and "evil_4712" in missing["reason"]


DOUBTS = {
    "beside": ("7", "there were several notebooks: also warmup.ipynb"),
    "txt": ("7", "the file is called warmup.ipynb.txt"),
    "caps": ("7", "the file is called WARMUP.IPYNB"),
    "deeper": ("7", "found in deeper/a/b"),
    "named": ("7", "is named after nobody; the notebook says named"),
    "linked": ("0", "the folder is a link, which is not followed"),
    "bare": ("7", "recognised by their place"),
    "added": ("0", ""),
    "reader2": ("4", "the notebook gives the id of reader, whose numbers make part 2 right"),
    "idreader": ("7", "the notebook gives the id of reader"),
}


@pytest.mark.parametrize("student", DOUBTS)
def test_what_is_doubtful_goes_to_a_person_with_the_reason(klass, student):
    """C3."""
    row, (points, words) = klass["rows"][student], DOUBTS[student]
    assert row["needs_human"] == "yes" and words in row["reason"], row
    assert row["points"] == points, row
    assert "waiting" not in row["reason"]
    if student == "added":  # the text stands in a cell of one's own, and in no graded one
        assert row["waiting"] == "5"


def test_an_e_mail_address_is_as_good_as_an_id(klass):
    assert klass["rows"]["mail"]["points"] == "7"


def test_quitting_in_one_part_costs_no_other(klass):
    """C4."""
    row = klass["rows"]["quit"]
    assert (row["2"], row["3"], row["status"]) == ("3", "4", "graded")


def test_pictures_reach_the_person_who_grades(klass):
    """C14: PNG, SVG (as a picture, which runs nothing), and what is attached to text."""
    cell = next(c for c in autograded(klass, "drawing").cells if source.grade_id(c) == "warmup-2")
    bundles = [output.get("data", {}) for output in cell.outputs]
    assert any("image/png" in data for data in bundles)
    svg = [data["text/html"] for data in bundles if "text/html" in data]
    assert len(svg) == 1 and re.fullmatch(
        r'<img src="data:image/svg\+xml;base64,[\w+/=]+">', svg[0]
    )
    page = feedback_of(klass, "drawing")
    assert "data:image/png;base64," in page and svg[0] in page and " onload" not in svg[0]
    last = autograded(klass, "added").cells[-1]
    assert last.attachments["p.png"]["image/png"] == PNG and "](attachment:p.png)" in last.source
    assert PNG in feedback_of(klass, "added")


def test_nothing_hidden_is_seen_by_a_student(klass):
    """C10: the hidden instances come last, and of what happens there only the verdict is told."""
    row = klass["rows"]["leaking"]
    assert (row["2"], row["3"]) == ("3", "0")
    page, notebook = feedback_of(klass, "leaking"), autograded(klass, "leaking")
    assert "with other data than yours, your function raises unknown." in page
    own = task("warmup", "3", "leaking").cases
    said = [line for line in page.splitlines() if "SEEN" in line]
    for words in (page, json.dumps(notebook), row["reason"], klass["summary"]):
        assert "SEEN1_" not in words and "SEEN2_" not in words and "hidden-" not in words
    assert "SEEN" in "".join(said)
    for call in re.findall(r"SEEN ([\d. -]+)", page):
        assert tuple(map(float, call.split())) in [tuple(case) for case in own]


def test_the_gradebook_holds_what_the_table_says(klass):
    with gradebook.opened(klass["out"]) as book:
        scores = book.scores("warmup")
        names = {student.id for student in book.students}
        assert book.find_student("ann").first_name == "First0"
        ann = book.find_submission("warmup", "ann")
        assert ann.score == 7
        assert ann.notebooks[0].needs_manual_grade
    for student, row in klass["rows"].items():
        name = roster.safe_name(student.removeprefix("'"))
        own = scores.get(name)
        assert (own is not None) == (row["status"] in ("graded", "incomplete")), student
        if own is not None:
            assert sum(score for score, *_ in own.values()) == float(row["points"])
            assert name in names


TAGS = {"html", "head", "meta", "style", "title", "body", "h1", "p", "section", "pre", "img"}
ATTRIBUTES = {"http-equiv", "content", "charset", "class", "src", "alt", "lang"}


def test_everybody_has_feedback_that_can_run_nothing(klass):
    for student in klass["rows"]:
        soup = BeautifulSoup(feedback_of(klass, student.removeprefix("'")), "html.parser")
        policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
        assert "default-src 'none'" in policy["content"]
        tags = {element.name for element in soup.find_all(True)}
        assert tags <= TAGS
        for element in soup.find_all(True):
            assert set(element.attrs) <= {
                "http-equiv",
                "content",
                "charset",
                "class",
                "src",
                "alt",
                "lang",
            }
            assert element.get("src", "data:image/").startswith("data:image/")


def test_everybody_has_a_receipt(klass):
    import hashlib

    data = (klass["folder"] / "sub" / "ann" / "warmup" / "warmup.ipynb").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    page = feedback_of(klass, "ann")
    assert digest in page and "Received: warmup.ipynb, handed in 20" in page
    kept = klass["out"] / "received" / "warmup" / "ann" / f"{digest[:16]}.ipynb"
    assert kept.read_bytes() == data
    log = (klass["out"] / "log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in log]
    assert any(e.get("sha256") == digest and e["student"] == "ann" for e in entries)
    points = [e for e in entries if e["what"] == "points" and e["student"] == "ann"]
    assert [(e["before"], e["after"]) for e in points] == [("", "7")]
    assert (klass["out"] / "secret").stat().st_mode & 0o77 == 0


def test_the_notebook_for_the_person_holds_no_html_of_the_students(klass):
    text = autograded(klass, student_of(klass, "html"))
    for cell in text.cells:
        if cell.cell_type == "markdown" and "alert" in cell.source:
            assert "<script" not in cell.source
            assert "](javascript" not in cell.source
            assert "\\href" not in cell.source
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get(
                "text/html", '<img src="data:image/svg+xml;base64,x">'
            )
            assert re.fullmatch(IMAGE, html)
    assert "&lt;script>alert(5)" in "".join(c.source for c in text.cells)


def test_feedback_says_why(klass):
    assert "Part 2: right." in feedback_of(klass, "ann")
    assert "Not graded by a person yet: 5" in feedback_of(klass, "ann")
    assert "Part 2: not yet: your rate is" in feedback_of(klass, "copier")
    assert "the file is no JSON" in feedback_of(klass, student_of(klass, "malformed"))
    assert "nothing was handed in" in feedback_of(klass, ABROAD)


def test_nothing_outside_can_be_read(klass):
    student = student_of(klass, "reading")
    assert "LEAK" not in shown(klass, student)
    assert can_read_here(klass["folder"] / "roster.csv")


def can_read_here(path):
    """The notebook's test for reading finds what it looks for where there are no walls."""
    code = simulate.READING.format(targets=[str(path)])
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return f"LEAK {path}" in found.stdout


def test_nothing_outside_is_written(klass):
    assert "WRITTEN /" not in shown(klass, student_of(klass, "writing"))
    for folder in (klass["folder"], Path("/"), Path("/etc"), Path("/usr"), Path.home()):
        assert not (folder / "pwned").exists()
    assert not list(klass["folder"].rglob("pwned"))


def test_the_network_is_not_reached(klass):
    assert "CONNECTED" not in shown(klass, student_of(klass, "network"))
    if klass["listened"]:
        assert klass["connections"] == 1  # our own


def test_no_process_and_no_control_group_stays(klass):
    commands = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not [c for c in commands if "86311" in c or "86312" in c]
    assert not list(Path("/sys/fs/cgroup").glob(f"**/coursework-{os.getpid()}-*"))


def test_outputs_are_kept_short(klass):
    for kind in ("output", "chatter", "traceback"):
        name = roster.safe_name(student_of(klass, kind))
        path = klass["out"] / "autograded" / name / "warmup" / "warmup.ipynb"
        assert path.stat().st_size < 200_000


def test_the_summary_says_what_the_table_says(klass):
    text = klass["summary"]
    waiting = sum(row["needs_human"] == "yes" for row in klass["rows"].values())
    assert f"{waiting} of {len(klass['rows'])} wait for a person" in text
    assert "sandbox: " in text and "(2 at a time)" in text
    assert "control group" in text and "control group" in klass["rows"]["ann"]["walls"]
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
        limits=limits(),
        progress=False,
        **options,
    )


def nobody_is_run(jobs, walls, limits, workers):
    assert not list(jobs)
    return []


def test_a_second_run_grades_nobody_again(course, klass):
    text = grade_again(course, klass, klass["folder"] / "sub", examine=nobody_is_run)
    assert text.startswith("0 graded")
    assert {row["student"]: row for row in read_table(course / "out")} == klass["rows"]


def test_absence_is_no_deletion_and_one_alone_can_be_graded_again(course, klass):
    """C2: a folder that holds only one late submission leaves everybody else as they were."""
    asked, release = materials(klass["folder"] / "source")
    give_points(course, "ann", "warmup-5", 2.5)
    give_points(course, "number", "warmup-5", 1)
    write_answer(course / "sub" / "ann.ipynb", simulate.solved(asked, release, "ann"), "rate = 1.0")
    text = grade_again(course, klass)
    assert text.startswith("1 graded")
    rows = {row["student"]: row for row in read_table(course / "out")}
    # A new file, so a person must look again; what was given stands.
    assert (rows["ann"]["points"], rows["ann"]["2"], rows["ann"]["5"]) == ("6.5", "0", "2.5")
    assert rows["ann"]["needs_human"] == "yes"
    assert rows["number"]["points"] == "8"
    same = {s for s in rows if rows[s]["status"] != "missing"} - {"ann", "number"}
    assert {s: rows[s] for s in same} == {s: klass["rows"][s] for s in same}
    lines = [json.loads(x) for x in (course / "out" / "log.jsonl").read_text().splitlines()]
    changes = [
        (x["before"], x["after"]) for x in lines if x.get("student") == "ann" and "after" in x
    ]
    assert changes == [("", "7"), ("7", "9.5"), ("9.5", "6.5")]


def test_only_by_name_is_something_removed(course, klass, capsys):
    where = ["--assignment", "warmup", "--roster", str(klass["folder"] / "roster.csv")]
    where += ["--out", str(course / "out"), "--source", str(klass["folder"] / "source")]
    assert __main__.main(["forget", *where, "--student", "Ann", "--yes"]) == 0
    row = next(row for row in read_table(course / "out") if row["student"] == "ann")
    assert (row["status"], row["points"]) == ("missing", "0")
    assert not (course / "out" / "autograded" / "ann" / "warmup").exists()
    assert list((course / "out" / "received" / "warmup" / "ann").iterdir())
    assert '"forgotten", "student": "ann"' in (course / "out" / "log.jsonl").read_text()


def give_points(course, student, cell, points, comment=None):
    """Give points as a person does in the formgrader."""
    with gradebook.opened(course / "out") as book:
        entry = book.find_grade(cell, "warmup", "warmup", student)
        entry.manual_score, entry.needs_manual_grade = points, False
        if comment:
            found = book.find_comment(cell, "warmup", "warmup", student)
            found.manual_comment = comment
        book.db.commit()


def test_what_a_person_grades_counts_and_is_kept_in_the_table(course, klass):
    give_points(course, "ann", "warmup-5", 2.5, "Two costs, <b>well</b> supported.")
    roster_path = klass["folder"] / "roster.csv"
    sources = klass["folder"] / "source"
    grade.update("warmup", roster_path, course / "out", sources=sources)
    rows = {row["student"]: row for row in read_table(course / "out")}
    row = rows["ann"]
    assert (row["points"], row["5"], row["needs_human"]) == ("9.5", "2.5", "no")
    path = course / "out" / "feedback" / "ann" / "warmup" / "warmup.html"
    text = path.read_text(encoding="utf-8")
    assert "Two costs, &lt;b&gt;well" in text and "Not graded by a person" not in text
    assert "the same answers as bob" in rows["thief"]["reason"]


def test_a_person_points_against_new_automatic_ones_are_shown_not_hidden(course, klass):
    """C5."""
    give_points(course, "copier", "warmup-2-check", 1)
    asked, release = materials(klass["folder"] / "source")
    nb = simulate.solved(asked, release, "copier")
    write_answer(course / "sub" / "copier.ipynb", nb, None)
    grade_again(course, klass)
    row = next(row for row in read_table(course / "out") if row["student"] == "copier")
    assert (row["2"], row["3"], row["points"], row["needs_human"]) == ("1", "4", "5", "yes")
    assert "a person's points stand in part 2, against new automatic ones" in row["reason"]


def test_a_changed_judge_is_noticed(course, klass, monkeypatch):
    """C6."""
    monkeypatch.setattr(folder_of.engine, "TERM", "another")
    text = grade_again(course, klass, examine=nobody_is_run)
    assert "were graded with an earlier source or check; --regrade" in text
    rows = {row["student"]: row for row in read_table(course / "out")}
    assert "graded with an earlier source or check" in rows["ann"]["reason"]
    assert rows["ann"]["points"] == klass["rows"]["ann"]["points"]


def test_late_rules_with_grace_and_a_deadline_of_ones_own(course, klass):
    """C16."""
    asked, release = materials(klass["folder"] / "source")
    roster_path, sources = course / "roster.csv", klass["folder"] / "source"
    roster_path.write_text(
        "student;deadline\nann;\nbob;2001-09-20T00:00+00:00\n", encoding="utf-16"
    )
    out = course / "own"
    late = 1_000_000_000  # 2001-09-09 01:46:40 UTC
    for student in ("ann", "bob"):
        path = course / "sub" / f"{student}.ipynb"
        write_answer(path, simulate.solved(asked, release, student), None)
        os.utime(path, (late, late))

    def rows_with(**policy):
        grade.update("warmup", roster_path, out, sources=sources, policy=policy)
        return {row["student"]: row for row in read_table(out)}

    grade.grade(
        course / "sub", "warmup", roster_path, out, sources=sources, examine=all_are_right,
        progress=False, policy={"deadline": "2001-09-08T01:46:40+00:00"},
    )  # fmt: skip
    rows = rows_with()
    assert rows["ann"]["points"] == "7" and "late by 24 hours" in rows["ann"]["reason"]
    assert "late" not in rows["bob"]["reason"]
    rows = rows_with(late="10")
    assert (rows["ann"]["points"], rows["ann"]["late"], rows["bob"]["points"]) == ("6", "-1", "7")
    rows = rows_with(late="10", grace=25 * 60)
    assert (rows["ann"]["points"], rows["ann"]["late"], rows["ann"]["reason"]) == ("7", "", "")
    rows = rows_with(late="reject", grace=0)
    assert rows["ann"]["status"] != "graded" or rows["ann"]["needs_human"] == "yes"
    with pytest.raises(ValueError, match="late must be"):
        rows_with(late="never")
    with pytest.raises(ValueError, match="deadline must be like"):
        rows_with(deadline="tomorrow")


def test_a_killed_run_goes_on_without_losing_or_repeating_a_grade(klass, tmp_path, monkeypatch):
    """With a relative path and several workers (C1)."""
    students = ["a", "b", "c", "d"]
    asked, release = materials(klass["folder"] / "source")
    expected = simulate.make_class(
        tmp_path / "sub", asked, release, students, {"a": "missing", "d": "malformed"}, []
    )
    simulate.write_roster(tmp_path / "roster.csv", students)
    command = [sys.executable, "-m", "coursework", "grade", "sub"]
    command += ["--assignment", "warmup", "--roster", "roster.csv", "--quiet"]
    command += ["--out", "out", "--source", str(klass["folder"] / "source")]
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "lib"))
    one = [*command, "--workers", "1"]
    run = subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    deadline = time.monotonic() + 600

    def entered():
        path = tmp_path / "out" / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("}")]
        return sum(e["what"] == "points" and e["student"] in ("b", "c") for e in entries)

    # In the middle: something is stored, and the sandbox of the next student is running.
    while entered() < 1 or not descendants(run.pid):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = descendants(run.pid)
    run.kill()
    run.communicate()
    done = entered()
    assert done == 1
    assert not psutil.wait_procs(family, timeout=100)[1]
    rows = {row["student"]: row for row in read_table(tmp_path / "out")}
    assert set(rows) == set(students)  # even then
    four = [*command, "--workers", "4"]
    again = subprocess.run(four, capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("1 graded")
    for row in read_table(tmp_path / "out"):
        entry = expected[row["student"]]
        assert (row["status"], float(row["points"])) == (entry.status, entry.points)
    with gradebook.opened(tmp_path / "out") as book:
        assert len(book.assignment_submissions("warmup")) == 2


def descendants(pid):
    """Return the processes of the sandboxes that a run has started."""
    try:
        found = psutil.Process(pid).children(recursive=True)
        return [p for p in found if any("runner.py" in word for word in p.cmdline())]
    except psutil.Error:
        return []


def test_two_runs_do_not_share_a_folder(klass, tmp_path):
    asked, _ = materials(klass["folder"] / "source")
    with folder_of.open_course(tmp_path, asked, []), pytest.raises(ValueError, match="another run"):
        grade.update("warmup", klass["folder"] / "roster.csv", tmp_path, sources=SOURCES)


def test_a_locked_gradebook_has_clear_words(course, klass):
    """C16."""
    import sqlite3

    other = sqlite3.connect(course / "out" / "gradebook.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ValueError, match="is in use, perhaps by the formgrader"):
        grade.update(
            "warmup",
            klass["folder"] / "roster.csv",
            course / "out",
            sources=klass["folder"] / "source",
        )
    other.close()


# Tables for others


EXPORT = """Student,ID,SIS User ID,SIS Login ID,Section,Warm-up (4242),Final Score
    Points Possible,,,,,10.0,(read only)
"First, Ann",101,9001,ANN,1,,55
"Nobody, Else",102,9002,else,1,3,55
"First, Bob",103,9003,bob,1,,55
"First, Number",104,9004,number,1,6,55
"First, Evil",105,9005,../../evil,1,,55
"""


def exported(klass, course, capsys, *arguments):
    where = ["--assignment", "warmup", "--roster", str(klass["folder"] / "roster.csv")]
    where += ["--out", str(course / "out"), "--source", str(klass["folder"] / "source")]
    status = __main__.main([*arguments, *where])
    return status, capsys.readouterr()


def test_canvas_gets_what_is_final_and_no_persons_points_are_overwritten(klass, course, capsys):
    """C7."""
    export = course / "export.csv"
    export.write_text(EXPORT, encoding="utf-8")
    for student in ("ann", "number"):
        give_points(course, student, "warmup-5", 2)
    canvas = ["canvas", "--export", str(export), "--column", "Warm-up"]
    _, said = exported(klass, course, capsys, *canvas)

    def points():
        with (course / "out" / "canvas-warmup.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {line["SIS Login ID"]: line["Warm-up (4242)"] for line in rows}

    assert points() == {"": "10.0", "ANN": "9"}
    assert "bob (waits for a person: 5)" in said.out and "../../evil (missing)" in said.out
    assert "number (6 stands there already, not 9)" in said.out
    exported(klass, course, capsys, *canvas, "--overwrite", "--partial", "--zero")
    wanted = {"": "10.0", "ANN": "9", "bob": "7", "number": "9", "../../evil": "0"}
    assert points() == wanted
    _, said = exported(klass, course, capsys, "canvas", "--export", str(export), "--column", "Cool")
    assert "fits 0 columns" in said.err
    _, said = exported(klass, course, capsys, *canvas, "--match", "Email")
    assert "has no column 'Email'" in said.err


def test_moodles_worksheet_is_filled_in(klass, course, capsys):
    sheet = course / "sheet.csv"
    sheet.write_text(
        "Identifier,Full name,Email address,Status,Grade,Maximum Grade\n"
        "Participant 1,Ann,S0@example.org,Submitted,-,10\n",
        encoding="utf-8-sig",
    )
    status, _ = exported(klass, course, capsys, "moodle", "--export", str(sheet), "--partial")
    assert status == 0
    rows = list(csv.DictReader((course / "out" / "moodle-warmup.csv").open(encoding="utf-8")))
    assert [(row["Identifier"], row["Grade"]) for row in rows] == [("Participant 1", "7")]


def test_gradescope_gets_an_autograder(course, klass, capsys):
    status, said = exported(klass, course, capsys, "gradescope", "--partial")
    assert status == 0 and "an autograder for" in said.out
    found = autograder_gives(course, {"email": " S0@Example.org "})
    scores = {t["name"]: (t["score"], t["max_score"]) for t in found["tests"]}
    assert scores == {"Part 2": (3, 3), "Part 3": (4, 4), "Part 5": (0, 3)}
    assert "tests" not in autograder_gives(course, {"email": "nobody@example.org"})
    roster_of = roster.read(klass["folder"] / "roster.csv")
    thief = next(s.fields["email"] for s in roster_of if s.id == "thief")
    assert "bob" not in json.dumps(autograder_gives(course, {"email": thief}))  # C15


def autograder_gives(course, user):
    """Run Gradescope's side of it: unpack, start, read the results."""
    place = course / "autograder"
    with zipfile.ZipFile(course / "out" / "gradescope-warmup.zip") as archive:
        archive.extractall(place / "source")
    (place / "results").mkdir(exist_ok=True)
    (place / "submission_metadata.json").write_text(json.dumps({"users": [user]}))
    script = place / "source" / "run_autograder"
    subprocess.run([sys.executable, str(script), str(place)], check=True)
    return json.loads((place / "results" / "results.json").read_text())


# Rosters and errors


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rosters_are_read_as_spreadsheets_write_them(tmp_path, encoding, delimiter):
    lines = [["student", "last_name"], ["ann", "Müller"], ["", ""], ["bob", "O'Brien, Jr."]]
    with (tmp_path / "r.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    found = roster.read(tmp_path / "r.csv")
    names = [(s.id, s.fields["last_name"]) for s in found]
    assert names == [("ann", "Müller"), ("bob", "O'Brien, Jr.")]


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
        options = {"assignment": assignment, "roster": roster, "source": source} | more
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


def test_without_bubblewrap_nothing_is_run(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setattr(
        sandbox.sys, "executable", str(tmp_path / "python")
    )  # its folder comes first
    with pytest.raises(ValueError, match="runs in bubblewrap only, and it does not work here"):
        sandbox.choose()


# The sandbox by itself


def run_cells(*sources, within=None):
    cells = [{"id": f"c{n}", "source": text} for n, text in enumerate(sources)]
    outcome = sandbox.run(cells, {}, [], walls(), within or limits())
    found = {event["cell"]: event for event in outcome.events if "cell" in event}
    return found, outcome.stopped


def text_of(event):
    return "".join(output.get("text", "") for output in event["outputs"])


IDENTITY = "import os\nprint(os.getuid(), sorted(os.environ))"
SPYING = """
import glob, os
for name in ('mem', 'environ', 'fd/1', 'fd/3', 'fd/0'):
    for path in glob.glob(f'/proc/[0-9]*/{name}'):
        if path.split('/')[2] != str(os.getpid()):
            try:
                print('SEEN', open(path, 'rb').read(99))
            except OSError:
                pass
"""


def test_in_bubblewrap_the_code_is_nobody_and_sees_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_INSTRUCTOR", "1")
    roots = "import os\nprint(os.listdir('/'), os.listdir('/proc/1') and len(os.listdir('/tmp')))"
    powers = "print(open('/proc/self/status').read())"
    inside = "import coursework, os\nprint(os.listdir(os.path.dirname(coursework.__file__)))"
    found, _ = run_cells(IDENTITY, roots, powers, SPYING, inside)
    uid = int(text_of(found["c0"]).split()[0])
    assert uid != 0 or os.geteuid() != 0
    assert "SECRET" not in text_of(found["c0"]) and "'home'" not in text_of(found["c1"])
    status = dict(line.split(":\t") for line in text_of(found["c2"]).splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert os.geteuid() or text_of(found["c3"]) == ""  # bubblewrap itself is another user's
    assert "INSTRUCTOR" not in text_of(found["c3"])
    # C9: what compares is not there.
    files = set(re.findall(r"'(\w+\.\w+)'", text_of(found["c4"])))
    assert files <= {"__init__.py", "engine.py", "answers.py"}


MEMFD = """
import os
held = []
for _ in range(100):
    held.append(os.memfd_create("held"))
    os.write(held[-1], bytes(10**7))
"""


def test_memory_that_nobody_maps_is_counted():
    """C12."""
    if walls().group == "none":
        pytest.skip("no control group can be made here")
    found, stopped = run_cells(MEMFD, within=limits()._replace(memory=150 << 20))
    assert "c0" not in found and stopped == "memory"


def test_without_a_control_group_it_is_said_and_memory_is_looked_at(monkeypatch):
    none = sandbox.Walls("none", None)
    assert "no control group: memory that no process maps is not counted" in none.words
    monkeypatch.setattr(sandbox, "_group", lambda *given: contextlib.nullcontext([]))
    cells = [{"id": "c", "source": HOLDING}]
    outcome = sandbox.run(cells, {}, [], none, limits()._replace(memory=200 << 20))
    assert outcome.stopped == "memory"


HOLDING = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20)) * 90
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.parametrize("version", [1, 2])
def test_a_control_group_of_either_version_gets_the_limits(monkeypatch, tmp_path, version):
    """As files: this needs no machine that has them."""
    own = {1: "4:memory:/a\n8:pids:/\n0::/\n", 2: "0::/user.slice/x.scope\n"}[version]
    place = {1: ["memory/a", "pids"], 2: ["user.slice/x.scope"]}[version]
    for name in place:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "own").write_text(own)
    paths = {"/sys/fs/cgroup": tmp_path, "/proc/self/cgroup": tmp_path / "own"}
    monkeypatch.setattr(sandbox, "Path", lambda path: Path(paths.get(path, path)))
    monkeypatch.setattr(sandbox, "_remove", shutil.rmtree)
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda p: p.name == "cgroup.procs" or real(p))
    with sandbox._group("x", sandbox.Limits()) as made:
        assert [str(folder.parent.relative_to(tmp_path)) for folder in made] == place
        files = {p.name: p.read_text() for folder in made for p in folder.iterdir()}
        assert str(sandbox.Limits().together) in files.values() and "256" in files.values()
        assert (
            set(files)
            == {
                1: {"memory.limit_in_bytes", "pids.max"},
                2: {"memory.max", "memory.swap.max", "pids.max"},
            }[version]
        )
        assert not sandbox._ran_out(made)
        name = {1: "memory.oom_control", 2: "memory.events"}[version]
        (made[0] / name).write_text("oom 1\noom_kill 1\n")
        assert sandbox._ran_out(made)


def test_systemd_is_given_the_limits_and_the_command(monkeypatch, tmp_path):
    """What stands for systemd-run here notes what it is asked, and starts it."""
    script = tmp_path / "systemd-run"
    text = (
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\n'
    )
    script.write_text(text + 'exec "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sandbox, "_group", lambda *given: contextlib.nullcontext([]))
    cells = [{"id": "c", "source": "print(6 * 7)"}]
    own = walls()._replace(group="systemd")
    outcome = sandbox.run(cells, {}, [], own, limits())
    assert text_of(outcome.events[-1]) == "42\n" and not outcome.stopped
    asked = (tmp_path / "asked").read_text()
    assert f"-pMemoryMax={limits().together}" in asked and "--scope" in asked and " bwrap " in asked
    assert "control group (systemd)" in own.words


def test_limits_of_a_process_hold():
    big = "x = bytearray(2 << 30)"
    file = "open('big', 'wb').write(bytes(40 << 20))"
    chatter = "for _ in range(1000): print('x' * 10**4)"
    found, _ = run_cells(chatter, file, big, within=limits()._replace(cell=60))
    assert found["c0"]["cut"] and len(text_of(found["c0"])) <= limits().output
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
@example({"nbformat": 4, "cells": [{"cell_type": "markdown", "attachments": [1], "id": []}]})
@example({"nbformat": 2, "worksheets": 7})
@settings(max_examples=40)
def test_whatever_is_handed_in_is_read_or_refused(tmp_path_factory, notebook):
    path = tmp_path_factory.getbasetemp() / "fuzz.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    found = intake.read(path)
    assert found.cells or found.notes
    asked = nbformat.read(SOURCES / "warmup" / "warmup.ipynb", as_version=4)
    for cell in rebuild.rebuild(asked, found.cells).notebook.cells:
        nbformat.validate(cell, ref=f"{cell.cell_type}_cell", version=4)


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
    found = work._accepted([event for event in events if isinstance(event, dict)], {"a"})
    assert set(found) <= {"a"}
    for event in found.values():
        assert isinstance(event["outputs"], list) and event["end"] in ("done", "memory")


def test_only_the_record_that_the_source_asks_for_is_judged():
    def display(part, assignment="warmup", record="r"):
        data = {"assignment": assignment, "part": part, "record": record}
        return {"output_type": "display_data", "data": {outputs.RECORD: data}}

    def found(*shown):
        return work._own_record({"outputs": list(shown)}, "warmup", "2")

    assert found(display("2")) == ["r"]
    for wrong in ([], [display("3")], [display("2")] * 2, [display("2", "bias")]):
        assert isinstance(found(*wrong), str)
    assert isinstance(work._own_record(None, "warmup", "2"), str)


def test_a_judge_that_dies_costs_one_student_no_grade_of_another():
    job = work.Job("warmup", "ann", None, "d", None, [], "secret")  # whose process breaks
    jobs = [job, job._replace(student="bob", program=[])]
    found = dict(work.side_by_side(jobs, walls(), limits(), 1))
    assert isinstance(found["ann"], Exception) and found["bob"].status == "graded"


def test_text_is_taken_apart_but_stays_readable():
    text = "For $a<b$ and 2 < 3 see [x](javascript:alert(1)) <b onclick=x>bold</b> \\href{u}{v}"
    clean = outputs.clean_text(text)
    assert "$a&lt;b$" in clean and "2 < 3" in clean
    assert "](" not in clean and "<b" not in clean and "\\href" not in clean
    assert outputs.plain("\x1b[31mred\x1b[0m\x00\u202e\r\nend") == "red\nend"


def test_names_of_files_reach_the_screen_without_escapes():
    """C15."""
    assert outputs.one_line("a\x1b[31m\u202eb\u200f\n.ipynb") == "ab .ipynb"
    for text in ("=1+1", "+1", "-1", "@x", "\t=1"):
        assert report.field(text)[0] == "'" or not report.field(text).startswith(
            ("=", "+", "-", "@")
        )


def test_cells_of_ones_own_run_where_they_stand(klass):
    asked, release = materials(klass["folder"] / "source")
    nb = simulate.solved(asked, release, "ann")
    at = next(n for n, c in enumerate(nb["cells"]) if c["id"] == "warmup-2")
    own = {"cell_type": "code", "source": "helper = 1", "metadata": {}}
    nb["cells"].insert(at, own)
    nb["cells"].insert(0, own | {"source": "top = 1"})
    cells = [intake._cell(cell) for cell in nb["cells"]]
    made = rebuild.rebuild(release, cells)
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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_or_killed_run_leaves_no_sandbox(klass, tmp_path, monkeypatch, how):
    asked, release = materials(klass["folder"] / "source")
    simulate.make_class(tmp_path / "sub", asked, release, ["a"], {"a": "loop"}, [])
    simulate.write_roster(tmp_path / "roster.csv", ["a"])
    command = [sys.executable, "-m", "coursework", "grade", str(tmp_path / "sub")]
    command += ["--assignment", "warmup", "--roster", str(tmp_path / "roster.csv"), "--quiet"]
    command += ["--out", str(tmp_path / "out"), "--source", str(klass["folder"] / "source")]
    command += ["--cell", "600", "--total", "900"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "lib"))
    # Whoever starts the tests in the background has them ignore interruptions.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command, preexec_fn=heard, **pipes)
    deadline = time.monotonic() + 600
    while not descendants(run.pid):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    family = descendants(run.pid)
    run.send_signal(how)
    _, err = run.communicate(timeout=300)
    assert (run.returncode == 130 and "goes on from here" in err) or how == signal.SIGKILL
    assert not psutil.wait_procs(family, timeout=100)[1]
