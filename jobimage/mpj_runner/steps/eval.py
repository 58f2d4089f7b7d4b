"""Measure a built engine's accuracy on the validation snapshot."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from mpj_runner.backends import backend
from mpj_runner.backends.base import RunOptions
from mpj_runner.backends.cpu_reference import CpuReference
from mpj_runner.backends.cpus import default_threads
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import Metrics
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.result import Interval
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import EvalOutcome, EvalParams
from mpj_runner.vision import detections
from mpj_runner.vision.bootstrap import paired_drop
from mpj_runner.vision.decode import Array, Limits, check_output, detect
from mpj_runner.vision.detections import NONE, Boxes
from mpj_runner.vision.inputs import Prepared, Preprocessor
from mpj_runner.vision.matching import Matches, match
from mpj_runner.vision.metrics import ClassRecord, accumulate, records, summarize
from mpj_runner.vision.prefetch import prefetched
from mpj_runner.vision.resize import Placement
from mpj_runner.vision.truth import Objects, Truth, read_truth

_READERS: Final = 8
"""Threads that read images, at most: they feed one engine."""
_AHEAD: Final = 16
"""Images, and outputs, that may wait between two stages."""


class Model(Protocol):
    """What can be evaluated: an ``Engine``, as far as accuracy needs one."""

    def infer(self, batch: Array) -> Array:
        """Run one batch (batch, 3, height, width); return the output as a fresh array."""
        ...


@dataclass(frozen=True)
class Judged:
    """One image's detections and how they match its objects."""

    found: Boxes
    matches: Matches
    finite: bool


def run(params: EvalParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Evaluate an engine; see ``EvalParams`` for inputs and files.

    With the input ``model`` the engine is the reference, which everything is held against: it has
    to find something, and it is compared with ONNX Runtime on the CPU.

    Raises:
        UserError: the engine cannot run here, its output does not fit the decoder, or the reference
            finds nothing or answers NaN or infinity.
    """
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    truth = read_truth(inputs["annotations"])
    if metadata.class_count != len(truth.classes):  # a graph that a candidate brought
        raise UserError(
            f"the graph answers with {metadata.class_count} classes where the model of "
            f"spec.model.uri has {len(truth.classes)}: export it with the same classes"
        )
    limits = Limits(params.score_threshold, params.iou_threshold, params.max_detections)
    options = RunOptions(params.precision, params.threads)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="reference") as aside,
        backend(params.backend).load(inputs["engine"], options) as engine,
    ):
        theirs = aside.submit(_reference, inputs, truth)
        judged = evaluate(engine, inputs["images"], truth, metadata, limits)
    classes = _records(judged, truth)
    metrics = _metrics(classes, judged, truth)
    non_finite = sum(not one.finite for one in judged)
    own = other = None
    if "model" in inputs:
        _check_reference(metrics, non_finite)
        part = truth.first(params.cross_check_images)
        if len(part):
            reference = CpuReference(inputs["model"], params.threads)
            there = evaluate(reference, inputs["images"], part, metadata, limits)
            own, other = (_average(one, part) for one in (judged[: len(part)], there))
    found, report = work / "detections.npz", work / "metrics.json"
    detections.save(found, truth.names, [one.found for one in judged])
    report.write_text(json.dumps(metrics.to_json(numbers=True)), encoding="utf-8")
    return StepResult(
        {"detections": found, "metrics": report},
        EvalOutcome(
            map=metrics.stats["AP"],
            map50=metrics.stats["AP50"],
            drop=_drop(params, theirs.result(), classes),
            images=metrics.images,
            detections=metrics.detections,
            non_finite=non_finite,
            cross_check_map=other,
            cross_check_own_map=own,
        ),
    )


def evaluate(
    model: Model, images: Path, truth: Truth, metadata: ModelMetadata, limits: Limits
) -> list[Judged]:
    """Run a model over the images of a data set and judge what it finds.

    Three stages overlap: threads decode and resize the next images while this thread runs the
    model and another one decodes, suppresses and matches what came out of it.

    Args:
        model: a loaded engine.
        images: folder of the files that ``truth`` names.
        truth: labelled objects.
        metadata: of the model.
        limits: which detections count.

    Returns:
        By image, in the order of ``truth``.

    Raises:
        UserError: an output does not fit the decoder, or an image cannot be read.
    """
    batch = metadata.batch_size
    workers = min(default_threads(), _READERS)
    paths = [images / name for name in truth.names]
    prepare = Preprocessor(metadata).prepare

    def judge(item: tuple[Array, Placement, Objects]) -> Judged:
        output, placement, objects = item
        found = detect(output, placement, metadata, limits)
        boxes = NONE if found is None else found
        return Judged(boxes, match(boxes, objects), finite=found is not None)

    def outputs(prepared: Iterator[Prepared]) -> Iterator[tuple[Array, Placement, Objects]]:
        for start in range(0, len(paths), batch):
            some = [next(prepared) for _ in range(min(batch, len(paths) - start))]
            filled = some + some[-1:] * (batch - len(some))
            output = model.infer(np.stack([one.tensor for one in filled]))
            check_output(output, metadata)
            for index, one in enumerate(some):
                yield output[index], one.placement, truth.objects[start + index]

    ahead = _AHEAD + batch
    with (
        prefetched(prepare, paths, workers=workers, ahead=ahead) as prepared,
        prefetched(judge, outputs(prepared), workers=1, ahead=ahead) as judged,
    ):
        return list(judged)


def _records(judged: Sequence[Judged], truth: Truth) -> list[ClassRecord]:
    return records([one.matches for one in judged], truth)


def _metrics(classes: Sequence[ClassRecord], judged: Sequence[Judged], truth: Truth) -> Metrics:
    metrics = summarize(truth, accumulate(classes), sum(len(one.found) for one in judged))
    if metrics.stats["AP"] < 0:
        raise UserError(
            f"spec.validation: none of the objects in {len(truth)} images counts (all are crowds): "
            "label single objects, or raise spec.validation.maxImages"
        )
    return metrics


def _average(judged: Sequence[Judged], truth: Truth) -> float | None:
    """Return mAP; None where no object counts (pycocotools' -1)."""
    value = summarize(truth, accumulate(_records(judged, truth)), 0).stats["AP"]
    return None if value < 0 else value


def _check_reference(metrics: Metrics, non_finite: int) -> None:
    if non_finite:
        raise UserError(
            f"the FP32 reference answers NaN or infinity on {non_finite} of {metrics.images} "
            "images: correct spec.model.preprocess (scale, mean, std), or export the model of "
            "spec.model.uri again"
        )
    if not metrics.detections:
        raise UserError(
            f"the FP32 reference finds nothing in {metrics.images} images: correct "
            "spec.model.preprocess (scale, mean, std, colorOrder), spec.model.decoder or "
            "spec.validation.scoreThreshold"
        )


def _reference(inputs: Mapping[str, Path], truth: Truth) -> list[ClassRecord] | None:
    """Judge the reference's detections again: quicker than to store how they matched."""
    if "reference" not in inputs:
        return None
    names, found = detections.load(inputs["reference"])
    if tuple(names) != truth.names:
        raise ValueError("the reference was evaluated on other images")
    pairs = zip(found, truth.objects, strict=True)
    return records([match(boxes, objects) for boxes, objects in pairs], truth)


def _drop(
    params: EvalParams, reference: Sequence[ClassRecord] | None, own: Sequence[ClassRecord]
) -> Interval | None:
    if reference is None:
        return None
    workers = default_threads()
    return paired_drop(reference, own, params.metric, params.resamples, workers=workers)
