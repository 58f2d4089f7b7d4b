"""What the operator asks of a Kubernetes API, and what it makes of the answers."""

from datetime import UTC, datetime

import pytest
from simulated import SETTINGS, Simulation, job

from mpj_operator.core.actions import Create
from mpj_operator.core.failure import view
from mpj_operator.core.observed import ChildSeen
from mpj_operator.shell.cluster import TRY_AGAIN, Key, RefusedError
from mpj_operator.shell.kube.api import ApiError, _refused
from mpj_operator.shell.kube.cluster import NO_ANSWER, KubernetesCluster
from mpj_operator.shell.kube.events import Events
from mpj_operator.shell.kube.seen import JOB_NAME
from mpj_operator.shell.queue import RetryLaterError
from mpj_operator.shell.reconcile import reconcile

KEY = Key("vision", "demo")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO, JUST_NOW = "2026-11-24T11:00:00Z", "2026-11-24T11:59:58Z"
CLUSTER = {
    "model": {"uri": "s3://bucket/m.onnx"},
    "calibration": {"uri": "s3://bucket/c.tar", "format": "COCO"},
    "validation": {"uri": "s3://bucket/c.tar", "format": "COCO"},
    "storage": {"uri": "s3://bucket/out"},
}


class World:
    """An API with one job, its children and their events; ``refuse`` maps verbs to errors."""

    def __init__(self, **spec):
        made = job(**{**CLUSTER, **spec})
        metadata = made.metadata.model_copy(update={"name": "demo", "namespace": "vision"})
        self.simulation = Simulation(made.model_copy(update={"metadata": metadata}))
        self.raw = self.simulation.job.to_json()
        self.raw["metadata"]["resourceVersion"] = "7"
        self.children, self.pods, self.events, self.refuse = [], [], [], {}
        self.asked, self.fields = [], []
        self.cluster = KubernetesCluster(self, SETTINGS, Events(self, "me"), now=lambda: NOW)

    def child(self, created=LONG_AGO, **status):
        """Add the first unit's Job as the plan makes it."""
        if not self.simulation.values:
            self.simulation.step()
        value = next(iter(self.simulation.values.values()))
        metadata = {**value["metadata"], "uid": "c-1", "creationTimestamp": created}
        self.children.append({"metadata": metadata, "spec": dict(value["spec"]), "status": status})
        return self.children[-1]

    def pod(self, scheduled, **status):
        """Give the child a pod that has its node since then."""
        (child,) = self.children
        metadata = {
            "name": "p", "uid": "p-1", "labels": {JOB_NAME: child["metadata"]["name"]},
            "ownerReferences": [{"uid": "c-1"}],
        }  # fmt: skip
        condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled}
        status = {"phase": "Pending", "conditions": [condition], **status}
        spec = child["spec"]["template"]["spec"]
        self.pods.append({"metadata": metadata, "spec": spec, "status": status})

    def event(self, note, at=LONG_AGO, reason="FailedCreate"):
        metadata = {"creationTimestamp": LONG_AGO}
        made = {"metadata": metadata, "deprecatedLastTimestamp": at, "note": note}
        self.events.append({**made, "reason": reason})

    async def get(self, _path):
        return self.raw

    async def list(self, path, *, selector="", fields=""):
        if path.endswith("/events"):
            self.fields.append(fields)
            if "LIST" in self.refuse:
                raise self.refuse["LIST"]
            return tuple(self.events)
        if not selector:
            return ()
        return tuple(self.children if path.endswith("/jobs") else self.pods)

    async def request(self, verb, path, body=None, **_):
        self.asked.append((verb, path, body))
        if verb in self.refuse:
            raise self.refuse[verb]
        return {**self.raw, **(body or {}), "metadata": {**self.raw["metadata"], "namespace": "v"}}

    def bodies(self, verb):
        return [body for v, _, body in self.asked if v == verb]


def error(status, reason="", message="words", retry_after=None):
    return ApiError(status, reason, message, retry_after)


