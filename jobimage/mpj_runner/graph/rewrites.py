"""Rewrites of quantize/dequantize pairs, for engines that want another form of the same numbers.

Each function changes a graph in place and returns how many tensors it changed. All are exact
(the graph's result stays the same to the last bit) except those that say otherwise.
"""

from typing import Final

import numpy as np
import onnx

from mpj_runner.graph.pairs import AnyArray, Pairs

SAFE_WEIGHT: Final = 64
"""Largest weight whose products with two unsigned bytes add up inside 16 bits:
2 * 255 * 64 = 32,640 <= 32,767. AVX2's and AVX-512's multiply-add (vpmaddubsw) saturates there."""
_SHIFT: Final = 128
_Byte = type[np.int8] | type[np.uint8]


def shift_activations(pairs: Pairs, to: _Byte) -> int:
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
            whole = zero.reshape(()) if zero.size == 1 else zero
            pairs.set_zero_point(node, np.broadcast_to(whole + shift, scale.shape).astype(to))
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
    """Quantize symmetric weights that exceed ``SAFE_WEIGHT`` at twice their scale: NOT exact.

    Rounds once, from the float weights that the graph quantizes: q' lies in [-64, 64].
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
                pairs.double_scale(reader)
            changed += 1
    return changed


def halve_weights(pairs: Pairs) -> int:
    """Halve stored symmetric int8 weights that exceed ``SAFE_WEIGHT``: NOT exact.

    The scale doubles, so even weights stay and odd ones move by half a step of the new scale.
    """
    changed = 0
    for reader, values, zero in list(pairs.weights()):
        if values.dtype == np.int8 and not zero and _is_wide(values):
            halves = np.rint(values / 2).astype(np.int8)
            reader.input[0] = pairs.add(halves, f"{reader.input[0]}_half")
            pairs.double_scale(reader)
            changed += 1
    return changed


def shift_weights(pairs: Pairs, to: _Byte) -> int:
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
