"""Reading a model's output: which one, how many classes, and when two agree."""

import numpy as np
import pytest

from mpj_runner.contract.errors import UserError
from mpj_runner.loading.outputs import count_classes, detections, disagreement

YOLO = np.zeros((1, 14, 8400), np.float32)
SIZE = (640, 640)


def rows(*detections_):
    """Make end-to-end detections (1, n, 6) from (x, score, class)."""
    return np.array([[[x, 0, x + 9, 9, s, c] for x, s, c in detections_]], np.float32)


def test_the_one_output_that_fits_is_taken():
    outputs = {"masks": np.zeros((1, 32, 160, 160), np.float32), "boxes": YOLO}
    assert detections(outputs, "YOLO")[0] == "boxes"


@pytest.mark.parametrize(
    ("outputs", "decoder"),
    [
        pytest.param({"a": YOLO, "b": YOLO}, "YOLO", id="two that fit"),
        pytest.param({"a": YOLO.astype(np.float16)}, "YOLO", id="half precision"),
        pytest.param({"a": YOLO[0]}, "YOLO", id="no batch"),
        pytest.param({"a": YOLO}, "EndToEnd", id="another decoder"),
    ],
)
def test_outputs_that_do_not_fit_are_listed(outputs, decoder):
    with pytest.raises(UserError, match=f"spec.model.decoder {decoder} needs one float32 output"):
        detections(outputs, decoder)


@pytest.mark.parametrize(
    ("shape", "names", "count"),
    [
        pytest.param((1, 84, 8400), None, 80, id="COCO at 640"),
        pytest.param((1, 5, 8500), ("a",), 1, id="one class, four strides"),
        pytest.param((1, 84, 100), None, 80, id="few anchors"),
        pytest.param((2, 8404, 8400), None, 8400, id="as many classes as anchors"),
    ],
)
def test_classes_are_counted(shape, names, count):
    assert count_classes(np.zeros(shape, np.float32), "YOLO", names, SIZE) == count


@pytest.mark.parametrize(
    ("shape", "names", "words"),
    [
        pytest.param((1, 8400, 84), None, "anchors before its channels", id="YOLOv8 transposed"),
        pytest.param((1, 25200, 85), None, "drop an objectness column", id="YOLOv5"),
        pytest.param((1, 999, 14), tuple("abcdefghij"), "anchors before its", id="by its names"),
        pytest.param((1, 300, 6), None, "spec.model.decoder: EndToEnd", id="end to end"),
        pytest.param((1, 84, 8400), ("a", "b"), "spec.model.classes has 2 names", id="names"),
    ],
)
def test_other_layouts_are_explained(shape, names, words):
    with pytest.raises(UserError, match=words):
        count_classes(np.zeros(shape, np.float32), "YOLO", names, SIZE)


def yolo(pixel=0.0, score=0.0, fill=1.0):
    y = np.full((1, 6, 4), fill, np.float32)
    y[0, 0, 0] += pixel
    y[0, 5, 3] += score
    return y


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        pytest.param(yolo(), yolo(pixel=9e-4, score=9e-6), None, id="within both bounds"),
        pytest.param(yolo(), yolo(pixel=2e-3), "0.002 pixels", id="a box moved"),
        pytest.param(yolo(), yolo(score=4e-5), "of score", id="a score moved"),
        pytest.param(yolo(), yolo(fill=np.nan), "not finite", id="NaN in one"),
        pytest.param(yolo(fill=np.nan), yolo(fill=np.nan), None, id="NaN in both"),
        pytest.param(yolo(), yolo()[:, :, :3], "shape [1, 6, 3]", id="another shape"),
    ],
)
def test_yolo_outputs_agree_within_a_thousandth_of_a_pixel(a, b, says):
    found = disagreement(a, b, "YOLO")
    assert found is None if says is None else says in found


BASE = rows((1, 0.9, 0), (2, 0.5, 1), (3, 0.2, 2), (4, 0.1, 0))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        pytest.param(BASE, None, id="the same"),
        pytest.param(
            rows((1, 0.9, 0), (2, 0.5, 1), (3, 0.2, 2), (7, 0.1, 0)),
            None,
            id="the last rank is a tie",
        ),
        pytest.param(
            rows((1, 0.9, 0), (2, 0.5, 2), (3, 0.2, 2), (4, 0.1, 0)), "1 of 3", id="another class"
        ),
        pytest.param(
            rows((1, 0.9, 0), (2.1, 0.5, 1), (3, 0.2, 2), (4, 0.1, 0)), "1 of 3", id="a box moved"
        ),
        pytest.param(
            rows((1, 0.8, 0), (2, 0.5, 1), (3, 0.2, 2), (4, 0.1, 0)), "of score", id="a score moved"
        ),
    ],
)
def test_end_to_end_outputs_are_matched_by_rank(other, says):
    found = disagreement(BASE, other, "EndToEnd")
    assert found is None if says is None else says in found


def test_equal_scores_may_change_places():
    a = rows((1, 0.5, 0), (2, 0.5, 1), (3, 0.2, 2))
    assert disagreement(a, a[:, [1, 0, 2]], "EndToEnd") is None
