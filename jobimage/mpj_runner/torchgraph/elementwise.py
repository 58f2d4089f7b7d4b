"""Operators that work on each element by itself, or on pairs of them."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from onnx import TensorProto
from torch import Tensor

from mpj_runner.torchgraph.node import Function, Node

_TYPES: Final = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.BOOL: torch.bool,
}


def _plain(function: Callable[..., Tensor]) -> Callable[[Node], Function]:
    return lambda _node: function


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node], Function]:
    """Extend a function of two tensors to any number of them."""
    return lambda _node: lambda *xs: reduce(function, xs)


def _divide(_node: Node) -> Function:
    def divide(a: Tensor, b: Tensor) -> Tensor:
        # ONNX divides integers as C does.
        return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")

    return divide


def _modulo(node: Node) -> Function:
    return torch.fmod if node.get("fmod", 0) else torch.remainder


def _clip(node: Node) -> Function:
    if "min" in node.attributes or "max" in node.attributes:
        low, high = node.get("min", None), node.get("max", None)
        return lambda x, *_: torch.clamp(x, low, high)
    return lambda x, low=None, high=None: torch.clamp(x, low, high)


def _leaky_relu(node: Node) -> Function:
    alpha = node.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, alpha)


def _prelu(_node: Node) -> Function:
    return lambda x, slope: torch.where(x < 0, x * slope, x)


def _elu(node: Node) -> Function:
    alpha = node.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def _gelu(node: Node) -> Function:
    approximate = node.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _cast(node: Node) -> Function:
    kind = _TYPES.get(node.get("to", 0))
    if kind is None:
        node.refuse(f"to type {TensorProto.DataType.Name(node.get('to', 0))}")
    return lambda x: x.to(kind)


ELEMENTWISE: Final[Mapping[str, Callable[[Node], Function]]] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    "Cast": _cast,
    "Ceil": _plain(torch.ceil),
    "Clip": _clip,
    "Cos": _plain(torch.cos),
    "Div": _divide,
    "Dropout": _plain(lambda x, *_: x),
    "Elu": _elu,
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Floor": _plain(torch.floor),
    "Gelu": _gelu,
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(F.hardswish),
    "Identity": _plain(lambda x: x),
    "LeakyRelu": _leaky_relu,
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "Log": _plain(torch.log),
    "Max": _fold(torch.maximum),
    "Min": _fold(torch.minimum),
    "Mish": _plain(F.mish),
    "Mod": _modulo,
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Not": _plain(torch.logical_not),
    "Or": _plain(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _plain(torch.pow),
    "Reciprocal": _plain(torch.reciprocal),
    "Relu": _plain(F.relu),
    "Round": _plain(torch.round),
    "Sigmoid": _plain(torch.sigmoid),
    "Sin": _plain(torch.sin),
    "Softplus": _plain(F.softplus),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Sum": _fold(torch.add),
    "Tanh": _plain(torch.tanh),
    "Where": _plain(torch.where),
}
