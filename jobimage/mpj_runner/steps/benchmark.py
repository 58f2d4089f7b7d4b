"""Measure the latency of several engines, interleaved in this process."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from mpj_runner.backends import backend, cuda
from mpj_runner.backends.base import Array, RunOptions
from mpj_runner.backends.benchmark import (
    Plan,
    Times,
    drift,
    latency,
    measure,
    speedup,
    throughput,
)
from mpj_runner.backends.conditions import Watch
from mpj_runner.backends.cpus import default_threads
from mpj_runner.backends.lock import machine_lock
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import BenchmarkOutcome, BenchmarkParams, EngineTiming
from mpj_runner.vision.images import is_image
from mpj_runner.vision.inputs import Preprocessor

_SEED: Final = 0


def run(params: BenchmarkParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Open all engines, measure them against the first; see ``BenchmarkParams``.

    Raises:
        UserError: an engine cannot run here.
    """
    metadata = ModelMetadata.model_validate_json(inputs["metadata"].read_bytes())
    batch = _batch(metadata, params.batch_size, inputs.get("images"))
    runtime = backend(params.backend)
    on_gpu = params.backend != "openvino" and cuda.device_count() > 0
    threads = None if on_gpu else params.threads or default_threads()
    with machine_lock(), ExitStack() as engines:
        steppers = {
            name: engines.enter_context(
                runtime.load(inputs[f"engine-{name}"], RunOptions(precision, threads))
            ).stepper(batch)
            for name, precision in zip(params.engines, params.precisions, strict=True)
        }
        watch = Watch(on_gpu=on_gpu)
        plan = Plan(params.warmup_milliseconds, params.seconds, _SEED)
        times = measure(steppers, plan)
        conditions = watch.conditions(
            machine=runtime.hardware(), threads=threads, drift=drift(times[params.engines[0]])
        )
    samples, report = work / "samples.npz", work / "conditions.json"
    with samples.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **times)
    report.write_text(json.dumps(conditions.to_json(numbers=True)), encoding="utf-8")
    return StepResult(
        {"samples": samples, "conditions": report},
        BenchmarkOutcome(
            engines=tuple(_timing(name, times, params) for name in params.engines),
            unreliable=conditions.unreliable,
            hardware=conditions.hardware,
        ),
    )


def _timing(name: str, times: Mapping[str, Times], params: BenchmarkParams) -> EngineTiming:
    baseline = times[params.engines[0]]
    return EngineTiming(
        name=name,
        latency_ms=latency(times[name]),
        throughput_per_second=throughput(times[name], params.batch_size),
        speedup=speedup(baseline, times[name], resamples=params.resamples, seed=_SEED),
    )


def _batch(metadata: ModelMetadata, batch_size: int, images: Path | None) -> Array:
    """Return one batch of real images; where there are none, one of seeded noise in 0..1."""
    paths = sorted(path for path in images.iterdir() if is_image(path)) if images else []
    if paths:
        wanted = (paths * batch_size)[:batch_size]
        return next(Preprocessor(metadata).batches(wanted, batch_size))
    size = metadata.input_size
    shape = (batch_size, 3, size.height, size.width)
    return np.random.default_rng(_SEED).random(shape, dtype=np.float32)
