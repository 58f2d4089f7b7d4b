"""What a child's state means for its unit: one failure policy, in order.

DisruptionTarget is ignored (more than five of them end the unit); exit 64 ends it at once; all else
is counted by the Job controller against backoffLimit. What happened twice ends a unit earlier: the
same traceback, OOMKilled, more local storage than it may use. A Job that is Complete without
readable last words lost its result.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from mpj_operator.core.observed import ChildSeen, ContainerSeen, PodSeen
from mpj_runner.contract.messages import Termination

MAX_DISRUPTIONS = 5
IMAGE_PULL = "ImagePullBackOff"
"""Also stands for ErrImagePull: a kubelet that can't pull goes to and fro between the two."""
UNIT_DEADLINE, UNIT_DEADLINE_FIELD = "UnitDeadlineExceeded", "spec.unitDeadlineSeconds"
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*": ErrImagePull: ')
_BARE_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"$')
WAITING_PROBLEMS = frozenset(
    {
        IMAGE_PULL,
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
    }
)


@dataclass(frozen=True)
class UnitView:
    """A unit as its child shows it."""

    state: Literal["Pending", "Queued", "Running", "Succeeded", "Failed", "Lost"]
    step: str | None = None
    """The container that runs, waits or failed."""
    reason: str = ""
    message: str = ""
    termination: Termination | None = None
    """Last words of a unit that succeeded."""
    stop: bool = False
    """The child still runs but must not: delete it."""


def view(child: ChildSeen, *, limits: str, disruptions: int = 0) -> UnitView:
    """Judge one child.

    Args:
        child: the batch/v1 Job and its pods as seen.
        limits: the field of the spec that limits its resources, for messages.
        disruptions: of its pods so far; those that are still there are counted all the same.
    """
    if child.outcome == "Complete":
        return _complete(child)
    if child.outcome == "Failed":
        return _failed(child, limits)
    if ended := _ended_early(child, limits, disruptions):
        return ended
    if child.suspended:
        return UnitView("Queued", reason="Queued", message="waits for admission by its queue")
    return _active(child, limits)


def _complete(child: ChildSeen) -> UnitView:
    for pod in reversed(child.pods):
        if pod.phase == "Succeeded" and pod.containers:
            words = Termination.decode(pod.containers[-1].message)
            if words is not None and words.manifest is not None:
                last = pod.containers[-1].name
                return UnitView("Succeeded", last, reason="Succeeded", termination=words)
    return UnitView("Lost", reason="ResultLost", message="the pod's last words were not readable")


def _failed(child: ChildSeen, limits: str) -> UnitView:
    if child.reason == "DeadlineExceeded":
        message = f"longer than {UNIT_DEADLINE_FIELD}: raise it, or give the unit more resources"
        return UnitView("Failed", _step(child), UNIT_DEADLINE, message)
    for pod in reversed(child.pods):
        if (why := _why(pod, limits)) is not None:
            return why
    return UnitView("Failed", None, child.reason or "JobFailed", child.message or "the Job failed")


def _why(pod: PodSeen, limits: str) -> UnitView | None:
    """Return what a pod's failure says of its unit, if it says anything."""
    if _too_big(pod):
        return _from_eviction(pod, limits)
    if (container := _broken(pod)) is not None:
        return _from_container(container, limits)
    if pod.refused:
        return UnitView("Failed", None, "PodRefused", pod.refused)
    return None


def _from_container(container: ContainerSeen, limits: str) -> UnitView:
    if _oom(container):
        message = f"{container.name} was OOMKilled: {_advice(limits, 'memory')}"
        return UnitView("Failed", container.name, "OOMKilled", message)
    words = Termination.decode(container.message)
    if words is not None and words.error is not None:
        return UnitView("Failed", container.name, words.error.family, words.error.message)
    message = f"{container.name} ended with exit code {container.exit_code}"
    if container.message:
        message += f": {container.message[:500]}"
    return UnitView("Failed", container.name, container.reason or "Error", message)


def _too_big(pod: PodSeen) -> bool:
    """Tell whether the kubelet evicted a pod for what it wrote itself: no disruption."""
    return bool(pod.evicted) and not pod.disrupted


def _from_eviction(pod: PodSeen, limits: str) -> UnitView:
    broken = _broken(pod)
    message = f"{pod.evicted.rstrip('. ')}: {_advice(limits, 'ephemeral-storage')}"
    return UnitView("Failed", broken.name if broken else None, "Evicted", message)


def _advice(limits: str, resource: str) -> str:
    """Say what helps: a unit that failed stays failed, and a new job finds the others' work."""
    return f"raise {limits}.{resource} and start the job again; what is finished is not lost"


