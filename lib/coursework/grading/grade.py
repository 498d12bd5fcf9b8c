"""Grading a class: from a folder of submissions to grades, feedback and a list for humans."""

import contextlib
import datetime
import itertools
import logging
import os
import sys
import time
import warnings
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple
from unittest import mock

from coursework.grading import (
    execute,
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


class Course(NamedTuple):
    """The folder that is graded into, the assignment's source and release, and who is enrolled."""

    out: Path
    source: source.Source
    release: dict
    students: list
    log: Path


def grade(
    submissions,
    assignment,
    students,
    out="course",
    *,
    only=(),
    regrade=False,
    workers=2,
    wanted="auto",
    limits=None,
    sources=None,
    progress=True,
):
    """Grade the submissions of a class and return the summary for the screen.

    Who has been graded before, and has handed in nothing else since, keeps the grade: so a run
    that was killed goes on, and a class can be graded as the notebooks come in.

    Parameters
    ----------
    submissions : path
        The folder of submissions (see `intake.find`).
    assignment : str
    students : path
        The roster.
    out : path
        The course folder: grades.csv, feedback, nbgrader's gradebook and folders, our state.
    only : sequence of str
        Ids of those to grade; by default all.
    regrade : bool
        Grade again who has been graded.
    workers : int
        Submissions that run at the same time.
    wanted : str
        The sandbox: "auto" or one of `sandbox.KINDS`.
    limits : sandbox.Limits, optional
    sources : path, optional
        The folder of the private sources.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        If something of this is not there or does not fit; nothing has been graded then.
    """
    limits = sandbox.Limits() if limits is None else limits
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    enrolled = roster.read(students)
    asked = source.read(assignment, sources)
    chosen = _chosen(enrolled, only)
    files, strangers = intake.find(submissions, assignment, enrolled)
    kind = sandbox.choose(wanted)
    begin = time.monotonic()
    with open_course(out, asked, enrolled) as course:
        digests, flags = survey(course, files)
        records = state.load(out, assignment, enrolled)
        todo = [s for s in chosen if regrade or _stale(records.get(s.id), digests[s.id])]
        scores = _scores(course)
        rows = write_table(course, records, scores, flags)

        with judging.judge() as ask, _bar(assignment, chosen, todo, progress) as bar:

            def work(student, worker):
                return run(course, student, files[student.id], ask, kind, limits, worker)

            for student, ran in side_by_side(work, todo, workers):
                records[student.id] = enter(course, student, ran)
                scores.pop(student.name, None)
                scores |= _scores(course, [student.name])
                rows = write_table(course, records, scores, flags)
                bar.update()
    kept = len(enrolled) - len(todo)
    text = f"{len(todo)} graded in {time.monotonic() - begin:.0f} s, {kept} left as they were\n"
    walls = f"{sandbox.WALLS[kind]} ({workers} at a time)"
    text += report.summary(rows, strangers, walls, out, assignment)
    old = sum(record["source"] != asked.digest for record in records.values())
    if old:
        text += f"\n{old} were graded with an earlier source; --regrade grades them again"
    return text


def update(assignment, students, out="course", *, sources=None):
    """Write grades.csv and the feedback anew from the gradebook, after humans have graded there.

    Nothing is run. The arguments and errors are those of `grade`, and so is the summary.
    """
    enrolled = roster.read(students)
    asked = source.read(assignment, sources)
    with open_course(out, asked, enrolled) as course:
        records = state.load(out, assignment, enrolled)
        scores = _scores(course)
        for student in enrolled:
            if student.name in scores and student.id in records:
                _write_feedback(course, student, records[student.id]["notes"])
        rows = write_table(course, records, scores, state.load_flags(out, assignment))
    return report.summary(rows, [], "nothing was run", out, assignment)


@contextlib.contextmanager
def open_course(out, asked, enrolled):
    """Give the `Course` in the folder `out`, for as long as no other run uses it."""
    out = Path(out).resolve()
    with state.locked(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nbgrader's and nbformat's own making
        log = out / "grading.log"
        # nbgrader calls alembic by its name, which is beside Python and not always on the path.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        with _logging_to(log), mock.patch.dict(os.environ, PATH=path):
            from coursework.grading import gradebook

            yield Course(out, asked, gradebook.release(out, asked, log), enrolled, log)


@contextlib.contextmanager
def _logging_to(path):
    """Write what nbgrader says to a file, not to the screen."""
    logger = logging.getLogger("coursework.grading")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def _bar(assignment, chosen, todo, progress):
    from tqdm import tqdm

    done = len(chosen) - len(todo)
    hidden = not progress
    return tqdm(desc=assignment, total=len(chosen), initial=done, unit="student", disable=hidden)


def _chosen(enrolled, only):
    from coursework import normalise

    wanted = {normalise(student) for student in only}
    strangers = wanted - {student.id for student in enrolled}
    if strangers:
        raise ValueError(f"not on the roster: {', '.join(sorted(strangers))}")
    return [student for student in enrolled if not wanted or student.id in wanted]


def _stale(record, digest):
    """Tell whether a student must be graded (again): the submission is new, or grading failed."""
    return record is None or record["digest"] != digest or record["status"] == "failed"


def _scores(course, names=None):
    from coursework.grading import gradebook

    return gradebook.scores(course.out, course.source.assignment, names)


def _grade_ids(course):
    return [name for name in map(source.grade_id, course.release.cells) if name]


def survey(course, files):
    """Read all submissions and return their digests, and what is odd between students.

    Returns
    -------
    digests : dict
        Student's id → digest of the file, empty for none.
    flags : dict
        Student's id → list of words: whose id the notebook gives, who has the same answers.
    """
    stubs = {source.grade_id(c): "".join(c.source.split()) for c in course.release.cells}
    known = {student.id for student in course.students}
    digests, flags, answers = {}, {}, {}
    for student in course.students:
        submission = intake.read(files[student.id], list(stubs))
        digests[student.id] = submission.digest
        declared = intake.declared_id(submission)
        if declared in known and declared != student.id:
            flags.setdefault(student.id, []).append(f"the notebook gives the id of {declared}")
        if digest := intake.answers_digest(submission, stubs):
            answers.setdefault(digest, []).append(student.id)
    for same in answers.values():
        for own in same if len(same) > 1 else []:
            others = ", ".join(other for other in same if other != own)
            flags.setdefault(own, []).append(f"the same answers as {others[:80]}")
    state.save_flags(course.out, course.source.assignment, flags)
    return digests, flags


class Ran(NamedTuple):
    """A submission, what was made of it, what came of running that, and the points of its parts.

    All but the submission is None or empty if there was nothing to run. `results` holds a
    `judging.Result` for each grade id.
    """

    submission: intake.Submission
    rebuilt: rebuild.Rebuilt | None = None
    run: execute.Run | None = None
    results: dict = {}


def run(course, student, paths, ask, kind, limits, worker):
    """Read, run and judge one submission; return a `Ran`.

    A part that is not right is run once more without the earlier ones, and the better result
    counts: what a student writes in one part shall not spoil another.
    """
    submission = intake.read(paths, _grade_ids(course))
    if submission.status != "ready":
        return Ran(submission)
    begin = time.monotonic()
    rebuilt = rebuild.rebuild(course.source, course.release, submission.cells)
    ran = execute.execute(rebuilt.program, student.id, kind, limits, worker)
    if ran.status == "failed":
        return Ran(submission, rebuilt, ran)
    results = judging.judged(ran.events, rebuilt.program, course.source, student.id, ask)
    events, spoiled = {event["cell"]: event for event in ran.events}, set()
    for stage in judging.doubtful(ran.events, rebuilt.program, results, course.source):
        left = limits.total - (time.monotonic() - begin)
        if left < 1:
            break
        program = [entry for entry in rebuilt.program if entry["stage"] in (0, stage)]
        apart = execute.execute(program, student.id, kind, limits._replace(total=left), worker)
        found = judging.judged(apart.events, program, course.source, student.id, ask)
        better = {name for name in found if found[name].points > results[name].points}
        if better:
            results |= {name: found[name] for name in better}
            events |= {event["cell"]: event for event in apart.events}
            spoiled |= better
    if spoiled:
        labels = ", ".join(g.label for g in course.source.graded if g.grade_id in spoiled)
        note = f"run without the earlier parts, which had spoiled it: part {labels}"
        ran = ran._replace(events=list(events.values()), notes=[*ran.notes, note])
    return Ran(submission, rebuilt, ran, results)


def side_by_side(work, students, workers):
    """Yield (student, result of ``work(student, worker)``) as they come, from several threads."""
    free = SimpleQueue()
    for worker in range(workers):
        free.put(worker)

    def call(student):
        worker = free.get()
        try:
            return student, work(student, worker)
        except Exception as error:  # one student's trouble is not the class's
            logging.getLogger(__name__).exception("running the submission of %s", student.id)
            return student, error
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(workers)
    try:
        rest, waiting = iter(students), set()
        while True:
            # No more at a time than are soon needed: results can be large.
            more = itertools.islice(rest, 2 * workers - len(waiting))
            waiting |= {pool.submit(call, student) for student in more}
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        sandbox.stop_all()
        pool.shutdown(cancel_futures=True)
        sandbox.stopping.clear()


def enter(course, student, ran):
    """Enter a `Ran` into the gradebook, write the feedback; return and store the record."""
    try:
        if isinstance(ran, Exception):
            raise ran
        record = _enter(course, student, *ran)
    except Exception as error:
        logging.getLogger(__name__).exception("entering the grade of %s", student.id)
        words = outputs.one_line(f"{type(error).__name__}: {error}")
        note = f"the grading itself failed ({words}); see {course.log.name}"
        record = _record(course, "", "failed", [note], {})
    state.save(course.out, course.source.assignment, student, record)
    return record


def _enter(course, student, submission, rebuilt, ran, results):
    from coursework.grading import gradebook

    assignment = course.source.assignment
    status = submission.status if ran is None else ran.status
    notes = submission.notes + ([] if ran is None else rebuilt.notes + ran.notes)
    if ran is None or status == "failed":
        gradebook.forget(course.out, assignment, student)
        path = gradebook.feedback_path(course.out, assignment, student)
        page.write_notice(path, f"{assignment}: {status}", notes)
        return _record(course, submission.digest, status, notes, {})
    silent = [g.label for g in course.source.graded if results[g.grade_id].silent]
    if silent:
        notes = [*notes, f"no answer to judge in part {', '.join(silent)}"]
    shown = _shown(course, rebuilt, ran, results)
    gradebook.autograde(course.out, assignment, student, rebuilt.notebook, shown, course.log)
    _write_feedback(course, student, notes)
    return _record(course, submission.digest, status, notes, results)


def _write_feedback(course, student, notes):
    from coursework.grading import gradebook

    found = _scores(course, [student.name])[student.name]
    labels = [g.label for g in course.source.graded if found.get(g.grade_id, (0, False))[1]]
    waiting = [f"a human has not graded this yet: {', '.join(labels)}"] if labels else []
    path = gradebook.feedback(course.out, course.source.assignment, student, course.log)
    page.disarm(path, [*notes, *waiting])


def _record(course, digest, status, notes, results):
    return {
        "digest": digest,
        "source": course.source.digest,
        "status": status,
        "notes": notes,
        "results": results,
        "graded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _shown(course, rebuilt, ran, results):
    """Return cell id → outputs, as nbgrader is to see them: a check cell shows our verdict."""
    import nbformat

    shown = {e["cell"]: outputs.clean(e["outputs"], e["cut"]) for e in ran.events}
    ids = {entry["grade_id"]: entry["id"] for entry in rebuilt.program}
    for graded in course.source.graded:
        if graded.asked is not None:
            result = results[graded.grade_id]
            text = f"Part {graded.label}: {result.message}\n"
            shown[ids[graded.grade_id]] = [
                nbformat.v4.new_output("stream", name="stdout", text=text),
                # nbgrader takes a number that a check cell returns for its points.
                nbformat.v4.new_output("execute_result", {"text/plain": repr(result.points)}),
            ]
    return shown


def write_table(course, records, scores, flags):
    """Write the table, with a line for everybody, and return its rows.

    grades.csv is the assignment that was graded last; the same table stays under its name.
    """
    rows = [
        report.row(
            student,
            records.get(student.id),
            scores.get(student.name, {}),
            course.source,
            flags.get(student.id, []),
        )
        for student in course.students
    ]
    for path in (table_path(course.out, course.source.assignment), course.out / "grades.csv"):
        report.write_csv(path, rows)
    return rows


def table_path(out, assignment):
    """Return where the table of an assignment stays when the next one is graded."""
    return Path(out) / f"grades-{assignment}.csv"
