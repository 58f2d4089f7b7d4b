"""The control plane that cluster tests stand on: what it can be made to suffer, and its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from controlplane import ControlPlane
from rest import MPJ, Api, ApiError, path, polled

SUPPORT = Path(__file__).parents[1]
CONFIG_MAPS = "v1", "configmaps"


def test_an_account_has_the_rights_that_it_was_given(plane: ControlPlane, namespace: str):
    api = Api.of(plane.kubeconfig_of_account(namespace, "default"))
    with pytest.raises(ApiError, match="cannot list resource") as caught:
        api.items(path(MPJ, namespace))
    assert caught.value.status == 403
    role = {"rules": [{"apiGroups": [MPJ[0].split("/")[0]], "resources": [MPJ[1]],
                       "verbs": ["list"]}]}  # fmt: skip
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    kind = "rbac.authorization.k8s.io/v1"
    plane.api.create(path((kind, "roles"), namespace), {"metadata": {"name": "r"}, **role})
    plane.api.create(path((kind, "rolebindings"), namespace), {
        "metadata": {"name": "r"}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    })  # fmt: skip
    for seen in polled(10):
        try:
            seen.value = api.items(path(MPJ, namespace))
            break
        except ApiError as error:  # the authorizer hears of the role a moment later
            seen.value = error
    assert seen.value == []
    api.close()


def test_the_audit_log_counts_what_was_asked(plane: ControlPlane, namespace: str):
    before = plane.audited()
    plane.api.create(path(CONFIG_MAPS, namespace), {"metadata": {"name": "counted"}})
    mine = [
        event
        for event in plane.audit(before)
        if event["objectRef"].get("namespace") == namespace and event["user"]["username"] == "admin"
    ]
    assert [(e["verb"], e["objectRef"]["resource"]) for e in mine] == [("create", "configmaps")]
    assert mine[0]["responseStatus"]["code"] == 201


def test_an_old_watch_is_gone_after_compaction_and_restart(plane: ControlPlane, namespace: str):
    collection = path(CONFIG_MAPS, namespace)
    old = plane.api.call("GET", collection)["metadata"]["resourceVersion"]
    plane.api.create(collection, {"metadata": {"name": "kept"}})
    plane.expire()
    assert plane.api.get(f"{collection}/kept") is not None
    watch = {"watch": "true", "timeoutSeconds": "2", "resourceVersion": old}
    event = plane.api.call("GET", collection, **watch)
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410


def test_nothing_is_left_when_the_test_is_killed(tmp_path: Path):
    """Start a plane in a process of its own and kill that; no program of it may remain."""
    script = (
        "import sys, pathlib, time\n"
        "from controlplane import ControlPlane\n"
        "plane = ControlPlane(pathlib.Path(sys.argv[1]))\n"
        "plane.start()\n"
        "print(*(c.pid for c in plane.components.values()), flush=True)\n"
        "time.sleep(600)\n"
    )
    places = os.pathsep.join(str(SUPPORT / name) for name in ("support", "cluster_support"))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "plane")],
        env={**os.environ, "PYTHONPATH": places},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 4
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_lives, pids))


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
