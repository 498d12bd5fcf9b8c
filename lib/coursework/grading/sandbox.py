"""Walls around a student's code: bubblewrap, and a control group where one can be made.

Without bubblewrap nothing is run: code of strangers gets no account of one's own.
"""

import base64
import contextlib
import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

import coursework
import overparam
from coursework.words import SAID

RUNNER = Path(__file__).with_name("runner.py")
LIBRARY, HERE = Path(overparam.__file__).parent, Path(coursework.__file__).parent
RECORDER = [HERE / f"{name}.py" for name in ("__init__", "engine", "answers")]
FIRST_UID = 61001  # one for each worker, so that limits on processes count for each alone
MEGABYTE = 1 << 20
LOOK_EVERY = 0.3  # seconds between two looks at time, memory and processes
ASKS = b'{"asks": true}\n'

HOMES = {"HOME": "home", "TMPDIR": "", "MPLCONFIGDIR": "mpl", "IPYTHONDIR": "ipython"}
HOMES |= {"OVERPARAM_TASKS": "tasks"}


class Limits(NamedTuple):
    """What a submission may use: seconds, bytes, numbers of processes and threads.

    `cell` is for one cell, `total` for the notebook, `memory` for one process and for all of the
    submission's together, `file` for one file, `disk` for all, `output` for one cell.
    """

    cell: float = 60
    total: float = 240
    memory: int = 512 * MEGABYTE
    processes: int = 64
    file: int = 16 * MEGABYTE
    disk: int = 64 * MEGABYTE
    output: int = 2 * MEGABYTE

    @property
    def together(self):
        """Memory of all processes: Python's own and what lies on the disk come on top."""
        return self.memory + 100 * MEGABYTE + self.disk


class Walls(NamedTuple):
    """The walls of this machine: what counts memory, and where matplotlib's list of fonts is."""

    group: str
    fonts: str | None

    @property
    def words(self):
        """For the table: what counts memory, or that nothing does."""
        return f"bubblewrap, {SAID['walls'][self.group]}"


class Outcome(NamedTuple):
    """What came out of the sandbox, as untrusted as the code that ran there.

    `events` came before the hidden instances went in, `hidden` are outputs that came after, and
    `stopped` says why it was stopped, if it was.
    """

    events: list
    hidden: list
    stopped: str


def choose() -> Walls:
    """Return the `Walls` of this machine.

    Raises
    ------
    ValueError
        If bubblewrap does not work here.
    """
    import matplotlib
    from matplotlib import font_manager

    # Slow to make; it is bound where matplotlib looks for it.
    fonts = f"fontlist-v{font_manager.FontManager.__version__}.json"
    fonts = Path(matplotlib.get_cachedir()) / fonts
    # What the runner does first: it takes another user's id, and imports.
    become = f"os.setresuid({_uid(0)}, 0, 0)" if _uid(0) else ""
    test = [sys.executable, "-sPc", f"import os\n{become}\nimport IPython, overparam, coursework"]
    walls = Walls("none", str(fonts) if fonts.exists() else None)
    if not _runs(command(walls, Limits(), test)):
        raise ValueError(
            "students' code runs in bubblewrap only, and it does not work here: install it "
            "(apt install bubblewrap), or grade in a virtual machine or a container that has it"
        )
    with _group("probe", Limits()) as folders:
        group = "cgroup" if folders else "systemd" if _runs([*_scope(Limits()), "true"]) else "none"
    return walls._replace(group=group)


def _runs(inner):
    try:
        return subprocess.run(inner, capture_output=True, timeout=600).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _uid(worker):
    """Return the user id that a worker's runner takes; None for none."""
    return FIRST_UID + worker if os.geteuid() == 0 else None


