"""Layers: the convolutions and matrix products with weights, which precision is decided for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from mpj_runner.graph.view import GraphView

LAYER_OPS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Layer:
    """One convolution or matrix product with constant weights."""

    name: str
    """Of its node."""
    op_type: str
    activation: str
    """The tensor that it reads."""
    weight: str
    """The tensor of its weights: an initializer, or what is computed from constants only."""
    shape: tuple[int, ...]
    """Of the weights; empty when they are computed."""

    @property
    def elements(self) -> int:
        """Number of weights; 0 when they are computed."""
        return math.prod(self.shape) if self.shape else 0


def layers_of(view: GraphView) -> list[Layer]:
    """Return the layers of a graph in its order. Products of two activations are none."""
    found = []
    for node in view.nodes:
        sides = _sides(view, node)
        if sides is not None:
            activation, weight = sides
            shape = _shape(view, weight)
            found.append(Layer(node.name, node.op_type, activation, weight, shape))
    return found


def _sides(view: GraphView, node: onnx.NodeProto) -> tuple[str, str] | None:
    if node.op_type not in LAYER_OPS or len(node.input) < 2:
        return None
    first, second = node.input[:2]
    if second in view.constants and first not in view.constants:
        return first, second
    if node.op_type in ("MatMul", "Gemm") and first in view.constants:
        return (second, first) if second not in view.constants else None
    return None


def _shape(view: GraphView, weight: str) -> tuple[int, ...]:
    """Follow the weights through Q/DQ and casts back to their initializer."""
    names: Sequence[str] = (weight,)
    while names:
        found = view.initializers.get(names[0])
        if found is not None:
            return tuple(found.dims)
        node = view.producer.get(names[0])
        if node is not None and node.op_type == "Constant":
            value = view.value(names[0])
            return () if value is None else tuple(value.shape)
        names = () if node is None else tuple(node.input[:1])
    return ()
