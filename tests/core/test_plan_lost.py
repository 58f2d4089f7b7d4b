"""A status that has lost something or never had it, and words that cannot be read."""

from datetime import timedelta

import pytest
from simulated import Figures, Simulation, job, last_words, requests_of

from mpj_operator.core.observed import ContainerSeen, PodSeen
from mpj_runner.contract.messages import Termination


def lose(simulation, member):
    """Take a part of the status away, as an operator does that cannot read it."""
    empty = () if member == "candidates" else None
    status = simulation.job.status.model_copy(update={member: empty})
    simulation.job = simulation.job.model_copy(update={"status": status})


def until(simulation, unit):
    """Go on until a unit runs."""
    while unit not in simulation.history:
        simulation.step()
        for child in simulation.live():
            if child.unit != unit:
                simulation.succeed(child)


@pytest.mark.parametrize("runs", ["reference", "baseline", "int8", "search-1", "final", "report"])
@pytest.mark.parametrize("member", ["reference", "baseline", "candidates", "search"])
def test_what_the_status_has_lost_is_found_out_again(member, runs):
    """And the verdict is what it would have been, whatever ran at the time."""
    spec = job(search={"format": "int8"})
    whole = Simulation(spec).run().job.status
    simulation = Simulation(spec)
    until(simulation, runs)
    lose(simulation, member)
    simulation.run()
    status = simulation.job.status
    assert (status.state, status.best) == ("Complete", whole.best)
    assert simulation.condition("Complete").reason == "WinnerFound"
    assert {record.state for record in status.unit_statuses} == {"Succeeded"}
    assert {result.state for result in status.candidates} == {"Accepted"}


def test_trials_of_a_lost_search_end_and_their_time_stays_spent():
    simulation = Simulation(job(search={"format": "int8"}), Figures(drop_of_kept=lambda _: 0.02))
    until(simulation, "search-2")
    simulation.put_pod()
    simulation.now += timedelta(seconds=40)
    (trial,) = simulation.live()
    lose(simulation, "search")
    simulation.step()
    assert trial.name not in simulation.children
    assert simulation.job.status.spent_seconds == 40
    assert [child.unit for child in simulation.live()] == ["score"]


def test_an_objective_that_changes_while_the_reference_is_lost_judges_all_the_same():
    simulation = Simulation(job(), Figures(drops={"int8": 0.008}))
    until(simulation, "final")
    lose(simulation, "reference")
    objective = simulation.job.spec.objective.model_copy(update={"max_accuracy_drop": 0.02})
    simulation.change(objective=objective)
    status = simulation.run().job.status
    assert (status.state, status.best.name) == ("Complete", "int8")


@pytest.mark.parametrize("unit", ["int8", "final", "report"])
def test_a_child_that_the_status_never_knew_of_is_not_taken_for_one_of_the_changed_spec(unit):
    """The user changes the objective between a pass' look and its write: that is refused."""
    simulation = Simulation(job(), Figures(drops={"int8": 0.008}))
    while unit not in simulation.history:
        simulation.step(crash=True)
        if unit in simulation.history:
            break
        simulation.step()
        simulation.succeed(*simulation.live()[:1])
    objective = simulation.job.spec.objective
    changed = {"max_accuracy_drop": 0.02, "metric": "mAP50"}
    simulation.change(objective=objective.model_copy(update=changed))
    status = simulation.run().job.status
    assert (status.state, status.best.name) == ("Complete", "int8")
    assert {record.state for record in status.unit_statuses} == {"Succeeded"}
    asked = [
        request.params["objective"]["metric"]
        for value in simulation.values.values()
        for request in requests_of(value)
        if request.step == "report"
    ]
    assert asked[-1] == "mAP50"
    reported = next(r for r in status.unit_statuses if r.name == "report")
    assert simulation.values[reported.job_name] == list(simulation.values.values())[-1]


@pytest.mark.parametrize("suspend", [False, True])
def test_words_of_another_version_end_their_unit_and_stop_nothing_else(suspend):
    candidates = [{"name": name, "ptq": {}} for name in ("a", "b")]
    simulation = Simulation(job(candidates=candidates))
    while "a" not in simulation.history:
        simulation.step()
        for child in simulation.live():
            if child.unit != "a":
                simulation.succeed(child)
    (child,) = (child for child in simulation.live() if child.unit == "a")
    words = Termination.decode(last_words(simulation.values[child.name], Figures()))
    steps = tuple(
        step.model_copy(update={"outcome": {**step.outcome, "new": 1}}) for step in words.steps
    )
    text = words.model_copy(update={"steps": steps}).encode()
    container = ContainerSeen("last", "terminated", 0, "Completed", text)
    pod = PodSeen("p", "Succeeded", (container,))
    simulation._put(child, outcome="Complete", finished=simulation.now, pods=(pod,))
    simulation.change(suspend=suspend)
    simulation.step()
    record = next(r for r in simulation.job.status.unit_statuses if r.name == "a")
    assert (record.state, record.reason) == ("Failed", "ResultUnreadable")
    assert "one version" in record.message
    assert simulation.job.status.state == ("Suspended" if suspend else "Running")
    simulation.change(suspend=False)
    status = simulation.run().job.status
    assert (status.state, status.best.name) == ("Complete", "b")
    assert [result.state for result in status.candidates] == ["Failed", "Accepted"]
