"""The commands for instructors; what each takes stands in commands.toml."""

import argparse
import builtins
import functools
import sys
import tomllib
import warnings
from pathlib import Path

from coursework.grading import grade, sandbox, uploads

RUN = {"grade": grade.grade, "update": grade.update, "forget": grade.forget}
RUN |= {name: functools.partial(uploads.upload, name) for name in uploads.SYSTEMS}


def _parser():
    """Return the parser of the command line."""
    said = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        prog="python -m coursework", description="Grade a class's notebooks."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in RUN.items():
        words, groups = said["commands"][name].values()
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(run=run)
        for option, values in (o for group in groups for o in said["options"][group].items()):
            if "type" in values:
                values = values | {"type": getattr(builtins, values["type"])}
            command.add_argument(option, **values)
    return parser


def main(arguments=None):
    """Run a command and return its exit status."""
    given = vars(_parser().parse_args(arguments))
    run = given.pop("run")
    if "late" in given:
        given["policy"] = {name: given.pop(name) for name in ("deadline", "grace", "late")}
    if "memory" in given:
        memory = int(given.pop("memory") * sandbox.MEGABYTE)
        given["limits"] = sandbox.Limits(given.pop("cell"), given.pop("total"), memory)
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
