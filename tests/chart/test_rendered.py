"""What values make of the whole chart: sound objects, the CRD, the user's own, and notes."""

import re
from typing import Any, Final

import pytest
import yaml
from charted import ALL, CHART, DIGEST, STANDBY, every, helm, only, rendered, template

from mpj_operator.api.crd import definition

WORLDS: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "everything": ALL,
    "namespaced": {"watchNamespaces": ["a", "b"], **STANDBY},
    "nothing optional": {
        "crds": {"enabled": False}, "rbac": {"create": False, "aggregateRoles": False},
        "serviceAccount": {"create": False}, "service": {"enabled": False}, "replicas": 0,
    },
    "OpenShift": {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None},
        "jobPods": {"fixedIDs": False},
    },
    "OpenShift, in short": {"podSecurityContext": None, "jobPods": {"fixedIDs": False}},
}  # fmt: skip
each_world = pytest.mark.parametrize("values", WORLDS.values(), ids=WORLDS)


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


def test_the_crd_is_the_generated_one_and_stays_on_uninstall():
    crd = only(rendered(), "CustomResourceDefinition")
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert {**definition(), "metadata": crd["metadata"]} == crd
    gone = only(rendered({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in gone["metadata"]
    assert not every(rendered({"crds": {"enabled": False}}), "CustomResourceDefinition")


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
