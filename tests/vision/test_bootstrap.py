"""A resample's figure equals pycocotools' of a data set with the images repeated."""

import dataclasses
import time

import numpy as np
import pytest
from labelled_worlds import judged, repeated, stock, world

from mpj_runner.vision.bootstrap import average, draw, paired_drop
from mpj_runner.vision.matching import match
from mpj_runner.vision.metrics import records

KNOBS = [
    pytest.param({}, id="plain"),
    pytest.param({"crowd": 0.4}, id="crowds"),
    pytest.param({"absent": (1,)}, id="a class without objects"),
    pytest.param({"images": 4, "objects": 1, "classes": 3}, id="classes that a resample lacks"),
]


@pytest.mark.parametrize("metric", ["mAP", "mAP50"])
@pytest.mark.parametrize("knobs", KNOBS)
def test_the_data_set_itself_gives_pycocotools_figure(knobs, metric):
    truth, found = world(11, **knobs)
    weights = np.ones((len(truth), 1), np.float32)
    got = average(judged(truth, found), weights, metric)
    assert got[0] == pytest.approx(stock(truth, found).stats[int(metric == "mAP50")], abs=1e-12)


@pytest.mark.parametrize("metric", ["mAP", "mAP50"])
@pytest.mark.parametrize("knobs", KNOBS)
def test_a_resample_is_the_data_set_with_images_repeated(knobs, metric):
    truth, found = world(12, **knobs)
    weights = draw(len(truth), 6, seed=3)
    got = average(judged(truth, found), weights, metric)
    for column, value in zip(weights.T.astype(int), got, strict=True):
        expected = stock(*repeated(truth, found, column)).stats[int(metric == "mAP50")]
        assert value == pytest.approx(expected, abs=1e-12)


def test_the_draw_is_seeded_and_keeps_the_number_of_images():
    weights = draw(50, 20, seed=1)
    assert weights.shape == (50, 21)
    np.testing.assert_array_equal(weights[:, 0], 1)
    np.testing.assert_array_equal(weights.sum(axis=0), 50)
    np.testing.assert_array_equal(weights, draw(50, 20, seed=1))
    assert (weights != draw(50, 20, seed=2)).any()


def worse(found, share, seed=0):
    """Return the detections with a share of them moved away."""
    rng = np.random.default_rng(seed)
    return [
        dataclasses.replace(
            boxes,
            xyxy=boxes.xyxy
            + np.where(rng.random(len(boxes)) < share, 1000, 0)[:, None].astype("f4"),
        )
        for boxes in found
    ]


def test_a_model_against_itself_drops_nothing():
    own = judged(*world(7))
    drop = paired_drop(own, own, "mAP", 100)
    assert (drop.value, drop.low, drop.high) == (0, 0, 0)


def test_the_interval_holds_the_drop_and_narrows_with_more_images():
    widths = []
    for images in (20, 180):
        truth, found = world(8, images=images, dets=20)
        drop = paired_drop(judged(truth, found), judged(truth, worse(found, 0.3)), "mAP", 400)
        assert 0 < drop.low < drop.value < drop.high
        widths.append(drop.high - drop.low)
    assert widths[1] < widths[0] / 2  # a ninth of the variance


def test_threads_change_nothing():
    truth, found = world(9)
    pair = judged(truth, found), judged(truth, worse(found, 0.2))
    assert paired_drop(*pair, "mAP", 200, workers=4) == paired_drop(*pair, "mAP", 200)


def test_the_interval_covers_the_true_drop_about_as_often_as_it_says():
    """95 % intervals of 40 small data sets, against the drop on a large one of the same kind."""
    truth, found = world(100, images=800, classes=2, dets=12)
    before = [match(d, o) for d, o in zip(found, truth.objects, strict=True)]
    after = [match(d, o) for d, o in zip(worse(found, 0.25), truth.objects, strict=True)]
    true = paired_drop(records(before, truth), records(after, truth), "mAP50", 100).value
    covered = 0
    for start in range(0, 800, 20):
        part = slice(start, start + 20)
        some = dataclasses.replace(truth, names=truth.names[part], objects=truth.objects[part])
        drop = paired_drop(records(before[part], some), records(after[part], some), "mAP50", 200)
        covered += drop.low <= true <= drop.high
    assert covered >= 33


def test_a_thousand_resamples_take_seconds():
    truth, found = world(10, images=400, classes=10, dets=100)
    pair = judged(truth, found), judged(truth, worse(found, 0.1))
    start = time.process_time()
    paired_drop(*pair, "mAP", 1000)
    assert time.process_time() - start < 10
