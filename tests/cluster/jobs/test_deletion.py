"""Jobs, names and namespaces that go away while units run: nothing is left, nothing hangs."""

from judged import assert_complete
from operating import MPJ, World
from rest import path, polled


def test_a_job_is_deleted_and_made_again_under_its_name(world, operating, answers):
    """The old pods still terminate; the new job has children of its own."""
    world.extra = 1  # prepare was begun once by each
    with answers.holding("prepare"):
        old = world.apply()
        world.until_unit("prepare", state="Running")
        world.plane.api.delete(path(MPJ, world.namespace, "demo"), propagationPolicy="Background")
        new = world.apply()
    assert old["metadata"]["uid"] != new["metadata"]["uid"]
    assert_complete(world.until("Complete", seconds=90))
    for _ in polled(30):
        owners = {c["metadata"]["ownerReferences"][0]["uid"] for c in world.children()}
        if owners == {new["metadata"]["uid"]}:
            break
    assert owners == {new["metadata"]["uid"]}


def test_deleting_a_job_removes_all_its_children(world, operating, answers):
    world.apply()
    with answers.holding("reference"):
        world.until_unit("reference", state="Running")
        world.plane.api.delete(path(MPJ, world.namespace, "demo"))
        for _ in polled(30):
            if not world.children() and not world.pods():
                return
    raise AssertionError(world.children())


def test_a_namespace_is_deleted_under_a_running_job(plane, operating, gpu, answers):
    name = plane.restricted_namespace("goes-away")
    world = World(plane, name)
    with answers.holding("prepare"):
        world.apply()
        world.until_unit("prepare", state="Running")
        plane.api.delete(f"/api/v1/namespaces/{name}")
        plane.api.until(f"/api/v1/namespaces/{name}", lambda found: found is None, 60)
