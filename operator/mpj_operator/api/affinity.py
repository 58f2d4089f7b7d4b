"""Affinity of pods to nodes and to each other, as in core/v1."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mpj_operator.api.scalars import LabelKey, Labels, LabelValue
from mpj_runner.contract.base import Value

Weight = Annotated[int, Field(ge=1, le=100)]


class NodeSelectorRequirement(Value):
    """What a node's label or field must be."""

    key: LabelKey
    """The label's or field's name."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it relates to the values."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = ()
    """What it is compared with."""


class NodeSelectorTerm(Value):
    """Requirements that must all hold."""

    match_expressions: Annotated[tuple[NodeSelectorRequirement, ...], Field(max_length=16)] = ()
    """Requirements on labels."""
    match_fields: Annotated[tuple[NodeSelectorRequirement, ...], Field(max_length=16)] = ()
    """Requirements on fields."""


class NodeSelector(Value):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...], Field(min_length=1, max_length=16)]
    """The terms."""


class PreferredSchedulingTerm(Value):
    """A term that is wished for."""

    weight: Weight
    """How much."""
    preference: NodeSelectorTerm
    """What."""


class NodeAffinity(Value):
    """Which nodes."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredSchedulingTerm, ...], Field(max_length=16)
    ] = ()
    """What is wished for."""


class LabelSelectorRequirement(Value):
    """What a label must be."""

    key: LabelKey
    """The label's name."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it relates to the values."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = ()
    """What it is compared with."""


class LabelSelector(Value):
    """A choice of objects by label."""

    match_labels: Labels = {}
    """Labels that must be equal."""
    match_expressions: Annotated[tuple[LabelSelectorRequirement, ...], Field(max_length=16)] = ()
    """Requirements that must all hold."""


class PodAffinityTerm(Value):
    """Pods to be near to, or away from."""

    topology_key: Annotated[str, StringConstraints(min_length=1, max_length=317)]
    """Label of nodes that says what near means."""
    label_selector: LabelSelector | None = None
    """Which pods."""
    namespaces: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=63)], ...], Field(max_length=64)
    ] = ()
    """In which namespaces; default: the job's."""
    namespace_selector: LabelSelector | None = None
    """In which namespaces, by label."""


class WeightedPodAffinityTerm(Value):
    """A term that is wished for."""

    weight: Weight
    """How much."""
    pod_affinity_term: PodAffinityTerm
    """What."""


class PodAffinity(Value):
    """Which pods to be near to, or, as anti-affinity, away from."""

    required_during_scheduling_ignored_during_execution: Annotated[
        tuple[PodAffinityTerm, ...], Field(max_length=16)
    ] = ()
    """What must hold."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeightedPodAffinityTerm, ...], Field(max_length=16)
    ] = ()
    """What is wished for."""


class Affinity(Value):
    """Where pods are to run."""

    node_affinity: NodeAffinity | None = None
    """Which nodes."""
    pod_affinity: PodAffinity | None = None
    """Which pods to be near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Which pods to be away from."""
