"""Greedy class-wise non-maximum suppression, vectorised.

The kept set is the one of torchvision's ``nms`` on boxes shifted by 7680 pixels a class, which is
how the Ultralytics tools make it class-wise: float32 overlaps, a box goes when its overlap with a
better kept one of its class is above the threshold (compared in float64). Shifting rounds the
coordinates of high class indices to float32 once more; it is done here too, so that no borderline
pair is decided otherwise.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from mpj_runner.vision.detections import Boxes

CLASS_SHIFT: Final = 7680.0
"""Pixels between classes; larger than any input."""
MAX_CANDIDATES: Final = 30_000
"""Boxes that take part; the best by score."""
_CHUNK: Final = 256
"""Boxes judged at once: the overlaps of a chunk stay in the processor's cache."""

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]


def suppress(boxes: Boxes, iou_threshold: float, max_detections: int) -> Boxes:
    """Return the boxes that remain, best first, at most ``max_detections``.

    Args:
        boxes: candidates of one image in any order; equal scores keep their order.
        iou_threshold: 0..1.
        max_detections: over all classes.
    """
    order = np.argsort(-boxes.scores, kind="stable")[:MAX_CANDIDATES]
    ranked = boxes.take(order)
    shifted = ranked.xyxy + (ranked.classes.astype(np.float32) * np.float32(CLASS_SHIFT))[:, None]
    by_class = np.argsort(ranked.classes, kind="stable")
    cuts = np.flatnonzero(np.diff(ranked.classes[by_class])) + 1
    kept = [
        group if len(group) == 1 else group[_greedy(shifted[group], iou_threshold, max_detections)]
        for group in np.split(by_class, cuts)
    ]
    return ranked.take(np.sort(np.concatenate(kept))[:max_detections])


def _greedy(boxes: Floats, iou_threshold: float, limit: int) -> Index:
    """Return the indices of the first ``limit`` boxes kept of one class, given best first."""
    threshold = np.float64(iou_threshold)
    kept = np.zeros(0, np.intp)
    for start in range(0, len(boxes), _CHUNK):
        chunk = boxes[start : start + _CHUNK]
        alive: Flags = np.logical_not((_overlaps(boxes[kept], chunk) > threshold).any(axis=0))
        worse = np.triu(_overlaps(chunk, chunk) > threshold, 1)
        kept = np.concatenate([kept, start + np.flatnonzero(_settled(alive, worse))])
        if len(kept) >= limit:
            break
    return kept[:limit]


def _settled(alive: Flags, suppresses: Flags) -> Flags:
    """Return the greedy choice among boxes given best first.

    A box is kept if it is alive and no kept better one suppresses it. Applying that rule to all at
    once settles the first box, then the second at the latest, and so on: it ends at the only fixed
    point, after as many rounds as the longest chain of boxes that overlap.

    Args:
        alive: (n,) boxes that may be kept.
        suppresses: (n, n) strictly upper triangular; the row's box suppresses the column's.
    """
    kept = alive
    while True:
        after = alive & ~suppresses[kept].any(axis=0)
        if np.array_equal(after, kept):
            return kept
        kept = after


def _overlaps(a: Floats, b: Floats) -> Floats:
    """Return intersection over union (len(a), len(b)), computed in float32 throughout."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    inter = np.maximum(width, 0, out=width)
    inter *= np.maximum(height, 0, out=height)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None, :] - inter
    # Boxes without area overlap nothing: 0 / 0 would be NaN, which no comparison passes either.
    overlaps: Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union != 0)
    return overlaps
