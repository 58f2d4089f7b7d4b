"""Whole jobs with `mpj run` whose sources and results are in buckets, and what `mpj gc` leaves."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from faulty import proxy
from s3server import S3Server
from tiny_world import World


@pytest.fixture
def world(tmp_path: Path, server: S3Server, bucket: str, monkeypatch) -> World:
    """Return a world of which only the job's file is on this computer."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    made = World.make(tmp_path / "made")
    server.put(bucket, "models/tiny.onnx", (made.root / "model.onnx").read_bytes())
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", made.root / "data")
    server.put(bucket, "data.zip", Path(archive).read_bytes())
    for path in (made.root / "data").rglob("*"):
        if path.is_file():
            key = path.relative_to(made.root).as_posix()
            server.put(bucket, f"sets/{key}", path.read_bytes())
    shutil.rmtree(made.root / "data")
    (made.root / "model.onnx").unlink()
    made.change(
        model={"uri": f"s3://{bucket}/models/tiny.onnx"},
        calibration={"uri": f"s3://{bucket}/data.zip"},
        validation={"uri": f"s3://{bucket}/sets/data"},
        storage={"uri": f"s3://{bucket}/artifacts"},
    )
    return made


def digests(server: S3Server, bucket: str, prefix: str) -> dict[str, str]:
    client = server.client()
    return {
        key: hashlib.sha256(client.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest()
        for key in server.objects(bucket, prefix)
    }


def test_a_job_runs_from_s3_to_s3_and_again_from_the_cache(world, server, bucket, monkeypatch):
    ran = world.run()
    assert ran.code == 0, ran.output
    for name in ("report.json", "report.html", "model.onnx", "metadata.json"):
        assert (world.out / name).stat().st_size
    assert list((world.out / "engine").iterdir())
    assert not (world.out / "cache").exists()

    found = digests(server, bucket, "artifacts/default/blobs/sha256/")
    assert found
    assert all(key.rpartition("/")[2] == sha256 for key, sha256 in found.items())

    uid = world.resource["metadata"]["uid"]
    stable = digests(server, bucket, f"artifacts/default/jobs/default/tiny/{uid}/")
    artifacts = world.status["best"]["artifacts"]
    shown = {"model.onnx": "onnx", "engine": "engine", "metadata.json": "metadata"}
    for name, what in shown.items():
        (key,) = [key for key in stable if key.endswith(f"/{name}")]
        assert stable[key] == artifacts[what]["sha256"]
        assert artifacts[what]["uri"].startswith(f"s3://{bucket}/artifacts/default/blobs/sha256/")

    world.change(storage={"region": "us-east-1"})  # another spec, so another run
    with proxy(server.port) as seen:
        monkeypatch.setenv("AWS_ENDPOINT_URL", seen.endpoint)
        again = world.run()
        assert again.code == 0, again.output
        for source in ("models/tiny.onnx", "data.zip", "sets/data/"):
            assert seen.count("GET", f"/{bucket}/{source}") == 0
    away = world.mpj("plan", str(world.job), "--out", str(world.out))
    assert (away.code, "is not reached" in away.output) == (2, True), away.output
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    sha256 = world.unit("int8")["manifest"]["sha256"]
    unit = json.loads(
        server.client().get_object(
            Bucket=bucket,
            Key=f"artifacts/default/blobs/sha256/{sha256}",
        )["Body"].read()
    )  # fmt: skip
    assert unit["cached"] == ["ptq", "build", "eval"]

    plan = world.mpj("plan", str(world.job), "--out", str(world.out))
    assert plan.code == 0
    assert "snapshot-validation cached" in " ".join(plan.output.split())

    store = f"s3://{bucket}/artifacts/default"
    told = world.mpj("gc", store, "--older-than", "1d")
    assert (told.code, "would remove 0 manifests" in told.output) == (0, True), told.output
    before = server.objects(bucket, "artifacts/")
    told = world.mpj("gc", store, "--older-than", "0m", "--jobs")
    assert "add --delete" in told.output
    assert f"would remove jobs/default/tiny/{uid}/" in told.output
    assert server.objects(bucket, "artifacts/") == before
    done = world.mpj("gc", store, "--older-than", "0m", "--jobs", "--delete")
    assert done.code == 0, done.output
    assert server.objects(bucket, "artifacts/") == {}
    assert server.objects(bucket, "models/")


def test_what_is_wrong_with_a_bucket_reaches_the_condition(world, bucket):
    world.change(validation={"uri": f"s3://{bucket}/nothing"})
    ran = world.run()
    assert ran.code == 1
    assert world.condition("Failed")["message"] == (
        f"prepare (snapshot-validation): spec.validation.uri: s3://{bucket}/nothing does not exist:"
        f" bucket {bucket} has no object of that key and none below it"
    )
    assert "Traceback" not in ran.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("s3://no-such-bucket-here/x",), "spec.storage.uri: bucket no-such-bucket-here does not"),
        (("gs://x/y",), "spec.storage.uri: gs://x/y: this runner reads file:// and s3:// only"),
        (("s3://x/y", "--older-than", "3 days"), "--older-than 3 days: must be a number with m, h"),
    ],
)
def test_gc_says_what_is_wrong(server, monkeypatch, tmp_path, words, told):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    done = World(tmp_path).mpj("gc", *words)
    assert done.code == 2
    assert done.output.startswith(f"error: {told}")
