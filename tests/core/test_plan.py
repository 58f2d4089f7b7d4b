"""The plan on whole jobs: what is created, in which order, and the verdict that comes of it."""

from dataclasses import replace

import pytest
from simulated import Figures, Simulation, job, requests_of

from mpj_operator.core.ending import MOST_FINALS
from mpj_operator.core.names import LABEL_UNIT
from mpj_runner.contract.messages import Termination


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


FIVE = [{"name": f"c{n}", "ptq": {"percentile": f"99.{n}"}} for n in range(5)]
FASTER = {f"c{n}": 1.2 + n / 10 for n in range(5)}


def test_the_final_measurement_compares_the_baseline_and_the_three_fastest():
    done = Simulation(job(candidates=FIVE), Figures(speedups=FASTER)).run()
    measured = [r.name for r in done.job.status.candidates if r.speedup_vs_reference is not None]
    assert measured == ["c2", "c3", "c4"]
    assert done.job.status.best.name == "c4"


def until_final(simulation):
    """Go on until the next final measurement is there, and return it."""
    for _ in range(30):
        simulation.step()
        for child in simulation.live():
            if child.unit == "final":
                return child
            simulation.succeed(child)
    raise AssertionError("no final measurement")


def test_where_none_of_the_finalists_is_left_the_next_ones_are_compared():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    final = until_final(simulation)
    simulation.figures = replace(simulation.figures, speedups=dict.fromkeys(FASTER, 1.0))
    simulation.succeed(final)  # c2, c3 and c4 turn out to be no faster than the baseline
    final = until_final(simulation)
    simulation.figures = replace(simulation.figures, speedups={"c0": 1.2, "c1": 1.3})
    simulation.succeed(final)
    status = simulation.run().job.status
    assert simulation.history.count("final") == 2
    states = {result.name: result.state for result in status.candidates}
    assert [states[f"c{n}"] for n in range(5)] == ["Accepted"] * 2 + ["Rejected"] * 3
    assert (status.best.name, simulation.condition("Complete").reason) == ("c1", "WinnerFound")


def test_a_job_whose_every_candidate_falls_in_a_final_has_none_accepted():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    for _ in range(2):
        final = until_final(simulation)
        simulation.figures = replace(simulation.figures, speedups=dict.fromkeys(FASTER, 1.0))
        simulation.succeed(final)
    status = simulation.run().job.status
    assert simulation.history.count("final") == 2
    assert {result.state for result in status.candidates} == {"Rejected"}
    assert simulation.condition("Complete").reason == "NoCandidateAccepted"


@pytest.mark.parametrize(("noisy", "winner"), [(1, "c4"), (2, "c4"), (3, "c1")])
def test_a_final_measurement_that_cannot_be_trusted_is_made_again(noisy, winner):
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    for _ in range(noisy):
        final = until_final(simulation)
        simulation.figures = replace(simulation.figures, unreliable="another process ran")
        simulation.succeed(final)
        assert {r.state for r in simulation.job.status.candidates} == {"Accepted"}
    simulation.figures = replace(simulation.figures, unreliable=None)
    status = simulation.run().job.status
    assert (status.best.name, simulation.condition("Complete").reason) == (winner, "WinnerFound")
    assert simulation.history.count("final") == noisy + 1


def test_a_final_that_is_made_again_is_measured_again_and_one_whose_words_are_lost_is_not():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    simulation.succeed(until_final(simulation), readable=False)
    final = until_final(simulation)
    simulation.figures = replace(simulation.figures, unreliable="another process ran")
    simulation.succeed(final)
    simulation.figures = replace(simulation.figures, unreliable=None)
    simulation.run()
    finals = [
        requests_of(value)[0].scope
        for value in simulation.values.values()
        if value["metadata"]["labels"][LABEL_UNIT] == "final"
    ]
    assert finals == ["u-1", "u-1", "u-1/1"]


def test_a_final_that_is_made_again_stays_so_when_it_is_paused():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    final = until_final(simulation)
    simulation.figures = replace(simulation.figures, unreliable="another process ran")
    simulation.succeed(final)
    assert until_final(simulation).attempt == 2
    simulation.change(suspend=True)
    simulation.step()
    simulation.change(suspend=False)
    final = until_final(simulation)
    assert requests_of(simulation.values[final.name])[0].scope == "u-1/1"


