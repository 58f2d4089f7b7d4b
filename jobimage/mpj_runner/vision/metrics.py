"""COCO's twelve numbers and the precision of each class, from matched detections.

Matching and accumulation are vectorised here; the parameters, the overlaps and the summary are
pycocotools' own. Precision is needed at hits only: between two hits it falls, and the envelope (the
best precision at this recall or a higher one) hides what falls.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pycocotools.cocoeval import COCOeval, Params

from mpj_runner.contract.files import ClassMetrics, Metrics
from mpj_runner.vision.matching import (
    AREAS,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    Flags,
    Floats,
    Ints,
    Matches,
    counted,
)
from mpj_runner.vision.truth import Truth

STATS: Final = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)
"""The twelve numbers in pycocotools' order."""
RECALLS: Final[npt.NDArray[np.float64]] = Params(iouType="bbox").recThrs
"""(101,) 0 to 1."""
EPSILON: Final = np.spacing(1)
"""Keeps a precision of nothing at zero, as in pycocotools."""


@dataclass(frozen=True)
class ClassRecord:
    """All judged detections of one class, best first, equal scores in the order of images."""

    image: Ints
    """(n,) image indices."""
    rank: Ints
    """(n,) place among the class's detections in the image."""
    hit: Flags
    """(4 size ranges, 10 thresholds, n)."""
    ignored: Flags
    """(4 size ranges, 10 thresholds, n)."""
    positives: npt.NDArray[np.int64]
    """(4 size ranges, images) objects that count."""


@dataclass(frozen=True)
class Curves:
    """What pycocotools calls ``eval``; -1 where a class has no objects."""

    precision: Floats
    """(10 thresholds, 101 recalls, classes, 4 size ranges, 3 counts)."""
    recall: Floats
    """(10 thresholds, classes, 4 size ranges, 3 counts)."""


def records(matches: Sequence[Matches], truth: Truth) -> list[ClassRecord]:
    """Gather the matches of all images by class."""
    classes = np.concatenate([m.classes for m in matches])
    scores = np.concatenate([m.scores for m in matches])
    images = np.repeat(np.arange(len(matches), dtype=np.int32), [len(m.classes) for m in matches])
    rank = np.concatenate([m.rank for m in matches])
    hit = np.concatenate([m.hit for m in matches], axis=2)
    ignored = np.concatenate([m.ignored for m in matches], axis=2)
    positives = np.stack([counted(objects, len(truth.classes)) for objects in truth.objects], 2)
    order = np.lexsort((-scores, classes))  # stable: equal scores stay in the order of images
    cuts = np.searchsorted(classes[order], np.arange(1, len(truth.classes)))
    return [
        ClassRecord(images[own], rank[own], hit[:, :, own], ignored[:, :, own], positives[:, k])
        for k, own in enumerate(np.split(order, cuts))
    ]


def accumulate(classes: Sequence[ClassRecord]) -> Curves:
    """Return precision and recall, equal bit by bit to ``COCOeval.accumulate``."""
    shape = len(classes), len(AREAS), len(MAX_DETECTIONS)
    precision = -np.ones((len(IOU_THRESHOLDS), len(RECALLS), *shape))
    recall = -np.ones((len(IOU_THRESHOLDS), *shape))
    for k, record in enumerate(classes):
        for a, positives in enumerate(record.positives.sum(axis=1)):
            if not positives:
                continue
            for m, most in enumerate(MAX_DETECTIONS):
                within = record.rank < most
                hits, ignored = record.hit[a][:, within], record.ignored[a][:, within]
                counts = np.cumsum(~ignored, axis=1)
                for t, hit in enumerate(hits):
                    at = np.flatnonzero(hit)
                    precision[t, :, k, a, m] = _interpolated(counts[t, at], positives)
                    recall[t, k, a, m] = len(at) / positives
    return Curves(precision, recall)


def summarize(truth: Truth, curves: Curves, detections: int) -> Metrics:
    """Return the twelve numbers and those of each class."""
    evaluation = COCOeval(iouType="bbox")
    evaluation.eval = {"precision": curves.precision, "recall": curves.recall}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a table
        evaluation.summarize()
    whole = curves.precision[..., 0, -1]
    objects = np.zeros(len(truth.classes), np.int64)
    for image in truth.objects:
        objects += np.bincount(image.classes, minlength=len(objects))
    return Metrics(
        stats={name: float(v) for name, v in zip(STATS, evaluation.stats, strict=True)},
        per_class=tuple(
            ClassMetrics(
                name=name,
                objects=int(objects[k]),
                map=_mean(whole[:, :, k]),
                map50=_mean(whole[0, :, k]),
            )
            for k, name in enumerate(truth.classes)
        ),
        images=len(truth),
        detections=detections,
    )


def _interpolated(counts: npt.NDArray[np.int64], positives: int) -> Floats:
    """Return the precision at the 101 recalls.

    Args:
        counts: detections that count up to and including each hit, in order.
        positives: objects that count.
    """
    hits = np.arange(1, len(counts) + 1, dtype=np.float64)
    envelope = np.maximum.accumulate((hits / (counts + EPSILON))[::-1])[::-1]
    at = np.searchsorted(hits / positives, RECALLS, side="left")
    return np.append(envelope, 0.0)[at]


def _mean(precision: Floats) -> float | None:
    valid = precision[precision > -1]
    return float(valid.mean()) if len(valid) else None
