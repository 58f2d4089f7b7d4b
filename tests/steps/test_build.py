"""The build step: the artifact is the legalised graph, the engine is built from it."""

import json

import numpy as np
import onnx
import pytest
from quantized import exact, images, quantized
from small_detector import SIZE, small_detector
from worlds import metadata

from mpj_runner.backends import backend, cuda, hardware
from mpj_runner.backends.base import RunOptions
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import EngineLayers
from mpj_runner.contract.steps import BuildParams
from mpj_runner.steps.build import run

pytestmark = pytest.mark.skipif(cuda.device_count() > 0, reason="these worlds are a processor's")


@pytest.fixture
def inputs(tmp_path):
    def write(model):
        onnx.save(model, tmp_path / "model.onnx")
        (tmp_path / "metadata.json").write_text(metadata().model_dump_json())
        return {"model": tmp_path / "model.onnx", "metadata": tmp_path / "metadata.json"}

    return write


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_int8_engine(name, inputs, tmp_path):
    params = BuildParams(backend=name, precision="int8", threads=1)
    work = tmp_path / "work"
    work.mkdir()
    model = quantized(small_detector())
    result = run(params, inputs(model), work)
    assert set(result.files) == {"onnx", "engine", "layers"}
    layers = EngineLayers.model_validate(json.loads(result.files["layers"].read_text()))
    # OpenVINO with AMX multiplies int8 as it stands; elsewhere activations have to be uint8.
    as_it_stands = name == "openvino" and hardware.int8_products() == "signed"
    assert any("uint8" in note for note in layers.notes) is not as_it_stands
    legal = onnx.load(result.files["onnx"])
    batch = images((1, 3, SIZE, SIZE), seed=3)
    with backend(name).load(result.files["engine"], RunOptions("int8", 1)) as engine:
        difference = np.abs(engine.infer(batch) - exact(legal, batch))
    assert np.median(difference) < 0.05
    total = sum(n.op_type in ("Conv", "MatMul") for n in model.graph.node)
    assert result.outcome.layers.total == total
    size = sum(f.stat().st_size for f in result.files["engine"].iterdir())
    assert 0 < result.outcome.size_bytes < size  # the note beside the engine does not count


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_eight_bits_make_a_smaller_engine(name, inputs, tmp_path):
    sizes = {}
    for precision, model in (("fp32", small_detector()), ("int8", quantized(small_detector()))):
        work = tmp_path / precision
        work.mkdir()
        run(BuildParams(backend=name, precision=precision, threads=1), inputs(model), work)
        files = [*work.joinpath("engine").glob("*.bin"), *work.joinpath("engine").glob("*.onnx")]
        sizes[precision] = sum(f.stat().st_size for f in files)
    assert sizes["int8"] < 0.6 * sizes["fp32"]


def test_what_the_backend_cannot_take_is_refused_before_it_is_built(inputs, tmp_path):
    model = small_detector()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(UserError, match="dynamic shape"):
        run(BuildParams(backend="openvino", precision="fp32"), inputs(model), work)
    assert list(work.iterdir()) == []
