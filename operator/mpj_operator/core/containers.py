"""A unit's containers, and how they become requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.core.access import store_access
from mpj_runner.contract.base import Value
from mpj_runner.contract.messages import Input, Request
from mpj_runner.contract.steps import StepName

FETCH = "fetch"
"""The container that looks for a sealed one's result, and brings what that needs."""


@dataclass(frozen=True)
class Container:
    """One container, before it knows where the store is."""

    step: StepName
    params: Value
    inputs: Mapping[str, Input]
    name: str = ""
    """Default: the step's name."""
    publish: Mapping[str, str] = field(default_factory=dict)
    """Output or input to the stable key that people get it under."""
    measures: bool = False
    """Cached for this job's uid only."""
    repeats: int = 0
    """Of a measurement that decided nothing: what the cache has of it is not asked for again."""
    sealed: bool = False
    """Reaches no store."""
    fetches: str | None = None
    adopts: str | None = None
    """See ``Request``."""

    @property
    def title(self) -> str:
        """The container's name."""
        return self.name or self.step


def sealed(container: Container, follower: Container) -> list[Container]:
    """Return a container that runs a user's code, and those that reach the store in its stead.

    The first has the credentials and no foreign code, the second the reverse; what it leaves is put
    into the store by the one that follows.
    """
    return [
        replace(container, name=FETCH, fetches=container.title),
        replace(container, inputs={}, sealed=True),
        replace(follower, adopts=container.title),
    ]


def requests(
    job: MixedPrecisionJob, store: str, containers: Sequence[Container]
) -> tuple[Request, ...]:
    """Return what a unit's containers are told, in order."""
    meta = job.metadata
    people = f"jobs/{meta.namespace}/{meta.name}/{meta.uid}"
    return tuple(
        Request(
            step=c.step,
            name=c.title,
            params=c.params.to_json(),
            inputs=dict(c.inputs),
            store=None if c.sealed else store,
            store_access=None if c.sealed else store_access(job.spec),
            publish={output: f"{people}/{file}" for output, file in c.publish.items()},
            scope=_scope(meta.uid, c),
            last=c is containers[-1],
            fetches=c.fetches,
            adopts=c.adopts,
        )
        for c in containers
    )


def _scope(uid: str | None, container: Container) -> str | None:
    if not container.measures:
        return None
    return f"{uid}/{container.repeats}" if container.repeats else uid
