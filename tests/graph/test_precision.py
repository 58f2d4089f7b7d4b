"""What is read back of each layer's precision, from graphs written by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_detector import Builder

from mpj_runner.graph.precision import report_layers
from mpj_runner.graph.view import GraphView


def plain() -> onnx.ModelProto:
    b = Builder()
    return b.model(b.conv("images", "conv", 3, 16), [16, 32, 32], 1, 21)


def quantize(b: Builder, x: str, name: str, zero: np.ndarray, scale=np.float32(0.1)) -> str:
    constants = [
        b.constant(f"{name}_scale", np.asarray(scale)),
        b.constant(f"{name}_zero", zero),
    ]
    q = b.one("QuantizeLinear", [x, *constants], f"{name}/Q")
    return b.one("DequantizeLinear", [q, *constants], f"{name}/DQ")


def converted(*, activation: bool, weight: bool, kind=np.int8, half: bool = False):
    """The plain graph with Q/DQ on the input, on the weights or on both, in FP32 or FP16."""
    b = Builder()
    dtype = np.float16 if half else np.float32
    zero = np.zeros((), kind)
    values = b.constant("conv.weight", np.ones((16, 3, 1, 1), dtype))
    x = b.one("Cast", ["images"], "cast", to=TensorProto.FLOAT16) if half else "images"
    x = quantize(b, x, "x", zero, dtype(0.1)) if activation else x
    w = quantize(b, values, "w", zero, dtype(0.1)) if weight else values
    y = b.one("Conv", [x, w], "conv/Conv", kernel_shape=[1, 1])
    y = b.one("Cast", [y], "back", to=TensorProto.FLOAT) if half else y
    return b.model(y, [16, 32, 32], 1, 21)


@pytest.mark.parametrize(
    ("world", "precision", "reads"),
    [
        pytest.param({"activation": True, "weight": True}, "int8", None, id="both: quantized"),
        pytest.param(
            {"activation": True, "weight": True, "kind": np.uint8}, "int8", None, id="unsigned"
        ),
        pytest.param(
            {"activation": True, "weight": True, "half": True}, "int8", None, id="among halves"
        ),
        pytest.param({"activation": True, "weight": False}, "fp32", True, id="input only: kept"),
        pytest.param({"activation": False, "weight": True}, "fp32", False, id="weights only: kept"),
        pytest.param({"activation": False, "weight": False}, "fp32", False, id="neither"),
        pytest.param(
            {"activation": False, "weight": False, "half": True}, "fp16", False, id="half"
        ),
        pytest.param(
            {"activation": False, "weight": True, "half": True}, "fp16", False, id="half weights"
        ),
    ],
)
def test_precision_is_read_from_the_edges(world, precision, reads):
    report = report_layers(GraphView(plain()), GraphView(converted(**world)), {"conv/Conv": "why"})
    (layer,) = report.layers
    assert layer.precision == precision
    assert layer.reads_quantized is reads
    assert layer.reason == (None if precision == "int8" else "why")


def test_fp8_is_told_by_its_zero_point():
    model = converted(activation=True, weight=True)
    for value in model.graph.initializer:
        if value.name.endswith("_zero"):
            value.CopyFrom(helper.make_tensor(value.name, TensorProto.FLOAT8E4M3FN, [], [0.0]))
    (layer,) = report_layers(GraphView(plain()), GraphView(model)).layers
    assert layer.precision == "fp8"


def test_bfloat16_weights_are_read():
    model = converted(activation=False, weight=False)
    for value in model.graph.initializer:
        value.data_type = TensorProto.BFLOAT16
    (layer,) = report_layers(GraphView(plain()), GraphView(model)).layers
    assert layer.precision == "bf16"


def test_without_a_reason_of_ours_the_converter_left_it_out():
    (layer,) = report_layers(GraphView(plain()), GraphView(plain())).layers
    assert layer.reason == "left out by ModelOpt's rules: too few channels (16 x 3)"
