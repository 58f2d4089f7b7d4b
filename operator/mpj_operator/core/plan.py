"""Decide what to do next: one pure function, called on every event and timer.

``plan`` reads the status as the record of what is done, holds it against the children that were
seen, and returns what to create and delete, and the status to write. Called twice on the same
observation it returns the same; called after its own actions it goes on from there.
"""

from dataclasses import dataclass

from mpj_operator.api.status import JobStatus, Runtime, UnitCounts, UnitStatus
from mpj_operator.core import conditions as c
from mpj_operator.core import units as u
from mpj_operator.core.actions import Action, Create, Delete, SetTtl
from mpj_operator.core.ending import end, final_request, report_request
from mpj_operator.core.jobs import job_value
from mpj_operator.core.observed import Observed
from mpj_operator.core.records import (
    advance,
    ended,
    is_active,
    is_over,
    progress_words,
    released,
)
from mpj_operator.core.runtime import runtime_of
from mpj_operator.core.verdicts import absorb, propose, rejudge
from mpj_operator.core.world import World
from mpj_runner.contract.messages import Request
from mpj_runner.contract.result import Result

_LIGHT = frozenset({"prepare", "calibrate", "report"})
"""Kinds of unit that need no accelerator and disturb no measurement's pod."""


@dataclass(frozen=True)
class Plan:
    """What to do, what to write, and when to look again without being asked."""

    actions: tuple[Action, ...]
    status: JobStatus
    look_again: float | None = None
    """Seconds."""


def plan(seen: Observed) -> Plan:
    """Return the next actions and the status of a job."""
    world = World.of(seen)
    if _terminal(world.status) and not _asked_again(world):
        return Plan(tuple(_clean_up(world)), _standing(world))
    _start(world)
    _advance(world)
    _propagate(world)
    propose(world)
    if _too_late(world):
        _give_up(world)
    stamp = c.Stamp(seen.now, seen.job.metadata.generation)
    if end(world, stamp):
        _release_all(world, "the job has ended")
    elif seen.job.spec.suspend:
        _release_all(world, "the job is suspended")
        world.status = world.status.model_copy(
            update={"conditions": c.suspended(world.status.conditions, stamp)}
        )
    else:
        _create(world)
        words = progress_words(world.records.values())
        world.status = world.status.model_copy(
            update={"conditions": c.running(world.status.conditions, words, stamp)}
        )
    return Plan(tuple(world.actions), _status(world), _look_again(world))


def _terminal(status: JobStatus) -> bool:
    """Tell whether there is a verdict; that a spec was invalid ends with the spec that is not."""
    failed = c.find(status.conditions, "Failed")
    if failed is not None and failed.status == "True":
        return failed.reason != c.INVALID
    return c.holds(status.conditions, "Complete")


def _standing(world: World) -> JobStatus:
    """Return a verdict that stands for the changed spec as well, such as one with another ttl.

    Whoever waits for the job compares generations: kubectl wait the conditions', kstatus the
    status' own.
    """
    generation = world.seen.job.metadata.generation
    conditions = c.standing(world.status.conditions, generation)
    changes = {"conditions": conditions, "observed_generation": generation}
    return world.status.model_copy(update=changes)


def _asked_again(world: World) -> bool:
    """Tell whether a Complete job's objective was changed: only that starts it anew."""
    return (
        c.holds(world.status.conditions, "Complete")
        and world.status.objective_sha256 != world.objective_digests()[0]
    )


def _start(world: World) -> None:
    """Pin the runtime at the first look; judge again when the objective has changed."""
    status = world.status
    objective, measured = world.objective_digests()
    if status.objective_sha256 not in (None, objective):
        if status.measured_sha256 != measured:
            for unit in world.graph.values():
                if unit.kind in ("reference", "baseline", "candidate"):
                    _forget(world, unit.name)
        else:
            rejudge(world)
        for name in (u.FINAL, u.REPORT):
            _forget(world, name)
        status = status.model_copy(update={"best": None, "report": None})
    world.status = status.model_copy(
        update={
            "runtime": runtime_of(world.seen),
            "start_time": status.start_time or world.seen.now,
            "completion_time": None,
            "objective_sha256": objective,
            "measured_sha256": measured,
        }
    )


def _forget(world: World, name: str) -> None:
    """Make a unit again that is over, or that runs with requests which are no longer right."""
    record = world.records.get(name)
    if record is None:
        return
    if is_active(record):
        world.delete(name, "the objective has changed")
    world.put(released(record))
    if name in world.results:
        artifacts = world.results[name].artifacts
        world.results[name] = Result(name=name, artifacts=artifacts)


