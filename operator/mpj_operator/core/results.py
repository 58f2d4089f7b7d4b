"""From a unit's last words to its result: numbers copied, nothing judged."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from mpj_runner.contract.base import Value
from mpj_runner.contract.messages import StepDone, Termination
from mpj_runner.contract.result import Artifact, Artifacts, Interval, Result
from mpj_runner.contract.steps import (
    AutoQuantOutcome,
    BenchmarkOutcome,
    BuildOutcome,
    EngineTiming,
    EvalOutcome,
)

V = TypeVar("V", bound=Value)
NOTHING = Interval(value=0.0, low=0.0, high=0.0)
_NON_FINITE, _NOTHING_FOUND = "NaN or infinity in the output", "no detections at all"
_UNRELIABLE = "latency is unreliable"
SUSPECT_MAP = 0.005
"""A reference whose mAP is further than this from ONNX Runtime's on the same images is suspect."""


def outcome(words: Termination, step: str, of: type[V]) -> V | None:
    """Return the outcome of a container, or None when the unit has none of that name."""
    done = _done(words).get(step)
    return None if done is None else of.model_validate(done.outcome)


def scored_layers(words: Termination, container: str) -> int:
    """Return how many layers a scoring container ranked."""
    found = outcome(words, container, AutoQuantOutcome)
    return found.layers if found is not None else 0


def measured(
    result: Result, words: Termination, store: str, *, is_reference: bool
) -> tuple[Result, tuple[str, ...]]:
    """Return the result with a unit's figures, and what speaks against it whatever is asked.

    Args:
        result: name and metadata artifact are kept.
        words: last words of the candidate's unit.
        store: URI that blobs are named below.
        is_reference: its drop is zero by definition.
    """
    built = outcome(words, "build", BuildOutcome)
    accuracy = outcome(words, "eval", EvalOutcome)
    timing = outcome(words, "benchmark", BenchmarkOutcome)
    fields: dict[str, Any] = {"artifacts": _artifacts(result, words, store)}
    against: list[str] = []
    if built is not None:
        fields |= {"size_bytes": built.size_bytes, "layers": built.layers}
    if accuracy is not None:
        drop = NOTHING if is_reference else accuracy.drop
        if accuracy.non_finite:
            against.append(f"{_NON_FINITE} of {accuracy.non_finite} images")
        if not accuracy.detections:
            against.append(_NOTHING_FOUND)
        fields |= {
            "map": accuracy.map,
            "map50": accuracy.map50,
            "map_drop": None if against else drop,
        }
    if timing is not None:
        own = {engine.name: engine for engine in timing.engines}.get(result.name)
        fields |= timed(own, reliable=timing.unreliable is None)
        if timing.unreliable:
            against.append(unreliable(timing.unreliable))
    return result.model_copy(update=fields), tuple(against)


def unreliable(why: str) -> str:
    """Return the words for a measurement that cannot be trusted."""
    return f"{_UNRELIABLE}: {why}"


def unsound(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return those of a verdict's reasons that hold whatever the objective asks."""
    return tuple(x for x in reasons if x.startswith((_NON_FINITE, _NOTHING_FOUND, _UNRELIABLE)))


def timed(engine: EngineTiming | None, *, reliable: bool) -> dict[str, Any]:
    """Return the fields of a result that a measurement of its engine fills."""
    if engine is None:
        return {}
    return {
        "latency_ms": engine.latency_ms,
        "throughput_per_second": engine.throughput_per_second,
        "speedup": engine.speedup if reliable else None,
    }


def suspicion(words: Termination) -> str | None:
    """Say what is odd about the reference, or None."""
    accuracy = outcome(words, "eval", EvalOutcome)
    if accuracy is None or accuracy.cross_check_map is None or accuracy.cross_check_own_map is None:
        return None
    if abs(accuracy.cross_check_own_map - accuracy.cross_check_map) <= SUSPECT_MAP:
        return None
    return (
        f"suspect: mAP {accuracy.cross_check_own_map:.4f} where ONNX Runtime on the CPU gives "
        f"{accuracy.cross_check_map:.4f} on the same images"
    )


def shown_artifact(words: Termination, container: str, output: str, store: str) -> Artifact | None:
    """Return an output of a container as an artifact with its place in the store."""
    done = _done(words).get(container)
    blob = done.blobs.get(output) if done is not None else None
    if blob is None:
        return None
    uri = f"{store.rstrip('/')}/blobs/sha256/{blob.sha256}"
    return Artifact(uri=uri, sha256=blob.sha256, size_bytes=blob.size_bytes)


def engine_digest(result: Result) -> str | None:
    """Return the digest of a result's engine, or None where it has none."""
    artifacts = result.artifacts
    return artifacts.engine.sha256 if artifacts is not None and artifacts.engine else None


def _artifacts(result: Result, words: Termination, store: str) -> Artifacts:
    known = result.artifacts or Artifacts()
    return Artifacts(
        onnx=shown_artifact(words, "build", "onnx", store),
        engine=shown_artifact(words, "build", "engine", store),
        metadata=shown_artifact(words, "export", "metadata", store) or known.metadata,
    )


def _done(words: Termination) -> Mapping[str, StepDone]:
    return {step.name: step for step in words.steps}
