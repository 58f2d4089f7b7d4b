"""Operators that combine elements: pooling, reductions, products, normalisation, resizing."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from mpj_runner.torchgraph.node import Function, Node

_POOLS: Final[Mapping[str, Mapping[int, Callable[..., Tensor]]]] = {
    "MaxPool": {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d},
    "AveragePool": {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d},
}


def _pool(node: Node) -> Function:
    kernel = list(node.attributes["kernel_shape"])
    dims = len(kernel)
    pads = list(node.get("pads", [0] * 2 * dims))
    begin, end = pads[:dims], pads[dims:]
    uneven = begin != end
    dilations = list(node.get("dilations", [1] * dims))
    average = node.op == "AveragePool"
    if node.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        node.refuse(f"with auto_pad {node.get('auto_pad', '')}")
    if len(node.outputs) > 1 or (average and (uneven or dilations != [1] * dims)):
        node.refuse("with indices, uneven padding or dilations")
    options: dict[str, Any] = {
        "stride": list(node.get("strides", [1] * dims)),
        "ceil_mode": bool(node.get("ceil_mode", 0)),
    }
    if average:
        options["count_include_pad"] = bool(node.get("count_include_pad", 0))
    else:
        options["dilation"] = dilations
    sides = [side for b, e in zip(begin[::-1], end[::-1], strict=True) for side in (b, e)]
    wide = uneven or any(2 * b > k for b, k in zip(begin, kernel, strict=True))
    function = _POOLS[node.op][dims]

    def pool(x: Tensor) -> Tensor:
        if wide:  # PyTorch pads evenly, and by half a window at most
            return function(F.pad(x, sides, value=float("-inf")), kernel, **options)
        return function(x, kernel, padding=begin, **options)

    return pool


def _global_pool(node: Node) -> Function:
    combine = torch.amax if node.op == "GlobalMaxPool" else torch.mean
    return lambda x: combine(x, dim=tuple(range(2, x.dim())), keepdim=True)


_REDUCTIONS: Final[Mapping[str, Callable[..., Tensor]]] = {
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
}


def _reduce(node: Node) -> Function:
    axes, keep = node.integers(1, "axes"), bool(node.get("keepdims", 1))
    combine = _REDUCTIONS[node.op]
    if not axes and node.get("noop_with_empty_axes", 0):
        return lambda x, *_: x
    return lambda x, *_: combine(x, dim=tuple(axes or range(x.dim())), keepdim=keep)


def _norm(node: Node) -> Function:
    axes, keep = node.integers(1, "axes"), bool(node.get("keepdims", 1))

    def norm(x: Tensor, *_: Tensor) -> Tensor:
        y: Tensor = torch.linalg.vector_norm(x, dim=tuple(axes) if axes else None, keepdim=keep)
        return y

    return norm


def _arg_max(node: Node) -> Function:
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    return lambda x: torch.argmax(x, dim=axis, keepdim=keep)


def _softmax(node: Node) -> Function:
    axis = node.get("axis", -1)
    return lambda x: torch.softmax(x, dim=axis)


def _gemm(node: Node) -> Function:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    first, second = bool(node.get("transA", 0)), bool(node.get("transB", 0))

    def gemm(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        y: Tensor = alpha * ((a.T if first else a) @ (b.T if second else b))
        return y if c is None else y + beta * c

    return gemm


def _einsum(node: Node) -> Function:
    equation = node.attributes["equation"]
    return lambda *xs: torch.einsum(equation, *xs)


def _batch_norm(node: Node) -> Function:
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, var: F.batch_norm(x, mean, var, scale, bias, eps=epsilon)


def _instance_norm(node: Node) -> Function:
    epsilon = node.get("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _layer_norm(node: Node) -> Function:
    axis, epsilon = node.get("axis", -1), node.get("epsilon", 1e-5)
    return lambda x, scale, bias=None: F.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def _resize(node: Node) -> Function:
    mode = node.get("mode", "nearest")
    transform = node.get("coordinate_transformation_mode", "half_pixel")
    scales, sizes = node.numbers(2), node.integers(3)
    size = list(node.shape[2:]) if node.shape else (sizes or [])[2:]
    if not size or node.get("antialias", 0) or "axes" in node.attributes:
        node.refuse("without a static size, with antialias, or with axes")
    if mode == "nearest":
        whole = scales is not None and all(s == int(s) for s in scales)
        floor = transform == "asymmetric" and node.get("nearest_mode", "") == "floor"
        # With whole factors the centre rules pick the same cell whichever way they round.
        if not floor and not (whole and transform in {"half_pixel", "pytorch_half_pixel"}):
            node.refuse(f"in mode nearest with {transform}")
        if whole and scales:  # exported again as one node, where a size would become several
            return lambda x, *_: F.interpolate(x, scale_factor=scales[2:], mode="nearest")
        return lambda x, *_: F.interpolate(x, size=size, mode="nearest")
    if mode != "linear" or transform not in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        node.refuse(f"in mode {mode} with {transform}")
    corners = transform == "align_corners"
    kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return lambda x, *_: F.interpolate(x, size=size, mode=kind, align_corners=corners)


REDUCTION: Final[Mapping[str, Callable[[Node], Function]]] = {
    "ArgMax": _arg_max,
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda _node: torch.matmul,
    "MaxPool": _pool,
    "ReduceL2": _norm,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "ReduceSum": _reduce,
    "Resize": _resize,
    "Softmax": _softmax,
}
