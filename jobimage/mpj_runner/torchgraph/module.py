"""The module that computes an ONNX graph."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from mpj_runner.contract.errors import UserError
from mpj_runner.torchgraph.elementwise import ELEMENTWISE
from mpj_runner.torchgraph.layers import layer
from mpj_runner.torchgraph.layout import LAYOUT
from mpj_runner.torchgraph.node import Function, Node
from mpj_runner.torchgraph.reduction import REDUCTION

OPERATORS = {**ELEMENTWISE, **LAYOUT, **REDUCTION}


class Operation(nn.Module):
    """A node without parameters; its constant inputs are buffers."""

    def __init__(self, node: Node, function: Function) -> None:
        super().__init__()
        self._function = function
        self._arguments = [
            f"constant_{i}" if i in node.constants else ("" if name else None)
            for i, name in enumerate(node.inputs)
        ]
        for i, value in node.constants.items():
            self.register_buffer(f"constant_{i}", torch.from_numpy(value.copy()), persistent=False)

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the node from its inputs that are not constant, in order."""
        given = iter(tensors)
        return self._function(
            *(
                None if name is None else getattr(self, name) if name else next(given)
                for name in self._arguments
            )
        )


@dataclass(frozen=True)
class _Call:
    key: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GraphModule(nn.Module):
    """An ONNX graph with one image input as a PyTorch module in eval mode.

    Each node is a module of ``nodes``; ``sources`` maps its key there to the ONNX node.
    ``layer_nodes`` maps the names of the modules that ModelOpt can quantize (as in
    ``named_modules``) to names of ONNX nodes.
    """

    def __init__(self, model: ModelProto) -> None:
        """Build the module.

        Args:
            model: an FP32 graph with unique node names and inferred shapes.

        Raises:
            UserError: the graph has an operator that has no equivalent here; it is named.
        """
        super().__init__()
        self.nodes = nn.ModuleDict()
        self.layer_nodes: dict[str, str] = {}
        self.sources: dict[str, Node] = {}
        self._input = model.graph.input[0].name
        constants, shapes = _constants(model), shapes_of(model)
        self._calls = [
            self._add(f"n{index}", Node.of(node, constants, shapes))
            for index, node in enumerate(model.graph.node)
            if node.op_type != "Constant"
        ]
        self.select([o.name for o in model.graph.output])
        self.eval()

    def _add(self, prefix: str, node: Node) -> _Call:
        key = f"{prefix}_{re.sub(r'[^0-9A-Za-z]+', '_', node.name).strip('_')}"
        module = layer(node)
        if module is None:
            builder = OPERATORS.get(node.op)
            if builder is None:
                node.refuse("")
            module = Operation(node, builder(node))
        else:
            inner = f".{len(module) - 1}" if isinstance(module, nn.Sequential) else ""
            self.layer_nodes[f"nodes.{key}{inner}"] = node.name
        self.nodes[key] = module
        self.sources[key] = node
        read = tuple(x for i, x in enumerate(node.inputs) if x and i not in node.constants)
        return _Call(key, read, node.outputs)

    def select(self, outputs: Sequence[str]) -> None:
        """Choose the tensors that ``forward`` returns; only what they need is computed then."""
        self._outputs = tuple(outputs)
        self._plan = _planned(self._calls, self._outputs)

    @property
    def computed(self) -> frozenset[str]:
        """Names in ``layer_nodes`` of the layers that the selected outputs depend on."""
        keys = {call.key for call, _ in self._plan}
        return frozenset(name for name in self.layer_nodes if name.split(".")[1] in keys)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map (B, 3, H, W) float32 to the output, or to the tuple of them when there are several.

        The batch may differ from the exported one where the graph keeps it as leading dimension.
        """
        values = {self._input: images}
        for call, done in self._plan:
            result = self.nodes[call.key](*(values[name] for name in call.inputs))
            parts = result if isinstance(result, tuple) else (result,)
            values.update(zip(call.outputs, parts, strict=False))
            for name in done:
                values.pop(name, None)
        found = tuple(values[name] for name in self._outputs)
        return found[0] if len(found) == 1 else found


def _constants(model: ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Return initializers and the values of Constant nodes by tensor name."""
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            if not isinstance(value, onnx.TensorProto):
                raise UserError(
                    f'autoQuantize cannot rebuild the Constant "{node.name}": export the model'
                    " again with opset_version=19"
                )
            found[node.output[0]] = numpy_helper.to_array(value)
    return found


def shapes_of(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes that are static, by tensor name."""
    found = {}
    inferred = onnx.shape_inference.infer_shapes(model)
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and all(d.dim_value > 0 for d in dims):
            found[value.name] = tuple(d.dim_value for d in dims)
    return found


def _planned(calls: Sequence[_Call], outputs: Sequence[str]) -> list[tuple[_Call, tuple[str, ...]]]:
    """Return the calls that the outputs depend on, each with the tensors it is the last to read."""
    kept = set(outputs)
    found = []
    for call in reversed(calls):
        if kept.intersection(call.outputs):
            done = tuple(name for name in dict.fromkeys(call.inputs) if name not in kept)
            kept.update(done)
            found.append((call, done))
    return found[::-1]
