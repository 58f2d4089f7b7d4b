"""What the shell saw: values only, no client's objects."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mpj_operator.api.job import MixedPrecisionJob


@dataclass(frozen=True)
class ContainerSeen:
    """One container of a unit's pod."""

    name: str
    state: Literal["waiting", "running", "terminated"] = "waiting"
    exit_code: int | None = None
    reason: str = ""
    """ImagePullBackOff, OOMKilled, Error, …"""
    message: str = ""
    """The termination message, or why it waits."""


@dataclass(frozen=True)
class PodSeen:
    """One pod of a unit."""

    name: str
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] = "Pending"
    containers: tuple[ContainerSeen, ...] = ()
    """Init containers in order, then the main one."""
    created: datetime | None = None
    scheduled: datetime | None = None
    disrupted: bool = False
    """Has the condition DisruptionTarget."""
    evicted: str = ""
    """The kubelet's message if it evicted the pod."""
    refused: str = ""
    """Why the kubelet would not start the pod or ended it, other than by evicting it."""
    image_id: str = ""
    """What its first container ran, as the node names it: by digest where it knows one."""
    unschedulable: str = ""
    """The scheduler's message while it finds no node."""
    held_up: str = ""
    """Why nothing of it runs on its node yet, as the newest warning about it says."""


@dataclass(frozen=True)
class ChildSeen:
    """One batch/v1 Job of ours."""

    name: str
    unit: str
    attempt: int
    owned: bool = True
    """Carries our uid in its ownerReferences."""
    deleting: bool = False
    suspended: bool = False
    """Kueue holds it."""
    outcome: Literal["Complete", "Failed"] | None = None
    reason: str = ""
    """Of the Failed condition: PodFailurePolicy, BackoffLimitExceeded, DeadlineExceeded."""
    message: str = ""
    failing: bool = False
    """The Job controller has given it up, and waits for the last pod's end."""
    counted: int = 0
    """Pods that the Job controller has counted as failed."""
    finished: datetime | None = None
    ttl: int | None = None
    """Seconds after its end when the cluster removes it."""
    deadline: int | None = None
    """Seconds that it may be active for."""
    pods: tuple[PodSeen, ...] = ()
    """Oldest first."""

    @property
    def waits_on_its_node_since(self) -> datetime | None:
        """When the newest pod got its node, while no container of it has come to run."""
        pod = self.pods[-1] if self.pods and self.outcome is None and not self.deleting else None
        if pod is None or pod.phase != "Pending" or pod.disrupted:
            return None
        return pod.scheduled if all(c.state == "waiting" for c in pod.containers) else None


@dataclass(frozen=True)
class Settings:
    """What the operator's own configuration adds to every job."""

    image: str
    """Image of the steps' containers, by digest where it is known."""
    runner_version: str
    default_storage: str | None = None
    """Store for jobs that name none (``mpj run``)."""
    fixed_ids: bool = True
    """Name user and group of the units' pods; False: the cluster assigns them."""
    max_active: int | None = None
    """Units at once, whatever they need; one where they would disturb each other's figures."""


@dataclass(frozen=True)
class Observed:
    """All that ``plan`` looks at."""

    job: MixedPrecisionJob
    children: tuple[ChildSeen, ...]
    """Those of units that are over may be left out while the job has not ended."""
    now: datetime
    settings: Settings
