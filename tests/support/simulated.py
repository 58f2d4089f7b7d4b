"""A cluster in memory: it answers a unit's requests with made-up, plausible outcomes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import Condition, ConditionType
from mpj_operator.core import conditions as c
from mpj_operator.core.actions import Action, Delete, SetDeadline, SetTtl
from mpj_operator.core.invalid import rejected, stopped
from mpj_operator.core.names import LABEL_ATTEMPT, LABEL_UNIT
from mpj_operator.core.observed import ChildSeen, ContainerSeen, Observed, PodSeen, Settings
from mpj_operator.core.plan import Plan, plan
from mpj_runner.contract import steps as s
from mpj_runner.contract.base import Value
from mpj_runner.contract.errors import EXIT_BUG, EXIT_USER
from mpj_runner.contract.messages import (
    SHOWN,
    Blob,
    Request,
    StepDone,
    StepError,
    Termination,
    digest,
    joined,
)
from mpj_runner.contract.result import Interval, Latency, Layers

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SETTINGS = Settings(image="job@sha256:0", runner_version="1", default_storage="file:///store")


def job(**spec: Any) -> MixedPrecisionJob:
    """Build a job for openvino with one INT8 candidate; ``spec`` replaces members."""
    return MixedPrecisionJob.model_validate(
        {
            "apiVersion": "mixedprecision.dev/v1alpha1",
            "kind": "MixedPrecisionJob",
            "metadata": {"name": "demo", "namespace": "default", "uid": "u-1", "generation": 1},
            "spec": {
                "model": {"uri": "file:///m.onnx"},
                "calibration": {"uri": "file:///c", "format": "COCO"},
                "validation": {"uri": "file:///v", "format": "COCO"},
                "target": {"backend": "openvino"},
                "candidates": [{"name": "int8", "ptq": {}}],
                **spec,
            },
        },
        context={"local": True},
    )


@dataclass(frozen=True)
class Figures:
    """What the simulated engines measure, by candidate."""

    drops: Mapping[str, float] = field(default_factory=dict)
    speedups: Mapping[str, float] = field(default_factory=dict)
    drop_of_kept: Callable[[int], float] | None = None
    """Drop of a trial by the layers that it keeps; overrides drops."""
    detections: Mapping[str, int] = field(default_factory=dict)
    layers: int = 40
    unreliable: str | None = None
    hardware: str = "CPU"
    same_engine: bool = False
    """All candidates' engines are the same bytes."""


def interval(value: float, spread: float = 0.0) -> Interval:
    return Interval(value=value, low=value - spread, high=value + spread)


def requests_of(job_value: Mapping[str, Any]) -> list[Request]:
    """Read the requests back from a Job value."""
    spec = job_value["spec"]["template"]["spec"]
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    texts = [
        joined({e["name"]: e.get("value", "") for e in container["env"]})
        for container in containers
    ]
    return [Request.model_validate_json(text) for text in texts]


def last_words(job_value: Mapping[str, Any], figures: Figures) -> str:
    """Return what the last container of a unit would say."""
    unit = job_value["metadata"]["labels"][LABEL_UNIT]
    requests = requests_of(job_value)
    kept = next((r.params.get("keepMostSensitive") for r in requests if r.step == "ptq"), None)
    yardstick = unit in ("reference", "baseline")
    engine = "any" if figures.same_engine and not yardstick else unit
    done = tuple(
        StepDone(
            name=request.name,
            outcome=_outcome(unit, request, kept, figures).to_json(),
            blobs={name: _blob(f"{engine}/{name}") for name in _outputs(request) & SHOWN},
        )
        for request in requests
        if request.fetches is None
    )
    manifest = _blob(json.dumps([unit, [r.to_json() for r in requests]], sort_keys=True))
    return Termination(steps=done, manifest=manifest).encode()


def _outputs(request: Request) -> frozenset[str]:
    return frozenset(
        {
            "export": {"metadata"},
            "build": {"onnx", "engine"},
            "report": {"json", "html"},
        }.get(request.step, set())
    )


def _blob(text: str) -> Blob:
    return Blob(sha256=digest(text.encode()), size_bytes=1000)


def _outcome(unit: str, request: Request, kept: int | None, figures: Figures) -> Value:
    drop = figures.drops.get(unit, 0.001)
    if kept is not None and figures.drop_of_kept is not None:
        drop = figures.drop_of_kept(kept)
    quantized = Layers(total=figures.layers, quantized=figures.layers - (kept or 0))
    match request.step:
        case "export":
            return s.ExportOutcome(class_count=10, opset=19)
        case "snapshot":
            return s.SnapshotOutcome(images=100)
        case "calibrate":
            return s.CalibrateOutcome(images=100, tensors=50)
        case "autoquant":
            return s.AutoQuantOutcome(layers=figures.layers)
        case "solve":
            return s.SolveOutcome(achieved=tuple(map(float, request.params["effectiveBits"])))
        case "autocast" | "ptq" | "realize":
            return s.QuantizedOutcome(layers=quantized)
        case "build":
            return s.BuildOutcome(size_bytes=1000, layers=quantized)
        case "eval":
            return s.EvalOutcome(
                map=0.6 - drop,
                map50=0.8 - drop,
                drop=None if "reference" not in request.inputs else interval(drop, 0.002),
                images=100,
                detections=figures.detections.get(unit, 500),
            )
        case "benchmark":
            return s.BenchmarkOutcome(
                engines=tuple(_timing(name, figures) for name in request.params["engines"]),
                unreliable=figures.unreliable,
                hardware=figures.hardware,
            )
        case "report":
            return s.ReportOutcome(candidates=1)


