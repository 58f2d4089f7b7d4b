"""Which units a job has, what each waits for, and whether it needs the accelerator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mpj_operator.api.candidates import Candidate
from mpj_operator.api.expand import default_method
from mpj_operator.api.job import JobSpec
from mpj_operator.api.target import high_precision
from mpj_runner.contract.quantization import Ptq, QuantFormat, ScoreMethod

Kind = Literal[
    "prepare", "reference", "baseline", "calibrate", "score", "candidate", "final", "report"
]
PREPARE, REFERENCE, BASELINE = "prepare", "reference", "baseline"
CALIBRATE, SCORE, FINAL, REPORT = "calibrate", "score", "final", "report"
TRIAL_PREFIX = "search-"
Scoring = tuple[QuantFormat, ScoreMethod]


@dataclass(frozen=True)
class Unit:
    """One batch/v1 Job of a job."""

    name: str
    kind: Kind
    needs: tuple[str, ...] = ()
    gpu: bool = False
    """Belongs to the class that asks for the accelerator."""
    candidate: Candidate | None = None
    kept: int | None = None
    """A trial's number of layers kept in high precision."""


def graph(spec: JobSpec, trials: Mapping[str, int]) -> dict[str, Unit]:
    """Return the units by name, in an order in which every unit follows what it needs.

    Args:
        spec: the job's spec.
        trials: the search's trials so far: name to kept layers.
    """
    candidates = spec.expanded()
    scores = bool(scorings(spec))
    gpu = not spec.on_cpu
    units = [
        Unit(PREPARE, "prepare"),
        Unit(REFERENCE, "reference", (PREPARE,), gpu),
        Unit(BASELINE, "baseline", (PREPARE, REFERENCE), gpu),
    ]
    if calibrates(spec):
        units.append(Unit(CALIBRATE, "calibrate", (PREPARE,)))
    if scores:
        units.append(Unit(SCORE, "score", (PREPARE,), gpu=gpu))
    judged = (PREPARE, REFERENCE, BASELINE)
    units += [
        Unit(c.name, "candidate", (*judged, *_extra_needs(c)), gpu=gpu, candidate=c)
        for c in _ordered(candidates)
    ]
    units += [
        Unit(name, "candidate", (*judged, CALIBRATE, SCORE), gpu=gpu, kept=kept)
        for name, kept in trials.items()
    ]
    everything = tuple(unit.name for unit in units)
    units.append(Unit(FINAL, "final", everything, gpu=gpu))
    units.append(Unit(REPORT, "report", (*everything, FINAL)))
    return {unit.name: unit for unit in units}


def scorings(spec: JobSpec) -> tuple[Scoring, ...]:
    """Return the distinct (format, method) pairs that layers are scored for, sorted."""
    pairs = {
        (c.auto_quantize.format, c.auto_quantize.method)
        for c in spec.expanded()
        if c.auto_quantize is not None
    }
    if spec.search is not None:
        pairs.add(search_scoring(spec))
    return tuple(sorted(pairs))


def search_scoring(spec: JobSpec) -> Scoring:
    """Return the scoring that the search's ranking comes from."""
    format_: QuantFormat = spec.search.format if spec.search else "int8"
    asked = [c.auto_quantize for c in spec.expanded() if c.auto_quantize is not None]
    methods = sorted(a.method for a in asked if a.format == format_)
    return format_, methods[0] if methods else "gradient"


def plain(spec: JobSpec) -> Ptq:
    """Return the candidate that the search starts from: everything quantized but the head."""
    format_ = spec.search.format if spec.search else "int8"
    return Ptq(
        format=format_,
        calibration_method=default_method(format_),
        remainder=high_precision(spec.target.backend),
    )


def calibrates(spec: JobSpec) -> bool:
    """Tell whether any candidate takes ranges from activation statistics."""
    return spec.search is not None or any(_uses_statistics(c) for c in spec.expanded())


def trial_name(number: int) -> str:
    """Return the name of a trial, counted from 1."""
    return f"{TRIAL_PREFIX}{number}"


def _uses_statistics(candidate: Candidate) -> bool:
    aq = candidate.auto_quantize
    return candidate.ptq is not None or (aq is not None and aq.realization == "onnx")


def _extra_needs(candidate: Candidate) -> tuple[str, ...]:
    needs: list[str] = []
    if _uses_statistics(candidate):
        needs.append(CALIBRATE)
    if candidate.auto_quantize is not None:
        needs.append(SCORE)
    if candidate.ptq is not None and candidate.ptq.exclude_from:
        needs.append(candidate.ptq.exclude_from)
    return tuple(needs)


def _ordered(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Put candidates that take nodes from another one behind all that do not."""
    return sorted(candidates, key=lambda c: bool(c.ptq is not None and c.ptq.exclude_from))