def command(walls, limits, inner):
    """Return the command that runs `inner` in a sandbox."""
    made = "bwrap --unshare-net --unshare-pid --unshare-ipc --unshare-uts --die-with-parent"
    # As root: a real user id, taken by the runner, which the limits on processes count by.
    root = "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID"
    made = f"{made} --new-session {root if os.geteuid() == 0 else '--unshare-user'}".split()
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            made += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            made += ["--ro-bind", folder, folder]
    made += ["--ro-bind", "/usr", "/usr"]
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "fonts", "localtime", "alternatives"):
        made += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for folder, size in {"/dev/shm": limits.disk // 4, "/tmp": limits.disk}.items():
        made += ["--dev", "/dev"] * (folder == "/dev/shm")
        made += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    # Last, for they may lie in /tmp: Python, the library, and the recorder, without the judge.
    paths = {sys.prefix, sys.base_prefix, *map(str, (LIBRARY, RUNNER, *RECORDER))}
    for path in sorted(os.path.abspath(path) for path in paths if not path.startswith("/usr/")):
        for parent in reversed(Path(path).parents[:-1]):  # which all may pass
            made += ["--perms", "0755", "--dir", str(parent)]
        made += ["--ro-bind", path, path]
    for name in ("MPLCONFIGDIR", "IPYTHONDIR"):
        made += ["--perms", "1777", "--dir", environment()[name]]
    if walls.fonts:
        to = f"{environment()['MPLCONFIGDIR']}/{Path(walls.fonts).name}"
        made += ["--ro-bind", walls.fonts, to]
    # What bubblewrap made itself lies in memory without a limit.
    made += ["--proc", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    # Nothing of the instructor's environment comes in, not even as far as bubblewrap.
    return ["env", "-i", *(f"{k}={v}" for k, v in environment().items()), *made, "--", *inner]


def environment():
    """Return the environment of the sandbox: nothing of the instructor's own is in it."""
    fixed = {name: os.path.join("/tmp", folder) for name, folder in HOMES.items()}
    fixed |= {f"{n}_NUM_THREADS": "1" for n in ("OMP", "OPENBLAS", "MKL")}
    fixed |= {"USER": "student", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    fixed |= {"PYTHONPATH": f"{LIBRARY.parent}{os.pathsep}{HERE.parent}"}
    fixed |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    return fixed | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


# Control groups


def _scope(limits):
    """Return the command that lets systemd make a control group."""
    user = [] if os.geteuid() == 0 else ["--user"]
    wanted = {"MemoryMax": limits.together, "MemorySwapMax": 0, "TasksMax": 4 * limits.processes}
    options = [f"-p{name}={value}" for name, value in wanted.items()]
    return ["systemd-run", *user, "--scope", "--quiet", "--collect", *options]


@contextlib.contextmanager
def _group(name, limits):
    """Give the folders of a new control group with our limits; none if we may not make one."""
    name, made, top = f"coursework-{os.getpid()}-{name}", [], Path("/sys/fs/cgroup")
    limit, tasks = str(limits.together), str(4 * limits.processes)
    with contextlib.suppress(OSError):
        own = dict(x.split(":", 2)[1:] for x in Path("/proc/self/cgroup").read_text().splitlines())
        wanted = {"": {"memory.max": limit, "memory.swap.max": "0", "pids.max": tasks}}
        if "memory" in own:  # the first version of control groups
            wanted = {"memory": {"memory.limit_in_bytes": limit}, "pids": {"pids.max": tasks}}
        for part, values in wanted.items():
            made.append(top / part / own[part].strip("/") / name)
            made[-1].mkdir()
            for file, value in values.items():
                (made[-1] / file).write_text(value)
    try:
        yield made if made and (made[0] / "cgroup.procs").exists() else []
    finally:
        for folder in [folder for folder in made if folder.is_dir()]:
            _remove(folder)


def _remove(folder):
    """Kill what is left in a control group, and remove it."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
            return
        time.sleep(0.05)


def _ran_out(folders):
    """Tell whether the machine's kernel has killed for memory in a control group."""
    names = ("memory.events", "memory.oom_control")
    files = [folder / name for folder in folders for name in names]
    words = [line.split() for f in files if f.exists() for line in f.read_text().splitlines()]
    return any(name == "oom_kill" and count != "0" for name, count in words)


# Running


def run(cells, tasks, hidden, walls, limits, worker=0):
    """Run cells in a sandbox and return what came out of it.

    Parameters
    ----------
    cells : list of dict
        Each with `id` and `source`.
    tasks : dict
        (assignment, part) → what `engine.asked` gives: all that is known of the tasks inside.
    hidden : list
        What `engine.record_hidden` takes: sent in when all cells have run, not before.
    walls : Walls
        From `choose`.
    limits : Limits
    worker : int
        The number of this worker; workers that run at the same time need different ones.

    Returns
    -------
    Outcome
    """
    job = {"cells": cells, "uid": _uid(worker), "limits": limits._asdict()}
    first = json.dumps(job | {"tasks": base64.b64encode(pickle.dumps(tasks)).decode()}).encode()
    last = base64.b64encode(pickle.dumps(hidden))
    with _group(str(worker), limits) as groups:
        inner = command(walls, limits, [sys.executable, "-sP", str(RUNNER)])
        if groups:
            files = " ".join(f"'{folder}/cgroup.procs'" for folder in groups)
            enter = f'for f in {files}; do echo $$ > "$f" || exit 1; done; exec "$@"'
            inner = ["/bin/sh", "-c", enter, "sh", *inner]
        elif walls.group == "systemd":
            inner = [*_scope(limits), *inner]
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE) | {"stderr": subprocess.DEVNULL}
        with subprocess.Popen(inner, **pipes, start_new_session=True) as process:
            try:
                data, stopped = _talk(process, first, last, limits, bool(groups))
                stopped = "memory" if _ran_out(groups) else stopped
            finally:
                with contextlib.suppress(ProcessLookupError):  # bubblewrap takes all with it
                    os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(OSError):
                    process.stdin.close()
    events, _, asked = data.partition(ASKS)
    found = [event["hidden"] for event in _events(asked) if "hidden" in event]
    return Outcome(_events(events), found[0] if found else [], stopped)


def _events(data):
    """Return the lines that are JSON objects."""
    found = []
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [event for event in found if isinstance(event, dict)]


def _talk(process, first, last, limits, counted):
    """Give the runner its job, and `last` when it asks; read until it ends or uses too much.

    Returns all that it wrote, and why it was stopped.
    """
    deadline, data, asked = time.monotonic() + limits.total, bytearray(), False
    cell = look = time.monotonic()
    _tell(process, first)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=LOOK_EVERY):
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    return data, ""
                data += block
                cell = time.monotonic()
                if not asked and data.endswith(ASKS):
                    asked = True
                    _tell(process, last)
            if len(data) > 8 * limits.output:
                return data, "output"
            if time.monotonic() > min(deadline, cell + limits.cell):
                return data, "time"
            if time.monotonic() > look + LOOK_EVERY:
                look = time.monotonic()
                if why := _too_much(process.pid, limits, counted):
                    return data, why


def _tell(process, line):
    with contextlib.suppress(OSError):
        process.stdin.write(line + b"\n")
        process.stdin.flush()


def _too_much(pid, limits, counted):
    """Return what all processes of a submission use too much of together.

    Memory is looked at only where no control group counts it.
    """
    total = 0
    with contextlib.suppress(psutil.Error):
        family = psutil.Process(pid).children(recursive=True)
        if len(family) > limits.processes // 2:
            return "processes"
        for child in [] if counted else family:
            with contextlib.suppress(psutil.Error):  # it is gone
                total += child.memory_full_info().pss
    return "memory" if total > limits.together else ""
