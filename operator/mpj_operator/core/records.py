"""From a unit's record and its child to its next record."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mpj_operator.api.status import ManifestReference, UnitStatus
from mpj_operator.core.failure import (
    IMAGE_PULL,
    MAX_DISRUPTIONS,
    UNIT_DEADLINE,
    UNIT_DEADLINE_FIELD,
    UnitView,
    says_why,
    view,
)
from mpj_operator.core.observed import ChildSeen
from mpj_operator.core.units import Unit
from mpj_runner.contract.messages import Termination

REMEMBERED = MAX_DISRUPTIONS + 1
"""Disrupted pods whose names are kept."""
LOST = "ResultLost"
"""Reason of a unit whose child or whose last words are gone."""
AGAIN = "MeasuredAgain"
"""Reason of a measurement that decided nothing."""
MAX_LOST = 3
"""Results of one unit that may get lost before it is given up."""


@dataclass(frozen=True)
class Change:
    """A unit's next record, and what came with it."""

    record: UnitStatus
    termination: Termination | None = None
    """Last words of a unit that succeeded just now."""
    stop: str | None = None
    """Name of a child that still runs but must not."""


def is_over(record: UnitStatus) -> bool:
    """Tell whether a unit has its end."""
    return record.state in ("Succeeded", "Failed")


def is_active(record: UnitStatus) -> bool:
    """Tell whether a unit has a child that is not finished."""
    return record.job_name is not None and not is_over(record)


def progress_words(records: Iterable[UnitStatus]) -> str:
    """Say what runs; where all that is active waits, what it waits for."""
    active = [r for r in records if is_active(r)]
    if not active:
        return "nothing runs"
    waiting = [r for r in active if r.state != "Running" and r.message]
    shown = waiting[0] if waiting and len(waiting) == len(active) else active[0]
    words = f"{shown.name}: {shown.step or shown.reason or shown.state}"
    return f"{words}: {shown.message}" if shown.message and shown.state != "Running" else words


def active_seconds(records: Iterable[UnitStatus], now: datetime) -> float:
    """Return for how long a pod of these units was scheduled: the union of their times."""
    spans = sorted(
        (record.start_time, record.completion_time or now)
        for record in records
        if record.start_time is not None
    )
    total, until = timedelta(), datetime.min.replace(tzinfo=now.tzinfo)
    for start, stop in spans:
        total += max(timedelta(), stop - max(start, until))
        until = max(until, stop)
    return total.total_seconds()


def advance(
    unit: Unit, record: UnitStatus | None, children: Iterable[ChildSeen], now: datetime
) -> Change:
    """Return what the unit's children make of its record.

    A child that is being deleted, or that is of an older attempt, is no longer the unit's.

    Args:
        unit: what the children are for.
        record: of the unit so far.
        children: of the whole job.
        now: when they were seen; the end of a unit whose child does not tell one.
    """
    old = record or UnitStatus(name=unit.name)
    if is_over(old):
        return Change(old)
    mine = [
        child
        for child in children
        if child.unit == unit.name and child.owned and child.attempt >= old.attempt
    ]
    live = [child for child in mine if not child.deleting]
    if not live:
        if old.job_name is None and not mine:
            return Change(old)
        return Change(_again(old, "its Job was deleted", _newest(mine), now))
    child = max(live, key=lambda c: c.attempt)
    old = old.model_copy(
        update={
            "attempt": child.attempt,
            "job_name": child.name,
            "disrupted_pods": _disrupted(old, child),
        }
    )
    limits = f"spec.resources.{'gpu' if unit.gpu else 'cpu'}.limits"
    seen = view(child, limits=limits, disruptions=len(old.disrupted_pods or ()))
    if seen.state == "Lost":
        return Change(_again(old, seen.message, child.attempt, now))
    new = old.model_copy(update=_fields(old, seen, child, now))
    return Change(new, seen.termination, child.name if seen.stop else None)


def released(record: UnitStatus) -> UnitStatus:
    """Return the record of a unit whose child is deleted on purpose: to be made again."""
    if record.job_name is None:
        return record
    return UnitStatus(
        name=record.name,
        attempt=record.attempt + 1,
        lost=record.lost,
        remeasured=record.remeasured,
    )


def ended(record: UnitStatus, reason: str, message: str, now: datetime) -> UnitStatus:
    """Return the record of a unit that the plan gives up."""
    return record.model_copy(
        update={
            "state": "Failed",
            "reason": reason,
            "message": message[:1024],
            "completion_time": now,
        }
    )


def _again(record: UnitStatus, why: str, last: int, now: datetime) -> UnitStatus:
    lost = record.lost + 1
    if lost > MAX_LOST:
        message = f"its result was lost {lost} times; last: {why}"
        return ended(record.model_copy(update={"lost": lost}), LOST, message, now)
    return UnitStatus(
        name=record.name,
        attempt=max(record.attempt, last) + 1,
        lost=lost,
        remeasured=record.remeasured,
        reason=LOST,
        message=why,
    )


def _newest(children: Iterable[ChildSeen]) -> int:
    return max((child.attempt for child in children), default=0)


def _message(old: UnitStatus, seen: UnitView, start: datetime | None) -> str | None:
    """Return what a unit says.

    The cause of a failing pull stays while the kubelet only waits, and that of a unit without a pod
    on any node when its time is up.
    """
    if seen.reason == IMAGE_PULL == old.reason and not says_why(seen.message):
        return old.message
    if seen.reason == UNIT_DEADLINE and start is None and old.message:
        words = f"it had no pod on a node when {UNIT_DEADLINE_FIELD} was over; last:"
        return f"{words} {old.reason}: {old.message}"[:1024]
    return seen.message[:1024] or None


def _disrupted(old: UnitStatus, child: ChildSeen) -> tuple[str, ...] | None:
    """Return the disrupted pods that were seen of an attempt: drained ones are soon gone."""
    known = (old.disrupted_pods or ()) if old.attempt == child.attempt else ()
    now = dict.fromkeys(pod.name for pod in child.pods if pod.disrupted)
    return (*known, *(name for name in now if name not in known))[:REMEMBERED] or None


def _on_a_node_since(old: UnitStatus, seen: UnitView, child: ChildSeen) -> datetime | None:
    """Return since when a unit has a pod on a node; None while it has none.

    What it had before that, ``World.put`` adds to what is spent: only time on a node counts, and a
    replacement may wait for its node for hours, in a queue or without one.
    """
    newest = child.pods[-1] if child.pods else None
    placed = newest.scheduled if newest is not None else None
    spent = old.spent_until
    if seen.state in ("Succeeded", "Failed"):
        known = placed is not None and spent is not None and placed < spent
        return old.start_time or (None if known else placed)
    if seen.state == "Queued" or newest is None or newest.phase == "Failed":
        return None
    if placed is None:
        return None
    return old.start_time or (placed if spent is None else max(placed, spent))


def _fields(old: UnitStatus, seen: UnitView, child: ChildSeen, now: datetime) -> dict[str, object]:
    start = _on_a_node_since(old, seen, child)
    fields: dict[str, object] = {
        "state": seen.state,
        "step": seen.step,
        "reason": seen.reason or None,
        "message": _message(old, seen, start),
        "start_time": start,
    }
    if start is None and old.start_time is not None:
        fields["spent_until"] = now
    if seen.state in ("Succeeded", "Failed"):
        fields["completion_time"] = child.finished or now
    if seen.termination is not None and seen.termination.manifest is not None:
        fields["manifest"] = ManifestReference(sha256=seen.termination.manifest.sha256)
    return fields
