"""What the loaders of PyTorch formats return, and the export of it."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import Decoder, InputSize

OPSET: Final = 19
"""The newest operator set that TensorRT, TensorRT-RTX, OpenVINO, ONNX Runtime and every mode of
ModelOpt take without converting the graph (FP8 needs 19 for its Q/DQ types)."""
INPUT: Final = "images"
OUTPUT: Final = "output0"

FOREIGN: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a user's module may raise when it is imported, built, run or traced."""


@dataclass(frozen=True)
class Network:
    """A PyTorch detector ready to be traced."""

    module: nn.Module
    """In eval mode, on the CPU, float32; maps (B, 3, H, W) to a tensor, or to a sequence whose
    first member is that tensor."""
    classes: tuple[str, ...] | None
    decoder: Decoder
    input_size: InputSize
    origin: str
    """What made the module, for messages: "the checkpoint" or "spec.model.factory …"."""


@contextmanager
def _one_output(module: nn.Module) -> Iterator[nn.Module]:
    """Let a detector return its detections only, and not what some return beside them."""

    def first(_module: nn.Module, _inputs: object, y: object) -> Tensor:
        while isinstance(y, (tuple, list)) and y:
            y = y[0]
        if not isinstance(y, Tensor):
            raise TypeError(f"the model returned {type(y).__name__} where a tensor was expected")
        return y

    # A hook and not a wrapping module: every node's name starts with the path of its module.
    handle = module.register_forward_hook(first)
    try:
        yield module
    finally:
        handle.remove()


def run_network(network: Network, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run a batch (B, 3, H, W) through the PyTorch module.

    Raises:
        UserError: the module fails on this input size.
    """
    try:
        with torch.inference_mode(), _one_output(network.module) as module:
            y: Tensor = module(torch.from_numpy(batch))
    except FOREIGN as error:
        size = f"{batch.shape[2]}x{batch.shape[3]}"
        raise UserError(
            f"{network.origin} fails on an input of {size} pixels ({error!r:.300}); set"
            " spec.model.inputSize to a size that it takes"
        ) from error
    return y.float().numpy()


def onnx_from_network(network: Network, batch: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """Trace a PyTorch module into ONNX; node names are paths of modules ("/model.0/conv/Conv").

    The TorchScript exporter is used on purpose: it is deterministic, names nodes after modules and
    folds BatchNorm into convolutions; the export that replaces it names nodes "node_conv2d_17".

    Args:
        network: the module.
        batch: (B, 3, H, W); its shape becomes the graph's static shape.

    Raises:
        UserError: the module holds what ONNX cannot express.
    """
    file: Any = io.BytesIO()  # taken, though not annotated
    try:
        with (
            warnings.catch_warnings(),
            torch.inference_mode(),
            _one_output(network.module) as module,
        ):
            # The exporter's deprecation, and TracerWarnings about sizes that are static here;
            # whether the trace is right is checked on its output.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (torch.from_numpy(batch),),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
            )
    except FOREIGN as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{network.origin} cannot be exported to ONNX: {reason:.400}; replace that operation"
            " in the model, or export it yourself and set spec.model.format: onnx"
        ) from error
    return onnx.load_model_from_string(file.getvalue())
