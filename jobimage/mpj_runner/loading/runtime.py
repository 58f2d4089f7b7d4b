"""One run of a graph on ONNX Runtime CPU, and the image-like input it is run on."""

from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import Preprocess

Array = npt.NDArray[np.float32]
REASONS: Final = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)


def probe(shape: tuple[int, int, int, int], preprocess: Preprocess) -> Array:
    """Return a batch that looks like images to a model: patches of even colour and fine noise.

    Args:
        shape: (batch, 3, height, width).
        preprocess: how pixels become the model's input.

    Returns:
        The same float32 values for the same arguments, on every machine.
    """
    batch, channels, height, width = shape
    generator = np.random.default_rng(0)
    patches = generator.integers(0, 232, (batch, channels, -(-height // 16), -(-width // 16)))
    pixels = patches.repeat(16, axis=2).repeat(16, axis=3)[:, :, :height, :width]
    pixels = pixels + generator.integers(0, 24, shape)
    mean = np.asarray(preprocess.mean)[None, :, None, None]
    std = np.asarray(preprocess.std)[None, :, None, None]
    return np.ascontiguousarray((pixels * preprocess.scale - mean) / std, dtype=np.float32)


def run_onnx(model: ModelProto, batch: Array) -> dict[str, Array]:
    """Run one batch on ONNX Runtime CPU and return the outputs by name.

    Raises:
        UserError: ONNX Runtime refuses the graph, or the graph refuses the batch's shape.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    shape = "x".join(map(str, batch.shape))
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs = session.run(None, {session.get_inputs()[0].name: batch})
    except REASONS as error:
        raise UserError(
            f"ONNX Runtime cannot run the graph of spec.model.uri on an input of {shape}:"
            f" {error!s:.400}; if sizes of another input are baked into the graph, export it again"
            " at spec.model.inputSize and spec.target.batchSize"
        ) from error
    return {o.name: y for o, y in zip(session.get_outputs(), outputs, strict=True)}
