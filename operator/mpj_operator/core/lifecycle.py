"""The life of a unit in a pass: created when it can run, followed, and ended or let go.

``records`` says what becomes of one unit's record; here all units of a job move on together, and
the results of those that are measured follow them.
"""

from collections.abc import Iterator

from mpj_operator.api.status import Runtime, UnitStatus
from mpj_operator.core import units as u
from mpj_operator.core.actions import Create, Delete, SetDeadline
from mpj_operator.core.ending import final_request, report_request, undecided
from mpj_operator.core.jobs import job_value
from mpj_operator.core.records import (
    AGAIN,
    LOST,
    advance,
    ended,
    is_active,
    is_over,
    released,
)
from mpj_operator.core.verdicts import absorb, finish_search
from mpj_operator.core.world import World
from mpj_runner.contract.messages import Request, Termination
from mpj_runner.contract.result import Result

_LIGHT = frozenset({"prepare", "calibrate", "report"})
"""Kinds of unit that need no accelerator and disturb no measurement's pod."""


def follow(world: World) -> None:
    """Bring every record up to what its child shows, in the order of the graph."""
    for name, unit in world.graph.items():
        change = advance(unit, world.records.get(name), world.seen.children, world.seen.now)
        if change.record.job_name or change.record.attempt > 1:
            world.put(change.record)
        if change.stop is not None:
            world.actions.append(Delete(change.stop, change.record.reason or "Failed"))
        if change.termination is not None:
            _absorb(world, unit, change.termination)
        _show(world, unit, world.records.get(name, change.record))
    if undecided(world):
        _compare_once_more(world)


def _compare_once_more(world: World) -> None:
    """Measure the finalists again, or the next ones where none of them is left."""
    times = (world.records[u.FINAL].remeasured or 0) + 1
    for name in (u.FINAL, u.REPORT):
        repeat(world, name, "the final measurement decided nothing")
    said = {
        "remeasured": times,
        "reason": AGAIN,
        "message": "its figures could not be trusted, or none that it compared was accepted",
    }
    world.put(world.records[u.FINAL].model_copy(update=said))


def _absorb(world: World, unit: u.Unit, words: Termination) -> None:
    """Take in a unit's last words; those of another version end it, and stop nothing else."""
    try:
        absorb(world, unit, words)
    except (ValueError, KeyError) as error:
        why = f"its result is not one of this operator's version ({_first_line(error)}): "
        fix = "give operator and job image one version and start the job again"
        record = ended(world.records[unit.name], "ResultUnreadable", why + fix, world.seen.now)
        world.records[unit.name] = record


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def fail_dependents(world: World) -> None:
    """Fail what waits for a unit that failed."""
    for unit in _unfinished(world):
        broken = next((need for need in unit.needs if world.state(need) == "Failed"), None)
        if broken is not None:
            message = f"needs the unit {broken}, which failed"
            _end(world, unit, "DependencyFailed", message)


def create_ready(world: World) -> None:
    """Create the children that can run now, as many as parallelism allows."""
    spec, settings = world.seen.job.spec, world.seen.settings
    runtime = world.status.runtime or Runtime()
    image, hardware = runtime.image or settings.image, runtime.gpu_product
    active = [world.graph[n] for n, r in world.records.items() if n in world.graph and is_active(r)]
    total, judging = len(active), sum(unit.kind not in _LIGHT for unit in active)
    for name, unit in world.graph.items():
        record = world.records.get(name) or UnitStatus(name=name)
        if is_over(record) or is_active(record):
            continue
        requests = _requests(world, unit)
        if requests is None:
            continue
        if settings.max_active is not None and total >= settings.max_active:
            break
        if unit.kind not in _LIGHT and judging >= spec.parallelism:
            continue
        value = job_value(
            world.seen.job, unit, record.attempt, requests, image, hardware,
            fixed_ids=settings.fixed_ids,
        )  # fmt: skip
        action = Create(value)
        world.actions.append(action)
        said = {"job_name": action.name, "reason": "Created", "message": None}
        if record.reason in (LOST, AGAIN):  # why it is made again is told with that it is
            said = {"job_name": action.name}
        world.records[name] = record.model_copy(update=said)
        total, judging = total + 1, judging + (unit.kind not in _LIGHT)


