"""Pods' volumes: claims, the cache, and folders that may grow."""

from job_values import CLAIMS, GPU, RESOURCES, children, containers, environment, mounts, pod_of


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
