"""What the Job controller does, for one batch/v1 Job on this computer.

Counts failures against backoffLimit, obeys podFailurePolicy on exit codes, and ends the Job at its
activeDeadlineSeconds.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mpj_operator.core.names import LABEL_ATTEMPT, LABEL_UNIT
from mpj_operator.core.observed import ChildSeen, PodSeen
from mpj_operator.shell.pods import Pod
from mpj_operator.shell.processes import Processes

BACKOFF_SECONDS = 1.0
"""Before the first retry; doubled for each further one (a cluster starts at 10)."""


@dataclass
class LocalJob:
    """One Job value and its pods."""

    manifest: Mapping[str, Any]
    folder: Path
    logs: Path
    changed: Callable[[], None]
    processes: Processes
    pods: list[Pod] = field(default_factory=list)
    outcome: Literal["Complete", "Failed"] | None = None
    reason: str = ""
    message: str = ""
    finished: datetime | None = None

    @property
    def name(self) -> str:
        """The Job's name."""
        return str(self.manifest["metadata"]["name"])

    async def run(self) -> None:
        """Run pods until the Job is Complete or Failed; its folders are removed at the end."""
        try:
            seconds = self.manifest["spec"].get("activeDeadlineSeconds")
            async with asyncio.timeout(seconds):
                await self._pods()
        except TimeoutError:
            self._finish("Failed", "DeadlineExceeded", "Job was active longer than its deadline")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def seen(self) -> ChildSeen:
        """Return the Job as the plan sees it."""
        labels = self.manifest["metadata"]["labels"]
        return ChildSeen(
            name=self.name,
            unit=labels[LABEL_UNIT],
            attempt=int(labels[LABEL_ATTEMPT]),
            outcome=self.outcome,
            reason=self.reason,
            message=self.message,
            finished=self.finished,
            deadline=self.manifest["spec"].get("activeDeadlineSeconds"),
            pods=tuple(self._pod_seen()),
        )

    def _pod_seen(self) -> list[PodSeen]:
        return [pod.seen for pod in self.pods]

    async def _pods(self) -> None:
        spec = self.manifest["spec"]
        limit = int(spec.get("backoffLimit", 6))
        for failures in range(limit + 1):
            if failures:
                await asyncio.sleep(BACKOFF_SECONDS * 2 ** (failures - 1))
            folder = self.folder / str(failures)
            folder.mkdir(parents=True)
            name = f"{self.name}-{failures}"
            template = spec["template"]["spec"]
            pod = Pod(name, template, folder, self.logs, self.changed, self.processes)
            self.pods.append(pod)
            code = await pod.run()
            if code == 0:
                self._finish("Complete", "CompletionsReached", "")
                return
            if self._fails_job(code):
                self._finish("Failed", "PodFailurePolicy", f"a container exited with {code}")
                return
        self._finish(
            "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        )

    def _fails_job(self, code: int) -> bool:
        for rule in self.manifest["spec"].get("podFailurePolicy", {}).get("rules", ()):
            codes = rule.get("onExitCodes")
            if codes and (code in codes["values"]) == (codes["operator"] == "In"):
                return bool(rule["action"] == "FailJob")
        return False

    def _finish(self, outcome: Literal["Complete", "Failed"], reason: str, message: str) -> None:
        self.outcome, self.reason, self.message = outcome, reason, message
        self.finished = datetime.now(UTC)
        self.changed()
