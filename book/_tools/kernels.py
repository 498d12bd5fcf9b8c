"""Kernels that start at once: each is forked from a process that has imported the book's packages.

    kernels.use()    from now on jupyter_client starts Python's kernels like this

A kernel is a process of its own, and its notebook sees what it would see in a new one: modules
that nobody has used, and an empty namespace. What is saved is the time of the imports, three
quarters of a kernel's start. Where processes cannot be forked `use` does nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from importlib.metadata import EntryPoint

# What the kernel, the chapters' first cells and the library import.
PACKAGES = (
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "IPython.core.completer", "debugpy"),
    *("numpy", "scipy.integrate", "scipy.optimize", "scipy.stats", "sympy", "extensisq"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_svg", "PIL.PngImagePlugin"),
    *("ipywidgets", "myst_nb", "overparam.figures", "overparam.networks"),
)


class Child:
    """A forked kernel, with what jupyter_client asks of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> int | None:
        """Return None while the process lives (its parent, the server, buries it at once)."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def wait(self) -> int:
        """Return the exit status, which is not known, of a process that `poll` saw ended."""
        return 0

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)

    terminate = kill


class Server:
    """The process that is forked. It is started with the first kernel and ends with this one."""

    def __init__(self):
        self.lock, self.stream = threading.Lock(), None

    def fork(self, arguments: list[str], folder: str, environment: dict[str, str]) -> Child:
        """Return a new kernel, which reads `arguments` and begins in `folder`."""
        with self.lock:
            if self.stream is None:
                ours, theirs = socket.socketpair()
                command = [sys.executable, __file__, str(theirs.fileno())]
                subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
                theirs.close()
                self.stream = ours.makefile("rw")
            self.stream.write(json.dumps([arguments, folder, environment]) + "\n")
            self.stream.flush()
            return Child(int(self.stream.readline()))


def use() -> None:
    """Let jupyter_client fork its kernels."""
    if not hasattr(os, "fork") or sys.platform == "darwin":  # macOS's frameworks may not be forked
        return
    from jupyter_client.provisioning.factory import KernelProvisionerFactory

    sys.modules.setdefault("kernels", sys.modules[__name__])
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint("forked", "kernels:provisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"


def provisioner(**options: object) -> object:
    """Return what starts a kernel and watches it, for jupyter_client."""
    from jupyter_client.provisioning.local_provisioner import LocalProvisioner

    class Forked(LocalProvisioner):
        async def launch_kernel(self, cmd, *, cwd=None, env=None, **_):
            folder, environment = cwd or os.getcwd(), dict(os.environ if env is None else env)
            arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
            self.process = SERVER.fork(arguments, folder, environment)
            self.pid = self.pgid = self.process.pid
            return self.connection_info

    return Forked(**options)


SERVER = Server()


def serve(descriptor: int) -> None:
    """Import the packages; then fork a kernel for each line that comes, until none comes."""
    sys.path.pop(0)  # this folder: a kernel's path begins with its own
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # a kernel ends when this process has
    # Matplotlib looks for it when it is imported, and a kernel sets it later.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    for name in PACKAGES:
        try:
            __import__(name)
        except ImportError:  # the notebook that needs it will say so
            warnings.warn(f"{name} cannot be imported", stacklevel=1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the kernels
    stream = socket.socket(fileno=descriptor).makefile("rw")
    for line in stream:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.close(descriptor)
            become_kernel(*json.loads(line))
        stream.write(f"{pid}\n")
        stream.flush()


def become_kernel(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run a kernel until it is told to end."""
    from ipykernel import kernelapp

    os.environ.update(environment | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(folder)
    sys.argv = ["ipykernel_launcher", *arguments]
    try:
        kernelapp.launch_new_instance()
    finally:
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
