"""An index over an ONNX graph: who makes a tensor, who reads it, what is constant."""

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

_RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
)
_PASSING: Final = frozenset(
    {"Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand"}
)
"""Operators that keep a constant's values, though not its shape or type."""


class GraphView:
    """Read a graph by its edges. The model must not change while a view of it is in use."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: tuple[onnx.NodeProto, ...] = tuple(model.graph.node)
        self.inputs = tuple(x.name for x in model.graph.input if x.name not in self.initializers)
        self.outputs = tuple(x.name for x in model.graph.output)

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Initializers by name."""
        return {x.name: x for x in self.model.graph.initializer}

    @cached_property
    def producer(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that read each tensor, in the graph's order; one entry a reading node."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(x for x in node.input if x):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def constants(self) -> frozenset[str]:
        """Tensors that no input of the graph has an influence on."""
        known = set(self.initializers)
        for node in self.nodes:
            fixed = all(x in known for x in node.input if x) and not node_has_subgraph(node)
            if fixed and node.op_type not in _RANDOM:
                known.update(x for x in node.output if x)
        return frozenset(known)

    def value(self, tensor: str) -> npt.NDArray[np.generic] | None:
        """Return the elements of a constant, or None when they would have to be computed.

        Reshapes and casts are looked through: shape and type may be those of their source.
        """
        if tensor in self.initializers:
            return numpy_helper.to_array(self.initializers[tensor])
        node = self.producer.get(tensor)
        if node is None:
            return None
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return numpy_helper.to_array(node.attribute[0].t)
        return self.value(node.input[0]) if node.op_type in _PASSING else None

    def readers(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that read any output of a node."""
        for name in node.output:
            yield from self.consumers.get(name, ())

    def downstream(self, starts: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return all nodes that depend on the starts, without them, breadth first."""
        queue = deque(starts)
        seen = {id(x) for x in queue}
        found = []
        while queue:
            for reader in self.readers(queue.popleft()):
                if id(reader) not in seen:
                    seen.add(id(reader))
                    found.append(reader)
                    queue.append(reader)
        return found


def node_has_subgraph(node: onnx.NodeProto) -> bool:
    """Tell whether a node carries a graph of its own (If, Loop, Scan)."""
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attribute)
