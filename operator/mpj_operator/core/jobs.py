"""A unit as a batch/v1 Job value."""

from collections.abc import Sequence
from typing import Any, Final

from mpj_operator.api.job import GROUP, KIND, VERSION, MixedPrecisionJob
from mpj_operator.core import names
from mpj_operator.core.pods import template
from mpj_operator.core.units import Unit
from mpj_runner.contract.errors import EXIT_USER
from mpj_runner.contract.messages import Request

COPIED_LABELS: Final = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class")
"""All other labels of a job stay on it: a copied app.kubernetes.io/instance makes Argo CD prune."""


def job_value(
    job: MixedPrecisionJob,
    unit: Unit,
    attempt: int,
    requests: Sequence[Request],
    image: str,
    hardware: str | None = None,
    *,
    fixed_ids: bool = True,
) -> dict[str, Any]:
    """Return the batch/v1 Job of one attempt of a unit.

    Args:
        job: its owner.
        unit: what it is for.
        attempt: counted from 1.
        requests: what its containers are told, in order.
        image: image of every container.
        hardware: what the reference ran on, if that is known.
        fixed_ids: name the pod's user and group.
    """
    uid = job.metadata.uid or ""
    name = names.child(job.metadata.name, uid, unit.name, attempt)
    labels: dict[str, str] = {
        names.LABEL_JOB: names.label(job.metadata.name),
        names.LABEL_UNIT: unit.name,
        names.LABEL_ATTEMPT: str(attempt),
        "app.kubernetes.io/name": "mpj-runner",
        "app.kubernetes.io/component": unit.kind,
        "app.kubernetes.io/part-of": names.label(job.metadata.name),
        "app.kubernetes.io/managed-by": "mpj-operator",
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
        "template": template(job, unit, requests, image, labels, hardware, fixed_ids=fixed_ids),
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
