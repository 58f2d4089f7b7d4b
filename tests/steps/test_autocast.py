"""The autocast step: what is lowered, what stays FP32 and why."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from modelopt.onnx.autocast import convert_to_mixed_precision
from small_detector import CLASSES, SIZE, random_images, small_detector

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import KeptNodes
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.contract.steps import AutoCastParams
from mpj_runner.graph.precision import report_layers
from mpj_runner.graph.view import GraphView
from mpj_runner.loading.runtime import run_onnx
from mpj_runner.steps.autocast import run
from mpj_runner.vision.images import list_images
from mpj_runner.vision.inputs import Preprocessor

LAYERS = 22


def world(folder: Path, model: onnx.ModelProto, images: int = 4, brightest: int = 256):
    """Write a model, its metadata and seeded images."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for i in range(images):
        pixels = cv2.resize(rng.integers(0, brightest, (5, 5, 3), dtype=np.uint8), (SIZE, SIZE))
        cv2.imwrite(str(folder / f"images/{i:03}.png"), pixels)
    onnx.save(model, folder / "model.onnx")
    metadata = ModelMetadata(
        input_name="images",
        output_name="output",
        batch_size=1,
        input_size=InputSize(height=SIZE, width=SIZE),
        class_count=CLASSES,
        preprocess=Preprocess(),
        decoder="YOLO",
        opset=19,
        source_format="onnx",
    )
    (folder / "metadata.json").write_text(metadata.model_dump_json())
    names = {"model": "model.onnx", "metadata": "metadata.json", "images": "images"}
    return {key: folder / name for key, name in names.items()}


def cast(inputs, work: Path, **params):
    """Run the step; return (graph, {node: reason}, layers of the outcome)."""
    work.mkdir()
    result = run(AutoCastParams(**params), inputs, work)
    kept = KeptNodes.model_validate_json(result.files["kept"].read_bytes())
    reasons = {node.node: node.reason for node in kept.nodes}
    return onnx.load(result.files["model"]), reasons, result.outcome.layers


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return world(tmp_path_factory.mktemp("world"), small_detector())


CHOICES = {
    "fp16": {},
    "bf16": {"low_precision_type": "bf16"},
    "a low limit on values": {"data_max": 4.0},
    "a limit on sums": {"data_max": 1e9, "max_depth_of_reduction": 200},
    "a limit on weights": {"init_max": 0.3},
    "nodes and operators": {
        "nodes_to_exclude": (r"stage\.",),
        "op_types_to_exclude": ("MaxPool",),
        "nodes_to_include": (r"stage\.fuse",),
    },
    "half-precision inputs": {"keep_io_types": False},
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_graph_is_what_modelopt_makes_of_the_same_images(choice, inputs, tmp_path):
    graph, _, _ = cast(inputs, tmp_path / "w", **choice)
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    (tmp_path / "feeds").mkdir()
    batches = Preprocessor(metadata).batches(list_images(inputs["images"]), 1)
    for i, batch in enumerate(batches):
        np.savez(tmp_path / f"feeds/{i:03}.npz", images=batch)
    options = dict(AutoCastParams(**choice))
    del options["calibration_images"]
    reference = convert_to_mixed_precision(
        str(inputs["model"]),
        calibration_data=str(tmp_path / "feeds"),
        providers=["cpu"],
        opset=22 if options["low_precision_type"] == "bf16" else 19,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
    )
    assert graph.SerializeToString() == reference.SerializeToString()


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_all_layers_are_lowered_when_values_are_small(kind, inputs, tmp_path):
    graph, kept, layers = cast(inputs, tmp_path / "w", low_precision_type=kind, data_max=1e6)
    assert (layers.total, layers.quantized, kept) == (LAYERS, LAYERS, {})
    assert graph.opset_import[0].version == {"fp16": 19, "bf16": 22}[kind]
    assert {graph.graph.input[0].type.tensor_type.elem_type} == {onnx.TensorProto.FLOAT}


def test_half_precision_gives_nearly_the_same(inputs, tmp_path):
    graph, _, _ = cast(inputs, tmp_path / "w")
    images = random_images(1)[0]
    y, expected = (run_onnx(m, images)["output"] for m in (graph, onnx.load(inputs["model"])))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[:, 4:], expected[:, 4:], atol=5e-3)
    assert not np.array_equal(y, expected)


