"""The knobs of the three ways to lower precision, as the resource and the steps both use them."""

from typing import Annotated, Literal

from pydantic import Field

from mpj_runner.contract.base import Between, DecimalString, Pattern, ShortText, Value

CalibrationMethod = Literal["mse", "percentile", "entropy", "max"]
QuantFormat = Literal["int8", "fp8"]
HighPrecision = Literal["fp32", "fp16"]
ScoreMethod = Literal["gradient", "kl_div"]
Int8Products = Literal["saturating", "unsigned", "signed"]
"""Which 8-bit products a processor's kernels add up right, each kind with those before it: pairs in
saturating 16 bits (7-bit weights are safe), an unsigned with a signed byte in 32 bits (VNNI), two
signed bytes as well (AMX)."""
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=256)]
OpTypes = Annotated[tuple[ShortText, ...], Field(max_length=64)]


class AutoCast(Value):
    """Lower an FP32 graph to FP16 or BF16 where values allow it (ModelOpt AutoCast)."""

    low_precision_type: Literal["fp16", "bf16"] = "fp16"
    """The type that eligible nodes are lowered to."""
    nodes_to_exclude: Patterns = ()
    """Patterns of nodes that stay FP32."""
    nodes_to_include: Patterns = ()
    """Patterns of nodes that are lowered whatever the other rules say."""
    op_types_to_exclude: OpTypes = ()
    """ONNX operator types that stay FP32."""
    op_types_to_include: OpTypes = ()
    """ONNX operator types that are lowered whatever the other rules say."""
    data_max: DecimalString = 512.0
    """A node whose largest absolute activation is above this stays FP32."""
    init_max: DecimalString = 65504.0
    """A node with a larger absolute weight stays FP32; the default is FP16's largest number."""
    keep_io_types: bool = True
    """Keep FP32 inputs and outputs."""
    max_depth_of_reduction: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """A reduction over more elements stays FP32; default: no limit."""


class Ptq(Value):
    """Quantize a graph after training, from activation ranges measured on calibration images."""

    format: QuantFormat = "int8"
    """The low-precision format of weights and activations."""
    calibration_method: CalibrationMethod | None = None
    """How ranges are chosen from the statistics; default mse for int8, max for fp8."""
    percentile: Annotated[DecimalString, Between(50, 100)] = 99.999
    """Per cent of absolute values inside the range; used by the percentile method only."""
    nodes_to_exclude: Patterns = ()
    """Patterns of nodes that stay in high precision."""
    op_types_to_exclude: OpTypes = ()
    """ONNX operator types that stay in high precision."""
    op_types_to_quantize: OpTypes = ()
    """When given, only these ONNX operator types are quantized."""
    remainder: HighPrecision | None = None
    """Type of what is not quantized; default: fp16 on GPU backends, fp32 on CPU backends."""
    keep_head: bool = True
    """Keep the head's output convolutions and the DFL block in high precision."""
    share_concat_scales: bool = True
    """Give all inputs of a Concat one scale (faster; may cost accuracy)."""
    calibrate_per_node: bool = False
    """Calibrate one node at a time: less memory, much slower, the same ranges."""


class AutoQuantize(Value):
    """Choose layers by sensitivity under a budget of bits (ModelOpt auto_quantize)."""

    format: QuantFormat = "int8"
    """The low-precision format that the search may give a layer."""
    method: ScoreMethod = "gradient"
    """How sensitivity is scored."""
    realization: Literal["onnx", "torch"] = "onnx"
    """onnx: the decisions are realised by ONNX PTQ. torch: by ModelOpt's torch-to-ONNX export."""
    calibration_method: CalibrationMethod | None = None
    """Ranges of the onnx realization; default mse for int8, max for fp8."""
    remainder: HighPrecision | None = None
    """Type of what is not quantized; default: fp16 on GPU backends, fp32 on CPU backends."""
