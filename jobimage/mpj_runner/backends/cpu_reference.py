"""The FP32 graph on ONNX Runtime's CPU kernels: what a reference engine is held against.

It runs on the processor also where a GPU is visible, so that it has no kernel in common with an
engine for the GPU.
"""

from pathlib import Path

import numpy as np

from mpj_runner.backends.base import Array
from mpj_runner.backends.cpus import default_threads
from mpj_runner.contract.errors import UserError


class CpuReference:
    """A graph with one input and one output."""

    def __init__(self, model: Path, threads: int | None = None) -> None:
        """Open a session.

        Args:
            model: ONNX file.
            threads: CPU threads; None: the CPU limit of the container or machine.

        Raises:
            UserError: ONNX Runtime cannot run the graph.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.log_severity_level = 3
        state = onnxruntime.capi.onnxruntime_pybind11_state
        refusals = (state.Fail, state.InvalidGraph, state.NotImplemented, state.InvalidProtobuf)
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except refusals as error:
            raise UserError(
                f"spec.model: ONNX Runtime cannot run the exported graph: {error!s:.500}"
            ) from error
        self._input = self._session.get_inputs()[0].name

    def infer(self, batch: Array) -> Array:
        """Run one batch; see ``Engine``."""
        output = self._session.run(None, {self._input: batch})[0]
        return np.asarray(output, np.float32)
