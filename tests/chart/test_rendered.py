"""What values make of the chart: one row a choice."""

import re
from typing import Any, Final

import pytest
import yaml
from charted import CHART, every, helm, only, rendered, template

from mpj_operator.api.crd import definition
from mpj_operator.settings import read_settings
from mpj_operator.shell.metrics import Metrics

DIGEST: Final = "sha256:" + "a" * 64
STANDBY: Final = {"replicas": 2, "leaderElection": {"enabled": True}}
ALL: Final[dict[str, Any]] = {
    **STANDBY,
    "metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}],
    "imagePullSecrets": [{"name": "regcred"}],
    "commonLabels": {"team": "vision"},
    "podAnnotations": {"a": "b"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "infra", "operator": "Exists"}],
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
}
WORLDS: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "everything": ALL,
    "namespaced": {"watchNamespaces": ["a", "b"], **STANDBY},
    "nothing optional": {
        "crds": {"enabled": False}, "rbac": {"create": False, "aggregateRoles": False},
        "serviceAccount": {"create": False}, "service": {"enabled": False}, "replicas": 0,
    },
    "OpenShift": {"podSecurityContext": {"runAsUser": None, "runAsGroup": None}},
}  # fmt: skip
each_world = pytest.mark.parametrize("values", WORLDS.values(), ids=WORLDS)


def pod_of(values: dict[str, Any] | None = None) -> dict[str, Any]:
    return dict(only(rendered(values), "Deployment")["spec"]["template"]["spec"])


def environment(pod: dict[str, Any]) -> dict[str, str]:
    fields = {"metadata.name": "operator-1", "metadata.namespace": "sys"}
    return {
        e["name"]: e["value"] if "value" in e else fields[e["valueFrom"]["fieldRef"]["fieldPath"]]
        for e in pod["containers"][0]["env"]
    }


@each_world
def test_helm_lint_has_nothing_to_say(values: dict[str, Any]):
    done = helm("lint", "--strict", str(CHART), "-f", "-", given=yaml.safe_dump(values))
    assert done.code == 0, done.out
    assert not re.search("WARNING|ERROR", done.out + done.err)


