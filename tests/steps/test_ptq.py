"""The ptq step: one candidate's graph and its report of layers, from ready statistics."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from small_detector import SIZE, random_images, small_detector

from mpj_runner.calibration.collect import collect
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import (
    Allocation,
    Allocations,
    GraphLayer,
    KeptNode,
    KeptNodes,
    LayerReport,
    LayerScore,
    SensitivityScores,
)
from mpj_runner.contract.model import InputSize, ModelMetadata, Preprocess
from mpj_runner.contract.steps import PtqParams
from mpj_runner.steps.ptq import run

HEAD = ("head.0.box.1/Conv", "head.0.cls.1/Conv", "head.1.box.1/Conv", "head.1.cls.1/Conv")
LAYERS = 22


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    model = small_detector()
    onnx.save(model, folder / "model.onnx")
    collect(model, random_images(3), input_name="images").save(folder / "statistics.npz")
    metadata = ModelMetadata(
        input_name="images",
        output_name="output",
        batch_size=1,
        input_size=InputSize(height=SIZE, width=SIZE),
        class_count=3,
        preprocess=Preprocess(),
        decoder="YOLO",
        opset=19,
        source_format="onnx",
    )
    (folder / "metadata.json").write_text(metadata.model_dump_json())
    names = ["stem/Conv", "head.0.box.1/Conv", "stage.reduce/Conv", "down4/Conv"]
    scores = SensitivityScores(
        format="int8",
        method="gradient",
        layers=tuple(LayerScore(layer=x, score=9.0 - i, cost=1.0) for i, x in enumerate(names)),
    )
    (folder / "scores.json").write_text(scores.model_dump_json())
    budgets = tuple(
        Allocation(effective_bits=bits, achieved_bits=bits, quantized=(), kept=kept)
        for bits, kept in ((9.0, ("stem/Conv",)), (11.5, ("stem/Conv", "down4/Conv")))
    )
    allocations = Allocations(format="int8", method="gradient", budgets=budgets)
    (folder / "allocation.json").write_text(allocations.model_dump_json())
    kept = KeptNodes(
        nodes=(
            KeptNode(node="stem/Conv", reason="activations up to 700"),
            KeptNode(node="a cast of AutoCast's own", reason="none"),
        )
    )
    (folder / "kept.json").write_text(kept.model_dump_json())
    return {
        "model": folder / "model.onnx",
        "metadata": folder / "metadata.json",
        "statistics": folder / "statistics.npz",
    }


def quantized(inputs, work: Path, **params) -> tuple[onnx.ModelProto, dict[str, GraphLayer]]:
    result = run(PtqParams(**params), inputs, work)
    report = LayerReport.model_validate_json(result.files["layers"].read_bytes())
    layers = {x.node: x for x in report.layers}
    assert result.outcome.layers.total == len(layers) == LAYERS
    assert result.outcome.layers.quantized == sum(
        x.precision in ("int8", "fp8") for x in layers.values()
    )
    assert sorted(x.name for x in work.iterdir()) == ["layers.json", "model.onnx"]
    return onnx.load(result.files["model"]), layers


def with_file(inputs, name: str) -> dict[str, Path]:
    return {**inputs, name: inputs["model"].parent / f"{name}.json"}


def kept_of(layers: dict[str, GraphLayer]) -> set[str]:
    return {x.node for x in layers.values() if x.precision not in ("int8", "fp8")}


def test_the_head_and_dfl_stay_by_default(inputs, tmp_path):
    _, layers = quantized(inputs, tmp_path)
    assert kept_of(layers) == {*HEAD, "dfl/conv/Conv"}
    assert layers["head.0.cls.1/Conv"].reason == "output convolution of the head"
    assert layers["dfl/conv/Conv"].reason == "DFL block of the head"
    assert layers["stem/Conv"] == GraphLayer(node="stem/Conv", op_type="Conv", precision="int8")


def test_everything_is_quantized_when_the_head_is_not_kept(inputs, tmp_path):
    _, layers = quantized(inputs, tmp_path, keep_head=False)
    assert kept_of(layers) == set()


@pytest.mark.parametrize(
    ("params", "name", "kept", "reason"),
    [
        pytest.param(
            {"nodes_to_exclude": ("stem",)}, "scores", {"stem/Conv"}, "pattern stem", id="pattern"
        ),
        pytest.param(
            {"keep_most_sensitive": 2},
            "scores",
            {"stem/Conv", "stage.reduce/Conv"},
            "number 2 of the ranking",
            id="the most sensitive, the head not counted",
        ),
        pytest.param(
            {"effective_bits": 11.5},
            "allocation",
            {"stem/Conv", "down4/Conv"},
            "high precision in the budget of 11.5 bits",
            id="a budget of bits",
        ),
        pytest.param(
            {}, "kept", {"stem/Conv"}, "AutoCast: activations up to 700", id="what AutoCast kept"
        ),
    ],
)
def test_layers_are_kept_with_their_reason(params, name, kept, reason, inputs, tmp_path):
    _, layers = quantized(with_file(inputs, name), tmp_path, **params)
    assert kept_of(layers) == {*HEAD, "dfl/conv/Conv", *kept}
    assert any(reason in (layers[x].reason or "") for x in kept)


def test_a_kept_layer_behind_a_split_still_reads_what_was_quantized(inputs, tmp_path):
    _, layers = quantized(inputs, tmp_path, nodes_to_exclude=("stage.reduce/Conv", "down8/Conv"))
    assert layers["stage.reduce/Conv"].reads_quantized is True
    assert layers["down8/Conv"].reads_quantized is False


def test_types_left_out_and_types_chosen(inputs, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    without = quantized(inputs, tmp_path / "a", op_types_to_exclude=("Add", "MaxPool"))[0]
    chosen = quantized(inputs, tmp_path / "b", op_types_to_quantize=("Conv",))[0]
    assert all(readers - {"Add", "MaxPool"} for readers in dequantizer_readers(without))
    assert all("Conv" in readers for readers in dequantizer_readers(chosen))


def dequantizer_readers(model: onnx.ModelProto) -> list[set[str]]:
    """The operator types that read each dequantized tensor."""
    nodes = model.graph.node
    made = [x.output[0] for x in nodes if x.op_type == "DequantizeLinear"]
    assert made
    return [{x.op_type for x in nodes if name in x.input} for name in made]


def session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # ONNX Runtime 1.31's optimizer moves a Transpose between Q and DQ, where opset 19 knows no FP8.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("remainder", [None, "fp32", "fp16"])
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_the_graph_runs_and_stays_near(kind, remainder, inputs, tmp_path):
    model, layers = quantized(inputs, tmp_path, format=kind, remainder=remainder)
    rest = {x.precision for x in layers.values()} - {kind}
    assert rest == {"fp16" if remainder == "fp16" else "fp32"}
    image = {"images": random_images(1, seed=9)[0]}
    wanted = session(inputs["model"].read_bytes()).run(None, image)[0]
    found = session(model.SerializeToString()).run(None, image)[0]
    assert found.dtype == np.float32
    correlation = np.corrcoef(wanted[:, 4:].ravel(), found[:, 4:].ravel())[0, 1]
    assert correlation > 0.97


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_openvino_reads_the_graph(kind, inputs, tmp_path):
    openvino = pytest.importorskip("openvino")
    run(PtqParams(format=kind), inputs, tmp_path)
    assert len(openvino.Core().read_model(tmp_path / "model.onnx").inputs) == 1


@pytest.mark.parametrize("method", ["mse", "percentile", "entropy", "max"])
def test_methods_by_name(method, inputs, tmp_path):
    model, _ = quantized(inputs, tmp_path, calibration_method=method, percentile=95.0)
    scales = {x.name: x for x in model.graph.initializer if x.name.endswith("Mul_out_scale")}
    value = onnx.numpy_helper.to_array(scales["stem/Mul_out_scale"])
    top = collect(small_detector(), random_images(3), input_name="images")
    full = top.image_peaks(["stem/Mul_out"]).max() / 127
    if method == "percentile":
        assert value < 0.9 * full
    elif method == "max":
        assert value == pytest.approx(full)
    else:
        assert 0 < value <= full * (1 + 1e-6)


def test_nameless_nodes_get_names_in_the_report(inputs, tmp_path):
    model = small_detector()
    model.graph.node[0].name = ""
    onnx.save(model, tmp_path / "nameless.onnx")
    work = tmp_path / "work"
    work.mkdir()
    _, layers = quantized({**inputs, "model": tmp_path / "nameless.onnx"}, work)
    assert layers["Conv_0"].precision == "int8"


@pytest.mark.parametrize(
    ("params", "name", "words"),
    [
        pytest.param(
            {"nodes_to_exclude": ("model.22",)},
            "scores",
            r"nodesToExclude: 'model\.22' matches the start of no node's name",
            id="pattern without a match",
        ),
        pytest.param(
            {"op_types_to_quantize": ("conv",)},
            "scores",
            r"opTypesToQuantize: ONNX has no operator 'conv'; did you mean Conv",
            id="misspelt operator",
        ),
        pytest.param(
            {"format": "fp8", "op_types_to_quantize": ("Conv", "Mul")},
            "scores",
            r"opTypesToQuantize: fp8 knows Add, Conv, Gemm, MatMul only, not Mul",
            id="an operator that FP8 lacks",
        ),
        pytest.param(
            {"effective_bits": 10.0},
            "allocation",
            r"no allocation was solved for 10 bits \(solved: 9, 11\.5\).*effectiveBits",
            id="a budget that was not solved",
        ),
        pytest.param(
            {"nodes_to_exclude": (".*",)},
            "scores",
            r"nothing is left to quantize: all 22 layers are kept .*loosen .*nodesToExclude",
            id="everything excluded",
        ),
    ],
)
def test_what_does_not_fit_is_the_users_to_mend(params, name, words, inputs, tmp_path):
    with pytest.raises(UserError, match=words):
        run(PtqParams(**params), with_file(inputs, name), tmp_path)


def test_a_quantized_model_is_refused(inputs, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first = run(PtqParams(), inputs, tmp_path / "one").files["model"]
    with pytest.raises(UserError, match=r"spec\.model holds Q/DQ nodes already"):
        run(PtqParams(), {**inputs, "model": first}, tmp_path / "two")


def test_statistics_of_another_model_are_refused(inputs, tmp_path):
    from small_detector import Builder

    b = Builder()
    other = b.model(
        b.conv(b.block("images", "body", 3, 16, 3), "tail", 16, 16), [16, 32, 32], 1, 19
    )
    collect(other, random_images(1), input_name="images").save(tmp_path / "other.npz")
    with pytest.raises(UserError, match="statistics are of another model"):
        run(PtqParams(), {**inputs, "statistics": tmp_path / "other.npz"}, tmp_path)


def test_the_report_is_camel_case_json(inputs, tmp_path):
    quantized(inputs, tmp_path, nodes_to_exclude=("stage.reduce",))
    rows = json.loads((tmp_path / "layers.json").read_text())["layers"]
    kept = next(x for x in rows if x["node"] == "stage.reduce/Conv")
    assert set(kept) == {"node", "opType", "precision", "reason", "readsQuantized"}
