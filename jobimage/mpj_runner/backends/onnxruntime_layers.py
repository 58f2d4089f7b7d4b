"""What ONNX Runtime runs in which type, from the graph as a session optimised it."""

from collections.abc import Iterator

import onnx

from mpj_runner.backends.layers import PRODUCTS, layer
from mpj_runner.contract.files import EngineLayer


def layers_of(graph: onnx.GraphProto) -> Iterator[EngineLayer]:
    """Yield the nodes of an optimised graph with the type that each computes in."""
    types = _tensor_types(graph)
    for node in graph.node:
        if node.op_type != "Constant":
            yield layer(node.name, node.op_type, _precision(node, types))


def _precision(node: onnx.NodeProto, types: dict[str, str]) -> str:
    """Return the type that a node computes in: of its weights, else of the first known input."""
    order = (*node.input[1:2], *node.input) if node.op_type in PRODUCTS else node.input
    if node.op_type.startswith("Q"):
        order = node.input[:1]  # QLinear operators: data, scale, zero point, weights, …
    return next((types[name] for name in order if name in types), "float32")


def _tensor_types(graph: onnx.GraphProto) -> dict[str, str]:
    """Return what is known of the graph's tensor types, in NumPy's words."""

    def word(element_type: int) -> str:
        name: str = onnx.TensorProto.DataType.Name(element_type).lower()
        return {"float": "float32"}.get(name, name)

    types = {tensor.name: word(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = word(value.type.tensor_type.elem_type)
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            types[node.output[0]] = types.get(node.input[2], "uint8") if node.input[2:] else "uint8"
        elif node.op_type == "Cast":
            to = next(a.i for a in node.attribute if a.name == "to")
            types[node.output[0]] = word(to)
        elif node.op_type.startswith("QLinear"):
            types[node.output[0]] = types.get(node.input[0], "uint8")
        elif node.op_type == "DequantizeLinear":
            types[node.output[0]] = types.get(node.input[1], "float32")
        else:
            found = next((types[x] for x in node.input if x in types), "float32")
            for name in node.output:
                types.setdefault(name, found)
    return types
