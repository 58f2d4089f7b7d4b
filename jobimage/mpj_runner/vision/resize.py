"""Bringing an image to the model's input size, and boxes back to the image.

Letterbox arithmetic, with Python's round-half-to-even throughout, is the one that the Ultralytics
tools document and use when they predict: gain = min(H / h, W / w), also above 1; the image becomes
round(w * gain) x round(h * gain) by bilinear resampling; the border is shared evenly and an odd
pixel goes to the right and the bottom (left = round(border / 2 - 0.1)). Their ``val`` command first
resizes the longer side to the input size, rounding up, so that its pixels may differ in the last
row; what is deployed is what is done here.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mpj_runner.contract.model import InputSize, Preprocess
from mpj_runner.vision.images import Pixels


@dataclass(frozen=True)
class Placement:
    """Where an image lies inside the model's input: input = original * gain + offset, in pixels."""

    gain_x: float
    gain_y: float
    left: int
    top: int
    width: int
    """Of the original image."""
    height: int

    def to_original(self, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return boxes (n, 4) x1, y1, x2, y2 in pixels of the original, clipped to it."""
        gain = np.array([self.gain_x, self.gain_y] * 2, np.float32)
        offset = np.array([self.left, self.top] * 2, np.float32)
        limit = np.array([self.width, self.height] * 2, np.float32)
        moved: npt.NDArray[np.float32] = np.clip((boxes - offset) / gain, np.float32(0), limit)
        return moved


def fit(image: Pixels, size: InputSize, preprocess: Preprocess) -> tuple[Pixels, Placement]:
    """Resize an image to the input size.

    Args:
        image: (h, w, 3) uint8.
        size: of the model's input.
        preprocess: says how (Letterbox or Stretch), and the border's value.

    Returns:
        (size.height, size.width, 3) uint8 in the image's channel order, and where the image lies.
    """
    height, width = image.shape[:2]
    if preprocess.resize == "Stretch":
        placement = Placement(size.width / width, size.height / height, 0, 0, width, height)
        return _resized(image, size.width, size.height), placement
    gain = min(size.height / height, size.width / width)
    new_width, new_height = max(round(width * gain), 1), max(round(height * gain), 1)
    border_x, border_y = size.width - new_width, size.height - new_height
    left, top = round(border_x / 2 - 0.1), round(border_y / 2 - 0.1)
    padded = cv2.copyMakeBorder(
        _resized(image, new_width, new_height),
        top,
        border_y - top,
        left,
        border_x - left,
        cv2.BORDER_CONSTANT,
        value=(preprocess.pad_value,) * 3,
    )
    return np.asarray(padded, np.uint8), Placement(gain, gain, left, top, width, height)


def _resized(image: Pixels, width: int, height: int) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
