"""Children are asked for by name where the status names them all, else listed."""

import pytest
from fake_api import KEY, World, error

from mpj_operator.shell.kube.podnames import PodNames
from mpj_operator.shell.queue import RetryLaterError
from mpj_operator.shell.reconcile import reconcile

CHILD, POD = "demo-prepare", "p"


async def begun(**spec):
    """Return a world whose first unit was just created, and is there; the status is stored."""
    world = World(**spec)
    await reconcile(KEY, world.cluster)
    (made,), (written,) = world.bodies("POST"), world.bodies("PATCH")
    world.raw["status"] = written["status"]
    owned = {"uid": "c-1", "creationTimestamp": "2026-11-24T11:59:58Z"}
    world.children = [{**made, "metadata": {**made["metadata"], **owned}, "status": {}}]
    world.asked.clear()
    return world


def asked(world):
    """Return what was read of children and pods: verb, kind, and the name that was asked for."""
    found = []
    for verb, path, _ in world.asked:
        if verb in ("GET", "LIST") and "/mixedprecision.dev/" not in path:
            kind, _, name = path.partition("/vision/")[2].partition("/")
            found.append((verb, kind, "child" if name.startswith(CHILD) else name))
    return found


LISTED = [("LIST", "jobs", ""), ("LIST", "pods", "")]


async def test_children_of_an_own_status_are_asked_for_by_name():
    world = await begun()
    seen = await world.cluster.observe(KEY)
    assert asked(world) == [("GET", "jobs", "child")]
    assert [child.unit for child in seen.children] == ["prepare"]


async def test_what_is_seen_by_name_is_what_a_list_has():
    world = await begun()
    world.children[0]["status"] = {"active": 1}
    world.pod("2026-11-24T11:59:58Z")
    listed = await world.cluster.observe(KEY)
    assert asked(world) == [("GET", "jobs", "child"), ("LIST", "pods", "")]
    world.shown_pods = [POD]
    world.asked.clear()
    assert await world.cluster.observe(KEY) == listed
    assert asked(world) == [("GET", "jobs", "child"), ("GET", "pods", POD)]


async def test_a_child_that_is_gone_is_missed():
    world = await begun()
    world.children = []
    assert (await world.cluster.observe(KEY)).children == ()
    assert asked(world) == [("GET", "jobs", "child")]


@pytest.mark.parametrize(
    "counts",
    [
        {"active": 1},
        {"terminating": 1},
        {"succeeded": 1},
        {"failed": 1},
        {"uncountedTerminatedPods": {"succeeded": ["p-1"]}},
        {"uncountedTerminatedPods": {"failed": ["p-1"]}},
    ],
    ids=lambda counts: next(iter(counts)),
)
async def test_pods_that_the_watch_has_not_shown_are_listed(counts):
    world = await begun()
    world.children[0]["status"] = counts
    await world.cluster.observe(KEY)
    assert asked(world) == [("GET", "jobs", "child"), ("LIST", "pods", "")]


@pytest.mark.parametrize("owner", ["another", None], ids=["a namesake's", "gone"])
async def test_a_pod_that_is_not_the_childs_does_not_count(owner):
    world = await begun()
    world.children[0]["status"] = {"active": 1}
    world.shown_pods = [POD]
    if owner is not None:
        world.pod("2026-11-24T11:59:58Z")
        world.pods[0]["metadata"]["ownerReferences"] = [{"uid": owner}]
    await world.cluster.observe(KEY)
    assert asked(world)[1:] == [("GET", "pods", POD), ("LIST", "pods", "")]


async def test_all_is_listed_at_a_version_that_was_not_written_here():
    world = await begun()
    world.raw["metadata"]["resourceVersion"] = "8"
    await world.cluster.observe(KEY)
    assert asked(world) == LISTED


async def test_all_is_listed_while_something_made_is_in_no_status():
    world = await begun()
    world.children = []  # it is deleted, and made again, and that cannot be written down
    world.refuse["PATCH"] = error(500)
    with pytest.raises(Exception, match="words"):
        await reconcile(KEY, world.cluster)
    assert len(world.bodies("POST")) == 1
    world.asked.clear()
    world.refuse.clear()
    await world.cluster.observe(KEY)
    assert asked(world) == LISTED[:1]


async def test_all_is_listed_while_a_creation_may_have_been_done_without_an_answer():
    world = World()
    world.refuse["POST"] = error(0, "TimeoutError")
    await reconcile(KEY, world.cluster)
    (written,) = world.bodies("PATCH")
    world.raw["status"] = written["status"]
    world.asked.clear()
    await world.cluster.observe(KEY)
    assert asked(world) == LISTED[:1]


async def test_all_is_listed_where_a_unit_is_made_again():
    world = await begun()
    world.children = []
    await reconcile(KEY, world.cluster)
    (made,), (written,) = world.bodies("POST"), world.bodies("PATCH")
    assert made["metadata"]["labels"]["mixedprecision.dev/attempt"] == "2"
    world.raw["status"] = written["status"]
    world.asked.clear()
    await world.cluster.observe(KEY)
    assert asked(world) == LISTED[:1]


async def test_a_job_that_was_made_again_under_its_name_is_listed():
    world = await begun()
    there, world.raw = world.raw, None
    assert await world.cluster.observe(KEY) is None
    world.raw = there
    world.asked.clear()
    await world.cluster.observe(KEY)
    assert asked(world) == LISTED


async def test_a_status_that_was_refused_is_no_status():
    world = await begun()
    world.children[0]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    world.raw["metadata"]["resourceVersion"] = "8"
    world.refuse["PATCH"] = error(409)
    with pytest.raises(RetryLaterError):
        await reconcile(KEY, world.cluster)
    world.asked.clear()
    await world.cluster.observe(KEY)
    assert asked(world) == LISTED


def pod(name, job="a", **labels):
    key = "batch.kubernetes.io/job-name"
    return {"namespace": "ns", "name": name, "labels": {key: job, **labels}}


def test_pods_are_known_by_their_job_from_first_to_last():
    names = PodNames()
    for name in ("a-1", "a-2", "a-1"):
        names.show(pod(name))
    names.show({"namespace": "ns", "name": "stray", "labels": {}})
    names.show({"namespace": "ns", "name": "bare"})
    assert set(names.of("ns", "a")) == {"a-1", "a-2"}
    names.show(pod("a-1"), deleted=True)
    names.show(pod("never-shown"), deleted=True)
    assert names.of("ns", "a") == ("a-2",)
    assert names.of("other", "a") == ()


def test_pods_of_the_jobs_that_were_heard_of_last_are_known():
    names = PodNames(most=2)
    for job in ("a", "b", "a", "c"):
        names.show(pod(f"{job}-1", job))
    assert [names.of("ns", job) for job in "abc"] == [("a-1",), (), ("c-1",)]
