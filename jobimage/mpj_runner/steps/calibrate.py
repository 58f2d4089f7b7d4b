"""Collect activation statistics in one pass over the calibration images."""

import os
from collections.abc import Mapping
from pathlib import Path

import onnx

from mpj_runner.backends.cpus import default_threads
from mpj_runner.calibration.collect import collect
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import CalibrateOutcome, CalibrateParams
from mpj_runner.vision.images import list_images
from mpj_runner.vision.inputs import Preprocessor


def run(params: CalibrateParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Run each calibration image once through the FP32 graph; see ``CalibrateParams``.

    Raises:
        UserError: there are no images, one cannot be read, or the graph cannot run.
    """
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    images = Preprocessor(metadata).batches(list_images(inputs["images"]), 1)
    statistics = collect(
        onnx.load(inputs["model"]),
        images,
        input_name=metadata.input_name,
        batch_size=metadata.batch_size,
        threads=_threads(),
        per_node=params.calibrate_per_node,
    )
    path = work / "statistics.npz"
    statistics.save(path)
    outcome = CalibrateOutcome(images=statistics.images, tensors=len(statistics.tensors))
    return StepResult(files={"statistics": path}, outcome=outcome)


def _threads() -> int:
    """Return the threads of ONNX Runtime: its own choice unless the CPU limit is below the machine.

    ModelOpt's calibration takes the runtime's choice too. The number decides how a convolution is
    cut up and so the last bit of its sums: with the same number, ranges are the same to the bit.
    """
    limit = default_threads()
    return limit if limit < (os.cpu_count() or 1) else 0
