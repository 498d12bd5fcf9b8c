"""Runs a student's cells inside the sandbox. Started as a script, by `coursework.grading.sandbox`.

Reads a job (a line of JSON) from standard input and writes one JSON line for each finished cell to
standard output. When all have run it asks for the hidden instances, which are not in the sandbox
before: they are the last thing that runs. It holds nothing that the trusted side believes: all it
writes is taken as written by the student.
"""

import base64
import ctypes
import json
import os
import resource
import shutil
import sys
from pathlib import Path

NOT_DUMPABLE = (4, 0)  # prctl(PR_SET_DUMPABLE, 0): the kernel's processes cannot look into this one
DIE_WITH_PARENT = (1, 9)  # prctl(PR_SET_PDEATHSIG, SIGKILL)


def main():
    """Run the job and leave at once, whatever the student's code has left behind."""
    commands = os.fdopen(os.dup(0), "rb")
    job = json.loads(commands.readline())
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    become(job["uid"])
    set_limits(job["limits"])
    for option in (NOT_DUMPABLE, DIE_WITH_PARENT):
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(*option)
    make_home(job["fonts"])
    Path(os.environ["OVERPARAM_TASKS"]).write_bytes(base64.b64decode(job["tasks"]))

    def write(event):
        results.write(json.dumps(event) + "\n")
        results.flush()

    try:
        run(job, write, commands)
    except Exception as error:
        write({"failed": f"{type(error).__name__}: {error}"[:500]})
    results.close()
    os._exit(0)


def become(uid):
    """Take the unprivileged user id, for good; None keeps the present one."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def set_limits(limits):
    """Set the limits of this process and of those it starts; they cannot be raised again."""
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": int(limits["total"]) + 5,
        "RLIMIT_DATA": limits["memory"],
        "RLIMIT_FSIZE": limits["file"],
        "RLIMIT_NPROC": limits["processes"],
        "RLIMIT_NOFILE": 256,
    }
    for name, value in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            continue  # not every system has, or lets one lower, each of them


def make_home(fonts):
    """Make the folders that the environment names; matplotlib's list of fonts is slow to make."""
    for name in ("HOME", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR"):
        Path(os.environ[name]).mkdir(parents=True, exist_ok=True)
    if fonts is not None and Path(fonts).exists():
        shutil.copy(fonts, Path(os.environ["MPLCONFIGDIR"]) / Path(fonts).name)
    os.chdir(os.environ["HOME"])


def make_client(nb, limits):
    """Return an nbclient of one kernel that keeps no more output than allowed."""
    from nbclient import NotebookClient
    from traitlets.config import Config

    class Client(NotebookClient):
        def output(self, outs, msg, display_id, cell_index):
            self.kept += size_of(msg["content"])
            if self.kept > limits["output"]:
                self.cut = True
                return None
            return super().output(outs, msg, None, cell_index)

        def handle_comm_msg(self, outs, msg, cell_index):
            """Keep no state of widgets: nothing of it is shown."""

        def _update_display_id(self, display_id, msg):
            """Let what is displayed once stay as it is."""

    def remember(cell, cell_index, execute_reply):
        client.error = execute_reply["content"].get("ename", "")

    client = Client(
        nb,
        on_cell_executed=remember,
        timeout=max(1, round(limits["cell"])),
        startup_timeout=60,
        iopub_timeout=10,
        interrupt_on_timeout=False,
        allow_errors=True,
        kernel_name="python3",
        extra_arguments=["--HistoryManager.enabled=False"],
        config=Config({"KernelManager": {"transport": "ipc"}}),
    )
    client.kept, client.cut = 0, False
    return client


def size_of(content):
    """Return roughly how many bytes a message holds."""
    data = content.get("data")
    if isinstance(data, dict):
        return sum(len(v) if isinstance(v, str) else len(json.dumps(v)) for v in data.values())
    return len(content.get("text", "")) + sum(map(len, content.get("traceback", [])))


def run(job, write, commands):
    """Run the cells one after the other; stop when the kernel is dead, or out of time or memory."""
    import logging

    # jsonschema compiles a grammar of web addresses if this is there: a second, for nothing here.
    sys.modules["rfc3987_syntax"] = None
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    logging.disable(logging.CRITICAL)
    cells = [nbformat.v4.new_code_cell(cell["source"]) for cell in job["cells"]]
    client = make_client(nbformat.v4.new_notebook(cells=cells), job["limits"])
    with client.setup_kernel(cleanup_kc=False):
        write({"started": True})
        for index, cell in enumerate(cells):
            client.kept, client.cut, client.error = 0, False, ""
            end = "done"
            try:
                client.execute_cell(cell, index)
            except CellTimeoutError:
                end = "time"
            except DeadKernelError:
                end = "died"
            if client.error == "MemoryError":
                end = "memory"  # what was taken is not given back: the next cells need some
            event = {"cell": job["cells"][index]["id"], "end": end, "error": client.error}
            write(event | {"outputs": cell.outputs, "cut": client.cut})
            if end != "done":
                break
        else:
            write({"asks": True})
            cell = nbformat.v4.new_code_cell(json.loads(commands.readline())["source"])
            client.nb.cells.append(cell)
            client.kept = 0
            client.execute_cell(cell, len(client.nb.cells) - 1)
            write({"hidden": cell.outputs})
        client.km.signal_kernel(9)


if __name__ == "__main__":
    main()
