"""Data sets in the YOLO format: one text file of normalised boxes beside each image."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from mpj_runner.contract.errors import UserError
from mpj_runner.vision.datasets import Labels, Place, Sample, image_folder, images_below
from mpj_runner.vision.images import is_image

DESCRIPTIONS: Final = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "validation": ("val", "valid", "validation", "test"),
    "calibration": ("train", "val", "valid"),
}
"""Entries of data.yaml that are tried when the spec gives no split."""
_OVER: Final = 0.01
"""Rounding takes normalised coordinates this far over their edge; they are cut back."""
_BOX: Final = 5


class YoloDataSet:
    """A YOLO data set: images/<split>, labels/<split>, and data.yaml when there is one."""

    def __init__(self, place: Place) -> None:
        """Find the images of the split.

        Raises:
            UserError: something is missing or malformed; the message names it.
        """
        self._place = place
        description = _description(place)
        self.categories: Mapping[int, str] | None = _names(description, place)
        found: dict[str, Path] = {}
        for folder in _listed(description, place) or [image_folder(place)]:
            found |= {_name(path, place): path for path in _images(folder, place)}
        self.samples: Sequence[Sample] = [Sample(n, found[n]) for n in sorted(found)]

    def labels(self, sample: Sample, size: tuple[int, int]) -> Labels:
        """Return a sample's objects; see ``DataSet``. An image without a file has none."""
        path = self._label_file(sample)
        rows = [] if path is None else self._rows(path)
        # A row that was written twice is one object.
        table = np.unique(np.array(rows, np.float64).reshape(-1, _BOX), axis=0)
        xywh = _pixels(table[:, 1:], size)
        return Labels(
            table[:, 0].astype(np.int64),
            xywh,
            xywh[:, 2] * xywh[:, 3],
            np.zeros(len(xywh), np.bool_),
        )

    def _label_file(self, sample: Sample) -> Path | None:
        name = PurePosixPath(sample.name).with_suffix(".txt")
        parts = list(name.parts)
        places = [name]
        if "images" in parts:
            parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
            places.insert(0, PurePosixPath(*parts))
        files = (self._place.folder / path for path in places)
        return next((path for path in files if path.is_file()), None)

    def _rows(self, path: Path) -> list[tuple[float, ...]]:
        rows = []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{self._place.field}: label file {path.name} is not text") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = _row(line)
                if row is None:
                    raise UserError(
                        f"{self._place.field}: label file {path.name}, line {number}: needs a class"
                        " index and a centre, width and height (or a polygon) in 0..1; pixels are"
                        f" not normalised: {line.strip()[:60]!r}"
                    )
                rows.append(row)
        return rows


def _row(line: str) -> tuple[float, ...] | None:
    """Return class index, centre x, centre y, width, height; None when the line is malformed."""
    try:
        category, *numbers = (float(word) for word in line.split())
    except ValueError:
        return None
    values = np.array(numbers)
    valid = np.isfinite(values).all() and (values >= -_OVER).all() and (values <= 1 + _OVER).all()
    if not (valid and category >= 0 and category.is_integer()):
        return None
    if len(values) == _BOX - 1:
        return (category, *numbers)
    if len(values) < 6 or len(values) % 2:  # a polygon has three points or more
        return None
    x, y = values[0::2], values[1::2]
    left, top, right, bottom = x.min(), y.min(), x.max(), y.max()
    return category, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _pixels(boxes: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return left, top, width, height in pixels from normalised centres and sizes, clipped."""
    scale = np.array(size, np.float64)
    low = np.clip(boxes[:, :2] - boxes[:, 2:] / 2, 0, 1) * scale
    high = np.clip(boxes[:, :2] + boxes[:, 2:] / 2, 0, 1) * scale
    return np.concatenate([low, high - low], axis=1)


def _description(place: Place) -> dict[str, Any]:
    paths = [place.folder / name for name in DESCRIPTIONS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        others = [*place.folder.glob("*.yaml"), *place.folder.glob("*.yml")]
        path = others[0] if len(others) == 1 else None
    if path is None:
        return {}
    try:
        data = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{place.field}: {path.name} is not YAML: {error}") from error
    return data if isinstance(data, dict) else {}


def _names(description: Mapping[str, Any], place: Place) -> dict[int, str] | None:
    names = description.get("names")
    if names is None:
        return None
    try:
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(index): str(name) for index, name in pairs}
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{place.field}: names in data.yaml must be a list, or a mapping from class index"
        ) from error


def _listed(description: Mapping[str, Any], place: Place) -> list[Path]:
    """Return the folders and list files that data.yaml gives for the split, if they exist."""
    keys = (place.split,) if place.split else _KEYS[place.role]
    for key in keys:
        entries = description.get(key)
        found = [
            path
            for entry in (entries if isinstance(entries, list) else [entries])
            if isinstance(entry, str) and (path := _entry(entry, description, place))
        ]
        if found:
            return found
    return []


def _entry(entry: str, description: Mapping[str, Any], place: Place) -> Path | None:
    """Find an entry of data.yaml inside the data set.

    Its ``path`` often names a folder of the author's machine, and exports write "../val/images" for
    what lies beside data.yaml: an entry is looked for below ``path``, below the data set, and below
    it without the leading dots.
    """
    inner = PurePosixPath(*(part for part in PurePosixPath(entry).parts if part not in {"..", "/"}))
    base = str(description.get("path", "."))
    root = place.folder.absolute()
    for candidate in (root / base / entry, root / entry, root / inner):
        whole = candidate.resolve() if ".." in candidate.parts else candidate
        if whole.exists() and whole.is_relative_to(root):
            return whole
    return None


def _images(source: Path, place: Place) -> list[Path]:
    if source.is_dir():
        return list(images_below(source).values())
    if is_image(source):
        return [source]
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    paths = [place.inside(line) for line in lines if line]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"{place.field}: {len(missing)} images listed in {source.name} are not in the data set "
            f"({', '.join(missing[:3])}): upload them or correct the list"
        )
    return paths


def _name(path: Path, place: Place) -> str:
    return path.absolute().relative_to(place.folder.absolute()).as_posix()
