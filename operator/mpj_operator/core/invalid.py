"""The status of a job whose spec cannot be carried out."""

from mpj_operator.api.status import JobStatus
from mpj_operator.core import conditions as c


def rejected(status: JobStatus, problems: str, stamp: c.Stamp) -> JobStatus:
    """Return the status of a spec that the schema let through and that is wrong all the same.

    Args:
        status: what the job says now.
        problems: one line for each, naming the field.
        stamp: when, and for which generation.
    """
    conditions = c.failed(status.conditions, "Invalid", problems, stamp)
    conditions = c.with_condition(conditions, "Accepted", "False", "Invalid", problems, stamp)
    return status.model_copy(
        update={
            "conditions": conditions,
            "state": "Failed",
            "observed_generation": stamp.generation,
            "completion_time": status.completion_time or stamp.now,
        }
    )