def test_indices_of_end_to_end_models_stay_whole_numbers(tmp_path):
    model = small_detector(end_to_end=True)
    graph, _, layers = cast(world(tmp_path / "in", model), tmp_path / "w")
    assert layers.quantized == LAYERS
    for images in random_images(3):
        expected, y = (run_onnx(m, images)["output"][0] for m in (model, graph))
        np.testing.assert_allclose(y[:, 4], expected[:, 4], atol=5e-3)
        assert y[0, 5] == expected[0, 5]
        np.testing.assert_allclose(y[0, :4], expected[0, :4], atol=0.2)


@pytest.mark.parametrize(
    ("choice", "node", "reason"),
    [
        pytest.param({"data_max": 4.0}, "decode/Mul", "dataMax is 4", id="large values"),
        pytest.param(
            {"max_depth_of_reduction": 200}, "neck.fuse/Conv",
            "sums over 576 elements, maxDepthOfReduction is 200", id="long sums",
        ),
        pytest.param({"init_max": 0.3}, "stem/Conv", "initMax is 0.3", id="large weights"),
        pytest.param(
            {"nodes_to_exclude": (r"stem/Conv$",)}, "stem/Conv",
            "excluded by the pattern stem/Conv$", id="by name",
        ),
        pytest.param(
            {"op_types_to_exclude": ("Softmax",)}, "attn/Softmax",
            "excluded by the operator type Softmax", id="by operator",
        ),
    ],
)  # fmt: skip
def test_what_stays_in_full_precision_is_reported_with_its_reason(
    choice, node, reason, inputs, tmp_path
):
    graph, kept, layers = cast(inputs, tmp_path / "w", **choice)
    assert kept[node].endswith(reason)
    report = report_layers(GraphView(onnx.load(inputs["model"])), GraphView(graph)).layers
    full = {layer.node for layer in report if layer.precision == "fp32"}
    names = {layer.node for layer in report}
    assert full == names & set(kept)
    assert layers.quantized == LAYERS - len(full)


def test_inclusion_overrules_every_other_rule(inputs, tmp_path):
    choice = {"op_types_to_exclude": ("Conv",), "nodes_to_include": (r"stem/Conv$",)}
    _, kept, layers = cast(inputs, tmp_path / "w", **choice)
    assert "stem/Conv" not in kept
    assert layers.quantized == 1
    _, kept, _ = cast(inputs, tmp_path / "v", data_max=4.0, op_types_to_include=("Mul",))
    assert "decode/Mul" not in kept


def test_decisions_follow_the_images(tmp_path):
    """Values are those of the user's images: on dark ones a limit is met that bright ones break."""
    bright = world(tmp_path / "bright", small_detector())
    dark = world(tmp_path / "dark", small_detector(), brightest=8)
    limit = {"data_max": 1.5}
    assert set(cast(dark, tmp_path / "d", **limit)[1]) < set(
        cast(bright, tmp_path / "b", **limit)[1]
    )


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"nodes_to_exclude": ("(",)}, r"autoCast\.nodesToExclude: '\(' is no regular expression"),
        ({"nodes_to_include": ("model9/",)}, r"autoCast\.nodesToInclude: .* no node's name"),
        ({"op_types_to_exclude": ("conv",)}, r"autoCast\.opTypesToExclude.*did you mean Conv"),
    ],
)
def test_selections_of_nothing_are_refused(choice, words, inputs, tmp_path):
    with pytest.raises(UserError, match=words):
        cast(inputs, tmp_path / "w", **choice)


def test_no_images_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"autoCast needs calibration images.*spec\.calibration"):
        cast(world(tmp_path / "in", small_detector(), images=0), tmp_path / "w")
