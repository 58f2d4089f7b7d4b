"""Detections of one image and of a whole data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Boxes:
    """Detections of one image, best score first."""

    xyxy: Floats
    """(n, 4) float32 corners x1, y1, x2, y2 in pixels."""
    scores: Floats
    """(n,) float32 in 0..1."""
    classes: Ints
    """(n,) int32 class indices."""

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: npt.NDArray[np.intp] | slice) -> "Boxes":
        """Return the boxes at an index, in its order."""
        return Boxes(self.xyxy[index], self.scores[index], self.classes[index])


NONE = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
"""No detections."""


def save(path: Path, names: Sequence[str], found: Sequence[Boxes]) -> None:
    """Write the detections of a data set as npz.

    Members: ``names`` (images,) file names; and for each detection, by image and then best first,
    ``image`` int32 index into names, ``boxes`` (n, 4) float32 x1, y1, x2, y2 in pixels of the
    original image, ``scores`` float32, ``classes`` int32 class index.
    """
    counts = [len(boxes) for boxes in found]
    whole = [NONE, *found]
    with path.open("wb") as file:
        np.savez(
            file,
            names=np.asarray(names, np.str_),
            image=np.repeat(np.arange(len(found), dtype=np.int32), counts),
            boxes=np.concatenate([boxes.xyxy for boxes in whole]),
            scores=np.concatenate([boxes.scores for boxes in whole]),
            classes=np.concatenate([boxes.classes for boxes in whole]),
        )


def load(path: Path) -> tuple[list[str], list[Boxes]]:
    """Read what ``save`` wrote: the images' names, and the detections of each."""
    with np.load(path) as data:
        names = [str(name) for name in data["names"]]
        cuts = np.searchsorted(data["image"], np.arange(1, len(names)))
        parts = (np.split(data[name], cuts) for name in ("boxes", "scores", "classes"))
        return names, [Boxes(*part) for part in zip(*parts, strict=True)]
