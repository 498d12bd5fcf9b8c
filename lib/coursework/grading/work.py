"""One submission: run in the sandbox, its answers judged outside. A process of its own does this.

The sandbox is told the tasks as data and gives back records of answers. What is compared with them,
the hidden instances and the points for formulas are drawn here, from the course's secret.
"""

import ctypes
import hmac
import multiprocessing
import signal
import sys
import time
from multiprocessing import connection
from typing import NamedTuple

from coursework import answers, engine
from coursework.grading import outputs, runner, sandbox

ENDS = ("done", "time", "died", "memory")
INSTANCES = 2  # hidden ones, for each function
PATIENCE = 180  # seconds for judging, beyond the time that a submission may run


class Job(NamedTuple):
    """A submission to run: see `rebuild.Rebuilt` for the program, `source.Graded` for `graded`."""

    assignment: str
    student: str
    declared: str | None
    digest: str
    program: list
    graded: list
    secret: str


class Result(NamedTuple):
    """What a part got: points, words for the student, and whether a person must look.

    `empty` says that there is no answer, `silent` that nothing came that could be judged, and
    `other` that the answer is right for the id that the notebook gives.
    """

    points: float
    message: str
    human: bool = False
    empty: bool = False
    silent: bool = False
    other: bool = False


class Outcome(NamedTuple):
    """What came of a job: status (graded, incomplete, failed), notes, results and cells' outputs.

    `results` are by grade id, without those for a person; `shown` by cell id, made harmless.
    """

    status: str
    notes: list
    results: dict
    shown: dict


def examine(job, kind, limits, worker=0):
    """Run and judge a submission.

    All cells run in one sandbox first. A part that is answered and not right, or was not reached,
    then runs in a sandbox of its own, without the other parts: so nothing in one part spoils
    another. The better result counts.
    """
    begin = time.monotonic()
    run, made = _attempt(job, job.program, kind, limits, worker, limits.total)
    if run is None:
        return Outcome("failed", ["the sandbox could not be started"], {}, {})
    events, stop = run
    notes, spoiled = [_words(stop, job.program, limits)] if stop else [], []
    for graded, stage in _in_doubt(job, made, stop):
        left = limits.total - (time.monotonic() - begin)
        if left < 1:
            notes.append(f"the time for the whole notebook ({limits.total:g} s) was used up")
            break
        program = [entry for entry in job.program if entry["stage"] in (0, stage)]
        alone, found = _attempt(job, program, kind, limits, worker, left)
        before, after = made[graded.grade_id], found.get(graded.grade_id)
        if alone and (after.points > before.points or (before.silent and not after.silent)):
            made[graded.grade_id] = after
            events |= alone[0]
            spoiled += [graded.label] * (not before.silent or stop is None)
        elif alone and alone[1] and not (stop and stop[0]["stage"] == stage):
            notes.append(_words(alone[1], job.program, limits))
    if spoiled:
        labels = ", ".join(spoiled)
        notes.append(f"run without the earlier parts, which had spoiled it: part {labels}")
    silent = [g.label for g in job.graded if g.grade_id in made and made[g.grade_id].silent]
    notes += _more_notes(events.values(), job.program)
    notes += [f"no answer to judge in part {', '.join(silent)}"] * bool(silent)
    shown = {e["cell"]: outputs.clean(e["outputs"], e["cut"]) for e in events.values()}
    return Outcome("incomplete" if stop and silent else "graded", notes, made, shown)


def _in_doubt(job, made, stop):
    """Return the parts to run alone, and their stages: the one that stopped the run comes last.

    Not what has no answer, has nothing before it, or has used up time or memory itself.
    """
    stages = {entry["grade_id"]: entry["stage"] for entry in job.program}
    culprit, why = (stop[0]["stage"], stop[1]) if stop else (None, "")
    wanted = []
    for graded in job.graded:
        result, stage = made.get(graded.grade_id), stages.get(graded.grade_id)
        own_fault = stage == 1 or (stage == culprit and why not in ("died", "ended"))
        if result and result.points < graded.points and not result.empty and not own_fault:
            wanted.append((graded, stage))
    return sorted(wanted, key=lambda pair: pair[1] == culprit)


