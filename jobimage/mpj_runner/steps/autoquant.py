"""Score each layer's sensitivity, once for all budgets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import torch
from torch import Tensor

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import SensitivityScores
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import AutoQuantOutcome, AutoQuantParams
from mpj_runner.sensitivity import scoring
from mpj_runner.sensitivity.heads import taps_of
from mpj_runner.sensitivity.search import Search
from mpj_runner.torchgraph.module import GraphModule
from mpj_runner.vision.images import list_images
from mpj_runner.vision.inputs import Preprocessor

KL_SHARE: Final = 8
"""kl_div runs the model once a layer and image: it gets this fraction of the scoring images."""


@dataclass(frozen=True)
class _Images:
    """Batches of images, read anew on every walk: they need not fit into memory."""

    paths: tuple[Path, ...]
    preprocessor: Preprocessor
    batch_size: int

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.preprocessor.batches(self.paths, self.batch_size):
            yield torch.from_numpy(batch)


def run(params: AutoQuantParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Run ModelOpt's auto_quantize on the exported graph; see ``AutoQuantParams``.

    The graph is rebuilt in PyTorch, so the names of scored layers are names of ONNX nodes, and no
    pickle is read here.

    Raises:
        UserError: no images, a graph that cannot be rebuilt, or scores that say nothing.
    """
    model = onnx.load(inputs["model"])
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    scored = params.score_images
    if params.method == "kl_div":
        scored = max(1, scored // KL_SHARE)
    paths = tuple(list_images(inputs["images"]))[: max(params.calibration_images, scored)]
    if not paths:
        raise UserError(
            "autoQuantize needs calibration images, and there are none: set"
            " spec.calibration.uri to a folder that has some"
        )
    batch_size = min(params.batch_size, len(paths))
    if not _takes_any_batch(model, metadata):
        batch_size = metadata.batch_size
    checkpoint = work / "checkpoint"
    checkpoint.mkdir()
    scoring.search(
        model,
        taps_of(model, metadata.class_count),
        _Images(paths, Preprocessor(metadata), batch_size),
        scoring.Plan(
            calibration=-(-min(params.calibration_images, len(paths)) // batch_size),
            scoring=-(-min(scored, len(paths)) // batch_size),
            seed=params.seed,
        ),
        (params.format, params.method),
        checkpoint,
    )
    layers = Search.load(checkpoint, GraphModule(model).layer_nodes).scores()
    scores = SensitivityScores(format=params.format, method=params.method, layers=layers)
    file = work / "scores.json"
    file.write_text(scores.model_dump_json(indent=1) + "\n")
    return StepResult(
        {"scores": file, "checkpoint": checkpoint}, AutoQuantOutcome(layers=len(layers))
    )


def _takes_any_batch(model: onnx.ModelProto, metadata: ModelMetadata) -> bool:
    """Tell whether the rebuilt graph, exported for one batch size, computes others as well."""
    module = GraphModule(model)
    module.select(taps_of(model, metadata.class_count).raw)
    shape = (2 * metadata.batch_size, 3, metadata.input_size.height, metadata.input_size.width)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        alone = module(images[: metadata.batch_size])
        try:
            together = module(images)
        except (RuntimeError, IndexError, ValueError):
            return False
    pairs = zip(_tuple(alone), _tuple(together), strict=True)
    return all(
        b.shape[0] == 2 * a.shape[0] and torch.allclose(a, b[: a.shape[0]], rtol=1e-3, atol=1e-3)
        for a, b in pairs
    )


def _tuple(y: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)
