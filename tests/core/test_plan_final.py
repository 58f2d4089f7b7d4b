"""The final measurement: who is in it, when it is made again, and who wins."""

from dataclasses import replace

import pytest
from simulated import SETTINGS, Figures, Simulation, job, requests_of

from mpj_operator.api.objective import Objective
from mpj_operator.core.ending import MOST_FINALS
from mpj_operator.core.names import LABEL_UNIT
from mpj_runner.contract.messages import Termination

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


def test_who_fell_to_finals_that_could_not_be_trusted_is_measured_afresh_for_another_objective():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    for _ in range(3):
        final = until_final(simulation)
        simulation.figures = replace(simulation.figures, unreliable="another process ran")
        simulation.succeed(final)
    final = until_final(simulation)  # of c0 and c1
    fallen = simulation.job.status.candidates[4]
    assert fallen.state == "Rejected"
    assert fallen.reasons == ("the final latency is unreliable: another process ran",)
    assert fallen.speedup.value == FASTER["c4"]
    simulation.figures = replace(simulation.figures, unreliable=None)
    simulation.change(objective=Objective(max_accuracy_drop=0.02))
    again = until_final(simulation)
    assert final.name not in simulation.children
    scopes = [requests_of(simulation.values[child.name])[0].scope for child in (final, again)]
    assert scopes == ["u-1/3", "u-1/9"]
    status = simulation.run().job.status
    assert (status.best.name, simulation.condition("Complete").reason) == ("c4", "WinnerFound")
    assert {result.state for result in status.candidates} == {"Accepted"}


def test_another_store_has_as_many_final_measurements_as_the_first():
    simulation = Simulation(job(candidates=FIVE), Figures(speedups=FASTER))
    for _ in range(2):
        final = until_final(simulation)
        simulation.figures = replace(simulation.figures, unreliable="another process ran")
        simulation.succeed(final)
    until_final(simulation)
    simulation.change(suspend=True)
    simulation.step()
    simulation.figures = replace(simulation.figures, unreliable=None)
    simulation.settings = replace(SETTINGS, default_storage="file:///other")
    simulation.change(suspend=False)
    final = until_final(simulation)
    assert requests_of(simulation.values[final.name])[0].scope == "u-1/9"
    simulation.figures = replace(simulation.figures, unreliable="another process ran")
    simulation.succeed(final)
    simulation.figures = replace(simulation.figures, unreliable=None)
    assert simulation.run().job.status.best.name == "c4"


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
    assert simulation.history.count("final") == MOST_FINALS
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
