"""The one measuring procedure: engines interleaved in short blocks, compared block by block.

A machine's speed drifts (clocks, neighbours), by more than the differences that matter here. So the
engines of a comparison run in one process, in rounds: each round gives every engine one short
block of calls, in a new random order. A round's blocks see the same machine, and only ratios within
a round are used:

    r_k = median(baseline's calls in round k) / median(engine's calls in round k)
    speedup = median over k of r_k

Its 95 % interval is the percentile bootstrap over rounds (Efron 1979): the rounds are drawn again
with replacement, the median is taken anew, and the 2.5th and 97.5th percentiles of many such
medians are the bounds. Medians, because a shared machine's disturbances are one-sided and long.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from mpj_runner.contract.result import Interval, Latency

Times = npt.NDArray[np.float64]
Stepper = Callable[[], float]

MIN_ROUNDS = 12
"""Fewer make no interval: the bootstrap of a median needs some spread."""
ROUNDS = 40
"""Aim: short blocks, so that a round's blocks see the same machine."""
DROPPED = 1
"""Calls at the start of a block that are not counted: they find the last engine's caches."""
_PERCENTILES = (50, 90, 99)
_BOUNDS = (2.5, 97.5)


@dataclass(frozen=True)
class Plan:
    """How the time is spent."""

    warmup_ms: float = 200.0
    """On each engine, before anything is measured."""
    seconds: float = 3.0
    """Spent on each engine; slow engines get at least ``MIN_ROUNDS`` blocks of one call."""
    seed: int = 0
    """Of the order in each round."""


def measure(steppers: Mapping[str, Stepper], plan: Plan) -> dict[str, Times]:
    """Run all engines interleaved.

    Args:
        steppers: by engine name; each call runs one batch and returns its milliseconds.
        plan: how the time is spent.

    Returns:
        By engine name, milliseconds of shape (rounds, calls in a block).
    """
    pace = {name: _warm_up(step, plan.warmup_ms) for name, step in steppers.items()}
    block_ms = plan.seconds * 1000 / ROUNDS
    calls = {name: max(1, round(block_ms / ms)) for name, ms in pace.items()}
    slowest = max(pace[name] * calls[name] for name in steppers)
    rounds = min(ROUNDS, max(MIN_ROUNDS, math.ceil(plan.seconds * 1000 / slowest)))
    times = {name: np.empty((rounds, count)) for name, count in calls.items()}
    order = list(steppers)
    random = np.random.default_rng(plan.seed)
    for k in range(rounds):
        random.shuffle(order)
        for name in order:
            step = steppers[name]
            for _ in range(DROPPED):
                step()
            times[name][k] = [step() for _ in range(calls[name])]
    return times


def latency(times: Times) -> Latency:
    """Return percentiles over all calls."""
    p50, p90, p99 = np.percentile(times, _PERCENTILES)
    return Latency(p50=float(p50), p90=float(p90), p99=float(p99))


def throughput(times: Times, batch_size: int) -> float:
    """Return images a second with one batch in flight at a time."""
    return float(batch_size * 1000 / times.mean())


def speedup(baseline: Times, engine: Times, *, resamples: int, seed: int = 0) -> Interval:
    """Return how much faster an engine is than the baseline, with its 95 % interval.

    Args:
        baseline: (rounds, calls) of the baseline.
        engine: (rounds, calls) of the engine, from the same rounds.
        resamples: bootstrap draws.
        seed: of the draws.
    """
    ratios = np.median(baseline, axis=1) / np.median(engine, axis=1)
    random = np.random.default_rng(seed)
    drawn = ratios[random.integers(0, len(ratios), (resamples, len(ratios)))]
    low, high = np.percentile(np.median(drawn, axis=1), _BOUNDS)
    return Interval(value=float(np.median(ratios)), low=float(low), high=float(high))


def drift(baseline: Times) -> float:
    """Return how much the baseline's own speed moved: p90 over p10 of its blocks' medians."""
    slow, fast = np.percentile(np.median(baseline, axis=1), (90, 10))
    return float(slow / fast)


def _warm_up(step: Stepper, milliseconds: float) -> float:
    """Call until the time is over, at least thrice, and return the median of the later half."""
    end = perf_counter() + milliseconds / 1000
    seen: list[float] = []
    while len(seen) < 3 or perf_counter() < end:
        seen.append(step())
    return _positive(seen[len(seen) // 2 :])


def _positive(times: Sequence[float]) -> float:
    return max(float(np.median(times)), 1e-3)
