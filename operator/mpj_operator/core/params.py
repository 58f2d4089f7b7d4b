"""From a spec to the parameters of its steps: every field that a result depends on, once."""

from collections.abc import Sequence
from typing import TypeVar

from mpj_operator.api.candidates import Candidate
from mpj_operator.api.job import JobSpec
from mpj_operator.core import units as u
from mpj_runner.contract.base import Value
from mpj_runner.contract.model import ModelFormat
from mpj_runner.contract.quantization import AutoCast, AutoQuantize, Ptq
from mpj_runner.contract.steps import (
    AutoCastParams,
    BenchmarkParams,
    BuildParams,
    CalibrateParams,
    EvalParams,
    ExportParams,
    Precision,
    PtqParams,
    SnapshotParams,
)

V = TypeVar("V", bound=Value)
CROSS_CHECK_IMAGES = 200
"""Images on which the reference is held against ONNX Runtime CPU."""
BENCHMARK_SECONDS = 3.0
"""Time that a measurement spends on each engine; shorter where nobody looks at the figures."""


def export(spec: JobSpec, format_: ModelFormat, field: str) -> ExportParams:
    """Return how a model becomes FP32 ONNX: the job's own, or a graph that a candidate brings."""
    model = spec.model
    return ExportParams(
        format=format_,
        field=field,
        factory=model.factory if format_ == "torch" else None,
        input_size=model.input_size,
        batch_size=spec.target.batch_size,
        classes=model.classes,
        preprocess=model.preprocess,
        decoder=model.decoder,
    )


def calibration_snapshot(spec: JobSpec) -> SnapshotParams:
    """Return how the calibration images are frozen."""
    data = spec.calibration
    return SnapshotParams(
        role="calibration",
        format=data.format,
        split=data.split,
        annotations=data.annotations,
        max_images=data.max_images,
        seed=data.seed,
    )


def validation_snapshot(spec: JobSpec) -> SnapshotParams:
    """Return how the validation images and labels are frozen."""
    data = spec.validation
    return SnapshotParams(
        role="validation",
        format=data.format,
        split=data.split,
        annotations=data.annotations,
        max_images=data.max_images,
        on_corrupt_image=data.on_corrupt_image,
        category_mapping=data.category_mapping,
    )


def calibrate(spec: JobSpec) -> CalibrateParams:
    """Return how statistics are collected; both ways give the same."""
    ptqs = [c.ptq for c in spec.expanded() if c.ptq is not None]
    return CalibrateParams(calibrate_per_node=any(p.calibrate_per_node for p in ptqs))


def budgets(spec: JobSpec, pair: u.Scoring) -> tuple[float, ...]:
    """Return the bits that candidates ask of one scoring, ascending."""
    asked = [(c.auto_quantize, c.bits) for c in spec.expanded() if c.auto_quantize is not None]
    return tuple(sorted({b for a, b in asked if b and (a.format, a.method) == pair}))


def autocast(cast: AutoCast) -> AutoCastParams:
    """Return how a graph is lowered."""
    return _as(AutoCastParams, cast, AutoCast)


def ptq(candidate: Ptq) -> PtqParams:
    """Return how a graph is quantized."""
    return _as(PtqParams, candidate, Ptq)


def allocated(candidate: AutoQuantize, bits: float) -> PtqParams:
    """Return how a graph is quantized where a budget's allocation says so."""
    return PtqParams(
        format=candidate.format,
        calibration_method=candidate.calibration_method,
        remainder=candidate.remainder,
        effective_bits=bits,
    )


def trial(spec: JobSpec, kept: int) -> PtqParams:
    """Return how a trial is quantized that keeps so many layers."""
    return ptq(u.plain(spec)).model_copy(update={"keep_most_sensitive": kept})


def build(spec: JobSpec, precision: Precision) -> BuildParams:
    """Return how an engine is built."""
    target = spec.target
    return BuildParams(
        backend=target.backend,
        precision=precision,
        batch_size=target.batch_size,
        threads=target.threads,
        builder_optimization_level=target.builder_optimization_level,
        workspace_size=target.workspace_bytes,
        compute_capabilities=target.compute_capabilities,
    )


def evaluate(spec: JobSpec, precision: Precision, *, reference: bool) -> EvalParams:
    """Return how accuracy is measured; the reference is also checked against another runtime."""
    target, validation = spec.target, spec.validation
    return EvalParams(
        backend=target.backend,
        precision=precision,
        threads=target.threads,
        score_threshold=validation.score_threshold,
        iou_threshold=validation.iou_threshold,
        max_detections=validation.max_detections,
        metric=spec.objective.metric,
        cross_check_images=CROSS_CHECK_IMAGES if reference else 0,
    )


def benchmark(spec: JobSpec, engines: Sequence[tuple[str, Precision]]) -> BenchmarkParams:
    """Return how latency is measured; the first engine is the baseline of all ratios."""
    return BenchmarkParams(
        backend=spec.target.backend,
        engines=tuple(name for name, _ in engines),
        precisions=tuple(precision for _, precision in engines),
        batch_size=spec.target.batch_size,
        threads=spec.target.threads,
        seconds=BENCHMARK_SECONDS,
    )


def precision_of(candidate: Candidate | None, spec: JobSpec) -> Precision:
    """Return what a candidate's engine, or a trial's, is built as."""
    return candidate.precision if candidate is not None else u.plain(spec).format


def _as(wanted: type[V], value: Value, shared: type[Value]) -> V:
    """Return a value of another class from the members that both have."""
    return wanted.model_validate({name: getattr(value, name) for name in shared.model_fields})
