"""What the operator has just written it need not read, unless somebody else wrote since."""

import pytest
from fake_api import KEY, World, error
from simulated import Simulation, job

from mpj_operator.api.load import parse
from mpj_operator.shell.cluster import Key
from mpj_operator.shell.kube.recall import SECONDS, Recall
from mpj_operator.shell.queue import RetryLaterError
from mpj_operator.shell.reconcile import reconcile


def read(world):
    return [verb for verb, _, _ in world.asked].count("GET")


async def test_what_was_just_written_is_not_read_again_once():
    world = World()
    world.shown.add(("u-1", "7"))
    first = await reconcile(KEY, world.cluster)
    assert read(world) == 1
    seen = await world.cluster.observe(KEY)
    assert read(world) == 1
    assert seen.job.status == first.status
    (written,) = world.bodies("PATCH")
    world.raw["status"] = written["status"]
    assert await world.cluster.observe(KEY) == seen
    assert read(world) == 2


async def test_what_somebody_wrote_since_is_read():
    world = World()
    await reconcile(KEY, world.cluster)
    world.raw["metadata"]["resourceVersion"] = "8"
    world.shown.add(("u-1", "8"))
    assert (await world.cluster.observe(KEY)).job.metadata.resource_version == "8"


async def test_a_pass_that_failed_is_followed_by_one_that_reads():
    world = World()
    world.shown.add(("u-1", "7"))
    await reconcile(KEY, world.cluster)
    child = world.child(conditions=[{"type": "Failed", "status": "True"}])
    world.children = [{**child, "metadata": {**child["metadata"], "uid": "c-2"}}]
    world.refuse["PATCH"] = error(409, "Conflict")
    with pytest.raises(RetryLaterError):
        await reconcile(KEY, world.cluster)
    assert read(world) == 1
    await world.cluster.observe(KEY)
    assert read(world) == 2


def test_a_few_are_remembered_and_none_that_has_ended():
    recall = Recall(lambda _uid, _version: True, most=2)
    unfinished = job()
    for name in "abc":
        recall.wrote(Key("ns", name), unfinished, unfinished.status, "1")
    assert recall.take(Key("ns", "a")) is None
    assert recall.take(Key("ns", "b")).metadata.resource_version == "1"
    ended = unfinished.status.model_copy(update={"state": "Complete"})
    recall.wrote(Key("ns", "c"), unfinished, ended, "2")
    assert recall.take(Key("ns", "c")) is None


def test_what_was_written_a_while_ago_is_read():
    now = [0.0]
    recall = Recall(lambda _uid, _version: True, clock=lambda: now[0])
    for seconds, found in ((SECONDS, True), (SECONDS + 1, False)):
        recall.wrote(KEY, job(), job().status, "1")
        now[0] += seconds
        assert (recall.take(KEY) is not None) == found


def test_a_job_with_a_deadline_is_always_read():
    recall = Recall(lambda _uid, _version: True)
    recall.wrote(KEY, job(activeDeadlineSeconds=60), job().status, "1")
    assert recall.take(KEY) is None


async def test_nothing_is_made_again_for_a_version_that_is_gone():
    world = World()
    world.shown.add(("u-1", "7"))
    await reconcile(KEY, world.cluster)
    world.raw["metadata"]["resourceVersion"] = "8"  # the watch lags
    with pytest.raises(RetryLaterError, match="changed meanwhile"):
        await reconcile(KEY, world.cluster)  # its child is not there, as if somebody deleted it
    assert len(world.bodies("POST")) == 1
    await reconcile(KEY, world.cluster)
    assert len(world.bodies("POST")) == 2


def test_what_is_remembered_is_what_would_be_read():
    simulation = Simulation(World().simulation.job)
    for _ in range(40):
        simulation.step()
        stored, problems = parse(simulation.job.to_json(), stored=True)
        assert not problems
        assert stored == simulation.job
        for child in simulation.live():
            simulation.succeed(child)
    assert simulation.job.status.state == "Complete"
