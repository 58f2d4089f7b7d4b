"""Verdicts of a pass: units' last words become results, results become verdicts and trials."""

from mpj_operator.api.status import ReportFiles, Runtime, SearchStatus, TrialStatus
from mpj_operator.core import results as r
from mpj_operator.core import units as u
from mpj_operator.core.judge import drop_allowed, judge
from mpj_operator.core.requests import scoring_container
from mpj_operator.core.search import Trial, ask
from mpj_operator.core.world import World
from mpj_runner.contract.messages import Termination
from mpj_runner.contract.result import Artifacts, Result
from mpj_runner.contract.steps import BenchmarkOutcome

FINALS = 3
"""Attempts at a final measurement that can be trusted; what the last one says counts."""


def absorb(world: World, unit: u.Unit, words: Termination) -> None:
    """Take in the last words of a unit that has just succeeded."""
    if unit.kind == "prepare":
        metadata = r.shown_artifact(words, "export", "metadata", world.store)
        artifacts = Artifacts(metadata=metadata)
        world.results[u.REFERENCE] = Result(name=u.REFERENCE, artifacts=artifacts)
    elif unit.kind == "score":
        _found_layers(world, words)
    elif unit.kind in ("reference", "baseline", "candidate"):
        _measure(world, unit, words)
    elif unit.kind == "final":
        _decide(world, words)
    elif unit.kind == "report":
        files = ReportFiles(
            json_file=r.shown_artifact(words, "report", "json", world.store),
            html=r.shown_artifact(words, "report", "html", world.store),
        )
        world.status = world.status.model_copy(update={"report": files})


def rejudge(world: World) -> None:
    """Judge every measured candidate by the objective as it is now."""
    limit = world.limits()
    if limit is None:
        return
    for unit in world.candidates():
        result = world.results.get(unit.name)
        if result is not None and result.state in ("Accepted", "Rejected"):
            quantized, known = _quantized(unit, result), r.unsound(result.reasons)
            world.results[unit.name] = judge(result, limit, quantized=quantized, known=known)


def propose(world: World) -> bool:
    """Ask the search for its next trial, once the last one is judged; tell whether there is one."""
    spec, search = world.seen.job.spec.search, world.search
    if spec is None or (search is not None and search.done and not grown(world)):
        return False
    if world.state(u.SCORE) == "Failed" or world.state(u.CALIBRATE) == "Failed":
        finish_search(world)
        return False
    if search is None or world.limits() is None or world.state(u.BASELINE) != "Succeeded":
        return False
    trials = [_told(world, trial) for trial in search.trials]
    kept = ask(search.layers, trials, spec.max_trials)
    if kept is not None:
        trial = TrialStatus(name=u.trial_name(len(trials) + 1), kept=kept)
        world.search = search.model_copy(update={"trials": (*search.trials, trial), "done": False})
        world.graph = u.graph(world.seen.job.spec, {t.name: t.kept for t in world.search.trials})
        world.results[trial.name] = Result(name=trial.name)
        return True
    if not any(trial.verdict == "running" for trial in trials):
        finish_search(world)
    return False


def finish_search(world: World) -> None:
    """Make no further trial, unless the budget grows."""
    spec = world.seen.job.spec.search
    if spec is not None:
        search = world.search or SearchStatus(layers=0)
        changes = {"done": True, "max_trials": spec.max_trials}
        world.search = search.model_copy(update=changes)


def grown(world: World) -> bool:
    """Tell whether a search that was done goes on, since maxTrials has grown."""
    spec, search = world.seen.job.spec.search, world.search
    if spec is None or search is None or not (search.done and search.layers):
        return False
    if search.max_trials is None or spec.max_trials <= search.max_trials:
        return False
    trials = [_told(world, trial) for trial in search.trials]
    return ask(search.layers, trials, spec.max_trials) is not None


def _told(world: World, trial: TrialStatus) -> Trial:
    result, limit = world.results.get(trial.name), world.limits()
    if result is None or limit is None or result.state in ("Pending", "Running"):
        return Trial(trial.kept, "running")
    if result.state == "Failed":
        return Trial(trial.kept, "failed")
    accurate = result.map_drop is not None and drop_allowed(result.map_drop, limit)
    return Trial(trial.kept, "accurate" if accurate else "inaccurate")


