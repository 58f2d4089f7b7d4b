"""Conditions, and the one word that is derived from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mpj_operator.api.status import Condition, ConditionType, JobState, UnitStatus

Truth = Literal["True", "False", "Unknown"]
INVALID: Final = "Invalid"
"""Reason of a Failed that lasts only as long as the spec is wrong."""


@dataclass(frozen=True)
class Stamp:
    """When, and for which generation of the spec."""

    now: datetime
    generation: int | None


def with_condition(
    conditions: tuple[Condition, ...],
    kind: ConditionType,
    status: Truth,
    reason: str,
    message: str,
    stamp: Stamp,
) -> tuple[Condition, ...]:
    """Return the conditions with one set; its transition time moves only when its status flips."""
    old = find(conditions, kind)
    since = old.last_transition_time if old is not None and old.status == status else stamp.now
    new = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:4096],
        observed_generation=stamp.generation,
        last_transition_time=since,
    )
    if old is None:
        return (*conditions, new)
    return tuple(new if condition.type == kind else condition for condition in conditions)


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def holds(conditions: Iterable[Condition], kind: ConditionType) -> bool:
    """Tell whether a condition is there and true."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "True"


def without(conditions: tuple[Condition, ...], *kinds: ConditionType) -> tuple[Condition, ...]:
    """Return the conditions but those of some types."""
    return tuple(condition for condition in conditions if condition.type not in kinds)


def standing(conditions: tuple[Condition, ...], generation: int | None) -> tuple[Condition, ...]:
    """Say that all conditions hold for this generation of the spec too."""
    return tuple(c.model_copy(update={"observed_generation": generation}) for c in conditions)


def running(conditions: tuple[Condition, ...], message: str, stamp: Stamp) -> tuple[Condition, ...]:
    """Say that the job is on its way: kstatus' InProgress."""
    conditions = without(conditions, "Complete", "Failed")
    conditions = with_condition(conditions, "Accepted", "True", "Valid", "", stamp)
    conditions = _not_suspended(conditions, "Resumed", stamp)
    conditions = with_condition(conditions, "Ready", "False", "Progressing", message, stamp)
    conditions = with_condition(conditions, "Reconciling", "True", "Progressing", message, stamp)
    return with_condition(conditions, "Stalled", "False", "Progressing", "", stamp)


def suspended(conditions: tuple[Condition, ...], stamp: Stamp) -> tuple[Condition, ...]:
    """Say that nothing runs because spec.suspend says so."""
    words = "spec.suspend is true: finished work is kept"
    conditions = without(conditions, "Complete", "Failed")
    conditions = with_condition(conditions, "Accepted", "True", "Valid", "", stamp)
    conditions = with_condition(conditions, "Suspended", "True", "Suspended", words, stamp)
    conditions = with_condition(conditions, "Ready", "False", "Suspended", words, stamp)
    conditions = with_condition(conditions, "Reconciling", "False", "Suspended", words, stamp)
    return with_condition(conditions, "Stalled", "False", "Suspended", "", stamp)


def complete(
    conditions: tuple[Condition, ...], reason: str, message: str, stamp: Stamp
) -> tuple[Condition, ...]:
    """Say that the job has its answer: kstatus' Current."""
    conditions = _not_suspended(without(conditions, "Failed"), reason, stamp)
    conditions = with_condition(conditions, "Complete", "True", reason, message, stamp)
    conditions = with_condition(conditions, "Ready", "True", reason, message, stamp)
    conditions = with_condition(conditions, "Reconciling", "False", reason, "", stamp)
    return with_condition(conditions, "Stalled", "False", reason, "", stamp)


def failed(
    conditions: tuple[Condition, ...], reason: str, message: str, stamp: Stamp
) -> tuple[Condition, ...]:
    """Say that the job has no answer and will not find one: kstatus' Failed."""
    conditions = _not_suspended(without(conditions, "Complete"), reason, stamp)
    conditions = with_condition(conditions, "Failed", "True", reason, message, stamp)
    conditions = with_condition(conditions, "Ready", "False", reason, message, stamp)
    conditions = with_condition(conditions, "Reconciling", "False", reason, "", stamp)
    return with_condition(conditions, "Stalled", "True", reason, message, stamp)


def _not_suspended(
    conditions: tuple[Condition, ...], reason: str, stamp: Stamp
) -> tuple[Condition, ...]:
    """Say of a job that was suspended once that it is no longer."""
    if find(conditions, "Suspended") is None:
        return conditions
    return with_condition(conditions, "Suspended", "False", reason, "", stamp)


def state_of(conditions: Iterable[Condition], units: Iterable[UnitStatus]) -> JobState:
    """Derive the printer column's word."""
    listed = tuple(conditions)
    ends: tuple[Literal["Failed", "Complete", "Suspended"], ...] = (
        "Failed",
        "Complete",
        "Suspended",
    )
    for state in ends:
        if holds(listed, state):
            return state
    states = {unit.state for unit in units if unit.job_name}
    if not states:
        return "Pending"
    unfinished = states - {"Succeeded", "Failed"}
    if unfinished == {"Queued"}:
        return "Queued"
    return "Running" if states - {"Pending", "Queued"} else "Pending"
