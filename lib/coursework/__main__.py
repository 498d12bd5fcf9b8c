"""The commands for instructors."""

import argparse
import sys
import warnings

from coursework import normalise
from coursework.grading import course as folder
from coursework.grading import grade, report, roster, sandbox, source

COMMON = {
    "--assignment": {"required": True, "help": "its name, such as warmup"},
    "--roster": {"required": True, "help": "table with a column 'student'"},
    "--out": {"default": "course", "help": "folder of the course (default: course)"},
    "--source": {"help": f"private sources (default: {source.FOLDER})"},
}
RULES = {
    "--deadline": {"help": "such as 2026-05-01T23:59 (this machine's time)"},
    "--grace": {"type": float, "help": "minutes after it that are not late"},
    "--late": {"help": "accept, reject, or percent taken off for each day"},
}
LIMITS = sandbox.Limits()
YES = {"action": "store_true"}
GRADE = {
    "submissions": {"help": "folder of the notebooks that were handed in"},
    "--student": {"action": "append", "default": [], "help": "grade only this one"},
    "--regrade": YES | {"help": "also who has been graded"},
    "--workers": {"type": int, "default": 2, "help": "submissions at a time (default: 2)"},
    "--sandbox": {"default": "auto", "choices": ("auto", *sandbox.KINDS)},
    "--cell": {"type": float, "default": LIMITS.cell, "help": "seconds for a cell (60)"},
    "--total": {"type": float, "default": LIMITS.total, "help": "seconds for a notebook (240)"},
    "--memory": {"type": float, "default": 512, "help": "MB for a submission (512)"},
    "--quiet": YES | {"help": "no progress bar"},
}
UPLOAD = {
    "--partial": YES | {"help": "also where a person's part waits"},
    "--zero": YES | {"help": "0 for who has handed in nothing"},
}
FILL = UPLOAD | {
    "--export": {"required": True, "help": "the CSV file that was exported"},
    "--overwrite": YES | {"help": "also points that stand there"},
    "--match": {"help": "the export's column with ids or e-mail addresses"},
    "--column": {"help": "the column to fill, or its beginning"},
}


def main(arguments=None):
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursework", description="Grade a class's notebooks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (run, words, options) in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(run=run, command=name)
        for option, values in (COMMON | options).items():
            command.add_argument(option, **values)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # of nbgrader's and nbformat's own making
    try:
        print(options.run(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _where(options):
    """Return what all commands have, and the rules for late submissions if there are any."""
    values = {"assignment": options.assignment, "students": options.roster, "out": options.out}
    rules = {name: getattr(options, name, None) for name in ("deadline", "grace", "late")}
    return values | {"sources": options.source, "policy": rules}


def _grade(options):
    memory = int(options.memory * sandbox.MEGABYTE)
    return grade.grade(
        options.submissions,
        only=options.student,
        regrade=options.regrade,
        workers=options.workers,
        wanted=options.sandbox,
        limits=sandbox.Limits(cell=options.cell, total=options.total, memory=memory),
        progress=not options.quiet,
        **_where(options),
    )


def _update(options):
    return grade.update(**_where(options))


def _forget(options):
    question = f"Remove {options.student}'s grade of {options.assignment}? Type yes: "
    if not options.yes and input(question).strip() != "yes":
        return "nothing was changed"
    where = _where(options)
    del where["policy"]
    return grade.forget(options.student, **where)


def _upload(options):
    """Write an upload from what the gradebook says now; return words for the screen."""
    enrolled = roster.read(options.roster)
    asked = source.read(options.assignment, options.source)
    with folder.open_course(options.out, asked, enrolled) as course:
        state = folder.survey(course)
        table = report.rows(course, state)
        points, left = report.final_points(table, options.partial, options.zero)
        path = course.out / f"{options.command}-{course.assignment}.csv"
        write = _gradescope if options.command == "gradescope" else _fill
        text, more = write(options, course, state, table, points, path)
    named = [f"{student} ({why})" for student, why in sorted((left | more).items())]
    rest = f" and {len(named) - 30} more" if len(named) > 30 else ""
    return f"{text}\nleft out: {', '.join(named[:30]) or 'nobody'}{rest}"


def _fill(options, course, state, table, points, path):
    default = {"canvas": ("SIS Login ID", None), "moodle": ("Email address", "Grade")}
    match, column = default[options.command]
    match, column = options.match or match, options.column or column
    if column is None:
        raise ValueError("name the column of the assignment with --column")
    names = {normalise(s.fields.get("email", "")): s.id for s in course.students}
    names |= {s.id: s.id for s in course.students}
    where = (options.export, column, match)
    lines, left = report.filled(*where, names, points, options.overwrite)
    if not lines:
        return "nothing to write: no final points, or no id matches (--match)", left
    report.write_csv(path, lines)
    return f"{path}: {len(lines)} lines", left


def _gradescope(options, course, state, table, points, path):
    lines, results = report.gradescope(table, course, state, points)
    report.write_csv(path, lines)
    report.write_autograder(path.with_suffix(".zip"), results)
    without = {s.id: "no e-mail" for s in course.students if not s.fields.get("email")}
    text = f"{path}: {len(lines)} lines\n{path.with_suffix('.zip')}: an autograder for "
    return f"{text}{len(results)}", {own: why for own, why in without.items() if own in points}


_BY_NAME = {"--student": {"required": True}, "--yes": YES | {"help": "do not ask"}}
COMMANDS = {
    "grade": (_grade, "run the submissions in a sandbox; write grades and feedback", GRADE | RULES),
    "update": (_update, "write grades and feedback anew, after people have graded", RULES),
    "forget": (_forget, "take a student's submission and grade out of the course", _BY_NAME),
    "canvas": (_upload, "fill the points into what Canvas's gradebook exported", FILL),
    "moodle": (_upload, "fill the points into Moodle's grading worksheet", FILL),
    "gradescope": (_upload, "write Gradescope's columns, and an autograder", UPLOAD),
}

if __name__ == "__main__":
    sys.exit(main())
