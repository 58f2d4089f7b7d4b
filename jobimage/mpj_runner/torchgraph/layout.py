"""Operators that move, pick, join and split elements."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from mpj_runner.torchgraph.node import Function, Node


def _concat(node: Node) -> Function:
    axis = node.attributes["axis"]
    return lambda *xs: torch.cat(xs, dim=axis)


def _split(node: Node) -> Function:
    axis, sizes, count = node.get("axis", 0), node.integers(1, "split"), len(node.outputs)

    def split(x: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        # Without sizes ONNX rounds up, so that only the last part may be smaller.
        return torch.split(x, sizes or -(-x.shape[axis] // count), dim=axis)

    return split


def _slice(node: Node) -> Function:
    starts, ends = node.integers(1, "starts") or [], node.integers(2, "ends") or []
    axes = node.integers(3, "axes") or list(range(len(starts)))
    steps = node.integers(4) or [1] * len(starts)
    parts = list(zip(axes, starts, ends, steps, strict=True))

    def cut(x: Tensor, *_: Tensor) -> Tensor:
        for axis, start, end, step in parts:
            if step > 0:
                keys = [slice(None)] * (axis % x.dim()) + [slice(start, end, step)]
                x = x[tuple(keys)]
            else:
                kept = range(x.shape[axis])[
                    slice(start, None if end < -x.shape[axis] else end, step)
                ]
                x = x.index_select(axis, torch.tensor(list(kept), device=x.device))
        return x

    return cut


def _reshape(node: Node) -> Function:
    shape = node.integers(1, "shape") or []
    if node.shape and 0 not in node.shape:
        # The batch comes first, and any other batch than the exported one may run.
        free = (-1, *node.shape[1:])
        return lambda x, *_: x.reshape(free)
    keep = not node.get("allowzero", 0)

    def reshape(x: Tensor, *_: Tensor) -> Tensor:
        return x.reshape([int(x.shape[i]) if n == 0 and keep else n for i, n in enumerate(shape)])

    return reshape


def _flatten(node: Node) -> Function:
    axis = node.get("axis", 1)

    def flatten(x: Tensor) -> Tensor:
        at = axis + x.dim() if axis < 0 else axis
        return x.reshape(int(np.prod(x.shape[:at], dtype=np.int64)), -1)

    return flatten


def _transpose(node: Node) -> Function:
    order = node.get("perm", None)
    return lambda x: x.permute(order or list(range(x.dim()))[::-1])


def _squeeze(node: Node) -> Function:
    axes = node.integers(1, "axes")
    return lambda x, *_: torch.squeeze(x) if axes is None else torch.squeeze(x, tuple(axes))


def _unsqueeze(node: Node) -> Function:
    axes = node.integers(1, "axes") or []

    def unsqueeze(x: Tensor, *_: Tensor) -> Tensor:
        rank = x.dim() + len(axes)
        for axis in sorted(a % rank for a in axes):
            x = x.unsqueeze(axis)
        return x

    return unsqueeze


def _expand(node: Node) -> Function:
    shape = node.integers(1) or []

    def expand(x: Tensor, *_: Tensor) -> Tensor:
        return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(shape)))

    return expand


def _tile(node: Node) -> Function:
    repeats = node.integers(1) or []
    return lambda x, *_: x.repeat(repeats)


def _pad(node: Node) -> Function:
    pads, mode = node.integers(1, "pads") or [], node.get("mode", "constant")
    value = (node.numbers(2) or [float(node.get("value", 0.0))])[0]
    if mode not in {"constant", "reflect", "edge"} or node.has(3):
        node.refuse(f"in mode {mode}, or with axes")
    half = len(pads) // 2
    pairs = list(zip(pads[:half], pads[half:], strict=True))
    while mode != "constant" and pairs and pairs[0] == (0, 0):
        pairs.pop(0)  # PyTorch's other modes take the padded dimensions only
    sides = [side for pair in pairs[::-1] for side in pair]
    if mode == "constant":
        return lambda x, *_: F.pad(x, sides, value=value)
    return lambda x, *_: F.pad(x, sides, mode="reflect" if mode == "reflect" else "replicate")


def _gather(node: Node) -> Function:
    axis = node.get("axis", 0)

    def gather(x: Tensor, index: Tensor) -> Tensor:
        at = axis % x.dim()
        flat = index.reshape(-1)
        picked = torch.index_select(x, at, torch.where(flat < 0, flat + x.shape[at], flat))
        return picked.reshape(*x.shape[:at], *index.shape, *x.shape[at + 1 :])

    return gather


def _gather_elements(node: Node) -> Function:
    axis = node.get("axis", 0)

    def gather(x: Tensor, index: Tensor) -> Tensor:
        index = torch.where(index < 0, index + x.shape[axis], index)
        return torch.gather(x, axis, index)

    return gather


def _top_k(node: Node) -> Function:
    count = (node.integers(1, "k") or [1])[0]
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    ordered = bool(node.get("sorted", 1))
    return lambda x, *_: tuple(torch.topk(x, count, axis, largest, ordered))


def _shape(node: Node) -> Function:
    start, end = node.get("start", 0), node.get("end", None)
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


LAYOUT: Final[Mapping[str, Callable[[Node], Function]]] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
