"""Walls around a student's code: bubblewrap where there is one, else what the machine offers."""

import contextlib
import functools
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import coursework
import overparam

PACKAGES = [Path(package.__file__).parent for package in (overparam, coursework)]
RUNNER = Path(__file__).with_name("runner.py")
FIRST_UID = 61001  # one for each worker, so that limits on processes count for each alone
MEGABYTE = 1 << 20
LOOK_EVERY = 0.3  # seconds between two looks at time, memory and processes

KINDS = ("bubblewrap", "user", "limits")
WALLS = {
    "bubblewrap": "bubblewrap; no network, no files but Python's own. Not kept in: what breaks the "
    "machine's kernel",
    "user": "another user id, no walls. Not kept in: what reads files that everybody may read, "
    "uses the network, or fills the disk with many files",
    "limits": "limits only, no walls. Not kept in: what reads or changes your files, other "
    "submissions and grades among them, uses the network, or leaves processes behind",
}


_running = set()  # processes of sandboxes, by all threads
stopping = threading.Event()  # set when a run is given up


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


class Outcome(NamedTuple):
    """What came out of the sandbox: a list of events, and why it was stopped, if it was."""

    events: list
    stopped: str


def choose(wanted="auto"):
    """Return the kind of sandbox to use: the wanted one, or the best that works here.

    Raises
    ------
    ValueError
        If the wanted one does not work here, or if nothing is left but to run students' code as
        root.
    """
    if wanted != "auto":
        if not works(wanted):
            raise ValueError(f"the sandbox {wanted!r} does not work on this machine")
        return wanted
    for kind in KINDS[:2]:
        if works(kind):
            return kind
    if os.geteuid() == 0:
        raise ValueError(
            "no sandbox works here, and students' code must not run as root: install bubblewrap, "
            "or run as another user, or in a container with --sandbox limits"
        )
    return "limits"


