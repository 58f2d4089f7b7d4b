"""What is asked for: how much accuracy may be lost, and what must be won."""

from typing import Annotated, Literal

from pydantic import Field

from mpj_operator.api.target import high_precision
from mpj_runner.contract import report
from mpj_runner.contract.base import Between, DecimalString, Value
from mpj_runner.contract.quantization import HighPrecision, QuantFormat
from mpj_runner.contract.steps import BackendName


class Baseline(Value):
    """The unquantized engine that quantized ones must beat."""

    precision: HighPrecision | None = None
    """Its type; default: fp16 on GPU backends, fp32 on CPU backends."""


class Objective(Value):
    """What an engine must keep, and what it must win."""

    metric: Literal["mAP", "mAP50"] = "mAP"
    """COCO mAP at IoU .50:.95, or at IoU .50."""
    max_accuracy_drop: Annotated[DecimalString, Between(0, 1)] = 0.005
    """Largest drop of the metric below the reference that is allowed."""
    drop_type: Literal["Absolute", "Relative"] = "Absolute"
    """Absolute: in points of the metric (0..1). Relative: as a share of the reference's."""
    min_speedup: Annotated[DecimalString, Between(0, 1000)] = 1.05
    """Smallest speed-up of a quantized engine over the baseline; its lower bound counts."""
    minimize: Literal["Latency"] = "Latency"
    """What decides between engines that are allowed: the median latency of one batch."""
    baseline: Baseline = Baseline()
    """The engine that speed-ups are measured over."""

    def baseline_precision(self, backend: BackendName) -> HighPrecision:
        """Return the baseline's type that is given or follows from the backend."""
        return self.baseline.precision or high_precision(backend)

    def for_report(self, backend: BackendName) -> report.Objective:
        """Return the objective as report.json shows it."""
        return report.Objective(
            metric=self.metric,
            max_accuracy_drop=self.max_accuracy_drop,
            drop_type=self.drop_type,
            min_speedup=self.min_speedup,
            baseline_precision=self.baseline_precision(backend),
        )


class Search(Value):
    """Look for the fastest engine within the allowed drop, trial by trial."""

    format: QuantFormat = "int8"
    """The low-precision format that the search gives to layers."""
    max_trials: Annotated[int, Field(ge=1, le=64)] = 16
    """Engines that it may build; may grow later."""
