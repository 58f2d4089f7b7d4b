"""The node agent that cluster tests stand on: is it to the API server what a kubelet is?"""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from controlplane import ControlPlane
from nodeagent import Node, node
from rest import JOB, POD, Json, path, polled
from s3server import free_port

SAFE = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
}
SAFE_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
SAY = 'printf %s "$0" > "$MPJ_TERMINATION_LOG"'


@pytest.fixture(scope="module")
def gpu(plane: ControlPlane) -> Iterator[Node]:
    with node(plane) as running:
        yield running


def container(name: str, script: str = "true", *arguments: str, **more: Any) -> Json:
    return {
        "name": name,
        "image": "tests",
        "command": ["sh", "-c", script, *arguments],
        "securityContext": SAFE_CONTAINER,
        **more,
    }


def pod(*containers: Json, **more: Any) -> Json:
    *initial, last = containers
    spec = {**SAFE, "restartPolicy": "Never", "initContainers": initial, "containers": [last]}
    return {
        "metadata": {"name": "p", "labels": {"mixedprecision.dev/unit": "u"}},
        "spec": {**spec, **more},
    }


def ended(plane: ControlPlane, namespace: str, name: str = "p") -> Json:
    def holds(found: Json | None) -> bool:
        return found is not None and found["status"]["phase"] in ("Succeeded", "Failed")

    found = plane.api.until(path(POD, namespace, name), holds, 30)
    assert found is not None
    return found["status"]


def states(status: Json) -> dict[str, Json]:
    listed = [*status.get("initContainerStatuses", ()), *status["containerStatuses"]]
    return {one["name"]: one["state"] for one in listed}


def disruption(found: Json) -> str | None:
    conditions = {c["type"]: c for c in found["status"]["conditions"]}
    return conditions.get("DisruptionTarget", {}).get("reason")


