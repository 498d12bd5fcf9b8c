"""Runs a student's cells inside the sandbox. Started as a script, by `coursework.grading.sandbox`.

Reads a job (a line of JSON) from standard input and writes one JSON line for each finished cell to
standard output. When all have run it asks for the hidden instances, which are not in the sandbox
before: they are the last thing that runs. The student's code runs in this very process, as it does
in a kernel: whatever comes out, also in our name, is taken as written by the student.
"""

import base64
import contextlib
import itertools
import json
import os
import pickle
import resource
import sys
from pathlib import Path


def main():
    """Run the job and leave at once, whatever the student's code has left behind."""
    commands, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    job = json.loads(commands.readline())
    confine(job["uid"], job["limits"])
    Path(os.environ["HOME"]).mkdir()
    os.chdir(os.environ["HOME"])
    Path(os.environ["OVERPARAM_TASKS"]).write_bytes(base64.b64decode(job["tasks"]))

    def write(event):
        results.write(json.dumps(event, default=as_text) + "\n")
        results.flush()

    kept = Kept(job["limits"]["output"])
    shell = make_shell(kept)
    write({"started": True})
    for cell in job["cells"]:
        result = shell.run_cell(cell["source"], store_history=True)
        error = result.error_before_exec or result.error_in_exec
        # What was taken is not given back, and the next cells need some.
        end = "memory" if isinstance(error, MemoryError) else "done"
        event = {"cell": cell["id"], "end": end, "error": type(error).__name__ if error else ""}
        write(event | kept.take())
        if end != "done":
            break
    else:
        write({"asks": True})
        shell.user_ns["_asked"] = pickle.loads(base64.b64decode(commands.readline()))
        shell.run_cell("from coursework import engine; engine.record_hidden(_asked)")
        write({"hidden": kept.take()["outputs"]})
    os._exit(0)


def confine(uid, limits):
    """Take an unprivileged user id (None: we have one) and limits; nothing can undo it."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    wanted = {"CORE": 0, "CPU": int(limits["total"]) + 5, "DATA": limits["memory"]}
    wanted |= {"FSIZE": limits["file"], "NPROC": limits["processes"], "NOFILE": 256}
    for name, value in wanted.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def as_text(value):
    """Return what JSON has no word for as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class Kept:
    """What a cell displays, in the notebook's format, up to so many characters; also a stream."""

    encoding = "utf-8"

    def __init__(self, most):
        self.most, self.outputs, self.size = most, [], 0

    def take(self):
        """Return the outputs so far, and begin anew."""
        found, cut = [], self.size > self.most
        for kind, group in itertools.groupby(self.outputs, type):
            if kind is str:
                found.append({"output_type": "stream", "name": "stdout", "text": "".join(group)})
            else:
                found += group
        self.outputs, self.size = [], 0
        return {"outputs": found, "cut": cut}

    def write(self, output):
        """Keep text that is printed, or another output, if there is room."""
        self.size += len(json.dumps(output, default=as_text))
        if self.size <= self.most:
            self.outputs.append(output)

    def display(self, data, *more, **options):
        """Keep what is displayed in several forms."""
        self.write({"output_type": "display_data", "data": dict(data)})

    def flush(self):
        """Do nothing: nothing is held back."""

    def isatty(self):
        """Tell that nobody sits there."""
        return False


def make_shell(kept):
    """Return the IPython in which the cells run as in a kernel, with its output in `kept`."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Hook(DisplayHook):
        write_format_data = staticmethod(kept.display)
        write_output_prompt = finish_displayhook = staticmethod(lambda: None)

    class Publisher(DisplayPublisher):
        publish = staticmethod(kept.display)

    class Shell(InteractiveShell):
        enable_gui = ask_exit = staticmethod(lambda *given, **options: None)
        _tee = staticmethod(lambda *given, **options: contextlib.nullcontext())

        def _showtraceback(self, etype, evalue, stb):
            words = {"ename": etype.__name__, "evalue": str(evalue), "traceback": stb}
            kept.write({"output_type": "error"} | words)

    sys.stdout = sys.stderr = kept
    config = Config({"HistoryManager": {"enabled": False}})
    return Shell.instance(config=config, display_pub_class=Publisher, displayhook_class=Hook)


if __name__ == "__main__":
    main()
