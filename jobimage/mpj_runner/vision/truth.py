"""What a labelled data set says is in its images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Objects:
    """The labelled objects of one image."""

    xywh: npt.NDArray[np.float64]
    """(n, 4) left, top, width, height in pixels."""
    classes: npt.NDArray[np.int32]
    """(n,) class indices."""
    area: npt.NDArray[np.float64]
    """(n,) pixels; of the segment where the data set has one."""
    crowd: npt.NDArray[np.bool_]
    """(n,) regions that any number of detections may match without counting."""


@dataclass(frozen=True)
class Truth:
    """The labelled objects of all images, in the order of the snapshot."""

    names: tuple[str, ...]
    """File names in the snapshot's ``images`` folder."""
    classes: tuple[str, ...]
    objects: tuple[Objects, ...]
    """By image."""

    def __len__(self) -> int:
        return len(self.names)

    def first(self, count: int) -> "Truth":
        """Return the first images only."""
        return Truth(self.names[:count], self.classes, self.objects[:count])


def read_truth(path: Path) -> Truth:
    """Read the ``annotations`` file that the snapshot step wrote."""
    data = json.loads(path.read_bytes())
    grouped: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        grouped[annotation["image_id"]].append(annotation)
    return Truth(
        tuple(image["file_name"] for image in data["images"]),
        tuple(category["name"] for category in data["categories"]),
        tuple(_objects(group) for group in grouped.values()),
    )


def _objects(annotations: Sequence[dict[str, Any]]) -> Objects:
    return Objects(
        np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4),
        np.array([a["category_id"] - 1 for a in annotations], np.int32),
        np.array([a["area"] for a in annotations], np.float64),
        np.array([a["iscrowd"] for a in annotations], np.bool_),
    )
