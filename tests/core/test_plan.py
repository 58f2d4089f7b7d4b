"""The plan on whole jobs: what is created, in which order, and what the status says."""

from datetime import timedelta

import pytest
from simulated import Figures, Simulation, job

from mpj_operator.core import conditions as c
from mpj_operator.core.invalid import rejected, stopped
from mpj_operator.core.observed import ContainerSeen, PodSeen


def run(simulation: Simulation, **options: object) -> Simulation:
    simulation.run(**options)  # type: ignore[arg-type]
    return simulation


def condition(simulation: Simulation, kind: str):
    return c.find(simulation.job.status.conditions, kind)  # type: ignore[arg-type]


def change_spec(simulation: Simulation, **changes: object) -> None:
    spec = simulation.job.spec.model_copy(update=changes)
    simulation.job = simulation.job.model_copy(update={"spec": spec})


def test_a_job_with_one_good_candidate_ends_with_it():
    done = run(Simulation(job()))
    status = done.job.status
    assert status.state == "Complete"
    assert status.best is not None
    assert status.best.name == "int8"
    assert condition(done, "Complete").reason == "WinnerFound"
    assert condition(done, "Complete").message == (
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
    done = run(Simulation(job()))
    again = done.step()
    assert again.actions == ()
    assert again.status == done.job.status


@pytest.mark.parametrize(
    ("figures", "best", "state", "reason", "words"),
    [
        pytest.param(
            Figures(drops={"int8": 0.02}),
            "baseline",
            "Rejected",
            "NoCandidateAccepted",
            "mAP drop 0.0200 [0.0180, 0.0220], allowed 0.0050",
            id="too inaccurate",
        ),
        pytest.param(
            Figures(speedups={"int8": 1.02}),
            "baseline",
            "Rejected",
            "NoCandidateAccepted",
            "speedup over the fp32 baseline: lower bound 1.000, asked 1.050",
            id="too slow",
        ),
        pytest.param(
            Figures(drops={"int8": 0.0045}),
            "int8",
            "Accepted",
            "WinnerFound",
            "mAP drop 0.0045 [0.0025, 0.0065], allowed 0.0050 (inconclusive: the interval spans",
            id="allowed, but the interval spans the limit",
        ),
        pytest.param(
            Figures(detections={"int8": 0}),
            "baseline",
            "Rejected",
            "NoCandidateAccepted",
            "no detections at all",
            id="no detections",
        ),
        pytest.param(
            Figures(unreliable="throttled"),
            "baseline",
            "Rejected",
            "NoCandidateAccepted",
            "latency is unreliable: throttled",
            id="an unsound benchmark",
        ),
    ],
)
def test_verdicts(figures, best, state, reason, words):
    done = run(Simulation(job(), figures))
    status = done.job.status
    assert status.best.name == best
    assert status.candidates[0].state == state
    assert condition(done, "Complete").reason == reason
    assert any(words in text for text in status.candidates[0].reasons)


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
    done = run(Simulation(job()), failing=frozenset({failing}))
    assert done.job.status.state == "Failed"
    assert condition(done, "Failed").reason == reason
    assert words in condition(done, "Failed").message
    assert condition(done, "Stalled").status == "True"
    assert not done.live()


def test_one_failed_candidate_does_not_fail_the_job():
    candidates = [{"name": "int8", "ptq": {}}, {"name": "mx", "ptq": {"calibrationMethod": "max"}}]
    done = run(Simulation(job(candidates=candidates)), failing=frozenset({"mx"}))
    status = done.job.status
    assert status.state == "Complete"
    assert {r.name: r.state for r in status.candidates} == {"int8": "Accepted", "mx": "Failed"}


def test_a_reference_without_detections_is_the_users_error():
    done = run(Simulation(job(), Figures(detections={"reference": 0})))
    failed = condition(done, "Failed")
    assert failed.reason == "ReferenceUnusable"
    assert "no detections at all: check spec.model.preprocess" in failed.message


def test_the_final_measurement_compares_the_baseline_and_the_three_fastest():
    candidates = [{"name": f"c{n}", "ptq": {"percentile": f"99.{n}"}} for n in range(5)]
    speeds = {f"c{n}": 1.2 + n / 10 for n in range(5)}
    done = run(Simulation(job(candidates=candidates), Figures(speedups=speeds)))
    measured = [r.name for r in done.job.status.candidates if r.speedup_vs_reference is not None]
    assert measured == ["c2", "c3", "c4"]
    assert done.job.status.best.name == "c4"


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


def test_suspending_deletes_what_runs_and_keeps_what_is_done():
    simulation = Simulation(job())
    simulation.step()
    simulation.succeed(simulation.live()[0])
    simulation.step()
    assert {child.unit for child in simulation.live()} == {"reference", "calibrate"}
    spec = simulation.job.spec.model_copy(update={"suspend": True})
    simulation.job = simulation.job.model_copy(update={"spec": spec})
    simulation.step()
    assert simulation.live() == []
    assert simulation.job.status.state == "Suspended"
    assert simulation.step().actions == ()
    spec = spec.model_copy(update={"suspend": False})
    simulation.job = simulation.job.model_copy(update={"spec": spec})
    simulation.run()
    records = {r.name: r for r in simulation.job.status.unit_statuses}
    assert records["prepare"].attempt == 1
    assert records["reference"].attempt == 2
    assert records["reference"].lost == 0
    assert simulation.job.status.state == "Complete"


def test_a_lost_result_is_made_again_and_at_last_given_up():
    simulation = Simulation(job())
    for _ in range(10):
        simulation.step()
        for child in simulation.live():
            simulation.succeed(child, readable=child.unit != "prepare")
    record = simulation.job.status.unit_statuses[0]
    assert (record.state, record.reason, record.attempt) == ("Failed", "ResultLost", 4)
    assert simulation.history == ["prepare"] * 4


def test_a_changed_objective_judges_again_and_repeats_final_and_report_only():
    simulation = run(Simulation(job(), Figures(drops={"int8": 0.008})))
    assert simulation.job.status.best.name == "baseline"
    before = len(simulation.history)
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.01})
    spec = simulation.job.spec.model_copy(update={"objective": objective})
    simulation.job = simulation.job.model_copy(update={"spec": spec})
    simulation.run()
    assert simulation.history[before:] == ["final", "report"]
    assert simulation.job.status.best.name == "int8"


