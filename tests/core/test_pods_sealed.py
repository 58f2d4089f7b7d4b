"""Pods in which a user's code runs: what reaches it, and what reaches its neighbours only."""

import pytest
from job_values import JOBS, S3, children, containers, environment, mounts
from simulated import requests_of

from mpj_operator.core.pods import TMP


@pytest.mark.parametrize("spec", JOBS.values(), ids=JOBS)
def test_what_runs_a_users_code_reaches_nothing(spec):
    prepare = children(**spec)["prepare"]
    (request,) = [r for r in requests_of(prepare) if r.store is None]
    assert (request.name, request.inputs, request.secret_keys) == ("export", {}, ())
    container = containers(prepare)["export"]
    assert mounts(container) == {"/mpj/sealed": ("sealed", False), TMP: ("sealed-tmp", False)}
    found = environment(container)
    assert not [name for name, value in found.items() if "secretKeyRef" in str(value)]
    assert not [name for name in found if name.startswith("AWS_")]
    for word in ("s3://", "pvc://", "credentialsSecret", "endpointURL"):
        assert word not in found["MPJ_REQUEST"]
    assert found["YOLO_CONFIG_DIR"] == found["MPJ_SEALED"] == "/mpj/sealed"
    others = [c for name, c in containers(prepare).items() if name != "export"]
    assert {"sealed-tmp"}.isdisjoint(m for c in others for m, _ in mounts(c).values())
    assert [name for name, c in containers(prepare).items() if "/mpj/sealed" in mounts(c)] == [
        "fetch", "export", "snapshot-calibration",
    ]  # fmt: skip


def test_secrets_reach_the_containers_that_reach_for_the_sealed_one():
    found = containers(children(**S3)["prepare"])
    secrets = {
        name: {v["secretKeyRef"]["name"] for v in environment(c).values() if isinstance(v, dict)}
        for name, c in found.items()
    }
    assert secrets == {
        "fetch": {"store", "ca", "models"},
        "export": set(),
        "snapshot-calibration": {"store", "ca"},
        "snapshot-validation": {"store", "ca"},
    }


def test_webhooks_are_told_to_give_the_sealed_container_no_identity():
    key = "eks.amazonaws.com/skip-containers"
    found = children(podOverrides={"annotations": {key: "sidecar"}})
    annotations = found["prepare"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations[key] == "sidecar,export"
    assert annotations["azure.workload.identity/skip-containers"] == "export"
    assert found["report"]["spec"]["template"]["metadata"]["annotations"] == {key: "sidecar"}
    assert "annotations" not in children()["report"]["spec"]["template"]["metadata"]
