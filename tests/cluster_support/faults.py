"""What goes wrong on a test's node, said before it happens or while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from mpj_operator.core.names import LABEL_UNIT

OOM: Final = 137


@dataclass(frozen=True)
class Ending:
    """How a container ends."""

    code: int = 0
    message: str = ""
    """Its termination message."""
    after: float = 0.0
    """Seconds that it runs first."""

    @property
    def reason(self) -> str:
        """What the kubelet calls it; 137 is the out-of-memory killer here."""
        return {0: "Completed", OOM: "OOMKilled"}.get(self.code, "Error")


@dataclass
class Fault:
    """One container of some pods does not do its work, but ends as said."""

    unit: str
    """Pattern of the unit's name, such as calibrate, search-* or *."""
    ending: Ending
    container: int | str = 0
    """Number among the pod's containers, init containers first (-1: the last), or its name."""
    times: int = 1
    """How many pods it strikes, one after the other."""


@dataclass
class Faults:
    """What a node consults before it starts a pod; a test may change it at any time."""

    planned: list[Fault] = field(default_factory=list)
    missing_images: set[str] = field(default_factory=set)
    """Images that no registry has: ImagePullBackOff until they are taken out."""
    struck: list[str] = field(default_factory=list)
    """Names of the pods that a fault has struck."""

    def plan(self, unit: str, code: int, **more: Any) -> None:
        """Plan that one container of a unit's next pod ends with an exit code.

        Args:
            unit: see ``Fault``.
            code: the exit code.
            more: members of ``Fault`` (container, times) and ``Ending`` (message, after).
        """
        fault = {key: more.pop(key) for key in ("container", "times") if key in more}
        self.planned.append(Fault(unit, Ending(code, **more), **fault))

    def of(self, pod: Mapping[str, Any]) -> dict[str, Ending]:
        """Return how containers of this pod end, by name; a fault is used up by it."""
        unit = pod["metadata"].get("labels", {}).get(LABEL_UNIT, "")
        names = [container["name"] for container in containers_of(pod["spec"])]
        found: dict[str, Ending] = {}
        for fault in self.planned:
            if fault.times <= 0 or not fnmatchcase(unit, fault.unit):
                continue
            name = names[fault.container] if isinstance(fault.container, int) else fault.container
            if name in names and name not in found:
                fault.times -= 1
                found[name] = fault.ending
        if found:
            self.struck.append(pod["metadata"]["name"])
        return found


def containers_of(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List a pod's containers, init containers first."""
    return [*spec.get("initContainers", ()), *spec["containers"]]
