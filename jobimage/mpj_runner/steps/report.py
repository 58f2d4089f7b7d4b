"""Write report.json and report.html from what was measured."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mpj_runner.contract.files import SensitivityScores
from mpj_runner.contract.messages import UnitManifest
from mpj_runner.contract.report import (
    Environment,
    Provenance,
    Report,
    ReportParams,
    Sensitivity,
)
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import ReportOutcome
from mpj_runner.report.page import page
from mpj_runner.report.pareto import front, points

_MANIFEST = "manifest-"


def run(params: ReportParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Write the report.

    Args:
        params: the results, the verdict and the environment.
        inputs: ``scores`` (SensitivityScores) and ``manifest-<unit>`` (UnitManifest) files, each
            optional.
        work: receives report.json and report.html.

    Returns:
        Files ``json`` and ``html``; the number of candidates.
    """
    report = build(params, inputs)
    as_json, as_html = work / "report.json", work / "report.html"
    text = json.dumps(report.to_json(numbers=True), indent=2, ensure_ascii=False)
    as_json.write_text(f"{text}\n", "utf-8")
    as_html.write_text(page(report), "utf-8")
    outcome = ReportOutcome(candidates=len(report.candidates))
    return StepResult(files={"json": as_json, "html": as_html}, outcome=outcome)


def build(params: ReportParams, inputs: Mapping[str, Path]) -> Report:
    """Join the plan's figures with the scores and the manifests."""
    manifests = {
        name.removeprefix(_MANIFEST): UnitManifest.model_validate_json(path.read_bytes())
        for name, path in inputs.items()
        if name.startswith(_MANIFEST)
    }
    provenance = tuple(step for unit, done in manifests.items() for step in _steps(unit, done))
    left_out = tuple(note for done in manifests.values() for note in _left_out(done))
    return Report(
        job=params.job,
        environment=_environment(params.environment, provenance, left_out),
        objective=params.objective,
        reference=params.reference,
        baseline=params.baseline,
        candidates=params.candidates,
        sensitivity=_sensitivity(inputs.get("scores")),
        pareto=front(points(params)),
        best=params.best,
        provenance=provenance,
        deadline_exceeded=params.deadline_exceeded,
    )


def layer_name(node: str) -> str:
    """Name a layer as its author did: /model.22/cv2.0/cv2.0.2/Conv is model.22.cv2.0.2.

    An exported node's name is its path of scopes and its operator; a list's member repeats the
    list's name, as cv2.0.2 repeats cv2.0 here.
    """
    scopes: list[str] = []
    for scope in node.strip("/").split("/")[:-1]:
        if scopes and scope.startswith(f"{scopes[-1]}."):
            scopes.pop()
        scopes.append(scope)
    return (".".join(scopes) or node)[-256:]


def _sensitivity(path: Path | None) -> tuple[Sensitivity, ...]:
    if path is None:
        return ()
    scores = SensitivityScores.model_validate_json(path.read_bytes())
    return tuple(
        Sensitivity(layer=layer_name(s.layer), node=s.layer, score=s.score) for s in scores.layers
    )


def _steps(unit: str, manifest: UnitManifest) -> Iterable[Provenance]:
    for step in manifest.steps:
        yield Provenance(
            unit=unit,
            step=step.name,
            key=step.key,
            seconds=step.seconds,
            cached=step.name in manifest.cached,
            inputs=step.inputs,
            outputs={name: blob.sha256 for name, blob in step.outputs.items()},
            packages=step.packages,
        )


def _left_out(manifest: UnitManifest) -> Iterable[str]:
    """Say how many images a snapshot could not read and, as the spec asked, left out."""
    for step in manifest.steps:
        if skipped := step.outcome.get("skipped"):
            role = step.params["role"]
            yield f"Images of spec.{role} that cannot be read and were left out: {skipped}."


def _environment(
    given: Environment, provenance: Iterable[Provenance], notes: tuple[str, ...]
) -> Environment:
    """Add what steps recorded to what the plan knows."""
    packages = {k: v for step in provenance for k, v in step.packages.items()}
    return given.model_copy(
        update={
            "packages": {**packages, **given.packages},
            "conditions": (*given.conditions, *notes),
        }
    )
