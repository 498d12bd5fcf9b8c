"""Walls around a student's code: bubblewrap where there is one, else what the machine offers."""

import base64
import contextlib
import functools
import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import coursework
import overparam

RUNNER = Path(__file__).with_name("runner.py")
LIBRARY, HERE = Path(overparam.__file__).parent, Path(coursework.__file__).parent
RECORDER = [HERE / f"{name}.py" for name in ("__init__", "engine", "answers")]
FIRST_UID = 61001  # one for each worker, so that limits on processes count for each alone
MEGABYTE = 1 << 20
LOOK_EVERY = 0.3  # seconds between two looks at time, memory and processes

KINDS = ("bubblewrap", "limits")
WALLS = {
    "bubblewrap": "bubblewrap; no network, no files but Python's own. Not kept in: what breaks the "
    "machine's kernel",
    "limits": "limits only, no walls. Not kept in: what reads or changes your files, other "
    "submissions and grades among them, uses the network, or leaves processes behind",
}
BUS = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
UNCOUNTED = "no control group: memory that no process maps is not counted"


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
        """Memory of all processes: the runner's and what lies on the sandbox's disk come on top."""
        return self.memory + 100 * MEGABYTE + self.disk


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
    if wanted == "limits" or (wanted in ("auto", "bubblewrap") and works()):
        return wanted if wanted != "auto" else "bubblewrap"
    if wanted != "auto":
        raise ValueError(f"the sandbox {wanted!r} does not work on this machine")
    if os.geteuid() == 0:
        raise ValueError(
            "no sandbox works here, and students' code must not run as root: install bubblewrap, "
            "or run as another user, or in a container with --sandbox limits"
        )
    return "limits"


def described(kind, short=False):
    """Return words for the walls, and for what they do not keep in."""
    words = UNCOUNTED if group_kind() == "none" else "control group"
    return f"{kind}, {words}" if short else f"{WALLS[kind]}; {words}"


@functools.cache
def works():
    """Tell whether bubblewrap is here and allowed, and runs Python in it."""
    uid = _uid("bubblewrap", 0)
    become = f"os.setgroups([]); os.setresuid({uid}, {uid}, {uid})" if uid else ""
    # What the runner does first, without the time that a kernel takes.
    test = f"import os\n{become}\nimport nbclient, overparam, coursework"
    inner = command("bubblewrap", Limits(), [sys.executable, "-s", "-P", "-c", test])
    return _runs(inner, env=environment("/tmp"))


def _runs(inner, **options):
    try:
        return subprocess.run(inner, capture_output=True, timeout=600, **options).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _uid(kind, worker):
    """Return the user id that a worker's runner takes; None for none."""
    return FIRST_UID + worker if os.geteuid() == 0 and kind != "limits" else None


def command(kind, limits, inner):
    """Return the command that runs `inner` in a sandbox of this kind."""
    if kind != "bubblewrap":
        return inner
    walls = "bwrap --unshare-net --unshare-pid --unshare-ipc --unshare-uts --die-with-parent"
    # As root: a real user id, taken by the runner, which the limits on processes count by.
    root = "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID"
    walls = f"{walls} --new-session {root if os.geteuid() == 0 else '--unshare-user'}".split()
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
    walls += _bind(_shown())  # last: they may lie in /tmp
    # What bubblewrap made itself lies in memory without a limit.
    walls += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    return [*walls, "--", *inner]


def _shown():
    """Return what the sandbox sees: Python, the library, the recorder (no judge), the fonts."""
    paths = {sys.prefix, sys.base_prefix, *map(str, (LIBRARY, RUNNER, *RECORDER))}
    paths |= {font_list()} - {None}
    return sorted(os.path.abspath(path) for path in paths if not path.startswith("/usr/"))


def _bind(paths):
    """Return the arguments that show `paths`, with folders above them that all may pass."""
    arguments, made = [], set()
    for path in paths:
        for parent in reversed(Path(path).parents[:-1]):
            inside = any(parent.is_relative_to(p) for p in paths)
            if parent not in made and not inside:
                arguments += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        arguments += ["--ro-bind", path, path]
    return arguments


@functools.cache
def font_list():
    """Return the path of matplotlib's list of fonts, which is slow to make; None if not there."""
    import matplotlib
    from matplotlib import font_manager

    name = f"fontlist-v{font_manager.FontManager.__version__}.json"
    path = Path(matplotlib.get_cachedir()) / name
    return str(path) if path.exists() else None


