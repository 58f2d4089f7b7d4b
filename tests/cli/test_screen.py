"""What is shown while a job runs: an estimate, lines without a terminal, a table on one."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from simulated import Simulation, job

from mpj_operator.api.status import UnitStatus
from mpj_operator.commands.screen import Screen, clock, elapsed, remaining
from mpj_operator.core import conditions as c
from mpj_operator.core.observed import ContainerSeen, PodSeen

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def unit(name: str, state: str, began: float | None = None, ended: float | None = None):
    return UnitStatus(
        name=name,
        state=state,
        job_name=None if began is None else f"job-{name}",
        start_time=None if began is None else START + timedelta(seconds=began),
        completion_time=None if ended is None else START + timedelta(seconds=ended),
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3599, "59m59s"), (7384, "2h03m")],
)
def test_seconds_as_a_clock(seconds, words):
    assert clock(seconds) == words


def test_a_unit_counts_from_its_start_to_its_end_or_now():
    now = START + timedelta(seconds=50)
    assert elapsed(unit("a", "Pending"), now) is None
    assert elapsed(unit("a", "Running", 10), now) == 40
    assert elapsed(unit("a", "Succeeded", 10, 25), now) == 15


def test_what_is_left_is_what_the_others_took():
    now = START + timedelta(seconds=62)
    finished = [unit(f"u{n}", "Succeeded", 20 * n, 20 * n + 10 * n) for n in (1, 2, 3)]
    left = [unit("running", "Running", 60), unit("waiting", "Pending")]
    assert remaining((*finished[:2], *left), now) is None
    assert remaining((*finished, *left), now) == (20 - 2) + 20
    assert remaining((*finished, unit("slow", "Running", 0)), now) == 0


def shown(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    simulation = Simulation(job())
    with Screen(console) as screen:
        while not c.holds(simulation.job.status.conditions, "Complete"):
            simulation.step()
            for child in simulation.live():
                containers = (ContainerSeen("eval", "running"),)
                pod = PodSeen("p", "Running", containers, scheduled=simulation.now)
                simulation.children[child.name] = replace(child, pods=(pod,))
            simulation.step()
            screen.show(simulation.job)
            simulation.now += timedelta(seconds=5)
            for child in simulation.live():
                simulation.succeed(child)
    return file.getvalue()


def test_lines_where_there_is_no_terminal():
    lines = shown(terminal=False).splitlines()
    assert len(lines) == len(set(lines))
    assert lines[0] == "prepare              Running eval"
    assert "prepare              Succeeded (5s)" in lines
    assert any(line.startswith("int8                 Running") for line in lines)


def test_a_table_on_a_terminal():
    text = shown(terminal=True)
    assert "demo  7/7  elapsed " in text
    assert "✔  prepare    5s" in text
    assert "✔  int8       5s" in text
