"""Who reaches the operator: selectors, the network policy, alerts, and the pod of helm test."""

import re

import pytest
from charted import ALL, only, rendered

from mpj_operator.shell.metrics import Metrics


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


@pytest.mark.parametrize(("replicas", "down"), [(0, False), (1, True)])
def test_an_operator_that_is_to_be_off_is_not_missed(replicas: int, down: bool):
    values = {"replicas": replicas, "metrics": {"prometheusRule": {"enabled": True}}}
    (group,) = only(rendered(values), "PrometheusRule")["spec"]["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert ("MixedPrecisionOperatorDown" in names) == down
    assert "MixedPrecisionOperatorBehind" in names


def test_helm_test_asks_readyz_through_the_service():
    objects = rendered({"port": 9090})
    pod, service = only(objects, "Pod"), only(objects, "Service")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    script, url = pod["spec"]["containers"][0]["args"]
    assert url == f"http://{name}.sys.svc:{port}/readyz"
    compile(script, "test", "exec")
    assert pod["spec"]["automountServiceAccountToken"] is False
