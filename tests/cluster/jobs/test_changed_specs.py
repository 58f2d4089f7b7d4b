"""Fields that a user may change at any time, changed while the job runs and after its end."""

import pytest
from judged import UNITS, assert_complete, attempts
from operating import condition, shown, unit_of
from rest import polled

CASTS = [{"name": name, "autoCast": {}} for name in ("a", "b", "c", "d")]
MEASURED = UNITS - {"final", "report"}


def running(status) -> set[str]:
    return {r["name"] for r in status.get("unitStatuses", ()) if r["state"] == "Running"}


def test_a_job_is_suspended_while_it_runs_and_resumed(world, operating, answers):
    """What is finished stays; what runs is deleted, and is made again as another attempt."""
    world.apply()
    with answers.holding("reference", "calibrate"):
        world.until_unit("reference", state="Running")
        world.until_unit("calibrate", state="Running")
        world.patch(suspend=True)
        status = world.until("Suspended")
        assert condition(status, "Suspended")["status"] == "True"
        assert condition(status, "Reconciling")["status"] == "False"
        for _ in polled(30):
            if {c["metadata"]["labels"]["mixedprecision.dev/unit"] for c in world.children()} == {
                "prepare"
            }:
                break
    assert unit_of(status, "prepare")["state"] == "Succeeded"
    assert len(world.children()) == 1
    assert world.calm() == 0
    world.extra = 2
    world.patch(suspend=False)
    status = world.until("Complete")
    assert_complete(status)
    assert condition(status, "Suspended")["status"] == "False"
    again = {name for name, attempt in attempts(status).items() if attempt > 1}
    assert again == {"reference", "calibrate"}


def test_parallelism_is_raised_while_the_job_runs(world, operating, answers):
    world.apply(candidates=CASTS, parallelism=1)
    with answers.holding("a", "b", "c", "d"):
        world.until_unit("a", state="Running")
        assert world.calm(2) == 0
        assert running(world.status()) == {"a"}
        world.patch(parallelism=3)
        for _ in polled(30):
            if len(running(status := world.status())) >= 3:
                break
        assert running(status) == {"a", "b", "c"}, shown(status)
        assert world.calm(2) == 0
        assert running(world.status()) == {"a", "b", "c"}
    assert world.until("Complete")["units"]["failed"] == 0


@pytest.mark.parametrize("ended", [False, True], ids=["while-it-runs", "when-it-is-complete"])
def test_the_objective_is_changed(world, operating, answers, ended):
    """Verdicts change by what was measured; only the comparison of the accepted is made anew."""
    world.apply()
    if ended:
        assert_complete(world.until("Complete"))
        world.extra = 2  # final and report
        world.patch(objective={"maxAccuracyDrop": "0.0001"})
    else:
        with answers.holding("fp16"):
            world.until_unit("int8", state="Succeeded")
            assert verdict(world.status(), "int8") == "Accepted"
            world.patch(objective={"maxAccuracyDrop": "0.0001"})
            for _ in polled(30):
                if verdict(world.status(), "int8") == "Rejected":
                    break
            assert verdict(world.status(), "int8") == "Rejected"
    for _ in polled(60):
        status = world.status()
        if status["state"] == "Complete" and status["best"]["name"] != "int8":
            break
    assert {verdict(status, name) for name in ("int8", "fp16")} == {"Rejected"}, shown(status)
    assert condition(status, "Complete")["reason"] == "NoCandidateAccepted"
    assert status["observedGeneration"] == 2
    tried = attempts(status)
    assert {tried[name] for name in MEASURED} == {1}
    assert tried["final"] == tried["report"] == (2 if ended else 1)


def verdict(status, name: str) -> str:
    found = (c["state"] for c in status.get("candidates", ()) if c["name"] == name)
    return next(found, "")


@pytest.mark.parametrize("later", [False, True], ids=["from-the-beginning", "when-complete"])
def test_children_get_their_time_to_live_when_the_job_has_ended(world, operating, answers, later):
    """Their removal by the TTL controller changes nothing that the job says."""
    world.apply(**({} if later else {"ttlSecondsAfterFinished": 1}))
    with answers.holding("report"):
        world.until_unit("report", state="Running")
        assert len(world.children()) == len(UNITS)
        assert all("ttlSecondsAfterFinished" not in child["spec"] for child in world.children())
    status = world.until("Complete")
    assert_complete(status)
    if later:
        world.patch(ttlSecondsAfterFinished=1)
    for _ in polled(30):
        if not world.children():
            break
    assert not world.children()
    assert world.calm() == 0
    found = world.get()
    for kind in found["status"]["conditions"]:
        assert kind.pop("observedGeneration") == found["metadata"]["generation"]
    for kind in status["conditions"]:
        kind.pop("observedGeneration")
    assert found["status"].pop("observedGeneration") == found["metadata"]["generation"]
    status.pop("observedGeneration")
    assert found["status"] == status


def test_a_job_that_reaches_its_deadline_ends_with_what_it_has(world, operating, answers):
    world.apply()
    with answers.holding("fp16"):
        world.until_unit("int8", state="Succeeded")
        world.until_unit("fp16", state="Running")
        world.patch(activeDeadlineSeconds=1)
        status = world.until("Complete")
    assert condition(status, "Complete")["reason"] == "DeadlineExceeded"
    assert status["best"]["name"] == "int8"
    assert unit_of(status, "fp16")["reason"] == "DeadlineExceeded"
    assert "spec.activeDeadlineSeconds" in unit_of(status, "fp16")["message"]
    assert {r["name"] for r in status["unitStatuses"] if r["state"] == "Succeeded"} == UNITS - {
        "fp16"
    }


def test_a_job_that_has_nothing_at_its_deadline_fails(world, operating, answers):
    """No event tells of it: the operator looks when it is due."""
    with answers.holding("prepare"):
        world.apply(activeDeadlineSeconds=3)
        world.until_unit("prepare", state="Running")
        status = world.until("Failed", seconds=30)
    assert condition(status, "Failed")["reason"] == "DeadlineExceeded"
    assert "spec.activeDeadlineSeconds" in condition(status, "Failed")["message"]
    assert condition(status, "Stalled")["status"] == "True"
    for _ in polled(30):
        if not world.pods():
            break
    assert not world.pods()


@pytest.mark.parametrize("later", [False, True], ids=["from-the-start", "set-while-it-runs"])
def test_a_unit_that_reaches_its_deadline_fails_alone(world, operating, answers, later):
    with answers.holding("fp16"):
        world.apply(unitDeadlineSeconds=3600 if later else 6)
        if later:
            world.until_unit("fp16", state="Running")
            world.patch(unitDeadlineSeconds=6)
        status = world.until("Complete")
    record = unit_of(status, "fp16")
    assert (record["state"], record["reason"]) == ("Failed", "UnitDeadlineExceeded")
    assert "spec.unitDeadlineSeconds" in record["message"]
    assert status["best"]["name"] == "int8"
    assert condition(status, "Complete")["reason"] == "WinnerFound"
