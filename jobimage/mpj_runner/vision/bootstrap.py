"""The interval of an accuracy drop: a paired bootstrap over images.

Both models are judged on the same resampled images (Efron and Tibshirani, 1993, chapter 13), so
what makes an image hard for both cancels. Matching does not depend on the resample: a resample only
gives each image a weight (how often it was drawn), and the average precision of all resamples
follows from matrix products. Tests hold it equal to COCO's own figure of a data set with the images
repeated.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from mpj_runner.contract.result import Interval
from mpj_runner.vision.matching import IOU_THRESHOLDS, Flags, Floats, Ints
from mpj_runner.vision.metrics import EPSILON, RECALLS, ClassRecord

Metric = Literal["mAP", "mAP50"]
Weights = npt.NDArray[np.float32]
"""(images, resamples): how often each image was drawn; small integers."""

_ALL_SIZES: Final = 0
_BLOCK: Final = 1024
"""Rows of one matrix product, at most: it bounds memory."""
_CELLS: Final = 4_000_000
"""Numbers in one array of hits by resamples, at most."""


def paired_drop(
    reference: Sequence[ClassRecord],
    candidate: Sequence[ClassRecord],
    metric: Metric,
    resamples: int,
    *,
    seed: int = 0,
    workers: int = 1,
) -> Interval:
    """Return the reference's metric minus the candidate's with its 95 % percentile interval.

    Args:
        reference: judged detections by class.
        candidate: of the same images and classes.
        metric: mAP (IoU 0.50:0.95) or mAP50.
        resamples: bootstrap samples.
        seed: of the draw.
        workers: threads; classes are shared among them.
    """
    images = reference[0].positives.shape[1]
    weights = draw(images, resamples, seed)
    first, second = (average(model, weights, metric, workers) for model in (reference, candidate))
    drops = first - second
    low, high = np.nanpercentile(drops[1:], [2.5, 97.5])
    return Interval(value=float(drops[0]), low=float(low), high=float(high))


def draw(images: int, resamples: int, seed: int) -> Weights:
    """Return the weights (images, 1 + resamples) of the data set itself and of its resamples."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate([np.ones((1, images)), drawn]).T.astype(np.float32, order="C")


def average(
    classes: Sequence[ClassRecord], weights: Weights, metric: Metric, workers: int = 1
) -> Floats:
    """Return the metric of every resample, over the classes that have objects in it.

    Returns:
        (resamples,); NaN where a resample holds no objects at all.
    """
    thresholds = 1 if metric == "mAP50" else len(IOU_THRESHOLDS)
    with ThreadPoolExecutor(workers, thread_name_prefix="bootstrap") as pool:
        parts = pool.map(lambda record: _class_average(record, weights, thresholds), classes)
        total, present = np.zeros((2, weights.shape[1]))
        for precision, has_objects in parts:
            total += np.where(has_objects, precision, 0.0)
            present += has_objects
    return np.divide(total, present, out=np.full_like(total, np.nan), where=present > 0)


def _class_average(record: ClassRecord, weights: Weights, thresholds: int) -> tuple[Floats, Flags]:
    """Return one class's average precision in every resample, and whether it has objects there."""
    positives = record.positives[_ALL_SIZES].astype(np.float32) @ weights
    hits, ignored = record.hit[_ALL_SIZES, :thresholds], record.ignored[_ALL_SIZES, :thresholds]
    points = np.flatnonzero(hits.any(axis=0))
    precision = np.zeros(weights.shape[1])
    step = max(1, _CELLS // max(1, len(points)))
    for start in range(0, len(precision), step):
        part = slice(start, start + step)
        chunk = np.ascontiguousarray(weights[:, part])
        shared = None if ignored.any() else _counts(record.image, points, chunk)
        for hit, skip in zip(hits, ignored, strict=True):
            at = np.flatnonzero(hit[points])
            counts = _counts(record.image, points, chunk, ~skip) if shared is None else shared
            precision[part] += _interpolated(
                chunk[record.image[points[at]]], counts[at], positives[part]
            )
    return precision / thresholds, positives > 0


def _counts(
    image: Ints, points: npt.NDArray[np.intp], weights: Weights, counting: Flags | None = None
) -> Floats:
    """Return how many detections count up to and including each point: (points, resamples)."""
    images = len(weights)
    used = np.arange(len(image)) if counting is None else np.flatnonzero(counting)
    segment = np.searchsorted(points, used)  # the first point at or after the detection
    totals = np.empty((len(points), weights.shape[1]))
    for start in range(0, len(points), _BLOCK):
        rows = min(_BLOCK, len(points) - start)
        first, last = np.searchsorted(segment, [start, start + rows])
        cells = (segment[first:last] - start) * images + image[used[first:last]]
        table = np.bincount(cells, minlength=rows * images).reshape(rows, images)
        totals[start : start + rows] = table.astype(np.float32) @ weights
    return np.cumsum(totals, axis=0, out=totals)


def _interpolated(drawn: Weights, counts: Floats, positives: Weights) -> Floats:
    """Return the average precision over the 101 recalls, of every resample.

    Args:
        drawn: (hits, resamples) weight of each hit's image.
        counts: (hits, resamples) detections that count up to each hit.
        positives: (resamples,) objects.
    """
    hits = np.cumsum(drawn, axis=0, dtype=np.float64)
    envelope = np.maximum.accumulate((hits / (counts + EPSILON))[::-1], axis=0)[::-1]
    reached = _recalls_reached(hits / np.maximum(positives, 1))
    steps = np.diff(reached, axis=0, prepend=0)
    total: Floats = np.einsum("hr,hr->r", steps, envelope) / len(RECALLS)
    return total


def _recalls_reached(recall: Floats) -> npt.NDArray[np.int64]:
    """Return how many of the 101 recalls are at most a value.

    The same as a binary search among them, at a tenth of its time: the nearest one is known from
    the value, so that a single comparison decides.
    """
    nearest = np.rint(recall * (len(RECALLS) - 1)).astype(np.int64)
    return nearest + (RECALLS[nearest] <= recall)
