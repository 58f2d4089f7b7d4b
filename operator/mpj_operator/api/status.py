"""What the operator writes: the record from which the next decision is made."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints

from mpj_operator.api.scalars import BY_NAME, Time
from mpj_runner.contract.base import (
    Count,
    DecimalString,
    Message,
    Name,
    Sha256,
    ShortText,
    Uri,
    Value,
)
from mpj_runner.contract.report import Best
from mpj_runner.contract.result import Artifact, Result

ConditionType = Literal[
    "Accepted", "Suspended", "Complete", "Failed", "Ready", "Reconciling", "Stalled"
]
JobState = Literal["Pending", "Queued", "Running", "Suspended", "Complete", "Failed"]
ENDED: Final[frozenset[str]] = frozenset({"Complete", "Failed"})
"""States that a job stays in while its spec stays as it is."""
UnitState = Literal["Pending", "Queued", "Running", "Succeeded", "Failed"]
Reason = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$", max_length=128)
]
_BY_TYPE: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}


class Condition(Value):
    """One thing that is so, is not so, or is unknown."""

    type: ConditionType
    """What; Ready, Reconciling and Stalled are for GitOps tools."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Reason
    """Why, in one word."""
    message: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Why, in words for people."""
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Generation of the spec that this was found for."""
    last_transition_time: Time
    """When status last changed."""


class UnitCounts(Value):
    """How many units there are, by state."""

    total: Count = 0
    """Units known so far."""
    succeeded: Count = 0
    """Units that are done."""
    active: Count = 0
    """Units that have a Job which is not finished."""
    failed: Count = 0
    """Units that ended without a result."""


class Runtime(Value):
    """What judges this job, fixed at the first reconcile: one job never has two runners."""

    image: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Image of the steps' containers, by digest."""
    runner_version: ShortText | None = None
    """Version of the steps."""
    gpu_product: ShortText | None = None
    """Hardware that the reference ran on; later units must run on the same."""


class ManifestReference(Value):
    """Where a unit's manifest lies."""

    uri: Uri | None = None
    """Its place in the store."""
    sha256: Sha256
    """Digest of its bytes."""


class UnitStatus(Value):
    """One batch/v1 Job of the job."""

    name: Name
    """The unit's name."""
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """How often the unit was made; more than 1 after a resume or a lost result."""
    job_name: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Name of its batch/v1 Job."""
    state: UnitState = "Pending"
    """How far it is."""
    step: Name | None = None
    """The step that runs, that failed, or that was the last."""
    reason: Reason | None = None
    """Why it waits or failed, in one word."""
    message: Message | None = None
    """Why it waits or failed, in words."""
    manifest: ManifestReference | None = None
    """What it left behind."""
    lost: Annotated[int, Field(ge=0, le=100)] = 0
    """How often its result could not be read and it was made again."""
    remeasured: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Which of the final measurements it is, past the first; one that decided nothing is followed
    by the next, another objective by the next ninth."""
    disrupted_pods: (
        Annotated[
            tuple[Annotated[str, StringConstraints(max_length=253)], ...], Field(max_length=16)
        ]
        | None
    ) = None
    """Pods of this attempt that were drained, preempted or lost with their node; the first few."""
    start_time: Time | None = None
    """When the pod that it has, or had last, was scheduled; none while it waits for a node."""
    spent_until: Time | None = None
    """When a pod of it last left its node before its end: its time until then is in
    spentSeconds."""
    completion_time: Time | None = None
    """When it ended."""


class TrialStatus(Value):
    """One trial of the search."""

    name: Name
    """Its name among the candidates."""
    kept: Count
    """Most sensitive layers that it keeps in high precision."""


class SearchStatus(Value):
    """How far the search is."""

    layers: Count
    """Layers that sensitivity was scored for."""
    trials: Annotated[tuple[TrialStatus, ...], Field(max_length=64)] = Field(
        default=(), json_schema_extra=BY_NAME
    )
    """Trials so far; what became of them is in candidates."""
    done: bool = False
    """No further trial is worth making, or the budget is spent."""
    max_trials: Count | None = None
    """The budget with which it was done: a larger one lets it go on."""


class BestStatus(Best):
    """The winner, with the figures that decided."""

    map: DecimalString | None = Field(default=None, alias="mAP")
    """Its COCO mAP, rounded."""
    drop: DecimalString | None = None
    """Its drop of the objective's metric, rounded."""
    speedup: DecimalString | None = None
    """Its speed-up over the baseline, rounded."""

    @classmethod
    def of(cls, best: Best, result: Result) -> Self:
        """Join the verdict with the winner's result.

        Args:
            best: the verdict.
            result: the result of the candidate that it names.
        """
        return cls(
            name=best.name,
            reason=best.reason,
            artifacts=best.artifacts,
            map=None if result.map is None else round(result.map, 4),
            drop=None if result.map_drop is None else round(result.map_drop.value, 4),
            speedup=None if result.speedup is None else round(result.speedup.value, 3),
        )


class ReportFiles(Value):
    """The two forms of the report."""

    json_file: Artifact | None = Field(default=None, alias="json")
    """report.json."""
    html: Artifact | None = None
    """report.html."""


class JobStatus(Value):
    """What came of a job."""

    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = Field(
        default=(), json_schema_extra=_BY_TYPE
    )
    """What is so: Accepted, Suspended, Complete, Failed, Ready, Reconciling, Stalled."""
    state: JobState | None = None
    """The conditions in one word, for people; never decide by it."""
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Generation of the spec that this status is about."""
    start_time: Time | None = None
    """When the first unit was created."""
    completion_time: Time | None = None
    """When the job became Complete or Failed."""
    spent_seconds: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Time with a pod scheduled that the units' own times do not show, since they were made again
    or their pods were replaced; counts for activeDeadlineSeconds."""
    units: UnitCounts | None = None
    """How many units there are, by state."""
    progress: (
        Annotated[str, StringConstraints(pattern=r"^[0-9]+/[0-9]+$", max_length=16)] | None
    ) = None
    """Finished units of all units, such as 5/9."""
    runtime: Runtime | None = None
    """What judges this job."""
    store_uri: Uri | None = Field(default=None, alias="storeURI")
    """Where the units' work lies; when spec.storage names another place, they are made again."""
    unit_statuses: Annotated[tuple[UnitStatus, ...], Field(max_length=160)] = Field(
        default=(), json_schema_extra=BY_NAME
    )
    """The units, in the order of the plan."""
    reference: Result | None = None
    """The FP32 engine: the yardstick of accuracy."""
    baseline: Result | None = None
    """The unquantized engine that quantized ones must beat."""
    candidates: Annotated[tuple[Result, ...], Field(max_length=128)] = Field(
        default=(), json_schema_extra=BY_NAME
    )
    """What was measured of each candidate and trial."""
    search: SearchStatus | None = None
    """How far the search is."""
    objective_sha256: Sha256 | None = Field(default=None, alias="objectiveSHA256")
    """Digest of the objective that candidates were judged by; another one judges again."""
    measured_sha256: Sha256 | None = Field(default=None, alias="measuredSHA256")
    """Digest of the objective's metric and baseline; others have to be measured again."""
    best: BestStatus | None = None
    """The winner."""
    report: ReportFiles | None = None
    """What the job left behind."""
