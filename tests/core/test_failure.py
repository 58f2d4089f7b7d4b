"""The failure policy: what a child shows, and what that means for its unit."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mpj_operator.core.failure import MAX_DISRUPTIONS, view
from mpj_operator.core.observed import ChildSeen, ContainerSeen, PodSeen
from mpj_runner.contract.messages import Blob, StepDone, StepError, Termination

MANIFEST = Blob(sha256="0" * 64, size_bytes=1)
DONE = Termination(steps=(StepDone(name="export", outcome={}),), manifest=MANIFEST).encode()


def error(family: str, message: str, trace: str | None = None) -> str:
    words = StepError(family=family, step="eval", message=message, trace=trace)
    return Termination(error=words).encode()


def ended(message: str = "", code: int = 1, reason: str = "Error", **pod: object) -> PodSeen:
    first = ContainerSeen("build", "terminated", 0, "Completed")
    return PodSeen(
        "p", "Failed", (first, ContainerSeen("eval", "terminated", code, reason, message)), **pod
    )  # type: ignore[arg-type] # fields of any type


def succeeded(message: str) -> PodSeen:
    return PodSeen(
        "p", "Succeeded", (ContainerSeen("export", "terminated", 0, "Completed", message),)
    )


def running(step: str) -> PodSeen:
    return PodSeen("p", "Running", (ContainerSeen(step, "running"),))


def child(*pods: PodSeen, **fields: object) -> ChildSeen:
    return ChildSeen("c", "int8", 1, pods=pods, **fields)  # type: ignore[arg-type] # as above


OOM = ended(code=137, reason="OOMKilled")
FULL = ended(code=137, evicted='Usage of EmptyDir volume "work" exceeds the limit "1Gi". ')
PRESSED = ended(disrupted=True, evicted="The node was low on resource: memory.")
BETWEEN = PodSeen(
    "p",
    "Pending",
    (ContainerSeen("build", "terminated", 0, "Completed"), ContainerSeen("eval")),
)
NO_DEVICE = "UnexpectedAdmissionError: Allocate failed: no nvidia.com/gpu is available"
REFUSED = PodSeen("p", "Failed", (ContainerSeen("eval"),), refused=NO_DEVICE)
BUG = ended(error("Bug", "KeyError: 'x'", "aaaa"), 70)


@pytest.mark.parametrize(
    "text", ["[" * 2000, '{"check":' * 500, '"x"', "[]", "{}", '{"check": 1}', "\ud800", ""]
)
def test_whatever_a_container_writes_is_no_more_than_unreadable(text):
    """A checkpoint's own code can write there too."""
    assert Termination.decode(text) is None
    assert view(child(succeeded(text), outcome="Complete"), limits="x").state == "Lost"
    assert view(child(ended(text), outcome="Failed"), limits="x").state == "Failed"


