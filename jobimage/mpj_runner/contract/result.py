"""The result of one candidate: one model, used by the resource's status and by report.json."""

from typing import Annotated, Literal

from pydantic import Field

from mpj_runner.contract.base import (
    Count,
    DecimalString,
    Message,
    Name,
    Sha256,
    Size,
    Uri,
    Value,
)

State = Literal["Pending", "Running", "Accepted", "Rejected", "Failed"]


class Interval(Value):
    """A measured value with its 95 % interval."""

    value: DecimalString
    """The point estimate."""
    low: DecimalString
    """Lower bound of the 95 % interval."""
    high: DecimalString
    """Upper bound of the 95 % interval."""


class Latency(Value):
    """Percentiles of the time of one inference of one batch, in milliseconds."""

    p50: DecimalString
    """Median."""
    p90: DecimalString
    """90th percentile."""
    p99: DecimalString
    """99th percentile."""


class Layers(Value):
    """How much of the engine really runs in low precision, read back from the built engine."""

    total: Count
    """Convolutions and matrix products of the engine."""
    quantized: Count
    """Those of them that run in 8 bits."""


class Artifact(Value):
    """A file in the store."""

    uri: Uri | None = None
    """Where it lies."""
    sha256: Sha256
    """Digest of its bytes."""
    size_bytes: Size
    """Its size in bytes."""


class Artifacts(Value):
    """The files of a candidate."""

    onnx: Artifact | None = None
    """The graph that the engine was built from, legalised for the backend."""
    engine: Artifact | None = None
    """The built engine; a tar when the backend's engine is several files."""
    metadata: Artifact | None = None
    """Input, preprocessing, classes and decoder as JSON."""


class Result(Value):
    """What was measured of the reference, the baseline, a candidate or a trial."""

    name: Name
    """The candidate's name, unique in the job."""
    state: State = "Pending"
    """Accepted and Rejected are verdicts; Failed means that it could not be judged."""
    reasons: Annotated[tuple[Message, ...], Field(max_length=8)] = ()
    """Why the state is what it is, in words."""
    map: DecimalString | None = Field(default=None, alias="mAP")
    """COCO mAP at IoU .50:.95 of the built engine, 0..1."""
    map50: DecimalString | None = Field(default=None, alias="mAP50")
    """COCO mAP at IoU .50, 0..1."""
    map_drop: Interval | None = Field(default=None, alias="mAPDrop")
    """The reference's metric minus this one's, with a paired bootstrap interval over images."""
    latency_ms: Latency | None = None
    """Time of one batch on the engine."""
    throughput_per_second: DecimalString | None = None
    """Images a second."""
    speedup: Interval | None = None
    """Baseline latency over this one's, measured interleaved in one process."""
    speedup_vs_reference: DecimalString | None = None
    """Reference latency over this one's; from the final measurement."""
    size_bytes: Size | None = None
    """Size of the engine."""
    layers: Layers | None = None
    """How much of the engine runs in low precision."""
    artifacts: Artifacts | None = None
    """Its files in the store."""
