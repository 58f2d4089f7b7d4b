"""The resource itself: metadata, spec, status."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from mpj_operator.api.candidates import Candidate
from mpj_operator.api.data import Calibration, Validation
from mpj_operator.api.expand import MAX_EXPANDED, default_candidates, expand, expanded_names
from mpj_operator.api.model import ModelSource
from mpj_operator.api.objective import Objective, Search
from mpj_operator.api.pod import ClassResources, PodOverrides, UnitResources
from mpj_operator.api.rules import Rule, Ruled, duplicates, when
from mpj_operator.api.scalars import BY_NAME, Seconds, Time
from mpj_operator.api.source import S3Access, Storage
from mpj_operator.api.status import JobStatus
from mpj_operator.api.target import FORMATS, Target, is_cpu
from mpj_runner.contract.base import Value
from mpj_runner.contract.messages import canonical, digest
from mpj_runner.contract.quantization import HighPrecision

GROUP: Final = "mixedprecision.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "MixedPrecisionJob"
PLURAL: Final = "mixedprecisionjobs"

_FP8_BACKENDS: Final = [backend for backend, formats in FORMATS.items() if "fp8" in formats]
_FP8_WORDS: Final = f"must be int8: fp8 needs backend {' or '.join(_FP8_BACKENDS)}"


def _unknown_excludes(spec: "JobSpec") -> Iterable[str]:
    cast = {c.name for c in spec.candidates or () if c.auto_cast is not None}
    for index, candidate in enumerate(spec.candidates or ()):
        if candidate.ptq is not None and candidate.ptq.exclude_from not in {None, *cast}:
            yield f"candidates[{index}].ptq.excludeFrom"


def _unsupported_formats(spec: "JobSpec") -> Iterable[str]:
    allowed = FORMATS[spec.target.backend]
    for index, candidate in enumerate(spec.candidates or ()):
        for member, quantizer in (
            ("ptq", candidate.ptq),
            ("autoQuantize", candidate.auto_quantize),
        ):
            if quantizer is not None and quantizer.format not in allowed:
                yield f"candidates[{index}].{member}.format"
    if spec.search is not None and spec.search.format not in allowed:
        yield "search.format"


def _unsupported_casts(spec: "JobSpec") -> Iterable[str]:
    for index, candidate in enumerate(spec.candidates or ()):
        cast = candidate.auto_cast
        if spec.target.backend == "onnxruntime" and cast and cast.low_precision_type == "bf16":
            yield f"candidates[{index}].autoCast.lowPrecisionType"


def _colliding_names(spec: "JobSpec") -> Iterable[str]:
    listed = [c.name for c in spec.candidates or ()]
    if len(set(listed)) < len(listed):
        return  # The rule on unique names says it better.
    seen: set[str] = set()
    for name, index in expanded_names(spec.candidates or ()):
        if name in seen:
            yield f"candidates[{index}].name"
        seen.add(name)


def _frozen(member: str, required: bool) -> Rule:
    """Make the rule that a member of the spec is neither changed, added nor removed."""
    same = f"self.{member} == oldSelf.{member}"
    both = f"has(self.{member}) == has(oldSelf.{member})"
    return Rule(
        message="is immutable: create another job",
        field=member,
        cel=same if required else f"{both} && (!has(self.{member}) || {same})",
    )


def _paused(member: str) -> Rule:
    """Make the rule that a member changes only before the start or while suspended."""
    now, old = f"self.spec.{member}", f"oldSelf.spec.{member}"
    same = f"has({now}) == has({old}) && (!has({now}) || {now} == {old})"
    started = "has(oldSelf.status) && has(oldSelf.status.startTime)"
    return Rule(
        message="may change only before the job starts or while it is suspended: "
        "set spec.suspend to true first",
        field=f"spec.{member}",
        cel=f"({same}) || !({started}) || self.spec.suspend || oldSelf.spec.suspend",
    )


class JobSpec(Ruled):
    """What is asked for."""

    model: ModelSource
    """The detector."""
    calibration: Calibration
    """Images to measure ranges and sensitivities on."""
    validation: Validation
    """Labelled images to judge by."""
    target: Target
    """What the engine is to run on."""
    candidates: (
        Annotated[
            tuple[Candidate, ...],
            Field(min_length=1, max_length=32, json_schema_extra=BY_NAME),
        ]
        | None
    ) = None
    """The precision assignments to try; default: a good set for the backend."""
    search: Search | None = None
    """Look for a better assignment than the candidates; default: no search."""
    objective: Objective = Objective()
    """What must be kept and what must be won; may change always and then judges again."""
    storage: Storage | None = None
    """Where artifacts go; `mpj run` keeps them in its output folder by default."""
    resources: UnitResources = UnitResources()
    """Resources of the pods."""
    pod_overrides: PodOverrides = PodOverrides()
    """What may be changed in the pods."""
    parallelism: Annotated[int, Field(ge=1, le=64)] = 2
    """Units at once that build or measure: all but prepare, calibrate and report."""
    suspend: bool = False
    """Create nothing and delete unfinished units; finished work is kept."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """Retries of each unit."""
    active_deadline_seconds: Seconds | None = None
    """Time with a pod scheduled after which the job ends with what it has; default: none."""
    unit_deadline_seconds: Seconds | None = None
    """Time that one unit may be active; default: none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """When to delete the units of a finished job; the job itself stays. Default: never."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            message="is required: where blobs, engines and reports are kept",
            field="storage",
            cel="has(self.storage)",
            broken=lambda s: when(s.storage is None, "storage"),
            cluster_only=True,
        ),
        Rule(
            message="must be unique",
            broken=lambda s: duplicates((c.name for c in s.candidates or ()), "candidates", "name"),
        ),
        Rule(
            message="must name an autoCast candidate of this job",
            field="candidates",
            cel="!has(self.candidates) || self.candidates.all(c, !has(c.ptq) "
            "|| !has(c.ptq.excludeFrom) || self.candidates.exists(o, "
            "o.name == c.ptq.excludeFrom && has(o.autoCast)))",
            broken=_unknown_excludes,
        ),
        Rule(
            message=_FP8_WORDS,
            field="candidates",
            cel=f"self.target.backend in {_FP8_BACKENDS} || !has(self.candidates) "
            "|| self.candidates.all(c, (!has(c.ptq) || c.ptq.format != 'fp8') "
            "&& (!has(c.autoQuantize) || c.autoQuantize.format != 'fp8'))",
            broken=_unsupported_formats,
        ),
        Rule(
            message=_FP8_WORDS,
            field="search",
            cel=f"self.target.backend in {_FP8_BACKENDS} || !has(self.search) "
            "|| self.search.format != 'fp8'",
        ),
        Rule(
            message="must be fp16: ONNX Runtime has no bf16 convolutions on CPUs",
            field="candidates",
            cel="self.target.backend != 'onnxruntime' || !has(self.candidates) "
            "|| self.candidates.all(c, !has(c.autoCast) || c.autoCast.lowPrecisionType != 'bf16')",
            broken=_unsupported_casts,
        ),
        Rule(
            message=f"must come to at most {MAX_EXPANDED} after effectiveBits are expanded",
            field="candidates",
            cel="!has(self.candidates) || self.candidates.map(c, has(c.autoQuantize) "
            f"? c.autoQuantize.effectiveBits.size() : 1).sum() <= {MAX_EXPANDED}",
            broken=lambda s: when(
                len(expanded_names(s.candidates or ())) > MAX_EXPANDED, "candidates"
            ),
        ),
        Rule(
            message="makes a name twice once effectiveBits are expanded",
            broken=_colliding_names,
        ),
        *(_frozen(member, required=True) for member in ("model", "calibration", "validation")),
        _frozen("target", required=True),
        _frozen("candidates", required=False),
        Rule(
            message="is immutable, but maxTrials may grow: create another job",
            field="search",
            cel="has(self.search) == has(oldSelf.search) && (!has(self.search) "
            "|| (self.search.format == oldSelf.search.format "
            "&& self.search.maxTrials >= oldSelf.search.maxTrials))",
        ),
    )

    @property
    def on_cpu(self) -> bool:
        """Say whether the engine runs on the CPU."""
        return is_cpu(self.target.backend)

    @property
    def baseline_precision(self) -> HighPrecision:
        """Return the baseline's type."""
        return self.objective.baseline_precision(self.target.backend)

    def expanded(self) -> tuple[Candidate, ...]:
        """Return one candidate for each engine to build, with every default filled in."""
        backend = self.target.backend
        return expand(self.candidates or default_candidates(backend), backend)

    def sha256(self) -> str:
        """Return the digest of the spec's canonical JSON, defaults included."""
        return digest(canonical(self.to_json()))

    def access(self, source: S3Access) -> S3Access:
        """Return how a source is reached: its own way, else the storage's."""
        own = source.credentials_secret_ref is not None or source.endpoint_url is not None
        return source if own or self.storage is None else self.storage

    def resources_for(self, *, accelerator: bool) -> ClassResources:
        """Return the resources of a class of units; where none is named, one GPU is asked for."""
        if not accelerator:
            return self.resources.cpu
        gpu = self.resources.gpu
        if any(name.startswith("nvidia.com/") for name in gpu.limits):
            return gpu
        return gpu.model_copy(update={"limits": {**gpu.limits, "nvidia.com/gpu": "1"}})


class Metadata(Value):
    """The part of an object's metadata that is used; the rest is ignored.

    Annotations too: kubectl keeps whole objects in them.
    """

    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
    ]
    namespace: Annotated[str, Field(max_length=63)] = "default"
    uid: Annotated[str, Field(max_length=64)] | None = None
    generation: Annotated[int, Field(ge=0)] | None = None
    resource_version: Annotated[str, Field(max_length=64)] | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = {}


class MixedPrecisionJob(Ruled):
    """Find the fastest mixed-precision engine of a detector that keeps its accuracy."""

    api_version: Literal["mixedprecision.dev/v1alpha1"]
    """Group and version of this kind."""
    kind: Literal["MixedPrecisionJob"]
    """The kind."""
    metadata: Metadata
    """Name, namespace and labels."""
    spec: JobSpec
    """What is asked for."""
    status: JobStatus = JobStatus()
    """What came of it; written by the operator."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            message="metadata.name must be a DNS label of at most 63 characters",
            cel="self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
        ),
        *(_paused(member) for member in ("podOverrides", "resources", "storage")),
    )
