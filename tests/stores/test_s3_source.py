"""Users' models and data sets in buckets."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty import Cut, proxy, times
from s3server import ACCESS_KEY, places, s3_server

from mpj_runner.contract.access import KEY, KEY_ID, Access
from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import Input, Request
from mpj_runner.runner import Runner
from mpj_runner.stores import s3_source
from mpj_runner.stores.open import Places

FIELD = "spec.calibration"


@pytest.fixture
def access(server) -> Access:
    return Access(field=FIELD, endpoint_url=server.endpoint)


@pytest.fixture
def look(access):
    return lambda uri: places(access).source(uri, f"{FIELD}.uri", access)


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_one_object_keeps_its_name(server, bucket, look, tmp_path):
    server.put(bucket, "models/my model+1.pt", b"weights")
    path = look(f"s3://{bucket}/models/my model+1.pt").here(tmp_path)
    assert (path.name, path.read_bytes()) == ("my model+1.pt", b"weights")


@pytest.mark.parametrize("tail", ["", "/"])
def test_a_prefix_is_a_folder(server, bucket, look, tmp_path, tail):
    files = {"a.txt": b"1", "images/val/é 1.jpg": b"22", "empty": b""}
    for name, data in files.items():
        server.put(bucket, f"coco/{name}", data)
    server.put(bucket, "coco2/other", b"not mine")
    server.put(bucket, "coco/images/", b"")  # what a console makes for a folder
    assert tree(look(f"s3://{bucket}/coco{tail}").here(tmp_path)) == files


def test_a_whole_bucket_is_a_folder(server, bucket, look, tmp_path):
    server.put(bucket, "a/b", b"1")
    assert tree(look(f"s3://{bucket}").here(tmp_path)) == {"a/b": b"1"}


def test_many_objects_come_at_once(server, bucket, look, tmp_path):
    client = server.client()
    files = {f"{n:04d}": os.urandom(100) for n in range(1001)}  # more than one page of a listing
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=bucket, Key=f"d/{name}",
                                                     Body=files[name]), files))  # fmt: skip
    assert tree(look(f"s3://{bucket}/d").here(tmp_path)) == files


def test_the_digest_needs_no_download_and_changes_with_the_bytes(server, bucket, look, access):
    server.put(bucket, "d/a", b"1")
    with proxy(server.port) as seen:
        through = access.model_copy(update={"endpoint_url": seen.endpoint})
        one = places(through).source(f"s3://{bucket}/d", FIELD, through)
        first = one.sha256
        assert seen.count("GET", "/d/") == 0
    assert look(f"s3://{bucket}/d/").sha256 == first
    server.put(bucket, "d/a", b"2")
    second = look(f"s3://{bucket}/d").sha256
    server.put(bucket, "d/b", b"")
    assert len({first, second, look(f"s3://{bucket}/d").sha256}) == 3


def test_containers_of_a_pod_share_what_is_here(server, bucket, look, tmp_path):
    server.put(bucket, "d/a", b"1")
    first = look(f"s3://{bucket}/d").here(tmp_path)
    (first / "mark").touch()
    assert (look(f"s3://{bucket}/d").here(tmp_path) / "mark").exists()


def test_an_interrupted_fetch_is_made_anew(server, bucket, look, access, tmp_path, monkeypatch):
    server.put(bucket, "d/a", b"1234")
    monkeypatch.setattr("mpj_runner.stores.s3_download.time.sleep", lambda _: None)
    with proxy(server.port) as faults:
        faults.rule = times(99, Cut(2), lambda s: "/d/a" in s.path)
        through = access.model_copy(update={"endpoint_url": faults.endpoint})
        source = places(through).source(f"s3://{bucket}/d", f"{FIELD}.uri", through)
        faults.rule = times(99, Cut(0), lambda s: "/d/a" in s.path)
        with pytest.raises(TransientError, match=r"^spec\.calibration\.uri: reading s3://"):
            source.here(tmp_path)
    assert tree(look(f"s3://{bucket}/d").here(tmp_path)) == {"a": b"1234"}


def test_what_is_replaced_meanwhile_is_told(server, bucket, look, tmp_path):
    server.put(bucket, "d/a", b"1234")
    source = look(f"s3://{bucket}/d")
    server.put(bucket, "d/a", b"5678")
    with pytest.raises(TransientError, match="was replaced while it was read"):
        source.here(tmp_path)
    server.client().delete_object(Bucket=bucket, Key="d/a")
    with pytest.raises(TransientError, match="was removed while the source was read: try again"):
        source.here(tmp_path)


def test_nothing_there(server, bucket, look):
    server.put(bucket, "empty.pt", b"")
    server.put(bucket, "data2/x", b"1")
    with pytest.raises(UserError, match=r"spec\.calibration\.uri: s3://.*/data does not exist: "
                       "bucket .* has no object of that key and none below it"):  # fmt: skip
        look(f"s3://{bucket}/data")
    with pytest.raises(UserError, match=r"empty\.pt is empty"):
        look(f"s3://{bucket}/empty.pt")
    with pytest.raises(UserError, match=r"bucket no-such does not exist .*correct "
                       r"spec\.calibration\.uri or spec\.calibration\.endpointURL"):  # fmt: skip
        look("s3://no-such/data")


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", "a//b", "./a", "x\0y"])
def test_keys_that_are_no_paths_are_refused(name):
    """A key may be any text, and a file must not leave its folder."""
    with pytest.raises(UserError, match=r"spec\.x: the key .* can't be a file's path"):
        s3_source._checked(name, "spec.x")


def test_two_servers_with_two_secrets_in_one_container(server, bucket, access, tmp_path):
    """The store on one server, the source on another; each secret opens only its own."""
    with s3_server(tmp_path / "other") as other:
        source = Access(field="spec.model", endpoint_url=other.endpoint, credentials_secret="m")  # noqa: S106 - names
        storage = Access(field="spec.storage", endpoint_url=server.endpoint, credentials_secret="s")  # noqa: S106 - names
        other.put(other.bucket("models"), "m.onnx", b"not a model")
        request = Request(
            step="export",
            name="export",
            params={"format": "onnx"},
            inputs={"model": Input(source="s3://models/m.onnx", field="spec.model.uri",
                                   access=source)},
            store=f"s3://{bucket}/default",
            store_access=storage,
        )  # fmt: skip
        variables = [key.variable for key in request.secret_keys]
        assert variables == [
            f"MPJ_{who}_AWS_{key}"
            for who in ("STORAGE", "MODEL")
            for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
        ]
        secrets = dict(places(storage).secrets) | dict(places(source).secrets)
        made = Places(secrets)
        work = tmp_path / "work"
        work.mkdir()
        runner = Runner(request, made.store(request.store, storage), work, made)
        with pytest.raises(UserError, match=r"spec\.model\.uri"):
            runner.execute()  # it came as far as reading the file
        assert list((work / "sources").rglob("m.onnx"))
        swapped = Places(
            {**secrets, source.variable(KEY): "x", source.variable(KEY_ID): ACCESS_KEY}
        )
        with pytest.raises(UserError, match=r"the Secret m of spec\.model\.credentials"):
            swapped.source("s3://models/m.onnx", "spec.model.uri", source)
