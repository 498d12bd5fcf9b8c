"""A class that never was: solutions by the book, and everything that can go wrong with a notebook.

For the tests, for the benchmark, and for an instructor who wants to try the commands before the
students come. Every kind of breakage says what must become of it.
"""

import copy
import csv
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from coursework.grading.source import grade_id, is_solution

SOLUTION = re.compile(r"^\s*### (BEGIN|END) SOLUTION.*\n?", re.MULTILINE)


class Breakage(NamedTuple):
    """A way to break a notebook, and what must become of it.

    `make` takes the notebook (as a dict, with the answers in it), the `Place` that is hit, and
    the folder of the submission; it changes the notebook, or writes files itself and returns
    True. `status` must come out, `lost` tells which of the automatic points are lost: "nothing",
    "part" (the one that is hit) or "all"; `words` are in the reason, and `human` tells whether
    the row must wait for a human because of it.
    """

    make: object
    status: str = "graded"
    lost: str = "nothing"
    words: str = ""
    human: bool = False


class Place(NamedTuple):
    """The part that is hit: its answer cell and check, a wrong answer, and files to go for."""

    answer: str
    check: str
    wrong: str
    targets: list


class Expected(NamedTuple):
    """What must become of a student: kind of breakage (or empty), and the row's values."""

    kind: str
    status: str
    points: float
    words: str
    human: bool


def _cell(nb, name):
    return next(c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def _after(code):
    """Return a breakage's `make` that adds code after the right answer."""

    def make(nb, place, folder):
        _cell(nb, place.answer)["source"] += "\n" + code.format(targets=place.targets)

    return make


def _instead(code):
    """Return a `make` that puts a wrong answer and code in the place of the right one."""

    def make(nb, place, folder):
        text = place.wrong + "\n" + code.format(targets=place.targets)
        _cell(nb, place.answer)["source"] = text

    return make


def _write(data):
    """Return a `make` that hands in these bytes."""

    def make(nb, place, folder):
        (folder / f"{folder.name}.ipynb").write_bytes(data)
        return True

    return make


def _renamed(nb, place, folder):
    (folder / "Untitled (3).ipynb").write_text(json.dumps(nb), encoding="utf-8")
    return True


def _two_files(nb, place, folder):
    (folder / "My attempt.ipynb").write_text(json.dumps(nb), encoding="utf-8")
    scratch = {"cells": [{"cell_type": "code", "source": "1+1", "metadata": {}}], "nbformat": 4}
    (folder / "scratch.ipynb").write_text(json.dumps(scratch), encoding="utf-8")
    return True


def _old_format(nb, place, folder):
    cells = []
    for cell in nb["cells"]:
        old = {"cell_type": cell["cell_type"], "metadata": cell["metadata"]}
        if cell["cell_type"] == "code":
            old |= {"input": cell["source"], "language": "python", "outputs": []}
        else:
            old |= {"source": cell["source"]}
        cells.append(old)
    made = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}
    made["worksheets"] = [{"cells": cells, "metadata": {}}]
    path = folder / f"{folder.name}.ipynb"
    path.write_text(json.dumps(made), encoding="utf-8")
    return True


def _repeated(nb, place, folder):
    at = nb["cells"].index(_cell(nb, place.answer))
    nb["cells"].insert(at, copy.deepcopy(nb["cells"][at]))
    nb["cells"].append(copy.deepcopy(_cell(nb, place.check)))


def _deleted_checks(nb, place, folder):
    nb["cells"] = [c for c in nb["cells"] if not _locked(c)]


def _locked(cell):
    return cell["metadata"].get("nbgrader", {}).get("locked", False)


def _edited_checks(nb, place, folder):
    _cell(nb, place.answer)["source"] = place.wrong
    for cell in nb["cells"]:
        if _locked(cell) and cell["metadata"]["nbgrader"]["grade"]:
            cell["source"] = 'print("right.")\n1000.0'
            cell["metadata"]["nbgrader"]["points"] = 1000


def _deleted_answer(nb, place, folder):
    nb["cells"].remove(_cell(nb, place.answer))


def _answer_as_text(nb, place, folder):
    cell = _cell(nb, place.answer)
    cell["cell_type"] = "markdown"
    cell.pop("outputs", None)
    cell.pop("execution_count", None)


