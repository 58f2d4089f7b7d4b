"""The status of a pod, as a kubelet writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from faults import containers_of

from mpj_operator.core.observed import ContainerSeen, PodSeen

_MESSAGES_OF_A_POD: Final = 12 * 1024
"""Bytes that the kubelet shares out among a pod's containers."""
ADDRESS: Final = "127.0.0.1"
Json = dict[str, Any]


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class PodRecord:
    """What a kubelet remembers of one pod besides what its executor sees."""

    pod: Mapping[str, Any]
    started: str = field(default_factory=now)
    restarts: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    """Why containers end that a fault ends, OOMKilled for one: their exit codes do not tell."""
    unready: set[str] = field(default_factory=set)
    """Containers whose readiness probe fails."""
    _times: dict[tuple[str, str], str] = field(default_factory=dict)
    """When a container came to a state, or a condition to a value."""

    def status(self, seen: PodSeen) -> Json:
        """Return the members of the pod's status that belong to its node."""
        count = len(self.pod["spec"].get("initContainers", ()))
        listed = [
            self._container(spec, one, index < count, seen.phase)
            for index, (spec, one) in enumerate(
                zip(containers_of(self.pod["spec"]), seen.containers, strict=True)
            )
        ]
        initialized = all(one.exit_code == 0 for one in seen.containers[:count])
        ready = all(
            one.state == "running" and one.name not in self.unready
            for one in seen.containers[count:]
        )
        why = "PodCompleted" if seen.phase == "Succeeded" else "" if ready else "ContainersNotReady"
        conditions = [
            self._condition("Initialized", initialized, "" if initialized else "NotInitialized"),
            self._condition("Ready", ready, why),
            self._condition("ContainersReady", ready, why),
        ]
        return {
            "phase": seen.phase,
            "conditions": conditions,
            "hostIP": ADDRESS,
            "podIP": ADDRESS,
            "podIPs": [{"ip": ADDRESS}],
            "startTime": self.started,
            "initContainerStatuses": listed[:count],
            "containerStatuses": listed[count:],
        }

    def _container(
        self, spec: Mapping[str, Any], seen: ContainerSeen, initial: bool, phase: str
    ) -> Json:
        name = seen.name
        identity = f"process://{self.pod['metadata']['uid']}/{name}/{self.restarts}"
        running = seen.state == "running"
        status: Json = {
            "name": name,
            "image": spec["image"],
            "imageID": "",
            "restartCount": self.restarts,
            "ready": seen.exit_code == 0 if initial else running and name not in self.unready,
            "started": running,
            "lastState": {},
        }
        if seen.state == "waiting":
            pending = phase == "Pending" and "initContainers" not in self.pod["spec"]
            reason = seen.reason or ("ContainerCreating" if pending else "PodInitializing")
            message = {"message": seen.message} if seen.message else {}
            return {**status, "state": {"waiting": {"reason": reason, **message}}}
        status["containerID"] = identity
        started = self._times.setdefault((name, f"started {self.restarts}"), now())
        if running:
            return {**status, "state": {"running": {"startedAt": started}}}
        ended: Json = {
            "exitCode": seen.exit_code or 0,
            "reason": self.reasons.get(name, seen.reason),
            "startedAt": started,
            "finishedAt": self._times.setdefault((name, f"finished {self.restarts}"), now()),
            "containerID": identity,
        }
        if seen.message:
            ended["message"] = self._cut(seen.message)
        return {**status, "state": {"terminated": ended}}

    def _cut(self, message: str) -> str:
        share = min(4096, _MESSAGES_OF_A_POD // len(containers_of(self.pod["spec"])))
        return message.encode()[:share].decode(errors="ignore")

    def _condition(self, kind: str, holds: bool, reason: str) -> Json:
        value = "True" if holds else "False"
        since = self._times.setdefault((kind, value), now())
        made = {"type": kind, "status": value, "lastTransitionTime": since}
        return {**made, "reason": reason} if reason else made
