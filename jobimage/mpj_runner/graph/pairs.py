"""Look-ups of a graph's quantize/dequantize pairs, kept right while the pairs are rewritten."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

AnyArray = npt.NDArray[Any]


class Weight(NamedTuple):
    """A constant that reaches the graph through a dequantizer."""

    dequantizer: onnx.NodeProto
    values: AnyArray
    """int8 or uint8."""
    zero_point: int


class Pairs:
    """A graph with the look-ups that the rewrites share."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.constants: dict[str, onnx.TensorProto] = {t.name: t for t in self.graph.initializer}
        self.constants |= {
            node.output[0]: attribute.t
            for node in self.graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.name == "value"
        }
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                self.consumers[name].append(node)
        self._outputs = {value.name for value in self.graph.output}

    def array(self, name: str) -> AnyArray | None:
        """Return a constant's values, or None for anything computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def add(self, values: AnyArray, like: str) -> str:
        """Add an initializer under a free name made from ``like`` and return that name."""
        name, count = like, 1
        while name in self.constants or name in self.consumers:
            count += 1
            name = f"{like}_{count}"
        tensor = numpy_helper.from_array(values, name)
        self.graph.initializer.append(tensor)
        self.constants[name] = self.graph.initializer[-1]
        self.consumers[name] = []
        return name

    def activations(self) -> Iterator[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
        """Yield each quantizer of a computed tensor with its dequantizers.

        One whose bytes something else reads too is left out: its bytes cannot change alone.
        """
        for node in self.graph.node:
            if node.op_type != "QuantizeLinear" or node.input[0] in self.constants:
                continue
            readers = self.consumers[node.output[0]]
            inside = node.output[0] not in self._outputs
            if inside and readers and all(r.op_type == "DequantizeLinear" for r in readers):
                yield node, readers

    def weights(self) -> Iterator[Weight]:
        """Yield each 8-bit constant of two or more dimensions with its dequantizer."""
        for node in self.graph.node:
            if node.op_type != "DequantizeLinear":
                continue
            values = self.array(node.input[0])
            if values is None or values.ndim < 2 or values.dtype not in (np.int8, np.uint8):
                continue
            zero = self.zero_point(node)
            if zero is not None and np.all(zero == zero.flat[0]):
                yield Weight(node, values, int(zero.flat[0]))

    def zero_point(self, node: onnx.NodeProto) -> npt.NDArray[np.int64] | None:
        """Return a pair node's zero point; None when it is computed in the graph."""
        if len(node.input) > 2 and node.input[2]:
            values = self.array(node.input[2])
            return None if values is None else values.astype(np.int64)
        return np.zeros(1, np.int64)

    def element_type(self, node: onnx.NodeProto) -> int:
        """Return the ONNX type that a quantizer writes (uint8 where nothing says otherwise)."""
        if len(node.input) > 2 and node.input[2] in self.constants:
            return self.constants[node.input[2]].data_type
        stated = next((a.i for a in node.attribute if a.name == "output_dtype"), 0)
        return stated or onnx.TensorProto.UINT8

    def set_zero_point(self, node: onnx.NodeProto, values: AnyArray) -> None:
        """Give a pair node a zero point of its own."""
        name = self.add(values, f"{node.name or node.output[0]}_zero_point")
        del node.input[2:]
        node.input.append(name)
        self.consumers[name].append(node)

    def replace(self, quantizer: onnx.NodeProto, values: AnyArray) -> None:
        """Put a constant of the same name in the place of a quantizer of constants."""
        self.graph.initializer.append(numpy_helper.from_array(values, quantizer.output[0]))
        self.constants[quantizer.output[0]] = self.graph.initializer[-1]
        self.graph.node.remove(quantizer)

    def double_scale(self, dequantizer: onnx.NodeProto) -> None:
        """Double a dequantizer's scale, a constant; exact in floating point."""
        scale = numpy_helper.to_array(self.constants[dequantizer.input[1]])
        doubled = (scale * 2).astype(scale.dtype)
        dequantizer.input[1] = self.add(doubled, f"{dequantizer.input[1]}_doubled")

    def set_element_type(self, tensor: str, element_type: int) -> None:
        """Correct the declared type of an inner tensor, where the graph declares it."""
        for value in self.graph.value_info:
            if value.name == tensor:
                value.type.tensor_type.elem_type = element_type


def sweep(pairs: Pairs) -> None:
    """Remove pair nodes and initializers that nothing reads any more."""
    keep = {value.name for value in pairs.graph.output}
    while True:
        read = keep | set(_names_read(pairs.graph))
        dead = [
            node
            for node in pairs.graph.node
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.output[0] not in read
        ]
        for node in dead:
            pairs.graph.node.remove(node)
        if not dead:
            break
    for tensor in [t for t in pairs.graph.initializer if t.name not in read]:
        pairs.graph.initializer.remove(tensor)
    alive = {name for node in pairs.graph.node for name in node.output}
    for value in [v for v in pairs.graph.value_info if v.name not in alive]:
        pairs.graph.value_info.remove(value)


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _names_read(attribute.g)
                yield from (value.name for value in attribute.g.output)
