"""Draw the demo's images: scanned handwritten digits on pieces of photographs.

The digits are scikit-learn's (scans of 13 writers' forms, 8x8 pixels); the photographs lie in
``photographs/``. What training sees and what validation sees have no scan and no piece of a
photograph in common. An image depends on nothing but the seed, the split and its number, so that
any of them can be made alone, in any order and on any machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

Split = Literal["train", "calibration", "validation"]
Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

NAMES: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHAPES: Final = ((192, 192), (192, 192), (160, 192), (192, 144), (180, 240), (240, 200))
"""Heights and widths of the images, in pixels: drawn with equal chance."""
TRAIN_SHARE: Final = 0.65
"""Of the scans (in the forms' order, so that writers differ) and of every photograph's length."""
SPLIT_CODES: Final[dict[Split, int]] = {"train": 0, "calibration": 1, "validation": 2}
GLYPH: Final = 64
"""Side in pixels that a scan is enlarged to before it is drawn."""
SIZES: Final = (9.0, 120.0)
"""Heights of a digit in pixels: drawn evenly on a logarithmic scale."""
MAX_OVERLAP: Final = 0.4
"""Share of the smaller of two boxes that the other may cover."""
MIN_VISIBLE: Final = 0.6
"""Share of a digit's box that must lie inside the image."""


@dataclass(frozen=True)
class Material:
    """What one split may draw from."""

    backgrounds: tuple[Image, ...]
    """Pieces of photographs, (H, W, 3) BGR."""
    glyphs: tuple[Floats, ...]
    """Enlarged scans, (GLYPH, GLYPH), ink in 0..1."""
    labels: npt.NDArray[np.int64]
    """Class index of each glyph."""


@dataclass(frozen=True)
class Scene:
    """A labelled image."""

    image: Image
    """(H, W, 3) BGR."""
    boxes: Floats
    """(n, 4): left, top, right, bottom in pixels."""
    labels: npt.NDArray[np.int64]
    """(n,): class indices."""


def load_material(split: Split) -> Material:
    """Read the photographs and the scans that belong to a split."""
    training = split != "validation"
    paths = sorted((Path(__file__).parent / "photographs").glob("*.jpg"))
    backgrounds = tuple(_share(path, training=training) for path in paths)
    digits = load_digits()
    cut = int(len(digits.images) * TRAIN_SHARE)
    part = slice(None, cut) if training else slice(cut, None)
    return Material(
        backgrounds,
        tuple(_enlarge(scan) for scan in digits.images[part]),
        np.asarray(digits.target[part], dtype=np.int64),
    )


def _share(path: Path, *, training: bool) -> Image:
    photograph = cv2.imread(str(path))
    if photograph is None:
        raise ValueError(f"{path} is no image: restore it from the repository")
    cut = int(photograph.shape[1] * TRAIN_SHARE)
    return np.asarray(photograph[:, :cut] if training else photograph[:, cut:], dtype=np.uint8)


def _enlarge(scan: npt.NDArray[np.float64]) -> Floats:
    """Enlarge an 8x8 scan (0..16) with a margin, and give its strokes an edge."""
    padded = np.pad(scan.astype(np.float32) / 16, 1)
    smooth = cv2.resize(padded, (GLYPH, GLYPH), interpolation=cv2.INTER_CUBIC)
    ramp = np.clip((smooth - 0.25) / 0.35, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def draw(material: Material, split: Split, index: int, seed: int = 0) -> Scene:
    """Draw one labelled image.

    Args:
        material: what ``load_material`` gave for the split.
        split: training and calibration images draw from the same material with other dice.
        index: number of the image within its split.
        seed: another seed, another data set.
    """
    rng = np.random.default_rng([seed, SPLIT_CODES[split], index])
    canvas = _background(material, rng).astype(np.float32)
    for _ in range(rng.integers(0, 4)):
        _scribble(canvas, rng)
    boxes: list[Floats] = []
    labels: list[int] = []
    for _ in range(rng.integers(1, 9)):
        pick = int(rng.integers(len(material.glyphs)))
        ink = _place(material.glyphs[pick], canvas.shape[:2], rng)
        box = _bounds(ink)
        if box is None or any(_overlap(box, other) > MAX_OVERLAP for other in boxes):
            continue
        _paint(canvas, ink, rng)
        boxes.append(box)
        labels.append(int(material.labels[pick]))
    _spoil(canvas, rng)
    return Scene(
        np.clip(canvas, 0, 255).astype(np.uint8),
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
    )


def _background(material: Material, rng: np.random.Generator) -> Image:
    height, width = SHAPES[rng.integers(len(SHAPES))]
    source = material.backgrounds[rng.integers(len(material.backgrounds))]
    scale = min(source.shape[0] / height, source.shape[1] / width) * rng.uniform(0.45, 1.0)
    rows, columns = int(height * scale), int(width * scale)
    top = int(rng.integers(source.shape[0] - rows + 1))
    left = int(rng.integers(source.shape[1] - columns + 1))
    piece = source[top : top + rows, left : left + columns]
    image = cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(image[:, ::-1] if rng.random() < 0.5 else image, dtype=np.uint8)


def _scribble(canvas: Floats, rng: np.random.Generator) -> None:
    """Draw a curve that is no digit: the detector has to tell strokes from digits."""
    height, width = canvas.shape[:2]
    start, reach = rng.uniform((0, 0), (width, height)), rng.uniform(8, 50)
    points = start + np.cumsum(rng.normal(0, reach / 3, (int(rng.integers(2, 6)), 2)), axis=0)
    ink = np.zeros((height, width), dtype=np.float32)
    thickness = int(rng.integers(1, 6))
    cv2.polylines(ink, [points.astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA)
    _paint(canvas, cv2.GaussianBlur(ink, (0, 0), 0.8), rng)


def _place(glyph: Floats, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Turn, shear, scale and move a glyph onto an empty canvas (H, W)."""
    size = np.exp(rng.uniform(*np.log(SIZES)))
    angle, shear, aspect = rng.normal(0, 0.2), rng.normal(0, 0.15), np.exp(rng.normal(0, 0.15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # A scan's 8 rows of 10 carry the digit: the rest is the margin that _enlarge adds.
    linear = turn @ np.array([[aspect, shear], [0, 1]]) * size / (0.8 * GLYPH)
    centre = rng.uniform((0, 0), (shape[1], shape[0]))
    offset = centre - linear @ np.array([GLYPH / 2, GLYPH / 2])
    matrix = np.column_stack([linear, offset])
    # Shrinking without a low-pass would break thin strokes into dots.
    blur = 0.4 * GLYPH * 0.8 / size
    source = cv2.GaussianBlur(glyph, (0, 0), blur) if blur > 0.4 else glyph
    inside = cv2.warpAffine(source, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
    whole = float(source.sum()) * abs(np.linalg.det(linear))
    visible = inside.sum() / max(whole, 1e-6)
    return np.asarray(inside if visible >= MIN_VISIBLE else np.zeros_like(inside))


def _bounds(ink: Floats) -> Floats | None:
    rows, columns = np.where(ink.max(axis=1) > 0.4)[0], np.where(ink.max(axis=0) > 0.4)[0]
    if len(rows) < 5 or len(columns) < 3:
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def _overlap(a: Floats, b: Floats) -> float:
    common = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(common / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))


def _paint(canvas: Floats, ink: Floats, rng: np.random.Generator) -> None:
    """Blend a colour in that differs from what lies under the ink, sometimes by very little."""
    rows, columns = np.where(ink.any(axis=1))[0], np.where(ink.any(axis=0))[0]
    if not len(rows):
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    area, weight = canvas[window], ink[window][..., None]
    under = (area * weight).sum(axis=(0, 1)) / weight.sum()
    direction = rng.normal(0, 1, 3)
    # Away from the end of the scale that the background is near.
    side = 1.0 if under.mean() < rng.uniform(60, 195) else -1.0
    direction = 0.6 * direction / np.linalg.norm(direction) + side * np.array([0.6, 0.6, 0.6])
    colour = np.clip(under + rng.uniform(35, 230) * direction, 0, 255)
    grain = rng.standard_normal(weight.shape, dtype=np.float32)
    shade = colour * (1 + rng.uniform(0, 0.12) * grain)
    area += weight * rng.uniform(0.7, 1.0) * (shade - area)


def _spoil(canvas: Floats, rng: np.random.Generator) -> None:
    """Do to the image what a camera does: light, focus, noise."""
    canvas *= rng.uniform(0.7, 1.2)
    if rng.random() < 0.3:
        canvas[:] = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.1))
    canvas += rng.uniform(0, 9) * rng.standard_normal(canvas.shape, dtype=np.float32)
