"""Rewrites of quantize/dequantize pairs, for engines that want another form of the same numbers.

Each function changes a graph in place and returns how many tensors it changed. All are exact
(the graph's result stays the same to the last bit) except the two that say otherwise.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

AnyArray = npt.NDArray[Any]

SAFE_WEIGHT: Final = 64
"""Largest weight whose products with two unsigned bytes add up inside 16 bits:
2 * 255 * 64 = 32,640 <= 32,767. AVX2's and AVX-512's multiply-add (vpmaddubsw) saturates there."""
_SHIFT: Final = 128


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

    def scale_up(self, dequantizer: onnx.NodeProto, factor: int) -> None:
        """Multiply a dequantizer's scale, a constant, by a power of two."""
        scale = numpy_helper.to_array(self.constants[dequantizer.input[1]])
        name = self.add((scale * factor).astype(scale.dtype), f"{dequantizer.input[1]}_x{factor}")
        dequantizer.input[1] = name

    def set_element_type(self, tensor: str, element_type: int) -> None:
        """Correct the declared type of an inner tensor, where the graph declares it."""
        for value in self.graph.value_info:
            if value.name == tensor:
                value.type.tensor_type.elem_type = element_type


def shift_activations(pairs: Pairs, to: type[np.int8] | type[np.uint8]) -> int:
    """Rewrite activation pairs from int8 to uint8 (``np.uint8``), or back (``np.int8``).

    With q' = q + 128, zero point + 128 and the same scale, both round and saturate at the same real
    values, so every dequantized number is the same to the last bit.
    """
    shift = _SHIFT if to is np.uint8 else -_SHIFT
    int8, uint8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8
    source, target = (int8, uint8) if to is np.uint8 else (uint8, int8)
    changed = 0
    for quantizer, readers in list(pairs.activations()):
        if pairs.element_type(quantizer) != source:
            continue
        zeros = [z for z in map(pairs.zero_point, (quantizer, *readers)) if z is not None]
        scale = pairs.array(quantizer.input[1])
        if scale is None or len(zeros) != len(readers) + 1:
            continue
        for node, zero in zip((quantizer, *readers), zeros, strict=True):
            pairs.set_zero_point(node, np.broadcast_to(zero + shift, scale.shape).astype(to))
        for attribute in quantizer.attribute:
            if attribute.name == "output_dtype":
                quantizer.attribute.remove(attribute)
        pairs.set_element_type(quantizer.output[0], target)
        changed += 1
    return changed


def fold_weights(pairs: Pairs) -> int:
    """Replace each constant that the graph quantizes by its bytes, a quarter of the size.

    QuantizeLinear is ``saturate(round half to even (x / scale) + zero point)``.
    """
    changed = 0
    for node in list(pairs.graph.node):
        ratio, zero = _constant_ratio(pairs, node), pairs.zero_point(node)
        if ratio is None or zero is None:
            continue
        low, high, dtype = _RANGES[pairs.element_type(node)]
        steps = np.rint(ratio) + _along(zero, node, ratio.ndim)
        values = np.clip(steps, low, high).astype(dtype)
        pairs.replace(node, values)
        changed += 1
    return changed


def narrow_weights(pairs: Pairs) -> int:
    """Halve symmetric int8 weights that exceed ``SAFE_WEIGHT`` and double their scale: NOT exact.

    q' lies in [-64, 64]. Weights that the graph holds in float are rounded once, to the new scale;
    where it holds bytes only, odd ones move by half a step of the new scale.
    """
    changed = 0
    for node in list(pairs.graph.node):
        ratio = _constant_ratio(pairs, node)
        if ratio is None or pairs.element_type(node) != onnx.TensorProto.INT8:
            continue
        if _is_wide(np.clip(np.rint(ratio), -128, 127)) and not np.any(pairs.zero_point(node)):
            halves = np.clip(np.rint(ratio / 2), -SAFE_WEIGHT, SAFE_WEIGHT)
            readers = list(pairs.consumers[node.output[0]])
            pairs.replace(node, halves.astype(np.int8))
            for reader in readers:
                pairs.scale_up(reader, 2)
            changed += 1
    for reader, values, zero in list(pairs.weights()):
        if values.dtype == np.int8 and not zero and _is_wide(values):
            halves = np.rint(values / 2).astype(np.int8)
            reader.input[0] = pairs.add(halves, f"{reader.input[0]}_narrow")
            pairs.scale_up(reader, 2)
            changed += 1
    return changed


def shift_weights(pairs: Pairs, to: type[np.int8] | type[np.uint8]) -> int:
    """Rewrite int8 weights as uint8 with their zero point moved by 128, or back: same numbers.

    Products of two unsigned bytes take a kernel that widens first, so that nothing saturates.
    """
    shift = _SHIFT if to is np.uint8 else -_SHIFT
    changed = 0
    for node, values, zero in list(pairs.weights()):
        scale = pairs.array(node.input[1])
        moved_zero = zero + shift
        if (
            values.dtype == to
            or scale is None
            or not np.iinfo(to).min <= moved_zero <= np.iinfo(to).max
        ):
            continue
        moved = (values.astype(np.int16) + shift).astype(to)
        node.input[0] = pairs.add(moved, f"{node.input[0]}_{np.dtype(to).name}")
        pairs.set_zero_point(node, np.full(scale.shape, moved_zero, to))
        changed += 1
    return changed


def free_products(pairs: Pairs) -> int:
    """Take the pairs off the inputs of matrix products of two activations: these stay float.

    Their second factor cannot be narrowed as weights can. The result only gets closer to float.
    """
    sources = {
        reader.output[0]: q.input[0] for q, readers in pairs.activations() for reader in readers
    }
    changed = 0
    for node in pairs.graph.node:
        if node.op_type == "MatMul" and all(name in sources for name in node.input):
            for i, name in enumerate(node.input):
                node.input[i] = sources[name]
            changed += 1
    return changed


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


_RANGES: Final[dict[int, tuple[int, int, type[np.generic]]]] = {
    onnx.TensorProto.INT8: (-128, 127, np.int8),
    onnx.TensorProto.UINT8: (0, 255, np.uint8),
}


def _constant_ratio(pairs: Pairs, node: onnx.NodeProto) -> AnyArray | None:
    """Return constant / scale of a quantizer of constants; None for any other node."""
    if node.op_type != "QuantizeLinear" or pairs.element_type(node) not in _RANGES:
        return None
    weight, scale = pairs.array(node.input[0]), pairs.array(node.input[1])
    if weight is None or scale is None or pairs.zero_point(node) is None:
        return None
    per = _along(scale.astype(np.float32), node, weight.ndim)
    with np.errstate(divide="ignore", invalid="ignore"):  # a channel of zeros has the scale 0
        ratio: AnyArray = np.nan_to_num(weight.astype(np.float32) / per)
    return ratio


def _is_wide(values: AnyArray) -> bool:
    return bool(np.abs(values.astype(np.int16)).max(initial=0) > SAFE_WEIGHT)


def _along(values: AnyArray, node: onnx.NodeProto, rank: int) -> AnyArray:
    """Shape a scale or zero point so that it broadcasts along the node's axis (default 1)."""
    if values.size == 1:
        return values.reshape(())
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1) % rank
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _names_read(attribute.g)
                yield from (value.name for value in attribute.g.output)
