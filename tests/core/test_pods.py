"""Pods: what every one of them may and has, whatever a job overrides."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from job_values import JOBS, OVERRIDES, children, containers, environment, mounts, pod_of
from simulated import SETTINGS, Simulation, job, requests_of

from mpj_operator.core.pods import TMP
from mpj_runner.contract import messages


def violations(pod: Mapping[str, Any]) -> Iterator[str]:
    """Tell what of a pod the restricted profile of Pod Security forbids (v1.37's controls)."""
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "ephemeralContainers"):
        if pod.get(field):
            yield field
    whole = pod.get("securityContext", {})
    if whole.get("sysctls") or whole.get("seLinuxOptions") or whole.get("appArmorProfile"):
        yield "a pod-wide option"
    allowed = {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
        "projected", "secret",
    }  # fmt: skip
    for volume in pod["volumes"]:
        if len(kinds := volume.keys() - {"name"}) != 1 or not kinds <= allowed:
            yield f"volume {volume}"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        own = container.get("securityContext", {})
        if own.get("privileged") or own.get("procMount"):
            yield "privileges"
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield "capabilities"
        if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
            yield "runAsNonRoot"
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            yield "runAsUser"
        profile = own.get("seccompProfile", whole.get("seccompProfile")) or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield "hostPort"
        if any(probe in container for probe in ("lifecycle", "livenessProbe", "readinessProbe")):
            yield "a probe may name a host"


@pytest.mark.parametrize("spec", JOBS.values(), ids=JOBS)
def test_every_pod_fits_the_restricted_profile(spec):
    found = children(**spec)
    assert {"prepare", "reference", "baseline", "calibrate", "final", "report"} <= found.keys()
    for unit, value in found.items():
        pod = pod_of(value)
        assert list(violations(pod)) == [], unit
        assert pod["automountServiceAccountToken"] is False
        assert pod["restartPolicy"] == "Never"
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert len(volumes) == len(pod["volumes"])
        mounted = set()
        for container in containers(value).values():
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
            assert TMP in mounts(container)
            mounted |= {name for name, _ in mounts(container).values()}
            last_words = environment(container)["MPJ_TERMINATION_LOG"]
            assert last_words == container["terminationMessagePath"] == "/dev/termination-log"
        assert mounted == volumes, unit


def test_the_profile_that_pods_are_held_against_can_be_broken():
    pod = pod_of(children()["prepare"])
    bad = {
        **pod,
        "hostNetwork": True,
        "volumes": [{"name": "x", "hostPath": {"path": "/"}}],
        "securityContext": {},
        "containers": [{"name": "x"}],
    }
    assert {"hostNetwork", "capabilities", "runAsNonRoot", "seccompProfile"} <= set(violations(bad))


def test_every_container_has_one_order_of_sets_and_no_telemetry():
    for value in children().values():
        for container in containers(value).values():
            found = environment(container)
            assert (found["PYTHONHASHSEED"], found["ORT_DISABLE_TELEMETRY"]) == ("0", "1")
    overridden = environment(containers(children(podOverrides=OVERRIDES)["report"])["report"])
    assert (overridden["PYTHONHASHSEED"], overridden["AWS_PROFILE"]) == ("7", "x")


def test_children_carry_the_labels_that_tools_group_by_and_never_an_instance():
    for unit, value in children(podOverrides=OVERRIDES).items():
        for labels in (
            value["metadata"]["labels"],
            value["spec"]["template"]["metadata"]["labels"],
        ):
            assert labels["app.kubernetes.io/name"] == "mpj-runner"
            assert labels["app.kubernetes.io/managed-by"] == "mpj-operator"
            assert labels["app.kubernetes.io/part-of"] == "demo"
            assert labels["app.kubernetes.io/component"] == (
                "candidate" if unit in ("int8",) else unit
            )
            assert "app.kubernetes.io/instance" not in labels


def test_a_cluster_that_assigns_ids_gets_none():
    simulation = Simulation(job(), settings=replace(SETTINGS, fixed_ids=False))
    simulation.step()
    (value,) = simulation.values.values()
    context = pod_of(value)["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()
    assert context["runAsNonRoot"] is True


def test_a_request_that_is_too_long_for_one_variable_has_several(monkeypatch):
    """Linux starts no process with one of 128 KiB, and a report of 64 candidates may have more."""
    assert 128 * 1024 - len("MPJ_REQUEST_1=") > messages.VARIABLE_LIMIT
    monkeypatch.setattr(messages, "VARIABLE_LIMIT", 1500)
    simulation = Simulation(job()).run()
    report = next(v for n, v in simulation.values.items() if "-report-" in n)
    (container,) = pod_of(report)["containers"]
    parts = [e for e in container["env"] if e["name"].startswith("MPJ_REQUEST")]
    assert [e["name"] for e in parts[:2]] == ["MPJ_REQUEST", "MPJ_REQUEST_1"]
    assert max(len(e["value"]) for e in parts) == 1500
    (request,) = requests_of(report)
    assert request.step == "report"
