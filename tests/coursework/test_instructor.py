"""The instructor's page: its commands, run in their order, and its tables."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import simulate
import test_assignments
import test_grading

import coursework as course
from coursework.grading import gradebook, report

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "assignments" / "instructor.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LEFT_OUT = (".git", ".venv", "_build", "node_modules", "__pycache__", ".*_cache", ".hypothesis")


def git(*arguments):
    name = ["-c", "user.name=test", "-c", "user.email=test@example.edu"]
    return ["git", *name, *arguments]


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    key = next(name for name in ("student", "Student", "SID") if name in rows[0])
    return {row[key]: row for row in rows}


def follow(folder):
    """Follow the page in a copy of the repository; note what was on the screen."""
    repository = folder / "repository"
    shutil.copytree(ROOT, repository, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (repository / ".venv").symlink_to(sys.prefix)
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "copy"]):
        subprocess.run(git(*command), cwd=repository, check=True, capture_output=True)
    screens = []
    for command in COMMANDS:
        if "coursework update" in command:
            give_points(repository / "course")
        run = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=1200,
            env=os.environ | {"PYTHONPATH": str(repository / "lib")},
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        screens.append(run.stdout)
    (folder / "facts.json").write_text(json.dumps(screens), encoding="utf-8")


@pytest.fixture(scope="session")
def followed(tmp_path_factory):
    """Return a copy of the repository in which the page was followed, and the screens."""
    test_grading.walls()
    folder, screens = test_grading.shared_folder(tmp_path_factory, "instructor", follow)
    return folder / "repository", screens


def give_points(out):
    """Do what a person does in the formgrader, where the page says so."""
    with gradebook.opened(out) as book:
        for student in ("ann", "bob"):
            for cell, points in (("warmup-4-text", 3), ("warmup-5", 2.5)):
                entry = book.find_grade(cell, "warmup", "warmup", student)
                entry.manual_score, entry.needs_manual_grade = points, False
        book.db.commit()


def test_page_has_commands():
    assert len(COMMANDS) == 10
    assert sum("-m coursework" in command for command in COMMANDS) == 7


def test_handout_holds_everything_but_solutions(followed):
    """C11: no region, and no distinctive line of a solution, in any file."""
    repository, _ = followed
    handout = repository.parent / "handout"
    assert not (handout / "book" / "assignments" / "private").exists()
    lines = [line for name in course.ASSIGNMENTS for line in test_assignments.secrets(name)]
    library = "\n".join(p.read_text() for p in (ROOT / "lib" / "overparam").rglob("*.py"))
    lines, looked = [line for line in lines if line not in library], 0
    assert len(lines) > 50
    for path in handout.rglob("*"):
        if path.suffix in {".ipynb", ".md", ".py", ".yml", ".txt", ".toml"}:
            text = path.read_text(encoding="utf-8")
            assert test_assignments.leaks(text, lines) == [], path
            assert (
                "BEGIN SOLUTION" not in text
                or path.parent.name == "_tools"
                or (path.name in ("instructor.md", "gradebook.py"))
            ), path
            looked += 1
    assert looked > 50
    for name in ("book/assignments/warmup.ipynb", "lib/pyproject.toml", "requirements.txt"):
        assert (handout / name).is_file()


def test_class_of_three_gets_its_grades(followed):
    repository, screens = followed
    rows = table(repository / "course" / "grades.csv")
    assert {name: row["status"] for name, row in rows.items()} == {
        "ann": "graded",
        "bob": "graded",
        "cy": "missing",
    }
    # Ann in time; Bob first with nothing, then late by a day begun: 10 % of 20 points.
    assert [rows[name]["points"] for name in rows] == ["19.5", "17.5", "0"]
    assert (rows["bob"]["late"], rows["ann"]["late"]) == ("-2", "")
    assert rows["ann"]["waiting"] == "" and "late by 9.8 hours" in rows["bob"]["reason"]
    # Both hand in the model solution, with the reader's id in it: that is noticed.
    for student, other in (("ann", "bob"), ("bob", "ann")):
        assert f"the same answers as {other}" in rows[student]["reason"]
        assert "the notebook gives the id of reader" in rows[student]["reason"]
    first, late, again, update = [x for x in screens if "sandbox:" in x]
    assert "2 graded, 1 missing" in first and "2 graded in" in first
    assert "1 graded in" in late and "2 graded in" in again
    assert "nothing was run" in update and "0 of 3 wait" not in first
    for name in rows:
        assert (repository / f"course/feedback/{name}/warmup/warmup.html").is_file()
    page = (repository / "course/feedback/bob/warmup/warmup.html").read_text()
    assert "Received: bob.ipynb, handed in 2026-05-0" in page and "SHA-256" in page


def test_what_a_course_has_is_not_committed(followed):
    """C16."""
    repository, _ = followed
    found = subprocess.run(
        git("status", "--porcelain"), cwd=repository, capture_output=True, text=True
    )
    assert found.stdout == ""


def test_uploads_hold_what_is_final(followed):
    repository, _ = followed
    lines = table(repository / "course" / "canvas-warmup.csv")
    points = {name.strip(): line["Warm-up (1234)"] for name, line in lines.items()}
    assert points == {"Points Possible": "20", "A, Ann": "19.5", "B, Bob": "17.5"}
    text = (repository / "course" / "moodle-warmup.csv").read_text()
    assert "Participant 1,Ann,ann@example.edu,Submitted,19.5,20" in text
    with zipfile.ZipFile(repository / "course" / "gradescope-warmup.zip") as archive:
        assert {"run_autograder", "setup.sh"} <= set(archive.namelist())
        grades = json.loads(archive.read("grades.json"))
    sums = {who: sum(test["score"] for test in given["tests"]) for who, given in grades.items()}
    assert sums == {"ann@example.edu": 19.5, "bob@example.edu": 17.5}


def rows_of(heading):
    """Return the first two fields of each line of the table below a line of headings."""
    lines = PAGE[PAGE.index(heading) :].partition("\n\n")[0].splitlines()[2:]
    return [[field.strip() for field in line.strip("|").split("|")] for line in lines]


def test_tables_say_what_is():
    assert [row[0] for row in rows_of("| status |")] == list(report.STATUSES)
    words = {"nothing": "none", "part": "of the part", "all": "all"}
    assert [(row[0], row[2], row[3]) for row in rows_of("| breakage |")] == [
        (kind, breakage.status, words[breakage.lost])
        for kind, breakage in simulate.BREAKAGES.items()
    ]
    for link, _, points in rows_of("| assignment |"):
        name = re.search(r"\((\w+)\.ipynb\)", link)[1]
        path = ROOT / f"book/assignments/private/source/{name}/{name}.ipynb"
        cells = [c["metadata"].get("nbgrader", {}) for c in json.loads(path.read_text())["cells"]]
        graded = [cell for cell in cells if cell.get("grade")]
        automatic = sum(cell["points"] for cell in graded if not cell["solution"])
        human = sum(cell["points"] for cell in graded if cell["solution"])
        assert points == f"{automatic:g} + {human:g}"
