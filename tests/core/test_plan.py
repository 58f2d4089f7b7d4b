"""The plan on whole jobs: what is created, in which order, and the verdict that comes of it."""

import pytest
from simulated import Figures, Simulation, job


def test_a_job_with_one_good_candidate_ends_with_it():
    done = Simulation(job()).run()
    status = done.job.status
    assert status.state == "Complete"
    assert status.best is not None
    assert status.best.name == "int8"
    assert done.condition("Complete").reason == "WinnerFound"
    assert done.condition("Complete").message == (
        "int8: 1.50x the fp32 baseline, mAP drop 0.0010 of 0.0050 allowed"
    )
    assert done.history == [
        "prepare", "reference", "calibrate", "baseline", "int8", "final", "report",
    ]  # fmt: skip
    assert status.progress == "7/7"
    assert status.candidates[0].state == "Accepted"
    assert status.candidates[0].speedup_vs_reference == 1.5
    assert status.report is not None


def test_a_finished_job_does_nothing_more():
    done = Simulation(job()).run()
    again = done.step()
    assert again.actions == ()
    assert again.status == done.job.status


@pytest.mark.parametrize(
    ("figures", "state", "words"),
    [
        pytest.param(
            Figures(drops={"int8": 0.02}),
            "Rejected",
            "mAP drop 0.0200 [0.0180, 0.0220], allowed 0.0050",
            id="too inaccurate",
        ),
        pytest.param(
            Figures(speedups={"int8": 1.02}),
            "Rejected",
            "speedup over the fp32 baseline: lower bound 1.000, asked 1.050",
            id="too slow",
        ),
        pytest.param(
            Figures(drops={"int8": 0.0045}),
            "Accepted",
            "mAP drop 0.0045 [0.0025, 0.0065], allowed 0.0050 (inconclusive: the interval spans",
            id="allowed, but the interval spans the limit",
        ),
        pytest.param(
            Figures(detections={"int8": 0}), "Rejected", "no detections at all", id="no detections"
        ),
        pytest.param(
            Figures(unreliable="throttled"),
            "Rejected",
            "latency is unreliable: throttled",
            id="an unsound benchmark",
        ),
    ],
)
def test_verdicts(figures, state, words):
    done = Simulation(job(), figures).run()
    (candidate,) = done.job.status.candidates
    assert candidate.state == state
    assert any(words in text for text in candidate.reasons)
    assert (done.job.status.best.name, done.condition("Complete").reason) == (
        ("int8", "WinnerFound") if state == "Accepted" else ("baseline", "NoCandidateAccepted")
    )


@pytest.mark.parametrize(
    ("failing", "reason", "words"),
    [
        ("prepare", "PrepareFailed", "prepare (eval): bad input"),
        ("reference", "ReferenceFailed", "reference (eval): bad input"),
        ("baseline", "BaselineFailed", "baseline (eval): bad input"),
        ("int8", "AllCandidatesFailed", "int8: eval: bad input"),
        ("calibrate", "AllCandidatesFailed", "needs the unit calibrate, which failed"),
        ("final", "FinalFailed", "final (eval): bad input"),
        ("report", "ReportFailed", "report (eval): bad input"),
    ],
)
def test_every_dead_end_is_a_verdict(failing, reason, words):
    done = Simulation(job()).run(failing=frozenset({failing}))
    assert done.job.status.state == "Failed"
    assert done.condition("Failed").reason == reason
    assert words in done.condition("Failed").message
    assert done.condition("Stalled").status == "True"
    assert not done.live()


def test_one_failed_candidate_does_not_fail_the_job():
    candidates = [{"name": "int8", "ptq": {}}, {"name": "mx", "ptq": {"calibrationMethod": "max"}}]
    done = Simulation(job(candidates=candidates)).run(failing=frozenset({"mx"}))
    status = done.job.status
    assert status.state == "Complete"
    assert {r.name: r.state for r in status.candidates} == {"int8": "Accepted", "mx": "Failed"}


def test_a_reference_without_detections_is_the_users_error():
    done = Simulation(job(), Figures(detections={"reference": 0})).run()
    failed = done.condition("Failed")
    assert failed.reason == "ReferenceUnusable"
    assert "no detections at all: check spec.model.preprocess" in failed.message


def test_parallelism_limits_the_units_that_are_judged():
    candidates = [{"name": f"c{n}", "ptq": {"percentile": f"99.{n}"}} for n in range(5)]
    simulation = Simulation(job(candidates=candidates, parallelism=3))
    most = 0
    for _ in range(40):
        simulation.step()
        live = simulation.live()
        most = max(
            most, sum(child.unit.startswith("c") and child.unit != "calibrate" for child in live)
        )
        for child in live:
            simulation.succeed(child)
    assert most == 3


def test_a_lost_result_is_made_again_and_at_last_given_up():
    simulation = Simulation(job())
    for _ in range(10):
        simulation.step()
        for child in simulation.live():
            simulation.succeed(child, readable=child.unit != "prepare")
    record = simulation.job.status.unit_statuses[0]
    assert (record.state, record.reason, record.attempt) == ("Failed", "ResultLost", 4)
    assert simulation.history == ["prepare"] * 4


@pytest.mark.parametrize(("times", "state"), [(5, "Running"), (6, "Failed")])
def test_pods_that_were_drained_and_are_gone_still_count(times, state):
    simulation = Simulation(job())
    simulation.step()
    for number in range(times):
        simulation.put_pod(f"p{number}")
        simulation.step()
        if simulation.live():
            simulation.put_pod(f"p{number}", disrupted=True)
    if simulation.live():
        simulation.put_pod("last")
    record = simulation.job.status.unit_statuses[0]
    assert record.state == state
    if state == "Failed":
        assert record.message == "its pods were disrupted 6 times"
        assert simulation.condition("Failed").reason == "PrepareFailed"


def test_a_unit_that_succeeded_keeps_its_last_step():
    done = Simulation(job()).run()
    assert {record.step for record in done.job.status.unit_statuses} == {"last"}


def test_finished_children_get_their_time_to_live_only_at_the_end():
    simulation = Simulation(job(ttlSecondsAfterFinished=60))
    while simulation.job.status.state != "Complete":
        decided = simulation.step()
        assert {child.ttl for child in simulation.children.values()} <= {None}
        assert decided.look_again == (1 if decided.status.state == "Complete" else None)
        for child in simulation.live():
            simulation.succeed(child)
    assert simulation.step().look_again is None
    assert {child.ttl for child in simulation.children.values()} == {60}
    assert simulation.step().actions == ()


def test_a_crash_between_acting_and_writing_creates_nothing_twice():
    simulation = Simulation(job())
    for turn in range(60):
        simulation.step(crash=turn % 2 == 0)
        for child in simulation.live():
            simulation.succeed(child)
    assert simulation.job.status.state == "Complete"
    assert len(simulation.history) == len(set(simulation.history)) == 7
