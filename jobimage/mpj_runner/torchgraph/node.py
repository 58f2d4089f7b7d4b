"""One ONNX node as the builders of its PyTorch equivalent see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor

from mpj_runner.contract.errors import UserError

Function = Callable[..., Tensor | tuple[Tensor, ...]]
"""Maps all of a node's inputs, in order and None where absent, to its output or outputs."""


@dataclass(frozen=True)
class Node:
    """A node, its attributes and those of its inputs that are constant."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[int, npt.NDArray[Any]]
    """Constant inputs by position."""
    shape: tuple[int, ...] | None
    """Static shape of the first output, where shape inference knew it."""

    @classmethod
    def of(
        cls,
        proto: onnx.NodeProto,
        constants: Mapping[str, npt.NDArray[Any]],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> "Node":
        """Read a node.

        Args:
            proto: the node.
            constants: the graph's constant tensors by name.
            shapes: static shapes by tensor name.
        """
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        return cls(
            name=proto.name,
            op=proto.op_type,
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes={
                k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()
            },
            constants={i: constants[x] for i, x in enumerate(proto.input) if x in constants},
            shape=shapes.get(proto.output[0]),
        )

    def get(self, name: str, default: Any) -> Any:  # noqa: ANN401 - an attribute of any type
        """Return an attribute or its default."""
        return self.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Tell whether an optional input is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def integers(self, index: int, name: str = "") -> list[int] | None:
        """Return integers that older operator sets keep in an attribute and newer in an input.

        Returns:
            The list; None when neither is given.

        Raises:
            UserError: the input is computed while the graph runs.
        """
        if name in self.attributes:
            value = self.attributes[name]
            return [int(x) for x in np.ravel(value)]
        if not self.has(index):
            return None
        if index not in self.constants:
            self.refuse(f"with an input {index} that is computed while the graph runs")
        return [int(x) for x in self.constants[index].ravel()]

    def numbers(self, index: int) -> list[float] | None:
        """Return a constant input's elements; None when it is absent, empty or not constant."""
        value = self.constants.get(index) if self.has(index) else None
        return None if value is None or value.size == 0 else [float(x) for x in value.ravel()]

    def refuse(self, what: str) -> NoReturn:
        """Raise UserError: this node cannot be computed in PyTorch."""
        raise UserError(
            f'autoQuantize cannot rebuild operator {self.op} {what} (node "{self.name}"): use ptq'
            " candidates for this model, or export it without that operator"
        )
