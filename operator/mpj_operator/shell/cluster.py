"""What a cluster is to the reconciler: three verbs, over values."""

from dataclasses import dataclass
from typing import Final, Protocol

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import JobStatus
from mpj_operator.core.actions import Action
from mpj_operator.core.observed import Observed
from mpj_operator.core.refusals import Refusal

TRY_AGAIN: Final = 15.0
"""Seconds until a refused creation is tried again; nothing tells of a quota that is free again."""


@dataclass(frozen=True)
class Key:
    """Names one job."""

    namespace: str
    name: str


class RefusedError(Exception):
    """The cluster will not create a child as things are."""

    def __init__(self, refusal: Refusal, seconds: float = TRY_AGAIN) -> None:
        super().__init__(f"{refusal.reason}: {refusal.message}")
        self.refusal = refusal
        self.seconds = seconds
        """When to try again."""


class Cluster(Protocol):
    """Where jobs and their children live."""

    async def observe(self, key: Key) -> Observed | None:
        """Return what there is of a job, or None when there is nothing to do for it."""
        ...

    async def perform(self, key: Key, action: Action) -> None:
        """Do one thing; what is already done counts as done.

        Raises:
            RefusedError: a child may not be created now; the job is told.
        """
        ...

    async def write_status(self, key: Key, before: MixedPrecisionJob, status: JobStatus) -> None:
        """Replace the status of the job that was observed."""
        ...
