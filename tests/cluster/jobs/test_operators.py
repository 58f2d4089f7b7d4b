"""Operators that are killed, are away for a while, or stand by for each other.

Each test has operators of its own, which watch the test's namespace only.
"""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from judged import Judged, assert_complete, attempts
from nodeagent import node
from operating import (
    JOBS,
    OPERATORS,
    WRITING,
    OperatorProcess,
    lease_rights,
    operator,
    rights,
    unit_of,
)
from rest import POD, Json, path, polled

LEASES = ("coordination.k8s.io/v1", "leases")
NODES = ("v1", "nodes")
ROOM = {"tests/room": "a"}
LEAVES = "leaves-0"


@pytest.fixture(scope="module")
def bereft(plane, shared, account, gpu, answers) -> Iterator[Judged]:
    """Remove a job's node while its operator is down: one unit has ended there, and one runs.

    The cluster takes the pods of a node that is gone after 40 to 80 s, which nothing can change:
    the other tests of this file run meanwhile.
    """
    shared.kill()
    world = Judged(plane, plane.restricted_namespace("bereft"), gpu, extra=2)
    with answers.holding("reference", "calibrate"), node(plane, LEAVES, answers=answers):
        plane.api.patch(path(NODES, None, LEAVES), {"metadata": {"labels": ROOM}})
        with operator(plane, account, namespaces=world.namespace) as first:
            world.apply(podOverrides={"nodeSelector": ROOM})
            world.until_unit("reference", state="Running")
            ends = path(JOBS, world.namespace, _running(world, "calibrate"))
            first.kill()
        answers.held.discard("calibrate")
        plane.api.until(ends, lambda job: bool(job and job["status"].get("succeeded")))
    yield world
    plane.api.delete(f"/api/v1/namespaces/{world.namespace}")


def _running(world: Judged, unit: str) -> str:
    return str(world.until_unit(unit, state="Running")["jobName"])


@pytest.mark.usefixtures("bereft")  # its pods are collected while this runs
def test_an_operator_is_killed_fifty_times_at_random_moments(alone, plane, account, world):
    chance = random.Random(1)  # noqa: S311 - moments, no secrets
    watched = world.namespace
    with operator(plane, account, namespaces=watched, resync_seconds=1) as dying:
        kills = 0
        for round_ in range(12):
            name = f"demo-{round_}"
            world.apply(name)
            while world.status(name).get("state") != "Complete":
                if chance.random() < 0.8:  # the others mostly die before they have asked for much
                    dying.await_ready()
                time.sleep(chance.uniform(0.0, 0.8))
                dying.kill()
                kills += 1
                dying.start()
                assert kills < 400
            if kills >= 50:
                break
        assert kills >= 50
        dying.await_ready()
        for i in range(round_ + 1):
            assert_complete(world.until("Complete", f"demo-{i}"))


@dataclass
class Pair:
    """Two operators that compete for a Lease, each with an account of its own."""

    world: Judged
    running: dict[str, OperatorProcess] = field(default_factory=dict)

    @property
    def holder(self) -> str:
        """Who holds the Lease; empty: nobody."""
        lease = self.world.plane.api.get(path(LEASES, OPERATORS, self.world.namespace)) or {}
        return str(lease.get("spec", {}).get("holderIdentity") or "")

    def until_holder(self, name: str, seconds: float = 30) -> float:
        """Return how many seconds it took until one of the two holds the Lease."""
        began = time.monotonic()
        for _ in polled(seconds):
            if self.holder == name:
                return time.monotonic() - began
        raise AssertionError(f"the Lease is held by {self.holder!r}, not by {name}")

    def asked(self, name: str, verbs: frozenset[str] = WRITING) -> list[Json]:
        """Return what one of the two has asked the API server for, but its Lease."""
        account = f"system:serviceaccount:{OPERATORS}:{name}"
        return [
            event
            for event in self.world.plane.audit(self.world.since)
            if event["user"]["username"] == account and event["verb"] in verbs
        ]

    def assert_one_after_the_other(self) -> None:
        """Hold that who stands by asks for nothing, and that who led before writes nothing."""
        first, second = self.asked("first"), self.asked("second", WRITING | {"get", "list"})
        assert first
        ended = max(event["stageTimestamp"] for event in first)
        assert all(event["requestReceivedTimestamp"] > ended for event in second)


@pytest.fixture
def pair(alone, plane, world) -> Iterator[Pair]:
    """Run the operators first, which leads, and second, which stands by."""
    made = Pair(world)
    with ExitStack() as stack:
        for name in ("first", "second"):
            plane.install(*rights(OPERATORS, name), *lease_rights(OPERATORS, name))
            made.running[name] = stack.enter_context(
                operator(
                    plane,
                    plane.kubeconfig_of_account(OPERATORS, name),
                    namespaces=world.namespace,
                    leader_election=True,
                    lease_name=world.namespace,
                    pod_name=name,
                    pod_namespace=OPERATORS,
                )
            )
            made.until_holder("first")
        yield made


def test_a_leader_that_is_told_to_end_hands_over_at_once(pair, world, answers):
    world.apply()
    with answers.holding("reference"):
        world.until_unit("reference", state="Running")
        pair.running["first"].process.ask()
        assert pair.until_holder("second") < 10  # a Lease that is not given back lasts 15 s
    assert_complete(world.until("Complete"))
    assert pair.running["first"].process.ended() == 0
    pair.assert_one_after_the_other()
    assert pair.asked("second")


def test_the_api_server_restarts_under_a_leader_and_its_standby(pair, world, answers):
    world.apply()
    with answers.holding("reference"):
        world.until_unit("reference", state="Running")
        world.plane.restart("kube-apiserver")
    assert_complete(world.until("Complete", seconds=90))
    pair.assert_one_after_the_other()
    assert pair.running["second"].process.alive


def test_a_leader_that_hung_does_nothing_once_another_leads(pair, world, answers):
    """It hears of all that has happened meanwhile and of its lost Lease at the same moment."""
    world.apply()
    leader = pair.running["first"].process
    with answers.holding("reference", "fp16"):
        world.until_unit("reference", state="Running")
        leader.signal(signal.SIGSTOP)
        pair.until_holder("second")
        answers.held.discard("reference")
        world.until_unit("fp16", state="Running")
        leader.signal(signal.SIGCONT)
        assert leader.ended() == 1
    assert_complete(world.until("Complete"))
    pair.assert_one_after_the_other()


def test_a_node_is_removed_after_a_unit_ended_while_the_operator_was_down(
    alone, bereft, plane, account, gpu
):
    """What ended there has lost its words, and what ran there its pod; another node takes over."""

    def left_behind() -> list[str]:
        return [p["metadata"]["name"] for p in bereft.pods() if p["spec"].get("nodeName") == LEAVES]

    for _ in polled(120, 0.5):
        if not left_behind():
            break
    assert not left_behind()
    assert plane.api.get(path(NODES, None, LEAVES)) is None
    plane.api.patch(path(NODES, None, gpu.name), {"metadata": {"labels": ROOM}})
    with operator(plane, account, namespaces=bereft.namespace):
        status = bereft.until("Complete", seconds=90)
    plane.api.patch(path(NODES, None, gpu.name), {"metadata": {"labels": dict.fromkeys(ROOM)}})
    assert_complete(status)
    tried = attempts(status)
    assert tried.pop("calibrate") == 2
    assert unit_of(status, "calibrate")["lost"] == 1
    assert set(tried.values()) == {1}
    assert {p["spec"]["nodeName"] for p in plane.api.items(path(POD, bereft.namespace))} == {
        gpu.name
    }
    bereft.assert_no_pod_too_many()
