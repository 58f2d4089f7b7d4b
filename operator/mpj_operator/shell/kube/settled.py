"""What need not be read again: units that a status, once it is written, says are over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mpj_operator.api.job import Metadata
from mpj_operator.api.status import JobStatus

OVER = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class Settled:
    """A status that this operator has written, as far as it spares reads."""

    uid: str | None
    generation: int | None
    """Of the spec that the status is about: another one may need units again."""
    units: frozenset[str]
    """Units that are over; none of a job that has ended: all its children are cleaned up then."""
    children: frozenset[str]
    """Names of the children of units that are over."""

    @classmethod
    def by(cls, metadata: Metadata, status: JobStatus) -> Self:
        """Return what the status of a job with such metadata settles."""
        over = [record for record in status.unit_statuses if record.state in OVER]
        ended = status.state in ("Complete", "Failed")
        return cls(
            uid=metadata.uid,
            generation=metadata.generation,
            units=frozenset() if ended else frozenset(record.name for record in over),
            children=frozenset(record.job_name for record in over if record.job_name is not None),
        )

    def holds_for(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether a job that was read is the one, with the spec, that this is about."""
        return (self.uid, self.generation) == (metadata["uid"], metadata.get("generation"))
