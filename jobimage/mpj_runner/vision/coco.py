"""Data sets in the COCO format: a JSON file of annotations beside folders of images."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from mpj_runner.contract.errors import UserError
from mpj_runner.vision.cocofile import CocoAnnotation, CocoImage, read_coco, some
from mpj_runner.vision.datasets import Labels, Place, Sample, image_folder, images_below

ANNOTATION_NAMES: Final = (
    "annotations/instances_{split}.json",
    "annotations/{split}.json",
    "{split}/_annotations.coco.json",
    "{split}/annotations.json",
    "{split}.json",
)
"""Where a split's annotations are looked for when the spec does not say."""


class CocoDataSet:
    """A COCO data set; for calibration it needs no annotations."""

    def __init__(self, place: Place, file: Path | None = None) -> None:
        """Read the annotations and find every image.

        Args:
            place: the data set's folder and split.
            file: an annotation file outside of the folder.

        Raises:
            UserError: something is missing or malformed; the message names it.
        """
        path = file or _annotation_file(place)
        if path is None:
            self.categories: Mapping[int, str] | None = None
            self.samples: Sequence[Sample] = _unlabelled(place)
            self._objects: Mapping[str, Sequence[CocoAnnotation]] = {}
            return
        data = read_coco(path, place.field)
        self.categories = {category.id: category.name for category in data.categories}
        located = _located(data.images, place, path)
        self.samples = [sample for sample, _ in located]
        objects = defaultdict(list)
        for annotation in data.annotations:
            objects[annotation.image_id].append(annotation)
        self._objects = {sample.name: objects[image.id] for sample, image in located}

    def labels(self, sample: Sample, size: tuple[int, int]) -> Labels:  # noqa: ARG002 - pixels already
        """Return a sample's objects; see ``DataSet``."""
        own = self._objects[sample.name]
        areas = (a.bbox[2] * a.bbox[3] if a.area is None else a.area for a in own)
        return Labels(
            np.array([a.category_id for a in own], np.int64),
            np.array([a.bbox for a in own], np.float64).reshape(-1, 4),
            np.fromiter(areas, np.float64, len(own)),
            np.array([a.iscrowd for a in own], np.bool_),
        )


def _unlabelled(place: Place) -> list[Sample]:
    root = image_folder(place)
    prefix = root.relative_to(place.folder)
    return [Sample((prefix / name).as_posix(), p) for name, p in images_below(root).items()]


def _annotation_file(place: Place) -> Path | None:
    if place.annotations:
        path = place.inside(place.annotations)
        if not path.is_file():
            raise UserError(
                f"{place.field}.annotations: there is no file {place.annotations!r} in the data set"
            )
        return path
    if place.role == "calibration":
        return None
    for split in place.splits():
        for pattern in ANNOTATION_NAMES:
            if (path := place.inside(pattern.format(split=split))).is_file():
                return path
    folders = [place.folder, place.folder / "annotations"]
    found = sorted(path for folder in folders for path in folder.glob("*.json"))
    if place.split is None and len(found) == 1:
        return found[0]
    image_folder(place)  # complains of a split that does not exist
    names = some(path.relative_to(place.folder).as_posix() for path in found)
    raise UserError(
        f"{place.field}.annotations: no labels found, and validation needs them: name the COCO file"
        + (f" (one of {names})" if found else f", or set {place.field}.format to YOLO")
    )


def _located(
    images: Sequence[CocoImage], place: Place, file: Path
) -> list[tuple[Sample, CocoImage]]:
    """Find the file of every image.

    A file name is looked for below the data set's folder, the annotation file's, the split's and
    ``images``, in this order; else it must be the ending of one path only. Once some are found in
    the first way, the others have to be near them: training images often have the same names.

    Raises:
        UserError: a file is missing, could be several, or is listed twice.
    """
    index = images_below(place.folder)
    roots = ["", *_roots(place, file)]
    wanted = [one.file_name.replace("\\", "/").removeprefix("./").lstrip("/") for one in images]
    direct = [_direct(name, roots, index) for name in wanted]
    homes = {PurePosixPath(path).parent for path in direct if path is not None}
    endings: dict[str, list[str]] = defaultdict(list)
    for one in index:
        if not homes or not homes.isdisjoint(PurePosixPath(one).parents):
            endings[PurePosixPath(one).name].append(one)
    found: dict[str, tuple[Sample, CocoImage]] = {}
    missing: list[str] = []
    for image, name, known in zip(images, wanted, direct, strict=True):
        path = known or _by_ending(name, endings, place.field)
        if path is None:
            missing.append(name)
        elif path in found:
            raise UserError(f"{place.field}.annotations: {file.name} lists the image {path} twice")
        else:
            size = (image.width, image.height) if image.width and image.height else None
            found[path] = Sample(path, index[path], size), image
    if missing:
        raise UserError(
            f"{place.field}: {len(missing)} of {len(images)} images of {file.name} are not in the "
            f"data set ({some(missing)}): upload them or remove them from the annotations"
        )
    return [found[path] for path in sorted(found)]


def _direct(name: str, roots: Sequence[str], index: Collection[str]) -> str | None:
    paths = ((PurePosixPath(root) / name).as_posix() for root in roots)
    return next((path for path in paths if path in index), None)


def _roots(place: Place, file: Path) -> Iterator[str]:
    if file.is_relative_to(place.folder):
        yield file.parent.relative_to(place.folder).as_posix()
    for split in place.splits():
        yield from (f"images/{split}", split)
    yield "images"


def _by_ending(wanted: str, endings: Mapping[str, Sequence[str]], field: str) -> str | None:
    candidates = endings.get(PurePosixPath(wanted).name, ())
    found = [path for path in candidates if path.endswith("/" + wanted)]
    if len(found) > 1:
        raise UserError(
            f"{field}: image {wanted} could be {found[0]} or {found[1]}: give its folder in "
            f"file_name, or set {field}.split"
        )
    return found[0] if found else None
