"""The operator as a process beside a control plane, and what a test asks of the pair."""

import os
import re
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane import ControlPlane
from nodeagent import Node
from rest import Json, path, polled
from s3server import free_port
from supervised import Supervised

MPJ = ("mixedprecision.dev/v1alpha1", "mixedprecisionjobs")
JOBS, PODS = ("batch/v1", "jobs"), ("v1", "pods")
OPERATORS = "operators"
"""The namespace of the operators' accounts."""
WRITING = frozenset({"create", "patch", "update", "delete", "deletecollection"})
_POD = re.compile(r"^(?P<job>.+)-[0-9a-f]{8}-[a-z0-9]{5}$")
IMAGE = "job@sha256:" + "0" * 64


def rights(namespace: str, name: str) -> list[Json]:
    """Return a ServiceAccount with what an operator of all namespaces may do, and nothing else."""
    rules = [
        {"apiGroups": ["mixedprecision.dev"], "resources": ["mixedprecisionjobs"],
         "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["mixedprecision.dev"], "resources": ["mixedprecisionjobs/status"],
         "verbs": ["patch"]},
        {"apiGroups": ["batch"], "resources": ["jobs"],
         "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list", "create"]},
    ]  # fmt: skip
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount",
         "metadata": {"name": name, "namespace": namespace}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name},
         "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
         "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
         "subjects": [subject]},
    ]  # fmt: skip


def lease_rights(namespace: str, name: str) -> list[Json]:
    """Return what an account needs besides to compete for Leases in its own namespace."""
    rbac = "rbac.authorization.k8s.io"
    place = {"name": f"{name}-leases", "namespace": namespace}
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "verbs": ["get", "create", "update", "patch"]}  # fmt: skip
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": place, "rules": [rule]},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": place,
         "roleRef": {"apiGroup": rbac, "kind": "Role", "name": place["name"]},
         "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]},
    ]  # fmt: skip


