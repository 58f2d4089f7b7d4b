"""Run the pod of a batch/v1 Job value as processes of this computer.

Init containers in order, then the main one; an emptyDir is a folder, a termination log is a file.
The same executor, bound to a Node, runs the pods of the cluster tests.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpj_operator.core.observed import ContainerSeen, PodSeen

_PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 5.0


@dataclass
class Pod:
    """One pod: its spec, its folders, and what has become of it."""

    name: str
    spec: Mapping[str, Any]
    folder: Path
    """Holds the pod's emptyDirs and termination logs."""
    logs: Path
    """Receives one log file a container."""
    changed: Callable[[], None]
    """Called after every change of ``seen``."""
    seen: PodSeen = field(init=False)

    def __post_init__(self) -> None:
        """List the containers as waiting."""
        waiting = tuple(ContainerSeen(container["name"]) for container in self._containers())
        self.seen = PodSeen(self.name, containers=waiting, created=datetime.now(UTC))

    async def run(self) -> int:
        """Run the containers in order; return the first exit code that is not 0, else 0.

        On cancellation the running container's whole process group is ended: SIGTERM, then SIGKILL.
        """
        self._update(phase="Running", scheduled=datetime.now(UTC))
        for index, container in enumerate(self._containers()):
            self._container(index, state="running")
            code, message = await self._execute(container)
            reason = "Completed" if code == 0 else "Error"
            self._container(
                index, state="terminated", exit_code=code, reason=reason, message=message
            )
            if code:
                self._update(phase="Failed")
                return code
        self._update(phase="Succeeded")
        return 0

    def _containers(self) -> list[Mapping[str, Any]]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    async def _execute(self, container: Mapping[str, Any]) -> tuple[int, str]:
        last_words = self.folder / "termination" / container["name"]
        last_words.parent.mkdir(parents=True, exist_ok=True)
        last_words.write_bytes(b"")
        mounts = {
            mount["mountPath"]: self._volume(mount["name"])
            for mount in container.get("volumeMounts", ())
        }
        environment = {
            **os.environ,
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            **{item["name"]: _inside(item["value"], mounts) for item in container.get("env", ())},
            "MPJ_TERMINATION_LOG": str(last_words),
        }
        words = [*container["command"], *container.get("args", ())]
        words = [sys.executable if words[0] == "python" else words[0], *words[1:]]
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{container['name']}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            try:
                code = await process.wait()
            finally:
                await _end(process)
        return (128 - code if code < 0 else code), last_words.read_text(errors="replace")

    def _volume(self, name: str) -> Path:
        path = self.folder / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _update(self, **changes: Any) -> None:  # noqa: ANN401 - fields of PodSeen
        self.seen = replace(self.seen, **changes)
        self.changed()

    def _container(self, index: int, **changes: Any) -> None:  # noqa: ANN401 - of ContainerSeen
        containers = list(self.seen.containers)
        containers[index] = replace(containers[index], **changes)
        self._update(containers=tuple(containers))


def _inside(value: str, mounts: Mapping[str, Path]) -> str:
    """Translate a path inside the container to the folder that stands for the volume."""
    for mount_path, folder in mounts.items():
        if value == mount_path or value.startswith(f"{mount_path}/"):
            return f"{folder}{value[len(mount_path) :]}"
    return value


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the executor dies, however it dies."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what is left of a container's process group."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
