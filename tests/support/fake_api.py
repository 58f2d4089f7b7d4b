"""An API server in memory with one job, as far as a pass of the operator asks it."""

from datetime import UTC, datetime

from simulated import SETTINGS, Simulation, job

from mpj_operator.shell.cluster import Key
from mpj_operator.shell.kube.api import ApiError
from mpj_operator.shell.kube.cluster import KubernetesCluster
from mpj_operator.shell.kube.events import Events
from mpj_operator.shell.kube.seen import JOB_NAME

KEY = Key("vision", "demo")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO, JUST_NOW = "2026-11-24T11:00:00Z", "2026-11-24T11:59:58Z"
CLUSTER = {
    "model": {"uri": "s3://bucket/m.onnx"},
    "calibration": {"uri": "s3://bucket/c.tar", "format": "COCO"},
    "validation": {"uri": "s3://bucket/c.tar", "format": "COCO"},
    "storage": {"uri": "s3://bucket/out"},
}


class World:
    """An API with one job, its children and their events; ``refuse`` maps verbs to errors.

    The operator's watch has shown the versions that are in ``shown``.
    """

    def __init__(self, **spec):
        made = job(**{**CLUSTER, **spec})
        metadata = made.metadata.model_copy(update={"name": "demo", "namespace": "vision"})
        self.simulation = Simulation(made.model_copy(update={"metadata": metadata}))
        self.raw = self.simulation.job.to_json()
        self.raw["metadata"]["resourceVersion"] = "7"
        self.children, self.pods, self.events, self.refuse = [], [], [], {}
        self.asked, self.fields, self.shown = [], [], set()
        self.cluster = KubernetesCluster(
            self,
            SETTINGS,
            Events(self, "me"),
            is_newest=lambda uid, version: (uid, version) in self.shown,
            now=lambda: NOW,
        )

    def child(self, created=LONG_AGO, **status):
        """Add the first unit's Job as the plan makes it."""
        if not self.simulation.values:
            self.simulation.step()
        value = next(iter(self.simulation.values.values()))
        metadata = {**value["metadata"], "uid": "c-1", "creationTimestamp": created}
        self.children.append({"metadata": metadata, "spec": dict(value["spec"]), "status": status})
        return self.children[-1]

    def pod(self, scheduled, **status):
        """Give the child a pod that has its node since then."""
        (child,) = self.children
        metadata = {
            "name": "p", "uid": "p-1", "labels": {JOB_NAME: child["metadata"]["name"]},
            "ownerReferences": [{"uid": "c-1"}],
        }  # fmt: skip
        condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled}
        status = {"phase": "Pending", "conditions": [condition], **status}
        spec = child["spec"]["template"]["spec"]
        self.pods.append({"metadata": metadata, "spec": spec, "status": status})

    def event(self, note, at=LONG_AGO, reason="FailedCreate"):
        metadata = {"creationTimestamp": LONG_AGO}
        made = {"metadata": metadata, "deprecatedLastTimestamp": at, "note": note}
        self.events.append({**made, "reason": reason})

    async def get(self, path):
        self.asked.append(("GET", path, None))
        return self.raw

    async def list(self, path, *, selector="", fields=""):
        if path.endswith("/events"):
            self.fields.append(fields)
            if "LIST" in self.refuse:
                raise self.refuse["LIST"]
            return tuple(self.events)
        if not selector:
            return ()
        return tuple(self.children if path.endswith("/jobs") else self.pods)

    async def request(self, verb, path, body=None, **_):
        self.asked.append((verb, path, body))
        if verb in self.refuse:
            raise self.refuse[verb]
        return {**self.raw, **(body or {}), "metadata": {**self.raw["metadata"], "namespace": "v"}}

    def bodies(self, verb):
        return [body for v, _, body in self.asked if v == verb]


def error(status, reason="", message="words", retry_after=None):
    return ApiError(status, reason, message, retry_after)
