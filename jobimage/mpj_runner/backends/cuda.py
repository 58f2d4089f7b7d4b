"""CUDA memory, streams, events and graphs, through NVIDIA's own bindings."""

import ctypes
from collections.abc import Callable
from typing import Any, Final, Self

import numpy as np

from mpj_runner.backends.base import Array
from mpj_runner.contract.errors import TransientError, UserError

_EXTRA: Final = "install mixedprecision-operator[tensorrt] or [tensorrt-rtx], which bring it"
_ABSENT: Final = frozenset({"cudaErrorNoDevice", "cudaErrorInsufficientDriver"})
_BUSY: Final = frozenset({"cudaErrorDevicesUnavailable", "cudaErrorSystemNotReady"})


def runtime() -> Any:  # noqa: ANN401 - the bindings have no type stubs
    """Return the module ``cuda.bindings.runtime``.

    Raises:
        UserError: it is not installed.
    """
    try:
        from cuda.bindings import runtime as module
    except ImportError as error:
        raise UserError(f"the package cuda-bindings is not installed: {_EXTRA}") from error
    return module


def device_count() -> int:
    """Return how many CUDA devices this process sees: what the driver says, or 0 without one."""
    try:
        error, count = runtime().cudaGetDeviceCount()
    except (UserError, RuntimeError):  # the second: no libcudart to load
        return 0
    return int(count) if error.name == "cudaSuccess" else 0


def compute_capability() -> tuple[int, int]:
    """Return the first device's compute capability, such as (8, 6). Needs a device."""
    rt = runtime()
    major = rt.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
    minor = rt.cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor
    first, second = (call(rt.cudaDeviceGetAttribute(x, 0)) for x in (major, minor))
    return int(first), int(second)


def call(result: tuple[Any, ...]) -> Any:  # noqa: ANN401 - whatever the call returns
    """Return the values of a CUDA call's ``(error, …)``.

    Raises:
        UserError: no device, or its memory is full.
        TransientError: another process holds the device.
        RuntimeError: any other CUDA error.
    """
    error, *values = result
    if error.name == "cudaSuccess":
        return values[0] if len(values) == 1 else tuple(values)
    if error.name in _ABSENT:
        raise UserError(
            f"spec.target.backend needs an NVIDIA GPU and its driver; CUDA says {error.name}: run "
            "on a node with a GPU (spec.resources.gpu), or use backend openvino or onnxruntime"
        )
    if error.name == "cudaErrorMemoryAllocation":
        raise UserError(
            "the GPU's memory is full: lower spec.target.batchSize or spec.model.inputSize, or use "
            "a GPU that nothing else uses"
        )
    if error.name in _BUSY:
        raise TransientError(f"the GPU is held by another process ({error.name})")
    raise RuntimeError(f"CUDA error {error.name}")


class Pinned:
    """A float32 array in pinned host memory with its own device buffer and copies."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        rt = runtime()
        self.bytes = int(np.prod(shape)) * 4
        self._host = int(call(rt.cudaMallocHost(self.bytes)))
        self.device = int(call(rt.cudaMalloc(self.bytes)))
        memory = (ctypes.c_float * (self.bytes // 4)).from_address(self._host)
        self.array: Array = np.ctypeslib.as_array(memory).reshape(shape)

    def to_device(self, stream: "Stream") -> None:
        """Enqueue the copy to the device."""
        self._copy(self.device, self._host, "cudaMemcpyHostToDevice", stream)

    def to_host(self, stream: "Stream") -> None:
        """Enqueue the copy from the device."""
        self._copy(self._host, self.device, "cudaMemcpyDeviceToHost", stream)

    def _copy(self, to: int, source: int, kind: str, stream: "Stream") -> None:
        rt = runtime()
        direction = getattr(rt.cudaMemcpyKind, kind)
        call(rt.cudaMemcpyAsync(to, source, self.bytes, direction, stream.handle))

    def free(self) -> None:
        """Free both; the array must not be used afterwards."""
        rt = runtime()
        call(rt.cudaFree(self.device))
        call(rt.cudaFreeHost(self._host))


class Stream:
    """A CUDA stream with two events, to time what is enqueued between them."""

    def __init__(self) -> None:
        rt = runtime()
        self.handle = call(rt.cudaStreamCreateWithFlags(rt.cudaStreamNonBlocking))
        self._start, self._end = call(rt.cudaEventCreate()), call(rt.cudaEventCreate())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        rt = runtime()
        call(rt.cudaEventDestroy(self._start))
        call(rt.cudaEventDestroy(self._end))
        call(rt.cudaStreamDestroy(self.handle))

    def synchronize(self) -> None:
        """Wait until everything enqueued is done."""
        call(runtime().cudaStreamSynchronize(self.handle))

    def time(self, work: Callable[[], None]) -> float:
        """Return the milliseconds from before to after what ``work`` enqueues."""
        rt = runtime()
        call(rt.cudaEventRecord(self._start, self.handle))
        work()
        call(rt.cudaEventRecord(self._end, self.handle))
        call(rt.cudaEventSynchronize(self._end))
        return float(call(rt.cudaEventElapsedTime(self._start, self._end)))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` enqueues as a graph, and return a function that launches it.

        ``work`` must have run once before, outside of a capture.

        Raises:
            RuntimeError: something in it cannot be captured.
        """
        rt = runtime()
        mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(rt.cudaStreamBeginCapture(self.handle, mode))
        try:
            work()
        finally:
            graph = call(rt.cudaStreamEndCapture(self.handle))
        executable = call(rt.cudaGraphInstantiate(graph, 0))
        call(rt.cudaGraphDestroy(graph))

        def launch() -> None:
            call(rt.cudaGraphLaunch(executable, self.handle))

        return launch
