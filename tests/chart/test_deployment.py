"""The operator's Deployment: what it runs, with which settings, how often and where."""

from typing import Any

import pytest
from charted import DIGEST, STANDBY, every, only, rendered

from mpj_operator.settings import read_settings


def pod_of(values: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(only(rendered(values), "Deployment")["spec"]["template"]["spec"])


def environment(pod: dict[str, Any]) -> dict[str, str]:
    fields = {"metadata.name": "operator-1", "metadata.namespace": "sys"}
    return {
        e["name"]: e["value"] if "value" in e else fields[e["valueFrom"]["fieldRef"]["fieldPath"]]
        for e in pod["containers"][0]["env"]
    }


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        pytest.param(
            {},
            {"image": "mixedprecision-job:0.1.0", "fixed_ids": True, "namespaces": ()},
            id="defaults",
        ),
        pytest.param(
            {
                "workers": 16, "connections": 64, "resyncSeconds": 30, "port": 9090,
                "logLevel": "DEBUG", "watchNamespaces": ["a", "b"],
                "leaderElection": {"enabled": True}, "fullnameOverride": "operator",
                "jobImage": {"registry": "r.example.com:5000/ml", "digest": DIGEST, "tag": "x"},
                "jobPods": {"fixedIDs": False},
            },
            {
                "fixed_ids": False, "workers": 16, "connections": 64, "resync_seconds": 30,
                "port": 9090, "log_level": "DEBUG", "namespaces": ("a", "b"),
                "leader_election": True, "lease_name": "operator",
                "image": f"r.example.com:5000/ml/mixedprecision-job@{DIGEST}",
            },
            id="everything",
        ),
    ],
)  # fmt: skip
def test_the_environment_is_what_the_operator_reads(values: dict[str, Any], wanted: dict[str, Any]):
    settings = read_settings(environment(pod_of(values)))
    found = dict(settings)
    assert (settings.pod_name, settings.pod_namespace) == ("operator-1", "sys")
    assert {key: found[key] for key in wanted} == wanted


def test_the_charts_defaults_are_the_operators_own():
    given = dict(read_settings(environment(pod_of())))
    own = dict(read_settings({"MPJ_OPERATOR_IMAGE": "x"}))
    names = {
        "fixed_ids", "workers", "connections", "resync_seconds", "port", "log_level",
        "leader_election",
    }  # fmt: skip
    assert {n: given[n] for n in names} == {n: own[n] for n in names}


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ({}, "mixedprecision-operator:0.1.0"),
        ({"tag": "1.2-rc.1"}, "mixedprecision-operator:1.2-rc.1"),
        ({"registry": "r.example.com"}, "r.example.com/mixedprecision-operator:0.1.0"),
        ({"repository": "ml/op", "digest": DIGEST, "tag": "x"}, f"ml/op@{DIGEST}"),
    ],
)
def test_the_image_is_named_by_digest_or_tag(image: dict[str, str], wanted: str):
    objects = rendered({"image": image})
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == wanted
    assert only(objects, "Pod")["spec"]["containers"][0]["image"] == wanted


def test_probes_ask_what_the_operator_answers():
    (container,) = pod_of({"port": 9090})["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9090}]
    asked = {
        kind: (container[kind]["httpGet"]["path"], container[kind]["httpGet"]["port"])
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert asked == {
        "startupProbe": ("/healthz", "http"), "livenessProbe": ("/healthz", "http"),
        "readinessProbe": ("/readyz", "http"),
    }  # fmt: skip
    assert container["command"] == ["python", "-m", "mpj_operator"]


@pytest.mark.parametrize(
    ("values", "strategy", "budgets", "spread"),
    [
        pytest.param({}, "Recreate", 0, False, id="alone"),
        pytest.param(
            {"leaderElection": {"enabled": True}}, "RollingUpdate", 0, False, id="elected"
        ),
        pytest.param(STANDBY, "RollingUpdate", 1, True, id="with a standby"),
        pytest.param(
            {**STANDBY, "podDisruptionBudget": {"enabled": False}, "affinity": {"podAffinity": {}}},
            "RollingUpdate", 0, False, id="with a standby, in the user's own way",
        ),
    ],
)  # fmt: skip
def test_replicas(values: dict[str, Any], strategy: str, budgets: int, spread: bool):
    objects = rendered(values)
    deployment = only(objects, "Deployment")
    assert deployment["spec"]["strategy"]["type"] == strategy
    assert len(every(objects, "PodDisruptionBudget")) == budgets
    affinity = deployment["spec"]["template"]["spec"].get("affinity", {})
    assert ("podAntiAffinity" in affinity) == spread


def test_a_spread_without_a_selector_counts_the_operators_own_pods():
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    own = {**spread, "labelSelector": {"matchLabels": {"a": "b"}}}
    objects = rendered({"topologySpreadConstraints": [spread, own]})
    deployment = only(objects, "Deployment")["spec"]
    filled, kept = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert filled == {**spread, "labelSelector": deployment["selector"]}
    assert kept == own
