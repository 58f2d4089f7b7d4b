"""The deadline of a job: which time counts, and what is left when it has come."""

from dataclasses import replace
from datetime import timedelta

import pytest
from simulated import Figures, Simulation, job

from mpj_operator.core.observed import ContainerSeen, PodSeen


def run_late_in(simulation: Simulation, unit: str) -> None:
    """Go on until a unit runs, and let it run past a deadline of 100 seconds."""
    while unit not in simulation.history:
        simulation.step()
        for child in simulation.live():
            if child.unit != unit:
                simulation.succeed(child)
    simulation.put_pod()
    simulation.now += timedelta(seconds=101)


def test_at_the_deadline_what_is_accepted_still_wins():
    candidates = [{"name": "int8", "ptq": {}}, {"name": "slow", "ptq": {"percentile": "99.9"}}]
    simulation = Simulation(job(candidates=candidates, activeDeadlineSeconds=100, parallelism=1))
    run_late_in(simulation, "slow")
    simulation.run()
    status = simulation.job.status
    assert status.state == "Complete"
    assert simulation.condition("Complete").reason == "DeadlineExceeded"
    assert status.best.name == "int8"
    assert {r.name: r.state for r in status.candidates}["slow"] == "Failed"


def preempt(simulation: Simulation) -> None:
    (child,) = simulation.live()
    simulation._put(child, pods=(), suspended=True)


def suspend_and_resume(simulation: Simulation) -> None:
    simulation.change(suspend=True)
    simulation.step()
    simulation.change(suspend=False)


def delete(simulation: Simulation) -> None:
    (child,) = simulation.live()
    del simulation.children[child.name]


def lose_the_node(simulation: Simulation) -> None:
    """The replacement finds no node."""
    (child,) = simulation.live()
    lost = replace(child.pods[0], phase="Failed", disrupted=True)
    waiting = PodSeen("r", unschedulable="0/3 nodes are available")
    simulation._put(child, pods=(lost, waiting))


def preempt_after_a_failure(simulation: Simulation) -> None:
    """A pod that failed stays when the queue takes the unit back, and takes no part in it."""
    (child,) = simulation.live()
    failed = replace(child.pods[0], name="failed", phase="Failed")
    simulation._put(child, pods=(failed,), suspended=True)
    simulation.step()
    simulation.now += timedelta(seconds=500)
    simulation._put(child, pods=(failed,), suspended=False)


@pytest.mark.parametrize(
    "pause",
    [
        preempt, suspend_and_resume, Simulation.invalidate, delete, lose_the_node,
        preempt_after_a_failure,
    ],
)  # fmt: skip
def test_the_deadline_counts_the_time_with_a_pod_and_no_other(pause):
    simulation = Simulation(job(activeDeadlineSeconds=100))
    simulation.step()
    simulation.put_pod()
    simulation.now += timedelta(seconds=40)
    pause(simulation)
    simulation.step()
    assert simulation.job.status.spent_seconds == 40
    simulation.now += timedelta(seconds=1000)
    simulation.step()
    assert simulation.job.status.state != "Failed"
    simulation.put_pod("q")
    simulation.now += timedelta(seconds=59)
    assert simulation.step().look_again == 1
    simulation.now += timedelta(seconds=1)
    simulation.step()
    assert simulation.condition("Failed").reason == "DeadlineExceeded"


def test_the_time_of_what_is_measured_anew_was_spent_all_the_same():
    simulation = Simulation(job(activeDeadlineSeconds=100))
    simulation.step()
    simulation.succeed(*simulation.live())
    simulation.step()
    for child in simulation.live():
        if child.unit != "reference":
            simulation.succeed(child)
    simulation.put_pod()
    simulation.now += timedelta(seconds=40)
    objective = simulation.job.spec.objective
    simulation.change(objective=objective.model_copy(update={"metric": "mAP50"}))
    simulation.step()
    assert simulation.job.status.spent_seconds == 40


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


def test_a_unit_whose_time_is_up_before_it_had_a_node_says_what_it_waited_for():
    simulation = Simulation(job(unitDeadlineSeconds=60))
    simulation.step()
    (child,) = simulation.live()
    simulation._put(child, pods=(PodSeen("p", unschedulable="0/3 nodes: no nvidia.com/gpu"),))
    simulation.step()
    simulation._put(child, pods=(), outcome="Failed", reason="DeadlineExceeded")
    simulation.step()
    assert simulation.job.status.unit_statuses[0].message == (
        "it had no pod on a node when spec.unitDeadlineSeconds was over; last: Unschedulable: "
        "0/3 nodes: no nvidia.com/gpu"
    )
    assert simulation.condition("Failed").reason == "PrepareFailed"