@pytest.mark.parametrize(
    ("seen", "state", "reason", "message", "stop"),
    [
        pytest.param(child(succeeded(DONE), outcome="Complete"), "Succeeded", "Succeeded", "",
                     False, id="complete with its last words"),
        pytest.param(child(succeeded(DONE[:-9]), outcome="Complete"), "Lost", "ResultLost",
                     "not readable", False, id="complete, but the words are cut"),
        pytest.param(child(outcome="Complete"), "Lost", "ResultLost", "not readable", False,
                     id="complete, but the pod is collected"),
        pytest.param(child(ended(error("UserError", "spec.x: do y"), 64), outcome="Failed",
                           reason="PodFailurePolicy"), "Failed", "UserError", "spec.x: do y", False,
                     id="the user's error, in its own words"),
        pytest.param(child(ended(error("TransientError", "the store is away"), 75),
                           outcome="Failed", reason="BackoffLimitExceeded"), "Failed",
                     "TransientError", "the store is away", False, id="retried to the limit"),
        pytest.param(child(ended("tail of the log", 139), outcome="Failed"), "Failed", "Error",
                     "eval ended with exit code 139: tail of the log", False, id="a crash"),
        pytest.param(child(OOM, outcome="Failed"), "Failed", "OOMKilled",
                     "eval was OOMKilled: raise spec.resources.gpu.limits.memory and start the job "
                     "again; what is finished is not lost", False,
                     id="out of memory to the limit"),
        pytest.param(child(OOM, OOM), "Failed", "OOMKilled", "raise spec.resources.gpu", True,
                     id="out of memory twice ends it"),
        pytest.param(child(OOM, running("eval")), "Running", "Running", "", False,
                     id="out of memory once is retried"),
        pytest.param(child(BUG, BUG), "Failed", "Bug", "KeyError: 'x'", True,
                     id="the same traceback twice ends it"),
        pytest.param(child(BUG, ended(error("Bug", "other", "bbbb"), 70), counted=2), "Pending",
                     "Retrying", "tried again after: other", False,
                     id="another traceback is another try"),
        pytest.param(child(BUG, ended(error("Bug", "other", "bbbb"), 70), counted=1), "Running",
                     "Running", "", False, id="whether it is tried again is not decided yet"),
        pytest.param(child(ended(error("UserError", "spec.x: do y"), 64), counted=1, failing=True),
                     "Running", "Running", "", False, id="it is not tried again"),
        pytest.param(child(ended(error("TransientError", "the store is away"), 75), counted=1),
                     "Pending", "Retrying", "tried again after: the store is away", False,
                     id="the Job controller waits before it makes another pod"),
        pytest.param(child(PRESSED), "Pending", "Disrupted", "low on resource: memory", False,
                     id="its node pressed it out"),
        pytest.param(child(ended(disrupted=True)), "Pending", "Disrupted",
                     "the pod p was removed from its node", False, id="drained"),
        pytest.param(child(replace(running("eval"), disrupted=True)), "Pending", "Disrupted",
                     "the pod p has to leave its node", False, id="its node drains, or is dead"),
        pytest.param(child(succeeded(DONE)), "Running", "Running", "", False,
                     id="its pod has ended, and is not counted yet"),
        pytest.param(child(BETWEEN), "Running", "Running", "", False, id="between two steps"),
        pytest.param(child(replace(succeeded(DONE), disrupted=True)), "Running", "Running", "",
                     False, id="it was quicker than the drain"),
        pytest.param(child(REFUSED, counted=1), "Pending", "Retrying",
                     "tried again after: " + NO_DEVICE, False, id="the node has lost its GPU"),
        pytest.param(child(REFUSED, REFUSED, outcome="Failed", reason="BackoffLimitExceeded"),
                     "Failed", "PodRefused", NO_DEVICE, False,
                     id="the node has lost its GPU, to the limit"),
        pytest.param(child(PodSeen("p", scheduled=datetime(2026, 1, 1, tzinfo=UTC))), "Pending",
                     "Starting", "", False, id="on a node, not started"),
        pytest.param(child(PodSeen("p", scheduled=datetime(2026, 1, 1, tzinfo=UTC),
                                   held_up="FailedMount: no volume")), "Pending", "HeldUp",
                     "FailedMount: no volume", False, id="held up on its node"),
        pytest.param(child(PodSeen("p")), "Pending", "Scheduling", "", False, id="no node yet"),
        pytest.param(child(*[ended(disrupted=True)] * MAX_DISRUPTIONS, running("eval")), "Running",
                     "Running", "", False, id="disruptions are ignored"),
        pytest.param(child(*[ended(disrupted=True)] * (MAX_DISRUPTIONS + 1)), "Failed",
                     "DisruptedTooOften", "its pods were disrupted 6 times", True,
                     id="too many disruptions end it"),
        pytest.param(child(*[PRESSED] * (MAX_DISRUPTIONS + 1)), "Failed", "DisruptedTooOften",
                     "6 times; last: The node was low on resource: memory.", True,
                     id="evicted too often by a node that was full"),
        pytest.param(child(FULL, outcome="Failed"), "Failed", "Evicted",
                     'Usage of EmptyDir volume "work" exceeds the limit "1Gi": raise '
                     "spec.resources.gpu.limits.ephemeral-storage", False, id="wrote too much"),
        pytest.param(child(FULL, FULL), "Failed", "Evicted", "raise spec.resources.gpu", True,
                     id="wrote too much twice ends it"),
        pytest.param(child(FULL, running("eval")), "Running", "Running", "", False,
                     id="wrote too much once is retried"),
        pytest.param(child(outcome="Failed", reason="DeadlineExceeded"), "Failed",
                     "UnitDeadlineExceeded", "longer than spec.unitDeadlineSeconds", False,
                     id="the unit's deadline"),
        pytest.param(child(outcome="Failed", reason="BackoffLimitExceeded", message="limit"),
                     "Failed", "BackoffLimitExceeded", "limit", False, id="failed without a pod"),
        pytest.param(child(suspended=True), "Queued", "Queued", "waits for admission", False,
                     id="held by a queue"),
        pytest.param(child(), "Pending", "Created", "waits for its pod", False, id="no pod yet"),
        pytest.param(child(PodSeen("p", unschedulable="0/3 nodes: no nvidia.com/gpu")), "Pending",
                     "Unschedulable", "no nvidia.com/gpu", False, id="no node"),
        pytest.param(
            child(PodSeen("p", "Pending", (ContainerSeen("export", "waiting", None,
                                                         "ImagePullBackOff", "no such image"),))),
            "Pending", "ImagePullBackOff", "no such image", False, id="no image"),
        pytest.param(
            child(PodSeen("p", "Pending", (ContainerSeen("export", "waiting", None,
                                                         "CreateContainerConfigError",
                                                         'secret "s" not found'),))),
            "Pending", "CreateContainerConfigError", 'secret "s" not found', False,
            id="no secret"),
        pytest.param(child(message='pods "x" is forbidden'), "Pending", "PodRefused",
                     "is forbidden", False, id="the cluster refuses its pod"),
        pytest.param(child(message="exceeded quota: gpus"), "Pending", "QuotaExceeded",
                     "exceeded quota: gpus", False, id="a quota is used up"),
        pytest.param(child(running("eval")), "Running", "Running", "", False, id="runs"),
    ],
)  # fmt: skip
def test_what_a_child_means(seen, state, reason, message, stop):
    got = view(seen, limits="spec.resources.gpu.limits")
    assert (got.state, got.reason, got.stop) == (state, reason, stop)
    assert message in got.message
    assert seen.pods[-1:] != (BETWEEN,) or got.step == "eval"
    assert (got.termination is not None) == (state == "Succeeded")
