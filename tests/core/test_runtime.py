"""One image judges a job: pinned to what its first pod ran, corrected only before a result."""

from dataclasses import replace

import pytest
from job_values import containers
from simulated import Simulation, job

from mpj_operator.core import names
from mpj_operator.core.observed import ChildSeen, ContainerSeen, PodSeen, Settings
from mpj_operator.core.runtime import pinned_image

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "image_id", "pinned"),
    [
        ("repo/job:1", f"mirror/repo/job@{DIGEST}", f"repo/job:1@{DIGEST}"),
        ("repo/job:1", f"docker-pullable://repo/job@{DIGEST}", f"repo/job:1@{DIGEST}"),
        ("repo/job:1", DIGEST, "repo/job:1"),
        ("repo/job:1", f"docker://{DIGEST}", "repo/job:1"),
        ("repo/job:1", f"docker.io/library/import-2026-11-24@{DIGEST}", "repo/job:1"),
        ("repo/job:1", "", "repo/job:1"),
        ("repo/job@sha256:" + "b" * 64, f"repo/job@{DIGEST}", "repo/job@sha256:" + "b" * 64),
    ],
)
def test_an_image_is_pinned_to_what_the_first_pod_ran(image, image_id, pinned):
    waiting = PodSeen("p", containers=(ContainerSeen("fetch"),))
    pods = (waiting, replace(waiting, image_id=image_id))
    foreign = replace(waiting, image_id="x@sha256:" + "f" * 64)
    seen = (
        ChildSeen("other", "prepare", 1, owned=False, pods=(foreign,)),
        ChildSeen("own", "prepare", 1, pods=pods),
    )
    assert pinned_image(image, seen) == pinned
    assert pinned_image(pinned, (ChildSeen("o", "p", 1, pods=(foreign,)),)) in (
        pinned,
        f"{pinned}@sha256:{'f' * 64}",
    )


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        pytest.param("never pulled", "right:1", id="it was never pulled"),
        pytest.param("lost", "right:1", id="its result was not readable"),
        pytest.param("done", f"wrong:1@{DIGEST}", id="a result is there: one job, one runner"),
    ],
)
def test_a_wrong_image_can_be_corrected_until_there_is_a_result(before, wanted):
    simulation = Simulation(job(podOverrides={"image": "wrong:1"}))
    simulation.step()
    (child,) = simulation.live()
    if before != "never pulled":
        pod = PodSeen("p", "Running", image_id=f"wrong@{DIGEST}")
        simulation.children[child.name] = child = replace(child, pods=(pod,))
        simulation.succeed(child, readable=before == "done")
        simulation.step()
    for suspend in (True, False):
        overrides = simulation.job.spec.pod_overrides.model_copy(update={"image": "right:1"})
        simulation.change(suspend=suspend, pod_overrides=overrides)
        simulation.step()
        simulation.step()
    assert simulation.job.status.runtime.image == wanted
    for child in simulation.live():
        found = containers(simulation.values[child.name]).values()
        assert {container["image"] for container in found} == {wanted}


def test_an_image_does_not_change_under_a_unit_that_runs():
    simulation = Simulation(job(), settings=Settings("old:1", "1", "file:///store"))
    simulation.step()
    simulation.settings = Settings("new:1", "2", "file:///store")
    runtime = simulation.step().status.runtime
    assert (runtime.image, runtime.runner_version) == ("old:1", "1")


def test_later_units_run_the_digest_and_status_shows_it():
    simulation = Simulation(job(), settings=Settings("repo/job:1", "1", "file:///store"))
    simulation.step()
    (child,) = simulation.live()
    pod = PodSeen("p", "Running", image_id=f"repo/job@{DIGEST}")
    simulation.children[child.name] = replace(child, pods=(pod,))
    simulation.run()
    images = {
        value["metadata"]["labels"][names.LABEL_UNIT]: containers(value).popitem()[1]["image"]
        for value in simulation.values.values()
    }
    assert images.pop("prepare") == "repo/job:1"
    assert set(images.values()) == {f"repo/job:1@{DIGEST}"}
    assert simulation.job.status.runtime.image == f"repo/job:1@{DIGEST}"
