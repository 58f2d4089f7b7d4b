"""The parameters and the outcome of every step.

A step's parameters hold all that its result depends on, apart from its inputs' bytes: they are part
of its cache key. An outcome holds the few numbers that the plan needs; it travels in a termination
message, so it stays short. Everything longer is a file.
"""

from typing import Annotated, Literal

from pydantic import Field

from mpj_runner.contract.base import Count, DecimalString, Message, Name, ShortText, Size, Value
from mpj_runner.contract.model import (
    Classes,
    DataFormat,
    Decoder,
    InputSize,
    ModelFormat,
    Preprocess,
)
from mpj_runner.contract.quantization import AutoCast, Ptq, QuantFormat, ScoreMethod
from mpj_runner.contract.result import Interval, Latency, Layers

BackendName = Literal["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]
StepName = Literal[
    "export",
    "snapshot",
    "calibrate",
    "autoquant",
    "solve",
    "realize",
    "autocast",
    "ptq",
    "build",
    "eval",
    "benchmark",
    "report",
]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "mixed"]


class ExportParams(Value):
    """Make an FP32 ONNX graph of a model.

    Inputs: ``model`` (the file). Files: ``model`` (ONNX), ``metadata`` (ModelMetadata as JSON).
    """

    format: ModelFormat
    field: ShortText = "spec.model.uri"
    """The field of the spec that named the file, for error messages."""
    factory: ShortText | None = None
    input_size: InputSize | None = None
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    classes: Classes | None = None
    preprocess: Preprocess = Preprocess()
    decoder: Decoder = "YOLO"


class ExportOutcome(Value):
    class_count: Count
    opset: Count


class SnapshotParams(Value):
    """Freeze a data set: list it, pick images by seed, write one folder and one annotation file.

    Inputs: ``source`` (a folder, or a tar or zip file), ``metadata`` (of export), ``annotations``
    (optional; a COCO file outside the source). Files: ``images`` (a folder of the picked image
    files), ``annotations`` (COCO JSON whose category ids are class index + 1 and whose file names
    are names in ``images``; calibration: images only).
    """

    role: Literal["calibration", "validation"]
    format: DataFormat
    split: ShortText | None = None
    annotations: ShortText | None = None
    max_images: Annotated[int, Field(ge=1, le=1_000_000)]
    seed: Count = 0
    on_corrupt_image: Literal["Fail", "Skip"] = "Fail"
    category_mapping: Literal["Name", "ID", "Order"] = "Name"


class SnapshotOutcome(Value):
    images: Count
    objects: Count = 0
    skipped: Count = 0


class CalibrateParams(Value):
    """Collect activation statistics in one pass over the calibration images.

    Inputs: ``model``, ``metadata``, ``images``. Files: ``statistics`` (npz).
    """

    calibrate_per_node: bool = False


class CalibrateOutcome(Value):
    images: Count
    """Images that ran through the model: each once."""
    tensors: Count