def test_what_was_spent_is_not_counted_again_when_a_unit_ends_without_a_pod():
    """A pod ran for 100 s and is still there; its successor found no node until the deadline."""
    simulation = Simulation(job(unitDeadlineSeconds=3600, activeDeadlineSeconds=200))
    simulation.step()
    simulation.put_pod()
    (child,) = simulation.live()
    simulation.now += timedelta(seconds=100)
    oom = ContainerSeen("export", "terminated", 137, "OOMKilled")
    failed = replace(child.pods[0], phase="Failed", containers=(oom,))
    simulation._put(child, pods=(failed,), counted=1)
    simulation.step()
    waiting = PodSeen("r", unschedulable="0/3 nodes are available")
    simulation._put(child, pods=(failed, waiting), counted=1)
    simulation.now += timedelta(seconds=3400)
    simulation.step()
    simulation._put(child, pods=(failed,), outcome="Failed", reason="DeadlineExceeded")
    simulation.now += timedelta(seconds=100)
    simulation.step()
    status = simulation.job.status
    assert (status.spent_seconds, status.unit_statuses[0].start_time) == (100, None)
    assert status.unit_statuses[0].message.endswith("Unschedulable: 0/3 nodes are available")
    assert simulation.condition("Failed").reason == "PrepareFailed"


def test_a_pod_that_was_placed_by_a_clock_that_is_behind_counts_from_now_on():
    simulation = Simulation(job(activeDeadlineSeconds=100))
    simulation.step()
    simulation.put_pod()
    simulation.now += timedelta(seconds=40)
    preempt(simulation)
    simulation.step()
    behind = simulation.now - timedelta(seconds=20)
    (child,) = simulation.live()
    pod = PodSeen("q", "Running", (ContainerSeen("eval", "running"),), scheduled=behind)
    simulation._put(child, pods=(pod,), suspended=False)
    simulation.step()
    simulation.now += timedelta(seconds=60)
    simulation.step()
    assert simulation.condition("Failed").reason == "DeadlineExceeded"


def test_a_unit_that_ended_before_it_was_seen_to_run_counts_all_the_same():
    simulation = Simulation(job(activeDeadlineSeconds=1000))
    simulation.step()
    (child,) = simulation.live()
    simulation.fail(child)
    simulation.step()
    assert simulation.job.status.unit_statuses[0].start_time == simulation.now


def test_a_unit_that_ran_into_its_deadline_is_told_to_get_more():
    simulation = Simulation(job(unitDeadlineSeconds=60))
    simulation.step()
    simulation.put_pod()
    (child,) = simulation.live()
    simulation._put(child, pods=(), outcome="Failed", reason="DeadlineExceeded")
    simulation.step()
    assert simulation.job.status.unit_statuses[0].message.startswith("longer than spec.unitDead")


def test_no_trial_is_asked_for_once_the_deadline_has_come():
    search = {"format": "int8", "maxTrials": 16}
    figures = Figures(drop_of_kept=lambda kept: 0.001 if kept >= 5 else 0.02)
    simulation = Simulation(job(search=search, activeDeadlineSeconds=100), figures)
    run_late_in(simulation, "search-2")
    status = simulation.run().job.status
    assert status.state == "Complete"
    assert [trial.name for trial in status.search.trials] == ["search-1", "search-2"]


def test_a_unit_gets_the_deadline_that_the_spec_says_now():
    simulation = Simulation(job(unitDeadlineSeconds=3600))
    simulation.step()
    assert [child.deadline for child in simulation.live()] == [3600]
    simulation.change(unit_deadline_seconds=36000)
    (action,) = simulation.step().actions
    assert str(action).endswith(" 36000 s")
    assert [child.deadline for child in simulation.live()] == [36000]
    assert simulation.step().actions == ()
    simulation.change(unit_deadline_seconds=None)
    assert [str(action)[-11:] for action in simulation.step().actions] == ["no deadline"]
    simulation.succeed(*simulation.live())
    assert simulation.run().job.status.state == "Complete"


def test_what_was_given_up_before_it_had_a_pod_is_made_when_it_is_asked_for_again():
    candidates = [{"name": name, "ptq": {}} for name in ("a", "b", "c")]
    simulation = Simulation(job(candidates=candidates, activeDeadlineSeconds=100, parallelism=1))
    run_late_in(simulation, "b")
    simulation.run()
    assert simulation.condition("Complete").reason == "DeadlineExceeded"
    objective = simulation.job.spec.objective.model_copy(update={"metric": "mAP50"})
    simulation.change(objective=objective, active_deadline_seconds=None)
    status = simulation.run().job.status
    assert {result.state for result in status.candidates} == {"Accepted"}
    assert simulation.condition("Complete").reason == "WinnerFound"
