"""The state that one pass of the plan works on: the status, taken apart."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import JobStatus, SearchStatus, UnitStatus
from mpj_operator.core import units as u
from mpj_operator.core.actions import Action, Delete
from mpj_operator.core.judge import Limits, limits
from mpj_operator.core.observed import Observed, Settings
from mpj_operator.core.records import active_seconds
from mpj_operator.core.requests import Requests
from mpj_runner.contract.messages import canonical, digest
from mpj_runner.contract.result import Result


def store_of(job: MixedPrecisionJob, settings: Settings) -> str:
    """Return the URI that a job's blobs and manifests are kept below."""
    if job.spec.storage is None:
        return settings.default_storage or ""
    return f"{job.spec.storage.uri.rstrip('/')}/{job.metadata.namespace}"


@dataclass
class World:
    """What one pass knows and changes; made from a status, and turned into one at the end."""

    seen: Observed
    graph: dict[str, u.Unit]
    records: dict[str, UnitStatus]
    results: dict[str, Result]
    """Of the reference, the baseline, the candidates and the trials, by unit."""
    search: SearchStatus | None
    status: JobStatus
    """What is carried over: conditions, times, runtime, best, report."""
    actions: list[Action] = field(default_factory=list)

    @classmethod
    def of(cls, seen: Observed) -> "World":
        """Take a status apart."""
        status = seen.job.status
        trials = {t.name: t.kept for t in status.search.trials} if status.search else {}
        yardsticks = (status.reference, status.baseline)
        results = {r.name: r for r in (*yardsticks, *status.candidates) if r is not None}
        return cls(
            seen=seen,
            graph=u.graph(seen.job.spec, trials),
            records={record.name: record for record in status.unit_statuses},
            results=results,
            search=status.search,
            status=status,
        )

    @property
    def store(self) -> str:
        """The URI that the job's blobs and manifests are kept below."""
        return store_of(self.seen.job, self.seen.settings)

    @property
    def requests(self) -> Requests:
        """Makes requests from the manifests that are there."""
        manifests = {
            name: record.manifest.sha256
            for name, record in self.records.items()
            if record.manifest is not None
        }
        return Requests(self.seen.job, self.store, manifests)

    def state(self, unit: str) -> str:
        """Return a unit's state."""
        record = self.records.get(unit)
        return record.state if record is not None else "Pending"

    def over(self, units: Iterable[str]) -> bool:
        """Tell whether all of these units have their end."""
        return all(self.state(unit) in ("Succeeded", "Failed") for unit in units)

    def candidates(self) -> list[u.Unit]:
        """Return the units of candidates and trials, in the order of the graph."""
        return [unit for unit in self.graph.values() if unit.kind == "candidate"]

    def put(self, record: UnitStatus) -> None:
        """Set a unit's record; the time of one that starts over still counts for the deadline."""
        old = self.records.get(record.name)
        restarts = old is not None and old.start_time is not None and record.start_time is None
        before = self.active_seconds() if restarts else 0.0
        self.records[record.name] = record
        if restarts:
            spent = self.status.spent_seconds + round(before - self.active_seconds())
            self.status = self.status.model_copy(update={"spent_seconds": spent})

    def delete(self, unit: str, reason: str) -> None:
        """Ask for a unit's child to be deleted."""
        record = self.records.get(unit)
        if record is not None and record.job_name is not None:
            self.actions.append(Delete(record.job_name, reason))

    def limits(self) -> Limits | None:
        """Return the objective resolved against the reference; None before that is measured."""
        reference = self.results.get(u.REFERENCE)
        spec = self.seen.job.spec
        if reference is None:
            return None
        metric = reference.map if spec.objective.metric == "mAP" else reference.map50
        if metric is None:
            return None
        return limits(
            metric=spec.objective.metric,
            max_drop=spec.objective.max_accuracy_drop,
            relative=spec.objective.drop_type == "Relative",
            min_speedup=spec.objective.min_speedup,
            baseline=spec.baseline_precision,
            reference=metric,
        )

    def objective_digests(self) -> tuple[str, str]:
        """Return the digests of the objective, and of its part that measurements depend on."""
        spec = self.seen.job.spec
        measured = {"metric": spec.objective.metric, "baseline": spec.baseline_precision}
        return digest(canonical(spec.objective.to_json())), digest(canonical(measured))

    def active_seconds(self) -> float:
        """Return for how long a pod of the job was scheduled, units that were made again too."""
        return self.status.spent_seconds + active_seconds(self.records.values(), self.seen.now)
