"""Grading a class: from a folder of submissions to grades, feedback and a list for people.

What is handed in is received first (copied, with its time), and graded from there: so it does not
matter which files are graded, in which order, or how often. Grades change only when somebody is
graded again or a person changes them, and each change is a line in the log.
"""

import datetime
import shutil
import time

from coursework import normalise
from coursework.grading import course as folder
from coursework.grading import intake, outputs, rebuild, report, roster, sandbox, source, work


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
    policy=None,
    examine=work.side_by_side,
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
        The course folder: what was received, nbgrader's gradebook, and what is made from them.
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
    policy : dict, optional
        What changes of the rules for late submissions: `deadline` (ISO), `grace` (minutes), `late`
        ("accept", "reject", or percent of all points for each day begun).
    examine : callable
        Runs the jobs: `work.side_by_side`.

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
    wanted_ids = {normalise(student) for student in only}
    if unknown := wanted_ids - {student.id for student in enrolled}:
        raise ValueError(f"not on the roster: {', '.join(sorted(unknown))}")
    folder.checked(policy or {}, enrolled)
    files, strangers = intake.find(submissions, assignment, enrolled)
    kind = sandbox.choose(wanted)
    begin = time.monotonic()
    with folder.open_course(out, asked, enrolled) as course:
        folder.receive(course, files, strangers, policy or {})
        state = folder.survey(course)
        log_changes(course, state)
        chosen = [s for s in enrolled if not wanted_ids or s.id in wanted_ids]
        by_id = {s.id: s for s in chosen}
        todo = [s for s in chosen if state.chosen[s.id].status == "ready"]
        todo = [s for s in todo if regrade or folder.is_stale(state, s)]
        made = {}

        def jobs():
            for student in todo:
                submission = state.chosen[student.id].submission
                made[student.id] = rebuild.rebuild(course.release, submission.cells)
                yield _job(course, student, submission, made[student.id])

        write_all(course, state)
        written = time.monotonic()
        with _bar(assignment, len(todo), progress) as bar:
            for name, outcome in examine(jobs(), kind, limits, workers):
                choice, own = state.chosen[name], by_id[name]
                state.records[name] = enter(course, own, choice, made.pop(name), outcome, kind)
                log_changes(course._replace(students=[own]), state)
                if time.monotonic() - written > 1:
                    write_all(course, state, pages=False)
                    written = time.monotonic()
                bar.update()
        rows = write_all(course, state)
    text = f"{len(todo)} graded in {time.monotonic() - begin:.0f} s, "
    text += f"{len(chosen) - len(todo)} left as they were\n"
    return text + report.summary(course, rows, f"{sandbox.described(kind)} ({workers} at a time)")


def update(assignment, students, out="course", *, sources=None, policy=None):
    """Make tables and feedback anew from the gradebook, after people have graded there.

    Nothing is run. The arguments and errors are those of `grade`, and so is the summary.
    """
    enrolled = roster.read(students)
    folder.checked(policy or {}, enrolled)
    with folder.open_course(out, source.read(assignment, sources), enrolled) as course:
        folder.receive(course, {}, None, policy or {})
        rows = write_all(course, folder.survey(course))
    return report.summary(course, rows, "nothing was run")


def forget(student, assignment, students, out="course", *, sources=None):
    """Take a student's submission and grade out of the course, by name; return words for it.

    The files that were received stay in their folder, and the log keeps the points.
    """
    enrolled = {s.id: s for s in roster.read(students)}
    if normalise(student) not in enrolled:
        raise ValueError(f"not on the roster: {student}")
    own = enrolled[normalise(student)]
    with folder.open_course(
        out, source.read(assignment, sources), list(enrolled.values())
    ) as course:
        course.book.forget(assignment, own)
        for step in ("autograded", "feedback"):
            shutil.rmtree(course.out / step / own.name / assignment, ignore_errors=True)
        folder.log(course, "forgotten", student=own.id)
        write_all(course, folder.survey(course))
    return f"{own.id}: submission and grade of {assignment} are out of {out}"


