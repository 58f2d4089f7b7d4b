"""Pods that are answered at once: units end with results that a plan goes on from."""

import time

import pytest
from answers import Answers
from controlplane import ControlPlane
from nodeagent import Hardware, node
from rest import JOB, POD, Json, path
from simulated import SETTINGS, Simulation, job

from mpj_runner.contract.messages import Termination

IMAGE = {"image": "tests"}


def children(count: int, namespace: str) -> list[Json]:
    """Return the Job values that the plan makes first, for a number of jobs."""
    made = []
    for number in range(count):
        simulation = Simulation(job(), settings=SETTINGS)
        simulation.step()
        (value,) = list(simulation.values.values())[:1]
        value = {**value, "metadata": {**value["metadata"], "namespace": namespace}}
        value["metadata"] = {**value["metadata"], "name": f"j{number}"}
        value["metadata"].pop("ownerReferences")
        made.append(value)
    return made


@pytest.mark.parametrize("count", [1, 40])
def test_jobs_end_with_a_manifest(plane: ControlPlane, namespace: str, count: int):
    answers = Answers()
    with node(plane, "answering", hardware=Hardware(gpus=0), answers=answers):
        began = time.monotonic()
        for value in children(count, namespace):
            plane.api.create(path(JOB, namespace), value)
        for number in range(count):
            plane.api.until(
                path(JOB, namespace, f"j{number}"),
                lambda j: any(c["type"] == "Complete" for c in j["status"].get("conditions", ())),
                30,
            )  # fmt: skip
        print(f"{count} Jobs in {time.monotonic() - began:.2f} s")  # noqa: T201 - a figure to read
    for found in plane.api.items(path(POD, namespace)):
        (last,) = found["status"]["containerStatuses"]
        said = Termination.decode(last["state"]["terminated"]["message"])
        assert said.manifest.sha256 in answers.computed
    assert len(answers.computed) == len(set(answers.computed))


def test_the_same_work_at_the_same_time_is_noted(plane: ControlPlane, namespace: str):
    answers = Answers(seconds=1.0)
    with node(plane, "answering", hardware=Hardware(gpus=0), answers=answers):
        for value in children(2, namespace):
            plane.api.create(path(JOB, namespace), value)
        for number in range(2):
            plane.api.until(
                path(JOB, namespace, f"j{number}"),
                lambda j: any(c["type"] == "Complete" for c in j["status"].get("conditions", ())),
                30,
            )  # fmt: skip
    assert len(answers.twice) == 1
