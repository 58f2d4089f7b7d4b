"""What a job waits for is said while it waits, and waiting ends when that is there."""

from judged import assert_complete
from operating import MPJ, condition
from rest import path

QUOTAS = ("v1", "resourcequotas")


def test_an_image_that_nobody_has_is_said_while_it_waits(world, operating, gpu):
    gpu.faults.missing_images.add("nobody/has:this")
    world.apply(podOverrides={"image": "nobody/has:this"})
    record = world.until_unit("prepare", reason="ImagePullBackOff")
    assert record["state"] == "Pending"
    assert "nobody/has:this" in record["message"]
    status = world.status()
    assert "nobody/has:this" in condition(status, "Ready")["message"]
    gpu.faults.missing_images.clear()
    assert_complete(world.until("Complete", seconds=60))


def test_a_quota_that_is_full_is_said_and_waited_for(world, operating):
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    world.plane.api.create(path(QUOTAS, world.namespace), quota)
    world.apply()
    record = world.until_unit("prepare", reason="QuotaExceeded")
    assert "count/jobs.batch" in record["message"]
    world.plane.api.delete(path(QUOTAS, world.namespace, "none"))
    assert_complete(world.until("Complete", seconds=60))


def test_a_quota_of_pods_that_is_full_is_said_and_waited_for(world, operating):
    """The Job is created; only the Job controller's events say why its pod is not."""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/pods": "0"}}}
    world.plane.api.create(path(QUOTAS, world.namespace), quota)
    world.apply()
    record = world.until_unit("prepare", reason="QuotaExceeded")
    assert record["state"] == "Pending"
    assert "count/pods" in record["message"]
    assert "count/pods" in condition(world.status(), "Ready")["message"]
    world.plane.api.delete(path(QUOTAS, world.namespace, "none"))
    assert_complete(world.until("Complete", seconds=90))


def test_a_pod_that_no_node_can_take_is_said(world, operating):
    world.apply(podOverrides={"nodeSelector": {"no": "such"}})
    record = world.until_unit("prepare", reason="Unschedulable")
    assert "0/" in record["message"]
    world.plane.api.delete(path(MPJ, world.namespace, "demo"))
