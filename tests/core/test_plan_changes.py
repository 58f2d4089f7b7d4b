"""A spec that changes under a job: paused, wrong for a while, with another aim or time to live."""

from dataclasses import replace

import pytest
from simulated import SETTINGS, Figures, Simulation, job, requests_of


def test_suspending_deletes_what_runs_and_keeps_what_is_done():
    simulation = Simulation(job())
    simulation.step()
    simulation.succeed(simulation.live()[0])
    simulation.step()
    assert {child.unit for child in simulation.live()} == {"reference", "calibrate"}
    simulation.change(suspend=True)
    simulation.step()
    assert simulation.live() == []
    assert simulation.job.status.state == "Suspended"
    assert simulation.step().actions == ()
    simulation.change(suspend=False)
    simulation.run()
    records = {r.name: r for r in simulation.job.status.unit_statuses}
    assert records["prepare"].attempt == 1
    assert records["reference"].attempt == 2
    assert records["reference"].lost == 0
    assert simulation.job.status.state == "Complete"


@pytest.mark.parametrize("failing", [frozenset(), frozenset({"baseline"})])
def test_a_job_that_ends_is_not_suspended(failing):
    simulation = Simulation(job(suspend=True))
    simulation.step()
    simulation.change(suspend=False)
    simulation.step()
    (prepare,) = simulation.live()
    simulation.succeed(prepare)
    simulation.change(suspend=True)
    simulation.step()
    assert simulation.condition("Suspended").status == "True"
    simulation.change(suspend=False)
    simulation.run(failing=failing)
    assert simulation.job.status.state == ("Failed" if failing else "Complete")
    assert simulation.condition("Suspended").status == "False"


@pytest.mark.parametrize("turns", [0, 1, 3, 60])
def test_a_spec_that_was_invalid_for_a_while_does_no_harm(turns):
    simulation = Simulation(job())
    for _ in range(turns):
        simulation.step()
        for child in simulation.live()[: 1 if turns < 60 else None]:
            simulation.succeed(child)
    before = simulation.job.status
    for _ in range(2):
        children = len(simulation.children)
        actions = simulation.invalidate()
        status = simulation.job.status
        assert status.state == "Failed"
        assert not simulation.live()
        if status.units is not None:
            assert status.units.active == children - status.units.succeeded - len(actions)
    assert simulation.step().status.state == (
        "Complete" if before.best else "Running" if before.unit_statuses else "Pending"
    )
    simulation.run()
    status = simulation.job.status
    assert (status.state, simulation.condition("Failed")) == ("Complete", None)
    assert simulation.condition("Accepted").status == "True"
    assert {record.lost for record in status.unit_statuses} == {0}


def test_a_job_that_runs_again_after_an_invalid_spec_has_no_end_yet():
    simulation = Simulation(job())
    simulation.invalidate()
    assert simulation.job.status.completion_time is not None
    status = simulation.step().status
    assert (status.state, status.completion_time) == ("Pending", None)


def test_a_changed_objective_judges_again_and_repeats_final_and_report_only():
    simulation = Simulation(job(), Figures(drops={"int8": 0.008})).run()
    assert simulation.job.status.best.name == "baseline"
    before = len(simulation.history)
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.01})
    simulation.change(objective=objective)
    simulation.run()
    assert simulation.history[before:] == ["final", "report"]
    assert simulation.job.status.best.name == "int8"


def test_an_objective_that_changes_while_suspended_is_no_verdict_yet():
    simulation = Simulation(job(), Figures(drops={"int8": 0.008})).run()
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.01})
    simulation.change(suspend=True, objective=objective)
    for _ in range(2):
        simulation.step()
        assert simulation.condition("Complete") is None
        status = simulation.job.status
        assert (status.state, status.completion_time) == ("Suspended", None)
    simulation.change(suspend=False)
    simulation.run()
    assert simulation.job.status.state == "Complete"
    assert simulation.job.status.best.name == "int8"


def test_a_changed_metric_measures_candidates_again():
    simulation = Simulation(job()).run()
    before = len(simulation.history)
    objective = simulation.job.spec.objective.model_copy(update={"metric": "mAP50"})
    simulation.change(objective=objective)
    simulation.run()
    again = simulation.history[before:]
    assert again == ["reference", "baseline", "int8", "final", "report"]
    assert simulation.job.status.state == "Complete"


@pytest.mark.parametrize("ttl", [None, 0, 7200])
def test_a_changed_time_to_live_reaches_the_children_of_a_finished_job(ttl):
    simulation = Simulation(job(ttlSecondsAfterFinished=60)).run()
    simulation.change(ttl_seconds_after_finished=ttl)
    simulation.step()
    assert {child.ttl for child in simulation.children.values()} == {ttl}
    assert simulation.step().actions == ()


def test_a_final_measurement_that_is_repeated_is_not_mixed_with_the_one_before():
    candidates = [{"name": name, "ptq": {}} for name in "abcdef"]
    drops = {**dict.fromkeys("abc", 0.001), **dict.fromkeys("def", 0.01)}
    fast = {"a": 1.5, "b": 1.55, "c": 1.6, "d": 1.7, "e": 1.72, "f": 1.75}
    simulation = Simulation(job(candidates=candidates), Figures(drops, fast)).run()
    assert simulation.job.status.best.name == "c"
    slower = {"d": 1.55, "e": 1.5, "f": 1.52}  # at another moment, of another pod
    simulation.figures = Figures(drops, slower)
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.02})
    simulation.change(objective=objective)
    status = simulation.run().job.status
    compared = {r.name for r in status.candidates if r.speedup_vs_reference is not None}
    assert (status.best.name, compared) == ("d", {"d", "e", "f"})


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (Figures(unreliable="the GPU was throttled"), "latency is unreliable: the GPU was thr"),
        (Figures(detections={"fp16": 0}), "no detections at all"),
    ],
    ids=["its latency", "its detections"],
)
def test_what_could_not_be_measured_soundly_stays_rejected(figures, words):
    candidates = [{"name": "fp16", "autoCast": {}}, {"name": "int8", "ptq": {}}]
    wanted = job(target={"backend": "tensorrt"}, candidates=candidates)
    simulation = Simulation(wanted, figures).run()
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.01})
    simulation.change(objective=objective)
    simulation.run()
    fp16 = simulation.job.status.candidates[0]
    assert (fp16.name, fp16.state) == ("fp16", "Rejected")
    assert fp16.reasons[0].startswith(words)


def test_another_store_makes_every_unit_again():
    """What was found lies in the old one: no unit of the new one's could read it."""
    simulation = Simulation(job(search={"format": "int8"}))
    while "search-1" not in simulation.history:
        simulation.step()
        for child in simulation.live():
            if child.unit != "search-1":
                simulation.succeed(child)
    before, made = simulation.job.status, len(simulation.values)
    simulation.change(suspend=True)
    simulation.step()
    simulation.settings = replace(SETTINGS, default_storage="file:///other")
    simulation.change(suspend=False)
    simulation.step()
    after = simulation.job.status
    assert (before.store_uri, after.store_uri) == ("file:///store", "file:///other")
    (prepare,) = simulation.live()
    assert (prepare.unit, prepare.attempt) == ("prepare", 2)
    assert not any(record.manifest for record in after.unit_statuses)
    simulation.run()
    status = simulation.job.status
    assert status.state == "Complete"
    assert {record.state for record in status.unit_statuses} == {"Succeeded"}
    again = list(simulation.values.values())[made:]
    assert {request.store for value in again for request in requests_of(value)} - {None} == {
        "file:///other"
    }
    assert status.best.artifacts.engine.uri.startswith("file:///other/")
