"""ONNX Runtime: its CUDA provider where a GPU is visible, its processor kernels elsewhere."""

import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final, Literal, Self

import numpy as np
import onnx

from mpj_runner.backends import cuda
from mpj_runner.backends.base import Array, Engine, RunOptions
from mpj_runner.backends.cpus import default_threads
from mpj_runner.backends.hardware import cpu, gpu, int8_products
from mpj_runner.backends.info import (
    EngineInfo,
    check_products,
    package_version,
    read_info,
    write_info,
)
from mpj_runner.backends.onnxruntime_layers import layers_of
from mpj_runner.backends.stderr import captured_stderr
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import EngineLayer, EngineLayers
from mpj_runner.contract.steps import BuildParams
from mpj_runner.graph.legalize import is_wide

Device = Literal["cpu", "cuda"]

_MODEL: Final = "model.onnx"
_CUDA: Final = "CUDAExecutionProvider"
_ERRORS_ONLY: Final = 3
_WORDS: Final = 500


class OnnxRuntime:
    """Build an optimised ONNX file and run it.

    The file holds what ONNX Runtime's portable optimisations make of the graph (its level
    "extended"). What depends on one processor, its memory layout, is added by every load: a file
    with that inside would run wrongly, or not at all, on another processor.

    Args:
        cpu_only: leave a visible GPU alone.
    """

    def __init__(self, *, cpu_only: bool = False) -> None:
        self._device: Device = "cuda" if cuda.device_count() and not cpu_only else "cpu"

    def build(self, onnx: Path, params: BuildParams, folder: Path) -> EngineLayers:
        """Optimise the graph, and read back what the loaded engine runs in which type."""
        ort = _onnxruntime()
        options = RunOptions(params.precision, params.threads)
        settings = _settings(options, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
        settings.optimized_model_filepath = str(folder / _MODEL)
        _session(onnx, settings, options, self._device)
        write_info(
            EngineInfo(
                backend="onnxruntime",
                package=package_version("onnxruntime-gpu"),
                hardware=self.hardware(),
                precision=params.precision,
                device=self._device,
                products="unsigned" if self._device == "cpu" and _is_wide(onnx) else "saturating",
            ),
            folder,
        )
        return EngineLayers(layers=_read_back(folder, options, self._device))

    def load(self, folder: Path, options: RunOptions) -> Engine:
        """Open a session on the file that ``build`` wrote."""
        info = read_info(folder, "onnxruntime")
        if info.device != self._device:
            raise UserError(
                f"spec.target.backend: this engine was built for onnxruntime on {info.device}, "
                f"but here it would run on {self._device}: give all units the same resources "
                "(spec.resources.gpu)"
            )
        check_products(info, int8_products(), self.hardware())
        ort = _onnxruntime()
        settings = _settings(options, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        session = _session(folder / _MODEL, settings, options, self._device)
        on_gpu = self._device == "cuda"
        return _CudaEngine(session, folder, options) if on_gpu else _Engine(session)

    def hardware(self) -> str:
        """Return the GPU where one is visible, else the processor with its instruction sets."""
        return (gpu() if self._device == "cuda" else None) or cpu()


class _Engine:
    """A session on the processor."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 - ONNX Runtime has no type stubs
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._session

    def infer(self, batch: Array) -> Array:
        """Run one batch."""
        return np.asarray(self._session.run([self._output], {self._input: batch})[0], np.float32)

    def stepper(self, batch: Array) -> Callable[[], float]:
        """Bind input and output, and return a function that times one call."""
        ort = _onnxruntime()
        binding = self._session.io_binding()
        source = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(batch))
        target = ort.OrtValue.ortvalue_from_numpy(self.infer(batch))
        binding.bind_ortvalue_input(self._input, source)
        binding.bind_ortvalue_output(self._output, target)

        def step() -> float:
            start = perf_counter_ns()
            self._session.run_with_iobinding(binding)
            return (perf_counter_ns() - start) / 1e6

        return step


class _CudaEngine(_Engine):
    """A session on a GPU; its stepper replays a CUDA graph."""

    def __init__(self, session: Any, folder: Path, options: RunOptions) -> None:  # noqa: ANN401 - no type stubs
        super().__init__(session)
        self._folder, self._options = folder, options
        self._held = ExitStack()

    def __exit__(self, *exc: object) -> None:
        self._held.close()
        super().__exit__(*exc)

    def stepper(self, batch: Array) -> Callable[[], float]:
        """Time transfer in, graph replay and transfer out on one stream.

        The graph belongs to a session of its own: its input and output lie at fixed addresses.
        """
        ort = _onnxruntime()
        stream = self._held.enter_context(cuda.Stream())
        settings = _settings(self._options, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        graphed = {"enable_cuda_graph": "1", "user_compute_stream": str(int(stream.handle))}
        session = _session(self._folder / _MODEL, settings, self._options, "cuda", graphed)
        source, target = cuda.Pinned(batch.shape), cuda.Pinned(self.infer(batch).shape)
        self._held.callback(source.free)
        self._held.callback(target.free)
        source.array[...] = batch
        binding = session.io_binding()
        for bind, name, memory in (
            (binding.bind_input, self._input, source),
            (binding.bind_output, self._output, target),
        ):
            bind(name, "cuda", 0, np.float32, list(memory.array.shape), memory.device)

        # A session must go before the stream that it computes on: this empties before that closes.
        live = {"session": session, "binding": binding}
        self._held.callback(live.clear)
        del session, binding

        def work() -> None:
            source.to_device(stream)
            live["session"].run_with_iobinding(live["binding"])
            target.to_host(stream)

        work()  # the first run captures the graph; all later ones replay it
        stream.synchronize()
        return lambda: stream.time(work)


def _onnxruntime() -> Any:  # noqa: ANN401 - ONNX Runtime has no type stubs
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "spec.target.backend: onnxruntime is not installed in this environment: install "
            "mixedprecision-operator[runner]"
        ) from error
    return onnxruntime


def _settings(options: RunOptions, level: Any) -> Any:  # noqa: ANN401 - no type stubs
    settings = _onnxruntime().SessionOptions()
    settings.graph_optimization_level = level
    settings.intra_op_num_threads = options.threads or default_threads()
    settings.log_severity_level = _ERRORS_ONLY
    return settings


def _session(
    path: Path,
    settings: Any,  # noqa: ANN401 - no type stubs
    options: RunOptions,
    device: Device,
    extra: dict[str, str] | None = None,
) -> Any:  # noqa: ANN401 - no type stubs
    """Open a session on the device that was asked for; never on the other one by fall-back."""
    ort = _onnxruntime()
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda":
        ort.preload_dlls()
        providers.insert(0, (_CUDA, {**_cuda_options(options), **(extra or {})}))
    with captured_stderr() as words:
        try:
            session = ort.InferenceSession(str(path), settings, providers=providers)
        except _errors() as error:
            raise UserError(
                f"spec.target.backend: onnxruntime cannot run this graph; its words: "
                f"{str(error)[:_WORDS]}"
            ) from error
    if device == "cuda" and _CUDA not in session.get_providers():
        raise UserError(
            "spec.target.backend: a GPU is visible, but onnxruntime fell back to the processor; "
            f"its reason: {_reason(words())}. Install what it names, or hide the GPU "
            "(CUDA_VISIBLE_DEVICES=) to measure the processor"
        )
    return session


def _reason(words: str) -> str:
    """Return the heart of what ONNX Runtime logged, without colours and source positions."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", words)
    library = re.search(r"\S+\.so[.\d]*: cannot open shared object file", plain)
    return library[0] if library else plain[-_WORDS:] or "none given"


def _errors() -> tuple[type[Exception], ...]:
    """Return what a session's constructor raises for a graph or machine that it cannot serve."""
    state = _onnxruntime().capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidGraph", "InvalidProtobuf", "InvalidArgument", "NotImplemented")
    return (
        *(getattr(state, name) for name in (*names, "RuntimeException", "EPFail")),
        RuntimeError,
    )


def _cuda_options(options: RunOptions) -> dict[str, str]:
    """Return provider options by precision.

    TF32 is on by default and no FP32; but without it cuDNN finds no tensor cores for FP16 either.
    Channels last is faster for FP16 graphs and refused for Q/DQ graphs.
    """
    return {
        "use_tf32": "0" if options.precision == "fp32" else "1",
        "prefer_nhwc": "1" if options.precision in ("fp16", "bf16") else "0",
    }


def _read_back(folder: Path, options: RunOptions, device: Device) -> tuple[EngineLayer, ...]:
    """Return the layers of the graph as a load optimises it for this machine."""
    with tempfile.TemporaryDirectory() as place:
        level = _onnxruntime().GraphOptimizationLevel.ORT_ENABLE_ALL
        settings = _settings(options, level)
        settings.optimized_model_filepath = str(Path(place) / _MODEL)
        _session(folder / _MODEL, settings, options, device)
        graph = onnx.load(settings.optimized_model_filepath).graph
    return tuple(layers_of(graph))


def _is_wide(path: Path) -> bool:
    return is_wide(onnx.load(path))
