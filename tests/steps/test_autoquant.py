"""Scores of layers, budgets solved from them, and the graph written back by ModelOpt."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from small_detector import CLASSES, SIZE, random_images, small_detector

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import Allocations, SensitivityScores
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.contract.steps import AutoQuantParams, RealizeParams, SolveParams
from mpj_runner.graph.layers import layers_of
from mpj_runner.graph.view import GraphView
from mpj_runner.loading.runtime import run_onnx
from mpj_runner.steps import autoquant, realize, solve

BUDGETS = (8.0, 9.0, 11.0, 12.5, 15.0, 16.0)
HEAD = ("head.0.box.1/Conv", "head.1.box.1/Conv")


def world(folder: Path, model: onnx.ModelProto, images: int = 6, **changes) -> dict[str, Path]:
    """Write a model, its metadata and seeded images."""
    folder.mkdir(exist_ok=True)
    (folder / "images").mkdir()
    rng = np.random.default_rng(3)
    for i in range(images):
        pixels = cv2.resize(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), (SIZE, SIZE))
        cv2.imwrite(str(folder / f"images/{i:03}.png"), pixels)
    onnx.save(model, folder / "model.onnx")
    values = {
        "input_name": "images",
        "output_name": "output",
        "batch_size": 1,
        "input_size": InputSize(height=SIZE, width=SIZE),
        "class_count": CLASSES,
        "preprocess": Preprocess(),
        "decoder": "YOLO",
        "opset": 19,
        "source_format": "onnx",
    }
    metadata = ModelMetadata(**{**values, **changes})
    (folder / "metadata.json").write_text(metadata.model_dump_json())
    names = {"model": "model.onnx", "metadata": "metadata.json", "images": "images"}
    return {key: folder / name for key, name in names.items()}


def scored(inputs: dict[str, Path], work: Path, **params) -> tuple[SensitivityScores, dict]:
    """Run autoquant; return its scores and the inputs of the steps behind it."""
    work.mkdir()
    params = {"calibration_images": 6, "score_images": 4, "batch_size": 2, **params}
    result = autoquant.run(AutoQuantParams(**params), inputs, work)
    scores = SensitivityScores.model_validate_json(result.files["scores"].read_bytes())
    assert result.outcome.layers == len(scores.layers)
    return scores, {**inputs, **result.files}


def solved(inputs: dict[str, Path], work: Path, *bits: float) -> tuple[Allocations, Path]:
    work.mkdir()
    result = solve.run(SolveParams(effective_bits=bits), inputs, work)
    allocations = Allocations.model_validate_json(result.files["allocation"].read_bytes())
    achieved = tuple(round(budget.achieved_bits, 4) for budget in allocations.budgets)
    assert result.outcome.achieved == achieved
    return allocations, result.files["allocation"]


@pytest.fixture(scope="module", params=["gradient", "kl_div"])
def run(request, tmp_path_factory):
    """One scored and solved model for each method: (model, scores, allocations, inputs)."""
    folder = tmp_path_factory.mktemp(request.param)
    model = small_detector()
    inputs = world(folder / "in", model)
    scores, inputs = scored(inputs, folder / "score", method=request.param)
    allocations, file = solved(inputs, folder / "solve", *BUDGETS)
    return model, scores, allocations, {**inputs, "allocation": file}


def searched(model: onnx.ModelProto) -> set[str]:
    """Names of the layers that a search decides on: all but the fixed DFL projection."""
    return {layer.name for layer in layers_of(GraphView(model))} - {"dfl/conv/Conv"}


class TestScores:
    def test_every_layer_but_the_dfl_is_scored_under_its_node_name(self, run):
        model, scores, _, _ = run
        names = [layer.layer for layer in scores.layers]
        assert set(names) == searched(model)
        assert len(names) == len(set(names))

    def test_most_sensitive_comes_first_and_not_all_is_zero(self, run):
        _, scores, _, _ = run
        values = [layer.score for layer in scores.layers]
        assert values == sorted(values, reverse=True)
        assert values[0] == pytest.approx(1e6)
        assert len({v for v in values if v > 0}) > len(values) // 2

    def test_costs_are_numbers_of_weights(self, run):
        model, scores, _, _ = run
        elements = {x.name: x.elements for x in layers_of(GraphView(model))}
        assert all(layer.cost == elements[layer.layer] for layer in scores.layers)

    def test_same_seed_gives_the_same_scores(self, run, tmp_path):
        _, scores, _, inputs = run
        again, _ = scored(inputs, tmp_path / "again", method=scores.method)
        assert again == scores

    def test_a_layer_with_an_outlier_weight_is_more_sensitive(self, run, tmp_path):
        model, scores, _, _ = run
        spoilt = onnx.ModelProto.FromString(model.SerializeToString())
        weight = next(t for t in spoilt.graph.initializer if t.name == "stage.reduce.weight")
        values = onnx.numpy_helper.to_array(weight).copy()
        values[:, 0, 0, 0] = 40 * np.abs(values).max()  # the rest falls into a few steps of int8
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        worse, _ = scored(world(tmp_path / "in", spoilt), tmp_path / "w", method=scores.method)
        before, after = (
            [layer.layer for layer in s.layers].index("stage.reduce/Conv") for s in (scores, worse)
        )
        assert after < min(before, 5)

    def test_a_detector_of_one_class_can_be_scored_by_divergence(self, tmp_path):
        # The two other classes are cut off: a softmax over one class would be constant.
        model = small_detector()
        kept = onnx.numpy_helper.from_array(np.array([0]), "kept")
        model.graph.initializer.append(kept)
        split = next(n for n in model.graph.node if n.name == "head/Sigmoid")
        gather = onnx.helper.make_node("Gather", [split.input[0], "kept"], ["one"], "one", axis=1)
        split.input[0] = "one"
        at = list(model.graph.node).index(split)
        model.graph.node.insert(at, gather)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
        inputs = world(tmp_path / "in", model, class_count=1)
        scores, _ = scored(inputs, tmp_path / "w", method="kl_div")
        assert scores.layers[0].score > 0

    def test_fp8_and_end_to_end_graphs_are_scored(self, tmp_path):
        model = small_detector("none", end_to_end=True)
        inputs = world(tmp_path / "in", model, decoder="EndToEnd")
        scores, inputs = scored(inputs, tmp_path / "w", format="fp8")
        allocations, file = solved(inputs, tmp_path / "s", 12)
        assert {layer.layer for layer in scores.layers} == searched(model)
        assert (scores.format, allocations.format) == ("fp8", "fp8")
        params = RealizeParams(effective_bits=12)
        with pytest.raises(UserError, match="realization torch cannot write fp8"):
            realize.run(params, {**inputs, "allocation": file}, tmp_path)

    def test_no_images_is_refused(self, tmp_path):
        inputs = world(tmp_path / "in", small_detector(), images=0)
        with pytest.raises(UserError, match=r"spec\.calibration\.uri"):
            scored(inputs, tmp_path / "w")

    def test_a_dead_model_is_refused(self, tmp_path):
        model = small_detector()
        for tensor in model.graph.initializer:
            if tensor.name.endswith((".weight", ".bias")):
                zeros = np.zeros(tensor.dims, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
        inputs = world(tmp_path / "in", model)
        with pytest.raises(UserError, match="scored every layer 0"):
            scored(inputs, tmp_path / "w")


class TestBudgets:
    def test_achieved_bits_are_close_below_the_asked(self, run):
        _, scores, allocations, _ = run
        gaps = [b.effective_bits - b.achieved_bits for b in allocations.budgets]
        # kl_div cuts its ranking at one threshold, gradient fills the budget layer by layer.
        allowed = 0.6 if scores.method == "gradient" else 1.0
        assert all(-0.01 <= gap <= allowed for gap in gaps), gaps

    def test_achieved_bits_are_what_the_layers_cost(self, run):
        model, _, allocations, _ = run
        elements = {x.name: x.elements for x in layers_of(GraphView(model))}
        for budget in allocations.budgets:
            assert set(budget.quantized) | set(budget.kept) == set(elements)
            used = sum(8 * elements[n] for n in budget.quantized)
            used += sum(16 * elements[n] for n in budget.kept)
            assert budget.achieved_bits == pytest.approx(used / sum(elements.values()), abs=1e-5)

    def test_a_larger_budget_keeps_more_sensitivity(self, run):
        _, scores, allocations, _ = run
        score = {layer.layer: layer.score for layer in scores.layers}
        lost = [sum(score.get(n, 0) for n in b.quantized) for b in allocations.budgets]
        assert lost == sorted(lost, reverse=True)
        assert lost[-1] == 0

    def test_solving_is_repeatable(self, run, tmp_path):
        _, _, allocations, inputs = run
        again, _ = solved(inputs, tmp_path / "again", *BUDGETS[::-1])
        assert again.budgets == allocations.budgets[::-1]

    @pytest.mark.parametrize("bits", [4.0, 7.9, 16.5])
    def test_budgets_out_of_reach_are_refused(self, bits, run, tmp_path):
        _, _, _, inputs = run
        with pytest.raises(UserError, match=r"autoQuantize\.effectiveBits .* between"):
            solved(inputs, tmp_path / "w", 9.0, bits)


def dequantized(view: GraphView, tensor: str) -> bool:
    node = view.producer.get(tensor)
    return node is not None and node.op_type == "DequantizeLinear"


class TestRealize:
    def graph(self, inputs: dict[str, Path], work: Path, **params):
        work.mkdir()
        result = realize.run(RealizeParams(**params), inputs, work)
        return onnx.load(result.files["model"]), result.outcome.layers

    @pytest.mark.parametrize("bits", [9.0, 12.5, 16.0])
    def test_pairs_stand_only_where_decided(self, bits, run, tmp_path):
        model, _, allocations, inputs = run
        graph, layers = self.graph(inputs, tmp_path / "w", effective_bits=bits)
        budget = next(b for b in allocations.budgets if b.effective_bits == bits)
        view = GraphView(graph)
        fed = {
            layer.name
            for layer in layers_of(view)
            if dequantized(view, layer.activation) and dequantized(view, layer.weight)
        }
        assert fed == set(budget.quantized)
        pairs = sum(node.op_type == "QuantizeLinear" for node in graph.graph.node)
        assert pairs == 2 * len(budget.quantized)
        assert (layers.total, layers.quantized) == (len(layers_of(GraphView(model))), len(fed))

    def test_graph_keeps_names_and_nearly_its_results(self, run, tmp_path):
        model, _, _, inputs = run
        graph, _ = self.graph(inputs, tmp_path / "w", effective_bits=9.0)
        assert graph.graph.input[0].name == "images"
        assert graph.graph.output[0].name == "output"
        names = {x.name for x in layers_of(GraphView(graph))}
        assert names == {x.name for x in layers_of(GraphView(model))}
        rms = 0.0
        for images in random_images(3):
            y, e = run_onnx(graph, images)["output"], run_onnx(model, images)["output"]
            assert y.shape == e.shape
            rms = max(rms, float(np.sqrt(np.mean((y - e)[:, 4:] ** 2))))
        assert 0 < rms < 0.1  # it is quantized, and it is still this model

    def test_without_quantized_layers_the_graph_is_the_models(self, run, tmp_path):
        model, _, _, inputs = run
        graph, layers = self.graph(inputs, tmp_path / "w", effective_bits=16.0)
        assert layers.quantized == 0
        images = random_images(1)[0]
        y, e = run_onnx(graph, images)["output"], run_onnx(model, images)["output"]
        np.testing.assert_allclose(y, e, atol=1e-4, rtol=1e-4)

    def test_remainder_may_be_half_precision(self, run, tmp_path):
        _, _, _, inputs = run
        graph, layers = self.graph(inputs, tmp_path / "w", effective_bits=12.5, remainder="fp16")
        assert layers.quantized > 0
        halves = {t.data_type for t in graph.graph.initializer if t.name == "stem.weight"}
        assert onnx.TensorProto.FLOAT16 in halves | {t.data_type for t in graph.graph.initializer}
        y = run_onnx(graph, random_images(1)[0])["output"]
        assert y.dtype == np.float32
        assert np.isfinite(y).all()

    def test_a_budget_that_was_not_solved_is_refused(self, run, tmp_path):
        _, _, _, inputs = run
        with pytest.raises(UserError, match=r"effectiveBits 10 was not solved \(solved: 8, 9"):
            self.graph(inputs, tmp_path / "w", effective_bits=10.0)


def test_the_checkpoint_holds_no_code(run):
    """Both files load with PyTorch's restricted unpickler and ModelOpt's registered classes."""
    _, _, _, inputs = run
    for name in ("search.pth", "model.pth"):
        torch.load(inputs["checkpoint"] / name, weights_only=True)


def test_scores_file_is_plain_json(run):
    _, _, _, inputs = run
    data = json.loads(inputs["scores"].read_text())
    assert set(data["layers"][0]) == {"layer", "score", "cost"}