def test_a_final_that_was_paused_has_as_many_tries_as_any_other():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    for _ in range(3):
        until_final(simulation)
        simulation.change(suspend=True)
        simulation.step()
        simulation.change(suspend=False)
    final = until_final(simulation)
    simulation.figures = replace(simulation.figures, unreliable="another process ran")
    simulation.succeed(final)
    simulation.figures = replace(simulation.figures, unreliable=None)
    assert simulation.run().job.status.best.name == "c4"


def test_equal_engines_stand_and_fall_together():
    simulation = Simulation(job(candidates=FIVE), Figures(same_engine=True))
    final = until_final(simulation)
    simulation.figures = replace(simulation.figures, speedups={"c0": 1.0})
    simulation.succeed(final)
    status = simulation.run().job.status
    assert simulation.history.count("final") == 1
    assert {result.state for result in status.candidates} == {"Rejected"}
    assert status.candidates[1].reasons[0] == "its engine is that of c0"


def test_a_yardstick_does_not_fall_with_a_candidate_of_its_own_engine():
    simulation = Simulation(job())
    final = until_final(simulation)
    status = simulation.job.status
    engine = status.candidates[0].artifacts
    same = status.baseline.model_copy(update={"artifacts": engine})
    status = status.model_copy(update={"baseline": same})
    simulation.job = simulation.job.model_copy(update={"status": status})
    simulation.figures = Figures(speedups={"int8": 1.0})
    simulation.succeed(final)
    status = simulation.run().job.status
    assert (status.baseline.state, status.candidates[0].state) == ("Accepted", "Rejected")


def test_final_measurements_that_decide_nothing_come_to_an_end():
    """Whatever other words do, such as those of another image: a job ends."""
    simulation = Simulation(job())
    for _ in range(40):
        simulation.step()
        for child in simulation.live():
            simulation.succeed(child)
            if child.unit == "final":
                pod = simulation.children[child.name].pods[-1]
                words = Termination.decode(pod.containers[-1].message)
                (timed,) = words.steps
                engines = [e for e in timed.outcome["engines"] if e["name"] != "int8"]
                steps = (
                    timed.model_copy(update={"outcome": {**timed.outcome, "engines": engines}}),
                )
                text = words.model_copy(update={"steps": steps}).encode()
                container = replace(pod.containers[-1], message=text)
                simulation._put(
                    simulation.children[child.name], pods=(replace(pod, containers=(container,)),)
                )
    status = simulation.job.status
    assert simulation.history.count("final") == MOST_FINALS + 1
    assert (status.state, status.best.name) == ("Complete", "baseline")
    assert status.best.reason == "no final measurement could compare the accepted candidates"


def test_a_report_of_an_older_operator_gives_way_to_the_measurement_that_was_missing():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    while "report" not in simulation.history:
        simulation.step()
        for child in simulation.live():
            if child.unit != "report":
                simulation.succeed(child)
    results = [
        result.model_copy(update={"state": "Rejected"}) if result.speedup_vs_reference else result
        for result in simulation.job.status.candidates
    ]
    status = simulation.job.status.model_copy(update={"candidates": tuple(results)})
    simulation.job = simulation.job.model_copy(update={"status": status})
    simulation.step()
    assert [child.unit for child in simulation.live()] == ["final"]
    status = simulation.run().job.status
    assert (status.best.name, status.progress) == ("c1", "11/11")


def test_a_final_measurement_without_candidates_is_made_once():
    figures = Figures(drops=dict.fromkeys(FASTER, 0.5))
    simulation = Simulation(job(candidates=FIVE), figures)
    final = until_final(simulation)
    simulation.figures = replace(figures, unreliable="another process ran")
    simulation.succeed(final)
    status = simulation.run().job.status
    assert simulation.history.count("final") == 1
    assert status.baseline.speedup_vs_reference is not None
    assert simulation.condition("Complete").reason == "NoCandidateAccepted"


def test_parallelism_limits_the_units_that_are_judged():
    simulation = Simulation(job(candidates=FIVE, parallelism=3))
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