@pytest.mark.parametrize(
    ("answer", "reason", "seconds"),
    [
        (error(403, "Forbidden", "exceeded quota: q"), "QuotaExceeded", TRY_AGAIN),
        (error(403, "Forbidden"), "Refused", TRY_AGAIN),
        (error(422, "Invalid"), "Refused", TRY_AGAIN),
        (error(0, "TimeoutError"), "CreateFailed", NO_ANSWER),
        (error(500), "CreateFailed", NO_ANSWER),
        (error(503, retry_after=9.0), "CreateFailed", 9.0),
        (error(429, retry_after=1.0), "CreateFailed", 1.0),
        (error(409, "Conflict"), "CreateFailed", NO_ANSWER),
    ],
    ids=lambda x: str(x) if isinstance(x, ApiError) else "",
)
async def test_a_refused_creation_is_written_down_and_tried_again(answer, reason, seconds):
    world = World()
    world.refuse["POST"] = answer
    decided = await reconcile(KEY, world.cluster)
    assert decided.look_again == seconds
    (written,) = world.bodies("PATCH")
    (record,) = [r for r in written["status"]["unitStatuses"] if r.get("message")]
    assert record["reason"] == reason
    assert answer.message in record["message"]
    assert "jobName" not in record


@pytest.mark.parametrize("answer", [error(401), error(404)], ids=str)
async def test_what_no_pass_could_mend_fails_the_pass(answer):
    world = World()
    world.refuse["POST"] = answer
    with pytest.raises(ApiError):
        await reconcile(KEY, world.cluster)


async def test_a_status_is_for_the_very_version_that_was_read():
    world = World()
    await reconcile(KEY, world.cluster)
    (written,) = world.bodies("PATCH")
    assert (written["metadata"]["uid"], written["metadata"]["resourceVersion"]) == ("u-1", "7")


async def test_a_definition_that_is_older_than_the_operator_is_named_with_the_fix():
    world = World()
    world.refuse["PATCH"] = error(500, "", ".status.new: field not declared in schema")
    with pytest.raises(ApiError, match="older than this operator: kubectl apply --server-side"):
        await reconcile(KEY, world.cluster)


@pytest.mark.parametrize("answer", [error(404), error(409)], ids=str)
async def test_a_job_that_changed_meanwhile_is_looked_at_again_after_a_delay_that_grows(answer):
    world = World()
    world.refuse["PATCH"] = answer
    with pytest.raises(RetryLaterError) as caught:
        await reconcile(KEY, world.cluster)
    assert caught.value.seconds is None


@pytest.mark.parametrize(
    "status",
    [{}, {"unknown": 1}, {"units": "many"}, {"unitStatuses": [{"name": "prepare", "new": 2}]}],
    ids=str,
)
async def test_an_invalid_spec_ends_its_units_whatever_the_status_holds(status):
    world = World()
    running, ended = world.child(), world.child(conditions=[{"type": "Complete", "status": "True"}])
    ended["metadata"] = {**ended["metadata"], "name": "ended"}
    world.raw["spec"]["candidates"] = [{"name": "int8", "ptq": {}}, {"name": "int8", "ptq": {}}]
    world.raw["status"] = status
    assert await reconcile(KEY, world.cluster) is None
    deleted = [path for verb, path, _ in world.asked if verb == "DELETE"]
    assert [path.rpartition("/")[2] for path in deleted] == [running["metadata"]["name"]]
    (written,) = world.bodies("PATCH")
    assert written["status"]["state"] == "Failed"
    assert written["metadata"]["resourceVersion"] == "7"


QUOTA = 'Error creating: pods "demo-x1" is forbidden: exceeded quota: gpus, used: gpu=4'
POLICY = 'Error creating: pods "demo-x2" is forbidden: violates PodSecurity "restricted:latest"'


@pytest.mark.parametrize(
    ("notes", "reason", "words"),
    [
        ([], "Created", "waits for its pod"),
        ([(QUOTA, "2026-11-24T11:30:00Z")], "QuotaExceeded",
         "Error creating: its pod is forbidden: exceeded quota: gpus, used: gpu=4"),
        ([(POLICY, "2026-11-24T11:40:00Z"), (QUOTA, "2026-11-24T11:30:00Z")], "PodRefused",
         'Error creating: its pod is forbidden: violates PodSecurity "restricted:latest"'),
    ],
    ids=["nothing said", "quota", "the newest counts"],
)  # fmt: skip
async def test_a_pod_that_is_refused_is_said_in_the_job(notes, reason, words):
    world = World()
    world.child()
    for note, at in notes:
        world.event(note, at)
    decided = await reconcile(KEY, world.cluster)
    record = next(r for r in decided.status.unit_statuses if r.job_name)
    assert (record.state, record.reason, record.message) == ("Pending", reason, words)
    assert world.fields == ["regarding.uid=c-1,reason=FailedCreate"]
    assert decided.look_again == TRY_AGAIN


