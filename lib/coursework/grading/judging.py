"""From the records that came out of the sandbox to points, in a process of its own.

The judge is pure and made for hostile input. Should a record nevertheless crash it or keep it
busy, that process is given up, and the rest of the class is graded by a new one.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
from typing import NamedTuple

from coursework.grading import outputs

SECONDS = 30  # for all records of a submission
MEMORY = 2 << 30


class Result(NamedTuple):
    """What a graded part got: points, words for the student, and whether a human must look.

    `silent` says that nothing came out of the sandbox that could be judged, `empty` that the
    student has not answered.
    """

    points: float
    message: str
    human: bool = False
    silent: bool = False
    empty: bool = False


def judged(events, program, source, student, ask):
    """Return the `Result` of each graded cell, by grade id: `match`, then `results`."""
    return results(match(events, program, source, student), source, ask)


def doubtful(events, program, made, source):
    """Return the stages of parts that are answered, not right, and may be an earlier one's fault.

    A part whose own cells used up their time or ended their kernel is not among them.
    """
    stages = {entry["grade_id"]: entry["stage"] for entry in program}
    ends = {event["cell"]: event["end"] for event in events}
    stopped = {e["stage"] for e in program if ends.get(e["id"], "done") != "done"}
    wrong = [
        stages[graded.grade_id]
        for graded in source.graded
        if graded.asked is not None
        and made[graded.grade_id].points < graded.points
        and not made[graded.grade_id].empty
    ]
    return [stage for stage in dict.fromkeys(wrong) if stage > 1 and stage not in stopped]


def match(events, program, source, student):
    """Return for each automatically graded cell the records to judge, or why there are none.

    Only what the check cell itself displayed counts, and only if it is what the source asks for:
    one record more or less, or one of another part or student, and there is no answer.
    """
    from coursework import normalise

    by_cell = {event["cell"]: event for event in events}
    ids = {entry["grade_id"]: entry["id"] for entry in program if entry["grade_id"]}
    found = {}
    for graded in source.graded:
        if graded.asked is None:
            continue
        event = by_cell.get(ids.get(graded.grade_id))
        if event is None:
            found[graded.grade_id] = "it was not reached"
            continue
        records = outputs.records(event["outputs"])
        expected = [
            (source.assignment, asked.part, normalise(asked.hidden or student))
            for asked in graded.asked
        ]
        if [_claims(record) for record in records] == expected:
            pairs = zip(expected, records, strict=True)
            found[graded.grade_id] = [[*claim, record.get("record")] for claim, record in pairs]
        elif problem := outputs.error(event["outputs"]):
            found[graded.grade_id] = f"the check stopped with {problem}"
        else:
            found[graded.grade_id] = _mismatch(records, expected)
    return found


def _claims(record):
    if not isinstance(record, dict):
        return None
    claims = (record.get("assignment"), record.get("part"), record.get("student"))
    return claims if all(isinstance(claim, str) for claim in claims) else None


def _mismatch(records, expected):
    if not records:
        return "the check gave no answer to judge"
    if len(records) != len(expected):
        return f"the check gave {len(records)} answers where {len(expected)} belong"
    return "the check gave an answer to something else"


@contextlib.contextmanager
def judge():
    """Give a function that judges the records of one submission: [[a, part, id, record], …].

    It returns [fraction, message] for each, or None if the judge failed.
    """
    held, lock = {"process": None}, threading.Lock()

    def ask(items):
        with lock:  # several workers ask
            if held["process"] is None:
                held["process"] = _start()
            answer = _ask(held["process"], items)
            if answer is None:
                _stop(held["process"])
                held["process"] = None
            return answer

    try:
        yield ask
    finally:
        if held["process"] is not None:
            _stop(held["process"])


def _start():
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if not k.startswith(("OVERPARAM", "NBGRADER"))},
    )


def _stop(process):
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            stream.close()


def _ask(process, items):
    """Return the judge's answer, or None if it is dead or takes too long."""
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            process.stdin.write(json.dumps(items).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            return None
        while not data.endswith(b"\n"):
            if not selector.select(timeout=SECONDS):
                return None
            block = os.read(process.stdout.fileno(), 1 << 16)
            if not block:
                return None
            data += block
    answer = json.loads(data)
    return answer if len(answer) == len(items) else None


def serve():
    """Judge one line of records after the other, until there are no more."""
    import resource

    from coursework import judge

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    results, out = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(out, 1)
    for line in sys.stdin:
        verdicts = [judge(*item) for item in json.loads(line)]
        answer = [[float(fraction), str(message)] for fraction, message in verdicts]
        os.write(results, json.dumps(answer).encode() + b"\n")


def results(found, source, ask):
    """Return the `Result` of each graded cell, by grade id; of those for a human without points."""
    from coursework import answers

    lists = {name: items for name, items in found.items() if isinstance(items, list)}
    answer = ask([item for items in lists.values() for item in items]) if lists else []
    verdicts = {}
    if answer is None:
        # One of them is too much for the judge: find out which.
        verdicts = {name: ask(items) for name, items in lists.items()}
    else:
        rest = iter(answer)
        verdicts = {name: [next(rest) for _ in items] for name, items in lists.items()}
    made = {}
    for graded in source.graded:
        name = graded.grade_id
        if graded.asked is None:
            made[name] = Result(0.0, "to be graded by a human", True)
        elif name not in lists:
            words = found.get(name, "it was not run")
            made[name] = Result(0.0, f"no answer: {words}.", silent=True)
        elif verdicts[name] is None:
            made[name] = Result(0.0, "the judge could not cope with this answer.", True)
        else:
            empty = all(answers.is_empty(record) for *_, record in lists[name])
            made[name] = _result(verdicts[name], graded)._replace(empty=empty)
    return made


def _result(verdicts, graded):
    """Return the worst of a part's verdicts: points are given for what holds everywhere."""
    worst = min(range(len(verdicts)), key=lambda i: verdicts[i][0])
    fraction, message = verdicts[worst]
    fraction = min(max(fraction, 0.0), 1.0) if fraction == fraction else 0.0
    elsewhere = graded.asked[worst].hidden is not None and fraction < 1
    words = "with other data than yours, " if elsewhere else ""
    return Result(round(fraction * graded.points, 4), words + message)


if __name__ == "__main__":
    serve()
