"""What need not be read again: units that are over, as the status that was read says.

Nothing is remembered: this is the status that the plan works from, so the two cannot disagree.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from mpj_operator.api.status import ENDED

_OVER: Final = frozenset({"Succeeded", "Failed"})
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Settled:
    """Of a job as it was read."""

    units: frozenset[str] = frozenset()
    """Units whose children may be left out; none of a job that has ended: it is cleaned up."""
    children: frozenset[str] = frozenset()
    """Names of children whose pods have nothing more to say."""

    @classmethod
    def of(cls, job: Json) -> Self:
        """Return what a job's status settles; nothing when its spec has changed since."""
        status, metadata = job.get("status", {}), job["metadata"]
        if status.get("observedGeneration") != metadata.get("generation"):
            return cls()
        over = [unit for unit in status.get("unitStatuses", ()) if unit.get("state") in _OVER]
        ended = status.get("state") in ENDED
        return cls(
            units=frozenset() if ended else frozenset(filter(_NAME.fullmatch, _all(over, "name"))),
            children=_all(over, "jobName"),
        )


def _all(records: list[Json], member: str) -> frozenset[str]:
    return frozenset(record[member] for record in records if record.get(member))
