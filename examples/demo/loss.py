"""The training loss: task-aligned assignment, then class, box and distribution terms.

Sources of the formulas: assignment and soft targets from TOOD (Feng et al. 2021), distributions
over distances from Generalized Focal Loss (Li et al. 2020), complete IoU from Zheng et al. 2020.
All terms are computed for every cell and weighted by zero where no object is: that keeps shapes
fixed, so that the device is never waited for.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from detector import BINS, CLASSES, STRIDES, anchor_points
from torch import Tensor

CLASS_GAIN: Final = 0.5
BOX_GAIN: Final = 7.5
DISTRIBUTION_GAIN: Final = 1.5
CANDIDATES: Final = 10
"""Cells that each object takes at most."""
SCORE_POWER: Final = 0.5
IOU_POWER: Final = 6.0


@dataclass(frozen=True)
class Targets:
    """Objects of a batch, padded to the same number n."""

    boxes: Tensor
    """(B, n, 4): left, top, right, bottom in pixels."""
    labels: Tensor
    """(B, n) int64."""
    valid: Tensor
    """(B, n) bool: False where padded."""


@dataclass(frozen=True)
class Assignment:
    """What each cell has to predict."""

    positive: Tensor
    """(B, A) bool."""
    boxes: Tensor
    """(B, A, 4) in pixels; meaningful where positive."""
    scores: Tensor
    """(B, A, CLASSES): soft targets; zero where not positive."""


def detection_loss(maps: list[Tensor], targets: Targets) -> Tensor:
    """Return the loss of a batch as a scalar.

    Args:
        maps: what the detector returns in training, one (B, 4 * BINS + CLASSES, H, W) a stride.
        targets: the labelled objects.
    """
    centres, strides = (t[0].T for t in anchor_points(maps))
    flat = torch.cat([m.flatten(2) for m in maps], dim=2).float().transpose(1, 2)
    sides, logits = torch.split(flat, [4 * BINS, CLASSES], dim=2)
    sides = sides.reshape(*sides.shape[:2], 4, BINS)
    bins = torch.arange(BINS, device=flat.device, dtype=flat.dtype)
    distances = sides.softmax(dim=3) @ bins
    cells = torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=2)
    boxes = cells * strides

    goal = assign(boxes.detach(), logits.detach().sigmoid(), centres * strides, targets)
    weight = goal.scores.sum(dim=2)
    total = weight.sum().clamp(min=1.0)
    class_loss = F.binary_cross_entropy_with_logits(logits, goal.scores, reduction="sum")
    box_loss = (weight * (1 - complete_iou(boxes, goal.boxes))).sum()
    spread_loss = (weight * distribution_loss(sides, goal.boxes / strides, centres)).sum()
    terms = CLASS_GAIN * class_loss + BOX_GAIN * box_loss + DISTRIBUTION_GAIN * spread_loss
    return terms / total


@torch.no_grad()
def assign(boxes: Tensor, scores: Tensor, centres: Tensor, targets: Targets) -> Assignment:
    """Give each object the cells that already predict it best in class and place.

    Args:
        boxes: (B, A, 4) predictions in pixels.
        scores: (B, A, CLASSES) predictions in 0..1.
        centres: (A, 2) the cells' centres in pixels.
        targets: the labelled objects.
    """
    lower, upper = targets.boxes[..., :2], targets.boxes[..., 2:]
    # An object smaller than a cell may hold no cell's centre: it then takes the nearest ones.
    reach = ((upper - lower) / 2).clamp(min=STRIDES[0] / 2 + 0.5)[:, :, None]
    offset = (centres[None, None] - ((lower + upper) / 2)[:, :, None]).abs()
    allowed = (offset < reach).all(dim=3) & targets.valid[..., None]
    iou = pairwise_iou(targets.boxes, boxes)
    own = targets.labels[..., None].expand(-1, -1, boxes.shape[1])
    score = scores.transpose(1, 2).gather(1, own)
    metric = score**SCORE_POWER * iou**IOU_POWER * allowed

    best = metric.topk(CANDIDATES, dim=2).indices
    chosen = torch.zeros_like(allowed).scatter_(2, best, value=True) & allowed
    # A cell that several objects want goes to the one that it overlaps most.
    rank = torch.where(chosen, iou + 1e-9, torch.zeros_like(iou))
    owner = rank.argmax(dim=1)
    positive = chosen.any(dim=1)
    mine = F.one_hot(owner, targets.boxes.shape[1]).transpose(1, 2).bool() & chosen
    metric = metric * mine
    iou = iou * mine
    scale = iou.amax(dim=2, keepdim=True) / metric.amax(dim=2, keepdim=True).clamp(min=1e-9)
    soft = (metric * scale).amax(dim=1)
    classes = F.one_hot(targets.labels.gather(1, owner), CLASSES)
    return Assignment(
        positive=positive,
        boxes=targets.boxes.gather(1, owner[..., None].expand(-1, -1, 4)),
        scores=classes * (soft * positive)[..., None],
    )


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return IoU (B, n, m) of boxes (B, n, 4) and (B, m, 4)."""
    a, b = a[:, :, None], b[:, None]
    common = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    overlap = common.clamp(min=0).prod(dim=3)
    areas = (a[..., 2:] - a[..., :2]).prod(dim=3) + (b[..., 2:] - b[..., :2]).prod(dim=3)
    return overlap / (areas - overlap + 1e-7)


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return complete IoU (...) of boxes (..., 4): overlap, distance of centres, aspect ratio."""
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    common = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    overlap = common.clamp(min=0).prod(dim=-1)
    iou = overlap / (size_a.prod(dim=-1) + size_b.prod(dim=-1) - overlap + 1e-7)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2).square().sum(dim=-1)
    angle_a, angle_b = (torch.atan(s[..., 0] / (s[..., 1] + 1e-7)) for s in (size_a, size_b))
    aspect = 4 / math.pi**2 * (angle_a - angle_b).square()
    with torch.no_grad():
        share = aspect / (1 - iou + aspect + 1e-7)
    return iou - apart / (hull.square().sum(dim=-1) + 1e-7) - share * aspect


def distribution_loss(sides: Tensor, boxes: Tensor, centres: Tensor) -> Tensor:
    """Return the cross entropy (B, A) of the sides with the two bins around each distance.

    Args:
        sides: (B, A, 4, BINS) logits.
        boxes: (B, A, 4) wanted, in cells.
        centres: (A, 2) in cells.
    """
    distance = torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=-1)
    distance = distance.clamp(0, BINS - 1.01)
    below = distance.floor().long()
    fraction = distance - below
    logs = sides.log_softmax(dim=-1)
    low = logs.gather(-1, below[..., None]).squeeze(-1)
    high = logs.gather(-1, below[..., None] + 1).squeeze(-1)
    return -((1 - fraction) * low + fraction * high).mean(dim=-1)
