"""What a change of a status is worth telling people: the Events of a job."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mpj_operator.api.status import JobStatus, UnitStatus
from mpj_operator.core import conditions as c


@dataclass(frozen=True)
class Note:
    """One event."""

    type: Literal["Normal", "Warning"]
    reason: str
    """One word in CamelCase."""
    message: str
    action: str
    """What was being done."""


def notes(before: JobStatus, after: JobStatus) -> Iterator[Note]:
    """Yield what is new, in the order in which it happened."""
    old = {record.name: record for record in before.unit_statuses}
    for record in after.unit_statuses:
        if (note := _unit(old.get(record.name), record)) is not None:
            yield note
    for kind in ("Suspended", "Complete", "Failed"):
        condition = c.find(after.conditions, kind)
        if condition is None or condition.status != "True" or c.holds(before.conditions, kind):
            continue
        words = condition.message or kind
        yield Note("Warning" if kind == "Failed" else "Normal", kind, words, "Judge")


def _unit(old: UnitStatus | None, new: UnitStatus) -> Note | None:
    if new.state == "Succeeded" and (old is None or old.state != "Succeeded"):
        return Note("Normal", "UnitSucceeded", f"{new.name} succeeded", "Run")
    if new.state == "Failed" and (old is None or old.state != "Failed"):
        return Note("Warning", "UnitFailed", f"{new.name}: {new.message or new.reason}", "Run")
    if new.job_name is not None and (old is None or old.job_name != new.job_name):
        again = f", attempt {new.attempt}" if new.attempt > 1 else ""
        return Note("Normal", "UnitCreated", f"{new.name}: Job {new.job_name}{again}", "Create")
    waits = new.state == "Pending" and new.message
    if waits and (old is None or old.reason != new.reason):  # words change often, causes do not
        reason = new.reason or "Waiting"
        kind: Literal["Normal", "Warning"] = "Normal" if reason in _CALM else "Warning"
        return Note(kind, reason, f"{new.name}: {new.message}", "Run")
    return None


_CALM = frozenset({"Created", "Queued", "Scheduling", "Waiting"})
