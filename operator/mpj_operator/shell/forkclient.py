"""The asynchronous end of a fork server."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


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


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The server may not fork with the modules that were asked for."""


@dataclass
class ForkServer:
    """Starts ``python -m`` commands; for one event loop, to be closed at its end."""

    environment: Mapping[str, str] | None = None
    """Of the server; None: this process's own."""
    _server: asyncio.subprocess.Process | None = None
    _reader: asyncio.Task[None] | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _started: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _ended: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _number: int = 0

    async def fork(
        self, command: Command, modules: Sequence[str] = ()
    ) -> tuple[int, asyncio.Future[int]]:
        """Start a command with modules loaded already; return its pid and its exit code to come.

        Raises:
            Refused: they cannot be loaded, or what they started does not survive a fork.
        """
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
            "modules": list(modules),
        }
        if server.stdin is None:
            raise RuntimeError("the fork server has no input")
        server.stdin.write(json.dumps(order).encode() + b"\n")
        return await started, ended

    async def close(self) -> None:
        """End the server; whatever it forked ends with it."""
        server, reader = self._server, self._reader
        if server is None or reader is None:
            return
        with contextlib.suppress(ProcessLookupError):
            server.kill()  # it may be loading modules for seconds, and not look at its input
        await server.wait()
        await reader

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "mpj_operator.shell.forkserver",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # ModelOpt walks sets: with one seed of hashes its files are equal to the byte
                    env={**(self.environment or os.environ), "PYTHONHASHSEED": "0"},
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
            number = message["id"]
            if "refused" in message:
                del self._ended[number]
                _answer(self._started.pop(number), Refused())
            elif "pid" in message:
                started = self._started.pop(number)
                if started.cancelled():  # nobody waits for it any more, and it has just begun
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(message["pid"], signal.SIGKILL)
                _answer(started, message["pid"])
            else:
                _answer(self._ended.pop(number), message["code"])
        self._server = self._reader = None
        for future in (*self._started.values(), *self._ended.values()):
            _answer(future, -signal.SIGKILL)
        self._started.clear()
        self._ended.clear()


def _answer(future: asyncio.Future[int], answer: int | Refused) -> None:
    """Settle a future, unless whoever waited for it was cancelled."""
    if future.done():
        return
    if isinstance(answer, Refused):
        future.set_exception(answer)
    else:
        future.set_result(answer)
