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
    return lambda x, *_: torch.linalg.vector_norm(x, dim=axes and tuple(axes), keepdim=keep)


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
        y = alpha * ((a.T if first else a) @ (b.T if second else b))
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
    mode, transform = node.get("mode", "nearest"), node.get(
        "coordinate_transformation_mode", "half_pixel"
    )
    nearest = mode == "nearest" and transform == "asymmetric" and (
        node.get("nearest_mode", "round_prefer_floor") == "floor"
    )
    linear = mode == "linear" and transform in {
        "half_pixel", "pytorch_half_pixel", "align_corners"
    }
    scales, sizes = node.numbers(2), node.integers(3) if node.has(3) else None
    whole = scales is not None and all(s == int(s) for s in scales)
    # Whole factors: every rule of rounding but "ceil" picks the same source cell.
    nearest = nearest or (
        mode == "nearest" and whole and transform in {"half_pixel", "pytorch_half_pixel"}
    )
    if not (nearest or linear) or node.get("antialias", 0) or "axes" in node.attributes:
        node.refuse(f"in mode {mode} with {transform}")
    if (scales is None) == (sizes is None) or (scales or sizes or [])[:2] != [1, 1][: 2]:
        if sizes is None:
            node.refuse("of the batch or of channels")
    corners = transform == "align_corners"
    options: dict[str, Any] = {"mode": "nearest"} if nearest else {
        "mode": "bilinear", "align_corners": corners
    }

    def resize(x: Tensor, *_: Tensor | None) -> Tensor:
        if scales is not None:
            size = [int(n * s) for n, s in zip(x.shape[2:], scales[2:], strict=True)]
        else:
            size = list((sizes or [])[2:])
        return F.interpolate(x, size=size, **options)

    return resize


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
