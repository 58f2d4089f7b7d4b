"""Write a budget's quantized graph with ModelOpt's torch-to-ONNX export."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import Allocation, Allocations
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.result import Layers
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import QuantizedOutcome, RealizeParams
from mpj_runner.graph.precision import report_layers
from mpj_runner.graph.view import GraphView
from mpj_runner.sensitivity.realization import realized, with_f16_remainder


def run(params: RealizeParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Quantize the layers of one budget in PyTorch and export them; see ``RealizeParams``.

    Raises:
        UserError: the format, or the budget, is none that this realization knows.
    """
    allocations = Allocations.model_validate_json(inputs["allocation"].read_bytes())
    if allocations.format != "int8":
        raise UserError(
            f"spec.candidates[].autoQuantize.realization torch cannot write {allocations.format}:"
            " ModelOpt's export would quantize every convolution, whatever was decided; set"
            " realization: onnx"
        )
    model = onnx.load(inputs["model"])
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    allocation = _budget(allocations, params.effective_bits)
    graph = realized(model, metadata, inputs["checkpoint"], allocation)
    if params.remainder == "fp16":
        graph = with_f16_remainder(graph)
    onnx.checker.check_model(graph)
    file = work / "model.onnx"
    onnx.save_model(graph, file)
    layers = report_layers(GraphView(model), GraphView(graph)).layers
    quantized = sum(layer.precision == "int8" for layer in layers)
    outcome = QuantizedOutcome(layers=Layers(total=len(layers), quantized=quantized))
    return StepResult({"model": file}, outcome)


def _budget(allocations: Allocations, bits: float) -> Allocation:
    for budget in allocations.budgets:
        if budget.effective_bits == bits:
            return budget
    solved = ", ".join(f"{b.effective_bits:g}" for b in allocations.budgets)
    raise UserError(
        f"spec.candidates[].autoQuantize.effectiveBits {bits:g} was not solved (solved: {solved})"
    )