# Grading one


def _job(course, student, submission, rebuilt):
    declared = intake.declared_id(submission)
    values = (course.assignment, student.id, declared, submission.digest, rebuilt.program)
    return work.Job(*values, course.source.graded, course.secret)


def enter(course, student, choice, rebuilt, outcome, kind):
    """Enter what came of a submission into the gradebook, with our record, at once.

    The notebook for the formgrader is written first: when it is killed, who is not entered is
    graded again.
    """
    if isinstance(outcome, Exception):
        words = outputs.one_line(f"{type(outcome).__name__}: {outcome}")
        outcome = work.Outcome("failed", [f"the grading itself failed ({words})"], {}, {})
    doubts, grades = [*rebuilt.doubts], {}
    declared = intake.declared_id(choice.submission)
    if declared not in (None, student.id) and set(rebuilt.answered) - {"student"}:
        words = f"the notebook gives the id of {outputs.one_line(declared, 40)}"
        right = [g.label for g in course.source.graded if _is_other(outcome.results, g)]
        doubts.append(words + f", whose numbers make part {', '.join(right)} right" * bool(right))
    checks = [g.grade_id for g in course.source.graded if not g.by_person]
    automatic = {name.removesuffix("-check") for name in checks}
    beside = {_part(name, course) for name in rebuilt.extras}
    for graded in course.source.graded:
        part, found = graded.label.split("-")[0], outcome.results.get(graded.grade_id)
        if graded.by_person:
            mine = [n for n in rebuilt.answered if _part(n, course) == part and n not in automatic]
            touched = bool(mine) or part in beside
            grades[graded.grade_id] = (None, None, True) if touched else (0.0, "No response.", 0)
        elif found is not None:
            grades[graded.grade_id] = (found.points, None, found.human)
            if found.empty and part in beside:
                doubts.append(f"part {part} has no answer, but cells were added there")
    record = {
        "digest": choice.digest,
        "judge": folder.judge_digest(course.assignment),
        "source": course.source.digest,
        "status": outcome.status,
        "notes": [*rebuilt.notes, *outcome.notes],
        "doubts": doubts,
        "walls": sandbox.described(kind, short=True),
        "messages": {name: result.message for name, result in outcome.results.items()},
    }
    if outcome.status != "failed":
        notebook = report.fill(course, rebuilt, outcome)
        report.write_notebook(course, student, notebook)
        time = datetime.datetime.fromisoformat(choice.time)
        labels = {g.grade_id: g.label for g in course.source.graded}
        for name in course.book.enter(course.source, student, grades, time):
            words = f"a person's points stand in part {labels[name]}, against new automatic ones"
            record["doubts"].append(words)
    course.book.put("record", course.assignment, student.id, "record", record)
    course.book.db.commit()
    return record


def _is_other(results, graded):
    return graded.grade_id in results and results[graded.grade_id].other


def _part(name, course):
    return (name or "").removeprefix(f"{course.assignment}-").split("-")[0]


# Made from the two


def log_changes(course, state):
    """Write each change of somebody's points into the log, whoever made it; return the rows."""
    rows, logged = report.rows(course, state), folder.last_points(course)
    for row in rows:
        own, points = row["student"], row["points"]
        if logged.get(own, "") != points and row["status"] != "missing":
            folder.log(course, "points", student=own, before=logged.get(own, ""), after=points)
    return rows


def table_path(course):
    """Return where the table of an assignment stays when the next one is graded."""
    return course.out / f"grades-{course.assignment}.csv"


def write_all(course, state, pages=True):
    """Write the log, the table with a line for everybody, and feedback; return the table's rows.

    grades.csv is the assignment that was graded last; the same table stays under its name.
    """
    rows = log_changes(course, state)
    for path in (table_path(course), course.out / "grades.csv"):
        report.write_csv(path, rows)
    if pages:
        report.write_pages(course, state, rows)
    return rows


def _bar(assignment, todo, progress):
    from tqdm import tqdm

    return tqdm(desc=assignment, total=todo, unit="student", disable=not progress)
