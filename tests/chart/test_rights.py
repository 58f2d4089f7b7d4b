"""The chart's roles allow what the operator asks of the API server, and nothing else.

The whole operator runs against a server that writes down what it is asked, over jobs for which it
does all that it ever does.
"""

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import operating
import pytest
import yaml
from charted import every, only, rendered
from recording import Asked, recording
from simulated import Simulation, job

CLUSTER: Final[dict[str, Any]] = {
    "model": {"uri": "s3://bucket/m.onnx"},
    "calibration": {"uri": "s3://bucket/c.tar", "format": "COCO"},
    "validation": {"uri": "s3://bucket/c.tar", "format": "COCO"},
    "storage": {"uri": "s3://bucket/out"},
}
Right = tuple[str, str, str]
LEASE: Final = {("coordination.k8s.io", "leases", v) for v in ("create", "get", "update", "patch")}
WATCHED: Final = {
    *(("mixedprecision.dev", "mixedprecisionjobs", verb) for verb in ("get", "list", "watch")),
    ("mixedprecision.dev", "mixedprecisionjobs/status", "patch"),
    *(("batch", "jobs", v) for v in ("get", "list", "watch", "create", "patch", "delete")),
    ("", "pods", "list"), ("", "pods", "watch"),
    ("events.k8s.io", "events", "create"), ("events.k8s.io", "events", "list"),
}  # fmt: skip


def resource(made: Simulation, name: str) -> dict[str, Any]:
    """Return a simulated job as the API server would show it."""
    body = made.job.to_json()
    body["metadata"] |= {"name": name, "namespace": "vision", "resourceVersion": "1"}
    return body


def named(name: str, **spec: Any) -> Simulation:
    made = job(**CLUSTER, **spec)
    metadata = made.metadata.model_copy(update={"name": name, "namespace": "vision"})
    return Simulation(made.model_copy(update={"metadata": metadata}))


def objects() -> dict[str, list[dict[str, Any]]]:
    """Return a job to begin, one to suspend, and one whose units are to get a time to live."""
    new = named("new")
    planned = named("new")
    planned.step()
    suspended = named("suspended")
    suspended.step()
    stopped = resource(suspended, "suspended")
    stopped["spec"]["suspend"] = True
    done = named("done", ttlSecondsAfterFinished=60)
    done.run()
    return {
        "mixedprecisionjobs": [resource(new, "new"), stopped, resource(done, "done")],
        # The child of the new job is there: what creates it has died before it wrote the status.
        "jobs": [_child(value) for s in (planned, suspended) for value in s.values.values()]
        + [_child(value, ended=True) for value in done.values.values()],
    }


def _child(value: Any, *, ended: bool = False) -> dict[str, Any]:
    """Return a unit's Job; one that the new job's first look does not show yet."""
    metadata = {
        **value["metadata"], "uid": "c-1", "creationTimestamp": "2026-11-24T12:00:00Z",
    }  # fmt: skip
    if "new" in metadata["name"]:
        metadata["labels"] = {}  # not found by its label: creation meets it by its name
    condition = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z"}
    return {
        "metadata": metadata,
        "spec": value["spec"],
        "status": {"conditions": [condition]} if ended else {},
    }


async def asked(environment: dict[str, str], folder: Path, wanted: set[Right]) -> set[Asked]:
    """Run the operator until it has asked all that is wanted, and a while longer."""
    last = ("coordination.k8s.io", "leases", "patch")  # gives the Lease back when it is told to end
    async with recording(objects()) as (record, url):
        kubeconfig = folder / "config"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(url)))
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mpj_operator",
            env={"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig), **environment},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        for _ in range(200):
            if wanted - {last} <= rights(record.asked) or running.returncode is not None:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        if running.returncode is None:
            running.terminate()
        said, _ = await asyncio.wait_for(running.communicate(), 30)
        assert running.returncode == 0, said.decode()
        assert wanted <= rights(record.asked), said.decode()
        return record.asked


def rights(requests: Iterable[Asked]) -> set[Right]:
    return {(r.group, r.resource, r.verb) for r in requests}


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }  # fmt: skip


