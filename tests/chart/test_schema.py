"""Wrong values are refused before anything reaches a cluster, and the message names them."""

import json
from typing import Any, Final

import pytest
import yaml
from charted import CHART, template

SCHEMA: Final = json.loads((CHART / "values.schema.json").read_text())
VALUES: Final = yaml.safe_load((CHART / "values.yaml").read_text())
DIGEST: Final = "sha256:" + "0" * 64


def at(path: str, value: Any) -> dict[str, Any]:
    """Return values in which one, named by a dotted path, is given."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


WRONG: Final = [
    ("nameOverride", "Capital", "/nameOverride"),
    ("fullnameOverride", "x" * 53, "/fullnameOverride"),
    ("commonLabels", {"team": "a b"}, "/commonLabels/team"),
    ("commonLabels", {"app.kubernetes.io/name": "x"}, "app.kubernetes.io/name"),
    ("image.registry", "registry.example.com/", "/image/registry"),
    ("image.registry", "https://registry.example.com", "/image/registry"),
    ("image.repository", "", "/image/repository"),
    ("image.repository", "Operator", "/image/repository"),
    ("image.repository", "operator:1", "/image/repository"),
    ("image.tag", 1, "/image/tag"),
    ("image.tag", "a b", "/image/tag"),
    ("image.digest", "abc", "/image/digest"),
    ("image.pullPolicy", "always", "/image/pullPolicy"),
    ("image.name", "x", "'name' not allowed"),
    ("jobImage.digest", DIGEST.upper(), "/jobImage/digest"),
    ("jobImage.pullPolicy", "Always", "'pullPolicy' not allowed"),
    ("imagePullSecrets", ["regcred"], "/imagePullSecrets/0"),
    ("replicas", -1, "/replicas"),
    ("replicas", "2", "/replicas"),
    ("leaderElection.enabled", "yes", "/leaderElection/enabled"),
    ("leaderElection.leaseName", "x", "'leaseName' not allowed"),
    ("watchNamespaces", "a,b", "/watchNamespaces"),
    ("watchNamespaces", ["a", "a"], "/watchNamespaces"),
    ("watchNamespaces", ["*"], "/watchNamespaces/0"),
    ("workers", 0, "/workers"),
    ("workers", 257, "/workers"),
    ("connections", 1025, "/connections"),
    ("resyncSeconds", 0.5, "/resyncSeconds"),
    ("logLevel", "info", "/logLevel"),
    ("port", 80, "/port"),
    ("extraEnv", [{"name": "MPJ_OPERATOR_PORT", "value": "1"}], "/extraEnv/0/name"),
    ("extraEnv", [{"value": "1"}], "/extraEnv/0"),
    ("extraEnv", {"A": "1"}, "/extraEnv"),
    ("crds.install", True, "'install' not allowed"),
    ("serviceAccount.name", "A", "/serviceAccount/name"),
    ("serviceAccount.annotations", {"a": 1}, "/serviceAccount/annotations/a"),
    ("rbac.scope", "cluster", "'scope' not allowed"),
    ("resources.limits.memory", "512MB", "/resources/limits/memory"),
    ("resources.limit", {}, "'limit' not allowed"),
    ("podSecurityContext.runAsUser", 0, "/podSecurityContext/runAsUser"),
    ("podSecurityContext.runAsNonRoot", False, "'runAsNonRoot' not allowed"),
    ("podLabels", {"helm.sh/chart": "x"}, "helm.sh/chart"),
    ("podAnnotations", {"a": True}, "/podAnnotations/a"),
    ("nodeSelector", {"gpu": True}, "/nodeSelector/gpu"),
    ("tolerations", [{"effect": "noSchedule"}], "/tolerations/0/effect"),
    ("affinity.node", {}, "'node' not allowed"),
    ("topologySpreadConstraints", [{"maxSkew": 1}], "/topologySpreadConstraints/0"),
    ("priorityClassName", 1, "/priorityClassName"),
    ("terminationGracePeriodSeconds", 0, "/terminationGracePeriodSeconds"),
    ("podDisruptionBudget.minAvailable", 1, "'minAvailable' not allowed"),
    ("service.type", "LoadBalancer", "'type' not allowed"),
    ("metrics.serviceMonitor.interval", "30", "/metrics/serviceMonitor/interval"),
    ("metrics.serviceMonitor.scrapeTimeout", "", "/metrics/serviceMonitor/scrapeTimeout"),
    ("metrics.enabled", True, "'enabled' not allowed"),
    ("networkPolicy.from", [{}], "/networkPolicy/from/0"),
    ("networkPolicy.apiServerPorts", [], "/networkPolicy/apiServerPorts"),
    ("networkPolicy.apiServerCIDRs", ["10.0.0.1"], "/networkPolicy/apiServerCIDRs/0"),
    ("extraObjects", [{"kind": "ConfigMap"}], "/extraObjects/0"),
    ("replica", 1, "'replica' not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "words"), WRONG, ids=[f"{p}={json.dumps(v)[:40]}" for p, v, _ in WRONG]
)
def test_a_wrong_value_is_refused_by_name(path: str, value: Any, words: str):
    done = template(at(path, value))
    assert done.code != 0
    assert "don't meet the specifications of the schema" in done.err
    assert words in done.err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(
            {"replicas": 2},
            "replicas is 2: set leaderElection.enabled to true, so that one works and the others",
            id="standbys without an election",
        ),
        pytest.param(
            {"service": {"enabled": False}, "metrics": {"serviceMonitor": {"enabled": True}}},
            "metrics.serviceMonitor.enabled needs service.enabled",
            id="a monitor without a service",
        ),
    ],
)
def test_values_that_are_wrong_together_are_refused_with_the_fix(values: Any, words: str):
    done = template(values)
    assert done.code != 0
    assert words in done.err


def nodes(schema: dict[str, Any], path: str = "") -> Any:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))


def test_the_schema_knows_every_value_and_no_other():
    def keys(values: Any, schema: dict[str, Any], path: str) -> None:
        listed = set(schema["properties"]) - {"global"}
        assert set(values) == listed, path
        for name, value in values.items():
            child = schema["properties"][name]
            if child.get("properties") and name not in {"resources", "affinity"}:
                keys(value, child, f"{path}.{name}")

    keys(VALUES, SCHEMA, "values")


def test_every_block_of_the_schema_is_closed():
    for path, node in nodes(SCHEMA):
        if "properties" in node:
            assert node["additionalProperties"] is False, path
