"""Why a unit has no pod, or one that does not start: asked of events, and said in the job."""

import pytest
from fake_api import JUST_NOW, KEY, LONG_AGO, World, error

from mpj_operator.shell.cluster import TRY_AGAIN
from mpj_operator.shell.reconcile import reconcile

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
