"""The status of a job whose spec cannot be carried out."""

from collections.abc import Iterable
from datetime import datetime

from mpj_operator.api.status import JobStatus
from mpj_operator.core import conditions as c
from mpj_operator.core.actions import Delete
from mpj_operator.core.observed import ChildSeen
from mpj_operator.core.records import active_seconds, is_active, released


def rejected(status: JobStatus, problems: str, stamp: c.Stamp) -> JobStatus:
    """Return the status of a spec that the schema let through and that is wrong all the same.

    Args:
        status: what the job says now.
        problems: one line for each, naming the field.
        stamp: when, and for which generation.
    """
    conditions = c.failed(status.conditions, c.INVALID, problems, stamp)
    conditions = c.with_condition(conditions, "Accepted", "False", c.INVALID, problems, stamp)
    return status.model_copy(
        update={
            "conditions": conditions,
            "state": "Failed",
            "observed_generation": stamp.generation,
            "completion_time": status.completion_time or stamp.now,
        }
    )


def stopped(
    status: JobStatus, children: Iterable[ChildSeen], now: datetime
) -> tuple[tuple[Delete, ...], JobStatus]:
    """Return what ends the units of a job that can't go on, and the status once that is done.

    Finished work is kept; what is deleted is made again when the spec is right.

    Args:
        status: what the job says now.
        children: the batch/v1 Jobs that were seen.
        now: when they were seen.
    """
    own = [child for child in children if child.owned]
    actions = tuple(
        Delete(child.name, "the spec is invalid")
        for child in own
        if not child.deleting and child.outcome is None
    )
    finished = {child.name for child in own if child.outcome is not None}
    records = tuple(
        released(record) if is_active(record) and record.job_name not in finished else record
        for record in status.unit_statuses
    )
    spent = active_seconds(status.unit_statuses, now) - active_seconds(records, now)
    changes: dict[str, object] = {
        "unit_statuses": records,
        "spent_seconds": status.spent_seconds + round(spent),
    }
    if status.units is not None:
        active = sum(map(is_active, records))
        changes["units"] = status.units.model_copy(update={"active": active})
    return actions, status.model_copy(update=changes)