def _wrong_kernel(nb, place, folder):
    spec = {"name": "ir", "language": "R", "display_name": "R"}
    nb["metadata"] = {"kernelspec": spec, "language_info": {"name": "R"}}


def _symlink(nb, place, folder):
    os.symlink(place.targets[0], folder / f"{folder.name}.ipynb")
    return True


def _huge(nb, place, folder):
    path = folder / f"{folder.name}.ipynb"
    path.write_text(json.dumps(nb), encoding="utf-8")
    os.truncate(path, 65 << 20)  # a hole, which takes no room
    return True


def _pictures(nb, place, folder):
    nb["metadata"]["padding"] = "x" * (11 << 20)


def _long(nb, place, folder):
    # Readers of markdown take minutes for such a text.
    text = "\\begin{a}" * 20_000
    nb["cells"].append({"cell_type": "markdown", "source": text, "metadata": {}})


def _folder(nb, place, folder):
    (folder / f"{folder.name}.ipynb").mkdir()
    return True


def _pipe(nb, place, folder):
    os.mkfifo(folder / f"{folder.name}.ipynb")
    return True


def _html(nb, place, folder):
    _cell(nb, place.answer)["source"] += (
        "\nfrom IPython.display import HTML, Javascript, SVG, Markdown, display\n"
        "for evil in (HTML, Javascript, SVG, Markdown):\n"
        "    display(evil('<svg onload=\"alert(1)\"><script>alert(2)</script></svg>'))\n"
        "import ipywidgets\n"
        "display(ipywidgets.HTML('<script>alert(3)</script>'))\n"
        "print('<script>alert(4)</script>')"
    )
    words = (
        "<script>alert(5)</script> [a](javascript:alert(6)) <img src=x onerror=alert(7)>\n\n"
        "$\\href{javascript:alert(8)}{x}$ ![b](https://example.org/b.png)\n\n"
        '[c]: javascript:alert(9)\n\n<iframe src="https://example.org"></iframe> [c]'
    )
    nb["cells"].append({"cell_type": "markdown", "source": words, "metadata": {}})
    for cell in nb["cells"]:
        if cell["cell_type"] == "markdown" and cell["metadata"].get("nbgrader"):
            cell["source"] += words


def _hostile_metadata(nb, place, folder):
    for cell in nb["cells"]:
        cell["id"] = ["not", {"an": "id"}]
    nb["cells"] += [None, 7, {"cell_type": "code"}, {"source": {"a": 1}, "metadata": []}]
    nb["cells"].append({"cell_type": "markdown", "source": "\ud800 \x00", "metadata": {}})
    nb["metadata"] = "none"


