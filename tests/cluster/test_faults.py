"""What can go wrong around an operator, each against the real API server, each ending right.

Pods of a unit are at most one more than its counted failures and the disruptions that were made,
and nothing is computed twice: both are asserted for every world as it is torn down.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from answers import Answers
from apiproxy import api_proxy
from controlplane import ControlPlane
from nodeagent import Node, node
from operating import (
    JOBS,
    MPJ,
    PODS,
    OperatorProcess,
    World,
    condition,
    operator,
    shown,
    unit_of,
)
from rest import path, polled

from mpj_runner.contract.messages import StepError, Termination

REFUSALS = {"GET": [500, 503], "POST": [409, 500, 503, 429, "cut"], "PATCH": [409, 500, 503, "cut"]}
UNITS = {"prepare", "reference", "baseline", "calibrate", "int8", "fp16", "final", "report"}


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(seconds=0.1)


@pytest.fixture(scope="module")
def gpu(plane: ControlPlane, answers: Answers) -> Iterator[Node]:
    with node(plane, "faults-0", answers=answers) as running:
        yield running


@pytest.fixture(scope="module")
def operating(plane: ControlPlane, account) -> Iterator[OperatorProcess]:
    """Run one operator for the tests that leave it alone."""
    with operator(plane, account) as running:
        yield running


@pytest.fixture
def alone(operating: OperatorProcess) -> Iterator[None]:
    """Stop that operator for a test with its own: two without an election may not overlap."""
    operating.kill()
    yield
    operating.start()
    operating.await_ready()


@dataclass
class Judged(World):
    """A world whose pods are counted at the end."""

    extra: int = 0
    """Counted failures and disruptions that the test has made."""

    def assert_no_pod_too_many(self) -> None:
        pods = self.pods_per_unit()
        surplus = sum(count - 1 for count in pods.values())
        assert surplus <= self.extra, "\n".join(sorted(self.pod_names()))


@pytest.fixture
def world(plane, namespace, gpu, answers) -> Iterator[Judged]:
    computed = len(answers.computed)
    made = Judged(plane, namespace, gpu)
    yield made
    made.assert_no_pod_too_many()
    new = answers.computed[computed:]
    assert len(new) == len(set(new))
    assert not answers.twice
    gpu.faults.planned.clear()


def assert_complete(status) -> None:
    assert status["state"] == "Complete", shown(status)
    assert condition(status, "Ready")["status"] == "True"
    assert status["best"]["name"] == "int8", shown(status)
    assert {r["name"] for r in status["unitStatuses"]} == UNITS
    assert all(r["state"] == "Succeeded" for r in status["unitStatuses"])
    assert status["units"]["succeeded"] == len(UNITS)


def words(family: str, message: str, trace: str = "") -> str:
    error = StepError(
        family=family, step="build", message=message, **({"trace": trace} if trace else {})
    )
    return Termination(error=error).encode()


def test_a_job_becomes_complete_and_then_nothing_is_written(world, operating):
    world.apply()
    assert_complete(world.until("Complete"))
    assert world.calm() == 0


def test_the_operator_killed_fifty_times_at_random_moments(alone, plane, account, world):
    chance = random.Random(1)  # noqa: S311 - moments, no secrets
    with operator(plane, account, resync_seconds=1) as dying:
        kills = 0
        for round_ in range(12):
            name = f"demo-{round_}"
            world.apply(name)
            while world.status(name).get("state") != "Complete":
                time.sleep(chance.uniform(0.05, 1.6))
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


def test_the_api_server_restarts(world, operating):
    world.apply()
    world.until_unit("reference", state="Running")
    world.plane.restart("kube-apiserver")
    assert_complete(world.until("Complete", seconds=90))
    assert operating.process.alive


def test_writes_and_reads_are_refused_now_and_then(alone, plane, account_name, world):
    """Every fault is played at least once: each third request of a kind is refused."""
    seen: Counter[str] = Counter()
    faults = {verb: itertools.cycle(found) for verb, found in REFUSALS.items()}

    def rule(method, url):
        if method not in REFUSALS or "watch=true" in url:
            return None
        seen[method] += 1
        return None if seen[method] % 3 else next(faults[method])

    with api_proxy(plane) as proxy:
        config = plane.kubeconfig_of_account(*account_name, api_url=proxy.url)
        with operator(plane, config):
            proxy.rule = rule
            for i in range(4):
                world.apply(f"demo-{i}", model={"uri": f"s3://bucket/{i}.onnx"})
            for i in range(4):
                assert_complete(world.until("Complete", f"demo-{i}", 120))
        verbs = Counter(line.partition(" ")[0] for line in proxy.struck)
        assert all(verbs[verb] >= len(found) for verb, found in REFUSALS.items()), verbs


def test_a_watch_that_hangs_and_says_nothing(alone, plane, account_name, world):
    with api_proxy(plane) as proxy:
        config = plane.kubeconfig_of_account(*account_name, api_url=proxy.url)
        proxy.rule = lambda _, url: "hang" if "watch=true" in url else None
        with operator(plane, config, resync_seconds=1) as deaf:
            world.apply()
            assert_complete(world.until("Complete", seconds=90))
            age = float(deaf.get("/metrics")[1].split("\nmpj_watch_age_seconds ")[1].split()[0])
            assert age > 0
            assert deaf.get("/healthz")[0] == 200


def test_a_watch_that_is_told_410_after_compaction(world, operating):
    world.apply("before")
    assert_complete(world.until("Complete", "before"))
    world.plane.expire()
    world.apply("after")
    assert_complete(world.until("Complete", "after", 90))
    assert operating.process.alive


@pytest.mark.parametrize("what", ["job", "pod"])
def test_a_child_is_deleted_by_hand(world, operating, what):
    world.extra = 1
    world.apply()
    record = world.until_unit("reference", state="Running")
    if what == "job":
        world.plane.api.delete(
            path(JOBS, world.namespace, record["jobName"]), propagationPolicy="Background"
        )
    else:
        pod = next(p for p in world.pods() if p["metadata"]["name"].startswith(record["jobName"]))
        world.plane.api.delete(path(PODS, world.namespace, pod["metadata"]["name"]))
    status = world.until("Complete", seconds=90)
    assert_complete(status)
    assert unit_of(status, "reference")["attempt"] == (2 if what == "job" else 1)


def test_a_result_is_gone_before_the_operator_looked(alone, plane, account, world, gpu, answers):
    """A node that is removed after a unit ended, while no operator runs: the pod goes with it."""
    world.extra = 1
    answers.seconds, before = 1.0, answers.seconds
    with operator(plane, account) as first:
        world.apply()
        world.until_unit("calibrate", state="Running")
        first.kill()
        answers.seconds = before
        ended = path(JOBS, world.namespace)
        for _ in polled(20):
            jobs = {
                j["metadata"]["labels"]["mixedprecision.dev/unit"]: j
                for j in plane.api.items(ended)
            }
            if jobs.get("calibrate", {}).get("status", {}).get("succeeded"):
                break
        name = jobs["calibrate"]["metadata"]["name"]
        for pod in world.pods():
            if pod["metadata"]["name"].startswith(name):
                plane.api.delete(
                    path(PODS, world.namespace, pod["metadata"]["name"]), gracePeriodSeconds=0
                )
        first.start()
        status = world.until("Complete", seconds=60)
    assert_complete(status)
    record = unit_of(status, "calibrate")
    assert (record["attempt"], record["lost"]) == (2, 1)


def test_an_eviction_is_not_a_failure(world, operating, answers):
    world.extra = 1
    answers.seconds, before = 1.0, answers.seconds
    try:
        world.apply(backoffLimit=0)
        record = world.until_unit("reference", state="Running")
        pod = next(p for p in world.pods() if p["metadata"]["name"].startswith(record["jobName"]))
        name = pod["metadata"]["name"]
        world.plane.api.create(
            path(PODS, world.namespace, name, "eviction"),
            {"apiVersion": "policy/v1", "kind": "Eviction",
             "metadata": {"name": name, "namespace": world.namespace}},
        )  # fmt: skip
    finally:
        answers.seconds = before
    assert_complete(world.until("Complete", seconds=90))


def test_out_of_memory_twice_ends_the_unit_and_names_the_field(world, operating, gpu):
    world.extra = 1
    gpu.faults.plan("int8", 137, times=2, container="build")
    world.apply()
    status = world.until("Complete", seconds=90)
    record = unit_of(status, "int8")
    assert (record["state"], record["reason"], record["step"]) == ("Failed", "OOMKilled", "build")
    assert record["message"] == "build was OOMKilled: raise spec.resources.cpu.limits.memory"
    assert status["best"]["name"] != "int8"


def test_bad_input_ends_the_unit_at_once_with_the_runners_words(world, operating, gpu):
    message = "spec.candidates[int8].ptq: nothing is left to quantize"
    gpu.faults.plan("int8", 64, container="build", message=words("UserError", message))
    world.apply()
    status = world.until("Complete")
    record = unit_of(status, "int8")
    assert (record["state"], record["reason"], record["message"]) == (
        "Failed",
        "UserError",
        message,
    )
    shown_reason = next(c for c in status["candidates"] if c["name"] == "int8")
    assert (shown_reason["state"], shown_reason["reasons"]) == ("Failed", [f"build: {message}"])


def test_a_bad_model_fails_the_job_and_stalls_it(world, operating, gpu):
    message = "spec.model.uri: the file is no ONNX model: upload it again"
    gpu.faults.plan("prepare", 64, message=words("UserError", message))
    world.apply()
    status = world.until("Failed")
    for kind, value in (("Failed", "True"), ("Stalled", "True"), ("Ready", "False")):
        assert condition(status, kind)["status"] == value
        assert message in condition(status, kind)["message"]
    assert world.calm() == 0


def test_the_store_is_away_for_a_while(world, operating, gpu):
    world.extra = 2
    text = words("TransientError", "spec.storage: no answer from the server")
    gpu.faults.plan("calibrate", 75, times=2, message=text)
    world.apply()
    assert_complete(world.until("Complete", seconds=120))


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
    world.plane.api.create(path(("v1", "resourcequotas"), world.namespace), quota)
    world.apply()
    record = world.until_unit("prepare", reason="QuotaExceeded")
    assert "count/jobs.batch" in record["message"]
    world.plane.api.delete(path(("v1", "resourcequotas"), world.namespace, "none"))
    assert_complete(world.until("Complete", seconds=60))


def test_a_quota_of_pods_that_is_full_is_said_and_waited_for(world, operating):
    """The Job is created; only the Job controller's events say why its pod is not."""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/pods": "0"}}}
    world.plane.api.create(path(("v1", "resourcequotas"), world.namespace), quota)
    world.apply()
    record = world.until_unit("prepare", reason="QuotaExceeded")
    assert record["state"] == "Pending"
    assert "count/pods" in record["message"]
    assert "count/pods" in condition(world.status(), "Ready")["message"]
    world.plane.api.delete(path(("v1", "resourcequotas"), world.namespace, "none"))
    assert_complete(world.until("Complete", seconds=90))


