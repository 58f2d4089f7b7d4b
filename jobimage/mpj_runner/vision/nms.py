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
_CHUNK: Final = 192
"""Boxes judged at once: the overlaps of a chunk stay in the processor's cache."""
_UPPER: Final = np.triu(np.ones((_CHUNK, _CHUNK), np.bool_), 1)
_TINY: Final = np.finfo(np.float32).tiny

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
    columns = np.ascontiguousarray(boxes.T)
    kept = np.zeros(0, np.intp)
    for start in range(0, len(boxes), _CHUNK):
        chunk = columns[:, start : start + _CHUNK]
        alive: Flags = np.ones(chunk.shape[1], np.bool_)
        if len(kept):
            alive = np.logical_not((_overlaps(columns[:, kept], chunk) > threshold).any(axis=0))
        worse = _UPPER[: len(alive), : len(alive)] & (_overlaps(chunk, chunk) > threshold)
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
        if (after == kept).all():
            return kept
        kept = after


def _overlaps(a: Floats, b: Floats) -> Floats:
    """Return intersection over union (n, m) of boxes (4, n) and (4, m), in float32 throughout."""
    inter: Floats = np.minimum(a[2, :, None], b[2])
    inter -= np.maximum(a[0, :, None], b[0])
    np.maximum(inter, 0, out=inter)
    height = np.minimum(a[3, :, None], b[3])
    height -= np.maximum(a[1, :, None], b[1])
    np.maximum(height, 0, out=height)
    inter *= height
    area_a, area_b = ((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    union = area_a[:, None] + area_b
    union -= inter
    # Boxes without area overlap nothing, which 0 / 0 would not say.
    inter /= np.maximum(union, _TINY, out=union)
    return inter
