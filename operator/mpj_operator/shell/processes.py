"""A container's command as a process group that never outlives whoever started it.

``python -m module`` is forked from a server that has the runner's light modules loaded: a job
starts some fifty containers, and most of a cached one's time would be imports. Any other command is
started as usual. Both ways give the same process: own session, own environment, output to a file.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpj_operator.shell.forkserver import die_with_parent

GRACE_SECONDS = 5.0


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


@dataclass
class Processes:
    """Starts commands; one for each event loop, to be closed at its end."""

    _server: asyncio.subprocess.Process | None = None
    _reader: asyncio.Task[None] | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _started: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _ended: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _number: int = 0

    async def execute(self, command: Command) -> int:
        """Run a command to its end; return its exit code, 128 + n when signal n ended it.

        On cancellation its whole process group is ended: SIGTERM, then SIGKILL.
        """
        forked = command.words[:2] == ("python", "-m")
        pid, ended = await (self._fork(command) if forked else _spawn(command))
        try:
            code = await asyncio.shield(ended)
        except asyncio.CancelledError:
            _signal_group(pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), GRACE_SECONDS)
            raise
        finally:
            _signal_group(pid, signal.SIGKILL)
        return 128 - code if code < 0 else code

    async def close(self) -> None:
        """End the server; whatever it forked ends with it."""
        server, reader = self._server, self._reader
        if server is None or reader is None:
            return
        if server.stdin is not None:
            server.stdin.close()
        await server.wait()
        await reader

    async def _fork(self, command: Command) -> tuple[int, asyncio.Future[int]]:
        server = await self._running()
        loop = asyncio.get_running_loop()
        self._number += 1
        number = self._number
        started, ended = loop.create_future(), loop.create_future()
        self._started[number], self._ended[number] = started, ended
        order = {
            "id": number,
            "words": command.words[2:],
            "environment": dict(command.environment),
            "folder": str(command.folder),
            "log": str(command.log),
        }
        if server.stdin is None:
            raise RuntimeError("the fork server has no input")
        server.stdin.write(json.dumps(order).encode() + b"\n")
        return await started, ended

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "mpj_operator.shell.forkserver",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )
                self._reader = asyncio.create_task(self._read(self._server))
            return self._server

    async def _read(self, server: asyncio.subprocess.Process) -> None:
        """Hand on what the server tells; when it is gone, so are its children.

        Whatever ended it, the out-of-memory killer for one: the next command starts another.
        """
        if server.stdout is None:
            return
        async for line in server.stdout:
            message = json.loads(line)
            if "pid" in message:
                self._started.pop(message["id"]).set_result(message["pid"])
            else:
                self._ended.pop(message["id"]).set_result(message["code"])
        self._server = self._reader = None
        for future in (*self._started.values(), *self._ended.values()):
            if not future.done():
                future.set_result(-signal.SIGKILL)
        self._started.clear()
        self._ended.clear()


async def _spawn(command: Command) -> tuple[int, asyncio.Future[int]]:
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
            preexec_fn=die_with_parent,
        )
    return process.pid, asyncio.ensure_future(process.wait())


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group > 1:
            os.killpg(group, number)
