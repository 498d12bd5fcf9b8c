"""The instructor's page: its commands, run in their order, and its tables."""

import csv
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import simulate

from coursework.grading import report, sandbox

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


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Follow the page in a copy of the repository; return the copy and what was on the screen."""
    try:
        sandbox.choose()
    except ValueError as error:
        pytest.skip(str(error))
    repository = tmp_path_factory.mktemp("instructor") / "repository"
    shutil.copytree(ROOT, repository, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (repository / ".venv").symlink_to(sys.prefix)
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "copy"]):
        subprocess.run(git(*command), cwd=repository, check=True, capture_output=True)
    screens = []
    for command in COMMANDS:
        run = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=repository,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        screens.append(run.stdout)
    return repository, "".join(screens)


def test_page_has_commands():
    assert len(COMMANDS) == 7
    assert sum("-m coursework" in command for command in COMMANDS) == 4


def test_handout_holds_everything_but_the_private_folder(followed):
    repository, _ = followed
    handout = repository.parent / "handout"
    assert not (handout / "book" / "assignments" / "private").exists()
    assert not [path for path in handout.rglob("*.ipynb") if "SOLUTION" in path.read_text()]
    for name in ("book/assignments/warmup.ipynb", "lib/pyproject.toml", "requirements.txt"):
        assert (handout / name).is_file()


def test_class_of_three_gets_its_grades(followed):
    repository, screen = followed
    rows = table(repository / "course" / "grades.csv")
    assert {name: row["status"] for name, row in rows.items()} == {
        "ann": "graded",
        "bob": "graded",
        "cy": "missing",
    }
    assert [rows[name]["points"] for name in rows] == ["14", "0", "0"]
    assert rows["ann"]["needs_human"] == "yes"
    assert "2 graded, 1 missing" in screen and "sandbox:" in screen
    for name in rows:
        assert (repository / f"course/feedback/{name}/warmup/warmup.html").is_file()


def test_uploads_hold_the_points(followed):
    repository, _ = followed
    lines = table(repository / "course" / "canvas-warmup.csv")
    points = {name.strip(): line["Warm-up (1234)"] for name, line in lines.items()}
    assert points == {"Points Possible": "20", "A, Ann": "14", "B, Bob": "0", "C, Cy": "0"}
    lines = table(repository / "course" / "gradescope-warmup.csv")
    assert {name: line["warmup"] for name, line in lines.items()} == {
        "ann": "14",
        "bob": "0",
        "cy": "0",
    }
    with zipfile.ZipFile(repository / "course" / "gradescope-warmup.zip") as archive:
        assert {"run_autograder", "setup.sh"} <= set(archive.namelist())


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