def _timing(name: str, figures: Figures) -> s.EngineTiming:
    speedup = 1.0 if name in ("baseline", "reference") else figures.speedups.get(name, 1.5)
    p50 = 10 / speedup
    return s.EngineTiming(
        name=name,
        latency_ms=Latency(p50=p50, p90=p50, p99=p50),
        throughput_per_second=1000 / p50,
        speedup=interval(speedup, 0.02 if speedup != 1 else 0.0),
    )


@dataclass
class Simulation:
    """A job, its children, and a clock that stands still unless it is moved."""

    job: MixedPrecisionJob
    figures: Figures = field(default_factory=Figures)
    settings: Settings = SETTINGS
    now: datetime = NOW
    children: dict[str, ChildSeen] = field(default_factory=dict)
    values: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    """Units in the order in which they were created."""

    def step(self, *, crash: bool = False) -> Plan:
        """Plan, act, and write the status; a crash comes between the two."""
        decided = plan(Observed(self.job, tuple(self.children.values()), self.now, self.settings))
        for action in decided.actions:
            self._perform(action)
        if not crash:
            self.job = self.job.model_copy(update={"status": decided.status})
        return decided

    def _perform(self, action: Action) -> None:
        if isinstance(action, Delete):
            self.children.pop(action.name, None)
        elif isinstance(action, SetTtl):
            self.children[action.name] = replace(self.children[action.name], ttl=action.seconds)
        elif isinstance(action, SetDeadline):
            child = self.children[action.name]
            self.children[action.name] = replace(child, deadline=action.seconds)
        elif action.name not in self.children:
            labels = action.job["metadata"]["labels"]
            self.children[action.name] = ChildSeen(
                action.name,
                labels[LABEL_UNIT],
                int(labels[LABEL_ATTEMPT]),
                deadline=action.job["spec"].get("activeDeadlineSeconds"),
            )
            self.values[action.name] = action.job
            self.history.append(labels[LABEL_UNIT])

    def condition(self, kind: ConditionType) -> Condition | None:
        """Return the condition of a type, or None."""
        return c.find(self.job.status.conditions, kind)

    def change(self, **changes: Any) -> None:
        """Replace members of the spec."""
        spec = self.job.spec.model_copy(update=changes)
        self.job = self.job.model_copy(update={"spec": spec})

    def invalidate(self) -> Sequence[Action]:
        """Do to the job what is done when its spec is wrong; return what that took."""
        actions, status = stopped(self.job.status, self.children.values(), self.now)
        for action in actions:
            self._perform(action)
        status = rejected(status, "spec.search: is wrong", c.Stamp(self.now, 2))
        self.job = self.job.model_copy(update={"status": status})
        return actions

    def live(self) -> list[ChildSeen]:
        """Return the children that are not finished."""
        return [child for child in self.children.values() if child.outcome is None]

    def put_pod(self, name: str = "p", **fields: Any) -> None:
        """Give the only live child a running pod that was scheduled now, and plan."""
        (child,) = self.live()
        container = ContainerSeen("eval", "running")
        pod = PodSeen(name, "Running", (container,), scheduled=self.now, **fields)
        self._put(child, pods=(pod,), suspended=False)
        self.step()

    def succeed(self, child: ChildSeen, *, readable: bool = True) -> None:
        """Let a child complete; its last words may be lost."""
        text = last_words(self.values[child.name], self.figures) if readable else ""
        container = ContainerSeen("last", "terminated", 0, "Completed", text)
        pod = PodSeen("p", "Succeeded", (container,), scheduled=self.now)
        self._put(child, outcome="Complete", finished=self.now, pods=(*child.pods, pod))

    def fail(self, child: ChildSeen, message: str = "bad input", *, user: bool = True) -> None:
        """Let a child fail for good."""
        family = "UserError" if user else "Bug"
        words = Termination(error=StepError(family=family, step="eval", message=message))
        code = EXIT_USER if user else EXIT_BUG
        container = ContainerSeen("eval", "terminated", code, "Error", words.encode())
        pod = PodSeen("p", "Failed", (container,), scheduled=self.now)
        self._put(child, outcome="Failed", finished=self.now, pods=(*child.pods, pod))

    def _put(self, child: ChildSeen, **changes: Any) -> None:
        self.children[child.name] = replace(child, **changes)

    def run(self, *, failing: frozenset[str] = frozenset(), limit: int = 500) -> "Simulation":
        """Go on until nothing changes; units in ``failing`` end with a UserError."""
        for _ in range(limit):
            before = self.job.status
            self.step()
            for child in self.live():
                if child.unit in failing:
                    self.fail(child)
                else:
                    self.succeed(child)
            if self.job.status == before and not self.live():
                return self
        raise AssertionError("the job does not come to an end")
