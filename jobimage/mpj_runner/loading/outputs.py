"""Which output holds the detections, and whether it is what the decoder expects."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import Decoder

Array = npt.NDArray[np.float32]
MOST_CLASSES: Final = 4096
PIXELS: Final = 1e-3
SCORES: Final = 1e-5
RELATIVE: Final = 1e-5
"""Room for rounding on top of the two bounds above: a float32 box coordinate of some 1000 pixels
carries 6e-5 by itself, and sums in another order some multiples of it."""
MOST_ROWS: Final = 1000
"""Detections that an end-to-end model returns at most."""
STRIDES: Final = (4, 8, 16, 32, 64)


def detections(outputs: Mapping[str, Array], decoder: Decoder) -> tuple[str, Array]:
    """Return the name and the value of the one output that the decoder can read.

    Raises:
        UserError: none is, or several are.
    """
    matching = {name: y for name, y in outputs.items() if y.ndim == 3 and y.dtype == np.float32}
    if decoder == "EndToEnd":
        matching = {name: y for name, y in matching.items() if y.shape[2] == 6}
    else:
        matching = {name: y for name, y in matching.items() if 4 < y.shape[1] <= MOST_CLASSES + 4}
    if len(matching) != 1:
        shown = ", ".join(f"{n} {y.dtype} {list(y.shape)}" for n, y in outputs.items())
        expected = {
            "YOLO": "(batch, 4 + classes, anchors)",
            "EndToEnd": "(batch, n, 6)",
        }[decoder]
        raise UserError(
            f"spec.model.decoder {decoder} needs one float32 output {expected}, and the model has"
            f" {shown}; set the decoder that fits, or export the model with its decoded head only"
        )
    return matching.popitem()


def count_classes(
    y: Array, decoder: Decoder, names: tuple[str, ...] | None, size: tuple[int, int]
) -> int:
    """Return the number of classes and check it against the names.

    Args:
        y: the detections' output.
        decoder: how it is read.
        names: class names of the spec or the checkpoint.
        size: height and width of the input in pixels.

    Raises:
        UserError: the output is laid out for another decoder, or the numbers disagree.
    """
    if decoder == "EndToEnd":
        if not names:
            raise UserError(
                "the classes of an end-to-end model cannot be counted from its output: set"
                " spec.model.classes"
            )
        return len(names)
    rows, columns = y.shape[1:]
    anchors = _anchor_counts(size)
    fits = names is not None and len(names) == rows - 4
    if columns == 6 and rows <= MOST_ROWS and columns not in anchors and not fits:
        raise UserError(
            f"the model's output {list(y.shape)} looks like that of an end-to-end model: set"
            " spec.model.decoder: EndToEnd"
        )
    turned = rows in anchors and (columns not in anchors or columns < rows)
    if not fits and (turned or (names and columns - 4 == len(names))):
        raise UserError(
            f"the model's output {list(y.shape)} has its anchors before its channels: spec.model."
            "decoder YOLO needs (batch, 4 + classes, anchors); transpose it in the model, and drop"
            " an objectness column if it has one"
        )
    if names and len(names) != rows - 4:
        raise UserError(
            f"spec.model.classes has {len(names)} names, the model's output {list(y.shape)} has"
            f" {rows - 4} classes: list them all, in the model's order, or leave the field out"
        )
    return int(rows - 4)


def _anchor_counts(size: tuple[int, int]) -> set[int]:
    """Return how many anchors heads on neighbouring strides have, with one or three a cell."""
    cells = [(size[0] // s) * (size[1] // s) for s in STRIDES]
    sums = {sum(cells[i:j]) for i in range(len(cells)) for j in range(i + 1, len(cells) + 1)}
    return sums | {3 * n for n in sums}


def disagreement(expected: Array, y: Array, decoder: Decoder) -> str | None:
    """Compare detections with what they must be, in pixels and in scores.

    End-to-end rows are matched by score: those of nearly equal scores may change places.

    Returns:
        A description of the first difference above 1e-3 pixels or 1e-5 of score; else None.
    """
    if expected.shape != y.shape:
        return f"shape {list(y.shape)} instead of {list(expected.shape)}"
    if not np.array_equal(np.isfinite(expected), np.isfinite(y)):
        return "values that are not finite in one of the two"
    if decoder == "YOLO":
        boxes, scores = (expected[:, :4], y[:, :4]), (expected[:, 4:], y[:, 4:])
        return _above(*boxes, PIXELS, "pixels") or _above(*scores, SCORES, "of score")
    order = np.sort(expected[..., 4], axis=1), np.sort(y[..., 4], axis=1)
    return _above(*order, SCORES, "of score") or _unmatched(expected, y)


def _above(a: Array, b: Array, limit: float, unit: str) -> str | None:
    finite = np.isfinite(a)
    a, b = a[finite], b[finite]
    excess = np.abs(a - b) - (limit + RELATIVE * np.abs(a))
    if excess.size == 0 or excess.max() <= 0:
        return None
    return f"a difference of {np.abs(a - b).max():.3g} {unit}"


def _unmatched(expected: Array, y: Array) -> str | None:
    """Find a clear detection of one that the other lacks; the cut at the last rank is a tie."""
    for a, b in zip(expected, y, strict=True):
        close = np.abs(a[:, None, 4] - b[None, :, 4]) <= 2 * SCORES
        near = np.abs(a[:, None, :4] - b[None, :, :4]) <= PIXELS + RELATIVE * np.abs(a[:, None, :4])
        found = (close & near.all(axis=2) & (a[:, None, 5] == b[None, :, 5])).any(axis=1)
        clear = a[:, 4] > a[:, 4].min() + 2 * SCORES
        if not found[clear].all():
            return f"{int((~found[clear]).sum())} of {int(clear.sum())} detections are missing"
    return None