def environment(home):
    """Return the environment of the sandbox: nothing of the instructor's own is in it."""
    folders = {"HOME": "home", "TMPDIR": ".", "MPLCONFIGDIR": ".mpl", "IPYTHONDIR": ".ipython"}
    folders |= {f"JUPYTER_{name}_DIR": ".jupyter" for name in ("RUNTIME", "DATA", "CONFIG")}
    folders |= {"OVERPARAM_TASKS": "tasks"}
    fixed = {name: os.path.join(home, folder) for name, folder in folders.items()}
    fixed |= {f"{n}_NUM_THREADS": "1" for n in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
    fixed |= {"USER": "student", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    fixed |= {"PYTHONPATH": f"{LIBRARY.parent}{os.pathsep}{HERE.parent}"}
    fixed |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return fixed | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}


@contextlib.contextmanager
def _folder(kind):
    """Give the folder in which the code runs: inside bubblewrap a fresh /tmp of its own."""
    if kind == "bubblewrap":
        yield "/tmp"
        return
    with tempfile.TemporaryDirectory(prefix="overparam-", ignore_cleanup_errors=True) as folder:
        yield folder


# Control groups


@functools.cache
def group_kind():
    """Return what can count the memory of all that a submission does: cgroup, systemd or none."""
    with _group("probe", Limits()) as folders:
        if folders:
            return "cgroup"
    return "systemd" if _runs([*_scope(Limits()), "true"]) else "none"


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
        for folder in filter(Path.is_dir, made):
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
    files = [
        folder / name for folder in folders for name in ("memory.events", "memory.oom_control")
    ]
    texts = [file.read_text() for file in files if file.exists()]
    return any(line.split()[0] == "oom_kill" and line.split()[1] != "0"
               for text in texts for line in text.splitlines())  # fmt: skip


# Running


def run(cells, tasks, hidden, kind, limits, *, worker=0, seconds=None):
    """Run cells in a sandbox and return what came out of it.

    Parameters
    ----------
    cells : list of dict
        Each with `id` and `source`.
    tasks : dict
        (assignment, part) → what `engine.asked` gives: all that is known of the tasks inside.
    hidden : list
        What `engine.record_hidden` takes: sent in when all cells have run, not before.
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
    uid = _uid(kind, worker)
    job = {"cells": cells, "uid": uid, "fonts": font_list(), "limits": limits._asdict()}
    job["tasks"] = base64.b64encode(pickle.dumps(tasks)).decode()
    if uid is None:
        # The machine counts all processes of a user together: ours are there already.
        job["limits"]["processes"] += _threads_of_ours()
    text = base64.b64encode(pickle.dumps(hidden)).decode()
    last = "import base64, pickle\nfrom coursework import engine\n"
    last += f"engine.record_hidden(pickle.loads(base64.b64decode({text!r})))"
    with _folder(kind) as home, _group(str(worker), limits) as groups:
        inner, bus = command(kind, limits, [sys.executable, "-I", str(RUNNER)]), {}
        if groups:
            files = " ".join(f"'{folder}/cgroup.procs'" for folder in groups)
            enter = f'for f in {files}; do echo $$ > "$f" || exit 1; done; exec "$@"'
            inner = ["/bin/sh", "-c", enter, "sh", *inner]
        elif group_kind() == "systemd":
            bus = {name: os.environ.get(name, "") for name in BUS}
            inner = [*_scope(limits), "env", *(f"-u{name}" for name in BUS), *inner]
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE) | {"stderr": subprocess.DEVNULL}
        options = {"env": environment(home) | bus, "cwd": home, "start_new_session": True}
        with subprocess.Popen(inner, **pipes, **options) as process:
            try:
                seconds = limits.total if seconds is None else seconds
                events, stopped = _talk(process, job, {"source": last}, seconds, limits)
                stopped = "memory" if _ran_out(groups) else stopped
            finally:
                _end(process)
    return Outcome(events, stopped)


def _threads_of_ours():
    import psutil

    found = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += process.num_threads() * (process.uids().real == os.getuid())
    return found


def _talk(process, job, last, seconds, limits):
    """Give the runner its job, and `last` when it asks; read until it ends or uses too much.

    Returns its events, the lines that are JSON objects, and why it was stopped.
    """
    deadline, look = time.monotonic() + seconds, 0.0
    data, asked, stopped = bytearray(), False, ""
    _tell(process, job)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not stopped:
            if selector.select(timeout=LOOK_EVERY):
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    break
                data += block
                if not asked and data.endswith(b'{"asks": true}\n'):
                    asked = True
                    _tell(process, last)
            if len(data) > 32 * limits.output:
                stopped = "output"
            elif time.monotonic() > deadline:
                stopped = "time"
            elif time.monotonic() > look:
                look = time.monotonic() + LOOK_EVERY
                stopped = _too_much(process.pid, limits)
    events = []
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            events.append(json.loads(line))
    return [event for event in events if isinstance(event, dict)], stopped


def _tell(process, message):
    with contextlib.suppress(OSError):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _too_much(pid, limits):
    """Return what all processes of a submission use too much of together."""
    found = _family(pid)
    if len(found) > limits.processes // 2:
        return "processes"
    # Forked processes share most of what they have: only if the quick sum is too much is it
    # looked at who holds what. A control group counts better, if there is one.
    for memory in (lambda p: p.memory_info().rss, lambda p: p.memory_full_info().pss):
        total = 0
        for child in found:
            with contextlib.suppress(Exception):  # it is gone, or not ours to look at
                total += memory(child)
        if total <= limits.together:
            return ""
    return "memory"


def _family(pid):
    import psutil

    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _end(process):
    """Kill all that is left. With bubblewrap the machine's kernel does it."""
    left = _family(process.pid)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for child in left:
        with contextlib.suppress(Exception):
            child.kill()
    process.wait()
    with contextlib.suppress(OSError):
        process.stdin.close()
