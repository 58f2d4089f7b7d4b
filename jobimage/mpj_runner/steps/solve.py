"""Choose the layers for each budget of bits from one scoring run."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from mpj_runner.contract.files import Allocations, SensitivityScores
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import SolveOutcome, SolveParams
from mpj_runner.sensitivity.search import Search
from mpj_runner.torchgraph.module import GraphModule


def run(params: SolveParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Solve ModelOpt's search again for every budget; see ``SolveParams``.

    Raises:
        UserError: a budget that the format cannot reach.
    """
    scores = SensitivityScores.model_validate_json(inputs["scores"].read_bytes())
    nodes = GraphModule(onnx.load(inputs["model"])).layer_nodes
    search = Search.load(inputs["checkpoint"], nodes)
    budgets = tuple(search.allocation(bits) for bits in params.effective_bits)
    file = work / "allocation.json"
    allocations = Allocations(format=scores.format, method=scores.method, budgets=budgets)
    file.write_text(allocations.model_dump_json(indent=1) + "\n")
    achieved = tuple(round(budget.achieved_bits, 4) for budget in budgets)
    return StepResult({"allocation": file}, SolveOutcome(achieved=achieved))
