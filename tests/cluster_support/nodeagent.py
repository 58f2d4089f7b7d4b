"""A node without containers: it runs the pods that are bound to it as processes.

It is to the API server what a kubelet is: a Node with a Lease, pods watched by spec.nodeName, their
statuses, deletion with grace. Tests run it in a thread: ``node``.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from answers import Answers
from controlplane import ControlPlane
from faults import Faults
from nodeapi import ApiError, NodeApi
from nodepod import NodePod
from podspec import Resolver
from podstatus import ADDRESS, now

from mpj_operator.shell.processes import Processes

Json = dict[str, Any]
_LEASE_SECONDS: Final = 40
_HEARTBEAT_SECONDS: Final = 2.0
_PATIENCE: Final = 100
"""Tenths of a second."""
_PODS: Final = "/api/v1/pods"


@dataclass(frozen=True)
class Hardware:
    """What a node says that it has."""

    gpus: int = 1
    product: str = "NVIDIA-H100-80GB-HBM3"
    cpus: int = 64
    memory: str = "256Gi"
    pods: int = 500

    @property
    def capacity(self) -> dict[str, str]:
        found = {"cpu": str(self.cpus), "memory": self.memory, "pods": str(self.pods),
                 "ephemeral-storage": "1Ti"}  # fmt: skip
        return {**found, "nvidia.com/gpu": str(self.gpus)} if self.gpus else found

    @property
    def labels(self) -> dict[str, str]:
        if not self.gpus:
            return {}
        return {
            "nvidia.com/gpu.product": self.product,
            "nvidia.com/gpu.count": str(self.gpus),
            "nvidia.com/gpu.present": "true",
        }


@dataclass
class NodeAgent:
    """One node. With ``answers`` it starts no process and makes up what the units find."""

    kubeconfig: Path
    """Of the user system:node:NAME in the group system:nodes."""
    name: str
    folder: Path
    """Holds pods/, logs/NAMESPACE/POD/CONTAINER.log and claims/NAMESPACE/CLAIM/."""
    hardware: Hardware = field(default_factory=Hardware)
    faults: Faults = field(default_factory=Faults)
    answers: Answers | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """What containers get besides what their image would say; nothing of the test's own."""
    entrypoints: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What images run where a pod names no command."""
    ready: threading.Event = field(default_factory=threading.Event, init=False)
    errors: list[BaseException] = field(default_factory=list, init=False)
    """Bugs of the node itself, met while it ran pods."""
    pods: dict[str, NodePod] = field(default_factory=dict, init=False)
    """Pods that live here, by uid."""
    api: NodeApi = field(init=False)
    processes: Processes = field(init=False)

    async def run(self) -> None:
        """Be a node until cancelled; its processes end with it, and it tells nobody."""
        self.processes = Processes()
        heartbeat: asyncio.Task[None] | None = None
        async with NodeApi.of(self.kubeconfig) as self.api:
            try:
                await self._register()
                heartbeat = asyncio.create_task(self._heartbeat())
                await self._follow()
            finally:
                tasks = [pod.task for pod in self.pods.values()]
                tasks += [heartbeat] if heartbeat else []
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.processes.close()

    @property
    def resolver(self) -> Resolver:
        claims = self.folder / "claims"
        return Resolver(self._read, self._token, claims, self.api.server, self.entrypoints)

    @property
    def base(self) -> dict[str, str]:
        """Return what every container's environment begins with."""
        server = self.api.server.removeprefix("https://").partition(":")
        given = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        service = {"KUBERNETES_SERVICE_HOST": server[0], "KUBERNETES_SERVICE_PORT": server[2]}
        return {**given, **service, **self.environment}

    async def _register(self) -> None:
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux",
                  "kubernetes.io/arch": "amd64", **self.hardware.labels}  # fmt: skip
        node = {"metadata": {"name": self.name, "labels": labels}}
        await self.api.insist("POST", "/api/v1/nodes", node)
        await self._tell()
        lease = {"metadata": {"name": self.name, "namespace": "kube-node-lease"},
                 "spec": self._lease()}  # fmt: skip
        await self.api.insist("POST", self._leases(), lease)
        self.ready.set()

    async def _tell(self) -> None:
        capacity = self.hardware.capacity
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady",
                     "message": "tests", "lastHeartbeatTime": now()}  # fmt: skip
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [condition],
            "addresses": [{"type": "InternalIP", "address": ADDRESS}],
        }
        await self.api.insist(
            "PATCH", f"/api/v1/nodes/{self.name}/status", {"status": status},
            content_type="application/strategic-merge-patch+json",
        )  # fmt: skip

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            await self.api.insist(
                "PATCH", self._leases(self.name), {"spec": self._lease()},
                content_type="application/merge-patch+json",
            )  # fmt: skip
            await self._tell()

    def _leases(self, *name: str) -> str:
        root = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        return "/".join([root, *name])

    def _lease(self) -> Json:
        return {
            "holderIdentity": self.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": now().replace("Z", ".000000Z"),
        }

    async def _follow(self) -> None:
        """List and watch the node's pods for ever."""
        mine = {"fieldSelector": f"spec.nodeName={self.name}"}
        while True:
            with contextlib.suppress(ApiError):
                listed = await self.api.call("GET", _PODS, **mine)
                there = {pod["metadata"]["uid"] for pod in listed["items"]}
                for uid in [uid for uid in self.pods if uid not in there]:
                    self._forget(uid)
                for pod in listed["items"]:
                    self._see(pod)
                version = listed["metadata"]["resourceVersion"]
                while True:
                    async for event in self.api.watch(_PODS, version, **mine):
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] == "DELETED":
                            self._forget(event["object"]["metadata"]["uid"])
                        elif event["type"] != "BOOKMARK":
                            self._see(event["object"])
            await asyncio.sleep(0.2)

    def _see(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        known = self.pods.get(uid)
        if known is None:
            self.pods[uid] = NodePod.start(self, pod)
        elif "deletionTimestamp" in pod["metadata"]:
            known.delete()

    def _forget(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            pod.task.cancel()

    async def _read(self, place: str, name: str) -> Json | None:
        """Read a Secret or ConfigMap."""
        try:
            return await self._soon("GET", f"/api/v1/namespaces/{place}/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _soon(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask for what a node may have only a moment after its pod was bound."""
        for _ in range(_PATIENCE):
            try:
                return await self.api.call(method, path, body)
            except ApiError as error:
                if error.status not in (0, 403, 429, 500, 503):
                    raise
            await asyncio.sleep(0.1)
        return await self.api.call(method, path, body)

    async def _token(self, pod: Json, source: Json) -> str:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName", "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"],
                 "uid": metadata["uid"]}  # fmt: skip
        audiences = [source["audience"]] if "audience" in source else []
        answer = await self._soon(
            "POST",
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token",
            {"spec": {"boundObjectRef": bound, "audiences": audiences,
                      "expirationSeconds": source.get("expirationSeconds", 3600)}},
        )  # fmt: skip
        return str(answer["status"]["token"])


@dataclass
class Node:
    """A node that runs in a thread of this process."""

    agent: NodeAgent
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.agent.name

    @property
    def faults(self) -> Faults:
        return self.agent.faults

    def start(self) -> None:
        """Return when the node is registered."""
        self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)
        self._thread.start()
        if not self.agent.ready.wait(30):
            raise RuntimeError(f"node {self.name} cannot register")

    def die(self) -> None:
        """End without a word, as a machine that loses power: processes too."""
        if self._thread is None or self._task is None:
            return
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(30)
        self._thread = None

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self.agent.run())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@contextmanager
def node(
    plane: ControlPlane,
    name: str = "gpu-0",
    *,
    hardware: Hardware | None = None,
    answers: Answers | None = None,
    environment: Mapping[str, str] | None = None,
    entrypoints: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Node]:
    """Run a node for the length of a block; its Node object is deleted afterwards."""
    kubeconfig = plane.kubeconfig_of(name, f"system:node:{name}", "system:nodes")
    agent = NodeAgent(
        kubeconfig, name, plane.folder / "nodes" / name, hardware or Hardware(),
        answers=answers, environment=environment or {}, entrypoints=entrypoints or {},
    )  # fmt: skip
    made = Node(agent)
    try:
        made.start()
        yield made
    finally:
        made.die()
        plane.api.delete(f"/api/v1/nodes/{name}")
        if agent.errors:
            raise BaseExceptionGroup(f"node {name}", agent.errors)
