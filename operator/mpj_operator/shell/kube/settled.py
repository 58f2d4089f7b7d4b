"""What need not be read again: units that are over, as the status that was read says.

Nothing is remembered: this is the status that the plan works from, so the two cannot disagree.
"""

from dataclasses import dataclass
from typing import Final, Self

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import ENDED

_OVER: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class Settled:
    """Of a job as it was read."""

    units: frozenset[str] = frozenset()
    """Units whose children may be left out; none of a job that has ended: it is cleaned up."""
    children: frozenset[str] = frozenset()
    """Names of children whose pods have nothing more to say."""

    @classmethod
    def of(cls, job: MixedPrecisionJob) -> Self:
        """Return what a job's status settles; nothing when its spec has changed since."""
        status = job.status
        if status.observed_generation != job.metadata.generation:
            return cls()
        over = [record for record in status.unit_statuses if record.state in _OVER]
        return cls(
            units=frozenset(() if status.state in ENDED else (record.name for record in over)),
            children=frozenset(record.job_name for record in over if record.job_name),
        )
