"""The search in whole jobs: which trials it asks for, and what becomes of them."""

from collections.abc import Callable

import pytest
from simulated import Figures, Simulation, job


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
    done = Simulation(job(search=search), figures).run()
    status = done.job.status
    assert [trial.kept for trial in status.search.trials] == trials
    assert status.search.done
    assert status.state == "Complete"


def test_the_search_stays_within_its_budget():
    figures = Figures(drop_of_kept=lambda kept: 0.001 if kept >= 5 else 0.02)
    done = Simulation(job(search={"format": "int8", "maxTrials": 2}), figures).run()
    assert len(done.job.status.search.trials) == 2
    assert done.job.status.state == "Complete"


def test_of_equal_engines_the_users_candidate_stands_for_the_trials():
    figures = Figures(speedups={"search-1": 1.9}, same_engine=True)
    simulation = Simulation(job(search={"format": "int8"}), figures).run()
    measured = [
        r.name for r in simulation.job.status.candidates if r.speedup_vs_reference is not None
    ]
    assert measured == ["int8"]
    assert simulation.job.status.best.name == "int8"


def needs(layers: int) -> Figures:
    """Return figures of a detector that bears INT8 once so many layers are kept."""
    drop: Callable[[int], float] = lambda kept: 0.001 if kept >= layers else 0.02  # noqa: E731 - typed
    return Figures(drops={"int8": 0.02}, drop_of_kept=drop)


NEEDS_FIVE = needs(5)


def until(simulation: Simulation, unit: str) -> None:
    """Go on until a unit's child is the only one that lives."""
    while True:
        simulation.step()
        live = simulation.live()
        if [child.unit for child in live] == [unit]:
            return
        for child in live:
            simulation.succeed(child)


def grow(simulation: Simulation) -> None:
    search = simulation.job.spec.search
    simulation.change(search=search.model_copy(update={"max_trials": 16}))


@pytest.mark.parametrize("over", [False, True], ids=["while it runs", "as it ends"])
@pytest.mark.parametrize("unit", ["final", "report"])
def test_a_budget_that_grows_near_the_end_is_used(unit, over):
    simulation = Simulation(job(search={"format": "int8", "maxTrials": 2}), NEEDS_FIVE)
    until(simulation, unit)
    if over:
        simulation.succeed(*simulation.live())
    grow(simulation)
    simulation.step()
    assert [child.unit for child in simulation.live()] == ["search-3"]
    assert_all_were_compared(simulation)


def test_a_budget_that_grows_lets_a_complete_job_go_on():
    simulation = Simulation(job(search={"format": "int8", "maxTrials": 2}), NEEDS_FIVE).run()
    assert simulation.job.status.state == "Complete"
    grow(simulation)
    assert_all_were_compared(simulation)


def test_a_budget_that_grows_after_the_search_has_converged_changes_nothing():
    simulation = Simulation(job(search={"format": "int8", "maxTrials": 8}), NEEDS_FIVE).run()
    history, when = list(simulation.history), simulation.job.status.completion_time
    grow(simulation)
    simulation.run()
    assert (simulation.history, simulation.job.status.completion_time) == (history, when)


def assert_all_were_compared(simulation: Simulation) -> None:
    status = simulation.run().job.status
    assert (status.state, status.search.done) == ("Complete", True)
    assert [trial.kept for trial in status.search.trials] == [0, 2, 4, 8, 6, 5]
    assert {result.state for result in status.candidates} <= {"Accepted", "Rejected"}
    assert status.best.name.startswith("search-")
    assert simulation.history[-2:] == ["final", "report"]


@pytest.mark.parametrize(
    ("failing", "kept"),
    [
        pytest.param({"search-1"}, [0, 2], id="the plain one"),
        pytest.param({"search-2"}, [0, 2, 3, 6, 4, 5], id="the first of the gallop"),
    ],
)
def test_a_trial_that_fails_does_not_end_the_search(failing, kept):
    wanted = job(search={"format": "int8", "maxTrials": 16})
    figures = needs(2 if "search-1" in failing else 5)
    status = Simulation(wanted, figures).run(failing=frozenset(failing)).job.status
    assert [trial.kept for trial in status.search.trials] == kept
    assert status.best.name.startswith("search-")
