"""Pods: what every container may and has, whatever a job overrides."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from simulated import Simulation, job, requests_of

from mpj_operator.api.affinity import Affinity
from mpj_operator.core import names
from mpj_operator.core.observed import ChildSeen, ContainerSeen, PodSeen, Settings
from mpj_operator.core.placement import PRODUCT_LABEL, affinity, product_label
from mpj_operator.core.pods import TMP
from mpj_operator.core.runtime import pinned_image

GPU = {
    "target": {"backend": "tensorrt"},
    "candidates": [
        {"name": "fp16", "autoCast": {}},
        {"name": "int8", "ptq": {}},
        {"name": "aq", "autoQuantize": {"effectiveBits": [9]}},
        {"name": "mine", "onnx": {"uri": "pvc://models/mine.onnx"}},
    ],
}
S3 = {
    "storage": {
        "uri": "s3://artifacts/x",
        "credentialsSecretRef": {"name": "store"},
        "caSecretRef": {"name": "ca"},
    },
    "model": {"uri": "s3://models/m.pt", "format": "torch", "factory": "m:build",
              "credentialsSecretRef": {"name": "models"}},
}  # fmt: skip
CLAIMS = {
    "storage": {"uri": "pvc://artifacts/x"},
    "model": {"uri": "pvc://artifacts/m.onnx"},
    "calibration": {"uri": "pvc://data/c", "format": "COCO"},
    "validation": {"uri": "pvc://data/v", "format": "COCO"},
}
OVERRIDES = {
    "image": "other/image:1",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "runtimeClassName": "nvidia",
    "serviceAccountName": "robot",
    "imagePullSecrets": [{"name": "pull"}],
    "priorityClassName": "high",
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://p"},
        {"name": "AWS_PROFILE", "value": "x"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "WORDS", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "PYTHONHASHSEED", "value": "7"},
    ],
    "labels": {"team": "vision", "app.kubernetes.io/component": "mine"},
    "annotations": {"a": "b", "eks.amazonaws.com/skip-containers": "sidecar"},
    "cacheVolumeClaimName": "cache",
}
RESOURCES = {
    "cpu": {"limits": {"memory": "4Gi", "ephemeral-storage": "20Gi"}},
    "gpu": {"limits": {"nvidia.com/mig-1g.10gb": "1"}},
}
JOBS = {
    "plain": {},
    "gpu": {**GPU, "search": {}},
    "s3": {**GPU, **S3},
    "claims": {**GPU, **CLAIMS},
    "overrides": {**GPU, **S3, "podOverrides": OVERRIDES, "resources": RESOURCES},
}


def children(**spec: Any) -> dict[str, Mapping[str, Any]]:
    """Return the Job value of each unit of a job that runs to its end."""
    simulation = Simulation(job(**spec))
    simulation.run()
    return {v["metadata"]["labels"][names.LABEL_UNIT]: v for v in simulation.values.values()}


def pod_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return value["spec"]["template"]["spec"]


def containers(value: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    pod = pod_of(value)
    return {c["name"]: c for c in (*pod.get("initContainers", ()), *pod["containers"])}


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    found = {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}
    assert len(found) == len(container["env"]), "a variable is set twice"
    return found


def mounts(container: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    found = {
        m["mountPath"]: (m["name"], m.get("readOnly", False)) for m in container["volumeMounts"]
    }
    assert len(found) == len(container["volumeMounts"]), "a path is mounted twice"
    return found


def violations(pod: Mapping[str, Any]) -> Iterator[str]:
    """Tell what of a pod the restricted profile of Pod Security forbids (v1.37's controls)."""
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "ephemeralContainers"):
        if pod.get(field):
            yield field
    whole = pod.get("securityContext", {})
    if whole.get("sysctls") or whole.get("seLinuxOptions") or whole.get("appArmorProfile"):
        yield "a pod-wide option"
    allowed = {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
        "projected", "secret",
    }  # fmt: skip
    for volume in pod["volumes"]:
        if len(kinds := volume.keys() - {"name"}) != 1 or not kinds <= allowed:
            yield f"volume {volume}"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        own = container.get("securityContext", {})
        if own.get("privileged") or own.get("procMount"):
            yield "privileges"
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield "capabilities"
        if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
            yield "runAsNonRoot"
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            yield "runAsUser"
        profile = own.get("seccompProfile", whole.get("seccompProfile")) or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield "hostPort"
        if any(probe in container for probe in ("lifecycle", "livenessProbe", "readinessProbe")):
            yield "a probe may name a host"