def set_deadlines(world: World) -> None:
    """Give the children that run the time that the spec says now."""
    seconds = world.seen.job.spec.unit_deadline_seconds
    going = {action.name for action in world.actions if isinstance(action, Delete)}
    for child in world.seen.children:
        live = child.owned and not child.deleting and child.outcome is None
        if live and child.deadline != seconds and child.name not in going:
            world.actions.append(SetDeadline(child.name, seconds))


def give_up(world: World) -> None:
    """End what is unfinished at the job's deadline; final and report still run."""
    for unit in _unfinished(world):
        world.delete(unit.name, "DeadlineExceeded")
        message = (
            "spec.activeDeadlineSeconds was reached: raise it and start the job again; "
            "what is finished is not lost"
        )
        _end(world, unit, "DeadlineExceeded", message)
    finish_search(world)


def release_all(world: World, reason: str) -> None:
    """Delete every unfinished child; what is finished stays."""
    for name, record in tuple(world.records.items()):
        if is_active(record):
            world.delete(name, reason)
            world.put(released(record))
            unit = world.graph.get(name)
            if unit is not None:
                _show(world, unit, world.records[name])


def repeat(world: World, name: str, reason: str) -> None:
    """Make a unit again that is over, or that runs with requests which are no longer right.

    A child that the status does not know of yet was made with such requests too.
    """
    unknown = [
        child
        for child in world.seen.children
        if child.unit == name and child.owned and not child.deleting
    ]
    record = world.records.get(name)
    if record is None and not unknown:
        return
    record = record or UnitStatus(name=name)
    if is_active(record):
        world.delete(name, reason)
    going = {action.name for action in world.actions if isinstance(action, Delete)}
    for child in unknown:
        if child.outcome is None and child.name not in going:
            world.actions.append(Delete(child.name, reason))
    newest = max((child.attempt for child in unknown), default=0)
    # One that was given up before it had a child takes its first attempt now.
    fresh = record.job_name is None and newest < record.attempt
    attempt = record.attempt if fresh else max(record.attempt, newest) + 1
    times = record.remeasured
    world.put(UnitStatus(name=name, attempt=attempt, lost=record.lost, remeasured=times))
    if name in world.results:
        artifacts = world.results[name].artifacts
        world.results[name] = Result(name=name, artifacts=artifacts)


def forget(world: World, prefix: str) -> None:
    """Let go of units that are no longer in the graph; the time that they took stays spent."""
    for name, record in tuple(world.records.items()):
        if name.startswith(prefix) and name not in world.graph:
            if is_active(record):
                world.delete(name, "the search begins anew")
            world.put(UnitStatus(name=name))
            del world.records[name]


def _requests(world: World, unit: u.Unit) -> tuple[Request, ...] | None:
    """Return a unit's requests, or None while something that it needs is not there."""
    if unit.kind == "final":
        return final_request(world)
    if unit.kind == "report":
        return report_request(world)
    if all(world.state(need) == "Succeeded" for need in unit.needs):
        return world.requests.of(unit)
    return None


def _unfinished(world: World) -> Iterator[u.Unit]:
    """Yield the units without an end; final and report have rules of their own."""
    for name, unit in world.graph.items():
        over = world.state(name) in ("Succeeded", "Failed")
        if not over and unit.kind not in ("final", "report"):
            yield unit


def _end(world: World, unit: u.Unit, reason: str, message: str) -> None:
    """Fail a unit that the plan gives up, whether it had a child or not."""
    record = world.records.get(unit.name) or UnitStatus(name=unit.name)
    world.records[unit.name] = ended(record, reason, message, world.seen.now)
    _show(world, unit, world.records[unit.name])


def _show(world: World, unit: u.Unit, record: UnitStatus) -> None:
    """Let the results of candidates follow their units."""
    if unit.kind not in ("reference", "baseline", "candidate"):
        return
    result = world.results.get(unit.name) or Result(name=unit.name)
    if record.state == "Failed":
        reason = f"{record.step or 'unit'}: {record.message or record.reason or 'failed'}"
        result = result.model_copy(update={"state": "Failed", "reasons": (reason[:1024],)})
    elif record.state != "Succeeded":
        state = "Running" if record.state == "Running" else "Pending"
        result = result.model_copy(update={"state": state})
    world.results[unit.name] = result