@each_world
def test_objects_are_named_once_labelled_and_placed(values: dict[str, Any]):
    objects = rendered(values)
    keys = [(x["kind"], x["metadata"].get("namespace"), x["metadata"]["name"]) for x in objects]
    assert len(set(keys)) == len(keys)
    for x in objects:
        if x["metadata"]["name"] == "more":
            continue
        labels = x["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "mpj"
        assert labels.get("team") == values.get("commonLabels", {}).get("team")
        cluster = x["kind"] in {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
        assert ("namespace" in x["metadata"]) != cluster, x["kind"]


@each_world
def test_pods_meet_the_restricted_profile(values: dict[str, Any]):
    objects = rendered(values)
    pods = [x["spec"] for x in every(objects, "Pod")]
    pods.append(only(objects, "Deployment")["spec"]["template"]["spec"])
    for pod in pods:
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        wanted = None if "podSecurityContext" in values else 65532
        assert context.get("runAsUser") == context.get("runAsGroup") == wanted
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all(set(v) == {"name", "emptyDir"} for v in pod.get("volumes", ()))
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
            assert {"name": "PYTHONSAFEPATH", "value": "1"} in container["env"]
            assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert pod["enableServiceLinks"] is False  # MPJ_OPERATOR_… of a Service mpj-operator


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        pytest.param({}, {"image": "mixedprecision-job:0.1.0", "namespaces": ()}, id="defaults"),
        pytest.param(
            {
                "workers": 16, "connections": 64, "resyncSeconds": 30, "port": 9090,
                "logLevel": "DEBUG", "watchNamespaces": ["a", "b"],
                "leaderElection": {"enabled": True}, "fullnameOverride": "operator",
                "jobImage": {"registry": "r.example.com:5000/ml", "digest": DIGEST, "tag": "x"},
            },
            {
                "workers": 16, "connections": 64, "resync_seconds": 30, "port": 9090,
                "log_level": "DEBUG", "namespaces": ("a", "b"), "leader_election": True,
                "lease_name": "operator",
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
    names = {"workers", "connections", "resync_seconds", "port", "log_level", "leader_election"}
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


def test_the_crd_is_the_generated_one_and_stays_on_uninstall():
    crd = only(rendered(), "CustomResourceDefinition")
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert {**definition(), "metadata": crd["metadata"]} == crd
    gone = only(rendered({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in gone["metadata"]
    assert not every(rendered({"crds": {"enabled": False}}), "CustomResourceDefinition")


def test_selectors_choose_the_operators_pods_and_not_the_tests():
    objects = rendered(ALL)
    pod = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    tester = only(objects, "Pod")["metadata"]["labels"]
    service = only(objects, "Service")
    selectors = [
        only(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        only(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= pod.items()
        assert not selector.items() <= tester.items()
    monitor = only(objects, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_network_policy_lets_in_who_asks_and_out_to_dns_and_the_api():
    policy = only(
        rendered(
            {
                "networkPolicy": {
                    "enabled": True, "from": [{"namespaceSelector": {}}],
                    "apiServerPorts": [6443], "apiServerCIDRs": ["10.0.0.1/32"],
                }
            }
        ),
        "NetworkPolicy",
    )["spec"]  # fmt: skip
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}]
    asks = [f.get("podSelector", {}).get("matchLabels", {}) for f in ingress["from"]]
    assert asks[0] == {}
    assert asks[1]["app.kubernetes.io/component"] == "test"
    dns, api = policy["egress"]
    assert [p["port"] for p in dns["ports"]] == [53, 53]
    assert api == {
        "ports": [{"port": 6443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    }  # fmt: skip


def test_alerts_ask_for_figures_that_the_operator_gives():
    metrics = Metrics()
    metrics.watch(depth=lambda: 0, age=lambda: 0)
    metrics.failed(ValueError())
    given = set(re.findall(r"^(mpj_[a-z_]+)", metrics.text().decode(), re.MULTILINE))
    (group,) = only(rendered(ALL), "PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        asked = set(re.findall(r"mpj_[a-z_]+", rule["expr"]))
        assert asked
        assert asked <= given, rule["alert"]
        assert 'namespace="sys", pod=~"mpj-mixedprecision-operator-.*"' in rule["expr"]
        assert rule["annotations"]["summary"]


def test_extra_objects_may_be_maps_or_templates():
    objects = rendered(
        {
            "extraObjects": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},
                'apiVersion: v1\nkind: Secret\nmetadata: {name: "{{ .Release.Name }}-b"}',
            ]
        }
    )
    assert only(objects, "ConfigMap")["metadata"]["name"] == "a"
    assert only(objects, "Secret")["metadata"]["name"] == "mpj-b"


def test_helm_test_asks_readyz_through_the_service():
    objects = rendered({"port": 9090})
    pod, service = only(objects, "Pod"), only(objects, "Service")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    script, url = pod["spec"]["containers"][0]["args"]
    assert url == f"http://{name}.sys.svc:{port}/readyz"
    compile(script, "test", "exec")
    assert pod["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("values", "words", "missing"),
    [
        pytest.param({}, ["watches all namespaces", "by jobImage.digest", "helm test"], [], id="-"),
        pytest.param(
            {"jobImage": {"digest": DIGEST}, "watchNamespaces": ["a", "b"]},
            ["watches a, b", f"mixedprecision-job@{DIGEST}"], ["by jobImage.digest"], id="digest",
        ),
        pytest.param(
            {"crds": {"enabled": False}, "service": {"enabled": False}},
            ["kubectl apply --server-side -f crds/"], ["helm test", "delete crd"], id="no CRD",
        ),
    ],
)  # fmt: skip
def test_notes(values: dict[str, Any], words: list[str], missing: list[str]):
    done = helm(
        "install", "mpj", str(CHART), "-n", "sys", "--dry-run=client", "-f", "-",
        given=yaml.safe_dump(values),
    )  # fmt: skip
    assert done.code == 0, done.err
    notes = done.out.partition("NOTES:")[2]
    for text in words:
        assert text in notes
    for text in missing:
        assert text not in notes


def test_names_stay_short_whatever_the_release_is_called():
    done = helm("template", "r" * 53, str(CHART), "-n", "n" * 63)
    assert done.code == 0, done.err
    for x in yaml.load_all(done.out, Loader=yaml.CSafeLoader):
        if x is not None and x["kind"] in {"Service", "Pod", "Deployment"}:
            assert len(x["metadata"]["name"]) <= 63


def test_a_values_file_may_be_empty():
    assert template({}).code == 0
