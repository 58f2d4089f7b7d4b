"""One pod on a node, from its binding until the API server has forgotten it."""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from answers import Answers
from faults import Ending, Faults, containers_of
from nodeapi import STRATEGIC, NodeApi
from podspec import NotYet, Resolver
from podstatus import PodRecord
from probes import probed, watch_readiness

from mpj_operator.core.observed import ContainerSeen, PodSeen
from mpj_operator.shell import pods
from mpj_operator.shell.processes import GRACE_SECONDS, Processes

log = logging.getLogger(__name__)
Json = dict[str, Any]
_TERMINAL: Final = ("Succeeded", "Failed")
_LOG_BYTES: Final = 2048
_MOMENT: Final = 0.02


class Host(Protocol):
    """What a pod needs of its node."""

    api: NodeApi
    processes: Processes
    folder: Path
    faults: Faults
    answers: Answers | None
    errors: list[BaseException]

    @property
    def resolver(self) -> Resolver: ...

    @property
    def base(self) -> dict[str, str]: ...


@dataclass
class NodePod:
    """A pod that lives on a node."""

    host: Host
    pod: Json
    seen: PodSeen = field(init=False)
    record: PodRecord = field(init=False)
    task: "asyncio.Task[None]" = field(init=False)
    _deleted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _dirty: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _closing: bool = field(default=False, init=False)

    @classmethod
    def start(cls, host: Host, pod: Json) -> "NodePod":
        """Begin a pod's life in the event loop that runs."""
        made = cls(host, pod)
        made.record = PodRecord(pod)
        made.seen = _remembered(pod)
        made.task = asyncio.create_task(made._live(), name=pod["metadata"]["name"])
        made.task.add_done_callback(made._ended)
        if "deletionTimestamp" in pod["metadata"]:
            made.delete()
        return made

    def delete(self) -> None:
        """End its processes, write its last status and let the API server forget it."""
        self._deleted.set()

    async def _live(self) -> None:
        if self.seen.phase not in _TERMINAL:
            publisher = asyncio.create_task(self._publish())
            work = asyncio.create_task(self._work())
            deleted = asyncio.create_task(self._deleted.wait())
            try:
                await asyncio.wait({work, deleted}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
                else:
                    await self._kill(work)
                self._closing = True
                self._dirty.set()
                await publisher
            finally:
                for task in (publisher, work, deleted):
                    task.cancel()
                await asyncio.gather(publisher, work, deleted, return_exceptions=True)
        await self._deleted.wait()
        metadata = self.pod["metadata"]
        await self.host.api.insist(
            "DELETE", self._path(), {"gracePeriodSeconds": 0,
                                     "preconditions": {"uid": metadata["uid"]}}
        )  # fmt: skip

    async def _work(self) -> None:
        if any("state" in c for c in self._reported()) and self.seen.phase == "Running":
            self._lost()
            return
        await self._images()
        endings = self.host.faults.of(self.pod)
        self.record.reasons = {name: ending.reason for name, ending in endings.items()}
        if self.host.answers is not None:
            await self._answer(self.host.answers, endings)
        else:
            await self._execute(endings)

    async def _images(self) -> None:
        while missing := [
            container["image"]
            for container in containers_of(self.pod["spec"])
            if container["image"] in self.host.faults.missing_images
        ]:
            self._wait("ImagePullBackOff", f'Back-off pulling image "{missing[0]}"')
            await asyncio.sleep(0.1)
        self._wait("", "")

    async def _answer(self, answers: Answers, endings: Mapping[str, Ending]) -> None:
        work = answers.begin(self.pod)
        done = False
        try:
            for index, one in enumerate(self.seen.containers):
                ending = {**work.endings, **endings}[one.name]
                if ending.after or work.held:
                    self._container(index, state="running")
                    self._saw(replace(self.seen, phase="Running"))
                    await asyncio.sleep(ending.after)
                while work.held:  # noqa: ASYNC110 - a thread of the test says so, not this loop
                    await asyncio.sleep(_MOMENT)
                self._container(
                    index, state="terminated", exit_code=ending.code, reason=ending.reason,
                    message=ending.message,
                )  # fmt: skip
                if ending.code:
                    self._saw(replace(self.seen, phase="Failed"))
                    return
            done = True
            self._saw(replace(self.seen, phase="Succeeded"))
        finally:
            work.end(done=done)

    async def _execute(self, endings: Mapping[str, Ending]) -> None:
        metadata = self.pod["metadata"]
        folder = self.host.folder / "pods" / metadata["uid"]
        folder.mkdir(parents=True)
        logs = self.host.folder / "logs" / metadata["namespace"] / metadata["name"]
        try:
            while True:
                try:
                    spec = await self.host.resolver.spec(self.pod, folder, endings)
                    break
                except NotYet as why:
                    self._wait(why.reason, str(why))
                    await asyncio.sleep(0.3)
            self._wait("", "")
            again = self.pod["spec"].get("restartPolicy") == "Always"
            while True:
                await self._run(spec, folder, logs, again=again)
                if not again:
                    return
                self.record.restarts += 1
                await asyncio.sleep(min(10.0, 0.5 * 2**self.record.restarts))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _run(self, spec: Json, folder: Path, logs: Path, *, again: bool) -> None:
        executor = pods.Pod(
            self.pod["metadata"]["name"], spec, folder, logs,
            lambda: self._executed(executor, logs, again=again),
            self.host.processes, {**self.host.base, "HOME": str(folder)},
        )  # fmt: skip
        self.record.unready = set(probed(self.pod["spec"]))
        probing = asyncio.create_task(watch_readiness(self.pod["spec"], self._probed))
        try:
            await executor.run()
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    def _probed(self, name: str, ready: bool) -> None:
        before = set(self.record.unready)
        (self.record.unready.discard if ready else self.record.unready.add)(name)
        if before != self.record.unready:
            self._saw(self.seen)

    def _executed(self, executor: pods.Pod, logs: Path, *, again: bool) -> None:
        """Take over what the executor saw; a silent failure's message is the end of its log."""
        seen = executor.seen
        if again and seen.phase in _TERMINAL:
            seen = replace(seen, phase="Running")
        containers = [
            replace(one, message=_last_lines(logs / f"{one.name}.log"))
            if one.exit_code and not one.message and _falls_back(spec)
            else one
            for one, spec in zip(seen.containers, containers_of(self.pod["spec"]), strict=True)
        ]
        self._saw(replace(seen, containers=tuple(containers)))

    async def _kill(self, work: "asyncio.Task[None]") -> None:
        """End a pod's processes: SIGTERM, then SIGKILL after five seconds at most."""
        began = asyncio.get_running_loop().time()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        lasted = asyncio.get_running_loop().time() - began
        self._lost(143 if lasted < GRACE_SECONDS else 137, "Error")

    def _lost(self, code: int = 137, reason: str = "ContainerStatusUnknown") -> None:
        """Say of what ran that it has ended by a signal."""
        for index, one in enumerate(self.seen.containers):
            if one.state == "running":
                self._container(index, state="terminated", exit_code=code, reason=reason)
        self._saw(replace(self.seen, phase="Failed"))

    def _wait(self, reason: str, message: str) -> None:
        """Say why the first container waits."""
        if self.seen.containers[0].state == "waiting":
            self._container(0, reason=reason, message=message)
            self._saw(self.seen)

    def _container(self, index: int, **changes: Any) -> None:
        containers = list(self.seen.containers)
        containers[index] = replace(containers[index], **changes)
        self.seen = replace(self.seen, containers=tuple(containers))

    def _saw(self, seen: PodSeen) -> None:
        self.seen = seen
        self.record.status(seen)  # remembers when
        self._dirty.set()

    async def _publish(self) -> None:
        """Write the status whenever it has changed, until the last one is written."""
        sent: Json | None = None
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            closing = self._closing
            status = self.record.status(self.seen)
            if status != sent:
                body = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
                await self.host.api.insist(
                    "PATCH", self._path("status"), body, content_type=STRATEGIC
                )
                sent = status
            if closing:
                return

    def _path(self, *more: str) -> str:
        metadata = self.pod["metadata"]
        root = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        return "/".join([root, *more])

    def _reported(self) -> list[Json]:
        status = self.pod.get("status", {})
        return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod of a test's node", exc_info=error)
            self.host.errors.append(error)


def _remembered(pod: Json) -> PodSeen:
    """Return what the API server knows of a pod: all, when its node has started again."""
    status = pod.get("status", {})
    listed = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    known = {one["name"]: one.get("state", {}) for one in listed}
    seen = []
    for container in containers_of(pod["spec"]):
        state = known.get(container["name"], {})
        ended = state.get("terminated")
        if ended is not None:
            words = {key: ended.get(key, "") for key in ("reason", "message")}
            seen.append(ContainerSeen(container["name"], "terminated", ended["exitCode"], **words))
        else:
            running = "running" if "running" in state else "waiting"
            seen.append(ContainerSeen(container["name"], running))
    return PodSeen(pod["metadata"]["name"], status.get("phase", "Pending"), tuple(seen))


def _falls_back(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("terminationMessagePolicy") == "FallbackToLogsOnError")


def _last_lines(file: Path) -> str:
    text = file.read_bytes()[-_LOG_BYTES:] if file.exists() else b""
    return "\n".join(text.decode(errors="replace").splitlines()[-80:])