def _advance(world: World) -> None:
    """Bring every record up to what its child shows, in the order of the graph."""
    for name, unit in world.graph.items():
        change = advance(unit, world.records.get(name), world.seen.children, world.seen.now)
        if change.record.job_name or change.record.attempt > 1:
            world.put(change.record)
        if change.stop is not None:
            world.actions.append(Delete(change.stop, change.record.reason or "Failed"))
        if change.termination is not None:
            absorb(world, unit, change.termination)
        _show(world, unit, change.record)


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


def _propagate(world: World) -> None:
    """Fail what waits for a unit that failed; final and report have their own rules."""
    for name, unit in world.graph.items():
        if unit.kind in ("final", "report") or world.state(name) in ("Succeeded", "Failed"):
            continue
        broken = next((need for need in unit.needs if world.state(need) == "Failed"), None)
        if broken is not None:
            record = world.records.get(name) or UnitStatus(name=name)
            message = f"needs the unit {broken}, which failed"
            world.records[name] = ended(record, "DependencyFailed", message, world.seen.now)
            _show(world, unit, world.records[name])


def _create(world: World) -> None:
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
        value = job_value(world.seen.job, unit, record.attempt, requests, image, hardware)
        action = Create(value)
        world.actions.append(action)
        world.records[name] = record.model_copy(
            update={"job_name": action.name, "reason": "Created", "message": None}
        )
        total, judging = total + 1, judging + (unit.kind not in _LIGHT)


def _requests(world: World, unit: u.Unit) -> tuple[Request, ...] | None:
    """Return a unit's requests, or None while something that it needs is not there."""
    if unit.kind == "final":
        return final_request(world)
    if unit.kind == "report":
        return report_request(world)
    if all(world.state(need) == "Succeeded" for need in unit.needs):
        return world.requests.of(unit)
    return None


def _release_all(world: World, reason: str) -> None:
    """Delete every unfinished child; what is finished stays."""
    for name, record in tuple(world.records.items()):
        if is_active(record):
            world.delete(name, reason)
            world.put(released(record))
            unit = world.graph.get(name)
            if unit is not None:
                _show(world, unit, world.records[name])


def _too_late(world: World) -> bool:
    seconds = world.seen.job.spec.active_deadline_seconds
    return seconds is not None and world.active_seconds() >= seconds


def _give_up(world: World) -> None:
    """End what is unfinished at the job's deadline; final and report still run."""
    for name, unit in world.graph.items():
        record = world.records.get(name) or UnitStatus(name=name)
        if unit.kind in ("final", "report") or is_over(record):
            continue
        world.delete(name, "DeadlineExceeded")
        message = "spec.activeDeadlineSeconds was reached: raise it to let it finish"
        world.records[name] = ended(record, "DeadlineExceeded", message, world.seen.now)
        _show(world, unit, world.records[name])
    if world.search is not None:
        world.search = world.search.model_copy(update={"done": True})


def _status(world: World) -> JobStatus:
    job = world.seen.job
    records = [world.records.get(name) or UnitStatus(name=name) for name in world.graph]
    listed = [world.results[unit.name] for unit in world.candidates() if unit.name in world.results]
    done = sum(is_over(record) for record in records)
    return world.status.model_copy(
        update={
            "observed_generation": job.metadata.generation,
            "state": c.state_of(world.status.conditions, records),
            "units": UnitCounts(
                total=len(records),
                succeeded=sum(record.state == "Succeeded" for record in records),
                active=sum(is_active(record) for record in records),
                failed=sum(record.state == "Failed" for record in records),
            ),
            "progress": f"{done}/{len(records)}",
            "unit_statuses": tuple(records),
            "reference": world.results.get(u.REFERENCE),
            "baseline": world.results.get(u.BASELINE),
            "candidates": tuple(listed),
            "search": world.search,
        }
    )


def _look_again(world: World) -> float | None:
    """Return when the deadline would be reached if pods keep running.

    A verdict is written before the children get their time to live: a crash must not lose both.
    """
    if _terminal(world.status):
        return 1.0 if _clean_up(world) else None
    seconds = world.seen.job.spec.active_deadline_seconds
    if seconds is None:
        return None
    left = seconds - world.active_seconds()
    return max(1.0, left) if left > 0 else None


def _clean_up(world: World) -> list[Action]:
    """Return what a finished job still needs: no child left running, and their time to live."""
    going = {action.name for action in world.actions if isinstance(action, Delete)}
    ttl = world.seen.job.spec.ttl_seconds_after_finished
    actions: list[Action] = []
    for child in world.seen.children:
        if not child.owned or child.deleting or child.name in going:
            continue
        if child.outcome is None:
            actions.append(Delete(child.name, "the job has ended"))
        elif child.ttl != ttl:
            actions.append(SetTtl(child.name, ttl))
    return actions