def test_an_objective_that_changes_while_suspended_is_no_verdict_yet():
    simulation = run(Simulation(job(), Figures(drops={"int8": 0.008})))
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.01})
    change_spec(simulation, suspend=True, objective=objective)
    for _ in range(2):
        simulation.step()
        assert condition(simulation, "Complete") is None
        status = simulation.job.status
        assert (status.state, status.completion_time) == ("Suspended", None)
    change_spec(simulation, suspend=False)
    simulation.run()
    assert simulation.job.status.state == "Complete"
    assert simulation.job.status.best.name == "int8"


@pytest.mark.parametrize("failing", [frozenset(), frozenset({"baseline"})])
def test_a_job_that_ends_is_not_suspended(failing):
    simulation = Simulation(job(suspend=True))
    simulation.step()
    change_spec(simulation, suspend=False)
    simulation.step()
    (prepare,) = simulation.live()
    simulation.succeed(prepare)
    change_spec(simulation, suspend=True)
    simulation.step()
    assert condition(simulation, "Suspended").status == "True"
    change_spec(simulation, suspend=False)
    simulation.run(failing=failing)
    assert simulation.job.status.state == ("Failed" if failing else "Complete")
    assert condition(simulation, "Suspended").status == "False"


@pytest.mark.parametrize("turns", [0, 1, 3, 60])
def test_a_spec_that_was_invalid_for_a_while_does_no_harm(turns):
    simulation = Simulation(job())
    for _ in range(turns):
        simulation.step()
        for child in simulation.live()[: 1 if turns < 60 else None]:
            simulation.succeed(child)
    before = simulation.job.status
    for _ in range(2):
        children = tuple(simulation.children.values())
        actions, status = stopped(simulation.job.status, children, simulation.now)
        for action in actions:
            simulation._perform(action)
        status = rejected(status, "spec.search: is wrong", c.Stamp(simulation.now, 2))
        simulation.job = simulation.job.model_copy(update={"status": status})
        assert status.state == "Failed"
        assert not simulation.live()
        if status.units is not None:
            assert status.units.active == len(children) - status.units.succeeded - len(actions)
    assert simulation.step().status.state == ("Complete" if before.best else "Running")
    simulation.run()
    status = simulation.job.status
    assert (status.state, condition(simulation, "Failed")) == ("Complete", None)
    assert condition(simulation, "Accepted").status == "True"
    assert {record.lost for record in status.unit_statuses} == {0}


