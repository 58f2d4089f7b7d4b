"""What the machine is, cheaply: no runtime is imported, so that a cache key costs milliseconds."""

import functools
import os
import platform
from pathlib import Path
from typing import Final

from mpj_runner.contract.quantization import Int8Products
from mpj_runner.contract.steps import BackendName

ISA: Final = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
)
"""The instruction sets that decide how fast, and how exactly, small numbers are multiplied."""
INT8_WIDE: Final = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
"""Those that accumulate 8-bit products in 32 bits. AVX2's own pair-sum saturates at 16 bits."""
_VNNI: Final = frozenset({"VNNI", "BF16", "FP16", "AMX"})
"""Words in oneDNN's names of instruction sets that have VNNI or came after it."""
INT8_SIGNED: Final = frozenset({"amx_int8"})
"""Those whose kernels multiply two signed bytes; VNNI's first factor is unsigned."""


@functools.cache
def _cpuinfo() -> dict[str, str]:
    """Return the first processor's lines of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def isa() -> tuple[str, ...]:
    """Return the instruction sets of ``ISA`` that this processor has and oneDNN may use.

    ``ONEDNN_MAX_CPU_ISA`` is oneDNN's own variable: engines built under it are others.
    """
    flags = set((_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split())
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    if most not in ("ALL", "DEFAULT"):
        flags -= {name for name in flags if name.startswith("amx") and "AMX" not in most}
        flags -= {name for name in flags if "vnni" in name and not _VNNI & set(most.split("_"))}
    return tuple(name for name in ISA if name in flags)


def int8_products() -> Int8Products:
    """Return which 8-bit products this processor computes right."""
    found = set(isa())
    if INT8_SIGNED & found:
        return "signed"
    return "unsigned" if INT8_WIDE & found else "saturating"


def cpu() -> str:
    """Return the processor's model and its instruction sets."""
    model = _cpuinfo().get("model name") or platform.processor() or platform.machine()
    return f"{model} ({' '.join(isa()) or platform.machine()})"


@functools.cache
def gpu() -> str | None:
    """Return the first visible GPU's product and driver, or None without one.

    NVML sees GPUs that CUDA_VISIBLE_DEVICES hides; nothing runs on those.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "NoDevFiles"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        if pynvml.nvmlDeviceGetCount() == 0:
            return None
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
        return f"{name}, driver {pynvml.nvmlSystemGetDriverVersion()}"
    finally:
        pynvml.nvmlShutdown()


def hardware_of(backend: BackendName) -> str:
    """Return what an engine of this backend runs on: a GPU with its driver, or the processor."""
    if backend == "openvino":
        return cpu()
    return gpu() or cpu()
