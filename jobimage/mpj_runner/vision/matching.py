"""Which detections of an image match which objects: COCO's rule, vectorised.

The rule is that of ``pycocotools.cocoeval.COCOeval.evaluateImg`` (Lin et al., 2014): per class,
best score first and at most 100 detections, each takes the free object that it overlaps most, if
that is at least the threshold; objects outside the size range and crowds count neither way and are
taken only when nothing else fits; of equal overlaps the later object wins. pycocotools walks every
detection once a threshold and a size range in Python; here all of these are one array operation,
and detections that touch no object are not walked at all. Tests hold both equal, bit by bit.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pycocotools import mask
from pycocotools.cocoeval import Params

from mpj_runner.vision.detections import Boxes
from mpj_runner.vision.truth import Objects

_COCO: Final = Params(iouType="bbox")
IOU_THRESHOLDS: Final[npt.NDArray[np.float64]] = _COCO.iouThrs
"""(10,) 0.5 to 0.95."""
AREAS: Final[npt.NDArray[np.float64]] = np.array(_COCO.areaRng, np.float64)
"""(4, 2) pixels: all, small, medium, large."""
MAX_DETECTIONS: Final[tuple[int, ...]] = tuple(_COCO.maxDets)
"""1, 10, 100 detections of a class in an image."""

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Matches:
    """The judged detections of one image: at most 100 a class, by class and best first."""

    classes: Ints
    """(n,) class indices."""
    scores: Floats
    """(n,) float64."""
    rank: Ints
    """(n,) place within the class, 0 the best."""
    hit: Flags
    """(4 size ranges, 10 thresholds, n) matched an object that counts."""
    ignored: Flags
    """(4 size ranges, 10 thresholds, n) counts neither as right nor as wrong."""


def match(found: Boxes, objects: Objects) -> Matches:
    """Judge the detections of one image; boxes in pixels of the original image."""
    order = np.lexsort((-found.scores, found.classes))  # stable
    classes = found.classes[order]
    rank = (np.arange(len(order)) - np.searchsorted(classes, classes)).astype(np.int32)
    judged = rank < MAX_DETECTIONS[-1]
    order, classes, rank = order[judged], classes[judged], rank[judged]
    corners = found.xyxy[order].astype(np.float64)
    xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)

    outside = _outside(xywh[:, 2] * xywh[:, 3])
    shape = (len(AREAS), len(IOU_THRESHOLDS), len(order))
    hit = np.zeros(shape, np.bool_)
    ignored = np.repeat(outside[:, None], shape[1], axis=1)
    for index in np.unique(objects.classes):
        start, end = np.searchsorted(classes, [index, index + 1])
        if start == end:
            continue
        own = objects.classes == index
        crowd = objects.crowd[own]
        overlaps = mask.iou(xywh[start:end], objects.xywh[own], crowd.astype(np.uint8))
        uncounted = crowd | _outside(objects.area[own])
        matched, on_uncounted = _assign(overlaps, uncounted, crowd)
        hit[:, :, start:end] = matched & ~on_uncounted
        ignored[:, :, start:end] &= ~matched
        ignored[:, :, start:end] |= on_uncounted
    scores = found.scores[order].astype(np.float64)
    return Matches(classes, scores, rank, hit, ignored)


def counted(objects: Objects, classes: int) -> npt.NDArray[np.int64]:
    """Return how many objects of an image count: (4 size ranges, classes)."""
    counts = ~(objects.crowd | _outside(objects.area))
    return np.stack([np.bincount(objects.classes[c], minlength=classes) for c in counts])


def _outside(area: Floats) -> Flags:
    """Return (4, n): the areas that are outside of each size range."""
    outside: Flags = (area < AREAS[:, :1]) | (area > AREAS[:, 1:])
    return outside


def _assign(overlaps: Floats, uncounted: Flags, crowd: Flags) -> tuple[Flags, Flags]:
    """Match the detections of one class, best first, to its objects.

    Args:
        overlaps: (detections, objects) intersection over union.
        uncounted: (4 size ranges, objects).
        crowd: (objects,).

    Returns:
        (4, 10, detections): matched something; matched something that does not count.
    """
    shape = (len(AREAS), len(IOU_THRESHOLDS))
    matched = np.zeros((*shape, len(overlaps)), np.bool_)
    on_uncounted = np.zeros_like(matched)
    taken = np.zeros((*shape, len(crowd)), np.bool_)
    # An object's preference for a detection: by overlap, the later of equals; what counts first.
    places = overlaps.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    bonus = np.where(uncounted, 0, len(crowd))[:, None, :]
    fits = overlaps[:, None, :] >= IOU_THRESHOLDS[:, None]
    for detection in np.flatnonzero(fits[:, 0].any(axis=1)):
        value = np.where(fits[detection] & (crowd | ~taken), places[detection] + bonus, -1)
        choice = value.argmax(axis=2)[..., None]
        some = np.take_along_axis(value, choice, 2) >= 0
        np.put_along_axis(taken, choice, np.take_along_axis(taken, choice, 2) | some, 2)
        matched[..., detection] = some[..., 0]
        is_uncounted = np.take_along_axis(uncounted, choice[..., 0], 1)
        on_uncounted[..., detection] = some[..., 0] & is_uncounted
    return matched, on_uncounted
