"""What runs a model: one file a backend, and one measuring procedure for all of them.

Not allowed inside: stores, Kubernetes, and any measuring inside a backend's own file.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from mpj_runner.contract.steps import BackendName

if TYPE_CHECKING:  # a container whose result is cached starts without numpy
    from mpj_runner.backends.base import Backend

BACKENDS: Final[dict[BackendName, str]] = {
    "openvino": "mpj_runner.backends.openvino:OpenVINO",
    "onnxruntime": "mpj_runner.backends.onnxruntime:OnnxRuntime",
    "tensorrt": "mpj_runner.backends.tensorrt:TensorRT",
    "tensorrt-rtx": "mpj_runner.backends.tensorrt:TensorRTRTX",
}


def backend(name: BackendName) -> "Backend":
    """Return a backend; its runtime is imported by this call, not before."""
    module, _, attribute = BACKENDS[name].partition(":")
    return cast("Backend", getattr(import_module(module), attribute)())
