"""What the operator asks of a Kubernetes API, and what it makes of the answers."""

import pytest
from fake_api import KEY, World, error

from mpj_operator.core.actions import Create
from mpj_operator.core.failure import view
from mpj_operator.core.observed import ChildSeen
from mpj_operator.shell.cluster import TRY_AGAIN, RefusedError
from mpj_operator.shell.kube.api import ApiError, _refused
from mpj_operator.shell.kube.cluster import NO_ANSWER
from mpj_operator.shell.queue import RetryLaterError
from mpj_operator.shell.reconcile import reconcile


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