def test_the_node_is_ready_and_has_a_gpu(plane: ControlPlane, gpu: Node):
    found = plane.api.get(f"/api/v1/nodes/{gpu.name}")
    assert found["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    assert found["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    plane.api.until(
        f"/api/v1/nodes/{gpu.name}", lambda n: not n["spec"].get("taints"), 20
    )  # fmt: skip
    assert plane.api.get(
        f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{gpu.name}"
    )


def test_containers_run_in_order_and_leave_their_words(plane, gpu, namespace):
    plane.api.create(path(POD, namespace), pod(
        container("first", f'echo one > "$WORK/f"; {SAY}', "said",
                  env=[{"name": "WORK", "value": "/work"}],
                  volumeMounts=[{"name": "w", "mountPath": "/work"}]),
        container("last", 'cat "$WORK/f" > "$MPJ_TERMINATION_LOG"',
                  env=[{"name": "WORK", "value": "/work"}],
                  volumeMounts=[{"name": "w", "mountPath": "/work"}]),
        volumes=[{"name": "w", "emptyDir": {}}],
    ))  # fmt: skip
    status = ended(plane, namespace)
    assert status["phase"] == "Succeeded"
    found = states(status)
    assert found["first"]["terminated"]["message"] == "said"
    assert found["last"]["terminated"]["message"] == "one\n"
    assert found["last"]["terminated"]["reason"] == "Completed"
    assert found["first"]["terminated"]["startedAt"] <= found["last"]["terminated"]["finishedAt"]


def test_variables_and_files_come_from_secrets_config_maps_and_claims(plane, gpu, namespace):
    plane.api.create(path(("v1", "secrets"), namespace),
                     {"metadata": {"name": "s"}, "stringData": {"k": "secret"}})  # fmt: skip
    plane.api.create(path(("v1", "configmaps"), namespace),
                     {"metadata": {"name": "c"}, "data": {"k": "config"}})  # fmt: skip
    claim = gpu.agent.folder / "claims" / namespace / "data"
    claim.mkdir(parents=True)
    (claim / "f").write_text("claim")
    plane.api.create(path(("v1", "persistentvolumeclaims"), namespace), {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv",
                 "resources": {"requests": {"storage": "1Gi"}}},
    })  # fmt: skip
    script = 'printf %s "$S $C $(cat "$FILES/k") $(cat "$CLAIM/f") $N" > "$MPJ_TERMINATION_LOG"'
    made = container("last", script, env=[
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "NONE", "valueFrom": {
            "secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "FILES", "value": "/files"}, {"name": "CLAIM", "value": "/claim"},
    ], volumeMounts=[{"name": "f", "mountPath": "/files"},
                     {"name": "d", "mountPath": "/claim", "readOnly": True}])  # fmt: skip
    volumes = [{"name": "f", "secret": {"secretName": "s"}},
               {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]  # fmt: skip
    plane.api.create(path(POD, namespace), pod(made, volumes=volumes, nodeName=gpu.name))
    found = states(ended(plane, namespace))["last"]["terminated"]
    assert found.get("message") == f"secret config secret claim {namespace}", found


def test_a_missing_secret_is_said_and_waited_for(plane, gpu, namespace):
    env = [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    plane.api.create(path(POD, namespace), pod(container("last", SAY, "hi", env=env)))

    def waits(found: Json | None) -> bool:
        waiting = states(found["status"])["last"]["waiting"] if "containerStatuses" in found[
            "status"] else {}  # fmt: skip
        return waiting.get("message") == 'secret "s" not found'

    plane.api.until(path(POD, namespace, "p"), waits, 20)
    plane.api.create(path(("v1", "secrets"), namespace),
                     {"metadata": {"name": "s"}, "stringData": {"k": "v"}})  # fmt: skip
    assert ended(plane, namespace)["phase"] == "Succeeded"


def test_an_init_container_that_fails_ends_the_pod(plane, gpu, namespace):
    plane.api.create(path(POD, namespace), pod(
        container("first", "echo last words; exit 64",
                  terminationMessagePolicy="FallbackToLogsOnError"),
        container("last"),
    ))  # fmt: skip
    status = ended(plane, namespace)
    assert status["phase"] == "Failed"
    found = states(status)
    assert found["first"]["terminated"]["exitCode"] == 64
    assert found["first"]["terminated"]["message"] == "last words"
    assert found["last"]["waiting"]["reason"] == "PodInitializing"


def test_a_planned_fault_strikes_once(plane, gpu, namespace):
    gpu.faults.plan("u", 137, container="last")
    for name, phase in (("one", "Failed"), ("two", "Succeeded")):
        made = pod(container("first"), container("last"))
        made["metadata"]["name"] = name
        plane.api.create(path(POD, namespace), made)
        assert ended(plane, namespace, name)["phase"] == phase
    status = plane.api.get(path(POD, namespace, "one"))["status"]
    assert states(status)["last"]["terminated"]["reason"] == "OOMKilled"
    assert gpu.faults.struck == ["one"]


def test_an_image_that_is_not_there_backs_off(plane, gpu, namespace):
    gpu.faults.missing_images.add("tests")
    plane.api.create(path(POD, namespace), pod(container("last")))

    def backs_off(found: Json | None) -> bool:
        statuses = found["status"].get("containerStatuses")
        return bool(statuses) and statuses[0]["state"]["waiting"]["reason"] == "ImagePullBackOff"

    plane.api.until(path(POD, namespace, "p"), backs_off, 20)
    gpu.faults.missing_images.clear()
    assert ended(plane, namespace)["phase"] == "Succeeded"


@pytest.mark.parametrize("how", ["delete", "evict"])
def test_a_pod_that_must_go_is_asked_first(plane, gpu, namespace, tmp_path, how):
    script = f'trap "touch {tmp_path}/asked; exit 0" TERM; touch {tmp_path}/set; sleep 60 & wait'
    made = pod(container("last", script))
    made["metadata"]["finalizers"] = ["tests.mixedprecision.dev/look"]
    plane.api.create(path(POD, namespace), made)
    where = path(POD, namespace, "p")
    for _ in polled(20):
        if (tmp_path / "set").exists():
            break
    if how == "delete":
        plane.api.delete(where)
    else:
        plane.api.create(f"{where}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction",
                                               "metadata": {"name": "p"}})  # fmt: skip
    found = plane.api.until(where, lambda p: p["status"]["phase"] == "Failed", 20)
    assert (tmp_path / "asked").exists()
    assert disruption(found) == ("EvictionByEvictionAPI" if how == "evict" else None)
    assert states(found["status"])["last"]["terminated"]["exitCode"] == 143
    plane.api.patch(where, {"metadata": {"finalizers": None}})
    plane.api.until(where, lambda p: p is None, 20)


def test_a_job_ends_as_its_policy_says(plane, gpu, namespace):
    template = {"metadata": {"labels": {"mixedprecision.dev/unit": "u"}},
                "spec": pod(container("first"), container("last", "exit 64"))["spec"]}  # fmt: skip
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64]}}]
    plane.api.create(path(JOB, namespace), {
        "metadata": {"name": "j"},
        "spec": {"backoffLimit": 2, "podReplacementPolicy": "Failed",
                 "podFailurePolicy": {"rules": rules}, "template": template},
    })  # fmt: skip

    def failed(found: Json | None) -> bool:
        return any(
            c["type"] == "Failed" and c["reason"] == "PodFailurePolicy"
            for c in found.get("status", {}).get("conditions", ())
        )

    plane.api.until(path(JOB, namespace, "j"), failed, 30)


