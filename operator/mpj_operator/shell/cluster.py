"""What a cluster is to the reconciler: three verbs, over values."""

from dataclasses import dataclass
from typing import Protocol

from mpj_operator.api.status import JobStatus
from mpj_operator.core.actions import Action
from mpj_operator.core.observed import Observed


@dataclass(frozen=True)
class Key:
    """Names one job."""

    namespace: str
    name: str


class Cluster(Protocol):
    """Where jobs and their children live."""

    async def observe(self, key: Key) -> Observed | None:
        """Return what there is of a job, or None when it is gone."""
        ...

    async def perform(self, key: Key, action: Action) -> None:
        """Do one thing; what is already done counts as done."""
        ...

    async def write_status(self, key: Key, status: JobStatus) -> None:
        """Replace the job's status."""
        ...
