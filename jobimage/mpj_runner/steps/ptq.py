"""Quantize a graph from ready statistics."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx

from mpj_runner.calibration.quantizer import FP8_OP_TYPES, Placement, quantize_with_ranges
from mpj_runner.calibration.ranges import Ranges
from mpj_runner.calibration.statistics import Statistics
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import Allocations, KeptNodes, LayerReport, SensitivityScores
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.quantization import CalibrationMethod, QuantFormat
from mpj_runner.contract.result import Layers
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import PtqParams, QuantizedOutcome
from mpj_runner.graph.exclusions import Exclusions, check_op_types
from mpj_runner.graph.head import find_head
from mpj_runner.graph.layers import layers_of
from mpj_runner.graph.names import name_nodes, pattern_of
from mpj_runner.graph.precision import report_layers
from mpj_runner.graph.view import GraphView

DEFAULT_METHOD: Final[Mapping[QuantFormat, CalibrationMethod]] = {"int8": "mse", "fp8": "max"}
_FIELD: Final = "spec.candidates[].ptq"


def run(params: PtqParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Write the Q/DQ graph of one candidate; see ``PtqParams``.

    Raises:
        UserError: a pattern or an operator type fits nothing, the graph is quantized already or
            would not be at all, or an input that the parameters need does not fit them.
    """
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    model = name_nodes(onnx.load(inputs["model"]))
    view = GraphView(model)
    _refuse_quantized(view)
    exclusions = exclusions_of(params, view, inputs)
    _check_op_types_to_quantize(params, view)
    ranges = Ranges(
        _statistics_of(view, inputs["statistics"]),
        params.calibration_method or DEFAULT_METHOD[params.format],
        params.format,
        params.percentile,
    )
    target = work / "model.onnx"
    source = _own_copy(model, work)
    size = metadata.input_size
    quantize_with_ranges(
        source,
        target,
        (metadata.batch_size, 3, size.height, size.width),
        ranges,
        Placement(
            format=params.format,
            exclude=[pattern_of(exclusions.reasons)] if exclusions.reasons else [],
            op_types_to_exclude=params.op_types_to_exclude,
            op_types_to_quantize=params.op_types_to_quantize,
            remainder=params.remainder or "fp32",
            share_concat_scales=params.share_concat_scales,
        ),
    )
    shutil.rmtree(source.parent)
    report = report_layers(view, GraphView(onnx.load(target)), exclusions.reasons)
    layers = work / "layers.json"
    layers.write_text(report.model_dump_json(exclude_none=True), encoding="utf-8")
    outcome = QuantizedOutcome(layers=_counted(report))
    return StepResult(files={"model": target, "layers": layers}, outcome=outcome)


def exclusions_of(params: PtqParams, view: GraphView, inputs: Mapping[str, Path]) -> Exclusions:
    """Return the nodes that a candidate keeps in high precision, each with its reason.

    Raises:
        UserError: a pattern, operator type, budget or file does not fit the graph.
    """
    exclusions = Exclusions(view)
    exclusions.add_patterns(params.nodes_to_exclude)
    exclusions.add_op_types(params.op_types_to_exclude)
    if params.keep_head:
        exclusions.add_head(find_head(view))
    if "kept" in inputs:
        kept = KeptNodes.model_validate_json(inputs["kept"].read_bytes())
        for node in kept.nodes:
            exclusions.add([node.node], f"kept in FP32 by AutoCast: {node.reason}")
    if params.effective_bits is not None:
        names = _budget(params.effective_bits, inputs["allocation"])
        exclusions.add(names, f"high precision in the budget of {params.effective_bits:g} bits")
    if params.keep_most_sensitive is not None:
        _add_most_sensitive(exclusions, params.keep_most_sensitive, inputs["scores"])
    return exclusions


def _add_most_sensitive(exclusions: Exclusions, keep: int, scores: Path) -> None:
    """Exclude the first layers of the ranking that are not excluded anyway."""
    ranking = SensitivityScores.model_validate_json(scores.read_bytes()).layers
    layers = {x.name for x in layers_of(exclusions.view)}
    open_layers = [x for x in ranking if x.layer in layers and x.layer not in exclusions.reasons]
    for place, layer in enumerate(open_layers[:keep], 1):
        exclusions.add([layer.layer], f"among the most sensitive: number {place} of the ranking")


def _budget(effective_bits: float, path: Path) -> tuple[str, ...]:
    allocations = Allocations.model_validate_json(path.read_bytes())
    for budget in allocations.budgets:
        if abs(budget.effective_bits - effective_bits) < 1e-9:
            return budget.kept
    solved = ", ".join(f"{x.effective_bits:g}" for x in allocations.budgets) or "none"
    raise UserError(
        f"no allocation was solved for {effective_bits:g} bits (solved: {solved}): "
        "check spec.candidates[].autoQuantize.effectiveBits"
    )


def _refuse_quantized(view: GraphView) -> None:
    if any(x.op_type in ("QuantizeLinear", "DequantizeLinear") for x in view.nodes):
        raise UserError(
            "spec.model holds Q/DQ nodes already, and ptq would leave it as it is: give the FP32 "
            "model there, and this one as a candidate of its own (spec.candidates[].onnx.uri)"
        )


def _check_op_types_to_quantize(params: PtqParams, view: GraphView) -> None:
    where = f"{_FIELD}.opTypesToQuantize"
    check_op_types(view, params.op_types_to_quantize, where)
    refused = sorted(set(params.op_types_to_quantize) - FP8_OP_TYPES)
    if params.format == "fp8" and refused:
        raise UserError(
            f"{where}: fp8 knows {', '.join(sorted(FP8_OP_TYPES))} only, not {', '.join(refused)}"
        )


def _statistics_of(view: GraphView, path: Path) -> Statistics:
    statistics = Statistics.load(path)
    known = set(statistics.tensors)
    missing = next((x for x in layers_of(view) if x.activation not in known), None)
    if missing is not None:
        raise UserError(
            f"the statistics are of another model: there are none of {missing.activation}, which "
            f"{missing.name} reads: run calibrate on this model"
        )
    return statistics


def _own_copy(model: onnx.ModelProto, work: Path) -> Path:
    """Write the model to a folder of its own: ModelOpt puts intermediate files beside it."""
    folder = work / "source"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def _counted(report: LayerReport) -> Layers:
    quantized = sum(x.precision in ("int8", "fp8") for x in report.layers)
    if not quantized:
        reasons = sorted({x.reason for x in report.layers if x.reason})
        raise UserError(
            f"nothing is left to quantize: all {len(report.layers)} layers are kept "
            f"({'; '.join(reasons[:3])}): loosen {_FIELD}.nodesToExclude, opTypesToExclude or "
            "keepHead, or drop this candidate"
        )
    return Layers(total=len(report.layers), quantized=quantized)