def test_a_silent_node_loses_its_pods(plane, namespace):
    with node(plane, "dying") as dying:
        made = pod(container("last", "sleep 60"), nodeName="dying")
        plane.api.create(path(POD, namespace), made)
        where = path(POD, namespace, "p")
        plane.api.until(where, lambda p: p["status"]["phase"] == "Running", 20)
        dying.die()
        found = plane.api.until(where, lambda p: "deletionTimestamp" in p["metadata"], 40)
        assert disruption(found) == "DeletionByTaintManager"
        assert found["status"]["phase"] == "Running"  # nobody is there to say otherwise


SERVER = """
import asyncio, os, sys, urllib.request
from aiohttp import web
from kubernetes.aio import client, config

async def main():
    await config.load_kube_config()
    async with client.ApiClient() as api:
        found = await client.AuthenticationV1Api(api).create_self_subject_review({})
    print(found.status.user_info.username, flush=True)
    app = web.Application()
    async def answer(_):
        return web.Response(text="ok")
    app.add_routes([web.get("/readyz", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_deployment_gets_ready_with_the_token_of_its_account(plane, namespace):
    port = free_port()
    serving = {
        "name": "server", "image": "server", "securityContext": SAFE_CONTAINER,
        "env": [{"name": "PORT", "value": str(port)}],
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"httpGet": {"port": "http", "path": "/readyz"}, "periodSeconds": 1},
    }  # fmt: skip
    labels = {"app": "server"}
    deployment = {
        "metadata": {"name": "server"},
        "spec": {"selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels},
                              "spec": {**SAFE, "containers": [serving],
                                       "nodeSelector": {"kubernetes.io/hostname": "serving"}}}},
    }  # fmt: skip
    with node(plane, "serving", entrypoints={"server": (sys.executable, "-c", SERVER)}) as serves:
        where = path(("apps/v1", "deployments"), namespace)
        plane.api.create(where, deployment)
        plane.api.until(f"{where}/server", lambda d: d["status"].get("readyReplicas") == 1, 30)
        (log,) = (serves.agent.folder / "logs" / namespace).glob("*/server.log")
        assert log.read_text().strip() == f"system:serviceaccount:{namespace}:default"
        plane.api.delete(f"{where}/server")


def test_a_node_that_comes_back_knows_that_its_containers_are_gone(plane, namespace):
    where = path(POD, namespace, "p")
    with node(plane, "rebooting") as first:
        plane.api.create(path(POD, namespace), pod(container("last", "sleep 60"),
                                                   nodeName="rebooting"))  # fmt: skip
        plane.api.until(where, lambda p: p["status"]["phase"] == "Running", 20)
        first.die()
        with node(plane, "rebooting"):
            found = plane.api.until(where, lambda p: p["status"]["phase"] == "Failed", 20)
    ended_as = states(found["status"])["last"]["terminated"]
    assert (ended_as["exitCode"], ended_as["reason"]) == (137, "ContainerStatusUnknown")
