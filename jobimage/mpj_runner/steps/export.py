"""Make the FP32 ONNX graph that everything else starts from, and say what it is."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import Decoder, InputSize, ModelMetadata
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import ExportOutcome, ExportParams
from mpj_runner.loading.onnx import has_qdq, load_onnx
from mpj_runner.loading.outputs import count_classes, detections, disagreement
from mpj_runner.loading.runtime import probe, run_onnx
from mpj_runner.loading.simplify import anonymous, metadata_names, simplified

NAME_LIMIT: Final = 128
_FIELD: Final = "spec.model.uri"
Array = npt.NDArray[np.float32]


def run(params: ExportParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Export a model to ONNX; see ``ExportParams`` for inputs and files.

    The graph is held against the model that it came from: ONNX Runtime CPU must give what PyTorch
    gave, to 1e-3 pixels and 1e-5 of score, on a fixed image-like input.

    Raises:
        UserError: the model cannot be read, run or exported, or the spec disagrees with it.
    """
    try:
        return _exported(params, inputs["model"], work)
    except UserError as error:
        if params.field == _FIELD:
            raise
        # A graph that a candidate brought: what reads models speaks of the job's own.
        raise UserError(str(error).replace(_FIELD, params.field)) from error


def _exported(params: ExportParams, source: Path, work: Path) -> StepResult:
    if source.is_file() and source.stat().st_size == 0:
        raise UserError("the file of spec.model.uri is empty: upload it again")
    graph, expected, decoder, known = _loaded(params, source)
    names = _spec_or_model_names(params, known)
    size = _input_size(graph)
    batch = probe((params.batch_size, 3, size.height, size.width), params.preprocess)
    output, y = detections(run_onnx(graph, batch), decoder)
    _require_one_shape(graph, output, batch, y)
    if expected is not None and (difference := disagreement(expected, y, decoder)):
        raise UserError(
            f"the exported graph does not compute what the model computes ({difference}): the"
            " model's forward may depend on its input's values; export it to ONNX yourself and set"
            " spec.model.format: onnx"
        )
    classes = count_classes(y, decoder, names, (size.height, size.width))
    graph = anonymous(_with_one_output(graph, output, y.shape))
    opset = next(o.version for o in graph.opset_import if o.domain in {"", "ai.onnx"})
    metadata = ModelMetadata(
        input_name=graph.graph.input[0].name,
        output_name=output,
        batch_size=params.batch_size,
        input_size=size,
        classes=names,
        class_count=classes,
        preprocess=params.preprocess,
        decoder=decoder,
        opset=opset,
        source_format=params.format,
    )
    files = {"model": work / "model.onnx", "metadata": work / "metadata.json"}
    onnx.save_model(graph, files["model"])
    files["metadata"].write_text(metadata.model_dump_json(indent=2, exclude_none=True) + "\n")
    return StepResult(files, ExportOutcome(class_count=classes, opset=opset))


def _loaded(
    params: ExportParams, source: Path
) -> tuple[ModelProto, Array | None, Decoder, tuple[str, ...] | None]:
    """Return the graph, what the model itself gives for the probe, its decoder and its classes."""
    if params.format == "onnx":
        graph = load_onnx(source, params.input_size, params.batch_size)
        names = _parsed_names(metadata_names(graph))
        return (graph if has_qdq(graph) else simplified(graph)), None, params.decoder, names

    # PyTorch takes a second to import, which an ONNX model need not wait for.
    from mpj_runner.loading.network import onnx_from_network, run_network

    if params.format == "ultralytics":
        from mpj_runner.loading.ultralytics import load_ultralytics

        network = load_ultralytics(source, params.input_size)
        if params.decoder == "EndToEnd" and network.decoder == "YOLO":
            raise UserError(
                "spec.model.decoder is EndToEnd, but the checkpoint of spec.model.uri holds a model"
                " that needs NMS: leave the field out"
            )
    else:
        from mpj_runner.loading.torch import load_torch

        network = load_torch(source, params.factory, params.decoder, params.input_size)
    size = network.input_size
    batch = probe((params.batch_size, 3, size.height, size.width), params.preprocess)
    expected = run_network(network, batch)
    graph = simplified(onnx_from_network(network, batch))
    return graph, expected, network.decoder, network.classes


def _parsed_names(text: str | None) -> tuple[str, ...] | None:
    """Read the names that YOLO exporters write into ONNX metadata: "{0: 'person', 1: …}"."""
    try:
        names = ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _spec_or_model_names(
    params: ExportParams, known: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if params.classes or not known:
        return params.classes
    return tuple(name[:NAME_LIMIT] or str(index) for index, name in enumerate(known))


def _input_size(graph: ModelProto) -> InputSize:
    dims = [d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim]
    if any(v % 32 or not 32 <= v <= 4096 for v in dims[2:]):
        raise UserError(
            f"the model's input is {dims[2]}x{dims[3]} pixels: each side must be a multiple of 32"
            " from 32 to 4096; export it again at such a size"
        )
    return InputSize(height=dims[2], width=dims[3])


def _require_one_shape(graph: ModelProto, output: str, batch: Array, y: Array) -> None:
    """Refuse a graph whose output depends on the image in size, not only in value.

    Raises:
        UserError: a blank image gives an output of another shape.
    """
    blank = run_onnx(graph, np.zeros_like(batch))[output]
    if blank.shape != y.shape:
        raise UserError(
            f"the output {output} of the ONNX graph of spec.model.uri changes its size with the"
            f" image ({list(y.shape)} and {list(blank.shape)}), and engines here are static: export"
            " the model without NMS and other selections in the graph"
        )


def _with_one_output(graph: ModelProto, name: str, shape: tuple[int, ...]) -> ModelProto:
    """Keep one output, with its static shape, and what it needs."""
    others = len(graph.graph.output) > 1
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return simplified(graph) if others and not has_qdq(graph) else graph
