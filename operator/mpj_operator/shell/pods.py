"""Run the pod of a batch/v1 Job value as processes of this computer.

Init containers in order, then the main one; an emptyDir is a folder, a termination log is a file.
The same executor, bound to a Node, runs the pods of the cluster tests.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpj_operator.core.observed import ContainerSeen, PodSeen
from mpj_operator.core.pods import is_sealed
from mpj_operator.shell.forkclient import Command
from mpj_operator.shell.processes import Processes
from mpj_runner.contract.messages import MESSAGE_LIMIT

TMP = "/tmp"  # noqa: S108 - a pod's own volume there; here that path belongs to everyone


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
    processes: Processes
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """What every container gets before its own variables."""
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
        last_words.write_text(" " * MESSAGE_LIMIT)  # room for them, should the disk get full
        mounts = {
            mount["mountPath"]: self._volume(mount["name"])
            for mount in container.get("volumeMounts", ())
        }
        temporary = mounts.pop(TMP, None) or self._volume("tmp")
        environment = {
            **_without_credentials(self.environment, container),
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(temporary),
            **_variables(container, mounts),
            "MPJ_TERMINATION_LOG": str(last_words),
        }
        self.logs.mkdir(parents=True, exist_ok=True)
        command = Command(
            words=(*container["command"], *container.get("args", ())),
            environment=environment,
            folder=self.folder,
            log=self.logs / f"{container['name']}.log",
        )
        code = await self.processes.execute(command)
        text = last_words.read_text(errors="replace")
        return code, "" if text.isspace() else text

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


def _without_credentials(
    environment: Mapping[str, str], container: Mapping[str, Any]
) -> Mapping[str, str]:
    """Keep from a container that runs a user's code what a cluster would not give it either."""
    if not is_sealed(container):
        return environment
    return {k: v for k, v in environment.items() if not k.startswith(("AWS_", "MPJ_"))}


def _variables(container: Mapping[str, Any], mounts: Mapping[str, Path]) -> dict[str, str]:
    """Return a container's own variables.

    What comes from a Secret or a ConfigMap is left out: a computer has none, and a variable of that
    name in the environment of whoever runs this stands for it.
    """
    given = (item for item in container.get("env", ()) if "valueFrom" not in item)
    return {item["name"]: _inside(item.get("value", ""), mounts) for item in given}


def _inside(value: str, mounts: Mapping[str, Path]) -> str:
    """Translate a path inside the container to the folder that stands for the volume."""
    for mount_path, folder in mounts.items():
        if value == mount_path or value.startswith(f"{mount_path}/"):
            return f"{folder}{value[len(mount_path) :]}"
    return value