@pytest.mark.parametrize("spec", JOBS.values(), ids=JOBS)
def test_every_pod_fits_the_restricted_profile(spec):
    found = children(**spec)
    assert {"prepare", "reference", "baseline", "calibrate", "final", "report"} <= found.keys()
    for unit, value in found.items():
        pod = pod_of(value)
        assert list(violations(pod)) == [], unit
        assert pod["automountServiceAccountToken"] is False
        assert pod["restartPolicy"] == "Never"
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert len(volumes) == len(pod["volumes"])
        mounted = set()
        for container in containers(value).values():
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
            assert TMP in mounts(container)
            mounted |= {name for name, _ in mounts(container).values()}
            last_words = environment(container)["MPJ_TERMINATION_LOG"]
            assert last_words == container["terminationMessagePath"] == "/dev/termination-log"
        assert mounted == volumes, unit


def test_the_profile_that_pods_are_held_against_can_be_broken():
    pod = pod_of(children()["prepare"])
    bad = {
        **pod,
        "hostNetwork": True,
        "volumes": [{"name": "x", "hostPath": {"path": "/"}}],
        "securityContext": {},
        "containers": [{"name": "x"}],
    }
    assert {"hostNetwork", "capabilities", "runAsNonRoot", "seccompProfile"} <= set(violations(bad))


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


