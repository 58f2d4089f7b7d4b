"""Children and pods that somebody takes away while they run."""

import pytest
from judged import assert_complete, attempts
from operating import JOBS, PODS
from rest import path


@pytest.mark.parametrize("what", ["job", "pod"])
def test_a_child_is_deleted_by_hand(world, operating, answers, what):
    world.extra = 1
    world.apply()
    with answers.holding("reference"):
        record = world.until_unit("reference", state="Running")
        if what == "job":
            child = path(JOBS, world.namespace, record["jobName"])
            world.plane.api.delete(child, propagationPolicy="Background")
        else:
            world.delete_pod(record)
    status = world.until("Complete", seconds=90)
    assert_complete(status)
    assert attempts(status)["reference"] == (2 if what == "job" else 1)


def test_an_eviction_is_not_a_failure(world, operating, answers):
    world.extra = 1
    world.apply(backoffLimit=0)
    with answers.holding("reference"):
        name = world.pod_of(world.until_unit("reference", state="Running"))["metadata"]["name"]
        world.plane.api.create(
            path(PODS, world.namespace, name, "eviction"),
            {"apiVersion": "policy/v1", "kind": "Eviction",
             "metadata": {"name": name, "namespace": world.namespace}},
        )  # fmt: skip
    status = world.until("Complete", seconds=90)
    assert_complete(status)
    assert attempts(status)["reference"] == 1
