"""The measuring procedure, on engines whose times are known."""

import numpy as np
import pytest

from mpj_runner.backends import benchmark
from mpj_runner.backends.benchmark import Plan, drift, latency, measure, speedup, throughput


class Machine:
    """A machine whose speed wanders and that a neighbour disturbs now and then."""

    def __init__(self, seed=0, wander=0.15, disturbed=0.1):
        self.random = np.random.default_rng(seed)
        self.speed = 1.0
        self.wander, self.disturbed = wander, disturbed
        self.calls: list[str] = []

    def engine(self, name, ms):
        def step():
            self.calls.append(name)
            self.speed *= float(np.exp(self.random.normal(0, self.wander / 10)))
            noise = float(np.exp(self.random.normal(0, 0.02)))
            slow = 3.0 if self.random.random() < self.disturbed else 1.0
            return ms * self.speed * noise * slow

        return step


PLAN = Plan(warmup_ms=0, seconds=2.0, seed=1)


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.05, 1.5])
def test_the_interval_holds_the_true_ratio_on_a_restless_machine(ratio):
    hits = 0
    for seed in range(40):
        machine = Machine(seed)
        times = measure(
            {"a": machine.engine("a", 5.0), "b": machine.engine("b", 5.0 / ratio)}, PLAN
        )
        found = speedup(times["a"], times["b"], resamples=500)
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(ratio, rel=0.12)
        hits += found.low <= ratio <= found.high
    assert hits >= 34  # 95 % of 40, less what chance allows (binomial, one in a thousand)


def test_unpaired_medians_would_be_misled_where_rounds_are_not():
    """The machine slows down by half; engines measured one after the other would look so."""
    steps = {"n": 0}

    def engine(ms):
        def step():
            steps["n"] += 1
            return ms * (1 + steps["n"] / 400)

        return step

    times = measure({"a": engine(5.0), "b": engine(5.0)}, PLAN)
    assert speedup(times["a"], times["b"], resamples=500).value == pytest.approx(1.0, abs=0.02)
    assert drift(times["a"]) > 1.5


def test_every_round_runs_every_engine_in_a_new_order():
    machine = Machine(disturbed=0)
    names = ["a", "b", "c"]
    times = measure({n: machine.engine(n, 40.0) for n in names}, PLAN)
    rounds, calls = times["a"].shape
    per_block = calls + benchmark.DROPPED
    measured = machine.calls[-rounds * per_block * 3 :]
    blocks = [measured[i] for i in range(0, len(measured), per_block)]
    orders = [tuple(blocks[i : i + 3]) for i in range(0, len(blocks), 3)]
    assert all(sorted(order) == names for order in orders)
    assert len(set(orders)) > 1


def test_the_order_is_the_seeds():
    def order(seed):
        machine = Machine()
        measure({n: machine.engine(n, 40.0) for n in "ab"}, Plan(0, 2.0, seed))
        return machine.calls

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize(
    ("ms", "rounds", "calls"),
    [
        pytest.param(1.0, 40, 50, id="a fast engine: many calls a block"),
        pytest.param(25.0, 40, 2, id="a usual one"),
        pytest.param(100.0, 20, 1, id="a slow one: fewer rounds, the time is kept"),
        pytest.param(900.0, 12, 1, id="a very slow one: enough rounds for an interval"),
    ],
)
def test_time_is_shared_out_by_pace(ms, rounds, calls):
    times = measure({"a": lambda: ms}, PLAN)
    assert times["a"].shape == (rounds, calls)


def test_percentiles_and_throughput():
    times = np.arange(1.0, 101.0).reshape(10, 10)
    found = latency(times)
    assert (found.p50, found.p90, found.p99) == pytest.approx((50.5, 90.1, 99.01))
    assert throughput(times, batch_size=4) == pytest.approx(4 * 1000 / 50.5)


def test_the_baseline_against_itself_is_one():
    times = np.random.default_rng(0).gamma(20, 0.3, (40, 5))
    found = speedup(times, times, resamples=200)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def test_a_steady_machine_does_not_drift():
    assert drift(np.random.default_rng(0).normal(10, 0.2, (40, 5))) < 1.1
