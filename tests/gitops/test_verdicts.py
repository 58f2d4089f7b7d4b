"""What those who wait for a job make of its status, in every state that the real plan writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import celpy
import pytest
import yaml
from lupa import lua51
from recorded import Recorded, recorded, text

GITOPS: Final = Path(__file__).parents[2] / "deploy/gitops"
ARGO: Final = GITOPS / "argocd/resource_customizations/mixedprecision.dev/MixedPrecisionJob"
STATES: Final = tuple(recorded())
Manifest = Mapping[str, Any]
every_state = pytest.mark.parametrize("state", [pytest.param(s, id=s.name) for s in STATES])


def conditions(manifest: Manifest) -> list[dict[str, Any]]:
    return manifest.get("status", {}).get("conditions", [])


def test_the_states_are_all_that_a_job_can_be_in():
    seen = {s.manifest.get("status", {}).get("state") for s in STATES}
    assert seen == {None, "Pending", "Queued", "Running", "Suspended", "Complete", "Failed"}


# Argo CD


def health(manifest: Manifest) -> tuple[str, str]:
    """Run the script as Argo CD does: Lua 5.1 and the object as ``obj``, nothing of ours."""
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    lua.globals()["obj"] = lua.table_from(manifest, recursive=True)
    found = lua.execute((ARGO / "health.lua").read_text())
    return found["status"], found["message"]


@every_state
def test_argo_cd(state: Recorded):
    wanted = {
        "InProgress": "Progressing", "Suspended": "Suspended", "Failed": "Degraded",
        "Current": "Healthy",
    }  # fmt: skip
    status, message = health(state.manifest)
    assert status == wanted[state.verdict]
    assert state.words in message


def test_the_script_comes_with_tests_in_argo_cds_own_layout():
    """``health_test.yaml`` and testdata are what Argo CD's own test of its scripts reads."""
    tests = yaml.safe_load((ARGO / "health_test.yaml").read_text())["tests"]
    assert [t["inputPath"] for t in tests] == [f"testdata/{s.name}.yaml" for s in STATES]
    for test in tests:
        given = yaml.safe_load((ARGO / test["inputPath"]).read_text())
        assert health(given) == tuple(test["healthStatus"].values()), test["inputPath"]


@every_state
def test_the_recorded_statuses_are_what_the_plan_writes_today(state: Recorded):
    written = (ARGO / "testdata" / f"{state.name}.yaml").read_text()
    assert written == text(state.manifest), "run `make generate`"


# Flux

EXPRESSIONS: Final = yaml.safe_load((GITOPS / "flux/kustomization.yaml").read_text())["spec"][
    "healthCheckExprs"
][0]


def cel(expression: str, manifest: Manifest) -> bool:
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return bool(program.evaluate({k: celpy.json_to_cel(v) for k, v in manifest.items()}))


def flux(manifest: Manifest) -> str:
    """Judge as Flux's RFC 0009 says: generations, then inProgress, failed, current.

    An expression that cannot be evaluated, as over a status that is not there, makes Flux wait.
    """
    observed = manifest.get("status", {}).get("observedGeneration")
    if observed is not None and observed != manifest["metadata"]["generation"]:
        return "InProgress"
    for key, verdict in (
        ("inProgress", "InProgress"),
        ("failed", "Failed"),
        ("current", "Current"),
    ):
        try:
            if key in EXPRESSIONS and cel(EXPRESSIONS[key], manifest):
                return verdict
        except celpy.CELEvalError:
            return "InProgress"
    return "InProgress"


@every_state
def test_flux(state: Recorded):
    wanted = "InProgress" if state.verdict == "Suspended" else state.verdict
    assert flux(state.manifest) == wanted


def test_flux_expressions_are_for_this_kind():
    job = STATES[0].manifest
    assert (EXPRESSIONS["apiVersion"], EXPRESSIONS["kind"]) == (job["apiVersion"], job["kind"])


# kstatus


def kstatus(manifest: Manifest) -> Literal["Terminating", "InProgress", "Failed", "Current"]:
    """Judge by the generic rules of kstatus for a kind that it does not know."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    holds = {c["type"]: c["status"] for c in conditions(manifest)}
    if holds.get("Reconciling") == "True":
        return "InProgress"
    if holds.get("Stalled") == "True":
        return "Failed"
    if "Ready" in holds:
        return "Current" if holds["Ready"] == "True" else "InProgress"
    return "Current"


@every_state
def test_kstatus(state: Recorded):
    if state.name == "new":
        # The rule that no operator can help: docs/gitops.md says what to do about it.
        assert kstatus(state.manifest) == "Current"
        return
    wanted = "InProgress" if state.verdict == "Suspended" else state.verdict
    assert kstatus(state.manifest) == wanted


# kubectl


def kubectl_waits(manifest: Manifest, kind: str) -> bool:
    """Judge as ``kubectl wait --for=condition=KIND`` does: an older generation is not met."""
    found = next((c for c in conditions(manifest) if c["type"].lower() == kind.lower()), None)
    if found is None:
        return True
    observed = found.get("observedGeneration", manifest["status"].get("observedGeneration"))
    if observed is not None and observed < manifest["metadata"]["generation"]:
        return True
    return found["status"].lower() != "true"


@every_state
def test_kubectl_wait(state: Recorded):
    assert kubectl_waits(state.manifest, "Complete") == (state.verdict != "Current")
    assert kubectl_waits(state.manifest, "Failed") == (state.verdict != "Failed")
    assert kubectl_waits(state.manifest, "Suspended") == (state.verdict != "Suspended")


@every_state
def test_every_condition_names_the_generation_that_it_was_found_for(state: Recorded):
    status = state.manifest.get("status", {})
    for condition in conditions(state.manifest):
        assert condition["observedGeneration"] <= status["observedGeneration"]
        assert condition["reason"]
