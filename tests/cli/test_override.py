"""``--store``: the artifacts go elsewhere, the sources stay reachable."""

import pytest
from simulated import job

from mpj_operator.commands.override import with_store
from mpj_operator.core.access import source_access, store_access

ACCESS = {
    "endpointURL": "http://s3.local:9000",
    "region": "eu-1",
    "addressingStyle": "Path",
    "credentialsSecretRef": {"name": "store"},
    "caSecretRef": {"name": "ca"},
}
STORAGE = {"uri": "s3://artifacts/x", **ACCESS}
REACHED = {
    "endpointURL": "http://s3.local:9000",
    "region": "eu-1",
    "addressingStyle": "Path",
    "checksums": "WhenRequired",
    "credentialsSecret": "store",
    "caSecret": "ca",
}
CANDIDATE = {"name": "mine", "onnx": {"uri": "s3://models/q.onnx"}}


@pytest.mark.parametrize("store", ["file:///tmp/cache", "s3://other/y"])
@pytest.mark.parametrize(
    ("own", "reached"),
    [
        ({}, REACHED),
        ({"region": "us-2"}, {**REACHED, "region": "us-2"}),
        (
            {"endpointURL": "http://mine"},
            {"endpointURL": "http://mine", "addressingStyle": "Auto", "checksums": "WhenRequired"},
        ),
    ],
)
def test_sources_are_reached_as_before(store, own, reached):
    source = {"uri": "s3://models/m.onnx", **own}
    spec = with_store(job(storage=STORAGE, model=source, candidates=[CANDIDATE]), store).spec
    access = source_access(spec, spec.model, "spec.model")
    assert access is not None
    assert {k: v for k, v in access.to_json().items() if k != "field"} == reached
    other = source_access(spec, spec.candidates[0].onnx, "spec.candidates[0].onnx")
    assert other is not None
    assert {k: v for k, v in other.to_json().items() if k != "field"} == REACHED


def test_a_bucket_in_the_place_of_a_bucket_is_reached_the_same_way():
    spec = with_store(job(storage=STORAGE), "s3://other/y").spec
    assert spec.storage.uri == "s3://other/y"
    assert store_access(spec).endpoint_url == "http://s3.local:9000"


@pytest.mark.parametrize("storage", [STORAGE, {"uri": "pvc://claim/x"}])
def test_a_folder_in_the_place_of_storage_needs_no_access(storage):
    spec = with_store(job(storage=storage), "file:///tmp/cache").spec
    assert spec.storage is None
    assert store_access(spec) is None


@pytest.mark.parametrize("uri", ["file:///m.onnx", "s3://models/m.onnx"])
def test_what_is_not_shared_stays_as_it_is(uri):
    claimed = job(storage={"uri": "pvc://claim/x"}, model={"uri": uri})
    assert with_store(claimed, "s3://other/y").spec.model == claimed.spec.model
    local = job(storage=STORAGE, model={"uri": "file:///m.onnx"})
    assert with_store(local, "file:///c").spec.model == local.spec.model
