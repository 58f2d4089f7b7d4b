"""Jobs of every kind, the Job values of their units, and how to read those."""

from collections.abc import Mapping
from typing import Any

from simulated import Simulation, job

from mpj_operator.core import names

GPU = {
    "target": {"backend": "tensorrt"},
    "candidates": [
        {"name": "fp16", "autoCast": {}},
        {"name": "int8", "ptq": {}},
        {"name": "aq", "autoQuantize": {"effectiveBits": [9]}},
        {"name": "mine", "onnx": {"uri": "pvc://models/mine.onnx"}},
    ],
}
S3 = {
    "storage": {
        "uri": "s3://artifacts/x",
        "credentialsSecretRef": {"name": "store"},
        "caSecretRef": {"name": "ca"},
    },
    "model": {"uri": "s3://models/m.pt", "format": "torch", "factory": "m:build",
              "credentialsSecretRef": {"name": "models"}},
}  # fmt: skip
CLAIMS = {
    "storage": {"uri": "pvc://artifacts/x"},
    "model": {"uri": "pvc://artifacts/m.onnx"},
    "calibration": {"uri": "pvc://data/c", "format": "COCO"},
    "validation": {"uri": "pvc://data/v", "format": "COCO"},
}
OVERRIDES = {
    "image": "other/image:1",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "runtimeClassName": "nvidia",
    "serviceAccountName": "robot",
    "imagePullSecrets": [{"name": "pull"}],
    "priorityClassName": "high",
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://p"},
        {"name": "AWS_PROFILE", "value": "x"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "WORDS", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "PYTHONHASHSEED", "value": "7"},
    ],
    "labels": {"team": "vision", "app.kubernetes.io/component": "mine"},
    "annotations": {"a": "b", "eks.amazonaws.com/skip-containers": "sidecar"},
    "cacheVolumeClaimName": "cache",
}
RESOURCES = {
    "cpu": {"limits": {"memory": "4Gi", "ephemeral-storage": "20Gi"}},
    "gpu": {"limits": {"nvidia.com/mig-1g.10gb": "1"}},
}
JOBS = {
    "plain": {},
    "gpu": {**GPU, "search": {}},
    "s3": {**GPU, **S3},
    "claims": {**GPU, **CLAIMS},
    "overrides": {**GPU, **S3, "podOverrides": OVERRIDES, "resources": RESOURCES},
}


def children(**spec: Any) -> dict[str, Mapping[str, Any]]:
    """Return the Job value of each unit of a job that runs to its end."""
    simulation = Simulation(job(**spec)).run()
    return {v["metadata"]["labels"][names.LABEL_UNIT]: v for v in simulation.values.values()}


def pod_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return value["spec"]["template"]["spec"]


def containers(value: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    pod = pod_of(value)
    return {c["name"]: c for c in (*pod.get("initContainers", ()), *pod["containers"])}


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    found = {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}
    assert len(found) == len(container["env"]), "a variable is set twice"
    return found


def mounts(container: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    found = {
        m["mountPath"]: (m["name"], m.get("readOnly", False)) for m in container["volumeMounts"]
    }
    assert len(found) == len(container["volumeMounts"]), "a path is mounted twice"
    return found
