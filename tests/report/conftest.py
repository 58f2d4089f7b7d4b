"""Builders of results and reports."""

import hashlib
from typing import Any

import pytest

from mpj_runner.contract.report import Best, Environment, Objective, Report, ReportJob
from mpj_runner.contract.result import Interval, Latency, Layers, Result
from mpj_runner.report.pareto import front, points


def interval(value: float, half: float = 0.0) -> Interval:
    return Interval(value=value, low=value - half, high=value + half)


def result(name: str, speedup: float | None, drop: float | None, **more: Any) -> Result:
    """Return a judged engine; None leaves a figure out."""
    given: dict[str, Any] = {
        "state": "Accepted",
        "map": None if drop is None else 0.6 - drop,
        "map50": None if drop is None else 0.8 - drop,
        "map_drop": None if drop is None else interval(drop, 0.002),
        "speedup": None if speedup is None else interval(speedup, 0.03),
        "latency_ms": None
        if speedup is None
        else Latency(p50=20 / speedup, p90=22 / speedup, p99=25 / speedup),
        "size_bytes": 3_000_000,
        "layers": Layers(total=64, quantized=57),
    }
    return Result(name=name, **given | more)


def report(*candidates: Result, best: str | None = None, **more: Any) -> Report:
    """Return a report whose reference and baseline are FP32 on a CPU."""
    given: dict[str, Any] = {
        "job": ReportJob(name="yolo11n", spec_sha256=hashlib.sha256(b"").hexdigest()),
        "environment": Environment(backend="openvino", hardware="EPYC (AVX2)"),
        "objective": Objective(
            metric="mAP", max_accuracy_drop=0.005, drop_type="Absolute", min_speedup=1.05,
            baseline_precision="fp32",
        ),
        "reference": result("reference", 1.0, 0.0, map_drop=None, size_bytes=10_000_000),
        "baseline": result("baseline", 1.0, 0.0, map_drop=interval(0), size_bytes=10_000_000),
        "candidates": candidates,
        "sensitivity": (),
        "pareto": (),
        "best": Best(name=best or candidates[0].name, reason="The fastest accepted engine."),
    }  # fmt: skip
    made = Report(**given | more)
    return made.model_copy(update={"pareto": front(points(made))})


class Builders:
    interval = staticmethod(interval)
    result = staticmethod(result)
    report = staticmethod(report)


@pytest.fixture(scope="session")
def make() -> type[Builders]:
    return Builders
