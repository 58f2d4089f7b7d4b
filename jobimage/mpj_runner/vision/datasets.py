"""What the formats of data sets have in common: samples, their labels, and a search for files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mpj_runner.contract.errors import UserError
from mpj_runner.vision.images import is_image
from mpj_runner.walk import files_below

Role = Literal["calibration", "validation"]
SPLITS: Final[Mapping[Role, tuple[str, ...]]] = {
    "validation": ("val", "valid", "validation", "val2017", "test"),
    "calibration": ("train", "training", "train2017", "calibration", "val", "valid", "val2017"),
}
"""Names that are tried, in order, when the spec gives no split."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set."""

    name: str
    """Unique in the data set: the POSIX path relative to its folder."""
    path: Path
    size: tuple[int, int] | None = None
    """(width, height) as the annotations state it."""


@dataclass(frozen=True)
class Labels:
    """The labelled objects of one sample, in the data set's own categories."""

    categories: npt.NDArray[np.int64]
    """(n,) category ids."""
    xywh: npt.NDArray[np.float64]
    """(n, 4) left, top, width, height in pixels."""
    area: npt.NDArray[np.float64]
    """(n,) pixels."""
    crowd: npt.NDArray[np.bool_]
    """(n,)."""


class DataSet(Protocol):
    """A data set in some format."""

    @property
    def samples(self) -> Sequence[Sample]:
        """Return all images of the split, sorted by name."""
        ...

    @property
    def categories(self) -> Mapping[int, str] | None:
        """Return names by category id, or None when the data set does not name them."""
        ...

    def labels(self, sample: Sample, size: tuple[int, int]) -> Labels:
        """Return a sample's objects.

        Args:
            sample: one of ``samples``.
            size: (width, height) of the decoded image in pixels.

        Raises:
            UserError: its labels cannot be read.
        """
        ...


@dataclass(frozen=True)
class Place:
    """Where a data set lies and what the spec says of it."""

    folder: Path
    role: Role
    split: str | None = None
    annotations: str | None = None
    """Path of an annotation file inside the folder."""

    @property
    def field(self) -> str:
        """Return the spec's field, for messages."""
        return f"spec.{self.role}"

    def names(self) -> frozenset[str]:
        """Return the names that folders of a data set have."""
        tried = (name for names in SPLITS.values() for name in names)
        return frozenset({"images", "labels", "annotations", *self.splits(), *tried})

    def splits(self) -> tuple[str, ...]:
        """Return the split's name, or those to try."""
        return (self.split,) if self.split else SPLITS[self.role]

    def inside(self, path: str | Path) -> Path:
        """Return a path below the folder.

        Raises:
            UserError: it leads outside.
        """
        whole = (self.folder / path).absolute()
        normal = Path(os.path.normpath(whole))
        if not normal.is_relative_to(self.folder.absolute()):
            raise UserError(f"{self.field}: path {str(path)!r} leads outside of the data set")
        return normal

    def no_split(self) -> UserError:
        """Return the error that the split does not exist."""
        found = sorted({part.name for part in _folders(self.folder) if _holds_images(part)})
        hint = f"choose one of {', '.join(found)}" if found else "there are no folders of images"
        return UserError(f"{self.field}.split {self.split!r} does not exist: {hint}")


def images_below(folder: Path) -> dict[str, Path]:
    """Return the image files below a folder by relative POSIX path, sorted.

    Links to folders are followed, see ``files_below``.
    """
    found = {p.relative_to(folder).as_posix(): p for p in files_below(folder) if is_image(p)}
    return dict(sorted(found.items()))


def image_folder(place: Place) -> Path:
    """Return the folder of the split's images: images/<split>, <split>/images, <split>, or all.

    Raises:
        UserError: the spec names a split that does not exist.
    """
    for split in place.splits():
        for name in (f"images/{split}", f"{split}/images", split):
            if (folder := place.inside(name)).is_dir():
                return folder
    if place.split:
        raise place.no_split()
    return folder if (folder := place.folder / "images").is_dir() else place.folder


def _folders(folder: Path) -> list[Path]:
    roots = [folder, folder / "images"]
    return [path for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()]


def _holds_images(folder: Path) -> bool:
    below = [folder, folder / "images"]
    return any(is_image(path) for part in below if part.is_dir() for path in part.iterdir())