def test_a_pod_that_no_node_can_take_is_said(world, operating):
    world.apply(podOverrides={"nodeSelector": {"no": "such"}})
    record = world.until_unit("prepare", reason="Unschedulable")
    assert "0/" in record["message"]
    world.plane.api.delete(path(MPJ, world.namespace, "demo"))


def test_a_job_is_deleted_and_made_again_under_its_name(world, operating, answers):
    """The old pods still terminate; the new job has children of its own."""
    answers.seconds, before = 1.0, answers.seconds
    try:
        old = world.apply()
        world.until_unit("prepare", state="Running")
        world.plane.api.delete(path(MPJ, world.namespace, "demo"), propagationPolicy="Background")
        new = world.apply()
    finally:
        answers.seconds = before
    world.extra = 1  # prepare was begun once by each
    assert old["metadata"]["uid"] != new["metadata"]["uid"]
    assert_complete(world.until("Complete", seconds=90))
    for _ in polled(30):
        owners = {c["metadata"]["ownerReferences"][0]["uid"] for c in world.children()}
        if owners == {new["metadata"]["uid"]}:
            break
    assert owners == {new["metadata"]["uid"]}


def test_deleting_a_job_removes_all_its_children(world, operating):
    world.apply()
    world.until_unit("reference", state="Running")
    world.plane.api.delete(path(MPJ, world.namespace, "demo"))
    for _ in polled(30):
        if not world.children() and not world.pods():
            return
    raise AssertionError(world.children())


def test_a_namespace_is_deleted_under_a_running_job(plane, operating, gpu):
    name = plane.restricted_namespace("goes-away")
    world = World(plane, name)
    world.apply()
    world.until_unit("prepare", state="Running")
    plane.api.delete(f"/api/v1/namespaces/{name}")
    plane.api.until(f"/api/v1/namespaces/{name}", lambda found: found is None, 60)
    assert operating.process.alive
