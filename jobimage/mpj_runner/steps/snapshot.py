"""Freeze a data set: every later step reads the same images and labels, whatever happens to it."""

import json
import logging
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import SnapshotOutcome, SnapshotParams
from mpj_runner.vision.archive import opened
from mpj_runner.vision.categories import class_indices, class_names
from mpj_runner.vision.coco import CocoDataSet
from mpj_runner.vision.datasets import DataSet, Labels, Place, Sample
from mpj_runner.vision.images import CorruptImageError, decode_image
from mpj_runner.vision.yolo import YoloDataSet

log = logging.getLogger(__name__)

_THREADS: Final = 4
_SHOWN: Final = 3


@dataclass(frozen=True)
class _Copied:
    """An image in the snapshot."""

    sample: Sample
    name: str
    size: tuple[int, int]
    """(width, height) in pixels, after EXIF orientation."""


def run(params: SnapshotParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Pick images by seed, verify that they decode, and write them with their labels.

    The files in ``images`` are named <place in the draw>-<original name>: sorted by name, the first
    n are a random sample of the data set, and equal names of different folders stay apart. Bytes
    are copied unchanged. Category ids in ``annotations`` are class index + 1, image and annotation
    ids count from 1 (pycocotools takes an annotation of id 0 for "no match").

    Raises:
        UserError: the data set is missing, empty, malformed, or disagrees with the model; the
            message names the field and what to do.
    """
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    place = Place(inputs["source"], params.role, params.split, params.annotations)
    with opened(inputs["source"], work, place.field, place.names()) as folder:
        place = Place(folder, params.role, params.split, params.annotations)
        data = _data_set(params, place, inputs.get("annotations"))
        if not data.samples:
            raise UserError(
                f"{place.field}: no images in the data set: correct the uri or the split"
            )
        (work / "images").mkdir()
        picked = _picked(data.samples, params.max_images, params.seed)
        copied, problems = _copied(picked, work / "images")
        if problems and (params.on_corrupt_image == "Fail" or not copied):
            raise _corrupt(problems, len(picked), params)
        for problem in problems:
            log.warning("left out: %s", problem)
        annotations = _annotations(params, place, metadata, data, copied)
    path = work / "annotations.json"
    path.write_text(json.dumps(annotations), encoding="utf-8")
    return StepResult(
        {"images": work / "images", "annotations": path},
        SnapshotOutcome(
            images=len(copied), objects=len(annotations["annotations"]), skipped=len(problems)
        ),
    )


def _data_set(params: SnapshotParams, place: Place, annotations: Path | None) -> DataSet:
    if params.format == "COCO":
        return CocoDataSet(place, annotations)
    if annotations is not None or params.annotations is not None:
        raise UserError(
            f"{place.field}.annotations is for the COCO format: remove it, or set "
            f"{place.field}.format to COCO"
        )
    return YoloDataSet(place)


def _picked(samples: Sequence[Sample], most: int, seed: int) -> list[Sample]:
    """Draw samples: the same for the same names and seed, however the file system lists them."""
    ordered = sorted(samples, key=lambda sample: sample.name)
    random.Random(seed).shuffle(ordered)  # noqa: S311 - a sample, not a secret
    return ordered[:most]


def _copied(picked: Sequence[Sample], folder: Path) -> tuple[list[_Copied], list[str]]:
    """Copy images that decode; return them and what is wrong with the others."""

    def copy(numbered: tuple[int, Sample]) -> _Copied | str:
        number, sample = numbered
        data = sample.path.read_bytes()
        try:
            height, width = decode_image(data).shape[:2]
        except CorruptImageError as error:
            return f"{sample.name}: {error}"
        if sample.size not in {None, (width, height)}:
            stated = "{}x{}".format(*sample.size or ())
            return f"{sample.name}: it is {width}x{height} but its annotations are for {stated}"
        name = f"{number:06d}-{PurePosixPath(sample.name).name}"
        (folder / name).write_bytes(data)
        return _Copied(sample, name, (width, height))

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(copy, enumerate(picked)))
    return (
        [result for result in results if isinstance(result, _Copied)],
        [result for result in results if isinstance(result, str)],
    )


def _corrupt(problems: Sequence[str], picked: int, params: SnapshotParams) -> UserError:
    more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
    skippable = params.role == "validation" and len(problems) < picked
    advice = (
        "replace them, or set spec.validation.onCorruptImage to Skip"
        if skippable
        else "replace or remove them"
    )
    return UserError(
        f"spec.{params.role}: {len(problems)} of {picked} images cannot be used: "
        f"{'; '.join(problems[:_SHOWN])}{more}: {advice}"
    )


def _annotations(
    params: SnapshotParams,
    place: Place,
    metadata: ModelMetadata,
    data: DataSet,
    copied: Sequence[_Copied],
) -> dict[str, Any]:
    """Return the COCO JSON of the snapshot."""
    images = [
        {"id": number, "file_name": one.name, "width": one.size[0], "height": one.size[1]}
        for number, one in enumerate(copied, 1)
    ]
    if params.role == "calibration":
        return {"images": images, "annotations": [], "categories": []}
    labels = [data.labels(one.sample, one.size) for one in copied]
    if not any(len(own.categories) for own in labels):
        raise UserError(
            f"{place.field}: no labelled objects in {len(copied)} images; validation needs labels: "
            "YOLO reads labels/<split>/<image>.txt beside images/<split>, COCO an annotation file"
        )
    names, indices = _classes(params, place, metadata, data, labels)
    return {
        "images": images,
        "annotations": _objects(labels, indices),
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
    }


def _classes(
    params: SnapshotParams,
    place: Place,
    metadata: ModelMetadata,
    data: DataSet,
    labels: Sequence[Labels],
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the class names, and the class index of every category."""
    used = {int(key) for own in labels for key in own.categories}
    count, field, categories = metadata.class_count, place.field, data.categories
    if params.format == "COCO":
        categories = categories or {}
        names = class_names(metadata.classes, count, categories, field)
        mapping = params.category_mapping
        return names, class_indices(metadata.classes, count, categories, used, mapping, field)
    if categories is None:  # label files hold class indices, and nothing names them
        names = metadata.classes or tuple(str(index) for index in range(count))
        categories = dict(enumerate(names))
    else:
        names = class_names(metadata.classes, count, categories, field)
    if beyond := sorted(used - categories.keys()):
        raise UserError(
            f"{field}: the labels have class index {beyond[-1]}, but there are {len(categories)} "
            "classes: correct the labels, names in data.yaml, or spec.model.classes"
        )
    mapping = "Name" if params.category_mapping == "Name" else "Order"
    return names, class_indices(metadata.classes, count, categories, used, mapping, field)


def _objects(labels: Sequence[Labels], indices: Mapping[int, int]) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    for image, own in enumerate(labels, 1):
        for category, box, area, crowd in zip(
            own.categories, own.xywh.tolist(), own.area, own.crowd, strict=True
        ):
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image,
                    "category_id": indices[int(category)] + 1,
                    "bbox": box,
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
    return objects
