"""The end of a job: the final measurement, the report, and the verdict on the whole."""

from mpj_operator.api.status import BestStatus, UnitStatus
from mpj_operator.core import conditions as c
from mpj_operator.core import units as u
from mpj_operator.core.judge import best
from mpj_operator.core.params import precision_of
from mpj_operator.core.results import engine_digest
from mpj_operator.core.world import World
from mpj_runner.contract.messages import Request
from mpj_runner.contract.report import Best, Environment, Objective, ReportJob, ReportParams
from mpj_runner.contract.steps import Precision

FINALISTS = 3
"""Accepted candidates that the final measurement compares."""
MOST_FINALS = 9
"""Final measurements of one objective; after those that decide nothing no further one is made."""


def final_request(world: World) -> tuple[Request, ...] | None:
    """Return the final measurement's request once every candidate and the search are over."""
    judged = [unit.name for unit in world.candidates()]
    if not world.over([u.REFERENCE, u.BASELINE, *judged]) or not _search_over(world):
        return None
    if world.state(u.BASELINE) != "Succeeded" or world.state(u.REFERENCE) != "Succeeded":
        return None
    if judged and all(world.results[name].state == "Failed" for name in judged):
        return None
    record = world.records.get(u.FINAL)
    return world.requests.final(_engines(world), (record.remeasured or 0) if record else 0)


def undecided(world: World) -> bool:
    """Tell whether a final measurement left none of those that it compared, and others remain.

    Its figures and those of another one are never compared; but who was not in it has not lost.
    """
    record = world.records.get(u.FINAL)
    if record is None or record.state != "Succeeded":
        return False
    if (record.remeasured or 0) % MOST_FINALS == MOST_FINALS - 1:
        return False
    results = [world.results[unit.name] for unit in world.candidates()]
    accepted = [r for r in results if r.state == "Accepted" and r.speedup is not None]
    return bool(accepted) and all(r.speedup_vs_reference is None for r in accepted)


def report_request(world: World) -> tuple[Request, ...] | None:
    """Return the report's request once the final measurement is there."""
    if world.state(u.FINAL) != "Succeeded":
        return None
    reference, baseline = world.results.get(u.REFERENCE), world.results.get(u.BASELINE)
    winner = _best(world)
    if reference is None or baseline is None or winner is None:
        return None
    job, runtime = world.seen.job, world.status.runtime
    spec = job.spec
    params = ReportParams(
        job=ReportJob(
            name=job.metadata.name,
            namespace=job.metadata.namespace,
            uid=job.metadata.uid,
            spec_sha256=spec.sha256(),
        ),
        environment=Environment(
            backend=spec.target.backend,
            hardware=runtime.gpu_product if runtime else None,
            image=runtime.image if runtime else None,
            runner_version=runtime.runner_version if runtime else None,
        ),
        objective=Objective(
            metric=spec.objective.metric,
            max_accuracy_drop=spec.objective.max_accuracy_drop,
            drop_type=spec.objective.drop_type,
            min_speedup=spec.objective.min_speedup,
            baseline_precision=spec.baseline_precision,
        ),
        reference=reference,
        baseline=baseline,
        candidates=tuple(world.results[unit.name] for unit in world.candidates()),
        best=winner,
        deadline_exceeded=_late(world),
    )
    return world.requests.report(params)


def end(world: World, stamp: c.Stamp) -> bool:
    """Give the job its verdict when it has one; tell whether it has ended."""
    accepted = c.with_condition(world.status.conditions, "Accepted", "True", "Valid", "", stamp)
    if failure := _failure(world):
        reason, message = failure
        conditions = c.failed(accepted, reason, message, stamp)
    elif _all_done(world) and (winner := _best(world)) is not None:
        result = world.results[winner.name]
        reason = "DeadlineExceeded" if _late(world) else _reason(world, winner)
        conditions = c.complete(accepted, reason, f"{winner.name}: {winner.reason}", stamp)
        world.status = world.status.model_copy(update={"best": BestStatus.of(winner, result)})
    else:
        return False
    world.status = world.status.model_copy(
        update={"conditions": conditions, "completion_time": stamp.now}
    )
    return True


