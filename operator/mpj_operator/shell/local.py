"""This computer as a cluster: batch/v1 Job values run as processes."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import JobStatus
from mpj_operator.core.actions import Action, Create, Delete
from mpj_operator.core.names import LABEL_UNIT
from mpj_operator.core.observed import Observed, Settings
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.jobs import LocalJob
from mpj_operator.shell.processes import Processes


class LocalCluster:
    """One job and its children; the job with its status is kept as DIR/status.yaml."""

    def __init__(
        self,
        job: MixedPrecisionJob,
        folder: Path,
        settings: Settings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep a job whose uid is set, in a folder of its own."""
        self.job = job
        self.folder = folder
        self.settings = settings
        self.changed = asyncio.Event()
        self._now = now
        self._processes = Processes()
        self._children: dict[str, LocalJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        shutil.rmtree(self._work, ignore_errors=True)

    @property
    def status_file(self) -> Path:
        """The resource as ``kubectl get -o yaml`` would show it."""
        return self.folder / "status.yaml"

    @property
    def _work(self) -> Path:
        return self.folder / "work"

    async def observe(self, key: Key) -> Observed | None:
        """See ``Cluster.observe``; what this computer could not do is raised here."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled():
                task.result()
        if key.name != self.job.metadata.name:
            return None
        children = tuple(child.seen() for child in self._children.values())
        return Observed(self.job, children, self._now().replace(microsecond=0), self.settings)

    async def perform(self, key: Key, action: Action) -> None:
        """See ``Cluster.perform``."""
        del key
        if isinstance(action, Create):
            self._create(action)
        elif isinstance(action, Delete):
            await self._delete(action.name)

    async def write_status(self, key: Key, before: MixedPrecisionJob, status: JobStatus) -> None:
        """See ``Cluster.write_status``."""
        del key, before
        self.job = self.job.model_copy(update={"status": status})
        write_yaml(self.status_file, self.job.to_json())

    async def close(self) -> None:
        """End every process and remove what only running pods need."""
        for name in list(self._tasks):
            await self._delete(name)
        await self._processes.close()
        shutil.rmtree(self._work, ignore_errors=True)

    def _create(self, action: Create) -> None:
        if action.name in self._children:
            return
        unit = action.job["metadata"]["labels"][LABEL_UNIT]
        child = LocalJob(
            action.job,
            self._work / action.name,
            self.folder / "logs" / unit,
            self.changed.set,
            self._processes,
        )
        self._children[action.name] = child
        task = asyncio.create_task(child.run(), name=action.name)
        task.add_done_callback(lambda _: self.changed.set())
        self._tasks[action.name] = task

    async def _delete(self, name: str) -> None:
        self._children.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.changed.set()


def write_yaml(path: Path, data: dict[str, Any]) -> None:
    """Replace a file by YAML at once, so that no reader sees half of it."""
    temporary = path.with_name(f".{path.name}.part")
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
