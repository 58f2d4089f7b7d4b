"""What holds of every job on a cluster, whatever befell it, and what a good end is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from operating import PODS, World, condition, shown
from rest import Json, path

from mpj_runner.contract.messages import StepError, Termination

UNITS: Final = frozenset(
    {"prepare", "reference", "baseline", "calibrate", "int8", "fp16", "final", "report"}
)
"""Of the job that ``operating.manifest`` makes."""


@dataclass
class Judged(World):
    """A world whose pods are counted at the end."""

    extra: int = 0
    """Counted failures and disruptions that the test has made, and units that it asked for anew."""

    def pod_of(self, record: Mapping[str, Any]) -> Json:
        """Return the pod of a unit."""
        pods = (p for p in self.pods() if p["metadata"]["name"].startswith(record["jobName"]))
        return next(pods)

    def delete_pod(self, record: Mapping[str, Any]) -> None:
        """Delete a unit's pod by hand."""
        name = self.pod_of(record)["metadata"]["name"]
        self.plane.api.delete(path(PODS, self.namespace, name))

    def assert_no_pod_too_many(self) -> None:
        """Hold the pods that there ever were against the units and what the test has done."""
        pods = self.pods_per_unit()
        surplus = sum(count - 1 for count in pods.values())
        assert surplus <= self.extra, "\n".join(sorted(self.pod_names()))


def assert_complete(status: Mapping[str, Any], best: str = "int8") -> None:
    """Hold that every unit has succeeded, and which candidate is the best."""
    assert status["state"] == "Complete", shown(status)
    assert condition(status, "Ready")["status"] == "True"
    assert status["best"]["name"] == best, shown(status)
    assert {r["name"] for r in status["unitStatuses"]} == UNITS
    assert all(r["state"] == "Succeeded" for r in status["unitStatuses"])
    assert status["units"]["succeeded"] == len(UNITS)


def attempts(status: Mapping[str, Any]) -> dict[str, int]:
    """Return how often each unit was asked for."""
    return {record["name"]: record["attempt"] for record in status["unitStatuses"]}


def words(family: str, message: str, trace: str = "") -> str:
    """Return the last words of a container that failed."""
    error = StepError(
        family=family, step="build", message=message, **({"trace": trace} if trace else {})
    )
    return Termination(error=error).encode()
