"""Runs a rebuilt notebook in the sandbox, part by part if a part does not let the next one run."""

import time
from typing import NamedTuple

from coursework.grading import outputs, sandbox

ENDS = ("done", "time", "died", "memory")
MEGABYTE = sandbox.MEGABYTE


class Run(NamedTuple):
    """What came of a run: an event for each cell that was run, and notes on what went wrong.

    `status` is "graded" if every cell was run, "incomplete" if some were not or were stopped,
    "failed" if the sandbox itself did not work.
    """

    events: list
    notes: list
    status: str


def execute(program, student, kind, limits, worker=0):
    """Run a program (see `rebuild.Rebuilt`) in as many sandboxes as it takes.

    A cell that ends its kernel, or uses too much, costs the rest of its part; the next part
    starts in a new sandbox, after the cells of the notebook's beginning.
    """
    begin, events, notes, rest = time.monotonic(), {}, [], program
    while rest:
        left = limits.total - (time.monotonic() - begin)
        if left < 1:
            notes.append(f"the time for the whole notebook ({limits.total:g} s) was used up")
            break
        opening = [
            entry
            for entry in program
            if entry["stage"] == 0 and events.get(entry["id"], {}).get("end") == "done"
        ]
        outcome = _try(opening + rest, student, kind, limits, worker, left)
        if outcome is None:
            return Run(list(events.values()), ["the sandbox could not be started"], "failed")
        events |= _accepted(outcome.events, rest)
        stopped_at = _culprit(events, rest)
        if stopped_at is None:
            break
        culprit = rest[stopped_at]
        why = events.get(culprit["id"], {}).get("end") or outcome.stopped
        notes.append(f"{_name(culprit, program)} {_words(why, limits)}")
        stage = culprit["stage"]
        rest = [e for e in rest[stopped_at + 1 :] if e["stage"] > stage or stage == 0]
    run = list(events.values())
    status = "incomplete" if notes else "graded"
    return Run(run, notes + _more_notes(run, program), status)


def _try(program, student, kind, limits, worker, seconds):
    """Run the program; twice if the sandbox did not come up; None if it never did."""
    cells = [{"id": entry["id"], "source": entry["source"]} for entry in program]
    for _ in range(2):
        outcome = sandbox.run(cells, student, kind, limits, worker=worker, seconds=seconds)
        if any(event.get("started") for event in outcome.events) or outcome.stopped:
            return outcome
    return None


def _accepted(found, rest):
    """Return id → event of what has the form of one; the first of each cell counts."""
    known, accepted = {entry["id"] for entry in rest}, {}
    for event in found:
        cell, end = event.get("cell"), event.get("end")
        fits = isinstance(cell, str) and cell in known and cell not in accepted
        if fits and end in ENDS and isinstance(event.get("outputs"), list):
            error = outputs.one_line(event.get("error"), 30)
            accepted[cell] = {"cell": cell, "end": end, "error": error}
            accepted[cell] |= {"outputs": event["outputs"], "cut": event.get("cut") is True}
    return accepted


def _culprit(events, rest):
    """Return the place of the cell that stopped the run, or None if all was run."""
    for place, entry in enumerate(rest):
        if events.get(entry["id"], {}).get("end") != "done":
            return place
    return None


def _words(why, limits):
    return {
        "time": f"ran out of time ({limits.cell:g} s a cell, {limits.total:g} s in all)",
        "died": "ended its kernel",
        "memory": f"used more than {limits.memory / MEGABYTE:.0f} MB of memory",
        "processes": "started too many processes",
        "output": "wrote too much",
    }.get(why, "ended the sandbox it ran in")


def _name(entry, program):
    """Return words for a cell: its grade id, or what it stands after."""
    if entry["grade_id"]:
        return f"cell {entry['grade_id']}"
    before = [e["grade_id"] for e in program[: program.index(entry)] if e["grade_id"]]
    return f"a cell added after {before[-1]}" if before else "a cell added at the top"


def _more_notes(events, program):
    """Say which cells raised and which displayed too much."""
    by_id = {entry["id"]: entry for entry in program}
    raised, cut = [], []
    for event in events:
        name = _name(by_id[event["cell"]], program).removeprefix("cell ")
        if event["error"]:
            raised.append(f"{name} ({event['error']})")
        if event["cut"]:
            cut.append(name)
    notes = [f"errors in: {', '.join(raised[:4])}"] if raised else []
    return notes + ([f"output cut in: {', '.join(cut[:4])}"] if cut else [])