def _all_done(world: World) -> bool:
    return world.state(u.FINAL) == world.state(u.REPORT) == "Succeeded"


def _failure(world: World) -> tuple[str, str] | None:
    """Return why the job has no answer, or None."""
    for name, reason in (
        (u.PREPARE, "PrepareFailed"),
        (u.REFERENCE, "ReferenceFailed"),
        (u.BASELINE, "BaselineFailed"),
        (u.FINAL, "FinalFailed"),
        (u.REPORT, "ReportFailed"),
    ):
        record = world.records.get(name)
        if record is not None and record.state == "Failed":
            late = record.reason == "DeadlineExceeded"
            return "DeadlineExceeded" if late else reason, _words(record)
    reference = world.results.get(u.REFERENCE)
    if reference is not None and reference.state == "Failed":
        words = "; ".join(reference.reasons)
        fix = "check spec.model.preprocess, spec.model.decoder and spec.model.inputSize"
        return "ReferenceUnusable", f"reference: {words}: {fix}"
    judged = [world.results.get(unit.name) for unit in world.candidates()]
    results = [result for result in judged if result is not None]
    if results and len(results) == len(judged) and all(r.state == "Failed" for r in results):
        if not _search_over(world):
            return None
        shown = "; ".join(f"{r.name}: {r.reasons[0]}" for r in results[:3] if r.reasons)
        return ("DeadlineExceeded" if _late(world) else "AllCandidatesFailed"), shown
    return None


def _words(record: UnitStatus) -> str:
    where = f"{record.name} ({record.step})" if record.step else record.name
    return f"{where}: {record.message or record.reason or 'failed'}"


def _reason(world: World, winner: Best) -> str:
    if winner.name not in (u.REFERENCE, u.BASELINE):
        return "WinnerFound"
    states = {world.results[unit.name].state for unit in world.candidates()}
    return "BaselineIsFastest" if "Accepted" in states else "NoCandidateAccepted"


def _late(world: World) -> bool:
    return any(record.reason == "DeadlineExceeded" for record in world.records.values())


def _search_over(world: World) -> bool:
    return world.seen.job.spec.search is None or bool(world.search and world.search.done)


def _engines(world: World) -> list[tuple[str, Precision]]:
    """Return what the final measurement compares: the baseline first, each engine once."""
    engines: list[tuple[str, Precision]] = [(u.BASELINE, world.seen.job.spec.baseline_precision)]
    if engine_digest(world.results[u.REFERENCE]) != engine_digest(world.results[u.BASELINE]):
        engines.append((u.REFERENCE, "fp32"))
    accepted: dict[str | None, tuple[u.Unit, float]] = {}
    for unit in world.candidates():
        result = world.results[unit.name]
        if result.state == "Accepted" and result.speedup is not None:
            # Of equal engines the first named stands for all: the user's before a trial's.
            first, speed = accepted.get(engine_digest(result), (unit, 0.0))
            accepted[engine_digest(result)] = (first, max(speed, result.speedup.value))
    fastest = sorted(accepted.values(), key=lambda pair: -pair[1])[:FINALISTS]
    spec = world.seen.job.spec
    engines += [(unit.name, precision_of(unit.candidate, spec)) for unit, _ in fastest]
    return engines


def _best(world: World) -> Best | None:
    limit = world.limits()
    reference, baseline = world.results.get(u.REFERENCE), world.results.get(u.BASELINE)
    if limit is None or reference is None or baseline is None:
        return None
    candidates = [world.results[unit.name] for unit in world.candidates()]
    # Only the final measurement fills in speedup_vs_reference.
    speeds = {
        result.name: result.speedup.value
        for result in (reference, baseline, *candidates)
        if result.speedup is not None and result.speedup_vs_reference is not None
    }
    return best(reference, baseline, candidates, limit, speeds)
