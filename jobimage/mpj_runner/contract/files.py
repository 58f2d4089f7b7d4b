"""The JSON files that steps hand to each other and to people."""

from typing import Annotated, Literal

from pydantic import Field

from mpj_runner.contract.base import Count, DecimalString, Message, ShortText, Size, Value
from mpj_runner.contract.quantization import QuantFormat, ScoreMethod

NodeName = Annotated[str, Field(max_length=1024)]


class LayerScore(Value):
    """One layer's sensitivity."""

    layer: NodeName
    """Name of the ONNX node (a convolution or a matrix product with weights)."""
    score: DecimalString
    """Higher is more sensitive; only the order and the ratio mean anything."""
    cost: DecimalString
    """Weight elements of the layer."""


class SensitivityScores(Value):
    format: QuantFormat
    method: ScoreMethod
    layers: tuple[LayerScore, ...]
    """Most sensitive first; ties by name."""


class Allocation(Value):
    effective_bits: DecimalString
    achieved_bits: DecimalString
    quantized: tuple[NodeName, ...]
    kept: tuple[NodeName, ...]


class Allocations(Value):
    format: QuantFormat
    method: ScoreMethod
    budgets: tuple[Allocation, ...]


class KeptNode(Value):
    node: NodeName
    reason: Message


class KeptNodes(Value):
    nodes: tuple[KeptNode, ...]


class GraphLayer(Value):
    """One convolution or matrix product of an ONNX graph after autocast, ptq or realize."""

    node: NodeName
    op_type: ShortText
    precision: Literal["fp32", "fp16", "bf16", "int8", "fp8"]
    reason: Message | None = None
    """Why it is not in low precision: excluded by pattern, head, DFL, sensitivity, …"""
    reads_quantized: bool | None = None
    """A kept layer whose input still comes through a dequantizer."""


class LayerReport(Value):
    layers: tuple[GraphLayer, ...]


class EngineLayer(Value):
    name: NodeName
    kind: ShortText
    """The backend's own word for what it runs (Convolution, Conv, kgen, …)."""
    precision: ShortText
    """Type that it computes in, in the backend's words: f32, f16, bf16, i8, u8, fp8."""


class EngineLayers(Value):
    layers: tuple[EngineLayer, ...]
    notes: tuple[Message, ...] = ()


class ClassMetrics(Value):
    name: ShortText
    objects: Count
    map: DecimalString | None = Field(default=None, alias="mAP")
    """None when the class has no objects."""
    map50: DecimalString | None = Field(default=None, alias="mAP50")


class Metrics(Value):
    """The twelve numbers of pycocotools, in its order and under its names (-1 where undefined)."""

    stats: dict[str, DecimalString]
    per_class: tuple[ClassMetrics, ...]
    images: Count
    detections: Count


class Conditions(Value):
    """What is known of the machine while it was measured."""

    hardware: ShortText
    isa: tuple[ShortText, ...] = ()
    logical_cpus: Count | None = None
    cpu_limit: DecimalString | None = None
    threads: Count | None = None
    throttled_periods: Count | None = None
    """Growth of cgroup nr_throttled during the measurement."""
    load_average: DecimalString | None = None
    gpu_driver: ShortText | None = None
    gpu_memory_bytes: Size | None = None
    gpu_clock_mhz: Count | None = None
    gpu_foreign_processes: Count | None = None
    mig: bool | None = None
    unreliable: Message | None = None
