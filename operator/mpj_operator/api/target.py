"""What the engine is to run on, and what follows from it."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from mpj_operator.api.rules import Rule, Ruled, when
from mpj_operator.api.scalars import Quantity, quantity_value
from mpj_runner.contract.quantization import HighPrecision, QuantFormat
from mpj_runner.contract.steps import BackendName

CPU_BACKENDS: Final[frozenset[BackendName]] = frozenset({"openvino", "onnxruntime"})
FORMATS: Final[dict[BackendName, tuple[QuantFormat, ...]]] = {
    "openvino": ("int8",),
    "onnxruntime": ("int8",),
    "tensorrt": ("int8", "fp8"),
    "tensorrt-rtx": ("int8", "fp8"),
}
"""The 8-bit formats that a backend has kernels for."""

ComputeCapability = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}\.[0-9]$", max_length=4)]


def is_cpu(backend: BackendName) -> bool:
    """Say whether a backend runs on the CPU."""
    return backend in CPU_BACKENDS


def high_precision(backend: BackendName) -> HighPrecision:
    """Return the type that a backend is fast in without quantization.

    It is the default of the baseline and of whatever a quantized candidate leaves alone.
    """
    return "fp32" if is_cpu(backend) else "fp16"


class Target(Ruled):
    """The backend, and how its engine is built and run."""

    backend: BackendName
    """What runs the model. openvino and onnxruntime run on CPUs, tensorrt and tensorrt-rtx on
    NVIDIA GPUs."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 1
    """Images in one inference; engines are static."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU backends only: threads of one inference; default: the container's CPU limit."""
    builder_optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    """tensorrt only: how long the builder looks for kernels; default: TensorRT's own."""
    workspace_size: Quantity | None = None
    """GPU backends only: memory that the builder may use; default: TensorRT's own."""
    compute_capabilities: Annotated[tuple[ComputeCapability, ...], Field(max_length=16)] = ()
    """tensorrt-rtx only: GPUs that the engine is built for, such as "8.9"; default: the builder's
    portable set."""

    rules = (
        Rule(
            message="is for openvino and onnxruntime only: remove it",
            field="threads",
            cel="!has(self.threads) || self.backend in ['openvino', 'onnxruntime']",
            broken=lambda t: when(t.threads is not None and not is_cpu(t.backend), "threads"),
        ),
        Rule(
            message="is for tensorrt only: remove it",
            field="builderOptimizationLevel",
            cel="!has(self.builderOptimizationLevel) || self.backend == 'tensorrt'",
            broken=lambda t: when(
                t.builder_optimization_level is not None and t.backend != "tensorrt",
                "builderOptimizationLevel",
            ),
        ),
        Rule(
            message="is for tensorrt and tensorrt-rtx only: remove it",
            field="workspaceSize",
            cel="!has(self.workspaceSize) || self.backend in ['tensorrt', 'tensorrt-rtx']",
            broken=lambda t: when(
                t.workspace_size is not None and is_cpu(t.backend), "workspaceSize"
            ),
        ),
        Rule(
            message="is for tensorrt-rtx only: remove it",
            field="computeCapabilities",
            cel="!has(self.computeCapabilities) || self.computeCapabilities.size() == 0 "
            "|| self.backend == 'tensorrt-rtx'",
            broken=lambda t: when(
                bool(t.compute_capabilities) and t.backend != "tensorrt-rtx",
                "computeCapabilities",
            ),
        ),
    )

    @property
    def workspace_bytes(self) -> int | None:
        """Return the workspace in bytes."""
        return None if self.workspace_size is None else int(quantity_value(self.workspace_size))
