"""A unit as a batch/v1 Job value: steps as init containers, the last one as the main container."""

from collections.abc import Sequence
from typing import Any, Final

from mpj_operator.api.job import GROUP, KIND, VERSION, MixedPrecisionJob
from mpj_operator.api.pod import PodOverrides
from mpj_operator.core import names
from mpj_operator.core.units import Unit
from mpj_runner.contract.access import SecretKey
from mpj_runner.contract.base import Value
from mpj_runner.contract.errors import EXIT_USER
from mpj_runner.contract.messages import Request, canonical

WORK: Final = "/mpj/work"
"""The folder that the containers of a pod share."""
TMP: Final = "/tmp"  # noqa: S108 - a volume of the pod's own
_QUIET_ULTRALYTICS: Final = (
    {"name": "YOLO_CONFIG_DIR", "value": WORK},
    {"name": "YOLO_OFFLINE", "value": "true"},
    {"name": "YOLO_AUTOINSTALL", "value": "false"},
)
"""Ultralytics writes settings, asks the network and installs packages when it is imported."""
COPIED_LABELS: Final = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")
"""All other labels of a job stay on it: a copied app.kubernetes.io/instance makes Argo CD prune."""


def job_value(
    job: MixedPrecisionJob, unit: Unit, attempt: int, requests: Sequence[Request], image: str
) -> dict[str, Any]:
    """Return the batch/v1 Job of one attempt of a unit.

    Args:
        job: its owner.
        unit: what it is for.
        attempt: counted from 1.
        requests: what its containers are told, in order.
        image: image of every container.
    """
    uid = job.metadata.uid or ""
    name = names.child(job.metadata.name, uid, unit.name, attempt)
    labels: dict[str, str] = {
        names.LABEL_JOB: names.label(job.metadata.name),
        names.LABEL_UNIT: unit.name,
        names.LABEL_ATTEMPT: str(attempt),
        **{key: job.metadata.labels[key] for key in COPIED_LABELS if key in job.metadata.labels},
    }
    spec: dict[str, Any] = {
        "backoffLimit": job.spec.backoff_limit,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"operator": "In", "values": [EXIT_USER]},
                },
            ]
        },
        "template": _template(job, unit, requests, image, labels),
    }
    if job.spec.unit_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = job.spec.unit_deadline_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": job.metadata.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": KIND,
                    "name": job.metadata.name,
                    "uid": uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }


def _template(
    job: MixedPrecisionJob,
    unit: Unit,
    requests: Sequence[Request],
    image: str,
    labels: dict[str, str],
) -> dict[str, Any]:
    overrides = job.spec.pod_overrides
    containers = [_container(job, unit, request, image) for request in requests]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": containers[:-1],
        "containers": containers[-1:],
        "volumes": [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        **_pod_fields(overrides),
    }
    metadata: dict[str, Any] = {"labels": {**overrides.labels, **labels}}
    if overrides.annotations:
        metadata["annotations"] = dict(overrides.annotations)
    return {"metadata": metadata, "spec": {k: v for k, v in spec.items() if v != []}}


def _container(job: MixedPrecisionJob, unit: Unit, request: Request, image: str) -> dict[str, Any]:
    resources = job.spec.resources_for(accelerator=unit.gpu).to_json()
    container: dict[str, Any] = {
        "name": request.name,
        "image": image,
        "command": ["python", "-m", "mpj_runner", request.step],
        "env": [
            *(variable.to_json() for variable in job.spec.pod_overrides.env),
            {"name": "MPJ_REQUEST", "value": canonical(request.to_json()).decode()},
            {"name": "MPJ_WORK", "value": WORK},
            *(_from_secret(key) for key in request.secret_keys),
            *(_QUIET_ULTRALYTICS if request.step == "export" else ()),
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "work", "mountPath": WORK},
            {"name": "tmp", "mountPath": TMP},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if resources := {key: value for key, value in resources.items() if value}:
        container["resources"] = resources
    return container


def _from_secret(key: SecretKey) -> dict[str, Any]:
    """Return a Secret's key as a variable: a missing one keeps the pod waiting, and says so."""
    reference: dict[str, Any] = {"name": key.secret, "key": key.key}
    if key.optional:
        reference["optional"] = True
    return {"name": key.variable, "valueFrom": {"secretKeyRef": reference}}


def _pod_fields(overrides: PodOverrides) -> dict[str, Any]:
    """Return the overrides that are fields of a pod's spec, under the pod's own names."""
    fields: dict[str, Any] = {
        "nodeSelector": dict(overrides.node_selector),
        "tolerations": [toleration.to_json() for toleration in overrides.tolerations],
        "affinity": _json(overrides.affinity),
        "runtimeClassName": overrides.runtime_class_name,
        "serviceAccountName": overrides.service_account_name,
        "imagePullSecrets": [secret.to_json() for secret in overrides.image_pull_secrets],
        "priorityClassName": overrides.priority_class_name,
    }
    return {key: value for key, value in fields.items() if value}


def _json(value: Value | None) -> dict[str, Any] | None:
    return None if value is None else value.to_json()
