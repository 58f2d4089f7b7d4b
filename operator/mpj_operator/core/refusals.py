"""What a status says while the API refuses to create a child: a quota, an admission policy."""

from collections.abc import Mapping
from dataclasses import dataclass

from mpj_operator.api.status import JobStatus, UnitStatus
from mpj_operator.core import conditions as c
from mpj_operator.core.records import is_active, progress_words


@dataclass(frozen=True)
class Refusal:
    """Why a child could not be created."""

    reason: str
    """QuotaExceeded or Refused."""
    message: str
    """The API server's own words."""


def with_refusals(status: JobStatus, refusals: Mapping[str, Refusal], stamp: c.Stamp) -> JobStatus:
    """Return a status whose refused units are pending again, with the reason.

    Args:
        status: what the plan decided, taking every creation for done.
        refusals: by the child's name.
        stamp: when, and for which generation.
    """
    if not refusals:
        return status
    records = tuple(_refused(record, refusals) for record in status.unit_statuses)
    first = next(iter(refusals.values()))
    active = sum(map(is_active, records))
    changes: dict[str, object] = {"unit_statuses": records}
    if status.units is not None:
        changes["units"] = status.units.model_copy(update={"active": active})
    if active == 0:
        names = ", ".join(r.name for r in records if r.reason == first.reason)
        words = f"{names}: {first.message}"
        changes["state"] = "Pending"
    else:
        words = progress_words(records)
    changes["conditions"] = c.running(status.conditions, words, stamp)
    return status.model_copy(update=changes)


def _refused(record: UnitStatus, refusals: Mapping[str, Refusal]) -> UnitStatus:
    refusal = refusals.get(record.job_name or "")
    if refusal is None:
        return record
    return record.model_copy(
        update={"job_name": None, "reason": refusal.reason, "message": refusal.message[:1024]}
    )
