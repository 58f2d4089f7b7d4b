"""From the API's JSON to the values that a plan looks at."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, cast

from mpj_operator.core.names import LABEL_ATTEMPT, LABEL_UNIT
from mpj_operator.core.observed import ChildSeen, ContainerSeen, PodSeen

JOB_NAME: Final = "batch.kubernetes.io/job-name"
Json = Mapping[str, Any]
Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


def children_seen(jobs: Iterable[Json], pods: Iterable[Json], uid: str) -> tuple[ChildSeen, ...]:
    """Return the children of a job.

    Args:
        jobs: batch/v1 Jobs that carry the labels of ours.
        pods: pods of theirs.
        uid: of the MixedPrecisionJob: a Job without it among its owners is somebody else's.
    """
    by_job: dict[str, list[Json]] = defaultdict(list)
    for pod in pods:
        by_job[pod["metadata"].get("labels", {}).get(JOB_NAME, "")].append(pod)
    return tuple(child_seen(job, by_job[job["metadata"]["name"]], uid) for job in jobs)


def child_seen(job: Json, pods: Iterable[Json], uid: str) -> ChildSeen:
    """Return one batch/v1 Job with its pods."""
    metadata, spec, status = job["metadata"], job.get("spec", {}), job.get("status", {})
    labels = metadata.get("labels", {})
    attempt = labels.get(LABEL_ATTEMPT, "")
    ended = _true(status, "Complete") or _true(status, "Failed")
    own = (pod for pod in pods if _owned(pod["metadata"], metadata["uid"]))
    steps = _names(spec.get("template", {}).get("spec", {}))
    return ChildSeen(
        name=metadata["name"],
        unit=labels.get(LABEL_UNIT, ""),
        attempt=int(attempt) if attempt.isdigit() else 1,
        owned=_owned(metadata, uid),
        deleting="deletionTimestamp" in metadata,
        suspended=bool(spec.get("suspend")) and ended is None,
        outcome=cast("Literal['Complete', 'Failed'] | None", ended and ended["type"]),
        reason=(ended or {}).get("reason", ""),
        message=(ended or {}).get("message", ""),
        failing=_true(status, "FailureTarget") is not None,
        counted=int(status.get("failed", 0)),
        finished=_time((ended or {}).get("lastTransitionTime")),
        ttl=spec.get("ttlSecondsAfterFinished"),
        deadline=spec.get("activeDeadlineSeconds"),
        pods=tuple(sorted((pod_seen(pod, steps) for pod in own), key=_age)),
    )


def pod_seen(pod: Json, steps: Collection[str]) -> PodSeen:
    """Return one pod with its containers, init containers first.

    Args:
        pod: as the API has it.
        steps: names of the containers that the Job asks for; others, such as a mesh's proxy, were
            put in by somebody else and are left out.
    """
    metadata, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    scheduled = _condition(status, "PodScheduled") or {}
    waits = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return PodSeen(
        name=metadata["name"],
        phase=cast("Phase", status.get("phase", "Pending")),
        containers=tuple(_containers(spec, status, steps)),
        created=_time(metadata.get("creationTimestamp")),
        scheduled=_time(scheduled.get("lastTransitionTime"))
        if scheduled.get("status") == "True"
        else None,
        disrupted=_true(status, "DisruptionTarget") is not None,
        evicted=status.get("message", "Evicted") if status.get("reason") == "Evicted" else "",
        refused=_refused(status),
        image_id=_image_id(status, steps),
        unschedulable=scheduled.get("message", "no node fits") if waits else "",
    )


def _refused(status: Json) -> str:
    """Return a failed pod's own reason: of a device that is gone, say; its containers know none."""
    reason = status.get("reason", "")
    if status.get("phase") != "Failed" or reason in ("", "Evicted"):
        return ""
    return ": ".join(filter(None, (reason, status.get("message", ""))))


def _names(spec: Json) -> frozenset[str]:
    """Return the names of a pod's containers."""
    groups = (spec.get(group, ()) for group in ("initContainers", "containers"))
    return frozenset(container["name"] for group in groups for container in group)


def _image_id(status: Json, steps: Collection[str]) -> str:
    reported = (status.get(group, ()) for group in ("initContainerStatuses", "containerStatuses"))
    found = (s.get("imageID", "") for group in reported for s in group if s["name"] in steps)
    return next(filter(None, found), "")


def _containers(spec: Json, status: Json, steps: Collection[str]) -> Iterable[ContainerSeen]:
    for group, reported in (
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ):
        statuses = {s["name"]: s.get("state", {}) for s in status.get(reported, ())}
        for container in spec.get(group, ()):
            if container["name"] in steps:
                yield _container(container["name"], statuses.get(container["name"], {}))


def _container(name: str, state: Json) -> ContainerSeen:
    if ended := state.get("terminated"):
        return ContainerSeen(
            name,
            "terminated",
            int(ended.get("exitCode", 0)),
            ended.get("reason", ""),
            ended.get("message", ""),
        )
    if "running" in state:
        return ContainerSeen(name, "running")
    waiting = state.get("waiting", {})
    return ContainerSeen(name, reason=waiting.get("reason", ""), message=waiting.get("message", ""))


def _owned(metadata: Json, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in metadata.get("ownerReferences", ()))


def _condition(status: Json, kind: str) -> Json | None:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), None)


def _true(status: Json, kind: str) -> Json | None:
    found = _condition(status, kind)
    return found if found is not None and found.get("status") == "True" else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _age(pod: PodSeen) -> tuple[str, str]:
    return (pod.created.isoformat() if pod.created else "", pod.name)
