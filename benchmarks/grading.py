"""The load: a class of 200, one in eight submissions broken, graded by two workers and killed once.

    python benchmarks/run.py grading

It takes a few minutes and writes grading.md. Memory is the proportional share (PSS) of all
processes of the run, looked at four times a second; the disks of the sandboxes lie in memory too
and are counted by their size. Time includes both runs, before and after the kill.
"""

import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from coursework.grading import gradebook, sandbox, source

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "coursework"))
import simulate  # noqa: E402  (the made-up class belongs to the tests)

SOURCES = ROOT / "book" / "assignments" / "private" / "source"
ASSIGNMENT = "warmup"
STUDENTS = 200
WORKERS = 2
KILLED_AFTER = 70  # grades
BROKEN = """missing, malformed, renamed, symlink, huge, repeated, deleted checks, edited checks,
wrong kernel, loop, os exit, kill, sys exit, memory, output, forks, staying, disk,
traceback, numpy, course, forged, reading, writing, network"""


def rows():
    """Return (name, value, wanted, note) for the load, and write them to grading.md."""
    with tempfile.TemporaryDirectory(prefix="grading-") as name:
        folder = Path(name)
        expected = write_class(folder)
        facts = measure(folder)
        found = {row["student"]: row for row in read_table(folder / "out" / "grades.csv")}
    wrong = [student for student, entry in expected.items() if not fits(found, student, entry)]
    note = f"{STUDENTS} students of {ASSIGNMENT}, {WORKERS} workers"
    made = [
        ("minutes", facts["seconds"] / 60, "≤ 6", f"{note}, load {facts['load']:.1f}"),
        ("peak memory in GB", facts["peak"] / 1e9, "≤ 1.2", "all processes (PSS) and disks"),
        ("rows wrong", len(wrong), "0", ", ".join(wrong[:9]) or "all as expected"),
        ("grades lost or repeated", facts["repeated"], "0", f"killed after {facts['done']}"),
    ]
    write_page(made, expected, found)
    return made


def write_class(folder):
    """Write the submissions and the roster; return what must become of whom."""
    asked = source.read(ASSIGNMENT, SOURCES)
    release = gradebook.release(asked.notebook)
    students = [f"student{number:03d}" for number in range(STUDENTS)]
    broken = students[3::8]
    names = [name.strip() for name in BROKEN.split(",")]
    kinds = dict(zip(broken, names, strict=True))
    targets = [SOURCES / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", folder / "out" / "gradebook.db"]
    simulate.write_roster(folder / "roster.csv", students)
    return simulate.make_class(folder / "sub", asked, release, students, kinds, targets)


def measure(folder):
    """Grade the class, kill the run midway, run it again; return times, memory and repetitions."""
    command = [sys.executable, "-m", "coursework", "grade", str(folder / "sub")]
    command += ["--assignment", ASSIGNMENT, "--roster", str(folder / "roster.csv"), "--quiet"]
    command += ["--out", str(folder / "out"), "--source", str(SOURCES), "--workers", str(WORKERS)]
    begin, facts = time.monotonic(), {"peak": 0}
    run = watched(command, facts)
    while run.poll() is None and len(entered(folder)) < KILLED_AFTER:
        time.sleep(0.2)
    run.kill()
    run.communicate()
    done = entered(folder)
    run = watched(command, facts)
    text = run.communicate()[0].decode()
    facts["seconds"] = time.monotonic() - begin
    if run.returncode:
        raise RuntimeError(f"grading ended with {run.returncode}: {text}")
    print(text, flush=True)
    found = entered(folder)
    # Whoever is entered twice has two lines with points in the log.
    return facts | {"repeated": len(found) - len(set(found)), "done": len(done), "load": load()}


def entered(folder):
    """Return who has got points so far, as the log says it."""
    log = folder / "out" / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return [entry["student"] for entry in entries if entry["what"] == "points"]


def load():
    """Return the mean number of processes that wanted a core in the last quarter of an hour."""
    return os.getloadavg()[2]


def watched(command, facts):
    """Start a command and watch the memory of all its processes."""
    run = subprocess.Popen(command, stdout=subprocess.PIPE)

    def watch():
        while run.poll() is None:
            facts["peak"] = max(facts["peak"], look(run.pid) + disks())
            time.sleep(0.25)

    threading.Thread(target=watch, daemon=True).start()
    return run


def disks():
    """Return the most that the sandboxes' disks in memory can hold, which no process is asked."""
    return WORKERS * (sandbox.Limits().disk + sandbox.Limits().disk // 4)


def look(pid):
    """Return the memory of a process and its descendants."""
    memory = 0
    with contextlib.suppress(psutil.Error):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                memory += process.memory_full_info().pss
    return memory


def read_table(path):
    """Return the rows of grades.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fits(found, student, entry):
    """Tell whether a row is as it must be."""
    row = found.get(student)
    return (
        row is not None
        and row["status"] == entry.status
        and float(row["points"]) == entry.points
        and entry.words in row["reason"]
        and (row["needs_human"] == "yes" or not entry.human)
    )


def write_page(made, expected, found):
    """Write grading.md: the load, and what became of the broken submissions."""
    lines = ["# Grading a class: measured by `python benchmarks/run.py grading`", ""]
    where = f"{os.cpu_count()} cores, {sandbox.choose().words}"
    lines += [f"Python {platform.python_version()}, {where}", ""]
    lines += ["| what | measured | wanted | how |", "|---|---|---|---|"]
    lines += [f"| {name} | {value:.3g} | {wanted} | {note} |" for name, value, wanted, note in made]
    counts = Counter(entry.status for entry in expected.values())
    text = json.dumps(dict(counts)).strip("{}").replace('"', "")
    lines += ["", f"Wanted of the class: {text}. The broken ones:", ""]
    lines += ["| breakage | status | points | reason |", "|---|---|---|---|"]
    for student, entry in expected.items():
        if entry.kind:
            row = found[student]
            reason = row["reason"].replace("|", "/")
            lines.append(f"| {entry.kind} | {row['status']} | {row['points']} | {reason} |")
    (Path(__file__).parent / "grading.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
