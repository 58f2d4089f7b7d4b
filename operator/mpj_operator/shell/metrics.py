"""What Prometheus reads."""

from collections import Counter as Counts
from collections.abc import Callable, Iterable
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mpj_operator.api.status import JobState, JobStatus

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The operator's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mpj_api_requests",
            "Requests to the Kubernetes API.",
            ["verb", "code"],
            registry=self.registry,
        )
        self._reconciles = Histogram(
            "mpj_reconcile_seconds",
            "Time of one pass over a job.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            "mpj_reconcile_errors",
            "Passes that failed and are tried again.",
            ["error"],
            registry=self.registry,
        )
        self._units = Counter(
            "mpj_units", "Units that ended.", ["step", "outcome"], registry=self.registry
        )
        self._jobs = Gauge("mpj_jobs", "Jobs by state.", ["state"], registry=self.registry)
        self._leader = Gauge(
            "mpj_leader", "1 while this operator works, 0 on standby.", registry=self.registry
        )

    def watch(self, *, depth: Callable[[], float], age: Callable[[], float]) -> None:
        """Read these two whenever Prometheus asks."""
        gauge = Gauge("mpj_queue_depth", "Jobs that wait for a pass.", registry=self.registry)
        gauge.set_function(depth)
        gauge = Gauge(
            "mpj_watch_age_seconds",
            "Since the oldest change that the watch has not shown.",
            registry=self.registry,
        )
        gauge.set_function(age)

    def request(self, verb: str, code: int) -> None:
        """Count an answer of the API server (0: none)."""
        self._requests.labels(verb, str(code)).inc()

    def reconciled(self, seconds: float) -> None:
        """Note a pass."""
        self._reconciles.observe(seconds)

    def failed(self, error: Exception) -> None:
        """Count a failed pass."""
        self._errors.labels(type(error).__name__).inc()

    def leading(self, *, leads: bool) -> None:
        """Note whether this operator works."""
        self._leader.set(float(leads))

    def wrote(self, before: JobStatus, after: JobStatus) -> None:
        """Count the units that ended between two statuses."""
        old = {record.name: record.state for record in before.unit_statuses}
        for record in after.unit_statuses:
            if record.state in ("Succeeded", "Failed") and old.get(record.name) != record.state:
                self._units.labels(record.step or "", record.state).inc()

    def states(self, found: Iterable[str]) -> None:
        """Set the number of jobs in each state."""
        counts = Counts(found)
        for state in get_args(JobState):
            self._jobs.labels(state).set(counts[state])

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
