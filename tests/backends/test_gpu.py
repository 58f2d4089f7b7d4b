"""Backends on a real NVIDIA GPU: `make gpu` runs these, on a machine that has one."""

import numpy as np
import onnx
import pytest
from quantized import exact, images
from small_detector import SIZE, small_detector
from worlds import metadata

from mpj_runner.backends import backend, cuda
from mpj_runner.backends.base import RunOptions
from mpj_runner.backends.conditions import read_gpu
from mpj_runner.contract.steps import BenchmarkParams, BuildParams
from mpj_runner.steps.benchmark import run

pytestmark = pytest.mark.gpu
BATCH = images((1, 3, SIZE, SIZE), seed=3)
RTX_RUNS = {(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)}


@pytest.fixture(params=["onnxruntime", "tensorrt-rtx", "tensorrt"])
def name(request):
    if request.param == "tensorrt":
        pytest.importorskip("tensorrt", reason="needs NVIDIA's package index")
    if request.param == "tensorrt-rtx" and cuda.compute_capability() not in RTX_RUNS:
        pytest.skip("TensorRT-RTX does not run on this GPU")
    return request.param


@pytest.fixture
def engine_folder(name, tmp_path):
    onnx.save(small_detector(), tmp_path / "m.onnx")
    (tmp_path / "engine").mkdir()
    params = BuildParams(backend=name, precision="fp32")
    backend(name).build(tmp_path / "m.onnx", params, tmp_path / "engine")
    return tmp_path / "engine"


def test_a_gpu_is_there():
    assert cuda.device_count() > 0
    assert read_gpu().memory_bytes > 1 << 30


def test_an_engine_answers_as_the_graph_does(name, engine_folder):
    model = small_detector()
    with backend(name).load(engine_folder, RunOptions("fp32")) as engine:
        first, second = engine.infer(BATCH), engine.infer(1 - BATCH)
    np.testing.assert_allclose(first, exact(model, BATCH), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(second, exact(model, 1 - BATCH), rtol=1e-3, atol=1e-3)


def test_a_stepper_times_in_milliseconds_and_disturbs_nothing(name, engine_folder):
    with backend(name).load(engine_folder, RunOptions("fp32")) as engine:
        before = engine.infer(BATCH)
        step = engine.stepper(BATCH)
        times = [step() for _ in range(50)]
        np.testing.assert_allclose(engine.infer(BATCH), before, rtol=1e-4, atol=1e-4)
    assert 0.005 < np.median(times) < 50


def test_the_benchmark_step_says_what_gpu_it_was(name, engine_folder, tmp_path):
    (tmp_path / "metadata.json").write_text(metadata().model_dump_json())
    params = BenchmarkParams(
        backend=name, engines=("a", "b"), precisions=("fp32", "fp32"), seconds=0.3, resamples=200
    )
    inputs = {"engine-a": engine_folder, "engine-b": engine_folder}
    work = tmp_path / "work"
    work.mkdir()
    result = run(params, inputs | {"metadata": tmp_path / "metadata.json"}, work)
    assert "NVIDIA" in result.outcome.hardware
    assert result.outcome.engines[1].speedup.value == pytest.approx(1.0, abs=0.2)
