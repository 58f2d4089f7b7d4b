"""What a job may say about its pods: resources, and a short list of overrides.

Nothing that reaches out of the pod's sandbox is on the list: no volumes of the host, no security
context, no commands.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from mpj_operator.api.affinity import Affinity
from mpj_operator.api.rules import Rule, Ruled, duplicates, exactly_one, when
from mpj_operator.api.scalars import (
    BY_NAME,
    Annotations,
    LabelKey,
    Labels,
    LabelValue,
    ObjectName,
    Quantity,
)
from mpj_operator.api.source import SecretReference
from mpj_runner.contract.base import Value

OWN_PREFIX: Final = "mixedprecision.dev/"
OWN_ENV: Final = "MPJ_"
Resources = Annotated[dict[str, Quantity], Field(max_length=16)]


class ClassResources(Value):
    """Resources of each container of a class of units."""

    requests: Resources = {}
    """What the scheduler reserves; default: the limits."""
    limits: Resources = {}
    """What a container may use at most."""


class UnitResources(Value):
    """One class for units that need no accelerator, one for those that do."""

    cpu: ClassResources = ClassResources()
    """Units that need no accelerator: on CPU backends all, else prepare, calibrate and report."""
    gpu: ClassResources = ClassResources()
    """Units that need one; limits without an nvidia.com/ resource get nvidia.com/gpu: 1."""


class KeyReference(Value):
    """One key of a Secret or ConfigMap in the job's namespace."""

    name: ObjectName
    """Name of the object."""
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
    """Key in its data."""
    optional: bool = False
    """Start the container even if the key is missing."""


class EnvSource(Ruled):
    """Where a variable's value comes from."""

    secret_key_ref: KeyReference | None = None
    """A Secret's key."""
    config_map_key_ref: KeyReference | None = None
    """A ConfigMap's key."""

    rules = (exactly_one("secret_key_ref", "config_map_key_ref"),)


class EnvVar(Ruled):
    """One environment variable of every container."""

    name: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=256)
    ]
    """Its name; MPJ_* is the operator's."""
    value: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Its value."""
    value_from: EnvSource | None = None
    """Where its value comes from, instead of value."""

    rules = (
        exactly_one("value", "value_from"),
        Rule(
            message=f"must not start with {OWN_ENV}: those are set by the operator",
            field="name",
            cel=f"!self.name.startsWith('{OWN_ENV}')",
            broken=lambda e: when(e.name.startswith(OWN_ENV), "name"),
        ),
    )


class Toleration(Value):
    """A taint that pods tolerate."""

    key: LabelKey | None = None
    """The taint's key; none with Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How the taint's value is compared."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; none: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """How long NoExecute is tolerated."""


def _own(values: Mapping[str, str], path: str) -> Iterable[str]:
    return (f"{path}.{key}" for key in values if key.startswith(OWN_PREFIX))


def _foreign_only(member: str) -> Rule:
    return Rule(
        message=f"must not start with {OWN_PREFIX}: those are set by the operator",
        field=member,
        cel=f"!has(self.{member}) || self.{member}.all(k, !k.startsWith('{OWN_PREFIX}'))",
        broken=lambda p: _own(getattr(p, member), member),
    )


class PodOverrides(Ruled):
    """What may be changed in the pods of every unit."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Image of the steps' containers; default: the operator's own setting."""
    node_selector: Labels = {}
    """Labels that nodes must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that pods tolerate."""
    affinity: Affinity | None = None
    """Where pods are to run."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass, such as nvidia."""
    service_account_name: ObjectName | None = None
    """Cloud identity of pods; they get no token of the Kubernetes API."""
    image_pull_secrets: Annotated[tuple[SecretReference, ...], Field(max_length=16)] = Field(
        default=(), json_schema_extra=BY_NAME
    )
    """Secrets for the registry."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of pods."""
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64)] = Field(
        default=(), json_schema_extra=BY_NAME
    )
    """Environment of every container, such as HTTPS_PROXY."""
    labels: Labels = {}
    """Further labels of pods."""
    annotations: Annotations = {}
    """Further annotations of pods."""
    cache_volume_claim_name: ObjectName | None = None
    """PersistentVolumeClaim (ReadWriteMany) that blobs are kept on between pods of a node."""

    rules = (
        _foreign_only("labels"),
        _foreign_only("annotations"),
        Rule(
            message="must be unique",
            broken=lambda p: [
                *duplicates((e.name for e in p.env), "env", "name"),
                *duplicates((s.name for s in p.image_pull_secrets), "imagePullSecrets", "name"),
            ],
        ),
    )