def _attempt(job, program, kind, limits, worker, seconds):
    """Run a program in one sandbox (twice if it does not come up) and judge what came out.

    Returns ((events by cell id, (entry, reason) of what stopped it, or None), results); or
    (None, {}) if the sandbox does not work.
    """
    inside = {entry["grade_id"] for entry in program}
    graded = [g for g in job.graded if not g.by_person and g.grade_id in inside]
    tasks = {
        (job.assignment, g.label): engine.asked(job.assignment, g.label, job.student)
        for g in graded
    }
    hidden = {
        g.label: _hidden_ids(job, g.label)
        for g in graded
        if tasks[job.assignment, g.label][1] is not None
    }
    asked = [
        (job.assignment, part, [engine.asked(job.assignment, part, name)[1] for name in names])
        for part, names in hidden.items()
    ]
    cells = [{"id": entry["id"], "source": entry["source"]} for entry in program]
    for _ in range(2):
        run = sandbox.run(cells, tasks, asked, kind, limits, worker=worker, seconds=seconds)
        if run.stopped or any("started" in event for event in run.events):
            break
    else:
        return None, {}
    events = _accepted(run.events, {entry["id"] for entry in program})
    stop = next((e for e in program if events.get(e["id"], {}).get("end") != "done"), None)
    why = stop and (run.stopped or events.get(stop["id"], {}).get("end") or "ended")
    last = [event["hidden"] for event in run.events if isinstance(event.get("hidden"), list)]
    found = {}
    for record in outputs.records(last[0]) if last else []:
        if isinstance(record, dict) and isinstance(record.get("part"), str):
            found[record["part"]] = record.get("hidden")
    by_grade_id = {e["grade_id"]: events.get(e["id"]) for e in program if e["grade_id"]}
    made = {}
    for g in graded:
        own = _own_record(by_grade_id.get(g.grade_id), job.assignment, g.label)
        made[g.grade_id] = _judged(job, g, own, hidden.get(g.label), found.get(g.label))
    return (events, (stop, why) if stop else None), made


def _hidden_ids(job, part):
    """Return the ids of the hidden instances, which nobody can know without the secret."""
    words = [job.assignment, part, job.student, job.digest]
    return [f"{engine.HIDDEN}{keyed(job.secret, *words, n)}" for n in range(INSTANCES)]


def keyed(secret, *words):
    """Return a word that only who has the secret can make."""
    return hmac.new(secret.encode(), repr(words).encode(), "sha256").hexdigest()


def _accepted(found, known):
    """Return id → event of what has the form of one; the first of each cell counts."""
    accepted = {}
    for event in found:
        cell, end = event.get("cell"), event.get("end")
        fits = isinstance(cell, str) and cell in known and cell not in accepted
        if fits and end in ENDS and isinstance(event.get("outputs"), list):
            error, cut = outputs.one_line(event.get("error") or "", 30), event.get("cut") is True
            accepted[cell] = {"cell": cell, "end": end, "error": error, "cut": cut}
            accepted[cell]["outputs"] = event["outputs"]
    return accepted


def _own_record(event, assignment, part):
    """Return the record that a check cell displayed, as a list of one; or why there is none.

    Only what the check cell itself displayed counts, and only if it is what the source asks for.
    """
    if event is None:
        return "it was not reached"
    records = outputs.records(event["outputs"])
    if not records:
        problem = outputs.error(event["outputs"])
        return f"the check stopped with {problem}" if problem else "the check gave no answer"
    if len(records) > 1:
        return f"the check gave {len(records)} answers where one belongs"
    claims = records[0] if isinstance(records[0], dict) else {}
    if (claims.get("assignment"), claims.get("part")) != (assignment, part):
        return "the check gave an answer to something else"
    return [claims.get("record")]


