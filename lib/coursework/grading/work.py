"""One submission: run in the sandbox, its answers judged outside. A process of its own does this.

The sandbox is told the tasks as data and gives back records of answers. What is compared with them,
the hidden instances and the points for formulas are drawn here, from the course's secret.
"""

import contextlib
import hmac
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import connection
from typing import NamedTuple

from coursework import answers, engine
from coursework.grading import outputs, sandbox
from coursework.words import SAID

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
    """What a part got: points, and words for the student.

    `empty` says that there is no answer, `silent` that nothing came that could be judged, and
    `other` that the answer is right for the id that the notebook gives.
    """

    points: float
    message: str
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


def examine(job, walls, limits, worker=0):
    """Run and judge a submission.

    All cells run in one sandbox first. A part that is answered and not right, or was not reached,
    then runs in a sandbox of its own, without the other parts: so nothing in one part spoils
    another. The better result counts.
    """
    begin = time.monotonic()
    events, stop, made = _attempt(job, job.program, walls, limits, worker)
    if events is None:
        return Outcome("failed", ["the sandbox could not be started"], {}, {})
    notes, spoiled = [_words(stop, limits)] if stop else [], []
    for graded, stage in _in_doubt(job, made, stop):
        rest = limits._replace(total=max(1.0, limits.total - (time.monotonic() - begin)))
        program = [entry for entry in job.program if entry["stage"] in (0, stage)]
        alone, end, found = _attempt(job, program, walls, rest, worker)
        before, after = made[graded.grade_id], found.get(graded.grade_id)
        if alone and (after.points > before.points or (before.silent and not after.silent)):
            made[graded.grade_id] = after
            events |= alone
            spoiled += [graded.label] * (not before.silent or stop is None)
        elif end and not (stop and stop[0]["stage"] == stage):
            notes.append(_words(end, limits))
    silent = [g.label for g in job.graded if g.grade_id in made and made[g.grade_id].silent]
    names = {entry["id"]: entry["name"] for entry in job.program}
    raised = [f"{names[cell]} ({e['error']})" for cell, e in events.items() if e["error"]]
    for words, found in {
        "run without the earlier parts, which had spoiled it: part": spoiled,
        "errors in:": raised[:4],
        "no answer to judge in part": silent,
    }.items():
        notes += [f"{words} {', '.join(found)}"] * bool(found)
    shown = {cell: outputs.clean(e["outputs"], e["cut"]) for cell, e in events.items()}
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
        own_fault = stage == 1 or (stage == culprit and why != "ended")
        if result and result.points < graded.points and not result.empty and not own_fault:
            wanted.append((graded, stage))
    return sorted(wanted, key=lambda pair: pair[1] == culprit)


def _attempt(job, program, walls, limits, worker):
    """Run a program in one sandbox and judge what came out.

    Returns events by cell id (None if the sandbox does not work), (entry, reason) of what stopped
    it or None, and results.
    """
    name, by_id = job.assignment, {entry["grade_id"]: entry["id"] for entry in program}
    graded = [g for g in job.graded if not g.by_person and g.grade_id in by_id]
    tasks = {(name, g.label): engine.asked(name, g.label, job.student) for g in graded}
    hidden = {part: _hidden_ids(job, part) for (_, part), given in tasks.items() if given[1]}
    asked = [(name, p, [engine.asked(name, p, own)[1] for own in ids]) for p, ids in hidden.items()]
    run = sandbox.run(program, tasks, asked, walls, limits, worker)
    if not run.stopped and not any("started" in event for event in run.events):
        return None, None, {}
    events = _accepted(run.events, {entry["id"] for entry in program})
    stop = next((e for e in program if events.get(e["id"], {}).get("end") != "done"), None)
    why = stop and (run.stopped or events.get(stop["id"], {}).get("end") or "ended")
    told, made = [r for r in outputs.records(run.hidden) if isinstance(r, dict)], {}
    for g in graded:
        own = _own_record(events.get(by_id[g.grade_id]), name, g.label)
        others = [record.get("hidden") for record in told if record.get("part") == g.label]
        made[g.grade_id] = _judged(job, g, own, hidden.get(g.label), others)
    return events, (stop, why) if stop else None, made


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
        cell, shown = event.get("cell"), event.get("outputs")
        if isinstance(cell, str) and cell in known - set(accepted) and isinstance(shown, list):
            error, cut = outputs.one_line(event.get("error") or "", 30), event.get("cut") is True
            end = "done" if event.get("end") == "done" else "memory"
            accepted[cell] = {"end": end, "error": error, "cut": cut, "outputs": shown}
    return accepted