def test_a_job_that_runs_again_after_an_invalid_spec_has_no_end_yet():
    simulation = Simulation(job())
    status = rejected(simulation.job.status, "spec: is wrong", c.Stamp(simulation.now, 1))
    simulation.job = simulation.job.model_copy(update={"status": status})
    assert status.completion_time is not None
    status = simulation.step().status
    assert (status.state, status.completion_time) == ("Running", None)


def test_a_changed_metric_measures_candidates_again():
    simulation = run(Simulation(job()))
    before = len(simulation.history)
    objective = simulation.job.spec.objective.model_copy(update={"metric": "mAP50"})
    spec = simulation.job.spec.model_copy(update={"objective": objective})
    simulation.job = simulation.job.model_copy(update={"spec": spec})
    simulation.run()
    again = simulation.history[before:]
    assert again == ["reference", "baseline", "int8", "final", "report"]
    assert simulation.job.status.state == "Complete"


def test_at_the_deadline_what_is_accepted_still_wins():
    candidates = [{"name": "int8", "ptq": {}}, {"name": "slow", "ptq": {"percentile": "99.9"}}]
    simulation = Simulation(job(candidates=candidates, activeDeadlineSeconds=100, parallelism=1))
    while "slow" not in simulation.history:
        simulation.step()
        for child in simulation.live():
            if child.unit != "slow":
                simulation.succeed(child)
    (slow,) = simulation.live()
    container = ContainerSeen("ptq", "running")
    pod = PodSeen("p", "Running", (container,), scheduled=simulation.now)
    simulation._put(slow, pods=(pod,))
    simulation.step()
    simulation.now += timedelta(seconds=101)
    simulation.run()
    status = simulation.job.status
    assert status.state == "Complete"
    assert condition(simulation, "Complete").reason == "DeadlineExceeded"
    assert status.best.name == "int8"
    assert {r.name: r.state for r in status.candidates}["slow"] == "Failed"


def put_pod(simulation: Simulation, name: str = "p", **fields: object) -> None:
    """Give the only live child a pod that was scheduled now."""
    (child,) = simulation.live()
    pod = PodSeen(
        name, "Running", (ContainerSeen("eval", "running"),), scheduled=simulation.now, **fields
    )  # type: ignore[arg-type]
    simulation._put(child, pods=(pod,), suspended=False)
    simulation.step()


def preempt(simulation: Simulation) -> None:
    (child,) = simulation.live()
    simulation._put(child, pods=(), suspended=True)


def suspend_and_resume(simulation: Simulation) -> None:
    change_spec(simulation, suspend=True)
    simulation.step()
    change_spec(simulation, suspend=False)


def invalidate(simulation: Simulation) -> None:
    children = tuple(simulation.children.values())
    actions, status = stopped(simulation.job.status, children, simulation.now)
    for action in actions:
        simulation._perform(action)
    simulation.job = simulation.job.model_copy(update={"status": status})


def delete(simulation: Simulation) -> None:
    (child,) = simulation.live()
    del simulation.children[child.name]


@pytest.mark.parametrize("pause", [preempt, suspend_and_resume, invalidate, delete])
def test_the_deadline_counts_the_time_with_a_pod_and_no_other(pause):
    simulation = Simulation(job(activeDeadlineSeconds=100))
    simulation.step()
    put_pod(simulation)
    simulation.now += timedelta(seconds=40)
    pause(simulation)
    simulation.step()
    assert simulation.job.status.spent_seconds == 40
    simulation.now += timedelta(seconds=1000)
    simulation.step()
    assert simulation.job.status.state != "Failed"
    put_pod(simulation, "q")
    simulation.now += timedelta(seconds=59)
    assert simulation.step().look_again == 1
    simulation.now += timedelta(seconds=1)
    simulation.step()
    assert condition(simulation, "Failed").reason == "DeadlineExceeded"


