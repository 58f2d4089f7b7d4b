"""Where an image lies in the model's input, and where boxes lie in the image."""

import cv2
import numpy as np
import pytest

from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.vision.inputs import Preprocessor
from mpj_runner.vision.resize import fit


def image(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("shape", "inner", "left", "top"),
    [
        pytest.param((64, 64), (64, 64), 0, 0, id="fits: bytes unchanged"),
        pytest.param((32, 64), (32, 64), 0, 16, id="even border"),
        pytest.param((31, 64), (31, 64), 0, 16, id="odd border: the extra row below"),
        pytest.param((64, 61), (64, 61), 1, 0, id="odd border: the extra column to the right"),
        pytest.param((16, 32), (32, 64), 0, 16, id="small images are enlarged"),
        pytest.param((480, 640), (48, 64), 0, 8, id="large images are reduced"),
        pytest.param((1, 1000), (1, 64), 0, 31, id="a line stays one pixel high"),
    ],
)
def test_letterbox(shape, inner, left, top):
    source = image(*shape)
    fitted, place = fit(source, InputSize(height=64, width=64), Preprocess(pad_value=7))
    assert fitted.shape == (64, 64, 3)
    assert (place.left, place.top) == (left, top)
    height, width = inner
    expected = np.full((64, 64, 3), 7, np.uint8)
    expected[top : top + height, left : left + width] = (
        source if shape == inner else cv2.resize(source, (width, height))
    )
    np.testing.assert_array_equal(fitted, expected)


def test_stretch_fills_the_input():
    source = image(30, 50)
    size = InputSize(height=32, width=96)
    fitted, place = fit(source, size, Preprocess(resize="Stretch"))
    np.testing.assert_array_equal(fitted, cv2.resize(source, (96, 32)))
    boxes = place.to_original(np.array([[0, 0, 96, 32], [48, 16, 96, 32]], np.float32))
    np.testing.assert_allclose(boxes, [[0, 0, 50, 30], [25, 15, 50, 30]], rtol=1e-6)


def test_boxes_return_to_the_original_and_are_clipped_to_it():
    _, place = fit(image(100, 200), InputSize(height=64, width=64), Preprocess())
    boxes = place.to_original(np.array([[0, 16, 32, 48], [-5, 0, 70, 70]], np.float32))
    np.testing.assert_allclose(boxes, [[0, 0, 100, 100], [0, 0, 200, 100]])
    assert boxes.dtype == np.float32


def metadata(**preprocess):
    return ModelMetadata(
        input_name="images",
        output_name="out",
        batch_size=1,
        input_size=InputSize(height=32, width=64),
        class_count=2,
        preprocess=Preprocess(**preprocess),
        decoder="YOLO",
        opset=17,
        source_format="onnx",
    )


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_input_is_scaled_shifted_and_divided(order):
    pixels = image(32, 64)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    got = Preprocessor(metadata(color_order=order, mean=mean, std=std)).tensor(pixels)
    planes = pixels[..., ::-1] if order == "RGB" else pixels
    expected = ((planes / 255 - mean) / std).transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous


def test_the_default_equals_float32_division_by_255():
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(4, 64), 8, 0)[..., None].repeat(3, 2)
    got = Preprocessor(metadata()).tensor(ramp)
    np.testing.assert_array_equal(got[0], ramp[..., 0].astype(np.float32) / np.float32(255))


def test_batches_read_each_image_once_and_fill_the_last(tmp_path):
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), np.full((32, 64, 3), number, np.uint8))
    read = []

    class Counting(Preprocessor):
        def prepare(self, path):
            read.append(path)
            return super().prepare(path)

    batches = list(Counting(metadata(scale=1.0)).batches(paths, 2, workers=3))
    assert [batch[:, 0, 0, 0].tolist() for batch in batches] == [[0, 1], [2, 3], [4, 4]]
    assert sorted(read) == paths
