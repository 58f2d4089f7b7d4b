"""What counts as an image, and what it decodes to."""

import struct

import cv2
import numpy as np
import pytest

from mpj_runner.vision.images import CorruptImageError, decode_image, list_images

RNG = np.random.default_rng(0)
PHOTO = cv2.GaussianBlur(RNG.integers(0, 256, (40, 60, 3), np.uint8), (7, 7), 0)


def encoded(image, suffix=".png", *options):
    return cv2.imencode(suffix, image, options)[1].tobytes()


def jpeg_with_exif(image, orientation, thumbnail=b""):
    """Return a JPEG whose EXIF block holds an orientation and, behind it, a thumbnail's bytes."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + b"\0" * 4 + thumbnail
    data = encoded(image, ".jpg")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(PHOTO), PHOTO, id="8-bit colour is kept"),
        pytest.param(
            encoded(PHOTO[..., 0]), np.repeat(PHOTO[..., :1], 3, 2), id="gray fills three channels"
        ),
        pytest.param(
            encoded(np.dstack([PHOTO, PHOTO[..., 0]])), PHOTO, id="alpha is dropped, not blended"
        ),
        pytest.param(
            encoded(PHOTO.astype(np.uint16) * 256 + 255), PHOTO, id="16 bits keep their high byte"
        ),
        pytest.param(
            jpeg_with_exif(PHOTO, 6),
            cv2.rotate(decode_image(encoded(PHOTO, ".jpg")), cv2.ROTATE_90_CLOCKWISE),
            id="EXIF orientation is applied",
        ),
    ],
)
def test_every_image_becomes_8_bit_bgr(data, expected):
    image = decode_image(data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


JPEG = encoded(PHOTO, ".jpg")
PROGRESSIVE = encoded(PHOTO, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "empty", id="no bytes"),
        pytest.param(b"no image at all", "cannot decode", id="text"),
        pytest.param(JPEG[:-2], "cut short", id="a JPEG without its end"),
        pytest.param(JPEG[: len(JPEG) // 2], "cut short", id="half a JPEG"),
        pytest.param(
            PROGRESSIVE[: len(PROGRESSIVE) // 2], "cut short", id="half a progressive one"
        ),
        pytest.param(JPEG[:30], "cut short", id="a JPEG without a scan"),
        pytest.param(
            jpeg_with_exif(PHOTO, 1, thumbnail=JPEG)[:-40],
            "cut short",
            id="a thumbnail's end is not the image's",
        ),
        pytest.param(encoded(PHOTO)[:-20], "cut short", id="a PNG without its end"),
    ],
)
def test_broken_bytes_are_refused_in_words(data, words):
    with pytest.raises(CorruptImageError, match=words):
        decode_image(data)


def test_bytes_behind_a_jpeg_do_no_harm():
    np.testing.assert_array_equal(decode_image(JPEG + b"\0" * 100), decode_image(JPEG))


def test_images_are_listed_by_name_without_hidden_files(tmp_path):
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG"]
