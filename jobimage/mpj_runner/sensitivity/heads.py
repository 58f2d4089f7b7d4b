"""Which tensors of a detector its sensitivity is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from onnx import ModelProto
from torch import Tensor

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.head import find_head
from mpj_runner.graph.view import GraphView
from mpj_runner.torchgraph.module import shapes_of

_SIDES: Final = 4
BINS: Final = 16
"""Bins of a distribution over distances, as DFL heads have them; distances are in cells."""
NEVER: Final = -1e4
"""A logit whose probability is zero in float32, and that stays finite in a divergence."""


@dataclass(frozen=True)
class Tap:
    """A tensor of predicted distributions."""

    tensor: str
    kind: Literal["class", "bins", "distance"]
    """class: each element is a logit against zero. bins: logits over distances. distance: the
    distance itself."""
    axis: int
    """The dimension of classes, of bins, or of the box's sides."""


@dataclass(frozen=True)
class Taps:
    """Tensors before the final decode, where gradients are useful."""

    raw: tuple[str, ...]
    """Results of the head's output convolutions: distances or their distributions, and logits."""
    distributions: tuple[Tap, ...]
    """The same as distributions; without one of kind class when no sigmoid gives class scores."""


def taps_of(model: ModelProto, class_count: int) -> Taps:
    """Find the raw outputs of a detector's head.

    Raises:
        UserError: the graph has no head of convolutions or matrix products.
    """
    view = GraphView(model)
    head = find_head(view)
    if not head.outputs:
        raise UserError(
            "autoQuantize found no convolutions before the model's output: it needs a detector"
            " whose head ends in convolutions; use ptq candidates for this model"
        )
    shapes = shapes_of(model)
    nodes = {node.name: node for node in view.nodes}
    raw = tuple(nodes[name].output[0] for name in head.outputs)
    found = []
    for name in (*head.decoding, *head.dfl):
        node = nodes[name]
        shape = shapes.get(node.input[0], ()) if node.input else ()
        if node.op_type == "Sigmoid" and class_count in shape[1:]:
            found.append(Tap(node.input[0], "class", shape.index(class_count, 1)))
        elif node.op_type == "Softmax" and name in head.dfl and shape:
            axis = next((a.i for a in node.attribute if a.name == "axis"), -1)
            found.append(Tap(node.input[0], "bins", axis % len(shape)))
    if not head.dfl:
        sides = [x for x in raw if shapes.get(x, (0, 0))[1] == _SIDES]
        found.extend(Tap(x, "distance", 1) for x in sides)
    return Taps(raw, tuple(found))


def joint_logits(tensors: Sequence[Tensor], taps: Sequence[Tap]) -> Tensor:
    """Return everything that a head predicts as one tensor of logits of distributions.

    ModelOpt measures the divergence of one tensor's softmax over its last dimension. A detector
    scores each class by itself, and the softmax of (x, 0) is (sigmoid(x), 1 - sigmoid(x)): so
    detectors of one class have a divergence too. A distance d becomes the logits -(d - bin)^2 / 2,
    whose divergence is half the squared change of d. Without the box branches their layers would
    look free to quantize.

    Args:
        tensors: values of the taps.
        taps: what they are.

    Returns:
        (B, distributions, bins).
    """
    rows = []
    for tensor, tap in zip(tensors, taps, strict=True):
        last = tensor.movedim(tap.axis, -1)
        if tap.kind == "bins":
            rows.append(last.flatten(1, -2))
        elif tap.kind == "class":
            flat = last.flatten(1)
            rows.append(torch.stack([flat, torch.zeros_like(flat)], dim=-1))
        else:
            bins = torch.arange(BINS, device=tensor.device, dtype=tensor.dtype)
            rows.append(-0.5 * (last.flatten(1)[..., None] - bins).square())
    width = max(row.shape[-1] for row in rows)
    padded = [F.pad(row, (0, width - row.shape[-1]), value=NEVER) for row in rows]
    return torch.cat(padded, dim=1)


class RandomProjection:
    """A loss whose squared gradient estimates how much every raw output feels a change.

    ModelOpt's score is the sum of (gradient times change of a layer's output) squared. With the
    loss sum(noise * output / std(output)) over raw outputs and independent noise of unit variance,
    its expectation is the sum over all outputs of their squared sensitivities, each in units of
    that output's own spread. A loss against the same model's own outputs would have gradient zero.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, outputs: Tensor | tuple[Tensor, ...], _batch: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        terms = []
        for y in parts:
            noise = torch.randint(0, 2, y.shape, generator=self._generator).mul_(2).sub_(1)
            spread = y.detach().std().clamp_min(torch.finfo(y.dtype).tiny ** 0.5)
            terms.append((y * noise.to(y)).sum() / spread)
        return torch.stack(terms).sum()
