"""Grading a class: from a folder of submissions to grades, feedback and a list for people.

What is handed in is received first (copied, with its time), and graded from there: so it does not
matter which files are graded, in which order, or how often. Grades change only when somebody is
graded again or a person changes them, and each change is a line in the log.
"""

import datetime
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coursework import normalise
from coursework.grading import course as folder
from coursework.grading import intake, outputs, rebuild, report, roster, sandbox, source, work
from coursework.words import SAID

Place = str | Path


def grade(
    submissions: Place, assignment: str, students: Place, out: Place = "course", *,
    only: Sequence[str] = (), regrade: bool = False, workers: int = 2,
    limits: sandbox.Limits | None = None, sources: Place | None = None, progress: bool = True,
    policy: dict | None = None, examine: Callable = work.side_by_side,
) -> str:  # fmt: skip
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
        The course folder: what was received, nbgrader's gradebook, and what is made from them.
    only : sequence of str
        Ids of those to grade; by default all.
    regrade : bool
        Grade again who has been graded.
    workers : int
        Submissions that run at the same time.
    limits : sandbox.Limits, optional
    sources : path, optional
        The folder of the private sources.
    progress : bool
        Show a progress bar.
    policy : dict, optional
        What changes of the rules for late submissions: `deadline` (ISO), `grace` (minutes), `late`
        ("accept", "reject", or percent of all points for each day begun).
    examine : callable
        Runs the jobs: `work.side_by_side`.

    Raises
    ------
    ValueError
        If something of this is not there or does not fit; nothing has been graded then.

    Examples
    --------
    >>> from coursework.grading import grade
    >>> print(grade.grade("handed-in", "warmup", "roster.csv"))  # doctest: +SKIP
    2 graded in 9 s, 1 left as they were
    """
    from tqdm import tqdm

    limits = sandbox.Limits() if limits is None else limits
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    enrolled, asked = roster.read(students), source.read(assignment, sources)
    wanted = {normalise(student) for student in only}
    if unknown := wanted - {student.id for student in enrolled}:
        raise ValueError(f"not on the roster: {', '.join(sorted(unknown))}")
    folder.checked(policy or {}, enrolled)
    files, strangers = intake.find(submissions, assignment, enrolled)
    walls, begin = sandbox.choose(), time.monotonic()
    with folder.open_course(out, asked, enrolled) as course:
        folder.receive(course, files, strangers, policy or {})
        state, made = folder.survey(course), {}
        chosen = {s.id: s for s in enrolled if not wanted or s.id in wanted}
        todo = [s for s in chosen.values() if state.chosen[s.id].status == "ready"]
        todo = [s for s in todo if regrade or folder.is_stale(state, s)]

        def jobs():
            for student in todo:
                choice = state.chosen[student.id]
                made[student.id] = rebuild.rebuild(course.release, choice.cells)
                values = (intake.declared_id(choice.cells), choice.digest, made[student.id].program)
                yield work.Job(assignment, student.id, *values, asked.graded, course.secret)

        report.write_all(course, state)
        written, done = time.monotonic(), examine(jobs(), walls, limits, workers)
        bar = {"desc": assignment, "total": len(todo), "unit": "student", "disable": not progress}
        for name, outcome in tqdm(done, **bar):
            own, choice = chosen[name], state.chosen[name]
            state.records[name] = enter(course, own, choice, made.pop(name), outcome, walls)
            report.log_changes(course._replace(students=[own]), state)
            if time.monotonic() - written > 1:
                report.write_all(course, state, pages=False)
                written = time.monotonic()
        rows = report.write_all(course, state)
    text = f"{len(todo)} graded in {time.monotonic() - begin:.0f} s, "
    text += f"{len(chosen) - len(todo)} left as they were\n"
    how = f"{walls.words}; {SAID['walls']['all']} ({workers} at a time)"
    return text + report.summary(course, rows, how)


def update(
    assignment: str, students: Place, out: Place = "course", *, sources: Place | None = None,
    policy: dict | None = None,
) -> str:  # fmt: skip
    """Make tables and feedback anew from the gradebook, after people have graded there.

    Nothing is run. The arguments and errors are those of `grade`, and so is the summary.
    """
    enrolled = roster.read(students)
    folder.checked(policy or {}, enrolled)
    with folder.open_course(out, source.read(assignment, sources), enrolled) as course:
        folder.receive(course, {}, None, policy or {})
        rows = report.write_all(course, folder.survey(course))
    return report.summary(course, rows, "nothing was run")


def forget(
    student: str, assignment: str, students: Place, out: Place = "course", *,
    sources: Place | None = None, yes: bool = False,
) -> str:  # fmt: skip
    """Take a student's submission and grade out of the course, by name; return words for it.

    Asks first, unless told `yes`. The files that were received stay in their folder, and the log
    keeps the points.
    """
    enrolled = {s.id: s for s in roster.read(students)}
    if normalise(student) not in enrolled:
        raise ValueError(f"not on the roster: {student}")
    own, asked = enrolled[normalise(student)], source.read(assignment, sources)
    if not yes and input(f"Remove {own.id}'s grade? Type yes: ").strip() != "yes":
        return "nothing was changed"
    with folder.open_course(out, asked, list(enrolled.values())) as course:
        course.book.forget(assignment, own)
        for step in ("autograded", "feedback"):
            shutil.rmtree(course.out / step / own.name / assignment, ignore_errors=True)
        folder.log(course, "forgotten", student=own.id)
        report.write_all(course, folder.survey(course))
    return f"{own.id}: submission and grade of {assignment} are out of {out}"


def enter(course, student, choice, rebuilt, outcome, walls):
    """Enter what came of a submission into the gradebook, with our record, at once.

    The notebook for the formgrader is written first: when it is killed, who is not entered is
    graded again.
    """
    if isinstance(outcome, Exception):
        words = outputs.one_line(f"{type(outcome).__name__}: {outcome}")
        outcome = work.Outcome("failed", [f"the grading itself failed ({words})"], {}, {})
    results, labels = outcome.results, {g.grade_id: g.label for g in course.source.graded}
    doubts, grades = [*rebuilt.doubts], {}
    declared = intake.declared_id(choice.cells)
    if declared not in (None, student.id) and set(rebuilt.answered) - {"student"}:
        right = ", ".join(labels[name] for name, result in results.items() if result.other)
        words = f"the notebook gives the id of {outputs.one_line(declared, 40)}"
        doubts.append(words + f", whose numbers make part {right} right" * bool(right))
    automatic = {g.grade_id.removesuffix("-check") for g in course.source.graded if not g.by_person}
    beside = {_part(name, course) for name in rebuilt.extras}
    touched = beside | {_part(name, course) for name in set(rebuilt.answered) - automatic}
    for graded in course.source.graded:
        part, found = graded.label.split("-")[0], results.get(graded.grade_id)
        if graded.by_person:
            empty = (0.0, "No response.", False)
            grades[graded.grade_id] = (None, None, True) if part in touched else empty
        elif found is not None:
            grades[graded.grade_id] = (found.points, None, False)
            if found.empty and part in beside:
                doubts.append(f"part {part} has no answer, but cells were added there")
    record = {
        "digest": choice.digest,
        "judge": folder.judge_digest(course.assignment),
        "source": course.source.digest,
        "status": outcome.status,
        "notes": [*rebuilt.notes, *outcome.notes],
        "doubts": doubts,
        "walls": walls.words,
        "messages": {name: result.message for name, result in results.items()},
    }
    if outcome.status != "failed":
        report.write_notebook(course, student, rebuilt.notebook, outcome)
        handed_in = datetime.datetime.fromisoformat(choice.time)
        for name in course.book.enter(course.source, student, grades, handed_in):
            words = f"a person's points stand in part {labels[name]}, against new automatic ones"
            record["doubts"].append(words)
    course.book.put("record", course.assignment, student.id, record)
    course.book.db.commit()
    return record


def _part(name, course):
    return (name or "").removeprefix(f"{course.assignment}-").split("-")[0]
