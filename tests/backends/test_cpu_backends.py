"""OpenVINO and ONNX Runtime, for real, on this machine's processor."""

import json
import socket

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantized import exact, images, quantized
from small_detector import SIZE, small_detector
from worlds import built

from mpj_runner.backends import backend, cuda, hardware
from mpj_runner.backends.base import RunOptions
from mpj_runner.backends.layers import count
from mpj_runner.backends.onnxruntime import OnnxRuntime
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.steps import BuildParams
from mpj_runner.graph.legalize import legalize

pytestmark = pytest.mark.skipif(
    cuda.device_count() > 0, reason="onnxruntime runs on the GPU here; tests/backends/test_gpu.py"
)
BACKENDS = ("openvino", "onnxruntime")
BATCH = images((1, 3, SIZE, SIZE), seed=3)
OPTIONS = RunOptions("fp32", threads=1)
OUTPUT_STEP = 1.0
"""Of the quantized output of ``saturating``."""


@pytest.mark.parametrize("name", BACKENDS)
def test_an_engine_answers_as_the_graph_does(name, tmp_path):
    model = small_detector()
    folder, layers = built(model, name, tmp_path / "x")
    with backend(name).load(folder, OPTIONS) as engine:
        first, second = engine.infer(BATCH), engine.infer(1 - BATCH)
        np.testing.assert_allclose(first, exact(model, BATCH), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(second, exact(model, 1 - BATCH), rtol=1e-3, atol=1e-4)
    assert first.dtype == np.float32
    total = sum(n.op_type in ("Conv", "MatMul") for n in model.graph.node)
    assert count(layers).total == total
    assert count(layers).quantized == 0


@pytest.mark.parametrize("name", BACKENDS)
def test_a_stepper_times_the_bound_batch(name, tmp_path):
    folder, _ = built(small_detector(), name, tmp_path / "x")
    with backend(name).load(folder, OPTIONS) as engine:
        step = engine.stepper(BATCH)
        assert all(0 < step() < 1000 for _ in range(3))
        # Stepping must not disturb what infer returned before, nor what it returns next.
        before = engine.infer(BATCH)
        kept = before.copy()
        step()
        np.testing.assert_array_equal(before, kept)
        np.testing.assert_array_equal(engine.infer(BATCH), kept)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_batch_of_three(name, tmp_path):
    model = small_detector(batch=3)
    folder, _ = built(model, name, tmp_path / "x")
    batch = images((3, 3, SIZE, SIZE), seed=5)
    with backend(name).load(folder, OPTIONS) as engine:
        np.testing.assert_allclose(engine.infer(batch), exact(model, batch), rtol=1e-3, atol=1e-4)


def test_openvino_runs_the_quantized_layers_in_eight_bits(tmp_path):
    _, layers = built(quantized(small_detector()), "openvino", tmp_path / "x", "int8")
    found = count(layers)
    assert found.quantized > 0.8 * found.total
    assert {x.precision for x in layers.layers if x.kind == "Convolution"} <= {"u8", "i8", "f32"}


def test_onnxruntime_says_that_it_runs_silu_convolutions_in_float(tmp_path):
    """Its fusions need the quantizer right behind the convolution; a SiLU comes between."""
    _, layers = built(quantized(small_detector()), "onnxruntime", tmp_path / "x", "int8")
    kinds = {(x.kind, x.precision) for x in layers.layers if x.kind.startswith("Conv")}
    assert ("Conv", "float32") in kinds
    assert count(layers).quantized < count(layers).total / 2


def saturating(weight: int = 127) -> onnx.ModelProto:
    """One convolution whose byte products come in pairs far beyond 16 bits."""
    signs = np.where(np.random.default_rng(0).random((16, 32, 3, 3)) < 0.5, -1, 1)
    constants = {
        "as": np.float32(1 / 16),
        "az": np.array(0, np.int8),
        "w": (signs * weight).astype(np.int8),
        "ws": np.full(16, 1 / weight / 64, np.float32),
        "wz": np.zeros(16, np.int8),
        "os": np.float32(OUTPUT_STEP),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "as", "az"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "as", "az"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], "conv", pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["y", "os", "az"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "os", "az"], ["out"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "saturating",
        [info("x", TensorProto.FLOAT, [1, 32, 16, 16])],
        [info("out", TensorProto.FLOAT, [1, 16, 16, 16])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def wrong_outputs(model, name, folder, *, guarded=True):
    """Return the share of outputs more than a rounding off the exact ones, and the layers.

    Args:
        guarded: load the engine as anybody would; else with the guard's note edited away.
    """
    folder.mkdir()
    onnx.save(model, folder / "m.onnx")
    (folder / "engine").mkdir()
    params = BuildParams(backend=name, precision="int8", threads=1)
    layers = backend(name).build(folder / "m.onnx", params, folder / "engine")
    if not guarded:
        with pytest.raises(UserError, match=r"8-bit weights.*VNNI.*nodeSelector"):
            backend(name).load(folder / "engine", OPTIONS)
        note = folder / "engine/engine.json"
        note.write_text(note.read_text().replace('"unsigned"', '"saturating"'))
    batch = images((1, 32, 16, 16), seed=1) * 6 + 2
    with backend(name).load(folder / "engine", RunOptions("int8", 1)) as engine:
        off = np.abs(engine.infer(batch) - exact(model, batch))
    return float(np.mean(off > OUTPUT_STEP * 1.01)), layers


@pytest.mark.parametrize("name", BACKENDS)
def test_a_legal_graph_does_not_saturate_on_this_processor(name, tmp_path):
    legal, _ = legalize(saturating(), name, products=hardware.int8_products())
    wrong, layers = wrong_outputs(legal, name, tmp_path / "x")
    assert wrong == 0
    assert count(layers).quantized == count(layers).total == 1


@pytest.mark.skipif(
    hardware.int8_products() != "saturating",
    reason="this processor adds 8-bit products in 32 bits",
)
@pytest.mark.parametrize("name", BACKENDS)
def test_the_same_graph_as_it_came_saturates_here(name, tmp_path):
    """Why legalisation narrows: with 8-bit weights about half of the outputs are wrong."""
    legal, _ = legalize(saturating(), name, products="unsigned")
    wrong, _ = wrong_outputs(legal, name, tmp_path / "x", guarded=False)
    assert wrong > 0.25


@pytest.mark.parametrize("name", BACKENDS)
def test_the_engine_is_built_from_the_artifact_and_the_stock_runtime_agrees(name, tmp_path):
    """What people get as model.onnx, loaded without our code, gives the engine's numbers."""
    folder, _ = built(quantized(small_detector()), name, tmp_path / "x", "int8")
    with backend(name).load(folder, RunOptions("int8", 1)) as engine:
        ours = engine.infer(BATCH)
    artifact = str(tmp_path / "x/legal.onnx")
    if name == "openvino":
        import openvino

        # Where the processor has bf16, OpenVINO takes it for FP32 unless told, as the README says.
        told = {"INFERENCE_PRECISION_HINT": "f32"}
        stock = openvino.Core().compile_model(artifact, "CPU", told)(BATCH)[0]
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
        stock = session.run(None, {"images": BATCH})[0]
    np.testing.assert_allclose(ours, stock, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_broken_graph_is_the_users_to_fix(name, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    (tmp_path / "engine").mkdir()
    params = BuildParams(backend=name, precision="fp32")
    with pytest.raises(UserError, match=rf"spec\.target\.backend: {name} cannot"):
        backend(name).build(tmp_path / "bad.onnx", params, tmp_path / "engine")


def test_an_engine_of_another_backend_is_refused(tmp_path):
    folder, _ = built(small_detector(), "openvino", tmp_path / "x")
    with pytest.raises(UserError, match="is onnxruntime, but this engine was built for openvino"):
        backend("onnxruntime").load(folder, OPTIONS)


def test_an_engine_for_a_gpu_does_not_quietly_run_on_a_processor(tmp_path):
    folder, _ = built(small_detector(), "onnxruntime", tmp_path / "x")
    note = json.loads((folder / "engine.json").read_text())
    (folder / "engine.json").write_text(json.dumps(note | {"device": "cuda"}))
    with pytest.raises(UserError, match=r"built for onnxruntime on cuda.*spec\.resources\.gpu"):
        backend("onnxruntime").load(folder, OPTIONS)


def test_a_folder_without_an_engine_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no engine"):
        backend("openvino").load(tmp_path, OPTIONS)


@pytest.mark.parametrize("name", BACKENDS)
def test_no_telemetry_is_sent(name, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    built(small_detector(), name, tmp_path / "x")


def test_a_visible_gpu_that_onnxruntime_cannot_use_is_an_error(tmp_path, monkeypatch):
    """onnxruntime-gpu falls back to the processor; its numbers must not pass as a GPU's."""
    onnx.save(small_detector(), tmp_path / "m.onnx")
    (tmp_path / "engine").mkdir()
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    params = BuildParams(backend="onnxruntime", precision="fp32")
    with pytest.raises(UserError) as caught:
        backend("onnxruntime").build(tmp_path / "m.onnx", params, tmp_path / "engine")
    message = str(caught.value)
    assert "a GPU is visible, but onnxruntime fell back to the processor" in message
    assert "libcuda.so" in message  # only the driver is missing: all other libraries are installed
    assert "\x1b" not in message


def test_a_visible_gpu_is_left_alone_when_the_processor_is_asked_for(tmp_path, monkeypatch):
    onnx.save(small_detector(), tmp_path / "m.onnx")
    (tmp_path / "engine").mkdir()
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    runtime = OnnxRuntime(cpu_only=True)
    params = BuildParams(backend="onnxruntime", precision="fp32", threads=1)
    runtime.build(tmp_path / "m.onnx", params, tmp_path / "engine")
    with runtime.load(tmp_path / "engine", OPTIONS) as engine:
        assert np.isfinite(engine.infer(BATCH)).all()
    assert runtime.hardware() == hardware.cpu()
