"""A container's command as a process group that never outlives whoever started it.

``python -m module`` is forked from a server that has the runner's light modules loaded, since a job
starts some fifty containers and most of a cached one's time would be imports. Any other command is
started as usual. Both ways give the same process: own session, own environment, output to a file.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PRELOADED = ("mpj_runner.runner", "mpj_runner.stores.overlay", "argparse", "logging")
GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Command:
    """What to run, and where."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole of it."""
    folder: Path
    """Working directory."""
    log: Path
    """Output is appended to it."""


async def execute(command: Command) -> int:
    """Run a command to its end; return its exit code, 128 + n when signal n ended it.

    On cancellation its whole process group is ended: SIGTERM, then SIGKILL.
    """
    code = await (_fork(command) if command.words[:2] == ("python", "-m") else _spawn(command))
    return 128 - code if code < 0 else code


async def _spawn(command: Command) -> int:
    program, *arguments = command.words
    with command.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable if program == "python" else program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=command.environment,
            cwd=command.folder,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        raise
    finally:
        _signal_group(process.pid, signal.SIGKILL)


async def _fork(command: Command) -> int:
    process = _server().Process(target=run_module, args=(command,), daemon=False)
    await asyncio.to_thread(process.start)
    try:
        await _ended(process)
    except asyncio.CancelledError:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_ended(process), GRACE_SECONDS)
        raise
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode if process.exitcode is not None else -signal.SIGKILL


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


async def _ended(process: ForkServerProcess) -> None:
    """Wait until a process is gone; its sentinel becomes readable then."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(process.sentinel, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(process.sentinel)


def run_module(command: Command) -> None:
    """Become ``python -m module arguments``: what the forked process does."""
    os.setsid()
    _die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(command.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.folder)
    _, _, module, *arguments = command.words
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, however it dies."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int | None, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group is not None:
            os.killpg(group, number)