def _judged(job, graded, own, names, hidden):
    """Return the `Result` of a part: the worst of its verdicts."""
    if not isinstance(own, list):
        return Result(0.0, f"no answer: {own}.", silent=True)
    part, seed = graded.label, keyed(job.secret, job.student, job.digest)
    verdict = engine.judge(job.assignment, part, job.student, own[0], seed)
    fraction, message = verdict
    other = False
    if fraction < 1 and job.declared not in (None, job.student):
        other = engine.judge(job.assignment, part, job.declared, own[0], seed).fraction == 1
    if fraction > 0 and names:
        if not isinstance(hidden, list) or len(hidden) != len(names):
            return Result(0.0, "no answer: it could not be asked with other data.", silent=True)
        for name, record in zip(names, hidden, strict=True):
            worse = engine.judge(job.assignment, part, name, record).fraction
            if worse < fraction:
                fraction, message = worse, f"with other data than yours, {_fault(record)}."
    points = round(min(max(fraction, 0.0), 1.0) * graded.points, 4)
    return Result(points, message, empty=answers.is_empty(own[0]), other=other)


def _fault(record):
    """Return what was wrong with a hidden answer, in words that tell nothing of the data."""
    results = record.get("results") if isinstance(record, dict) else None
    for result in results if isinstance(results, list) else []:
        if isinstance(result, dict) and result.get("kind") == "error":
            return f"your function raises {answers._name(result)}"
    return "your function is not right"


def _words(stop, program, limits):
    """Say which cell stopped a run, and why."""
    entry, why = stop
    words = {
        "time": f"ran out of time ({limits.cell:g} s a cell, {limits.total:g} s in all)",
        "died": "ended its kernel",
        "memory": f"used more than {limits.memory / sandbox.MEGABYTE:.0f} MB of memory",
        "processes": "started too many processes",
        "output": "wrote too much",
    }
    return f"{_name(entry, program)} {words.get(why, 'ended the sandbox it ran in')}"


def _name(entry, program):
    """Return words for a cell: its grade id, or what it stands after."""
    if entry["grade_id"]:
        return f"cell {entry['grade_id']}"
    before = [e["grade_id"] for e in program[: program.index(entry)] if e["grade_id"]]
    return f"a cell added after {before[-1]}" if before else "a cell added at the top"


def _more_notes(events, program):
    """Say which cells raised and which displayed too much."""
    by_id, raised, cut = {entry["id"]: entry for entry in program}, [], []
    for event in events:
        name = _name(by_id[event["cell"]], program).removeprefix("cell ")
        raised += [f"{name} ({event['error']})"] * bool(event["error"])
        cut += [name] * event["cut"]
    notes = [f"errors in: {', '.join(raised[:4])}"] if raised else []
    return notes + ([f"output cut in: {', '.join(cut[:4])}"] if cut else [])


# Several at a time, each in a process of its own


def _serve(pipe, kind, limits, worker):
    """Examine one job after the other, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(*runner.DIE_WITH_PARENT)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(examine(job, kind, limits, worker))


def side_by_side(jobs, kind, limits, workers):
    """Yield (student's id, `Outcome` or exception) as they come, from several processes.

    A process that dies over a submission, or does not come back, is replaced: one student's
    trouble is not the class's.
    """
    rest, free, busy = iter(jobs), set(range(workers)), {}
    running = {}
    context = multiprocessing.get_context("spawn")

    def start(worker):
        ours, theirs = context.Pipe()
        arguments = (theirs, kind, limits, worker)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        running[worker] = process, ours

    try:
        while True:
            for worker in sorted(free):
                job = next(rest, None)
                if job is None:
                    break
                if worker not in running:
                    start(worker)
                running[worker][1].send(job)
                free.remove(worker)
                busy[worker] = job, time.monotonic() + limits.total + PATIENCE
            if not busy:
                return
            pipes = [running[worker][1] for worker in busy]
            ready = connection.wait(pipes, timeout=5)
            for worker, (job, deadline) in list(busy.items()):
                process, pipe = running[worker]
                if pipe in ready:
                    try:
                        found = pipe.recv()
                    except (EOFError, OSError):
                        found = RuntimeError("the process that judged it ended")
                elif time.monotonic() > deadline:
                    found = RuntimeError("judging it took too long")
                else:
                    continue
                if isinstance(found, Exception):
                    process.kill()
                    process.join()
                    del running[worker]
                del busy[worker]
                free.add(worker)
                yield job.student, found
    finally:
        for process, _ in running.values():
            process.kill()
            process.join()
