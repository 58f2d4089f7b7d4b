"""The chart on a real API server: install, a job to its end, upgrade under it, test, uninstall."""

from collections.abc import Iterator

import pytest
from answers import Answers
from controlplane import ControlPlane
from helmed import RELEASE, SERVICE, Helm, HelmError, installed, logs
from nodeagent import Hardware, Node, node
from operating import JOBS, MPJ, World, shown
from rest import path, polled
from s3server import free_port

OPERATORS = "chart-operators"
DNS = """
import socket

real = socket.getaddrinfo


def getaddrinfo(host, *rest, **more):
    return real("127.0.0.1" if str(host).endswith(".svc") else host, *rest, **more)


socket.getaddrinfo = getaddrinfo


class Socket(socket.socket):
    def bind(self, address):
        if self.family == socket.AF_INET:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return super().bind(address)


socket.socket = Socket
"""
"""Stands for the cluster's DNS and Services, and for a pod's own ports: here all share a host."""


@pytest.fixture(scope="module")
def office(plane: ControlPlane, tmp_path_factory) -> Iterator[Node]:
    """Run the node that operators live on, as real processes."""
    (folder := tmp_path_factory.mktemp("dns")).joinpath("sitecustomize.py").write_text(DNS)
    environment = {"PYTHONPATH": str(folder)}
    with node(plane, "office", hardware=Hardware(gpus=0), environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(seconds=0.3)


@pytest.fixture(scope="module")
def workshop(plane: ControlPlane, answers: Answers) -> Iterator[Node]:
    with node(plane, "workshop", answers=answers) as running:
        yield running


@pytest.fixture(scope="module")
def values():
    return {
        "crds": {"enabled": False},  # the control plane of all tests has it
        "nodeSelector": {"kubernetes.io/hostname": "office"},
        "jobImage": {"repository": "job", "tag": "one"},
        "resyncSeconds": 5,
        "port": free_port(),
    }


@pytest.fixture(scope="module")
def helm(plane, office, values) -> Iterator[Helm]:
    plane.restricted_namespace(OPERATORS)
    with installed(plane, OPERATORS, **values) as release:
        yield release


@pytest.fixture
def world(plane, namespace, workshop) -> World:
    return World(plane, namespace, workshop)


def apply(world: World, name: str = "demo") -> None:
    world.apply(name, podOverrides={"nodeSelector": {"kubernetes.io/hostname": "workshop"}})


def images(world: World, name: str) -> set[str]:
    return {
        container["image"]
        for child in world.children(name)
        for kind in ("initContainers", "containers")
        for container in child["spec"]["template"]["spec"].get(kind, ())
    }


def test_a_job_ends_with_the_charts_own_account(world, helm, plane, office):
    apply(world)
    status = world.until("Complete")
    assert status["best"]["name"] == "int8", shown(status)
    assert images(world, "demo") == {"job:one"}
    events = plane.api.items(f"/apis/events.k8s.io/v1/namespaces/{world.namespace}/events")
    assert any(e["reason"] == "Complete" for e in events)
    refused = [
        (event["verb"], event["objectRef"]["resource"])
        for event in plane.audit()
        if event["user"]["username"] == f"system:serviceaccount:{OPERATORS}:{SERVICE}"
        and event["responseStatus"]["code"] in (401, 403)
    ]
    assert not refused
    assert "Traceback" not in logs(plane, OPERATORS, office.agent.folder)


def test_the_release_is_tested(helm):
    assert "Succeeded" in helm("test", RELEASE, "--timeout=60s")


def test_an_upgrade_leaves_a_live_job_to_its_runner(world, helm, values):
    apply(world, "old")
    world.until_unit("reference", name="old", state="Running")
    helm.upgrade(**{**values, "jobImage": {"repository": "job", "tag": "two"}})
    assert world.status("old")["state"] == "Running"
    world.until("Complete", "old")
    assert images(world, "old") == {"job:one"}
    apply(world, "new")
    world.until("Complete", "new")
    assert images(world, "new") == {"job:two"}


def test_wrong_values_are_refused_before_anything_happens(plane):
    with pytest.raises(HelmError, match="workers"):
        Helm(plane, "default").install(workers="many")


def test_one_of_two_operators_works_and_the_other_takes_over(plane, office, workshop, values):
    name = plane.restricted_namespace("chart-pair")
    watched = World(plane, plane.restricted_namespace("chart-watched"), workshop)
    pair = {**values, "replicas": 2, "leaderElection": {"enabled": True}}
    pair |= {"watchNamespaces": [watched.namespace], "fullnameOverride": "pair"}
    pair["port"] = free_port()
    with installed(plane, name, **pair):
        lease = path(("coordination.k8s.io/v1", "leases"), name, "pair")

        def held(found):
            return bool(found and found["spec"].get("holderIdentity"))

        first = plane.api.until(lease, held, 30)["spec"]["holderIdentity"]
        apply(watched)
        watched.until_unit("prepare", state="Running")
        plane.api.delete(path(("v1", "pods"), name, first))
        watched.until("Complete")
        second = plane.api.get(lease)["spec"]["holderIdentity"]
        assert second != first
    plane.api.delete(f"/api/v1/namespaces/{name}")


def test_uninstalling_leaves_jobs_and_results(plane, office, workshop, values, namespace):
    world = World(plane, namespace, workshop)
    name = plane.restricted_namespace("chart-gone")
    pods = path(("v1", "pods"), name)
    scoped = {**values, "watchNamespaces": [namespace], "fullnameOverride": "gone"}
    scoped["port"] = free_port()
    with installed(plane, name, **scoped):
        apply(world)
        world.until("Complete")
    assert world.status()["state"] == "Complete"
    assert plane.api.items(path(JOBS, namespace))
    for _ in polled(30):
        if not plane.api.items(pods):
            break
    assert not plane.api.items(pods)
    assert plane.api.get(path(MPJ, namespace, "demo")) is not None
