"""A container's command as a process group that never outlives whoever started it.

``python -m module`` is forked from a server that has the runner's light modules loaded: a job
starts some fifty containers, and most of a cached one's time would be imports. A step that imports
ModelOpt and whose result is not in the store is forked from a second server that has it loaded:
7 to 16 seconds of processor time a container become some hundredths. Any other command is started
as usual. All ways give the same process: own session, own environment, output to a file.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mpj_operator.shell.forkclient import Command, ForkServer, Refused
from mpj_operator.shell.forkserver import die_with_parent
from mpj_runner.contract.errors import EXIT_MISS

GRACE_SECONDS: Final = 5.0

HEAVY: Final[Mapping[str, tuple[str, ...]]] = {
    "ptq": ("mpj_runner.steps.ptq", "modelopt.onnx.quantization"),
    "autocast": ("mpj_runner.steps.autocast",),
    "autoquant": ("mpj_runner.steps.autoquant",),
    "solve": ("mpj_runner.steps.solve",),
    "realize": ("mpj_runner.steps.realize",),
}
"""Steps that import for seconds, and what to load for them."""
_BUCKETS: Final = ("mpj_runner.stores.s3", "mpj_runner.stores.s3_source")
_MODELOPT_TORCH: Final = frozenset({"autoquant", "solve", "realize"})
_GPU: Final = Path("/dev/nvidiactl")

SINGLE_THREADED: Final[Mapping[str, str]] = {
    "ORT_DISABLE_TELEMETRY": "1",  # its uploader is a thread that starts with the import
    "OPENBLAS_NUM_THREADS": "1",  # numpy's pool starts with the import
}
"""What keeps a process that imports ModelOpt at one thread."""


@dataclass
class Processes:
    """Starts commands; one for each event loop, to be closed at its end."""

    _light: ForkServer = field(default_factory=ForkServer)
    _heavy: ForkServer | None = None
    _refused: set[str] = field(default_factory=set)

    async def execute(self, command: Command) -> int:
        """Run a command to its end; return its exit code, 128 + n when signal n ended it.

        On cancellation its whole process group is ended: SIGTERM, then SIGKILL.
        """
        if command.words[:2] != ("python", "-m"):
            return await _to_end(*await _spawn(command))
        step = self._heavy_step(command)
        if step is None:
            return await _to_end(*await self._fork_light(command))
        code = await self._look(command)
        return await self._run_heavy(step, command) if code == EXIT_MISS else code

    async def close(self) -> None:
        """End the servers; whatever they forked ends with them."""
        for server in (self._light, self._heavy):
            if server is not None:
                await server.close()

    def _heavy_step(self, command: Command) -> str | None:
        """Return the step that is worth the heavy server, or None.

        ModelOpt's PyTorch half asks a GPU for its properties while it is imported, and CUDA does
        not survive a fork.
        """
        step = command.words[3] if command.words[2:3] == ("mpj_runner",) else ""
        if step not in HEAVY or step in self._refused or "MPJ_PROBE" in command.environment:
            return None
        return None if step in _MODELOPT_TORCH and _GPU.exists() else step

    async def _look(self, command: Command) -> int:
        """Run a step that ends with EXIT_MISS at once unless the store has its result."""
        environment = {**command.environment, "MPJ_CACHED_ONLY": "1"}
        return await _to_end(*await self._fork_light(replace(command, environment=environment)))

    async def _fork_light(self, command: Command) -> tuple[int, asyncio.Future[int]]:
        try:
            return await self._light.fork(command, _stores(command))
        except Refused:
            return await self._light.fork(command)

    async def _run_heavy(self, step: str, command: Command) -> int:
        """Fork from the heavy server, if it lives in the same environment.

        Libraries read theirs, the number of threads for one, while they are loaded.
        """
        environment = _read_by_libraries(command.environment)
        if self._heavy is None:
            self._heavy = ForkServer(environment)
        if self._heavy.environment == environment:
            try:
                return await _to_end(
                    *await self._heavy.fork(command, HEAVY[step] + _stores(command))
                )
            except Refused:
                self._refused.add(step)
        return await _to_end(*await self._fork_light(command))


def _stores(command: Command) -> tuple[str, ...]:
    """Return what a container that reads or writes buckets imports for half a second."""
    return _BUCKETS if '"s3://' in command.environment.get("MPJ_REQUEST", "") else ()


def _read_by_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    own = {k: v for k, v in environment.items() if not k.startswith("MPJ_") and k != "TMPDIR"}
    return {**own, **SINGLE_THREADED}


async def _to_end(pid: int, ended: asyncio.Future[int]) -> int:
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
