"""report.json: what a job left behind."""

from typing import Annotated, Literal

from pydantic import Field

from mpj_runner.contract.base import DecimalString, Message, Name, Sha256, ShortText, Value
from mpj_runner.contract.result import Artifacts, Result


class ReportJob(Value):
    name: ShortText
    namespace: ShortText | None = None
    uid: ShortText | None = None
    spec_sha256: Sha256


class Environment(Value):
    """Where the figures come from."""

    backend: ShortText
    hardware: ShortText | None = None
    image: ShortText | None = None
    runner_version: ShortText | None = None
    packages: dict[str, str] = {}
    conditions: tuple[Message, ...] = ()


class Objective(Value):
    metric: ShortText
    max_accuracy_drop: DecimalString
    drop_type: ShortText
    min_speedup: DecimalString
    baseline_precision: ShortText


class Sensitivity(Value):
    layer: ShortText
    node: Annotated[str, Field(max_length=1024)]
    score: DecimalString


class Best(Value):
    name: Name
    """The winner: a candidate, a trial, baseline or reference."""
    reason: Message
    """Why this one."""
    artifacts: Artifacts | None = None
    """Its files."""


class Provenance(Value):
    """One step that ran or was taken from the cache."""

    unit: Name
    step: Name
    key: Sha256
    seconds: float
    cached: bool = False
    inputs: dict[str, Sha256] = {}
    outputs: dict[str, Sha256] = {}
    packages: dict[str, str] = {}


class ReportParams(Value):
    """All that the report step is told by the plan.

    Inputs: ``scores`` (optional), ``manifest-<unit>`` for each finished unit (UnitManifest as
    JSON; optional). Files: ``json`` (Report), ``html``.
    """

    job: ReportJob
    environment: Environment
    objective: Objective
    reference: Result
    baseline: Result
    candidates: Annotated[tuple[Result, ...], Field(max_length=128)] = ()
    best: Best
    deadline_exceeded: bool = False


class Report(Value):
    schema_version: Literal["1"] = "1"
    job: ReportJob
    environment: Environment
    objective: Objective
    reference: Result
    baseline: Result
    candidates: tuple[Result, ...]
    sensitivity: tuple[Sensitivity, ...]
    """Most sensitive first; empty when no step scored layers."""
    pareto: tuple[Name, ...]
    """Names on the front of speed and accuracy, fastest first."""
    best: Best
    provenance: tuple[Provenance, ...] = ()
    deadline_exceeded: bool = False
    """The job ended at its deadline: candidates may be missing."""
