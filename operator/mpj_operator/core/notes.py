"""What a change of a status is worth telling people: the Events of a job."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mpj_operator.api.status import JobStatus, UnitStatus
from mpj_operator.core import conditions as c
from mpj_operator.core.records import AGAIN, LOST


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
    """Yield what is new; what goes well in the same pass is told in one note."""
    old = {record.name: record for record in before.unit_statuses}
    new = [(old.get(record.name), record) for record in after.unit_statuses]
    for was, now in new:
        if (note := _trouble(was, now)) is not None:
            yield note
    done = [now.name for was, now in new if _enters(was, now, "Succeeded")]
    begun = [str(now.job_name) for was, now in new if _starts(was, now)]
    groups = (("succeeded: ", done), ("created: Job ", begun))
    if words := [verb + ", ".join(names) for verb, names in groups if names]:
        yield Note("Normal", "Progressing", "; ".join(words), "Run")
    for kind in ("Suspended", "Complete", "Failed"):
        condition = c.find(after.conditions, kind)
        if condition is None or condition.status != "True" or c.holds(before.conditions, kind):
            continue
        level: Literal["Normal", "Warning"] = "Warning" if kind == "Failed" else "Normal"
        yield Note(level, kind, condition.message or kind, "Judge")


def _enters(old: UnitStatus | None, new: UnitStatus, state: str) -> bool:
    return new.state == state and (old is None or old.state != state)


def _starts(old: UnitStatus | None, new: UnitStatus) -> bool:
    """Tell whether a unit has a Job that it had not, and is not over with it already."""
    fresh = new.job_name is not None and (old is None or old.job_name != new.job_name)
    return fresh and new.attempt == 1 and new.state not in ("Succeeded", "Failed")


def _trouble(old: UnitStatus | None, new: UnitStatus) -> Note | None:
    """Return what is to be said of one unit alone: it failed, is tried again, or waits."""
    if _enters(old, new, "Failed"):
        return Note("Warning", "UnitFailed", f"{new.name}: {new.message or new.reason}", "Run")
    if new.state in ("Succeeded", "Failed"):
        return None
    fresh = new.job_name is not None and (old is None or old.job_name != new.job_name)
    if new.attempt > 1 and fresh:
        words = f"{new.name}: Job {new.job_name}, attempt {new.attempt}"
        words += f", since {new.message}" if new.reason in (LOST, AGAIN) else ""
        return Note("Normal", "UnitRetried", words, "Create")
    waits = new.state == "Pending" and new.message and new.reason != "Created"
    if waits and (old is None or old.reason != new.reason):  # words change often, causes do not
        reason = new.reason or "Waiting"
        kind: Literal["Normal", "Warning"] = "Normal" if reason in _CALM else "Warning"
        return Note(kind, reason, f"{new.name}: {new.message}", "Run")
    return None


_CALM = frozenset({"Queued", "Scheduling", "Waiting"})
