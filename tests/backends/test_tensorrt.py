"""TensorRT-RTX builds for real without a GPU; running says what is missing."""

import json

import numpy as np
import onnx
import pytest
from quantized import quantized
from small_detector import Builder, small_detector
from worlds import built

from mpj_runner.backends import backend, cuda, tensorrt_layers
from mpj_runner.backends.base import RunOptions
from mpj_runner.backends.layers import count, is_product
from mpj_runner.backends.tensorrt_layers import Row
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.steps import BuildParams

pytest.importorskip("tensorrt_rtx", reason="mixedprecision-operator[tensorrt-rtx] is not installed")
without_gpu = pytest.mark.skipif(cuda.device_count() > 0, reason="a GPU is visible")


def build(model, folder, **params):
    folder.mkdir()
    onnx.save(model, folder / "m.onnx")
    (folder / "engine").mkdir()
    given = {"precision": "int8"} | params
    params = BuildParams(backend="tensorrt-rtx", **given)
    return backend("tensorrt-rtx").build(folder / "m.onnx", params, folder / "engine")


@without_gpu
def test_an_int8_graph_runs_in_int8_on_8_9(tmp_path):
    layers = build(quantized(small_detector()), tmp_path / "x", compute_capabilities=("8.9",))
    total = sum(n.op_type in ("Conv", "MatMul") for n in small_detector().graph.node)
    found = count(layers)
    assert found.total == total
    assert found.quantized > 0.8 * total
    assert "build log" in layers.notes[0]
    assert (tmp_path / "x/engine/model.plan").stat().st_size > 10_000


@without_gpu
def test_the_same_graph_runs_in_float_on_7_5(tmp_path):
    """What really runs is read back: RTX dequantizes convolutions on SM75."""
    b = Builder()
    y = b.block(b.block("images", "a", 3, 32, 3, 2), "b", 32, 32, 3)
    model = quantized(b.model(y, [32, 16, 16], batch=1, opset=19))
    layers = build(model, tmp_path / "x", compute_capabilities=("SM75",))
    assert (count(layers).total, count(layers).quantized) == (2, 0)
    layers = build(model, tmp_path / "y", compute_capabilities=("8.6",))
    assert (count(layers).total, count(layers).quantized) == (2, 2)


@without_gpu
def test_an_operation_that_a_target_lacks_names_the_target(tmp_path):
    with pytest.raises(UserError, match=r"spec\.target\.computeCapabilities.*SM75.*FP32 GEMM"):
        build(small_detector(), tmp_path / "x", precision="fp32", compute_capabilities=("7.5",))


@without_gpu
def test_an_fp32_graph_has_no_low_precision(tmp_path):
    layers = build(small_detector(), tmp_path / "x", precision="fp32")
    products = [x for x in layers.layers if is_product(x)]
    assert products
    assert {x.precision for x in products} == {"float"}


@without_gpu
@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        (("9.0",), ["spec.target.computeCapabilities", "9.0", "7.5, 8.0"]),
        (("sm999",), ["spec.target.computeCapabilities", "sm999"]),
    ],
)
def test_an_unknown_compute_capability_is_refused(tmp_path, capabilities, words):
    with pytest.raises(UserError) as caught:
        build(small_detector(), tmp_path / "x", compute_capabilities=capabilities)
    assert all(word in str(caught.value) for word in words)


@without_gpu
def test_a_graph_that_the_parser_refuses_is_named(tmp_path):
    model = small_detector()
    node = next(n for n in model.graph.node if n.op_type == "MaxPool")
    node.op_type = "NonZero"
    del node.attribute[:]
    with pytest.raises(UserError, match=r"spec\.target\.backend: tensorrt-rtx cannot"):
        build(model, tmp_path / "x")


@without_gpu
def test_running_without_a_gpu_says_what_is_absent(tmp_path):
    folder, _ = built(small_detector(), "tensorrt-rtx", tmp_path / "x")
    with pytest.raises(UserError, match=r"tensorrt-rtx needs an NVIDIA GPU.*spec\.resources\.gpu"):
        backend("tensorrt-rtx").load(folder, RunOptions("fp32"))


def test_an_unsupported_gpu_is_named(tmp_path, monkeypatch):
    folder, _ = built(small_detector(), "tensorrt-rtx", tmp_path / "x")
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cuda, "compute_capability", lambda: (9, 0))
    with pytest.raises(UserError, match=r"compute capability 9\.0 \(H100, H200\): use backend"):
        backend("tensorrt-rtx").load(folder, RunOptions("fp32"))


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    params = BuildParams(backend="tensorrt", precision="fp16")
    with pytest.raises(UserError, match=r"spec\.target\.backend.*operator\[tensorrt\]"):
        backend("tensorrt").build(tmp_path / "m.onnx", params, tmp_path)


def conv_graph(*names):
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name) for name in names]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))


INSPECTED = [
    pytest.param({"Datatype": "Int8", "Format": "NHWC"}, "int8", id="11 and RTX"),
    pytest.param({"Format/Datatype": "Thirty-two wide channel INT8 format"}, "int8", id="10"),
    pytest.param({"Format/Datatype": "Row major linear FP16 format"}, "half", id="10, FP16"),
    pytest.param({"Datatype": "FP8"}, "fp8", id="FP8"),
]


@pytest.mark.parametrize(("tensor", "precision"), INSPECTED)
def test_the_inspectors_of_all_versions_are_read(tensor, precision):
    layer = {
        "Name": "conv1",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", **tensor}],
        "Outputs": [],
        "Metadata": "[ONNX Layer: /a/Conv]\u001e[ONNX Layer: /a/Mul]",
    }
    rows = tensorrt_layers.rows_from_inspector(json.dumps({"Layers": [layer]}))
    assert rows[0].nodes == ("/a/Conv", "/a/Mul")
    (found,) = tensorrt_layers.engine_layers(conv_graph("/a/Conv"), rows)
    assert (found.name, found.precision) == ("/a/Conv", precision)
    assert is_product(found)


def test_a_converter_that_names_a_convolution_is_not_taken_for_it():
    rows = [
        Row("quantize", "kgen", ("float",), ("/a/Conv",)),
        Row("conv", "correlation", ("int8",), ("/a/Conv",)),
        Row("wait", "wait", (), ()),
    ]
    found = list(tensorrt_layers.engine_layers(conv_graph("/a/Conv"), rows))
    assert [(x.name, x.precision) for x in found] == [("/a/Conv", "int8"), ("quantize", "float")]


def test_a_low_verbosity_gives_names_only():
    rows = tensorrt_layers.rows_from_inspector('{"Layers": ["conv1", "conv2"]}')
    assert [row.name for row in rows] == ["conv1", "conv2"]
    assert np.array([row.nodes == () for row in rows]).all()