def granted(role: dict[str, Any]) -> set[Right]:
    return {
        (group, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for name in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("namespaces", [(), ("vision",)], ids=["all namespaces", "some namespaces"])
async def test_the_roles_allow_exactly_what_the_operator_asks(
    namespaces: tuple[str, ...], tmp_path: Path
):
    values = {"watchNamespaces": list(namespaces), "leaderElection": {"enabled": True}}
    chart = rendered(values)
    lease = only(chart, "Role", "-lease")
    work = only(chart, "Role" if namespaces else "ClusterRole", "mixedprecision-operator")
    allowed = granted(work) | granted(lease)

    (container,) = only(chart, "Deployment")["spec"]["template"]["spec"]["containers"]
    given = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    own = {"PORT": "0", "RESYNC_SECONDS": "1", "POD_NAME": "p", "POD_NAMESPACE": "sys"}
    found = await asked(
        {**given, **{f"MPJ_OPERATOR_{k}": v for k, v in own.items()}}, tmp_path, allowed
    )

    assert rights(found) == allowed
    assert granted(work) == WATCHED
    assert granted(lease) == LEASE
    for request in found:
        if request.resource == "leases":
            assert request.namespace == "sys"
            assert request.name in ("", *lease["rules"][1]["resourceNames"])
        elif namespaces:
            assert request.namespace in namespaces, "asks beyond its namespaces"


@pytest.mark.parametrize("namespaces", [[], ["a"], ["a", "b"]])
def test_rights_are_bound_where_the_operator_watches(namespaces: list[str]):
    chart = rendered({"watchNamespaces": namespaces, "rbac": {"aggregateRoles": False}})
    account = only(chart, "ServiceAccount")["metadata"]
    subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": "sys"}
    bindings = every(chart, "RoleBinding") if namespaces else every(chart, "ClusterRoleBinding")
    roles = every(chart, "Role") if namespaces else every(chart, "ClusterRole")
    assert [r["metadata"].get("namespace") for r in roles] == (namespaces or [None])
    assert [b["metadata"].get("namespace") for b in bindings] == (namespaces or [None])
    for role, binding in zip(roles, bindings, strict=True):
        assert binding["subjects"] == [subject]
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (
            role["kind"], role["metadata"]["name"],
        )  # fmt: skip
    others = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} - {
        roles[0]["kind"], bindings[0]["kind"],
    }  # fmt: skip
    assert not [x for x in chart if x["kind"] in others]


def test_the_account_of_the_cluster_tests_may_do_what_the_charts_may():
    (role,) = (made for made in operating.rights("sys", "name") if made["kind"] == "ClusterRole")
    assert granted(role) == WATCHED


def test_nothing_is_cluster_scoped_where_an_installer_has_a_namespace_only():
    chart = rendered(
        {
            "watchNamespaces": ["sys"], "crds": {"enabled": False},
            "rbac": {"aggregateRoles": False}, "leaderElection": {"enabled": True},
        }
    )  # fmt: skip
    assert {x["metadata"].get("namespace") for x in chart} == {"sys"}


def test_people_get_their_rights_by_aggregation():
    chart = rendered()
    viewer, editor = only(chart, "ClusterRole", "-viewer"), only(chart, "ClusterRole", "-editor")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert viewer["metadata"]["labels"][f"{prefix}view"] == "true"
    assert editor["metadata"]["labels"][f"{prefix}edit"] == "true"
    assert {verb for _, _, verb in granted(viewer)} == {"get", "list", "watch"}
    assert {name for _, name, _ in granted(editor)} == {"mixedprecisionjobs"}  # status is ours
    assert {verb for _, _, verb in granted(editor)} == {
        "create", "update", "patch", "delete", "deletecollection",
    }  # fmt: skip


def test_no_role_is_made_where_none_is_wanted():
    chart = rendered({"rbac": {"create": False, "aggregateRoles": False}})
    assert not [x for x in chart if "Role" in x["kind"]]


def test_the_account_may_be_somebody_elses():
    chart = rendered({"serviceAccount": {"create": False, "name": "given"}})
    assert not every(chart, "ServiceAccount")
    pod = only(chart, "Deployment")["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("given", True)
    assert only(chart, "ClusterRoleBinding")["subjects"][0]["name"] == "given"