@functools.cache
def works(kind):
    """Tell whether a sandbox of this kind can be started and runs Python."""
    if kind == "bubblewrap" and shutil.which("bwrap") is None:
        return False
    if kind == "user" and os.geteuid() != 0:
        return False
    uid = _uid(kind, 0)
    # What the runner does first, without the time that a kernel takes.
    test = "import os, nbclient, overparam\n"
    if uid is not None:
        test = f"import os\nos.setgroups([])\nos.setresuid({uid}, {uid}, {uid})\n" + test
    with _folder(kind, uid) as home:
        begin = command(kind, Limits(), [sys.executable, "-s", "-P", "-c", test])
        try:
            found = subprocess.run(
                begin, env=environment(home, "nobody"), capture_output=True, timeout=60, cwd=home
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return found.returncode == 0


def _uid(kind, worker):
    """Return the user id that a worker's runner takes; None for none."""
    return FIRST_UID + worker if os.geteuid() == 0 and kind != "limits" else None


def command(kind, limits, inner):
    """Return the command that runs `inner` in a sandbox of this kind."""
    if kind != "bubblewrap":
        return inner
    walls = ["bwrap", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    walls += ["--die-with-parent", "--new-session"]
    if os.geteuid() == 0:
        # A real user id, taken by the runner, which the limits on processes count by.
        walls += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        walls += ["--unshare-user"]
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            walls += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            walls += ["--ro-bind", folder, folder]
    walls += ["--ro-bind", "/usr", "/usr"]
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "fonts", "localtime", "alternatives"):
        walls += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    size = ["--perms", "1777", "--size"]
    walls += ["--proc", "/proc", "--dev", "/dev", *size, str(limits.disk // 4), "--tmpfs"]
    walls += ["/dev/shm", *size, str(limits.disk), "--tmpfs", "/tmp"]
    walls += _bind(_python_folders())  # last: they may lie in /tmp
    # What bubblewrap made itself lies in memory without a limit.
    walls += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    return [*walls, "--", *inner]


def _python_folders():
    """Return the folders that Python and the library are in, and the list of fonts."""
    folders = {sys.prefix, sys.base_prefix, *map(str, PACKAGES)}
    fonts = font_list()
    if fonts is not None:
        folders.add(fonts)
    return sorted(os.path.abspath(f) for f in folders if not f.startswith("/usr/"))


def _bind(paths):
    """Return the arguments that show `paths`, with folders above them that all may pass."""
    arguments, made = [], set()
    for path in paths:
        for parent in reversed(Path(path).parents[:-1]):
            inside = any(str(parent).startswith(f"{p}/") or str(parent) == p for p in paths)
            if parent not in made and not inside:
                arguments += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        arguments += ["--ro-bind", path, path]
    return arguments


@functools.cache
def font_list():
    """Return the path of matplotlib's list of fonts, made if need be; None if there is none."""
    import matplotlib
    from matplotlib import font_manager

    path = Path(matplotlib.get_cachedir())
    name = f"fontlist-v{font_manager.FontManager.__version__}.json"
    return str(path / name) if (path / name).exists() else None


def environment(home, student):
    """Return the environment of the sandbox: nothing of the instructor's own is in it."""
    fixed = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": f"{home}/home",
        "TMPDIR": str(home),
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "IPYTHONDIR": f"{home}/.ipython",
        "JUPYTER_RUNTIME_DIR": f"{home}/.jupyter",
        "JUPYTER_DATA_DIR": f"{home}/.jupyter",
        "JUPYTER_CONFIG_DIR": f"{home}/.jupyter",
        "PYTHONPATH": os.pathsep.join(sorted({str(p.parent) for p in PACKAGES})),
        "USER": "student",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "OVERPARAM_GRADING": "1",
        "OVERPARAM_STUDENT": student,
    }
    threads = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")
    return fixed | {f"{name}_NUM_THREADS": "1" for name in threads}


@contextlib.contextmanager
def _folder(kind, uid):
    """Give the folder in which the code runs: inside bubblewrap a fresh /tmp of its own."""
    if kind == "bubblewrap":
        yield "/tmp"
        return
    folder = tempfile.mkdtemp(prefix="overparam-")
    try:
        if uid is not None:
            os.chown(folder, uid, uid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(cells, student, kind, limits, *, worker=0, seconds=None):
    """Run cells in a sandbox and return what came out of it.

    Parameters
    ----------
    cells : list of dict
        Each with `id` and `source`.
    student : str
        The id on the roster.
    kind : str
        From `choose`.
    limits : Limits
    worker : int
        The number of this worker; workers that run at the same time need different ones.
    seconds : float, optional
        What is left of the total time; by default all of it.

    Returns
    -------
    Outcome
        The runner's events, which are as untrusted as the code that ran beside it.
    """
    if stopping.is_set():
        return Outcome([], "given up")
    uid = _uid(kind, worker)
    seconds = limits.total if seconds is None else seconds
    fonts = font_list()
    job = {"cells": cells, "uid": uid, "fonts": fonts, "limits": limits._asdict()}
    if uid is None:
        # The machine counts all processes of a user together: ours are there already.
        job["limits"]["processes"] += _threads_of_ours()
    with _folder(kind, uid) as home:
        inner = [sys.executable, "-I", str(RUNNER)]
        process = subprocess.Popen(
            command(kind, limits, inner),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(home, student),
            cwd=home,
            start_new_session=True,
        )
        _running.add(process)
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(job).encode())
            data, stopped = _listen(process, seconds, limits)
        finally:
            _end(process, kind, uid)
            _running.discard(process)
    return Outcome(_events(data), stopped)


def _threads_of_ours():
    import psutil

    found = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == os.getuid():
                found += process.num_threads()
    return found


def stop_all():
    """End every sandbox that runs, and start no more until `stopping` is cleared."""
    stopping.set()
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _listen(process, seconds, limits):
    """Read what the runner writes until it ends or uses more than it may."""
    deadline = time.monotonic() + seconds
    most = 4 * limits.output * 8
    data = bytearray()
    look = time.monotonic() + LOOK_EVERY
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=LOOK_EVERY):
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    return bytes(data), ""
                data += block
            if len(data) > most:
                return bytes(data), "output"
            if time.monotonic() > deadline:
                return bytes(data), "time"
            if time.monotonic() > look:
                look = time.monotonic() + LOOK_EVERY
                if problem := _too_much(process.pid, limits):
                    return bytes(data), problem


def _too_much(pid, limits):
    """Return what all processes of a submission use too much of together."""
    import psutil

    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return ""
    if len(found) > limits.processes // 2:
        return "processes"
    # The runner is in these sums, beside the kernel. Forked processes share most of what they
    # have: only if the quick sum is too much is it looked at who holds what.
    most = limits.memory + 100 * MEGABYTE
    if _sum(found, lambda child: child.memory_info().rss) <= most:
        return ""
    return "memory" if _sum(found, lambda child: child.memory_full_info().pss) > most else ""


def _sum(processes, memory):
    total = 0
    for process in processes:
        with contextlib.suppress(Exception):  # it is gone, or not ours to look at
            total += memory(process)
    return total


def _end(process, kind, uid):
    """Kill all that is left. With bubblewrap the kernel of the machine does it."""
    import psutil

    left = []
    if kind != "bubblewrap":
        with contextlib.suppress(psutil.Error):
            left = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if kind == "user":
        left += [p for p in psutil.process_iter() if _belongs_to(p, uid)]
    for child in left:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.wait()
    process.stdout.close()


def _belongs_to(process, uid):
    import psutil

    try:
        return process.uids().real == uid
    except psutil.Error:
        return False


def _events(data):
    """Return the lines that are JSON objects; anything may stand there."""
    events = []
    for line in data.split(b"\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
