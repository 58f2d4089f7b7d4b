"""Every number equals pycocotools' own, to the last bit."""

import dataclasses

import numpy as np
import pytest
from labelled_worlds import coco_json, judged, stock, world

from mpj_runner.vision.detections import NONE, Boxes, load, save
from mpj_runner.vision.metrics import STATS, accumulate, summarize
from mpj_runner.vision.truth import Objects, Truth, read_truth


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "knobs",
    [
        pytest.param({}, id="plain"),
        pytest.param({"crowd": 0.4}, id="crowds"),
        pytest.param({"ties": True}, id="equal scores and equal overlaps"),
        pytest.param({"ties": True, "crowd": 0.3, "objects": 12}, id="ties among crowds"),
        pytest.param({"absent": (0, 2)}, id="classes without objects"),
        pytest.param({"classes": 1, "dets": 260, "images": 6}, id="more than 100 of one class"),
        pytest.param({"dets": 0}, id="no detections at all"),
    ],
)
def test_curves_and_the_twelve_numbers_are_pycocotools(seed, knobs):
    truth, found = world(seed, **knobs)
    if knobs.get("dets") == 0:
        found[0] = Boxes(  # loadRes refuses an empty list: one box that hits nothing
            np.float32([[900, 900, 901, 901]]), np.float32([0.5]), np.int32([1])
        )
    expected = stock(truth, found)
    curves = accumulate(judged(truth, found))
    np.testing.assert_array_equal(curves.precision, expected.eval["precision"])
    np.testing.assert_array_equal(curves.recall, expected.eval["recall"])
    metrics = summarize(truth, curves, 7)
    assert list(metrics.stats) == list(STATS)
    np.testing.assert_array_equal(list(metrics.stats.values()), expected.stats)


def test_classes_are_reported_by_name_and_without_objects_as_unknown():
    truth, found = world(1, absent=(2,))
    metrics = summarize(truth, accumulate(judged(truth, found)), 7)
    precision = stock(truth, found).eval["precision"]
    assert [one.name for one in metrics.per_class] == list(truth.classes)
    assert metrics.per_class[2].objects == 0
    assert metrics.per_class[2].map is None
    assert metrics.per_class[0].map == precision[:, :, 0, 0, 2].mean()
    assert metrics.per_class[0].map50 == precision[0, :, 0, 0, 2].mean()
    assert metrics.stats["AP"] == pytest.approx(
        np.mean([one.map for one in metrics.per_class if one.map is not None]), abs=1e-12
    )
    assert (metrics.images, metrics.detections) == (25, 7)


def test_perfect_detections_score_one_and_misplaced_ones_zero():
    truth, _ = world(3)
    right = [
        Boxes(
            np.concatenate([o.xywh[:, :2], o.xywh[:, :2] + o.xywh[:, 2:]], 1).astype(np.float32),
            np.full(len(o.classes), 0.9, np.float32),
            o.classes,
        )
        for o in truth.objects
    ]
    wrong = [dataclasses.replace(boxes, classes=(boxes.classes + 1) % 4) for boxes in right]

    def average(found):
        return summarize(truth, accumulate(judged(truth, found)), 0).stats["AP"]

    assert average(right) > 0.999
    assert average(wrong) < 0.1
    assert average([NONE] * len(truth)) == 0


def test_nothing_is_printed(capsys):
    truth, found = world(0)
    summarize(truth, accumulate(judged(truth, found)), 0)
    assert capsys.readouterr().out == ""


def test_detections_survive_their_file(tmp_path):
    _, found = world(4)
    found[0] = found[-1] = NONE
    names = [f"{i}.jpg" for i in range(len(found))]
    save(tmp_path / "detections.npz", names, found)
    read_names, read = load(tmp_path / "detections.npz")
    assert read_names == names
    for a, b in zip(read, found, strict=True):
        np.testing.assert_array_equal(a.xyxy, b.xyxy)
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.classes, b.classes)


def test_truth_is_read_back_image_by_image(tmp_path):
    import json

    truth, _ = world(5, crowd=0.3)
    (tmp_path / "annotations.json").write_text(json.dumps(coco_json(truth)))
    read = read_truth(tmp_path / "annotations.json")
    assert isinstance(read, Truth)
    assert (read.names, read.classes) == (truth.names, truth.classes)
    for a, b in zip(read.objects, truth.objects, strict=True):
        for field in dataclasses.fields(Objects):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
