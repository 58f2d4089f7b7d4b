"""What each container of a unit is told: one request a step.

Inputs of other units are named by their manifest's digest, so a request says all that its result
depends on, and never where a pod ran.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from mpj_operator.api.candidates import Candidate
from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.source import Source
from mpj_operator.core import params
from mpj_operator.core import units as u
from mpj_operator.core.access import source_input
from mpj_operator.core.containers import Container, requests, sealed
from mpj_runner.contract.messages import Input, Request
from mpj_runner.contract.quantization import AutoCast
from mpj_runner.contract.report import ReportParams
from mpj_runner.contract.steps import (
    AutoQuantParams,
    Precision,
    PtqParams,
    RealizeParams,
    SnapshotParams,
    SolveParams,
)

CALIBRATION, VALIDATION = "snapshot-calibration", "snapshot-validation"


@dataclass(frozen=True)
class Requests:
    """Makes the requests of a job's units."""

    job: MixedPrecisionJob
    store: str
    manifests: Mapping[str, str]
    """Digest of each finished unit's manifest, by unit."""

    def of(self, unit: u.Unit) -> tuple[Request, ...]:
        """Return a unit's requests in order; every unit that it needs is in ``manifests``."""
        match unit.kind:
            case "prepare":
                containers = self._prepare()
            case "reference":
                containers = self._judged(u.REFERENCE, "fp32", [])
            case "baseline":
                containers = self._baseline()
            case "calibrate":
                containers = [self._calibrate()]
            case "score":
                containers = self._score()
            case "candidate":
                containers = self._candidate(unit)
            case "final" | "report":
                raise ValueError(f"{unit.kind} has a function of its own")
            case _:
                assert_never(unit.kind)
        return self._close(containers)

    def final(self, engines: Sequence[tuple[str, Precision]], repeats: int) -> tuple[Request, ...]:
        """Return the request of the final measurement.

        Args:
            engines: the baseline first.
            repeats: how often it was made again because it had decided nothing.
        """
        own = {f"engine-{name}": self._from(name, "build", "engine") for name, _ in engines}
        return self._close([replace(self._benchmark(engines, own), repeats=repeats)])

    def report(self, asked: ReportParams) -> tuple[Request, ...]:
        """Return the report's request; it also publishes the winner's files."""
        publish = {"json": "report.json", "html": "report.html"}
        inputs = {f"manifest-{unit}": Input(unit=sha) for unit, sha in self.manifests.items()}
        if u.SCORE in self.manifests:
            pair = _first_scoring(self.job)
            inputs["scores"] = self._from(u.SCORE, scoring_container("score", pair), "scores")
        for name, output, file in (
            ("onnx", "onnx", "model.onnx"),
            ("engine", "engine", "engine"),
        ):
            inputs[f"best-{name}"] = self._from(asked.best.name, "build", output)
            publish[f"best-{name}"] = file
        inputs["best-metadata"] = self._metadata(asked.best.name)
        publish["best-metadata"] = "metadata.json"
        return self._close([Container("report", asked, inputs, publish=publish)])

    def _prepare(self) -> list[Container]:
        spec = self.job.spec
        export = params.export(spec, spec.model.resolved_format, "spec.model.uri")
        model = {"model": source_input(spec, spec.model, "spec.model")}
        calibration = params.calibration_snapshot(spec)
        validation = params.validation_snapshot(spec)
        return [
            *sealed(
                Container("export", export, model),
                self._snapshot(CALIBRATION, spec.calibration, calibration),
            ),
            self._snapshot(VALIDATION, spec.validation, validation),
        ]

    def _snapshot(self, name: str, source: Source, snapshot: SnapshotParams) -> Container:
        inputs = {
            "source": source_input(self.job.spec, source, f"spec.{snapshot.role}"),
            "metadata": Input(step="export", output="metadata"),
        }
        return Container("snapshot", snapshot, inputs, name=name)

    def _calibrate(self) -> Container:
        return Container("calibrate", params.calibrate(self.job.spec), self._calibration_inputs())

    def _score(self) -> list[Container]:
        containers: list[Container] = []
        for pair in u.scorings(self.job.spec):
            format_, method = pair
            score = scoring_container("score", pair)
            asked = AutoQuantParams(format=format_, method=method)
            containers.append(Container("autoquant", asked, self._calibration_inputs(), score))
            if bits := params.budgets(self.job.spec, pair):
                inputs = {
                    "model": self._model(),
                    "scores": Input(step=score, output="scores"),
                    "checkpoint": Input(step=score, output="checkpoint"),
                }
                solve = SolveParams(effective_bits=bits)
                containers.append(
                    Container("solve", solve, inputs, scoring_container("solve", pair))
                )
        return containers

    def _baseline(self) -> list[Container]:
        if self.job.spec.baseline_precision == "fp32":
            return self._judged(u.BASELINE, "fp32", [], like_reference=True)
        return self._judged(u.BASELINE, "fp16", [self._autocast(AutoCast())])

    def _candidate(self, unit: u.Unit) -> list[Container]:
        candidate = unit.candidate
        if candidate is None:
            return self._trial(unit)
        made = self._made(candidate)
        return self._judged(candidate.name, candidate.precision, made)

    def _made(self, candidate: Candidate) -> list[Container]:
        """Return the container that makes a candidate's graph."""
        if candidate.auto_cast is not None:
            return [self._autocast(candidate.auto_cast)]
        if candidate.ptq is not None:
            ptq, extra = candidate.ptq, {}
            if ptq.exclude_from:
                extra["kept"] = self._from(ptq.exclude_from, "autocast", "kept")
            return [self._ptq(params.ptq(ptq), extra)]
        if candidate.auto_quantize is not None:
            return [self._allocated(candidate)]
        if candidate.onnx is None:
            raise ValueError(f"candidate {candidate.name} has no member")
        where = f"spec.candidates[{candidate.name}].onnx"
        model = source_input(self.job.spec, candidate.onnx, where)
        asked = params.export(self.job.spec, "onnx", f"{where}.uri")
        return [Container("export", asked, {"model": model})]

    def _allocated(self, candidate: Candidate) -> Container:
        aq, bits = candidate.auto_quantize, candidate.bits
        if aq is None or bits is None:
            raise ValueError(f"candidate {candidate.name} has no budget")
        pair = (aq.format, aq.method)
        allocation = self._from(u.SCORE, scoring_container("solve", pair), "allocation")
        scores = self._from(u.SCORE, scoring_container("score", pair), "scores")
        if aq.realization == "torch":
            inputs = {
                "model": self._model(),
                "metadata": self._metadata(),
                "checkpoint": self._from(u.SCORE, scoring_container("score", pair), "checkpoint"),
                "scores": scores,
                "allocation": allocation,
            }
            remainder = aq.remainder or "fp32"
            return Container(
                "realize", RealizeParams(effective_bits=bits, remainder=remainder), inputs
            )
        return self._ptq(params.allocated(aq, bits), {"allocation": allocation})

    def _trial(self, unit: u.Unit) -> list[Container]:
        spec = self.job.spec
        pair = u.search_scoring(spec)
        scores = self._from(u.SCORE, scoring_container("score", pair), "scores")
        asked = params.trial(spec, unit.kept or 0)
        return self._judged(unit.name, asked.format, [self._ptq(asked, {"scores": scores})])

    def _autocast(self, cast: AutoCast) -> Container:
        return Container("autocast", params.autocast(cast), self._calibration_inputs())

    def _ptq(self, asked: PtqParams, extra: Mapping[str, Input]) -> Container:
        inputs = {
            "model": self._model(),
            "metadata": self._metadata(),
            "statistics": self._from(u.CALIBRATE, "calibrate", "statistics"),
        }
        return Container("ptq", asked, {**inputs, **extra})

    def _judged(
        self,
        name: str,
        precision: Precision,
        made: Sequence[Container],
        *,
        like_reference: bool = False,
    ) -> list[Container]:
        """Return a graph's way to a verdict: make, build, eval, benchmark."""
        reference = name == u.REFERENCE or like_reference
        maker = made[-1].step if made else None
        model = Input(step=maker, output="model") if maker else self._model()
        metadata = (
            Input(step="export", output="metadata") if maker == "export" else self._metadata()
        )
        engine = Input(step="build", output="engine")
        accuracy = {
            "engine": engine,
            "metadata": metadata,
            "images": self._from(u.PREPARE, VALIDATION, "images"),
            "annotations": self._from(u.PREPARE, VALIDATION, "annotations"),
        }
        if reference:
            accuracy["model"] = self._model()
        else:
            accuracy["reference"] = self._from(u.REFERENCE, "eval", "detections")
        engines: list[tuple[str, Precision]] = [(name, precision)]
        engine_inputs = {f"engine-{name}": engine}
        if name not in (u.REFERENCE, u.BASELINE):
            engines.insert(0, (u.BASELINE, self.job.spec.baseline_precision))
            engine_inputs["engine-baseline"] = self._from(u.BASELINE, "build", "engine")
        build = {"model": model, "metadata": metadata}
        return [
            *made,
            Container("build", params.build(self.job.spec, precision), build),
            Container(
                "eval", params.evaluate(self.job.spec, precision, reference=reference), accuracy
            ),
            self._benchmark(engines, engine_inputs),
        ]

    def _benchmark(
        self, engines: Sequence[tuple[str, Precision]], own: Mapping[str, Input]
    ) -> Container:
        images = self._from(u.PREPARE, VALIDATION, "images")
        inputs = {**own, "metadata": self._metadata(), "images": images}
        asked = params.benchmark(self.job.spec, engines)
        return Container("benchmark", asked, inputs, measures=True)

    def _calibration_inputs(self) -> dict[str, Input]:
        images = self._from(u.PREPARE, CALIBRATION, "images")
        return {"model": self._model(), "metadata": self._metadata(), "images": images}

    def _model(self) -> Input:
        return self._from(u.PREPARE, "export", "model")

    def _metadata(self, unit: str = "") -> Input:
        """Return the metadata of the job's model, or of a graph that a candidate brought."""
        brought = {c.name for c in self.job.spec.expanded() if c.onnx is not None}
        return self._from(unit if unit in brought else u.PREPARE, "export", "metadata")

    def _from(self, unit: str, container: str, output: str) -> Input:
        return Input(unit=self.manifests[unit], container=container, output=output)

    def _close(self, containers: Sequence[Container]) -> tuple[Request, ...]:
        return requests(self.job, self.store, containers)


def scoring_container(step: str, pair: u.Scoring) -> str:
    """Return the name of a container of the score unit: score-int8-gradient, solve-int8-kl-div."""
    return f"{step}-{pair[0]}-{pair[1].replace('_', '-')}"


def _first_scoring(job: MixedPrecisionJob) -> u.Scoring:
    if job.spec.search is not None:
        return u.search_scoring(job.spec)
    return u.scorings(job.spec)[0]
