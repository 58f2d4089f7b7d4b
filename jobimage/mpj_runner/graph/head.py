"""The detection head, found by the graph's shape and not by names.

A head's output convolutions are the last layers before the model's output: from there on nothing
but reshaping, concatenation, sigmoid, softmax, the DFL integral and box decoding follows. Neither
feature convolutions nor those inside attention (C2PSA) qualify: other layers depend on them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from mpj_runner.graph.layers import LAYER_OPS, layers_of
from mpj_runner.graph.view import GraphView

_SHAPING: Final = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Slice"}
)
_PROJECTING: Final = frozenset({"Conv", "MatMul", "Gemm", "Mul", "Einsum"})
_ACTIVATIONS: Final = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "Gelu", "HardSwish", "Mish"}
    | {"Softplus", "Swish", "Tanh", "ThresholdedRelu"}
)
_GATES: Final = frozenset({"Sigmoid", "HardSigmoid"})
_BOX: Final = 6
"""A matrix of at most this many rows and columns converts boxes; it holds no features."""


@dataclass(frozen=True)
class Head:
    """Names of the head's nodes, each in one member only, in the graph's order."""

    outputs: tuple[str, ...] = ()
    """The output convolutions: boxes or their distributions, and class scores."""
    dfl: tuple[str, ...] = ()
    """The integral over distance distributions: softmax, projection, and what is between."""
    decoding: tuple[str, ...] = ()
    """All else behind the output convolutions: concatenation, anchors, strides, top-k."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.outputs, *self.dfl, *self.decoding)


def find_head(view: GraphView) -> Head:
    """Return the head of a detector; an empty one for a graph without layers.

    Works on heads with a DFL block (YOLOv8, YOLO11), whichever way its projection was exported,
    and on heads without one (YOLO26, YOLOv5 before the anchor-free head).
    """
    dfl = _dfl_blocks(view)
    decoders = {id(x) for x in dfl} | _box_transforms(view)
    last = [x for x in _last_layers(view, decoders) if id(x) not in decoders]
    outputs = [x for x in last if not _is_activated(view, x)] or last
    behind = {id(x) for x in view.downstream(outputs)}
    dfl = [x for x in dfl if id(x) in behind]
    inside = {id(x) for x in dfl} | {id(x) for x in outputs}
    ordered = [x for x in view.nodes if id(x) in behind and id(x) not in inside]
    return Head(
        outputs=tuple(x.name for x in outputs),
        dfl=tuple(x.name for x in dfl),
        decoding=tuple(x.name for x in ordered),
    )


def _last_layers(view: GraphView, decoders: set[int]) -> list[onnx.NodeProto]:
    """Return the layers whose result meets no other layer on its way to the model's output."""
    names = {x.name for x in layers_of(view)}
    found = []
    feeds_layer: set[str] = set()
    feeds_output: set[str] = set(view.outputs)
    for node in reversed(view.nodes):
        is_layer = node.op_type in LAYER_OPS and id(node) not in decoders
        inner = any(x in feeds_layer for x in node.output)
        outer = any(x in feeds_output for x in node.output)
        if is_layer and outer and not inner and node.name in names:
            found.append(node)
        if is_layer or inner:
            feeds_layer.update(node.input)
        if outer:
            feeds_output.update(node.input)
    return found[::-1]


def _dfl_blocks(view: GraphView) -> list[onnx.NodeProto]:
    """Return softmax, projection and the nodes between of every DFL block, in graph order."""
    members: set[int] = set()
    for node in view.nodes:
        if node.op_type == "Softmax":
            members |= _path_to_projection(view, node)
    return [x for x in view.nodes if id(x) in members]


def _path_to_projection(view: GraphView, softmax: onnx.NodeProto) -> set[int]:
    path = [softmax]
    while True:
        readers = list(view.readers(path[-1]))
        for reader in readers:
            if _projects_distances(view, reader):
                sums = [x for x in view.readers(reader) if x.op_type == "ReduceSum"]
                return {id(x) for x in (*path, reader, *(sums if reader.op_type == "Mul" else ()))}
        if len(readers) != 1 or readers[0].op_type not in _SHAPING:
            return set()
        path.append(readers[0])


def _projects_distances(view: GraphView, node: onnx.NodeProto) -> bool:
    """Tell whether a node weighs its input by 0, 1, 2, ... (times one factor)."""
    if node.op_type not in _PROJECTING:
        return False
    for name in node.input[:2]:
        value = view.value(name) if name in view.constants else None
        if value is not None and value.size > 1:
            flat = value.astype(np.float64).ravel()
            if flat[1] > 0 and np.allclose(flat, np.arange(flat.size) * flat[1], rtol=1e-3):
                return True
    return False


def _box_transforms(view: GraphView) -> set[int]:
    """Return products with a matrix as small as a box, such as centre-to-corner conversion."""
    small = {
        layer.name
        for layer in layers_of(view)
        if layer.op_type in ("MatMul", "Gemm") and layer.shape and max(layer.shape) <= _BOX
    }
    return {id(x) for x in view.nodes if x.name in small}


def _is_activated(view: GraphView, node: onnx.NodeProto) -> bool:
    """Tell whether an activation follows directly, behind a bias or BatchNorm at most."""
    readers = list(view.readers(node))
    for reader in readers:
        if reader.op_type in _ACTIVATIONS:
            return True
        if reader.op_type in _GATES:
            gated = [x for x in view.readers(reader) if x.op_type == "Mul"]
            if any(node.output[0] in x.input for x in gated):
                return True
    if len(readers) == 1 and _is_affine(view, readers[0]):
        return _is_activated(view, readers[0])
    return False


def _is_affine(view: GraphView, node: onnx.NodeProto) -> bool:
    if node.op_type == "BatchNormalization":
        return True
    return node.op_type == "Add" and any(x in view.constants for x in node.input)
