"""The commands for instructors."""

import argparse
import sys
import warnings

from coursework import normalise
from coursework.grading import course as folder
from coursework.grading import grade, report, roster, sandbox, source

MEGABYTE = sandbox.MEGABYTE


def main(arguments=None):
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
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


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m coursework", description="Grade a class's notebooks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, run, words):
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(run=run)
        made.add_argument("--assignment", required=True, help="its name, such as warmup")
        made.add_argument("--roster", required=True, help="CSV file with a column 'student'")
        made.add_argument("--out", default="course", help="folder of the course (default: course)")
        made.add_argument("--source", help=f"private sources (default: {source.FOLDER})")
        return made

    words = "run the submissions in a sandbox; write grades, feedback and the gradebook"
    made = command("grade", _grade, words)
    made.add_argument("submissions", help="folder of the notebooks that were handed in")
    made.add_argument("--student", action="append", default=[], help="grade only this one")
    made.add_argument("--regrade", action="store_true", help="also who has been graded")
    made.add_argument("--workers", type=int, default=2, help="submissions at a time (default: 2)")
    made.add_argument("--sandbox", default="auto", choices=("auto", *sandbox.KINDS))
    default = sandbox.Limits()
    limits = {"cell": "seconds for a cell", "total": "seconds for a notebook"}
    for name, words in limits.items():
        value = getattr(default, name)
        made.add_argument(f"--{name}", type=float, default=value, help=f"{words} ({value})")
    value = default.memory // MEGABYTE
    made.add_argument("--memory", type=float, default=value, help=f"MB a submission ({value})")
    made.add_argument("--quiet", action="store_true", help="no progress bar")
    words = "write grades and feedback anew, after people have graded in nbgrader's formgrader"
    for changed in (made, command("update", _update, words)):
        changed.add_argument("--deadline", help="such as 2026-05-01T23:59 (this machine's time)")
        changed.add_argument("--grace", type=float, help="minutes after it that are not late")
        changed.add_argument("--late", help="accept, reject, or percent taken off for each day")
    made = command("forget", _forget, "take a student's submission and grade out of the course")
    made.add_argument("--student", required=True)
    made.add_argument("--yes", action="store_true", help="do not ask")

    for name, run, words in (
        ("canvas", _canvas, "fill the points into what Canvas's gradebook exported"),
        ("moodle", _moodle, "fill the points into Moodle's grading worksheet"),
        ("gradescope", _gradescope, "write Gradescope's columns, and an autograder"),
    ):
        made = command(name, run, words)
        made.add_argument("--partial", action="store_true", help="also where a person's part waits")
        made.add_argument("--zero", action="store_true", help="0 for who has handed in nothing")
        if name != "gradescope":
            made.add_argument("--export", required=True, help="the CSV file that was exported")
            made.add_argument("--overwrite", action="store_true", help="points that stand there")
            match = {"canvas": "SIS Login ID", "moodle": "Email address"}[name]
            words = f"the export's column with ids or addresses (default: {match})"
            made.add_argument("--match", default=match, help=words)
            column = {"required": True} if name == "canvas" else {"default": "Grade"}
            made.add_argument("--column", help="the column to fill, or its beginning", **column)
    return parser


def _policy(options):
    return {name: getattr(options, name) for name in ("deadline", "grace", "late")}


def _grade(options):
    memory = int(options.memory * MEGABYTE)
    return grade.grade(
        options.submissions,
        options.assignment,
        options.roster,
        options.out,
        only=options.student,
        regrade=options.regrade,
        workers=options.workers,
        wanted=options.sandbox,
        limits=sandbox.Limits(cell=options.cell, total=options.total, memory=memory),
        sources=options.source,
        progress=not options.quiet,
        policy=_policy(options),
    )


def _update(options):
    where = (options.assignment, options.roster, options.out)
    return grade.update(*where, sources=options.source, policy=_policy(options))


def _forget(options):
    question = f"Remove {options.student}'s grade of {options.assignment}? Type yes: "
    if not options.yes and input(question).strip() != "yes":
        return "nothing was changed"
    where = (options.assignment, options.roster, options.student, options.out)
    return grade.forget(*where, sources=options.source)


def _export(options, write):
    """Write an upload from what the gradebook says now; return words for the screen."""
    enrolled = roster.read(options.roster)
    asked = source.read(options.assignment, options.source)
    with folder.open_course(options.out, asked, enrolled) as course:
        state = folder.survey(course)
        table = report.rows(course, state)
        points, left = report.final_points(table, options.partial, options.zero)
        text, more = write(course, state, table, points)
    left |= more
    named = [f"{student} ({why})" for student, why in sorted(left.items())]
    rest = f" and {len(named) - 30} more" if len(named) > 30 else ""
    return text + (f"\nleft out: {', '.join(named[:30])}{rest}" if named else "\nnobody left out")


def _fill(options, system):
    def write(course, state, table, points):
        names = {normalise(s.fields.get("email", "")): s.id for s in course.students}
        names |= {s.id: s.id for s in course.students}
        values = (options.export, options.column, options.match, names, points, options.overwrite)
        lines, left = report.filled(table, *values)
        if not lines:
            return "nothing to write: no final points, or no id matches (--match)", left
        path = course.out / f"{system}-{course.assignment}.csv"
        report.write_csv(path, lines)
        return f"{path}: {len(lines)} lines", left

    return _export(options, write)


def _canvas(options):
    return _fill(options, "canvas")


def _moodle(options):
    return _fill(options, "moodle")


def _gradescope(options):
    def write(course, state, table, points):
        lines, results = report.gradescope(table, course, state, points)
        path = course.out / f"gradescope-{course.assignment}.csv"
        report.write_csv(path, lines)
        archive = path.with_suffix(".zip")
        report.write_autograder(archive, results)
        without = {s.id: "no e-mail" for s in course.students if not s.fields.get("email")}
        text = f"{path}: {len(lines)} lines\n{archive}: an autograder for {len(results)}"
        return text, {own: why for own, why in without.items() if own in points}

    return _export(options, write)


if __name__ == "__main__":
    sys.exit(main())
