"""A whole job whose model comes with code that looks for a way to its stores."""

import json
from pathlib import Path

import pytest
from s3server import ACCESS_KEY, SECRET_KEY, S3Server
from tiny_factory import SOURCE, write_tiny
from tiny_world import World

SPY = """
def spying():
    import json, os, pathlib, sys
    told = {"environment": dict(os.environ), "frames": "", "error": ""}
    frame = sys._getframe()
    while frame is not None:  # what the code that called it holds
        told["frames"] += repr(frame.f_locals)
        frame = frame.f_back
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    import boto3
    try:
        boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1").list_buckets()
    except Exception as error:  # whatever it is, is told
        told["error"] = type(error).__name__
    pathlib.Path(TOLD).write_text(json.dumps(told))
    return Tiny()
"""


def test_a_factory_finds_no_way_to_the_store(
    tmp_path: Path, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    # A Secret's keys, as whoever runs mpj may give them.
    monkeypatch.setenv("MPJ_STORAGE_AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("MPJ_STORAGE_AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    told = tmp_path / "told.json"
    world = World.make(tmp_path / "made")
    write_tiny(world.root)
    constants = f"ENDPOINT, TOLD = {server.endpoint!r}, {str(told)!r}\n"
    server.put(bucket, "models/tiny.py", (SOURCE + SPY + constants).encode())
    server.put(bucket, "models/tiny.pt", (world.root / "tiny.pt").read_bytes())
    world.change(
        model={"uri": f"s3://{bucket}/models", "format": "torch", "factory": "tiny:spying"},
        validation={"uri": f"s3://{bucket}/nothing"},  # the job ends once its model is exported
        storage={"uri": f"s3://{bucket}/artifacts", "credentialsSecretRef": {"name": "store"}},
    )
    ran = world.run()
    assert ran.code == 1, ran.output
    assert world.unit("prepare")["step"] == "snapshot-validation", world.status

    found = json.loads(told.read_text())
    assert found["error"] == "NoCredentialsError"
    assert not [name for name in found["environment"] if name.startswith(("AWS_", "MPJ_"))]
    for secret in (ACCESS_KEY, SECRET_KEY, f"{bucket}/artifacts"):
        assert secret not in json.dumps(found)
    assert found["environment"]["PYTHONHASHSEED"] == "0"
    assert found["environment"]["ORT_DISABLE_TELEMETRY"] == "1"

    stored = server.objects(bucket, "artifacts/default/manifests/")
    assert [key.split("/")[-2] for key in stored] == ["export", "snapshot"]

    told.unlink()
    again = world.run()
    assert again.code == 1
    assert not told.exists(), "its result is in the store"
