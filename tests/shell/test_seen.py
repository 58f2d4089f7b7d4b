"""From the API's JSON to what a plan sees."""

from datetime import UTC, datetime

import pytest

from mpj_operator.core.observed import ContainerSeen
from mpj_operator.shell.kube.seen import child_seen, children_seen, pod_seen

STEPS = {"initContainers": [{"name": "export"}], "containers": [{"name": "snapshot"}]}
NAMES = ("export", "snapshot")
T = "2026-11-24T10:00:00Z"


def job(status=None, spec=None, uid="owner", **metadata):
    return {
        "metadata": {
            "name": "a-prepare-1",
            "uid": "job-uid",
            "labels": {
                "mixedprecision.dev/unit": "prepare",
                "mixedprecision.dev/attempt": "3",
            },
            "ownerReferences": [{"uid": uid}],
            **metadata,
        },
        "spec": {"template": {"spec": STEPS}, **(spec or {})},
        "status": status or {},
    }


def pod(name="p", status=None, created=T, owner="job-uid", job_name="a-prepare-1"):
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "ownerReferences": [{"uid": owner}],
            "labels": {"batch.kubernetes.io/job-name": job_name},
        },
        "spec": STEPS,
        "status": status or {},
    }


def condition(kind, status="True", **more):
    return {"conditions": [{"type": kind, "status": status, "lastTransitionTime": T, **more}]}


def test_a_fresh_job_is_pending_and_ours():
    seen = child_seen(job(), [], "owner")
    assert (seen.unit, seen.attempt, seen.owned, seen.outcome) == ("prepare", 3, True, None)
    assert (seen.deleting, seen.suspended, seen.ttl, seen.pods) == (False, False, None, ())


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        (job(uid="another"), "owned", False),
        (job(deletionTimestamp=T), "deleting", True),
        (job(spec={"suspend": True}), "suspended", True),
        (job(condition("Complete"), {"suspend": True}), "suspended", False),
        (job(condition("Complete")), "outcome", "Complete"),
        (job(condition("Failed", reason="PodFailurePolicy")), "reason", "PodFailurePolicy"),
        (job(condition("Failed", message="exit 64")), "message", "exit 64"),
        (job(condition("Failed", "False")), "outcome", None),
        (job(condition("FailureTarget")), "outcome", None),
        (job(condition("Complete")), "finished", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        (job(spec={"ttlSecondsAfterFinished": 0}), "ttl", 0),
    ],
)
def test_fields_of_a_job(given, field, value):
    assert getattr(child_seen(given, [], "owner"), field) == value


def test_pods_go_to_their_job_oldest_first_and_foreign_ones_nowhere():
    pods = [
        pod("new", created="2026-11-24T10:05:00Z"),
        pod("old"),
        pod("of an older job of that name", owner="gone"),
        pod("elsewhere", job_name="b"),
    ]
    (seen,) = children_seen([job()], pods, "owner")
    assert [p.name for p in seen.pods] == ["old", "new"]


def test_containers_in_order_with_their_last_words():
    status = {
        "phase": "Failed",
        "initContainerStatuses": [
            {
                "name": "export",
                "state": {"terminated": {"exitCode": 64, "reason": "Error", "message": "words"}},
            }
        ],
        "containerStatuses": [
            {"name": "snapshot", "state": {"waiting": {"reason": "PodInitializing"}}}
        ],
    }
    assert pod_seen(pod(status=status), NAMES).containers == (
        ContainerSeen("export", "terminated", 64, "Error", "words"),
        ContainerSeen("snapshot", "waiting", None, "PodInitializing", ""),
    )


def test_containers_without_a_status_wait():
    assert [c.state for c in pod_seen(pod(), NAMES).containers] == ["waiting", "waiting"]


@pytest.mark.parametrize(
    ("status", "field", "value"),
    [
        (condition("PodScheduled"), "scheduled", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        (condition("PodScheduled", "False", reason="Unschedulable"), "scheduled", None),
        (
            condition("PodScheduled", "False", reason="Unschedulable", message="0/1 nodes"),
            "unschedulable",
            "0/1 nodes",
        ),
        (condition("PodScheduled", "False", reason="SchedulingGated"), "unschedulable", ""),
        (condition("DisruptionTarget"), "disrupted", True),
        ({"phase": "Succeeded"}, "phase", "Succeeded"),
        ({"conditions": None}, "disrupted", False),
    ],
)
def test_fields_of_a_pod(status, field, value):
    assert getattr(pod_seen(pod(status=status), NAMES), field) == value


@pytest.mark.parametrize(
    ("status", "image_id"),
    [
        ({}, ""),
        ({"initContainerStatuses": [{"name": "export", "imageID": ""}]}, ""),
        ({"initContainerStatuses": [{"name": "export", "imageID": "r/i@sha256:1"}],
          "containerStatuses": [{"name": "snapshot", "imageID": ""}]}, "r/i@sha256:1"),
        ({"containerStatuses": [{"name": "snapshot", "imageID": "r/i@sha256:2"}]}, "r/i@sha256:2"),
    ],
)  # fmt: skip
def test_a_pod_tells_which_image_it_runs(status, image_id):
    assert pod_seen(pod(status=status), NAMES).image_id == image_id


@pytest.mark.parametrize(
    ("status", "evicted"),
    [
        ({"phase": "Failed", "reason": "Evicted", "message": "too much"}, "too much"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Failed", "reason": "NodeLost", "message": "gone"}, ""),
        ({"phase": "Running"}, ""),
    ],
)
def test_a_pod_tells_why_it_was_evicted(status, evicted):
    assert pod_seen(pod(status=status), NAMES).evicted == evicted


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ({"phase": "Failed", "reason": "OutOfcpu", "message": "Node lacks cpu"},
         "OutOfcpu: Node lacks cpu"),
        ({"phase": "Failed", "reason": "NodeAffinity"}, "NodeAffinity"),
        ({"phase": "Failed", "reason": "Evicted", "message": "too much"}, ""),
        ({"phase": "Failed"}, ""),
        ({"phase": "Running", "reason": "NodeLost", "message": "gone"}, ""),
    ],
)  # fmt: skip
def test_a_pod_tells_why_its_node_would_not_have_it(status, refused):
    assert pod_seen(pod(status=status), NAMES).refused == refused


def test_containers_that_somebody_else_put_into_a_pod_are_left_out():
    made = pod()
    made["spec"] = {
        "initContainers": [{"name": "istio-init"}, {"name": "export"}, {"name": "gke-gcsfuse"}],
        "containers": [{"name": "istio-proxy"}, {"name": "snapshot"}, {"name": "agent"}],
    }
    made["status"] = {
        "initContainerStatuses": [
            {"name": "istio-init", "imageID": "mesh@sha256:1",
             "state": {"terminated": {"exitCode": 1}}},
            {"name": "gke-gcsfuse", "imageID": "fuse@sha256:2", "state": {"running": {}}},
            {"name": "export", "imageID": "runner@sha256:3",
             "state": {"terminated": {"exitCode": 0}}},
        ],
        "containerStatuses": [
            {"name": "istio-proxy", "state": {"running": {}}},
            {"name": "snapshot", "state": {"running": {}}},
        ],
    }  # fmt: skip
    (seen,) = child_seen(job(), [made], "owner").pods
    assert [(c.name, c.state) for c in seen.containers] == [
        ("export", "terminated"), ("snapshot", "running"),
    ]  # fmt: skip
    assert seen.image_id == "runner@sha256:3"
