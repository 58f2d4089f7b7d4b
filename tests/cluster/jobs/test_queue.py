"""Kueue, as a child sees it: held back when it is created, let go, held back again.

Its webhook's part is played by an admission policy of the API server, its controller's by the test.
"""

from collections.abc import Iterator

import pytest
from judged import Judged, assert_complete, attempts
from operating import JOBS, condition, shown
from rest import Json, path, polled

ADMISSION = "admissionregistration.k8s.io/v1"
LABELS = {"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "low"}
OTHERS = {"app.kubernetes.io/instance": "argo"}
PLACED = {"tests/flavor": "small"}


def policy(namespace: str) -> list[Json]:
    """Return what suspends every new Job that has a queue, in one namespace."""
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"],
            "operations": ["CREATE"]}  # fmt: skip
    queued = "has(object.metadata.labels) && 'kueue.x-k8s.io/queue-name' in object.metadata.labels"
    suspended = "Object{spec: Object.spec{suspend: true}}"
    name = {"name": namespace}
    return [
        {"apiVersion": ADMISSION, "kind": "MutatingAdmissionPolicy", "metadata": name,
         "spec": {"matchConstraints": {"namespaceSelector": here, "resourceRules": [rule]},
                  "matchConditions": [{"name": "queued", "expression": queued}],
                  "mutations": [{"patchType": "ApplyConfiguration",
                                 "applyConfiguration": {"expression": suspended}}],
                  "failurePolicy": "Fail", "reinvocationPolicy": "Never"}},
        {"apiVersion": ADMISSION, "kind": "MutatingAdmissionPolicyBinding", "metadata": name,
         "spec": {"policyName": namespace}},
    ]  # fmt: skip


def places(namespace: str) -> tuple[str, str]:
    kinds = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
    return tuple(path((ADMISSION, kind), None, namespace) for kind in kinds)


@pytest.fixture
def queue(world: Judged) -> Iterator[Judged]:
    """Hold every child back; return when the API server does so."""
    api = world.plane.api
    for place, item in zip(places(world.namespace), policy(world.namespace), strict=True):
        api.apply(place, item)
    container = {"name": "c", "image": "none"}
    probe = {"metadata": {"name": "probe", "labels": LABELS},
             "spec": {"template": {"spec": {"containers": [container],
                                            "restartPolicy": "Never"}}}}  # fmt: skip
    for seen in polled(30):
        seen.value = api.create(path(JOBS, world.namespace), probe, dryRun="All")
        if seen.value["spec"].get("suspend"):
            break
    assert seen.value["spec"].get("suspend")
    yield world
    for place in places(world.namespace):
        api.delete(place)


def admit(world: Judged, child: Json, *, admitted: bool = True) -> None:
    """Let a child go as Kueue does, with its place in the pods' template; or hold it back again."""
    where = path(JOBS, world.namespace, child["metadata"]["name"])
    template = {"metadata": {"labels": PLACED}}
    patch = {"suspend": False, "template": template} if admitted else {"suspend": True}
    world.plane.api.patch(where, {"spec": patch})


def admit_all(world: Judged, seconds: float = 90) -> Json:
    """Let every child go until the job has ended; return its status."""
    for _ in polled(seconds):
        for child in world.children():
            if child["spec"].get("suspend"):
                admit(world, child)
        status = world.status()
        if status.get("state") in ("Complete", "Failed"):
            return status
    raise AssertionError(shown(status))


def test_children_are_queued_and_complete_when_they_are_let_go(queue, operating, plane):
    queue.apply(metadata={"labels": {**LABELS, **OTHERS}})
    status = queue.until("Queued")
    (child,) = queue.children()
    labels = child["metadata"]["labels"]
    assert {key: labels.get(key) for key in (*LABELS, *OTHERS)} == {
        **LABELS,
        **dict.fromkeys(OTHERS),
    }
    assert not queue.pods()
    record = queue.until_unit("prepare", state="Queued")
    assert record["message"] == "waits for admission by its queue"
    assert record["message"] in condition(status, "Ready")["message"]
    assert condition(status, "Stalled")["status"] == "False"
    assert queue.calm() == 0
    status = admit_all(queue)
    assert_complete(status)
    assert all(PLACED.items() <= pod["metadata"]["labels"].items() for pod in queue.pods())
    assert not [e for e in queue.writes() if e["verb"] in ("patch", "update", "delete")
                and e["objectRef"]["resource"] == "jobs"]  # fmt: skip


def test_a_child_that_is_held_back_while_it_runs_has_not_failed(queue, operating, answers):
    queue.extra = 1
    queue.apply(metadata={"labels": LABELS}, backoffLimit=0)
    queue.until_unit("prepare", state="Queued")
    with answers.holding("prepare"):
        (child,) = queue.children()
        admit(queue, child)
        queue.until_unit("prepare", state="Running")
        admit(queue, child, admitted=False)
        queue.until_unit("prepare", state="Queued")
        assert queue.status()["state"] == "Queued"
        for _ in polled(30):
            if not queue.pods():
                break
        assert not queue.pods()
    status = admit_all(queue)
    assert_complete(status)
    assert set(attempts(status).values()) == {1}
