"""How containers reach buckets, and which Secrets each of them gets."""

import pytest
from simulated import Simulation, job, requests_of

from mpj_operator.core.actions import Create

STORAGE = {
    "uri": "s3://artifacts/x",
    "endpointURL": "http://s3.local:9000",
    "region": "eu-1",
    "addressingStyle": "Path",
    "credentialsSecretRef": {"name": "store"},
    "caSecretRef": {"name": "ca"},
    "serverSideEncryption": {"algorithm": "aws:kms", "kmsKeyID": "k"},
    "checksums": "WhenSupported",
}
DATA = {"format": "COCO"}


def prepare(**spec):
    """Return the requests of the first unit, and its containers."""
    simulation = Simulation(job(**spec))
    (create,) = [a for a in simulation.step().actions if isinstance(a, Create)]
    pod = create.job["spec"]["template"]["spec"]
    return requests_of(create.job), [*pod["initContainers"], *pod["containers"]]


def secrets(container) -> dict[str, tuple[str, str]]:
    refs = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e}
    return {name: (ref["name"], ref["key"]) for name, ref in refs.items()}


def test_the_request_says_how_the_store_is_reached_and_no_secret():
    requests, _ = prepare(storage=STORAGE)
    access = requests[0].store_access
    assert access is not None
    assert access.to_json() == {
        "field": "spec.storage",
        "endpointURL": "http://s3.local:9000",
        "region": "eu-1",
        "addressingStyle": "Path",
        "checksums": "WhenSupported",
        "encryption": {"algorithm": "aws:kms", "kmsKeyID": "k"},
        "credentialsSecret": "store",
        "caSecret": "ca",
    }
    assert requests[0].inputs["model"].access is None


def test_each_container_gets_the_secrets_of_its_own_sources_only():
    _, (fetch, export, calibration, validation) = prepare(
        storage=STORAGE,
        model={"uri": "s3://models/m.onnx", "credentialsSecretRef": {"name": "models"}},
        calibration={**DATA, "uri": "s3://data/c", "credentialsSecretRef": {"name": "data"}},
        validation={**DATA, "uri": "s3://data/v"},
    )
    store = {
        "MPJ_STORAGE_AWS_ACCESS_KEY_ID": ("store", "AWS_ACCESS_KEY_ID"),
        "MPJ_STORAGE_AWS_SECRET_ACCESS_KEY": ("store", "AWS_SECRET_ACCESS_KEY"),
        "MPJ_STORAGE_AWS_SESSION_TOKEN": ("store", "AWS_SESSION_TOKEN"),
        "MPJ_STORAGE_CA_CRT": ("ca", "ca.crt"),
    }
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    assert secrets(fetch) == store | {f"MPJ_MODEL_{key}": ("models", key) for key in keys}
    assert secrets(export) == {}
    assert secrets(calibration) == store | {f"MPJ_CALIBRATION_{key}": ("data", key) for key in keys}
    assert secrets(validation) == store
    token = next(e for e in fetch["env"] if e["name"] == "MPJ_STORAGE_AWS_SESSION_TOKEN")
    assert token["valueFrom"]["secretKeyRef"]["optional"] is True


@pytest.mark.parametrize(
    ("model", "field", "region"),
    [
        pytest.param({}, "spec.storage", "eu-1", id="like the storage"),
        pytest.param({"region": "us-2"}, "spec.storage", "us-2", id="in its own region"),
        pytest.param({"endpointURL": "https://m"}, "spec.model", None, id="on its own server"),
    ],
)
def test_a_source_is_reached_like_the_storage_unless_it_says_otherwise(model, field, region):
    requests, _ = prepare(storage=STORAGE, model={"uri": "s3://models/m.onnx", **model})
    access = requests[0].inputs["model"].access
    assert access is not None
    assert (access.field, access.region) == (field, region)


def test_a_bucket_is_reached_by_its_own_words_where_the_storage_is_none():
    requests, _ = prepare(model={"uri": "s3://models/m.onnx", "region": "us-2"})
    access = requests[0].inputs["model"].access
    assert requests[0].store_access is None
    assert access is not None
    assert (access.field, access.region) == ("spec.model", "us-2")


def test_a_brought_graph_is_a_source_too():
    candidate = {"uri": "s3://models/q.onnx", "credentialsSecretRef": {"name": "qat"}}
    simulation = Simulation(job(candidates=[{"name": "mine", "onnx": candidate}]))
    simulation.run()
    made = [r for value in simulation.values.values() for r in requests_of(value)]
    (request,) = [r for r in made if r.step == "export" and "mine" in (r.params.get("field") or "")]
    assert request.secret_keys[0].variable == "MPJ_CANDIDATES_MINE_ONNX_AWS_ACCESS_KEY_ID"
    assert request.params["field"] == "spec.candidates[mine].onnx.uri"
