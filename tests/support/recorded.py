"""Manifests of jobs in every state, as the API server would show them, made by the real plan.

``python -m recorded FOLDER`` writes each to FOLDER/<state>.yaml.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from simulated import NOW, Figures, Simulation, job

from mpj_operator.api.status import JobStatus
from mpj_operator.core.conditions import Stamp
from mpj_operator.core.invalid import rejected
from mpj_operator.core.observed import PodSeen
from mpj_operator.core.refusals import Refusal, with_refusals

Verdict = Literal["InProgress", "Suspended", "Failed", "Current"]


@dataclass(frozen=True)
class Recorded:
    """A job in one state, and what everyone who waits for it has to think."""

    name: str
    verdict: Verdict
    words: str
    """What the message for people says, in part."""
    manifest: dict[str, Any]


def recorded() -> Iterator[Recorded]:
    """Yield every state; none is written by hand."""
    for name, (verdict, words, make) in _STATES.items():
        made = make().job
        body = made.to_json()
        body["metadata"] = {k: v for k, v in body["metadata"].items() if v}
        if made.status == JobStatus():
            del body["status"]  # the API server shows none before one is written
        yield Recorded(name, verdict, words, body)


def _new() -> Simulation:
    return Simulation(job())


def _started() -> Simulation:
    made = _new()
    made.step()
    return made


def _pending() -> Simulation:
    made = _new()
    decided = made.step()
    refusal = Refusal("QuotaExceeded", "exceeded quota: gpus, requested: 1, used: 8, limited: 8")
    refusals = {action.name: refusal for action in decided.actions}
    return _with(made, with_refusals(decided.status, refusals, Stamp(NOW, 1)))


def _queued() -> Simulation:
    made = _started()
    for child in made.live():
        made.children[child.name] = replace(child, suspended=True)
    made.step()
    return made


def _running() -> Simulation:
    made = _started()
    for child in made.live():
        made.succeed(child)
    made.step()
    for child in made.live():
        made.children[child.name] = replace(child, pods=(PodSeen("p", "Running", scheduled=NOW),))
    made.step()
    return made


def _suspended() -> Simulation:
    made = _changed(_running(), suspend=True)
    made.step()
    return made


def _resumed() -> Simulation:
    made = _changed(_suspended(), suspend=False)
    made.step()
    return made


def _complete() -> Simulation:
    made = _new()
    made.run()
    return made


def _baseline() -> Simulation:
    made = Simulation(job(), Figures(drops={"int8": 0.02}))
    made.run()
    return made


def _failed() -> Simulation:
    made = _new()
    made.run(failing=frozenset({"prepare"}))
    return made


def _invalid() -> Simulation:
    made = _new()
    problems = "spec.candidates[0].ptq.excludeFrom: must name an autoCast candidate of this job"
    return _with(made, rejected(made.job.status, problems, Stamp(NOW, 1)))


def _objective_changed() -> Simulation:
    made = _changed(_complete(), objective={"maxAccuracyDrop": "0.0001"})
    made.step()
    return made


def _ttl_changed() -> Simulation:
    made = _changed(_complete(), ttlSecondsAfterFinished=60)
    made.step()
    return made


def _generation_ahead() -> Simulation:
    return _changed(_complete(), objective={"maxAccuracyDrop": "0.0001"})


def _changed(made: Simulation, **spec: Any) -> Simulation:
    """Change the spec as a user would; the API server counts the generation."""
    status, generation = made.job.status, (made.job.metadata.generation or 0) + 1
    body = made.job.to_json()
    given = {key: value for key, value in body["spec"].items() if key not in spec}
    changed = made.job.model_validate(
        {**body, "spec": {**given, **spec}, "status": {}}, context={"local": True}
    )
    metadata = changed.metadata.model_copy(update={"generation": generation})
    made.job = changed.model_copy(update={"metadata": metadata, "status": status})
    return made


def _with(made: Simulation, status: Any) -> Simulation:
    made.job = made.job.model_copy(update={"status": status})
    return made


_STATES: dict[str, tuple[Verdict, str, Callable[[], Simulation]]] = {
    "new": ("InProgress", "operator", _new),
    "started": ("InProgress", "prepare: Created", _started),
    "pending": ("InProgress", "exceeded quota", _pending),
    "queued": ("InProgress", "waits for admission", _queued),
    "running": ("InProgress", "reference", _running),
    "suspended": ("Suspended", "spec.suspend is true", _suspended),
    "resumed": ("InProgress", "reference", _resumed),
    "complete": ("Current", "int8: 1.50x", _complete),
    "complete-without-a-winner": ("Current", "baseline: ", _baseline),
    "failed": ("Failed", "prepare (eval): bad input", _failed),
    "invalid": ("Failed", "spec.candidates[0].ptq.excludeFrom", _invalid),
    "objective-changed": ("InProgress", "final", _objective_changed),
    "ttl-changed-when-complete": ("Current", "int8: 1.50x", _ttl_changed),
    "generation-ahead": ("InProgress", "last change", _generation_ahead),
}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def text(manifest: dict[str, Any]) -> str:
    """Return a manifest as YAML."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=100)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for state in recorded():
        (folder / f"{state.name}.yaml").write_text(text(state.manifest))
