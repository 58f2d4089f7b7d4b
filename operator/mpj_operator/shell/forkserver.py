"""A process that forks ``python -m module`` commands: ``python -m mpj_operator.shell.forkserver``.

It loads the modules that every step needs once, and what an order names besides before the first
fork that asks for it. It stays single-threaded, so that a fork is safe and costs milliseconds. It
reads one JSON object a line from its input, writes one a line to its output when a command has
started (id, pid), when it has ended (id, code) and when this process may not fork it (id, refused),
and ends with its input. The standard library's fork server is not used: it imports the parent's
main module again in every child, and its children keep it alive when the parent is killed.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

PRELOADED: Final = ("mpj_runner.runner", "mpj_runner.stores.overlay", "argparse", "logging")
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Serve until the input ends; the children end with this process."""
    die_with_parent()
    for name in PRELOADED:
        importlib.import_module(name)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    running: dict[int, int] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(running)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _start(json.loads(line), running)


def _start(order: Mapping[str, Any], running: dict[int, int]) -> None:
    if not _loaded(order["modules"], order["log"]):
        _tell({"id": order["id"], "refused": 1})
        return
    pid = os.fork()
    if pid == 0:
        _become(order)
    running[pid] = order["id"]
    _tell({"id": order["id"], "pid": pid})


def _loaded(modules: Sequence[str], log: str) -> bool:
    """Load modules; tell whether a fork is still safe with them.

    What cannot be loaded is refused too: the process that loads it by itself tells why.
    """
    missing = [name for name in modules if name not in sys.modules]
    if missing:
        with _output_to(log), contextlib.suppress(Exception):
            for name in missing:
                importlib.import_module(name)
        gc.freeze()  # the collector of a child leaves these objects alone, so their pages stay one
    return not modules or (all(name in sys.modules for name in modules) and _forkable())


def _forkable() -> bool:
    """Tell whether a child is whole: a fork takes along no other thread and no CUDA context."""
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    torch = sys.modules.get("torch")
    return threads == 1 and not (torch is not None and torch.cuda.is_initialized())


@contextlib.contextmanager
def _output_to(log: str) -> Iterator[None]:
    """Send what modules say while they are loaded to the log of the command that needs them."""
    kept = os.dup(1), os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        for number in (1, 2):
            os.dup2(file, number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(file)


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        number = running.pop(pid, None)  # None: a process that a module left behind
        if number is not None:
            _tell({"id": number, "code": os.waitstatus_to_exitcode(status)})


def _tell(message: Mapping[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _become(order: Mapping[str, Any]) -> None:
    """Be the process that a fresh ``python -m module arguments`` would be."""
    code = 1
    try:
        os.setsid()
        die_with_parent()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        tempfile.tempdir = None  # a module may have asked for it while it was loaded
        sys.argv = order["words"]
        runpy.run_module(order["words"][0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # the edge of a process: what Python itself would print
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a full disk, or a closed stream
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
    os._exit(0)  # no finalizers of what was loaded: lief's report what it leaks