def test_claims_are_mounted_where_they_are_read_and_written_where_the_store_is():
    found = children(**{**GPU, **CLAIMS})
    prepare = {name: mounts(c) for name, c in containers(found["prepare"]).items()}
    store, data = "/mpj/claims/artifacts", "/mpj/claims/data"
    assert prepare["fetch"][store][1] is False
    assert data not in prepare["fetch"]
    assert store not in prepare["export"]
    for name in ("snapshot-calibration", "snapshot-validation"):
        assert (prepare[name][data][1], prepare[name][store][1]) == (True, False)
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod_of(found["prepare"])["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert sorted(claims.values()) == ["artifacts", "data"]
    assert claims[prepare["fetch"][store][0]] == "artifacts"
    assert environment(containers(found["prepare"])["fetch"])["MPJ_CLAIM_artifacts"] == store
    for name, container in containers(found["mine"]).items():
        read_only = mounts(container).get("/mpj/claims/models")
        assert (read_only is not None) == (name == "export"), name
        assert mounts(container)[store][1] is False


def test_a_claims_name_need_not_be_a_volumes():
    long = "a.b-" * 40 + "x"
    pod = pod_of(children(storage={"uri": f"pvc://{long}/x"})["report"])
    (volume,) = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert volume["persistentVolumeClaim"]["claimName"] == long
    assert len(volume["name"]) < 64
    assert "." not in volume["name"]


def test_a_cache_is_mounted_for_all_but_the_sealed_container():
    for unit, value in children(podOverrides={"cacheVolumeClaimName": "near"}).items():
        for name, container in containers(value).items():
            has = (mounts(container).get("/mpj/cache"), environment(container).get("MPJ_CACHE"))
            assert has == (
                (None, None) if name == "export" else (("cache", False), "/mpj/cache")
            ), unit
        volume = {"name": "cache", "persistentVolumeClaim": {"claimName": "near"}}
        assert volume in pod_of(value)["volumes"]


def test_folders_may_grow_to_what_resources_allow():
    found = children(**GPU, resources=RESOURCES)
    for unit, size in (("prepare", {"sizeLimit": "20Gi"}), ("reference", {})):
        empty = [v["emptyDir"] for v in pod_of(found[unit])["volumes"] if "emptyDir" in v]
        assert empty == [size] * (4 if unit == "prepare" else 2)


def test_every_container_has_one_order_of_sets_and_no_telemetry():
    for value in children().values():
        for container in containers(value).values():
            found = environment(container)
            assert (found["PYTHONHASHSEED"], found["ORT_DISABLE_TELEMETRY"]) == ("0", "1")
    overridden = environment(containers(children(podOverrides=OVERRIDES)["report"])["report"])
    assert (overridden["PYTHONHASHSEED"], overridden["AWS_PROFILE"]) == ("7", "x")


def test_children_carry_the_labels_that_tools_group_by_and_never_an_instance():
    for unit, value in children(podOverrides=OVERRIDES).items():
        for labels in (
            value["metadata"]["labels"],
            value["spec"]["template"]["metadata"]["labels"],
        ):
            assert labels["app.kubernetes.io/name"] == "mpj-runner"
            assert labels["app.kubernetes.io/managed-by"] == "mpj-operator"
            assert labels["app.kubernetes.io/part-of"] == "demo"
            assert labels["app.kubernetes.io/component"] == (
                "candidate" if unit in ("int8",) else unit
            )
            assert "app.kubernetes.io/instance" not in labels


@pytest.mark.parametrize(
    ("hardware", "label"),
    [
        ("NVIDIA H100 80GB HBM3, driver 580.65.06", "NVIDIA-H100-80GB-HBM3"),
        ("NVIDIA GeForce RTX 4090, driver 1", "NVIDIA-GeForce-RTX-4090"),
        ("Tesla T4, driver 1", "Tesla-T4"),
        ("NVIDIA  RTX (Ada)  6000, driver 1", "NVIDIA-RTX-Ada-6000"),
        ("AMD EPYC 7B13 (avx2)", None),
        (f"{'x' * 64}, driver 1", None),
        (", driver 1", None),
    ],
)
def test_a_gpus_label_follows_from_its_name(hardware, label):
    assert product_label(hardware) == label


H100 = "NVIDIA H100 80GB HBM3, driver 580.65.06"
WISH = {
    "weight": 100,
    "preference": {
        "matchExpressions": [
            {"key": PRODUCT_LABEL, "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3"]}
        ]
    },
}
ZONE = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("given", "hardware", "wanted"),
    [
        pytest.param(None, None, None, id="nothing is known"),
        pytest.param(None, "AMD EPYC (avx2)", None, id="it is no GPU"),
        pytest.param(None, H100, {"nodeAffinity": {PREFERRED: [WISH]}}, id="the wish alone"),
        pytest.param(
            {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]},
                              PREFERRED: [{"weight": 5, "preference": ZONE}]}},
            H100,
            {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]},
                              PREFERRED: [{"weight": 5, "preference": ZONE}, WISH]}},
            id="beside the user's",
        ),
        pytest.param({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]}}}, None,
                     {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [ZONE]}}}, id="the user's"),
    ],
)  # fmt: skip
def test_pods_wish_for_the_references_gpu(given, hardware, wanted):
    model = None if given is None else Affinity.model_validate(given)
    assert affinity(model, hardware) == wanted


