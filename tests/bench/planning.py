"""How long plan() takes: ``python tests/bench/planning.py``."""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from simulated import NOW, SETTINGS, Simulation, job

from mpj_operator.core.observed import Observed
from mpj_operator.core.plan import plan


def measure(name: str, candidates: int, repeats: int = 200) -> None:
    """Print the median and the 99th percentile of plan() over the states of a whole job."""
    listed = [{"name": f"c{n}", "ptq": {"percentile": f"99.{n:02d}"}} for n in range(candidates)]
    simulation = Simulation(job(candidates=listed, parallelism=4))
    times: list[float] = []
    while simulation.job.status.state not in ("Complete", "Failed") and len(times) < repeats:
        seen = Observed(simulation.job, tuple(simulation.children.values()), NOW, SETTINGS)
        started = time.perf_counter()
        plan(seen)
        times.append((time.perf_counter() - started) * 1e6)
        simulation.step()
        for child in simulation.live():
            simulation.succeed(child)
    p50 = statistics.median(times)
    p99 = sorted(times)[int(len(times) * 0.99)]
    print(f"plan() {name:<14} p50 {p50:8.0f} us   p99 {p99:8.0f} us   ({len(times)} states)")


if __name__ == "__main__":
    measure("1 candidate", 1)
    measure("3 candidates", 3)
    measure("32 candidates", 32)
