"""When a measurement must not decide anything; what the machine is read as."""

import types

import pytest

from mpj_runner.backends import conditions
from mpj_runner.backends.conditions import Gpu, Watch, unreliable

QUIET = {"throttled": 0, "periods": 100, "drift": 1.1, "gpu": None}
GPU = Gpu(driver="580.1", memory_bytes=8 << 30, clock_mhz=1800, mig=False, processes=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({}, None, id="a quiet machine"),
        pytest.param({"throttled": 1}, None, id="one period in a hundred"),
        pytest.param(
            {"throttled": 3}, ["3 of 100", "spec.resources", "spec.target.threads"], id="throttled"
        ),
        pytest.param({"drift": 1.6}, None, id="a laptop with a boosting clock"),
        pytest.param({"drift": 2.4}, ["factor of 2.4", "nothing else"], id="a busy machine"),
        pytest.param({"gpu": GPU}, None, id="a GPU for us alone"),
        pytest.param({"gpu": GPU, "throttled": 50}, None, id="its host may be throttled"),
    ],
)
def test_what_spoils_a_measurement(changes, words):
    found = unreliable(**(QUIET | changes))
    if words is None:
        assert found is None
    else:
        assert all(word in found for word in words)


def test_a_shared_or_slowed_gpu_spoils_it():
    shared = Gpu(**(vars(GPU) | {"processes": 3}))
    hot = Gpu(**(vars(GPU) | {"slowdown": "heat"}))
    assert "2 other processes" in unreliable(**(QUIET | {"gpu": shared}))
    assert "heat" in unreliable(**(QUIET | {"gpu": hot}))


def test_this_machine_can_be_read():
    found = Watch(on_gpu=False).conditions(machine="here", threads=2, drift=1.0)
    assert found.hardware == "here"
    assert found.logical_cpus >= 1
    assert 0 < found.cpu_limit <= found.logical_cpus
    assert found.gpu_driver is None
    assert found.throttled_periods >= 0


class NvmlError(Exception):
    pass


def nvml(**changes):
    """Return a module that speaks as pynvml does, of one card."""

    def none(_):
        raise NvmlError

    names = {
        "NVMLError": NvmlError,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda _: "card",
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(total=8 << 30),
        "nvmlDeviceGetClockInfo": lambda *_: 1800,
        "nvmlDeviceGetMigMode": none,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: ["us"],
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: 0,
        "nvmlClocksThrottleReasonHwSlowdown": 8,
        "nvmlClocksThrottleReasonHwThermalSlowdown": 64,
        "nvmlClocksThrottleReasonSwThermalSlowdown": 32,
        "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": 128,
    }
    module = types.ModuleType("pynvml")
    vars(module).update(names | changes)
    return module


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({}, GPU, id="a card without MIG"),
        pytest.param(
            {"nvmlDeviceGetMigMode": lambda _: [1, 1]}, Gpu(**(vars(GPU) | {"mig": True})), id="MIG"
        ),
        pytest.param(
            {"nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: 32},
            Gpu(**(vars(GPU) | {"slowdown": "heat"})),
            id="hot",
        ),
        pytest.param({"nvmlDeviceGetCount": lambda: 0}, None, id="no card"),
    ],
)
def test_nvml_is_read(monkeypatch, changes, found):
    import sys

    monkeypatch.setitem(sys.modules, "pynvml", nvml(**changes))
    assert conditions.read_gpu() == found


def test_the_names_of_nvml_are_its_own():
    real = pytest.importorskip("pynvml")
    missing = [
        name for name in vars(nvml()) if not name.startswith("__") and not hasattr(real, name)
    ]
    assert missing == []