def test_only_gpu_units_after_the_reference_wish_for_its_gpu(monkeypatch):
    simulation = Simulation(job(**GPU))
    simulation.figures = replace(simulation.figures, hardware=H100)
    simulation.run()
    wishing = {
        value["metadata"]["labels"][names.LABEL_UNIT]
        for value in simulation.values.values()
        if WISH in pod_of(value).get("affinity", {}).get("nodeAffinity", {}).get(PREFERRED, ())
    }
    assert wishing == {"baseline", "fp16", "int8", "aq-9", "mine", "final"}


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "image_id", "pinned"),
    [
        ("repo/job:1", f"mirror/repo/job@{DIGEST}", f"repo/job:1@{DIGEST}"),
        ("repo/job:1", f"docker-pullable://repo/job@{DIGEST}", f"repo/job:1@{DIGEST}"),
        ("repo/job:1", DIGEST, "repo/job:1"),
        ("repo/job:1", f"docker://{DIGEST}", "repo/job:1"),
        ("repo/job:1", "", "repo/job:1"),
        ("repo/job@sha256:" + "b" * 64, f"repo/job@{DIGEST}", "repo/job@sha256:" + "b" * 64),
    ],
)
def test_an_image_is_pinned_to_what_the_first_pod_ran(image, image_id, pinned):
    waiting = PodSeen("p", containers=(ContainerSeen("fetch"),))
    pods = (waiting, replace(waiting, image_id=image_id))
    foreign = replace(waiting, image_id="x@sha256:" + "f" * 64)
    seen = (
        ChildSeen("other", "prepare", 1, owned=False, pods=(foreign,)),
        ChildSeen("own", "prepare", 1, pods=pods),
    )
    assert pinned_image(image, seen) == pinned
    assert pinned_image(pinned, (ChildSeen("o", "p", 1, pods=(foreign,)),)) in (
        pinned,
        f"{pinned}@sha256:{'f' * 64}",
    )


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        pytest.param("never pulled", "right:1", id="it was never pulled"),
        pytest.param("lost", "right:1", id="its result was not readable"),
        pytest.param("done", f"wrong:1@{DIGEST}", id="a result is there: one job, one runner"),
    ],
)
def test_a_wrong_image_can_be_corrected_until_there_is_a_result(before, wanted):
    simulation = Simulation(job(podOverrides={"image": "wrong:1"}))
    simulation.step()
    (child,) = simulation.live()
    if before != "never pulled":
        pod = PodSeen("p", "Running", image_id=f"wrong@{DIGEST}")
        simulation.children[child.name] = child = replace(child, pods=(pod,))
        simulation.succeed(child, readable=before == "done")
        simulation.step()
    for suspend in (True, False):
        overrides = simulation.job.spec.pod_overrides.model_copy(update={"image": "right:1"})
        changes = {"suspend": suspend, "pod_overrides": overrides}
        spec = simulation.job.spec.model_copy(update=changes)
        simulation.job = simulation.job.model_copy(update={"spec": spec})
        simulation.step()
        simulation.step()
    assert simulation.job.status.runtime.image == wanted
    for child in simulation.live():
        found = containers(simulation.values[child.name]).values()
        assert {container["image"] for container in found} == {wanted}


def test_an_image_does_not_change_under_a_unit_that_runs():
    simulation = Simulation(job(), settings=Settings("old:1", "1", "file:///store"))
    simulation.step()
    simulation.settings = Settings("new:1", "2", "file:///store")
    runtime = simulation.step().status.runtime
    assert (runtime.image, runtime.runner_version) == ("old:1", "1")


def test_claims_that_no_container_writes_are_mounted_read_only():
    found = children(**GPU, **CLAIMS, podOverrides={"cacheVolumeClaimName": "cache"})
    for unit, value in found.items():
        pod = pod_of(value)
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert claims.pop("cache") == {"claimName": "cache"}
        for name, claim in claims.items():
            writes = {
                not mount.get("readOnly", False)
                for container in containers(value).values()
                for mount in container["volumeMounts"]
                if mount["name"] == name
            }
            assert claim.get("readOnly", False) is not any(writes), (unit, claim)
    prepare = pod_of(found["prepare"])["volumes"]
    read_only = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in prepare
        if volume.get("persistentVolumeClaim", {}).get("readOnly")
    }
    assert read_only == {"data"}


def test_later_units_run_the_digest_and_status_shows_it():
    simulation = Simulation(job(), settings=Settings("repo/job:1", "1", "file:///store"))
    simulation.step()
    (child,) = simulation.live()
    pod = PodSeen("p", "Running", image_id=f"repo/job@{DIGEST}")
    simulation.children[child.name] = replace(child, pods=(pod,))
    simulation.run()
    images = {
        value["metadata"]["labels"][names.LABEL_UNIT]: containers(value).popitem()[1]["image"]
        for value in simulation.values.values()
    }
    assert images.pop("prepare") == "repo/job:1"
    assert set(images.values()) == {f"repo/job:1@{DIGEST}"}
    assert simulation.job.status.runtime.image == f"repo/job:1@{DIGEST}"
