"""Suppression against the rule, written as slowly and plainly as possible."""

import numpy as np
import pytest

from mpj_runner.vision.detections import NONE, Boxes
from mpj_runner.vision.nms import CLASS_SHIFT, suppress


def plain(boxes, threshold, limit):
    """Greedy suppression on boxes shifted by class, box by box, in float32."""
    shifted = boxes.xyxy + (boxes.classes.astype(np.float32) * np.float32(CLASS_SHIFT))[:, None]
    area = (shifted[:, 2] - shifted[:, 0]) * (shifted[:, 3] - shifted[:, 1])
    left = list(np.argsort(-boxes.scores, kind="stable"))
    kept = []
    while left:
        best, *rest = left
        kept.append(best)
        a, b = shifted[best], shifted[rest]
        low, high = np.maximum(a[:2], b[:, :2]), np.minimum(a[2:], b[:, 2:])
        inter = np.prod(np.maximum(high - low, np.float32(0)), axis=1)
        union = area[best] + area[rest] - inter
        left = [
            box
            for box, i, u in zip(rest, inter, union, strict=True)
            if not (u and float(i / u) > threshold)
        ]
    return boxes.take(np.array(kept[:limit], int))


def crowded(seed, count, classes, ties=False):
    """Boxes in clusters, so that chains of overlaps are long."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(50, 590, (max(count // 12, 1), 2))
    at = centres[rng.integers(0, len(centres), count)] + rng.normal(0, 6, (count, 2))
    half = rng.uniform(15, 30, (count, 2))
    scores = rng.random(count)
    return Boxes(
        np.concatenate([at - half, at + half], 1).astype(np.float32),
        (np.round(scores, 1) if ties else scores).astype(np.float32),
        rng.integers(0, classes, count).astype(np.int32),
    )


def same(a, b):
    for x, y in ((a.xyxy, b.xyxy), (a.scores, b.scores), (a.classes, b.classes)):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("threshold", [0.3, 0.45, 0.7])
@pytest.mark.parametrize(
    ("count", "classes", "limit", "ties"),
    [
        pytest.param(1, 1, 300, False, id="one box"),
        pytest.param(60, 1, 300, False, id="one class"),
        pytest.param(200, 7, 300, False, id="several classes"),
        pytest.param(200, 80, 300, False, id="as many classes as COCO"),
        pytest.param(600, 2, 300, False, id="more than one chunk a class"),
        pytest.param(600, 2, 20, False, id="the limit cuts over all classes"),
        pytest.param(200, 3, 300, True, id="equal scores keep their order"),
    ],
)
def test_suppression_is_greedy_and_class_wise(count, classes, limit, ties, threshold):
    boxes = crowded(count, count, classes, ties)
    same(suppress(boxes, threshold, limit), plain(boxes, threshold, limit))


def test_nothing_in_nothing_out():
    assert len(suppress(NONE, 0.7, 300)) == 0


def test_a_chain_of_overlaps_is_settled_from_the_best_down():
    # Each overlaps its neighbours only: the first is kept, the second goes, the third stays.
    left = np.arange(9, dtype=np.float32) * 5
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    boxes = Boxes(xyxy, np.linspace(0.9, 0.1, 9, dtype=np.float32), np.zeros(9, np.int32))
    assert suppress(boxes, 0.3, 300).xyxy[:, 0].tolist() == [0, 10, 20, 30, 40]


def test_boxes_without_area_do_not_suppress():
    xyxy = np.zeros((3, 4), np.float32)
    boxes = Boxes(xyxy, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32))
    assert len(suppress(boxes, 0.5, 300)) == 3
