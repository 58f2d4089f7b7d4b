"""Reading back, from a quantized graph, in which precision each layer is."""

from collections.abc import Mapping
from typing import Final, Literal

import onnx

from mpj_runner.contract.files import GraphLayer, LayerReport
from mpj_runner.graph.layers import Layer, layers_of
from mpj_runner.graph.view import GraphView

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
_FLOATS: Final[Mapping[int, Precision]] = {
    onnx.TensorProto.FLOAT: "fp32",
    onnx.TensorProto.FLOAT16: "fp16",
    onnx.TensorProto.BFLOAT16: "bf16",
}
_EIGHT_BITS: Final[Mapping[int, Precision]] = {
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "int8",
    onnx.TensorProto.FLOAT8E4M3FN: "fp8",
}
_FEW: Final = 16


def report_layers(
    source: GraphView, result: GraphView, reasons: Mapping[str, str] | None = None
) -> LayerReport:
    """Report every layer of a graph as it is after autocast or quantization.

    A layer counts as quantized only when both its input and its weights come out of a
    DequantizeLinear.

    Args:
        source: the graph before.
        result: the graph after; its nodes have kept their names.
        reasons: why nodes were excluded, by name. A layer that is kept without one was left out by
            the converter's own rules, which is then the reason.
    """
    after = {x.name: x for x in layers_of(result)}
    layers = []
    for before in layers_of(source):
        layer = after.get(before.name, before)
        activation = _dequantized_type(result, layer.activation)
        weight = _dequantized_type(result, layer.weight)
        quantized = activation is not None and weight is not None
        layers.append(
            GraphLayer(
                node=before.name,
                op_type=before.op_type,
                precision=weight or "int8" if quantized else _float_type(result, layer.weight),
                reason=None if quantized else (reasons or {}).get(before.name) or _rule(before),
                reads_quantized=None if quantized else activation is not None,
            )
        )
    return LayerReport(layers=tuple(layers))


def _rule(layer: Layer) -> str:
    channels = layer.shape[:2]
    if channels and min(channels) <= _FEW:
        return f"left out by ModelOpt's rules: too few channels ({' x '.join(map(str, channels))})"
    return "left out by ModelOpt's rules of placement"


def _dequantized_type(view: GraphView, tensor: str) -> Precision | None:
    """Return the 8-bit type that a tensor is dequantized from, looking through casts."""
    node = view.producer.get(tensor)
    while node is not None and node.op_type in ("Cast", "Transpose", "Reshape"):
        node = view.producer.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear":
        return None
    zero_point = node.input[2] if len(node.input) > 2 else ""
    kind = _type_of(view, zero_point) or _type_of(view, node.input[0])
    return _EIGHT_BITS.get(kind, "int8")


def _float_type(view: GraphView, weight: str) -> Precision:
    """Return the floating type that a layer's weights are in where the layer reads them."""
    node = view.producer.get(weight)
    kind = _type_of(view, weight)
    while not kind and node is not None:
        if node.op_type == "Cast":
            kind = next(x.i for x in node.attribute if x.name == "to")
        elif node.op_type == "DequantizeLinear":
            kind = _type_of(view, node.input[1])
        else:
            kind = _type_of(view, node.input[0])
        node = view.producer.get(node.input[0])
    return _FLOATS.get(kind, "fp32")


def _type_of(view: GraphView, tensor: str) -> int:
    """Return the ONNX type of a stored constant; 0 for anything computed."""
    if tensor in view.initializers:
        return int(view.initializers[tensor].data_type)
    node = view.producer.get(tensor)
    if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
        return int(node.attribute[0].t.data_type)
    return 0