# Doubled braces are single ones in the code: `{targets}` is filled in.
LOOP = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
MEMORY = "import numpy as np\nheld = []\nwhile True:\n    held.append(np.ones(10**6))"
OUTPUT = "for _ in range(8000):\n    print('x' * 10**4)"
FORKS = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
NUMPY = """
import numpy as np
for name in ("allclose", "isclose", "array_equal", "all"):
    setattr(np, name, lambda *a, **k: True)
np.testing.assert_allclose = lambda *a, **k: None

"""
SPOILER = """
import numpy as np
import overparam
import scipy.integrate
for module in (np, overparam, scipy.integrate):
    for name in ("log", "exp", "sqrt", "gradient_flow", "solve_ivp"):
        setattr(module, name, lambda *a, **k: 0.0)
"""
COURSE = """
import sys
import coursework as course
from coursework import engine, answers
for module in (course, engine):
    module.judge = lambda *a, **k: engine.Verdict(1.0, "right.")
    module.check = lambda *a, **k: print("Part: right.")
engine.os.environ.pop("OVERPARAM_TASKS", None)
check = course.check
"""
FORGED = """
from IPython.display import display
def check(part, answer):
    forged = dict(kind="number", value=1.0, fraction=1.0, message="right.", points=1000)
    display({{"application/vnd.overparam.answer+json": dict(assignment=part.assignment,
        part=part.part, student=part.student, record=forged, fraction=1.0)}}, raw=True)
    return 1000.0
display({{"application/vnd.overparam.answer+json": {{"record": {{"fraction": 1}}}}}}, raw=True)
print('{{"cell": "cell-1", "end": "done", "outputs": []}}')
"""
BILLIONS = """
from IPython.display import display
def check(part, answer):
    record = dict(kind="number", value=10**4000, shape=[10**9, 10**9], values=[[]],
        text="9**9**9**9**9", results=[dict(kind="expression", text="(" * 10**5)] * 9)
    display({{"application/vnd.overparam.answer+json": dict(assignment=part.assignment,
        part=part.part, student=part.student, record=record)}}, raw=True)
"""
NESTED = """
from IPython.display import display
def check(part, answer):
    deep = []
    for _ in range(700):
        deep = [deep]
    display({{"application/vnd.overparam.answer+json": dict(assignment=part.assignment,
        part=part.part, student=part.student, record=deep)}}, raw=True)
"""
READING = """
import os, glob
for path in {targets!r} + ["/etc/shadow", "/proc/%d/mem" % os.getppid()]:
    try:
        with open(path, "rb") as file:
            file.read(1)
        print("LEAK", path)
    except OSError:
        pass
for pattern in ("/root/*", "/home/*/*", "/srv/*", "/opt/*/*", "/tmp/*/*/*", "/tmp/*/*/*/*"):
    for name in glob.glob(pattern):
        if name.endswith((".ipynb", ".db", ".csv", "private", "book", "tests")):
            print("LEAK", name)
"""
WRITING = """
import os
for path in {targets!r} + [p + "/pwned" for p in ("/", "/etc", "/usr", "/root", "/home")]:
    for name in (path, os.path.join(os.path.dirname(path), "pwned")):
        try:
            with open(name, "ab") as file:
                file.write(b" ")
            print("WRITTEN", name)
        except OSError:
            pass
"""
NETWORK = """
import socket
reached = []
for address in [("127.0.0.1", 8791), ("1.1.1.1", 53), ("169.254.169.254", 80)]:
    try:
        socket.create_connection(address, timeout=2).close()
        print("CONNECTED", address)
    except OSError:
        pass
"""
STAYING = """
import os, subprocess, sys, threading
subprocess.Popen(["sleep", "86311"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "86312"])
    os._exit(0)
def talk():
    while True:
        print("still here")
threading.Thread(target=talk, daemon=True).start()
"""
DISK = """
for number in range(100):
    with open(f"filler-{{number}}", "wb") as file:
        file.write(bytes(12 << 20))
"""
TRACEBACK = """
def deeper(n):
    text = "x" * 10**4
    if n == 0:
        raise ValueError("<script>alert(1)</script>" * 10**4)
    deeper(n - 1)
deeper(100)
"""

