"""The commands for instructors."""

import argparse
import sys
from pathlib import Path

from coursework.grading import grade, report, roster, sandbox, source, state

MEGABYTE = sandbox.MEGABYTE


def main(arguments=None):
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
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
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--assignment", required=True, help="its name, such as warmup")
    common.add_argument("--roster", required=True, help="CSV file with a column 'student'")
    common.add_argument("--out", default="course", help="folder of the course (default: course)")
    common.add_argument(
        "--source", help=f"folder of the private sources (default: {source.FOLDER})"
    )

    words = "run the submissions in a sandbox; write grades, feedback and the gradebook"
    command = commands.add_parser("grade", parents=[common], help=words, description=words)
    command.set_defaults(run=_grade)
    command.add_argument("submissions", help="folder of the notebooks that were handed in")
    command.add_argument("--student", action="append", default=[], help="grade only this one")
    command.add_argument("--regrade", action="store_true", help="also who has been graded")
    command.add_argument(
        "--workers", type=int, default=2, help="submissions at a time (default: 2)"
    )
    command.add_argument("--sandbox", default="auto", choices=("auto", *sandbox.KINDS))
    default = sandbox.Limits()
    for name, value, unit in (
        ("cell", default.cell, "seconds for a cell"),
        ("total", default.total, "seconds for a notebook"),
        ("memory", default.memory // MEGABYTE, "MB of memory for a submission"),
    ):
        words = f"{unit} (default: {value})"
        command.add_argument(f"--{name}", type=float, default=value, help=words)
    command.add_argument("--quiet", action="store_true", help="no progress bar")

    words = "write grades and feedback anew, after humans have graded in nbgrader's formgrader"
    command = commands.add_parser("update", parents=[common], help=words, description=words)
    command.set_defaults(run=_update)

    words = "fill the points into what Canvas's gradebook exported, for its import"
    command = commands.add_parser("canvas", parents=[common], help=words, description=words)
    command.set_defaults(run=_canvas)
    command.add_argument("--export", required=True, help="the CSV file that Canvas exported")
    command.add_argument(
        "--column", required=True, help="the assignment's column, or its beginning"
    )
    words = "Canvas's column with the roster's ids (default: SIS Login ID)"
    command.add_argument("--match", default="SIS Login ID", help=words)

    words = "write the points in Gradescope's columns, and an autograder that gives them"
    command = commands.add_parser("gradescope", parents=[common], help=words, description=words)
    command.set_defaults(run=_gradescope)
    return parser


def _grade(options):
    limits = sandbox.Limits(
        cell=options.cell, total=options.total, memory=int(options.memory * MEGABYTE)
    )
    return grade.grade(
        options.submissions,
        options.assignment,
        options.roster,
        options.out,
        only=options.student,
        regrade=options.regrade,
        workers=options.workers,
        wanted=options.sandbox,
        limits=limits,
        sources=options.source,
        progress=not options.quiet,
    )


def _update(options):
    return grade.update(options.assignment, options.roster, options.out, sources=options.source)


def _graded(options):
    """Return the students, the source and the rows of grades.csv of the chosen assignment."""
    students = roster.read(options.roster)
    asked = source.read(options.assignment, options.source)
    rows, columns = report.read_csv(grade.table_path(options.out, options.assignment), "the table")
    missing = [graded.label for graded in asked.graded if graded.label not in columns]
    if missing:
        raise ValueError(
            f"the table has no column {missing[0]!r}: grade {options.assignment} first"
        )
    return students, asked, rows


def _canvas(options):
    _, asked, rows = _graded(options)
    lines, left = report.canvas(rows, options.export, options.column, options.match)
    if not lines:
        raise ValueError(f"no id of the roster is in the column {options.match!r}; try --match")
    path = Path(options.out) / f"canvas-{asked.assignment}.csv"
    report.write_csv(path, lines)
    missing = f"\nnot in Canvas's export: {', '.join(left[:20])}" if left else ""
    return f"{path}: {len(lines)} lines{missing}"


def _gradescope(options):
    students, asked, rows = _graded(options)
    records = state.load(options.out, asked.assignment, students)
    lines, results, without = report.gradescope(rows, records, students, asked)
    table = Path(options.out) / f"gradescope-{asked.assignment}.csv"
    report.write_csv(table, lines)
    archive = table.with_suffix(".zip")
    report.write_autograder(archive, results)
    missing = f"\nno e-mail on the roster: {', '.join(without[:20])}" if without else ""
    return f"{table}: {len(lines)} lines\n{archive}: an autograder for {len(results)}{missing}"


if __name__ == "__main__":
    sys.exit(main())
