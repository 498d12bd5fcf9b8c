"""The commands for instructors."""

import argparse
import functools
import sys
import warnings

from coursework.grading import grade, sandbox, source, uploads

COMMON = {
    "--assignment": {"required": True, "help": "its name, such as warmup"},
    "--roster": {"required": True, "dest": "students", "help": "table with a column 'student'"},
    "--out": {"default": "course", "help": "folder of the course (default: course)"},
    "--source": {"dest": "sources", "help": f"private sources (default: {source.FOLDER})"},
}
RULES = {
    "--deadline": {"help": "such as 2026-05-01T23:59 (this machine's time)"},
    "--grace": {"type": float, "help": "minutes after it that are not late"},
    "--late": {"help": "accept, reject, or percent taken off for each day"},
}
YES = {"action": "store_true"}
LIMITS = {
    "--cell": {"type": float, "default": 60, "help": "seconds for a cell (60)"},
    "--total": {"type": float, "default": 240, "help": "seconds for a notebook (240)"},
    "--memory": {"type": float, "default": 512, "help": "MB for a submission (512)"},
}
GRADE = {
    "submissions": {"help": "folder of the notebooks that were handed in"},
    "--student": {"action": "append", "default": [], "dest": "only", "help": "grade only this one"},
    "--regrade": YES | {"help": "also who has been graded"},
    "--workers": {"type": int, "default": 2, "help": "submissions at a time (default: 2)"},
    "--quiet": {"action": "store_false", "dest": "progress", "help": "no progress bar"},
}
BY_NAME = {"--student": {"required": True}, "--yes": YES | {"help": "do not ask"}}
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


def _upload(system):
    return functools.partial(uploads.upload, system)


COMMANDS = {
    "grade": (
        lambda cell, total, memory, **given: grade.grade(
            limits=sandbox.Limits(cell, total, int(memory * sandbox.MEGABYTE)), **given
        ),
        "run the submissions in a sandbox; write grades and feedback",
        GRADE | LIMITS | RULES,
    ),
    "update": (grade.update, "write grades and feedback anew, after people have graded", RULES),
    "forget": (
        lambda student, yes, **given: (
            grade.forget(student, **given)
            if yes or input(f"Remove {student}'s grade? Type yes: ").strip() == "yes"
            else "nothing was changed"
        ),
        "take a student's submission and grade out of the course",
        BY_NAME,
    ),
    "canvas": (_upload("canvas"), "fill the points into what Canvas's gradebook exported", FILL),
    "moodle": (_upload("moodle"), "fill the points into Moodle's grading worksheet", FILL),
    "gradescope": (_upload("gradescope"), "write an autograder for Gradescope", UPLOAD),
}


def main(arguments=None):
    """Run a command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m coursework", description="Grade a class's notebooks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (run, words, options) in COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(run=run)
        for option, values in (COMMON | options).items():
            command.add_argument(option, **values)
    given = vars(parser.parse_args(arguments))
    run = given.pop("run")
    if "late" in given:
        given["policy"] = {name: given.pop(name) for name in ("deadline", "grace", "late")}
    warnings.simplefilter("ignore")  # of nbgrader's and nbformat's own making
    try:
        print(run(**given))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
