"""Which tensors of a detector its sensitivity is measured on."""

from dataclasses import dataclass

import torch
from onnx import ModelProto
from torch import Tensor

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.head import find_head
from mpj_runner.graph.view import GraphView
from mpj_runner.torchgraph.module import shapes_of


@dataclass(frozen=True)
class Taps:
    """Names of tensors before the final decode, where gradients are useful."""

    raw: tuple[str, ...]
    """Results of the head's output convolutions: distances or their distributions, and logits."""
    logits: tuple[str, ...]
    """Class logits: what the score sigmoid reads."""
    class_axes: tuple[int, ...]
    """The dimension of each of ``logits`` that holds the classes."""


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
    result = {node.name: node.output[0] for node in view.nodes}
    shapes = shapes_of(model)
    logits, axes = [], []
    decoding = set(head.decoding)
    for node in view.nodes:
        if node.name in decoding and node.op_type == "Sigmoid":
            shape = shapes.get(node.input[0], ())
            if class_count in shape[1:]:
                logits.append(node.input[0])
                axes.append(shape.index(class_count, 1))
    return Taps(tuple(result[name] for name in head.outputs), tuple(logits), tuple(axes))


def paired_logits(tensors: tuple[Tensor, ...], axes: tuple[int, ...]) -> Tensor:
    """Return class logits as one tensor whose softmax is what the detector's sigmoid means.

    A detector scores every class by itself: class against nothing. The softmax of (x, 0) is
    (sigmoid(x), 1 - sigmoid(x)), so ModelOpt's divergence over the last dimension becomes that of
    the scores, and it is not zero for detectors of one class.

    Args:
        tensors: class logits, one or several.
        axes: the dimension of each that holds the classes.

    Returns:
        (B, anchors * classes, 2).
    """
    flat = torch.cat(
        [t.movedim(axis, -1).flatten(1) for t, axis in zip(tensors, axes, strict=True)], dim=1
    )
    return torch.stack([flat, torch.zeros_like(flat)], dim=-1)


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