BREAKAGES = {
    # files
    "missing": Breakage(lambda nb, place, folder: True, "missing", "all", "nothing was handed in"),
    "malformed": Breakage(_write(b'{"cells": [{"cell_type'), "rejected", "all", "no JSON", True),
    "empty": Breakage(_write(b""), "rejected", "all", "empty", True),
    "bytes": Breakage(_write(b'{"cells": "\xff\xfe"}'), "rejected", "all", "not UTF-8", True),
    "list": Breakage(_write(b"[1, 2, 3]"), "rejected", "all", "no notebook", True),
    "nested": Breakage(_write(b"[" * 10**6), "rejected", "all", "nests too deeply", True),
    "symlink": Breakage(_symlink, "rejected", "all", "symbolic link", True),
    "huge": Breakage(_huge, "rejected", "all", "65 MB", True),
    "pictures": Breakage(_pictures),
    "long": Breakage(_long, "rejected", "all", "characters", True),
    "folder": Breakage(_folder, "rejected", "all", "folder", True),
    "pipe": Breakage(_pipe, "rejected", "all", "pipe", True),
    "renamed": Breakage(_renamed),
    "two files": Breakage(_two_files),
    "old format": Breakage(_old_format, words="was converted"),
    # cells
    "repeated": Breakage(_repeated, words="repeated cells"),
    "deleted checks": Breakage(_deleted_checks, words="deleted locked cells"),
    "edited checks": Breakage(_edited_checks, lost="part", words="edited locked cells"),
    "deleted answer": Breakage(_deleted_answer, lost="part", words="missing answer", human=True),
    "answer as text": Breakage(_answer_as_text, lost="part", words="turned into text", human=True),
    "wrong kernel": Breakage(_wrong_kernel),
    "metadata": Breakage(_hostile_metadata),
    "html": Breakage(_html),
    # code that stops
    "syntax": Breakage(_instead("def :"), lost="part", words="SyntaxError"),
    "loop": Breakage(_instead(LOOP), "incomplete", "part", "out of time"),
    # Which of its limits it meets first depends on the machine.
    "chatter": Breakage(
        _instead("while True: print('x' * 999)"), "incomplete", "part", "no answer to judge"
    ),
    "os exit": Breakage(_instead("import os\nos._exit(0)"), "incomplete", "part", "ended"),
    "kill": Breakage(_instead("import os\nos.kill(os.getpid(), 9)"), "incomplete", "part", "ended"),
    "sys exit": Breakage(_after("import sys\nsys.exit()"), words="SystemExit"),
    "memory": Breakage(_after(MEMORY), "incomplete", "part", "MB of memory"),
    "output": Breakage(_after(OUTPUT)),
    "forks": Breakage(_instead(FORKS), "incomplete", "part", "no answer to judge"),
    "staying": Breakage(_after(STAYING)),
    "disk": Breakage(_after(DISK), words="OSError"),
    "input": Breakage(_after("input('your grade?')"), words="EOFError"),
    "traceback": Breakage(_after(TRACEBACK), words="ValueError"),
    # code that cheats
    "numpy": Breakage(_instead(NUMPY), lost="part"),
    "spoiler": Breakage(_after(SPOILER), words="run without the earlier parts"),
    "course": Breakage(_instead(COURSE), lost="part", words="run without the earlier parts"),
    "forged": Breakage(_instead(FORGED), lost="part"),
    "billions": Breakage(_instead(BILLIONS), lost="part"),
    "nested record": Breakage(_instead(NESTED), lost="part"),
    "reading": Breakage(_instead(READING), lost="part"),
    "writing": Breakage(_instead(WRITING), lost="part"),
    "network": Breakage(_instead(NETWORK), lost="part"),
}


def solved(source, release, student):
    """Return the notebook of a student who has solved all parts, as a dict.

    The text of each is a little different, as it is in a class.
    """
    answers = {grade_id(c): c.source for c in source.notebook.cells if is_solution(c)}
    nb = json.loads(json.dumps(release))
    for cell in nb["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name == "student":
            cell["source"] = f"student = {student!r}  # your student id"
        elif name in answers and cell["cell_type"] == "code":
            cell["source"] = f"# {student}\n" + SOLUTION.sub("", answers[name])
        elif name in answers:
            cell["source"] = f"My words, by {student}: it is so for 0 < x, and not for x > 1."
    return nb


def make_class(folder, source, release, students, kinds, targets):
    """Write a folder of submissions and return what must become of each.

    Parameters
    ----------
    folder : path
        Gets a folder for each student.
    source, release : Source, NotebookNode
    students : list of str
    kinds : dict
        Student → name of a breakage; the others solve all.
    targets : list of str
        Files that hostile notebooks go for.

    Returns
    -------
    dict
        Student → Expected.
    """
    auto = [graded for graded in source.graded if not graded.by_person]
    hit = auto[0]
    answer = hit.grade_id.removesuffix("-check")
    stub = next(c.source for c in release.cells if grade_id(c) == answer)
    wrong = stub.replace("= None", "= 1.0")
    place = Place(answer, hit.grade_id, wrong, [str(target) for target in targets])
    expected = {}
    for student in students:
        own = Path(folder) / student / source.assignment
        own.mkdir(parents=True)
        nb = solved(source, release, student)
        breakage = BREAKAGES[kinds[student]] if student in kinds else Breakage(None)
        if breakage.make is None or not breakage.make(nb, place, own):
            text = json.dumps(nb)
            (own / f"{source.assignment}.ipynb").write_text(text, encoding="utf-8")
        elif kinds[student] == "missing":
            own.rmdir()
        lost = {"nothing": [], "part": [hit], "all": auto}[breakage.lost]
        points = sum(graded.points for graded in auto if graded not in lost)
        kind = kinds.get(student, "")
        expected[student] = Expected(kind, breakage.status, points, breakage.words, breakage.human)
    return expected


def write_roster(path, students):
    """Write a roster of these students."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "first_name", "last_name", "email"])
        for number, student in enumerate(students):
            writer.writerow([student, f"First{number}", f"Last{number}", f"s{number}@example.org"])
