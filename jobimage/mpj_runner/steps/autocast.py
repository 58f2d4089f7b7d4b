"""Lower an FP32 graph to FP16 or BF16 where its values allow it."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import KeptNode, KeptNodes
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.result import Layers
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import AutoCastParams, QuantizedOutcome
from mpj_runner.graph.precision import report_layers
from mpj_runner.graph.view import GraphView
from mpj_runner.precision.lowering import lowered
from mpj_runner.precision.values import activation_stats
from mpj_runner.vision.images import list_images
from mpj_runner.vision.inputs import Preprocessor


def run(params: AutoCastParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Run ModelOpt AutoCast on activations of real images; see ``AutoCastParams``.

    Raises:
        UserError: no calibration images, patterns that match nothing, or a graph that AutoCast
            cannot convert.
    """
    model = onnx.load(inputs["model"])
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    paths = list_images(inputs["images"])[: params.calibration_images]
    if not paths:
        raise UserError(
            "autoCast needs calibration images, and there are none: set spec.calibration.uri to a"
            " folder that has some"
        )
    batches = Preprocessor(metadata).batches(paths, metadata.batch_size)
    stats = activation_stats(model, ({metadata.input_name: batch} for batch in batches))
    graph, kept = lowered(inputs["model"], params, stats)
    files = {"model": work / "model.onnx", "kept": work / "kept.json"}
    onnx.save_model(graph, files["model"])
    report = KeptNodes(nodes=tuple(KeptNode(node=n, reason=r) for n, r in kept.items()))
    files["kept"].write_text(report.model_dump_json(indent=1) + "\n")
    layers = report_layers(GraphView(model), GraphView(graph)).layers
    low = sum(layer.precision == params.low_precision_type for layer in layers)
    return StepResult(files, QuantizedOutcome(layers=Layers(total=len(layers), quantized=low)))
