"""Pods of units without processes: what their runner would say, made up from MPJ_REQUEST.

The figures are those of ``simulated``; the manifests are digests of the requests, so that equal
work has an equal manifest, as with the real runner and its store.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from faults import Ending, containers_of
from simulated import Figures, last_words

from mpj_operator.core.names import LABEL_UNIT
from mpj_runner.contract.messages import Termination


@dataclass
class Answers:
    """A runner that computes nothing, and the record of what it would have computed."""

    figures: Figures = field(default_factory=Figures)
    seconds: float = 0.0
    """How long each container runs."""
    held: set[str] = field(default_factory=set)
    """Units whose containers run until their name is taken out."""
    lose: set[str] = field(default_factory=set)
    """Units whose next result is lost: the pod succeeds without last words."""
    computed: list[str] = field(default_factory=list)
    """Manifest digests in the order in which they were computed: none appears twice."""
    twice: list[str] = field(default_factory=list)
    """Units that were computed while another pod was computing the same."""
    _running: set[str] = field(default_factory=set)

    def begin(self, pod: Mapping[str, Any]) -> "Work":
        """Start a pod's work."""
        labels = pod["metadata"].get("labels", {})
        unit = labels.get(LABEL_UNIT)
        names = [container["name"] for container in containers_of(pod["spec"])]
        if unit is None:  # anybody's pod: it just succeeds
            return Work(self, "", None, {name: Ending(after=self.seconds) for name in names})
        value = {"metadata": {"labels": labels}, "spec": {"template": {"spec": pod["spec"]}}}
        words = last_words(value, self.figures)
        said = Termination.decode(words)
        if said is None or said.manifest is None:
            raise ValueError(f"no manifest in {words}")
        digest: str | None = said.manifest.sha256
        if digest in self._running:
            self.twice.append(unit)
        elif digest in self.computed:
            digest = None  # its store has it
        if digest is not None:
            self._running.add(digest)
        if unit in self.lose:
            self.lose.remove(unit)
            words = ""
        endings = {name: Ending(after=self.seconds) for name in names[:-1]}
        endings[names[-1]] = Ending(0, words, self.seconds)
        return Work(self, unit, digest, endings)

    @contextmanager
    def holding(self, *units: str) -> Iterator[None]:
        """Let units run for the length of a block; one may be let go sooner: ``held.discard``."""
        self.held.update(units)
        try:
            yield
        finally:
            self.held.difference_update(units)

    def settle(self, digest: str | None, *, done: bool) -> None:
        """Note that a pod's work has ended."""
        if digest is None:
            return
        self._running.discard(digest)
        if done:
            self.computed.append(digest)


@dataclass
class Work:
    """What one pod will say, container by container."""

    answers: Answers
    unit: str
    digest: str | None
    """Of the manifest that it computes; None: nothing is left to compute."""
    endings: dict[str, Ending]

    @property
    def held(self) -> bool:
        """Tell whether its containers have to go on running."""
        return self.unit in self.answers.held

    def end(self, *, done: bool) -> None:
        """Say whether all containers succeeded."""
        self.answers.settle(self.digest, done=done)