@pytest.mark.parametrize(
    ("created", "changes"),
    [
        (JUST_NOW, {}),
        (LONG_AGO, {"suspend": True}),
        (LONG_AGO, {"deletionTimestamp": LONG_AGO}),
    ],
    ids=["young", "held by a queue", "going"],
)
async def test_who_is_not_asked_why_there_is_no_pod(created, changes):
    world = World()
    child = world.child(created)
    child["spec"] |= {k: v for k, v in changes.items() if k == "suspend"}
    child["metadata"] |= {k: v for k, v in changes.items() if k != "suspend"}
    world.event(QUOTA)
    await world.cluster.observe(KEY)
    assert world.fields == []


MOUNT = 'MountVolume.SetUp failed for volume "data": Multi-Attach error'


@pytest.mark.parametrize("told", [False, True])
async def test_a_pod_that_does_not_start_on_its_node_is_said_in_the_job(told):
    world = World()
    world.child()
    world.pod("2026-11-24T11:10:00Z")
    world.event("0/3 nodes are available", "2026-11-24T11:09:00Z", "FailedScheduling")
    if told:
        world.event("Back-off", "2026-11-24T11:11:00Z", "BackOff")
        world.event(MOUNT, "2026-11-24T11:30:00Z", "FailedMount")
    decided = await reconcile(KEY, world.cluster)
    record = next(r for r in decided.status.unit_statuses if r.job_name)
    said = ("HeldUp", f"FailedMount: {MOUNT}") if told else ("Starting", None)
    assert (record.state, record.reason, record.message) == ("Pending", *said)
    assert world.fields == ["regarding.uid=p-1,type=Warning"]
    assert decided.look_again == TRY_AGAIN


RUNS = [{"name": "export", "state": {"running": {}}}]


@pytest.mark.parametrize(
    ("scheduled", "status", "again"),
    [
        ("2026-11-24T11:59:40Z", {}, TRY_AGAIN),
        (LONG_AGO, {"phase": "Running"}, None),
        (LONG_AGO, {"initContainerStatuses": RUNS}, None),
    ],
    ids=["just placed", "runs", "its first step runs"],
)
async def test_who_is_not_asked_why_it_does_not_start(scheduled, status, again):
    world = World()
    world.child()
    world.pod(scheduled, **status)
    decided = await reconcile(KEY, world.cluster)
    assert (world.fields, decided.look_again) == ([], again)


async def test_a_role_that_may_not_list_events_does_not_stop_a_job():
    world = World()
    world.child()
    world.refuse["LIST"] = error(403, "Forbidden")
    decided = await reconcile(KEY, world.cluster)
    assert next(r for r in decided.status.unit_statuses if r.job_name).reason == "Created"


def test_the_words_of_an_ended_child_are_no_refusal():
    child = ChildSeen("a", "prepare", 1, outcome="Failed", message="deadline")
    assert view(child, limits="spec.resources.cpu.limits").state == "Failed"


async def test_a_child_that_is_there_already_counts_as_created():
    world = World()
    value = world.child()
    world.refuse["POST"] = error(409, "AlreadyExists")

    async def get(_path):
        return value

    world.get = get
    await world.cluster.perform(KEY, Create({"metadata": value["metadata"]}))
    value["metadata"]["ownerReferences"] = [{"uid": "other"}]
    wanted = {"metadata": {"name": "x", "ownerReferences": [{"uid": "u-1"}]}}
    with pytest.raises(RefusedError, match="is in the way: delete it"):
        await world.cluster.perform(KEY, Create(wanted))


@pytest.mark.parametrize("content", [b"null", b"[]", b'"away"', b"<html>", b"{}"])
def test_an_answer_that_is_no_status_is_an_error_of_its_own(content):
    found = _refused(502, content, None)
    assert (found.status, found.reason) == (502, "")
    assert "None" not in str(found)


@pytest.mark.parametrize(("state", "told"), [("Complete", False), ("Running", True)])
async def test_a_spec_that_is_invalid_now_changes_no_verdict_of_before(state, told):
    world = World()
    world.raw["spec"]["candidates"] = [
        {"name": "x", "ptq": {"percentile": "99"}, "onnx": {"uri": "y"}}
    ]
    world.raw["metadata"]["generation"] = 1
    world.raw["status"] = {"state": state, "observedGeneration": 1}
    assert await world.cluster.observe(KEY) is None
    assert bool(world.bodies("PATCH")) == told