@dataclass
class OperatorProcess:
    """One operator."""

    process: Supervised
    port: int

    def start(self) -> None:
        self.process.start()

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()

    def await_ready(self, seconds: float = 30) -> None:
        for _ in polled(seconds):
            if self.get("/readyz")[0] == 200:
                return
        raise AssertionError(f"the operator is not ready: {self.process.last_words()}")

    def get(self, url: str) -> tuple[int, str]:
        """Ask one of its own pages; status 0: no answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{url}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def log(self) -> str:
        return self.process.last_words(1 << 20)


@contextmanager
def operator(
    plane: ControlPlane, kubeconfig: Path, *, start: bool = True, **settings: Any
) -> Iterator[OperatorProcess]:
    """Run an operator for the length of a block; settings are those of MPJ_OPERATOR_*."""
    given = {"image": IMAGE, "port": free_port(), "resync_seconds": 5, **settings}
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # the code of another checkout
        "HOME": str(plane.folder),
        "KUBECONFIG": str(kubeconfig),
        **{f"MPJ_OPERATOR_{key.upper()}": str(value) for key, value in given.items()},
    }
    log = plane.folder / f"operator-{given['port']}.log"
    words = [sys.executable, "-m", "mpj_operator"]
    running = OperatorProcess(Supervised(words, log, environment), int(given["port"]))
    try:
        if start:
            running.start()
            running.await_ready()
        yield running
    finally:
        running.process.stop()


@dataclass
class World:
    """A namespace with a node, and the jobs in it."""

    plane: ControlPlane
    namespace: str
    node: Node | None = None
    since: int = field(init=False)
    """Where the audit log was when the namespace was still empty."""

    def __post_init__(self) -> None:
        self.since = self.plane.audited()

    def apply(self, name: str = "demo", *, metadata: Json | None = None, **spec: Any) -> Json:
        """Create a job of two candidates; ``spec`` replaces members."""
        body = manifest(name, self.namespace, **spec)
        body["metadata"].update(metadata or {})
        return self.plane.api.create(path(MPJ, self.namespace), body)

    def patch(self, name: str = "demo", **spec: Any) -> Json:
        return self.plane.api.patch(path(MPJ, self.namespace, name), {"spec": spec})

    def get(self, name: str = "demo") -> Json | None:
        return self.plane.api.get(path(MPJ, self.namespace, name))

    def status(self, name: str = "demo") -> Json:
        return (self.get(name) or {}).get("status", {})

    def until(self, state: str, name: str = "demo", seconds: float = 60) -> Json:
        """Return a job's status once it is in a state."""
        for seen in polled(seconds, 0.1):
            seen.value = self.status(name)
            if seen.value.get("state") == state:
                return dict(seen.value)
        raise AssertionError(f"{name} is not {state} after {seconds:g} s: {shown(seen.value)}")

    def until_unit(
        self, unit: str, name: str = "demo", seconds: float = 60, **members: Any
    ) -> Json:
        """Return a unit's record once its members are as given."""
        record: Json = {}
        for _ in polled(seconds, 0.05):
            record = unit_of(self.status(name), unit)
            if all(record.get(key) == value for key, value in members.items()):
                return record
        raise AssertionError(f"{unit} does not come to {members}: {record}")

    def children(self, name: str | None = None) -> list[Json]:
        query = {"labelSelector": f"mixedprecision.dev/job={name}"} if name else {}
        return self.plane.api.items(path(JOBS, self.namespace), **query)

    def pods(self) -> list[Json]:
        return self.plane.api.items(path(PODS, self.namespace))

    def pods_per_unit(self) -> Counter[str]:
        """Count the pods that there ever were, by their Job's name less its digest."""
        return Counter(m["job"] for name in self.pod_names() if (m := _POD.match(name)))

    def pod_names(self) -> set[str]:
        """Return the names of all pods that there ever were (audit log)."""
        names = set()
        for event in self.plane.audit(self.since):
            about = event.get("objectRef", {})
            if about.get("resource") == "pods" and about.get("namespace") == self.namespace:
                names.add(about.get("name", ""))
        return names

    def calm(self, seconds: float = 3.0) -> int:
        """Return how many writes the operator makes while nothing happens.

        The Events that tell of what has just happened follow the status: they have a second.
        """
        time.sleep(1)
        before = self.plane.audited()
        time.sleep(seconds)
        return len(self.writes(before))

    def writes(self, since: int | None = None) -> list[Json]:
        """Return the audit events of what operators have written in this namespace.

        Args:
            since: see ``ControlPlane.audit``.
        """
        return [
            event
            for event in self.plane.audit(self.since if since is None else since)
            if event["verb"] in WRITING
            and event.get("objectRef", {}).get("namespace") == self.namespace
            and event["user"]["username"].startswith(f"system:serviceaccount:{OPERATORS}:")
        ]


def unit_of(status: Mapping[str, Any], unit: str) -> Json:
    """Return a unit's record; empty while there is none."""
    records = status.get("unitStatuses", ())
    return next((dict(record) for record in records if record["name"] == unit), {})


def condition(status: Mapping[str, Any], kind: str) -> Json:
    """Return a condition; empty while there is none."""
    found = (dict(c) for c in status.get("conditions", ()) if c["type"] == kind)
    return next(found, {})


def shown(status: Mapping[str, Any]) -> str:
    """Say what counts of a status, for a failed assertion."""
    units = [
        f"{r['name']}: {r.get('state')} attempt {r.get('attempt')} {r.get('reason', '')} "
        f"{r.get('message', '')}"
        for r in status.get("unitStatuses", ())
    ]
    kinds = [f"{c['type']}={c['status']} {c['reason']}: {c.get('message', '')}"
             for c in status.get("conditions", ())]  # fmt: skip
    return "\n".join([str(status.get("state")), *kinds, *units])


def manifest(name: str, namespace: str, **spec: Any) -> Json:
    """Return a small job."""
    return {
        "apiVersion": MPJ[0],
        "kind": "MixedPrecisionJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": "s3://bucket/model.onnx"},
            "calibration": {"uri": "s3://bucket/calibration", "format": "COCO"},
            "validation": {"uri": "s3://bucket/validation", "format": "COCO"},
            "target": {"backend": "openvino"},
            "candidates": [{"name": "int8", "ptq": {}}, {"name": "fp16", "autoCast": {}}],
            "storage": {"uri": "s3://bucket/store"},
            **spec,
        },
    }