class AutoQuantParams(Value):
    """Score each layer's sensitivity to a format with ModelOpt's auto_quantize.

    Inputs: ``model``, ``metadata``, ``images`` (calibration). Files: ``scores`` (SensitivityScores
    as JSON), ``checkpoint`` (ModelOpt's search state, to be solved again for other budgets).
    """

    format: QuantFormat = "int8"
    method: ScoreMethod = "gradient"
    calibration_images: Annotated[int, Field(ge=1, le=4096)] = 32
    score_images: Annotated[int, Field(ge=1, le=4096)] = 16
    """The gradient method's; kl_div runs the model once a layer, and takes an eighth of them."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    seed: Count = 0


class AutoQuantOutcome(Value):
    layers: Count


class SolveParams(Value):
    """Choose the layers for each budget from one scoring run.

    Inputs: ``scores``, ``checkpoint``, ``model``. Files: ``allocation`` (Allocations as JSON).
    """

    effective_bits: Annotated[tuple[DecimalString, ...], Field(min_length=1, max_length=64)]


class SolveOutcome(Value):
    achieved: Annotated[tuple[DecimalString, ...], Field(max_length=64)]
    """The bits that each budget came to, in the order they were asked, to four places: the pod's
    last words are short. The allocation has them all."""


class RealizeParams(Value):
    """Write the quantized graph with ModelOpt's torch-to-ONNX export.

    Inputs: ``model``, ``metadata``, ``checkpoint``, ``scores``, ``allocation``. Files: ``model``.
    """

    effective_bits: DecimalString
    remainder: Literal["fp32", "fp16"] = "fp32"


class AutoCastParams(AutoCast):
    """Lower an FP32 graph to FP16 or BF16.

    Inputs: ``model``, ``metadata``, ``images`` (calibration). Files: ``model``, ``kept``
    (KeptNodes as JSON: the nodes that stay FP32).
    """

    calibration_images: Annotated[int, Field(ge=1, le=4096)] = 16


class PtqParams(Ptq):
    """Quantize a graph from ready statistics.

    Inputs: ``model``, ``metadata``, ``statistics``; ``scores`` when keepMostSensitive is given;
    ``allocation`` when effectiveBits is given; ``kept`` (of autocast) when the candidate excludes
    what AutoCast kept. Files: ``model`` (as ModelOpt's public quantize writes it), ``layers``
    (LayerReport as JSON).
    """

    effective_bits: DecimalString | None = None
    """Take the layers from this budget's allocation."""
    keep_most_sensitive: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Keep this many of the most sensitive layers of the ranking in high precision."""


class QuantizedOutcome(Value):
    """Outcome of autocast, ptq and realize."""

    layers: Layers
    """Convolutions and matrix products of the graph, and those that were lowered."""


class BuildParams(Value):
    """Build an engine for a backend.

    Inputs: ``model``, ``metadata``. Files: ``onnx`` (the legalised graph), ``engine`` (a file or a
    folder), ``layers`` (EngineLayers as JSON: what runs in which type, read back from the engine).
    """

    backend: BackendName
    precision: Precision
    """What the candidate is: fp32 turns off TF32 and BF16; engines are strongly typed otherwise."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    builder_optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    workspace_size: Size | None = None
    """Bytes."""
    compute_capabilities: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()


class BuildOutcome(Value):
    size_bytes: Size
    layers: Layers


class EvalParams(Value):
    """Measure accuracy on the built engine.

    Inputs: ``engine``, ``metadata``, ``images``, ``annotations``; ``reference`` (the reference's
    ``detections``) for a drop; ``model`` (FP32 ONNX) on the reference itself, to hold it against
    ONNX Runtime CPU. Files: ``detections`` (npz), ``metrics`` (Metrics as JSON).
    """

    backend: BackendName
    precision: Precision
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    score_threshold: DecimalString = 0.001
    iou_threshold: DecimalString = 0.7
    max_detections: Annotated[int, Field(ge=1, le=10_000)] = 300
    metric: Literal["mAP", "mAP50"] = "mAP"
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    cross_check_images: Count = 0
    """Compare with ONNX Runtime CPU on this many images (the reference only)."""


class EvalOutcome(Value):
    map: DecimalString = Field(alias="mAP")
    map50: DecimalString = Field(alias="mAP50")
    drop: Interval | None = None
    """Of the objective's metric, absolute."""
    images: Count
    detections: Count
    non_finite: Count = 0
    """Images whose output held NaN or infinity."""
    cross_check_map: DecimalString | None = Field(default=None, alias="crossCheckMAP")
    """ONNX Runtime CPU's mAP on the images of the cross-check."""
    cross_check_own_map: DecimalString | None = Field(default=None, alias="crossCheckOwnMAP")
    """This engine's mAP on the same images."""


class BenchmarkParams(Value):
    """Measure latency of several engines, interleaved in one process.

    Inputs: ``engine-<name>`` for each name in engines, ``metadata``, ``images`` (optional: real
    input). Files: ``samples`` (npz of all timings), ``conditions`` (Conditions as JSON).
    """

    backend: BackendName
    engines: Annotated[tuple[Name, ...], Field(min_length=1, max_length=8)]
    """The first is the baseline of all ratios."""
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1, max_length=8)]
    """Of the engines, in the same order."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    warmup_milliseconds: Count = 200
    seconds: DecimalString = 3.0
    """Time spent on each engine."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000


class EngineTiming(Value):
    name: Name
    latency_ms: Latency
    throughput_per_second: DecimalString
    speedup: Interval
    """Over the first engine."""


class BenchmarkOutcome(Value):
    engines: Annotated[tuple[EngineTiming, ...], Field(min_length=1, max_length=8)]
    unreliable: Message | None = None
    """Why these figures must not decide anything: throttled, shared device; None when sound."""
    hardware: ShortText
    """GPU product, or CPU model with its ISA."""


class ReportOutcome(Value):
    candidates: Count
