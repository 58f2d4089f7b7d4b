"""Which module runs a step, what it takes, and what its result depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, cast

from mpj_runner.contract import steps as s
from mpj_runner.contract.base import Value
from mpj_runner.contract.report import ReportParams
from mpj_runner.contract.step import Step

_ONNX: Final = ("onnx", "onnxruntime-gpu", "nvidia-modelopt", "numpy")
_TORCH: Final = ("torch", *_ONNX)
BACKEND_PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime-gpu",),
    "tensorrt": ("tensorrt-cu13",),
    "tensorrt-rtx": ("tensorrt-rtx-cu13",),
}


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    params: type[Value]
    packages: tuple[str, ...] = ()
    """Distributions whose versions join the cache key."""
    on_backend: bool = False
    """The result depends on the backend's version and on the hardware it runs on."""

    def packages_of(self, params: Value) -> tuple[str, ...]:
        """Return the distributions that the result of these parameters depends on."""
        if not self.on_backend:
            return self.packages
        return (*self.packages, *BACKEND_PACKAGES[cast("Any", params).backend])


STEPS: Final[Mapping[s.StepName, Entry]] = {
    "export": Entry(s.ExportParams, ("torch", "onnx", "onnxslim", "ultralytics")),
    "snapshot": Entry(s.SnapshotParams),
    "calibrate": Entry(s.CalibrateParams, _ONNX),
    "autoquant": Entry(s.AutoQuantParams, _TORCH),
    "solve": Entry(s.SolveParams, _TORCH),
    "realize": Entry(s.RealizeParams, _TORCH),
    "autocast": Entry(s.AutoCastParams, _ONNX),
    "ptq": Entry(s.PtqParams, _ONNX),
    "build": Entry(s.BuildParams, ("onnx",), on_backend=True),
    "eval": Entry(s.EvalParams, ("pycocotools", "opencv-python-headless"), on_backend=True),
    "benchmark": Entry(s.BenchmarkParams, ("numpy",), on_backend=True),
    "report": Entry(ReportParams),
}


def step(name: s.StepName) -> Step[Any]:
    """Return a step's function; what it needs is imported by this call, not before."""
    return cast("Step[Any]", import_module(f"mpj_runner.steps.{name}").run)