def test_the_clock_of_a_unit_that_is_stopped_early_stops():
    simulation = Simulation(job(activeDeadlineSeconds=100))
    simulation.step()
    (prepare,) = simulation.live()
    oom = ContainerSeen("export", "terminated", 137, "OOMKilled")
    pods = tuple(PodSeen(n, "Failed", (oom,), scheduled=simulation.now) for n in "ab")
    simulation._put(prepare, pods=pods)
    simulation.now += timedelta(seconds=10)
    simulation.step()
    record = simulation.job.status.unit_statuses[0]
    assert (record.reason, record.completion_time) == ("OOMKilled", simulation.now)


@pytest.mark.parametrize(("times", "state"), [(5, "Running"), (6, "Failed")])
def test_pods_that_were_drained_and_are_gone_still_count(times, state):
    simulation = Simulation(job())
    simulation.step()
    for number in range(times):
        put_pod(simulation, f"p{number}")
        simulation.step()
        if simulation.live():
            put_pod(simulation, f"p{number}", disrupted=True)
    if simulation.live():
        put_pod(simulation, "last")
    record = simulation.job.status.unit_statuses[0]
    assert record.state == state
    if state == "Failed":
        assert record.message == "its pods were disrupted 6 times"
        assert condition(simulation, "Failed").reason == "PrepareFailed"


def test_a_unit_that_succeeded_keeps_its_last_step():
    done = run(Simulation(job()))
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


@pytest.mark.parametrize("ttl", [None, 0, 7200])
def test_a_changed_time_to_live_reaches_the_children_of_a_finished_job(ttl):
    simulation = run(Simulation(job(ttlSecondsAfterFinished=60)))
    change_spec(simulation, ttl_seconds_after_finished=ttl)
    simulation.step()
    assert {child.ttl for child in simulation.children.values()} == {ttl}
    assert simulation.step().actions == ()


def test_a_crash_between_acting_and_writing_creates_nothing_twice():
    simulation = Simulation(job())
    for turn in range(60):
        simulation.step(crash=turn % 2 == 0)
        for child in simulation.live():
            simulation.succeed(child)
    assert simulation.job.status.state == "Complete"
    assert len(simulation.history) == len(set(simulation.history)) == 7


@pytest.mark.parametrize(
    ("needed", "trials"),
    [
        pytest.param(0, [0], id="plain INT8 suffices"),
        pytest.param(1, [0, 2, 1], id="one sensitive layer"),
        pytest.param(5, [0, 2, 4, 8, 6, 5], id="five of them"),
        pytest.param(1000, [0, 2, 4, 8, 16, 32, 39], id="nothing suffices"),
    ],
)
def test_the_search_gallops_and_then_bisects(needed, trials):
    figures = Figures(drop_of_kept=lambda kept: 0.001 if kept >= needed else 0.02)
    search = {"format": "int8", "maxTrials": 16}
    done = run(Simulation(job(search=search), figures))
    status = done.job.status
    assert [trial.kept for trial in status.search.trials] == trials
    assert status.search.done
    assert status.state == "Complete"


def test_the_search_stays_within_its_budget():
    figures = Figures(drop_of_kept=lambda kept: 0.001 if kept >= 5 else 0.02)
    done = run(Simulation(job(search={"format": "int8", "maxTrials": 2}), figures))
    assert len(done.job.status.search.trials) == 2
    assert done.job.status.state == "Complete"


def test_of_equal_engines_the_users_candidate_stands_for_the_trials():
    figures = Figures(speedups={"search-1": 1.9}, same_engine=True)
    simulation = run(Simulation(job(search={"format": "int8"}), figures))
    measured = [
        r.name for r in simulation.job.status.candidates if r.speedup_vs_reference is not None
    ]
    assert measured == ["int8"]
    assert simulation.job.status.best.name == "int8"
