"""Budgets solved from scores of many sizes, by ModelOpt's solver."""

from pathlib import Path

import pytest
import torch
from modelopt.torch.quantization.algorithms import QuantRecipe

from mpj_runner.contract.errors import UserError
from mpj_runner.sensitivity.search import Search

LAYERS = 12


def search(folder: Path, scores: list[float], method: str = "gradient") -> Search:
    """Write ModelOpt's state for layers of equal size and load it."""
    recipes = [QuantRecipe("INT8_DEFAULT_CFG"), QuantRecipe(None)]
    stats = {
        f"nodes.n{i}.quant_recipe": {
            "formats": recipes,
            "scores": [score, min(score, 0.0)],
            "costs": [50.0, 100.0],
            "module_names": [f"nodes.n{i}"],
            "quantizer_attrs": {f"nodes.n{i}": ("input_quantizer", "weight_quantizer")},
            "uncompressed_cost": 100.0,
        }
        for i, score in enumerate(scores)
    }
    torch.save({"candidate_stats": stats, "method": method}, folder / "search.pth")
    return Search.load(folder, {f"nodes.n{i}": f"/layer{i}/Conv" for i in range(len(scores))})


RISING = [float(i + 1) for i in range(LAYERS)]


@pytest.mark.parametrize("method", ["gradient", "kl_div"])
@pytest.mark.parametrize("scale", [1e-18, 1e-6, 1.0, 1e12])
def test_the_least_sensitive_layers_are_quantized_whatever_the_scale(method, scale, tmp_path):
    found = search(tmp_path, [score * scale for score in RISING], method)
    for kept in (3, 6, 9):
        budget = found.allocation(8 + 8 * kept / LAYERS)
        assert budget.kept == tuple(f"/layer{i}/Conv" for i in range(LAYERS - kept, LAYERS))
        assert budget.achieved_bits == budget.effective_bits


@pytest.mark.parametrize("method", ["gradient", "kl_div"])
def test_rounding_below_zero_counts_as_zero(method, tmp_path):
    found = search(tmp_path, [-0.4, *RISING[1:]], method)
    assert found.allocation(12.0).kept == tuple(f"/layer{i}/Conv" for i in range(6, LAYERS))
    assert found.scores()[-1].score == 0


@pytest.mark.parametrize("method", ["gradient", "kl_div"])
def test_layers_of_equal_score_still_meet_the_budget(method, tmp_path):
    budget = search(tmp_path, [2.0] * LAYERS, method).allocation(12.0)
    assert 8.0 <= budget.achieved_bits <= 12.0


def test_scores_come_most_sensitive_first_and_ties_by_name(tmp_path):
    layers = search(tmp_path, [1.0, 3.0, 1.0]).scores()
    assert [x.layer for x in layers] == ["/layer1/Conv", "/layer0/Conv", "/layer2/Conv"]
    assert layers[0].score == 1e6
    assert layers[0].cost == 100


@pytest.mark.parametrize("scores", [[0.0] * 3, [1.0, float("nan")], [float("inf"), 1.0]])
def test_scores_that_say_nothing_are_refused(scores, tmp_path):
    with pytest.raises(UserError, match=r"autoQuantize scored .*spec\.calibration"):
        search(tmp_path, scores)


@pytest.mark.parametrize("bits", [7.99, 16.01])
def test_budgets_out_of_reach_are_refused(bits, tmp_path):
    with pytest.raises(UserError, match=r"effectiveBits .* between 8 and 16"):
        search(tmp_path, RISING).allocation(bits)
