"""Decide what to do next: one pure function, called on every event and timer.

``plan`` reads the status as the record of what is done, holds it against the children that were
seen, and returns what to create and delete, and the status to write. Called twice on the same
observation it returns the same; called after its own actions it goes on from there.

What becomes of the job is decided here, what becomes of its units in ``lifecycle``.
"""

from dataclasses import dataclass

from mpj_operator.api.status import JobStatus, UnitCounts, UnitStatus
from mpj_operator.core import conditions as c
from mpj_operator.core import lifecycle
from mpj_operator.core import units as u
from mpj_operator.core.actions import Action, Delete, SetTtl
from mpj_operator.core.ending import MOST_FINALS, end
from mpj_operator.core.observed import Observed
from mpj_operator.core.records import is_active, is_over, progress_words
from mpj_operator.core.runtime import runtime_of
from mpj_operator.core.verdicts import grown, propose, rejudge
from mpj_operator.core.world import World
from mpj_runner.contract.result import Result

_MEASURED = frozenset({"reference", "baseline", "candidate"})


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
    lifecycle.follow(world)
    lifecycle.fail_dependents(world)
    if _too_late(world):
        lifecycle.give_up(world)
    elif propose(world):
        _compare_again(world, "the search goes on")
    stamp = c.Stamp(seen.now, seen.job.metadata.generation)
    if end(world, stamp):
        lifecycle.release_all(world, "the job has ended")
    elif seen.job.spec.suspend:
        lifecycle.release_all(world, "the job is suspended")
        world.status = world.status.model_copy(
            update={"conditions": c.suspended(world.status.conditions, stamp)}
        )
    else:
        lifecycle.set_deadlines(world)
        lifecycle.create_ready(world)
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
    """Tell whether a Complete job has another objective or a larger search: these start it anew."""
    changed = world.status.objective_sha256 != world.objective_digests()[0]
    return c.holds(world.status.conditions, "Complete") and (changed or grown(world))


def _start(world: World) -> None:
    """Pin the runtime at the first look; judge again when the objective has changed."""
    _find_out_again(world)
    objective, measured = world.objective_digests()
    if world.status.objective_sha256 not in (None, objective):
        if world.status.measured_sha256 != measured:
            for unit in world.graph.values():
                if unit.kind in ("reference", "baseline", "candidate"):
                    lifecycle.repeat(world, unit.name, "the objective has changed")
        else:
            rejudge(world)
        _compare_again(world, "the objective has changed")
    world.status = world.status.model_copy(
        update={
            "runtime": runtime_of(world.seen),
            "start_time": world.status.start_time or world.seen.now,
            "completion_time": None,
            "store_uri": world.store or None,
            "objective_sha256": objective,
            "measured_sha256": measured,
        }
    )


def _find_out_again(world: World) -> None:
    """Make units again whose work is not there: it lies in another store, or the status lost it."""
    if world.status.store_uri not in (None, world.store):
        for name in world.graph:
            lifecycle.repeat(world, name, "spec.storage.uri has changed")
        _compare_again(world, "spec.storage.uri has changed")
        world.results = {name: Result(name=name) for name in world.results}
    lost = [name for name in world.graph if _is_lost(world, name)]
    if u.REFERENCE not in world.results and world.state(u.PREPARE) == "Succeeded":
        # With it goes what prepare found, and what is measured now would be held against nothing.
        lost += [u.PREPARE, u.REFERENCE, u.BASELINE]
        lost += [unit.name for unit in world.candidates() if _runs(world, unit.name)]
    if u.SCORE in lost:
        lifecycle.forget(world, u.TRIAL_PREFIX)
    for name in dict.fromkeys(lost):
        lifecycle.repeat(world, name, "the status has lost its result")
    if lost:
        _compare_again(world, "the status has lost results")


def _is_lost(world: World, name: str) -> bool:
    """Tell whether a unit is done, and the status does not have what it found."""
    if world.state(name) != "Succeeded":
        return False
    if name == u.SCORE:
        return world.seen.job.spec.search is not None and world.search is None
    return world.graph[name].kind in _MEASURED and name not in world.results


def _runs(world: World, name: str) -> bool:
    record = world.records.get(name)
    return record is not None and is_active(record)


def _compare_again(world: World, reason: str) -> None:
    """Measure the finalists again and report anew: figures of two pods are never compared."""
    for name in (u.FINAL, u.REPORT):
        lifecycle.repeat(world, name, reason)
    record = world.records.get(u.FINAL)
    if record is not None and record.remeasured:
        # What could not be trusted is in the cache: as many tries as at first, none of them there.
        times = (record.remeasured // MOST_FINALS + 1) * MOST_FINALS
        world.put(record.model_copy(update={"remeasured": times}))
    for name, result in world.results.items():
        if result.speedup_vs_reference is not None:
            world.results[name] = result.model_copy(update={"speedup_vs_reference": None})
    world.status = world.status.model_copy(update={"best": None, "report": None})


def _too_late(world: World) -> bool:
    seconds = world.seen.job.spec.active_deadline_seconds
    return seconds is not None and world.active_seconds() >= seconds


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
        # What cleans up may see more children than what ended the job: see Observed.children.
        return 1.0 if not _terminal(world.seen.job.status) or _clean_up(world) else None
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
