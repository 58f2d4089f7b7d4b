"""What the machine went through while it was measured, and whether that spoils the figures."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mpj_runner.backends import hardware
from mpj_runner.backends.cpus import cpu_limit, throttling
from mpj_runner.contract.files import Conditions

MAX_THROTTLED: Final = 0.02
"""Share of scheduling periods that a CPU quota may cut short: so few show in p99 only."""
MAX_DRIFT: Final = 2.0
"""The baseline's slow blocks over its fast ones (``benchmark.drift``). Ratios are paired and stand
a lot of drift; where the machine is half as fast at times, latencies mean nothing."""
_SLOWDOWNS: Final = (
    ("nvmlClocksThrottleReasonHwSlowdown", "hardware slowdown"),
    ("nvmlClocksThrottleReasonHwThermalSlowdown", "heat"),
    ("nvmlClocksThrottleReasonSwThermalSlowdown", "heat"),
    ("nvmlClocksThrottleReasonHwPowerBrakeSlowdown", "power brake"),
)


@dataclass(frozen=True)
class Gpu:
    """What NVML says of the first GPU."""

    driver: str
    memory_bytes: int
    clock_mhz: int
    mig: bool
    processes: int
    """Compute processes on it, this one included."""
    slowdown: str | None = None


class Watch:
    """Readings taken while the engines are open, before and after they are measured."""

    def __init__(self, *, on_gpu: bool) -> None:
        self._on_gpu = on_gpu
        self._before = throttling()

    def conditions(self, *, machine: str, threads: int | None, drift: float) -> Conditions:
        """Return what is known now that the measurement is over.

        Args:
            machine: what the engines ran on.
            threads: CPU threads of the engines; None on a GPU.
            drift: of the baseline, see ``benchmark.drift``.
        """
        grown = throttling().since(self._before)
        gpu = read_gpu() if self._on_gpu else None
        return Conditions(
            hardware=machine,
            isa=hardware.isa(),
            logical_cpus=os.cpu_count(),
            cpu_limit=cpu_limit(),
            threads=threads,
            throttled_periods=grown.throttled,
            load_average=os.getloadavg()[0],
            gpu_driver=gpu.driver if gpu else None,
            gpu_memory_bytes=gpu.memory_bytes if gpu else None,
            gpu_clock_mhz=gpu.clock_mhz if gpu else None,
            gpu_foreign_processes=max(0, gpu.processes - 1) if gpu else None,
            mig=gpu.mig if gpu else None,
            unreliable=unreliable(
                throttled=grown.throttled, periods=grown.periods, drift=drift, gpu=gpu
            ),
        )


def unreliable(*, throttled: int, periods: int, drift: float, gpu: Gpu | None) -> str | None:
    """Return why a measurement must not decide anything, or None when it is sound."""
    if throttled > MAX_THROTTLED * max(periods, 1) and gpu is None:
        return (
            f"the CPU quota held the engines back in {throttled} of {periods} periods: raise "
            "spec.resources' CPU limit, or lower spec.target.threads below it"
        )
    if gpu and gpu.processes > 1:
        return f"{gpu.processes - 1} other processes computed on this GPU"
    if gpu and gpu.slowdown:
        return f"the GPU lowered its clocks ({gpu.slowdown})"
    if drift > MAX_DRIFT:
        return (
            f"the machine's speed moved by a factor of {drift:.1f} while it was measured: run "
            "nothing else on it"
        )
    return None


def read_gpu() -> Gpu | None:
    """Return the first GPU's state; None without NVML or without a GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    with _nvml(pynvml) as handle:
        if handle is None:
            return None
        return Gpu(
            driver=pynvml.nvmlSystemGetDriverVersion(),
            memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
            clock_mhz=pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
            mig=_mig(pynvml, handle),
            processes=len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
            slowdown=_slowdown(pynvml, handle),
        )


@contextmanager
def _nvml(nvml: Any) -> Iterator[Any]:  # noqa: ANN401 - no type stubs
    """Yield the first device's handle, or None where there is none."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        count = nvml.nvmlDeviceGetCount()
        yield nvml.nvmlDeviceGetHandleByIndex(0) if count else None
    finally:
        nvml.nvmlShutdown()


def _mig(nvml: Any, handle: Any) -> bool:  # noqa: ANN401 - no type stubs
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:  # cards without MIG
        return False


def _slowdown(nvml: Any, handle: Any) -> str | None:  # noqa: ANN401 - no type stubs
    try:
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    except nvml.NVMLError:
        return None
    return next((word for flag, word in _SLOWDOWNS if reasons & getattr(nvml, flag)), None)
