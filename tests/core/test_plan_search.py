"""The search in whole jobs: which trials it asks for, and what becomes of them."""

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
