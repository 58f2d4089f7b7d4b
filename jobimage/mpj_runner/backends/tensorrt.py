"""TensorRT 10, TensorRT 11 and TensorRT-RTX: one adapter, since one code path fits all three."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

import onnx

from mpj_runner.backends import cuda
from mpj_runner.backends import tensorrt_layers as table
from mpj_runner.backends.base import Engine, RunOptions
from mpj_runner.backends.hardware import cpu, gpu
from mpj_runner.backends.info import EngineInfo, package_version, read_info, write_info
from mpj_runner.backends.tensorrt_log import listening
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.files import EngineLayers
from mpj_runner.contract.steps import BackendName, BuildParams

PLAN: Final = "model.plan"
_RTX_ABSENT: Final = {(9, 0): "H100, H200", (10, 0): "B200", (8, 7): "Orin"}
_MEMORY: Final = ("OutOfMemory", "could not be allocated")
_TARGET: Final = ("Cannot compile for target", "Cannot compile operation")
_WORDS: Final = 600


class TensorRT:
    """Build and run a plan with the full TensorRT."""

    name: ClassVar[BackendName] = "tensorrt"
    module: ClassVar[str] = "tensorrt"
    distribution: ClassVar[str] = "tensorrt-cu13"

    def build(self, onnx: Path, params: BuildParams, folder: Path) -> EngineLayers:
        """Parse, build strongly typed, and read the layers back."""
        trt = self._package()
        self._check_device(params.compute_capabilities)
        with listening(trt) as logger:
            builder = trt.Builder(logger)
            flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            network = builder.create_network(flag)
            self._parse(trt, network, logger, onnx)
            plan = builder.build_serialized_network(network, self._config(trt, builder, params))
            if plan is None:
                raise UserError(self._failure(logger.errors()))
            (folder / PLAN).write_bytes(memoryview(plan))
            rows, notes = self._rows(trt, logger, plan)
        write_info(
            EngineInfo(
                backend=self.name,
                package=package_version(self.distribution),
                hardware=self.hardware(),
                precision=params.precision,
                device="cuda",
            ),
            folder,
        )
        model = _graph(onnx)
        return EngineLayers(layers=tuple(table.engine_layers(model, rows)), notes=notes)

    def load(self, folder: Path, options: RunOptions) -> Engine:
        """Deserialise the plan for the first visible GPU."""
        from mpj_runner.backends.tensorrt_engine import TensorRTEngine

        read_info(folder, self.name)
        trt = self._package()
        self._require_device()
        return TensorRTEngine(trt, folder / PLAN, options)

    def hardware(self) -> str:
        """Return the GPU; without one the processor, on which RTX engines can still be built."""
        return gpu() or cpu()

    def _package(self) -> Any:
        try:
            return import_module(self.module)
        except ImportError as error:
            raise UserError(
                f"spec.target.backend: {self.name} is not installed in this environment: install "
                f"mixedprecision-operator[{self.name}]{self._hint()}"
            ) from error

    def _hint(self) -> str:
        return " with NVIDIA's package index, where its libraries are"

    def _check_device(self, capabilities: Sequence[str]) -> None:
        if capabilities:
            raise UserError(
                "spec.target.computeCapabilities: only backend tensorrt-rtx builds for GPUs other "
                "than the one it runs on: leave it out"
            )
        self._require_device()

    def _require_device(self) -> None:
        """Raise UserError unless a GPU is there that this backend runs on."""
        if cuda.device_count() == 0:
            raise UserError(
                f"spec.target.backend: {self.name} needs an NVIDIA GPU and none is visible here: "
                "run on a node with one (spec.resources.gpu), or use backend openvino or "
                "onnxruntime"
            )

    def _config(self, trt: Any, builder: Any, params: BuildParams) -> Any:
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if params.precision == "fp32":
            config.clear_flag(trt.BuilderFlag.TF32)
        if params.builder_optimization_level is not None:
            config.builder_optimization_level = params.builder_optimization_level
        if params.workspace_size is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, params.workspace_size)
        # Auxiliary streams buy little on a detector's chain and more than double its memory.
        config.max_aux_streams = 0
        return config

    def _parse(self, trt: Any, network: Any, logger: Any, path: Path) -> None:
        parser = trt.OnnxParser(network, logger)
        if parser.parse(path.read_bytes()):
            return
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        words = "; ".join(
            f"{error.desc()} (node {error.node_name() or error.node()} {error.node_operator()})"
            for error in errors
        )
        raise UserError(
            f"spec.target.backend: {self.name} cannot read this graph: "
            f"{words[:_WORDS] or _tail(logger.errors())}"
        )

    def _rows(self, trt: Any, logger: Any, plan: Any) -> tuple[list[table.Row], tuple[str, ...]]:
        """Read the layers from the engine where a GPU is, else from the build log."""
        if cuda.device_count():
            engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
            if engine is not None:
                inspector = engine.create_engine_inspector()
                text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
                return table.rows_from_inspector(text), ()
        return table.rows_from_log(logger.messages()), ("layers read from the build log, no GPU",)

    def _failure(self, errors: Sequence[str]) -> str:
        words = _tail(errors)
        if any(sign in words for sign in _MEMORY):
            return (
                f"spec.target.workspaceSize: {self.name} ran out of GPU memory while building "
                f"({words}): lower spec.target.batchSize, or use a GPU that nothing else uses"
            )
        if any(sign in words for sign in _TARGET):
            return (
                f"spec.target.computeCapabilities: {self.name} cannot build this graph for every "
                f"target: take the older ones out; its words: {words}"
            )
        return f"spec.target.backend: {self.name} cannot build this graph; its words: {words}"


class TensorRTRTX(TensorRT):
    """Build and run a plan with TensorRT for RTX, which builds on machines without a GPU too."""

    name: ClassVar[BackendName] = "tensorrt-rtx"
    module: ClassVar[str] = "tensorrt_rtx"
    distribution: ClassVar[str] = "tensorrt-rtx-cu13"

    def _hint(self) -> str:
        return ""

    def _check_device(self, capabilities: Sequence[str]) -> None:
        if capabilities == () and cuda.device_count():
            self._require_device()

    def _require_device(self) -> None:
        super()._require_device()
        capability = cuda.compute_capability()
        if capability in _RTX_ABSENT:
            major, minor = capability
            raise UserError(
                f"spec.target.backend: tensorrt-rtx does not run on compute capability "
                f"{major}.{minor} ({_RTX_ABSENT[capability]}): use backend tensorrt or onnxruntime"
            )

    def _config(self, trt: Any, builder: Any, params: BuildParams) -> Any:
        config = super()._config(trt, builder, params)
        targets = [_capability(trt, text) for text in params.compute_capabilities]
        if not targets and cuda.device_count():
            targets = [trt.ComputeCapability.CURRENT]
        if targets:
            config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(target, index)
        return config


def _capability(trt: Any, text: str) -> Any:
    """Return the enum's member for 8.6, 86 or SM86."""
    known = {
        name: value
        for name, value in trt.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    wanted = "SM" + text.upper().removeprefix("SM").replace(".", "")
    if wanted not in known:
        choices = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in known)
        raise UserError(
            f"spec.target.computeCapabilities: tensorrt-rtx does not build for {text}: "
            f"choose from {choices}"
        )
    return known[wanted]


def _graph(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def _tail(errors: Sequence[str]) -> str:
    return " | ".join(errors)[-_WORDS:] or "none"
