"""OpenVINO on the processor."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, Self

import numpy as np
import onnx

from mpj_runner.backends.base import Array, Engine, RunOptions
from mpj_runner.backends.cpus import default_threads
from mpj_runner.backends.hardware import cpu, int8_products
from mpj_runner.backends.info import (
    EngineInfo,
    check_products,
    package_version,
    read_info,
    write_info,
)
from mpj_runner.backends.layers import layer
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import EngineLayers
from mpj_runner.contract.quantization import Int8Products
from mpj_runner.contract.steps import BuildParams
from mpj_runner.graph.legalize import is_signed, is_wide

_IR: Final = "model.xml"
_BOOKKEEPING: Final = frozenset({"Const", "Input", "Output", "Parameter", "Result"})


class OpenVINO:
    """Build OpenVINO IR (model.xml and model.bin) and run it on the processor.

    IR holds the graph as it was legalised, so it runs on other processors too. Nothing here goes
    through OpenVINO's model converter, the only part of it that sends telemetry.
    """

    def build(self, onnx: Path, params: BuildParams, folder: Path) -> EngineLayers:
        """Convert the graph, compile it once, and read back what runs in which type."""
        ov = _openvino()
        try:
            model = ov.Core().read_model(onnx)
            ov.save_model(model, folder / _IR, compress_to_fp16=False)
        except RuntimeError as error:
            raise UserError(
                "spec.target.backend: openvino cannot convert this graph; its words: "
                f"{_first_lines(error)}"
            ) from error
        write_info(
            EngineInfo(
                backend="openvino",
                package=package_version("openvino"),
                hardware=self.hardware(),
                precision=params.precision,
                device="cpu",
                products=_products(onnx),
            ),
            folder,
        )
        compiled = _compile(folder, RunOptions(params.precision, params.threads))
        return EngineLayers(layers=tuple(_layers(compiled)))

    def load(self, folder: Path, options: RunOptions) -> Engine:
        """Compile the IR for this processor."""
        info = read_info(folder, "openvino")
        check_products(info, int8_products(), self.hardware())
        return _Engine(_compile(folder, options))

    def hardware(self) -> str:
        """Return the processor's model with its instruction sets."""
        return cpu()


class _Engine:
    """A compiled model with one request."""

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - OpenVINO has no type stubs
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._request, self._compiled

    def infer(self, batch: Array) -> Array:
        """Run one batch, without copying it in."""
        result = self._request.infer({0: batch}, share_inputs=True)
        return np.asarray(result[0], dtype=np.float32)

    def stepper(self, batch: Array) -> Callable[[], float]:
        """Bind the batch to the request and return a function that times one call."""
        ov = _openvino()
        request = self._compiled.create_infer_request()
        request.set_input_tensor(ov.Tensor(np.ascontiguousarray(batch), shared_memory=True))

        def step() -> float:
            start = perf_counter_ns()
            request.infer(share_outputs=True)
            return (perf_counter_ns() - start) / 1e6

        return step


def _openvino() -> Any:  # noqa: ANN401 - OpenVINO has no type stubs
    try:
        import openvino
    except ImportError as error:
        raise UserError(
            "spec.target.backend: openvino is not installed in this environment: install "
            "mixedprecision-operator[openvino]"
        ) from error
    return openvino


def _compile(folder: Path, options: RunOptions) -> Any:  # noqa: ANN401 - OpenVINO has no type stubs
    """Compile for one request at a time that uses all threads, at every batch size."""
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.threads or default_threads(),
    }
    if options.precision not in ("fp16", "bf16"):
        # By default OpenVINO multiplies in bf16 where the processor can. What an INT8 graph keeps
        # in high precision is FP32 here, as it says; nor would bf16 be faster (docs/adr/0008).
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    try:
        return _openvino().Core().compile_model(folder / _IR, "CPU", settings)
    except RuntimeError as error:
        raise UserError(
            "spec.target.backend: openvino cannot run this engine here; its words: "
            f"{_first_lines(error)}"
        ) from error


def _layers(compiled: Any) -> Any:  # noqa: ANN401 - OpenVINO has no type stubs
    """Yield the layers that the plug-in really runs, with the type that each computes in."""
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        kind, precision = (_text(facts[key]) for key in ("layerType", "runtimePrecision"))
        if kind not in _BOOKKEEPING:
            names = _text(facts["originalLayersNames"]) or node.get_friendly_name()
            yield layer(names, kind, precision)


def _text(value: Any) -> str:  # noqa: ANN401 - OVAny or str, by version
    return str(getattr(value, "value", value))


def _products(path: Path) -> Int8Products:
    """Return what the graph asks of a processor."""
    graph = onnx.load(path)
    if is_signed(graph):
        return "signed"
    return "unsigned" if is_wide(graph) else "saturating"


def _first_lines(error: RuntimeError) -> str:
    """Return OpenVINO's message without its source positions."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [x for x in lines if x and not x.startswith(("Exception from", "Check '"))]
    return " ".join(kept)[:400] or str(error)[:400]
