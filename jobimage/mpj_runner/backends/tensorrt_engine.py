"""Run a TensorRT plan: pinned memory, one stream, a CUDA graph."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from mpj_runner.backends import cuda
from mpj_runner.backends.base import Array, RunOptions
from mpj_runner.backends.tensorrt_log import listening
from mpj_runner.contract.errors import UserError

log = logging.getLogger(__name__)


class TensorRTEngine:
    """A deserialised plan with one execution context, one input and one output."""

    def __init__(self, trt: Any, plan: Path, _options: RunOptions) -> None:
        with listening(trt) as logger:
            # The engine must not outlive its runtime.
            self._runtime = trt.Runtime(logger)
            self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
            context = self._engine and self._context(trt)
            if not context:
                raise UserError(_refusal(logger.errors()))
        self._execution = context
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = {x for x in names if self._engine.get_tensor_mode(x) == trt.TensorIOMode.INPUT}
        shapes = {name: tuple(self._engine.get_tensor_shape(name)) for name in names}
        self._stream = cuda.Stream()
        self._memory = {name: cuda.Pinned(shape) for name, shape in shapes.items()}
        for name, memory in self._memory.items():
            if self._engine.get_tensor_dtype(name) != trt.float32:
                raise UserError(
                    f"spec.candidates[].autoCast.keepIOTypes: tensor {name!r} is "
                    f"{self._engine.get_tensor_dtype(name)}, but inputs and outputs must be float32"
                )
            self._execution.set_tensor_address(name, memory.device)
        self._input = next(memory for name, memory in self._memory.items() if name in inputs)
        self._output = next(memory for name, memory in self._memory.items() if name not in inputs)

    def _context(self, trt: Any) -> Any:
        """Create the execution context; TensorRT-RTX compiles its kernels in here."""
        if not hasattr(self._engine, "create_runtime_config"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        if hasattr(config, "cuda_graph_strategy"):
            # One or the other: the stepper records its own graph, transfers included.
            config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        return self._engine.create_execution_context(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.synchronize()
        del self._execution, self._engine, self._runtime
        for memory in self._memory.values():
            memory.free()
        self._stream.__exit__(*exc)

    def infer(self, batch: Array) -> Array:
        """Run one batch."""
        self._input.array[...] = batch
        self._enqueue()
        self._stream.synchronize()
        return self._output.array.copy()

    def stepper(self, batch: Array) -> Callable[[], float]:
        """Time transfer in, compute and transfer out as one CUDA graph.

        Where a graph cannot be recorded, the same calls are timed one by one, launch gaps included.
        """
        self._input.array[...] = batch
        self._enqueue()
        self._stream.synchronize()
        try:
            work = self._stream.capture(self._enqueue)
        except RuntimeError as error:
            log.warning("no CUDA graph, launch gaps are timed", extra={"error": str(error)})
            work = self._enqueue
        return lambda: self._stream.time(work)

    def _enqueue(self) -> None:
        self._input.to_device(self._stream)
        if not self._execution.execute_async_v3(int(self._stream.handle)):
            raise RuntimeError("TensorRT did not enqueue the inference")
        self._output.to_host(self._stream)


def _refusal(errors: list[str]) -> str:
    words = " | ".join(errors)[-600:]
    if "compute capability" in words or "compute" in words:
        return f"spec.target.backend: this engine does not run on this GPU; TensorRT says: {words}"
    return f"this engine cannot be loaded, build it again; TensorRT says: {words or 'nothing'}"