def _own_record(event, assignment, part):
    """Return the record that a check cell displayed, as a list of one; or why there is none.

    Only what the check cell itself displayed counts, and only if it is what the source asks for.
    """
    if event is None:
        return "it was not reached"
    records, problem = outputs.records(event["outputs"]), outputs.error(event["outputs"])
    if len(records) > 1:
        return f"the check gave {len(records)} answers where one belongs"
    if not records:
        return f"the check stopped with {problem}" if problem else "the check gave no answer"
    claims = records[0] if isinstance(records[0], dict) else {}
    if (claims.get("assignment"), claims.get("part")) != (assignment, part):
        return "the check gave an answer to something else"
    return [claims.get("record")]


def _judged(job, graded, own, ids, others):
    """Return the `Result` of a part: right is what is right in the hidden instances too.

    `ids` are theirs, and `others` should hold a list of a record for each of them.
    """
    if not isinstance(own, list):
        return Result(0.0, f"no answer: {own}.", silent=True)
    seed, other = keyed(job.secret, job.student, job.digest), False

    def judge(student, record):
        return engine.judge(job.assignment, graded.label, student, record, seed)

    fraction, message = judge(job.student, own[0])
    if not fraction and job.declared not in (None, job.student):
        other = judge(job.declared, own[0]).fraction == 1
    if fraction and ids:
        hidden = others[-1] if others else None
        if not isinstance(hidden, list) or len(hidden) != len(ids):
            return Result(0.0, "no answer: it could not be asked with other data.", silent=True)
        wrong = [r for name, r in zip(ids, hidden, strict=True) if not judge(name, r).fraction]
        if wrong:  # in words that tell nothing of the data
            name = answers.raised(wrong[0])
            fault = f"raises {name}" if name else "is not right"
            fraction, message = 0.0, f"with other data than yours, your function {fault}."
    empty = answers.is_empty(own[0])
    return Result(fraction * graded.points, message, empty=empty, other=other)


def _words(stop, limits):
    """Say which cell stopped a run, and why."""
    entry, why = stop
    megabytes = limits.memory / sandbox.MEGABYTE
    return f"{entry['name']} {SAID['stopped'][why].format(limits=limits, megabytes=megabytes)}"


# Several at a time, each in a process of its own


def _serve(pipe, job, *given):
    """Examine one job; the process, and its sandbox, end with whoever has started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    pipe.send(examine(job, *given))


def _watch(pipe):
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()  # nothing ever comes: this ends when the other side is gone
    os._exit(1)


def side_by_side(jobs, walls, limits, workers):
    """Yield (student's id, `Outcome` or exception) as they come, several at a time.

    Each has a process of its own, forked from one that has all imported: one that dies over a
    submission, or does not come back, costs no other student anything.
    """
    context = multiprocessing.get_context("forkserver")
    modules = [f"coursework.{name}" for name in engine.ASSIGNMENTS]
    context.set_forkserver_preload([__name__, *modules])
    jobs, free, busy = iter(jobs), list(range(workers)), {}
    try:
        while True:
            while free and (job := next(jobs, None)):
                ours, theirs = context.Pipe()
                worker, deadline = free.pop(), time.monotonic() + limits.total + PATIENCE
                arguments = (theirs, job, walls, limits, worker)
                process = context.Process(target=_serve, args=arguments, daemon=True)
                process.start()
                theirs.close()
                busy[ours] = job, process, worker, deadline
            if not busy:
                return
            ready = connection.wait(list(busy), timeout=5)
            for pipe, (job, process, worker, deadline) in list(busy.items()):
                if pipe in ready:
                    try:
                        found = pipe.recv()
                    except (EOFError, OSError):
                        found = RuntimeError("the process that judged it ended")
                elif time.monotonic() > deadline:
                    found = RuntimeError("judging it took too long")
                else:
                    continue
                _end(process, pipe)
                del busy[pipe]
                free.append(worker)
                yield job.student, found
    finally:
        for pipe, (_, process, *_) in busy.items():
            _end(process, pipe)


def _end(process, pipe):
    process.kill()
    process.join()
    pipe.close()
