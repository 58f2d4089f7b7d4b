"""Reading image files, with the meaning that OpenCV gives them.

Every image becomes 8-bit BGR: EXIF orientation is applied, gray is repeated to three channels,
alpha is dropped and 16-bit samples keep their high byte. That is what ``cv2.imread`` does and so
what detectors trained with it expect.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3) uint8."""

SUFFIXES: Final = frozenset(
    {".bmp", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

_JPEG_START: Final = b"\xff\xd8"
_JPEG_END: Final = b"\xff\xd9"
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length (TEM and RSTn)."""
_JPEG_SCAN: Final = 0xDA


class CorruptImageError(Exception):
    """Raise when bytes are not one whole image that OpenCV can decode."""


def is_image(path: Path) -> bool:
    """Tell by its suffix whether a file is an image; hidden files (``._x.jpg``) are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, by name.

    In a snapshot's ``images`` folder the names are in the order of the seeded draw, so the first
    n of them are a random sample of the data set.
    """
    return sorted(path for path in folder.iterdir() if is_image(path))


def decode_image(data: bytes) -> Pixels:
    """Decode an image file's bytes.

    Returns:
        (height, width, 3) uint8, channels in BGR order.

    Raises:
        CorruptImageError: the bytes are empty, cut short, or no image; in words for people.
    """
    if not data:
        raise CorruptImageError("the file is empty")
    if _cut_short(data):
        raise CorruptImageError("the file is cut short")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise CorruptImageError(f"OpenCV cannot decode it: {error.err}") from error
    if image is None:
        raise CorruptImageError("OpenCV cannot decode it")
    return np.asarray(image, np.uint8)


def read_image(path: Path) -> Pixels:
    """Read and decode an image file; see ``decode_image``."""
    return decode_image(path.read_bytes())


def _cut_short(data: bytes) -> bool:
    """Tell whether a JPEG or PNG lacks its end.

    Decoders fill the missing part with gray and report success, so it is checked beforehand. The
    end of a JPEG is looked for after its scan began: an EXIF thumbnail holds an end of its own.
    """
    if data.startswith(_JPEG_START):
        scan = _jpeg_scan(data)
        return scan is None or data.find(_JPEG_END, scan) < 0
    return data.startswith(_PNG_START) and b"IEND" not in data


def _jpeg_scan(data: bytes) -> int | None:
    """Return the offset of a JPEG's first scan (ITU-T T.81, annex B), or None when it has none."""
    at = len(_JPEG_START)
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        elif marker == _JPEG_SCAN:
            return at
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