def _ended_early(child: ChildSeen, limits: str, disruptions: int) -> UnitView | None:
    disruptions = max(disruptions, sum(pod.disrupted for pod in child.pods))
    if disruptions > MAX_DISRUPTIONS:
        last = next((pod.evicted for pod in reversed(child.pods) if pod.evicted), "")
        message = f"its pods were disrupted {disruptions} times" + (last and f"; last: {last}")
        return UnitView("Failed", _step(child), "DisruptedTooOften", message, stop=True)
    evicted = [pod for pod in child.pods if _too_big(pod)]
    if len(evicted) >= 2:
        return replace(_from_eviction(evicted[-1], limits), stop=True)
    broken = [c for pod in child.pods if not pod.disrupted and (c := _broken(pod)) is not None]
    if sum(map(_oom, broken)) >= 2:
        oom = next(c for c in reversed(broken) if _oom(c))
        return replace(_from_container(oom, limits), stop=True)
    traces = Counter(trace for c in broken if (trace := _trace(c)))
    if traces and max(traces.values()) >= 2:
        return replace(_from_container(broken[-1], limits), stop=True)
    return None


def _active(child: ChildSeen, limits: str) -> UnitView:
    if not child.pods and child.message:
        quota = "exceeded quota" in child.message
        return UnitView("Pending", None, "QuotaExceeded" if quota else "PodRefused", child.message)
    if not child.pods:
        return UnitView("Pending", reason="Created", message="waits for its pod")
    pod = child.pods[-1]
    if pod.phase == "Failed":
        return _between_pods(child, limits)
    if pod.disrupted and pod.phase != "Succeeded":
        words = (
            f"the pod {pod.name} has to leave its node, and another one follows when it is gone; "
            "where its node is dead, that is when the Node or the pod is deleted by force"
        )
        return UnitView("Pending", _step(child), "Disrupted", words)
    if pod.unschedulable:
        return UnitView("Pending", None, "Unschedulable", pod.unschedulable)
    for container in pod.containers:
        if container.state == "waiting" and container.reason in WAITING_PROBLEMS:
            return _waiting(container)
    step = _step(child) or _next(pod)
    if step or pod.phase in ("Running", "Succeeded"):
        return UnitView("Running", step, "Running")
    if pod.held_up:
        return UnitView("Pending", None, "HeldUp", pod.held_up)
    return UnitView("Pending", None, "Starting" if pod.scheduled else "Scheduling")


def _between_pods(child: ChildSeen, limits: str) -> UnitView:
    """Say why the last pod failed while the Job controller waits before it makes another.

    Whether it will make one, it has decided once it has counted the failure.
    """
    pod = child.pods[-1]
    if pod.disrupted:  # what its containers say is that they were killed
        words = pod.evicted or pod.refused or f"the pod {pod.name} was removed from its node"
        return UnitView("Pending", None, "Disrupted", words)
    failures = sum(p.phase == "Failed" and not p.disrupted for p in child.pods)
    if child.failing or child.counted < failures:
        return UnitView("Running", _step(child), "Running")
    why = _why(pod, limits) or UnitView("Failed", message="its pod failed")
    return UnitView("Pending", why.step, "Retrying", f"tried again after: {why.message}")


def says_why(message: str) -> bool:
    """Tell whether a failing pull's message has its cause; old kubelets only say that they wait."""
    return _BARE_BACK_OFF.match(message) is None


def _waiting(container: ContainerSeen) -> UnitView:
    if container.reason not in (IMAGE_PULL, "ErrImagePull"):
        return UnitView("Pending", container.name, container.reason, container.message)
    return UnitView("Pending", container.name, IMAGE_PULL, _BACK_OFF.sub("", container.message))


def _step(child: ChildSeen) -> str | None:
    if not child.pods:
        return None
    for container in child.pods[-1].containers:
        if container.state == "running":
            return container.name
    broken = _broken(child.pods[-1])
    return broken.name if broken else None


def _next(pod: PodSeen) -> str | None:
    """Return the container that comes next in a pod of which one has ended well already."""
    if all(container.state == "waiting" for container in pod.containers):
        return None
    return next((c.name for c in pod.containers if c.state == "waiting"), None)


def _broken(pod: PodSeen) -> ContainerSeen | None:
    for container in pod.containers:
        if container.state == "terminated" and container.exit_code:
            return container
    return None


def _oom(container: ContainerSeen) -> bool:
    return container.reason == "OOMKilled"


def _trace(container: ContainerSeen) -> str | None:
    words = Termination.decode(container.message)
    return words.error.trace if words and words.error and words.error.family == "Bug" else None
