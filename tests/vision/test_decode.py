"""From raw outputs to detections."""

import numpy as np
import pytest

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.vision.decode import Limits, check_output, decode, detect
from mpj_runner.vision.resize import Placement

LIMITS = Limits(0.25, 0.7, 10)
SAME = Placement(1.0, 1.0, 0, 0, 64, 64)


def model(decoder="YOLO", classes=3):
    return ModelMetadata(
        input_name="images",
        output_name="out",
        batch_size=1,
        input_size=InputSize(height=64, width=64),
        class_count=classes,
        preprocess=Preprocess(),
        decoder=decoder,
        opset=17,
        source_format="onnx",
    )


def test_yolo_reads_centres_and_lets_an_anchor_speak_for_several_classes():
    output = np.zeros((7, 4), np.float32)
    output[:, 0] = [20, 30, 10, 20, 0.9, 0.1, 0.5]
    output[:, 2] = [50, 50, 4, 4, 0.0, 0.25, 0.3]  # a score at the threshold does not count
    found = decode(output, model(), LIMITS)
    np.testing.assert_array_equal(
        found.xyxy, [[15, 20, 25, 40], [15, 20, 25, 40], [48, 48, 52, 52]]
    )
    np.testing.assert_array_equal(found.classes, [0, 2, 2])
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.5, 0.3]))


def test_end_to_end_takes_rows_as_they_are_best_first():
    rows = [[1, 2, 3, 4, 0.3, 1], [5, 6, 7, 8, 0.9, 0], [1, 2, 3, 4, 0.2, 1], [1, 2, 3, 4, 0.8, 7]]
    found = decode(np.array(rows, np.float32), model("EndToEnd"), LIMITS)
    np.testing.assert_array_equal(found.xyxy, [[5, 6, 7, 8], [1, 2, 3, 4]])
    np.testing.assert_array_equal(found.classes, [0, 1])  # there is no class 7


@pytest.mark.parametrize("decoder", ["YOLO", "EndToEnd"])
def test_nothing_above_the_threshold_is_no_detection(decoder):
    shape = (7, 21) if decoder == "YOLO" else (21, 6)
    assert len(decode(np.zeros(shape, np.float32), model(decoder), LIMITS)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_is_told_apart(bad):
    output = np.zeros((7, 4), np.float32)
    assert detect(output, SAME, model(), LIMITS) is not None
    output[2, 3] = bad
    assert detect(output, SAME, model(), LIMITS) is None


@pytest.mark.parametrize(
    ("decoder", "shape", "fits"),
    [
        ("YOLO", (1, 7, 84), True),
        ("YOLO", (1, 84, 7), False),
        ("YOLO", (1, 8, 84), False),
        ("EndToEnd", (1, 300, 6), True),
        ("EndToEnd", (1, 7, 84), False),
        ("EndToEnd", (300, 6), False),
    ],
)
def test_the_output_is_held_against_the_decoder(decoder, shape, fits):
    output = np.zeros(shape, np.float32)
    if fits:
        check_output(output, model(decoder))
    else:
        with pytest.raises(UserError, match=r"spec\.model\.decoder"):
            check_output(output, model(decoder))
