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


def monitor(**given: str) -> dict[str, Any]:
    """Return values with a ServiceMonitor."""
    return at("metrics.serviceMonitor", {"enabled": True, **given})


WRONG: Final = [
    ("nameOverride", "Capital", "/nameOverride"),
    ("fullnameOverride", "x" * 53, "/fullnameOverride"),
    ("commonLabels", {"team": "a b"}, "/commonLabels/team"),
    ("commonLabels", {"app.kubernetes.io/name": "x"}, "app.kubernetes.io/name"),
    ("commonLabels", {"a b": "x"}, "/commonLabels': additional properties 'a b'"),
    ("commonLabels", {"Example.com/team": "x"}, "'Example.com/team' not allowed"),
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
    ("jobPods.fixedIDs", "false", "/jobPods/fixedIDs"),
    ("jobPods.runAsUser", 1, "'runAsUser' not allowed"),
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
    ("extraEnv", [{"name": "1A", "value": "1"}], "/extraEnv/0/name"),
    ("extraEnv", [{"name": "A=B", "value": "1"}], "/extraEnv/0/name"),
    ("extraEnv", {"A": "1"}, "/extraEnv"),
    ("crds.install", True, "'install' not allowed"),
    ("serviceAccount.name", "A", "/serviceAccount/name"),
    ("serviceAccount.annotations", {"a": 1}, "/serviceAccount/annotations/a"),
    ("rbac.scope", "cluster", "'scope' not allowed"),
    ("resources.limits.memory", "512MB", "/resources/limits/memory"),
    ("resources.limit", {}, "'limit' not allowed"),
    ("resources.claims", [{"name": "gpu"}], "'claims' not allowed"),
    ("podSecurityContext.runAsUser", 0, "/podSecurityContext/runAsUser"),
    ("podSecurityContext.runAsNonRoot", False, "'runAsNonRoot' not allowed"),
    ("podLabels", {"helm.sh/chart": "x"}, "helm.sh/chart"),
    ("podLabels", {"a" * 64: "x"}, "/podLabels"),
    ("podLabels", {"team/": "x"}, "'team/' not allowed"),
    ("podAnnotations", {"a": True}, "/podAnnotations/a"),
    ("nodeSelector", {"gpu": True}, "/nodeSelector/gpu"),
    ("nodeSelector", {"-gpu": "a"}, "'-gpu' not allowed"),
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
    ("networkPolicy.from", [{"ipBlock": {"cidr": "10.0.0.0/33"}}], "/networkPolicy/from/0/ipBlock"),
    ("networkPolicy.apiServerPorts", [], "/networkPolicy/apiServerPorts"),
    ("networkPolicy.apiServerCIDRs", ["10.0.0.1"], "/networkPolicy/apiServerCIDRs/0"),
    ("networkPolicy.apiServerCIDRs", ["10.0.0.1/33"], "/networkPolicy/apiServerCIDRs/0"),
    ("networkPolicy.apiServerCIDRs", ["10.0.256.1/32"], "/networkPolicy/apiServerCIDRs/0"),
    ("networkPolicy.apiServerCIDRs", ["fd00::/129"], "/networkPolicy/apiServerCIDRs/0"),
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
        pytest.param(
            {"serviceAccount": {"create": False}},
            "to every pod in sys that names none: set serviceAccount.name to an account of the",
            id="rights for everybody's account",
        ),
        pytest.param(
            {"serviceAccount": {"name": "default"}},
            "set serviceAccount.name to an account of the operator's own",
            id="rights for everybody's account, by its name",
        ),
        pytest.param(
            monitor(interval="1m30s", scrapeTimeout="91s"),
            "metrics.serviceMonitor.scrapeTimeout is 91s: set it to at most interval, 1m30s",
            id="an answer may take longer than until the next question",
        ),
        pytest.param(
            monitor(scrapeTimeout="1h"), "at most interval, 30s", id="an hour for an answer"
        ),
    ],
)
def test_values_that_are_wrong_together_are_refused_with_the_fix(values: Any, words: str):
    done = template(values)
    assert done.code != 0
    assert words in done.err


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(monitor(interval="1m30s", scrapeTimeout="90s"), id="a timeout of an interval"),
        pytest.param(monitor(interval="1h0m08s", scrapeTimeout="59m"), id="hours and minutes"),
        pytest.param(
            {"serviceAccount": {"create": False}, "rbac": {"create": False}},
            id="the default account without rights of ours",
        ),
        pytest.param(
            at(
                "networkPolicy.apiServerCIDRs",
                ["0.0.0.0/0", "10.255.0.1/32", "::/0", "fd00::1/128"],
            ),
            id="address ranges",
        ),
        pytest.param(
            at(
                "networkPolicy.from",
                [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
            ),
            id="an address block as a peer",
        ),
        pytest.param(
            at("commonLabels", {"a": "", "example.com/Team_a.b": "x", "x" * 63: "y"}), id="labels"
        ),
        pytest.param(at("extraEnv", [{"name": "my.var-a_1", "value": ""}]), id="a variable"),
    ],
)
def test_right_values_are_taken(values: Any):
    done = template(values)
    assert done.code == 0, done.err


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