def _found_layers(world: World, words: Termination) -> None:
    spec = world.seen.job.spec
    if spec.search is None:
        return
    container = scoring_container("score", u.search_scoring(spec))
    layers = r.scored_layers(words, container)
    trials = world.search.trials if world.search is not None else ()
    world.search = SearchStatus(layers=layers, trials=trials)


def _measure(world: World, unit: u.Unit, words: Termination) -> None:
    reference = world.results.get(u.REFERENCE)
    metadata = Artifacts(
        metadata=reference.artifacts.metadata if reference and reference.artifacts else None
    )
    empty = Result(name=unit.name, artifacts=metadata)
    same = unit.kind == "reference" or (
        unit.kind == "baseline" and world.seen.job.spec.baseline_precision == "fp32"
    )
    result, against = r.measured(empty, words, world.store, is_reference=same)
    _pin_hardware(world, words)
    if unit.kind == "candidate":
        limit = world.limits()
        if limit is None:
            raise ValueError(f"{unit.name} was measured before the reference")
        quantized = _quantized(unit, result)
        result = judge(result, limit, quantized=quantized, known=against)
    else:
        odd = r.suspicion(words)
        reasons = (*against, *((odd,) if odd else ()))
        unusable = unit.kind == "reference" and result.map_drop is None
        result = result.model_copy(
            update={"state": "Failed" if unusable else "Accepted", "reasons": reasons}
        )
    world.results[unit.name] = result
    if unit.kind == "reference":
        rejudge(world)  # it was measured again, and the objective may have changed meanwhile


def _decide(world: World, words: Termination) -> None:
    """Put the final measurement's figures into the results that it measured, and judge again."""
    timing, limit = r.outcome(words, "benchmark", BenchmarkOutcome), world.limits()
    if timing is None:
        raise ValueError("no container of it is called benchmark")
    if limit is None:
        return
    _pin_hardware(world, words)
    finalists = any(world.graph[engine.name].kind == "candidate" for engine in timing.engines)
    tries = (world.records[u.FINAL].remeasured or 0) % FINALS + 1
    if timing.unreliable and finalists and tries < FINALS:
        return  # measured again: what was found of each candidate alone is as sound as before
    speeds = {engine.name: engine.speedup.value for engine in timing.engines}
    reference = speeds.get(u.REFERENCE, 1.0)  # not measured where it is the baseline's own engine
    for engine in timing.engines:
        result, unit = world.results[engine.name], world.graph[engine.name]
        figures = {
            **r.timed(engine, reliable=timing.unreliable is None),
            "speedup_vs_reference": round(engine.speedup.value / reference, 4),
        }
        if unit.kind != "candidate":
            result = result.model_copy(update=figures)
        elif timing.unreliable:
            # Its own figures stay: another objective judges it by them, and compares it again.
            why = f"the final {r.unreliable(timing.unreliable)}"
            result = result.model_copy(update={"state": "Rejected", "reasons": (why,)})
        else:
            result = result.model_copy(update=figures)
            result = judge(result, limit, quantized=_quantized(unit, result))
        if unit.kind == "candidate":
            _reject_equals(world, result)
        world.results[engine.name] = result


def _reject_equals(world: World, finalist: Result) -> None:
    """Let a finalist that is rejected stand for all whose engine is the same file."""
    digest = r.engine_digest(finalist)
    if finalist.state != "Rejected" or digest is None:
        return
    reasons = (f"its engine is that of {finalist.name}", *finalist.reasons)
    for unit in world.candidates():
        result = world.results[unit.name]
        if result.state == "Accepted" and r.engine_digest(result) == digest:
            changes = {"state": "Rejected", "reasons": reasons}
            world.results[unit.name] = result.model_copy(update=changes)


def _pin_hardware(world: World, words: Termination) -> None:
    timing = r.outcome(words, "benchmark", BenchmarkOutcome)
    runtime = world.status.runtime or Runtime()
    if timing is not None and runtime.gpu_product is None:
        runtime = runtime.model_copy(update={"gpu_product": timing.hardware})
        world.status = world.status.model_copy(update={"runtime": runtime})


def _quantized(unit: u.Unit, result: Result) -> bool:
    """Tell whether the engine must beat the baseline: by what was asked, or by what it holds."""
    asked = unit.candidate is None or unit.candidate.kind in ("ptq", "autoQuantize")
    return asked or (result.layers is not None and result.layers.quantized > 0)
