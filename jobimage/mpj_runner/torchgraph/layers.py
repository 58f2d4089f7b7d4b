"""Nodes with weights as PyTorch's own layers, which is what ModelOpt quantizes."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mpj_runner.torchgraph.node import Node

Weights = npt.NDArray[np.float32]


def layer(node: Node) -> nn.Module | None:
    """Return the layer that a node is, or None when it has no constant weights of its own.

    Its forward takes the node's one input that is not constant.
    """
    builder = BUILDERS.get(node.op)
    return builder(node) if builder else None


def _convolution(node: Node) -> nn.Module | None:
    weight = node.constants.get(1)
    if weight is None or 0 in node.constants or (node.has(2) and 2 not in node.constants):
        return None
    dims = weight.ndim - 2
    kind: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}.get(dims)
    if kind is None:
        node.refuse(f"in {dims} dimensions")
    begin, end = _pads(node, dims)
    groups = node.get("group", 1)
    conv: nn.Module = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=tuple(node.get("strides", [1] * dims)),
        padding=tuple(begin) if begin == end else 0,
        dilation=tuple(node.get("dilations", [1] * dims)),
        groups=groups,
        bias=2 in node.constants,
    )
    _fill(conv, weight, node.constants.get(2))
    if begin == end:
        return conv
    # PyTorch's order: last dimension first, begin before end.
    sides = [side for b, e in zip(begin[::-1], end[::-1], strict=True) for side in (b, e)]
    pad: Any = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}[dims]
    return nn.Sequential(pad(tuple(sides), 0.0), conv)


def _transposed(node: Node) -> nn.Module | None:
    weight = node.constants.get(1)
    if weight is None or 0 in node.constants or (node.has(2) and 2 not in node.constants):
        return None
    dims = weight.ndim - 2
    kind: Any = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}.get(dims)
    begin, end = _pads(node, dims)
    if kind is None or begin != end or "output_shape" in node.attributes:
        node.refuse("with uneven padding, an output_shape, or more than three dimensions")
    groups = node.get("group", 1)
    conv: nn.Module = kind(
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(weight.shape[2:]),
        stride=tuple(node.get("strides", [1] * dims)),
        padding=tuple(begin),
        output_padding=tuple(node.get("output_padding", [0] * dims)),
        dilation=tuple(node.get("dilations", [1] * dims)),
        groups=groups,
        bias=2 in node.constants,
    )
    _fill(conv, weight, node.constants.get(2))
    return conv


def _gemm(node: Node) -> nn.Module | None:
    weight = node.constants.get(1)
    plain = node.get("alpha", 1.0) == 1.0 == node.get("beta", 1.0) and not node.get("transA", 0)
    bias = node.constants.get(2)
    fits = bias is None or (weight is not None and bias.size == weight.shape[-2:][1 - _flip(node)])
    if weight is None or not plain or not fits or (node.has(2) and bias is None):
        return None
    return _linear(weight if _flip(node) else weight.T, None if bias is None else bias.ravel())


def _flip(node: Node) -> int:
    return 1 if node.get("transB", 0) else 0


def _matmul(node: Node) -> nn.Module | None:
    weight = node.constants.get(1)
    return None if weight is None or weight.ndim != 2 else _linear(weight.T, None)


def _linear(weight: Weights, bias: Weights | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    _fill(linear, weight, bias)
    return linear


def _pads(node: Node, dims: int) -> tuple[list[int], list[int]]:
    mode = node.get("auto_pad", "NOTSET")
    if mode not in {"NOTSET", "VALID"}:
        node.refuse(f"with auto_pad {mode}")
    pads = node.get("pads", [0] * 2 * dims) if mode == "NOTSET" else [0] * 2 * dims
    return list(pads[:dims]), list(pads[dims:])


def _fill(module: nn.Module, weight: Weights, bias: Weights | None) -> None:
    with torch.no_grad():
        module.weight = nn.Parameter(torch.from_numpy(np.array(weight, np.float32)))
        if bias is not None:
            module.bias = nn.Parameter(torch.from_numpy(np.array(bias, np.float32)))


BUILDERS: Final[Mapping[str, Callable[[Node], Any]]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
