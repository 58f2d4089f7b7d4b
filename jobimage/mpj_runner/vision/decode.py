"""From a model's raw output to detections in pixels of the original image."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.vision.detections import NONE, Boxes
from mpj_runner.vision.nms import suppress
from mpj_runner.vision.resize import Placement

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """Which detections count."""

    score_threshold: float
    """Only scores above it."""
    iou_threshold: float
    """Of the suppression; not used by EndToEnd models."""
    max_detections: int
    """An image's best, over all classes."""


def check_output(output: Array, metadata: ModelMetadata) -> None:
    """Hold a model's raw output, with its batch axis, against the decoder of the spec.

    Raises:
        UserError: it does not have the shape that the decoder reads.
    """
    shape, count = output.shape, metadata.class_count
    if metadata.decoder == "YOLO" and (output.ndim != 3 or shape[1] != 4 + count):
        raise UserError(
            f"the model's output has shape {shape}, but spec.model.decoder YOLO with {count} "
            f"classes reads (batch, {4 + count}, anchors): correct spec.model.decoder or "
            "spec.model.classes"
        )
    if metadata.decoder == "EndToEnd" and (output.ndim != 3 or shape[2] != 6):
        raise UserError(
            f"the model's output has shape {shape}, but spec.model.decoder EndToEnd reads "
            "(batch, n, 6): correct spec.model.decoder"
        )


def decode(output: Array, metadata: ModelMetadata, limits: Limits) -> Boxes:
    """Turn one image's raw output into detections in input pixels, best first.

    Args:
        output: YOLO: (4 + classes, anchors), centre x, centre y, width, height, then scores.
            EndToEnd: (n, 6), x1, y1, x2, y2, score, class index.
        metadata: says which of the two.
        limits: threshold, suppression and count.

    Returns:
        Detections; with YOLO an anchor may speak for several classes (as in the Ultralytics
        validation, where that is called multi-label).
    """
    if metadata.decoder == "EndToEnd":
        return _end_to_end(output, metadata.class_count, limits)
    candidates = _candidates(output, limits.score_threshold)
    return suppress(candidates, limits.iou_threshold, limits.max_detections)


def detect(
    output: Array, placement: Placement, metadata: ModelMetadata, limits: Limits
) -> Boxes | None:
    """Decode one image's raw output into pixels of the original image, best first.

    Returns:
        The detections, or None when the output holds NaN or infinity.
    """
    # The extremes carry any NaN or infinity: two reductions and no array of flags.
    if not (np.isfinite(output.min()) and np.isfinite(output.max())):
        return None
    boxes = decode(output, metadata, limits)
    return Boxes(placement.to_original(boxes.xyxy), boxes.scores, boxes.classes)


def _candidates(output: Array, threshold: float) -> Boxes:
    """Return every (anchor, class) whose score is above the threshold, anchors first."""
    scores = output[4:]
    anchors = np.flatnonzero(scores.max(axis=0) > threshold)
    if not len(anchors):
        return NONE
    some = scores[:, anchors].T
    rows, classes = np.nonzero(some > threshold)
    centre, half = output[:2, anchors].T, output[2:4, anchors].T / np.float32(2)
    xyxy = np.concatenate([centre - half, centre + half], axis=1)
    return Boxes(xyxy[rows], some[rows, classes], classes.astype(np.int32))


def _end_to_end(output: Array, classes: int, limits: Limits) -> Boxes:
    index = output[:, 5]
    known = (index >= 0) & (index < classes)  # a damaged model may answer anything
    kept = output[known & (output[:, 4] > limits.score_threshold)]
    kept = kept[np.argsort(-kept[:, 4], kind="stable")][: limits.max_detections]
    return Boxes(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int32))
