"""Signals, deaths and a second run: no process stays behind, and the next run goes on."""

import contextlib
import os
import re
import signal
import subprocess
import time

import psutil
from tiny_world import World, descendants, gone

MEASURING = ("reference", "benchmark")
"""A step that takes some time, in the middle of a job."""


def steps_of(pid: int) -> list[psutil.Process]:
    """Return the processes that run steps: a step is a child of the fork server of ``mpj``."""
    (server,) = psutil.Process(pid).children()
    return server.children()


def kept(world: World) -> dict[str, object]:
    """Return what an interrupted run must not do again: the finished unit and its traces."""
    log = world.out / "logs/prepare/export.log"
    return {
        "uid": world.resource["metadata"]["uid"],
        "start": world.status["startTime"],
        "prepare": world.unit("prepare"),
        "log": log.stat().st_mtime_ns,
    }


def interrupted(world: World, number: signal.Signals) -> None:
    """Run a job, try to run it a second time meanwhile, and end it by a signal."""
    with world.started() as mpj:
        world.wait_for_step(*MEASURING)
        second = world.run()
        assert (second.code, second.output) == (
            2,
            f"error: another mpj run (process {mpj.pid}) works in {world.out}: wait for it, or "
            "give this one a folder of its own with --out\n",
        )
        processes = descendants(mpj.pid)
        assert steps_of(mpj.pid)
        os.killpg(mpj.pid, number)  # a terminal sends it to the whole foreground group
        output, _ = mpj.communicate(timeout=20)
    assert mpj.returncode == 130
    assert output.endswith(f"interrupted: run it again to go on ({world.out})\n")
    assert "Traceback" not in output
    assert gone(processes)
    assert not (world.out / "work").exists()
    assert world.unit("reference")["state"] in ("Pending", "Running")


def test_ctrl_c_and_the_next_run(world: World):
    interrupted(world, signal.SIGINT)
    before = kept(world)
    ran = world.run()
    assert ran.code == 0, ran.output
    assert kept(world) == before
    assert world.condition("Complete")["status"] == "True"


def test_sigterm_is_like_ctrl_c(world: World):
    interrupted(world, signal.SIGTERM)


def test_kill_9_of_mpj_and_then_of_a_step(world: World):
    with world.started() as mpj:
        world.wait_for_step(*MEASURING)
        processes = descendants(mpj.pid)
        mpj.kill()
        mpj.wait()
        assert gone(processes)
    before = kept(world)

    with world.started() as mpj:
        world.wait_for_step("baseline", "benchmark")
        assert kept(world) == before
        (step,) = steps_of(mpj.pid)
        step.kill()
        output, _ = mpj.communicate(timeout=120)
    assert mpj.returncode == 0, output
    assert gone([step])
    assert kept(world) == before
    baseline = world.unit("baseline")
    assert (baseline["state"], baseline["attempt"]) == ("Succeeded", 1)
    assert world.condition("Complete")["status"] == "True"
    assert world.damage() == []


def test_kill_9_of_the_fork_server_is_a_step_that_is_tried_again(world: World):
    with world.started() as mpj:
        world.wait_for_step(*MEASURING)
        (server,) = psutil.Process(mpj.pid).children()
        processes = [server, *server.children()]
        server.kill()
        output, _ = mpj.communicate(timeout=120)
    assert mpj.returncode == 0, output
    assert gone(processes)
    assert world.unit("reference")["attempt"] == 1


def test_a_step_that_is_killed_each_time_ends_its_unit(world: World):
    world.change(**{"backoffLimit": 1})
    with world.started() as mpj:
        deadline = time.monotonic() + 60
        while mpj.poll() is None and time.monotonic() < deadline:
            for step in _living_steps(mpj):
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
                    step.kill()
            time.sleep(0.02)
        output, _ = mpj.communicate(timeout=5)
    assert mpj.returncode == 1
    # On a busy machine the first step can be over before it is found: then the next one dies.
    prepare = world.unit("prepare")
    assert (prepare["state"], prepare["attempt"]) == ("Failed", 1)
    found = re.match(
        r"prepare \((\w+)\): \1 ended with exit code 137", world.condition("Failed")["message"]
    )
    assert found
    assert found[0] in output


def _living_steps(mpj: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return steps_of(mpj.pid)
    except (psutil.NoSuchProcess, ValueError):  # it has ended, or its server has not begun
        return []
