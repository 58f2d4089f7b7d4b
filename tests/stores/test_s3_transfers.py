"""Uploads and downloads of a bucket, on a real server: whole or not at all, resumed, cleaned up."""

import hashlib
from datetime import timedelta

import pytest
from datafiles import MIB, file, noise
from faulty import Answer, Change, Cut, Proxy, times

from mpj_runner.contract.errors import TransientError
from mpj_runner.contract.messages import Blob
from mpj_runner.stores import s3_download, s3_upload
from mpj_runner.stores.base import blob_key, file_digest, holds


@pytest.mark.parametrize("checksums", ["WhenRequired", "WhenSupported"])
@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 17 * MIB])
def test_every_size_comes_back_unchanged(
    open_store, server, bucket, tmp_path, small_parts, size, checksums
):
    store = open_store(checksums=checksums)
    path = file(tmp_path, noise(size))
    sha256 = file_digest(path)
    store.put(blob_key(sha256), path, sha256)
    assert store.fetch(blob_key(sha256), tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == sha256
    assert holds(store, Blob(sha256=sha256, size_bytes=size))
    body = server.client().get_object(Bucket=bucket, Key=f"some/prefix/{blob_key(sha256)}")["Body"]
    assert hashlib.sha256(body.read()).hexdigest() == sha256


@pytest.mark.parametrize("size", [10, 6 * MIB])
def test_other_bytes_than_announced_are_not_written(store, tmp_path, small_parts, size):
    path = file(tmp_path, noise(size))
    with pytest.raises(TransientError, match="changed while it was put into the store"):
        store.put("x", path, hashlib.sha256(b"other").hexdigest())
    assert store.size("x") is None


@pytest.mark.parametrize("checksums", ["WhenRequired", "WhenSupported"])
def test_an_upload_goes_on_where_it_broke_off(
    open_store, faults: Proxy, tmp_path, small_parts, checksums, monkeypatch
):
    monkeypatch.setattr(s3_upload, "_IDLE", timedelta(seconds=-5))  # clocks tick in seconds
    store = open_store(endpoint_url=faults.endpoint, checksums=checksums)
    path = file(tmp_path, noise(27 * MIB))
    faults.rule = times(9, Answer(503, "SlowDown"), lambda s: "partNumber=4" in s.path)
    key = blob_key(file_digest(path))
    with pytest.raises(TransientError, match="SlowDown"):
        store.put(key, path, file_digest(path))
    assert store.size(key) is None
    faults.rule = lambda _: None
    sent = faults.count("PUT")
    store.put(key, path, file_digest(path))
    assert faults.count("PUT") - sent < 6
    store.fetch(key, tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == file_digest(path)
    assert store.remove_unfinished(timedelta(0)) == 0


def test_parts_of_other_bytes_are_not_taken_up(
    open_store, server, bucket, faults: Proxy, tmp_path, small_parts, monkeypatch
):
    """As where a blob's name was wrong; a published object is not even looked at for parts."""
    monkeypatch.setattr(s3_upload, "_IDLE", timedelta(seconds=-5))  # clocks tick in seconds
    store = open_store(endpoint_url=faults.endpoint)
    path = file(tmp_path, noise(12 * MIB)[::-1])
    key = blob_key(file_digest(path))
    client = server.client()
    begun = client.create_multipart_upload(Bucket=bucket, Key=f"some/prefix/{key}")["UploadId"]
    client.upload_part(Bucket=bucket, Key=f"some/prefix/{key}", UploadId=begun, PartNumber=1,
                       Body=noise(5 * MIB))  # fmt: skip
    store.put(key, path)
    assert faults.count("GET", "uploads") == 1
    store.fetch(key, tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == file_digest(path)


@pytest.mark.parametrize("encryption", [None, {"algorithm": "AES256"}])
def test_a_published_object_and_an_encrypted_one_begin_anew(
    open_store, server, bucket, faults: Proxy, tmp_path, small_parts, monkeypatch, encryption
):
    """The metadata and the encryption of an upload are those that it was begun with."""
    monkeypatch.setattr(s3_upload, "_IDLE", timedelta(seconds=-5))  # clocks tick in seconds
    store = open_store(endpoint_url=faults.endpoint, encryption=encryption)
    first, second = noise(12 * MIB), noise(12 * MIB)[: 10 * MIB] + bytes(2 * MIB)
    sha256 = file_digest(file(tmp_path, second))
    key = blob_key(sha256) if encryption else "jobs/n/j/u/model.onnx"
    faults.rule = times(9, Answer(503, "SlowDown"), lambda s: "partNumber=3" in s.path)
    with pytest.raises(TransientError):
        store.put(key, file(tmp_path, second if encryption else first))
    faults.rule = lambda _: None
    asked, sent = faults.count("POST", "uploads"), faults.count("PUT")
    store.put(key, file(tmp_path, second), sha256)
    assert faults.count("POST", "uploads") == asked + 1
    assert faults.count("PUT") == sent + 3
    found = server.client().head_object(Bucket=bucket, Key=f"some/prefix/{key}")
    assert found["Metadata"]["sha256"] == sha256


def test_a_published_object_of_the_same_size_is_not_taken_for_the_same(
    open_store, store, faults: Proxy, tmp_path, small_parts
):
    key = "jobs/n/j/u/model.onnx"
    store.put(key, file(tmp_path, noise(6 * MIB)))
    path = file(tmp_path, noise(6 * MIB)[::-1])
    faults.rule = times(1, Answer(404, "NoSuchUpload"), lambda s: "partNumber=1" in s.path)
    open_store(endpoint_url=faults.endpoint).put(key, path)
    store.fetch(key, tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == file_digest(path)


def test_an_upload_that_was_cleaned_up_begins_anew(
    open_store, faults: Proxy, tmp_path, small_parts
):
    store = open_store(endpoint_url=faults.endpoint)
    gone = Answer(404, "NoSuchUpload")
    faults.rule = times(1, gone, lambda s: s.method == "PUT" and "partNumber" in s.path)
    path = file(tmp_path, noise(6 * MIB))
    store.put("big", path)
    assert store.size("big") == 6 * MIB


def test_an_unfinished_upload_is_removed_once_it_is_old(store, server, bucket):
    for key in ("blobs/sha256/x", "manifests/eval/x", "jobs/n/j/u/x", "others/x"):
        server.client().create_multipart_upload(Bucket=bucket, Key=f"some/prefix/{key}")
    assert store.remove_unfinished(timedelta(days=1)) == 0
    assert store.remove_unfinished(timedelta(seconds=-5)) == 3
    (left,) = server.client().list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert left["Key"] == "some/prefix/others/x"


def test_an_upload_that_is_over_by_now_is_not_removed(open_store, server, bucket, faults):
    server.client().create_multipart_upload(Bucket=bucket, Key="some/prefix/blobs/x")
    faults.rule = times(1, Answer(404, "NoSuchUpload"), lambda s: s.method == "DELETE")
    assert open_store(endpoint_url=faults.endpoint).remove_unfinished(timedelta(seconds=-5)) == 0


def test_bytes_damaged_on_their_way_are_refused_by_the_server(open_store, faults, store, tmp_path):
    faults.rule = times(9, Change(lambda b: b[:-1] + b"?"), lambda s: s.method == "PUT")
    with pytest.raises(TransientError, match=r"the bytes were damaged on their way"):
        open_store(endpoint_url=faults.endpoint).put("x", file(tmp_path, b"1234"))
    assert store.size("x") is None


@pytest.mark.parametrize("after", [0, 1000, 3 * MIB])
def test_a_download_goes_on_where_the_connection_broke(
    open_store, store, faults: Proxy, tmp_path, small_parts, after
):
    path = file(tmp_path, noise(12 * MIB))
    store.put("big", path)
    faults.rule = times(4, Cut(after), lambda s: s.method == "GET")
    assert open_store(endpoint_url=faults.endpoint).fetch("big", tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == file_digest(path)
    if after > 1000:
        starts = [s.headers["Range"] for s in faults.seen if s.method == "GET"]
        assert any(int(r[6:].split("-")[0]) % (5 * MIB) for r in starts)


def replaced(seen) -> bool:
    return seen.method == "GET" and seen.headers.get("Range") != "bytes=0-0"


def test_a_blob_that_is_written_again_while_it_is_read_is_read_anew(
    open_store, store, faults: Proxy, tmp_path
):
    """With KMS each write of the same bytes has another ETag."""
    path = file(tmp_path, b"1234")
    key = blob_key(file_digest(path))
    store.put(key, path)
    store.put("jobs/x", path)
    through = open_store(endpoint_url=faults.endpoint)
    faults.rule = times(3, Answer(412, "PreconditionFailed"), replaced)
    assert through.fetch(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"1234"
    for other, tries in ((key, 4), ("jobs/x", 1)):
        faults.rule = times(99, Answer(412, "PreconditionFailed"), replaced)
        seen = faults.count("GET")
        with pytest.raises(TransientError, match="was replaced while it was read: try again"):
            through.fetch(other, tmp_path / "copy")
        assert faults.count("GET") == seen + tries


def test_a_connection_that_always_breaks_is_told(open_store, store, faults, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_download.time, "sleep", lambda _: None)
    store.put("x", file(tmp_path, b"1234"))
    faults.rule = times(99, Cut(0), lambda s: s.method == "GET")
    with pytest.raises(TransientError, match=r"spec\.storage\.uri: reading s3://.* broke off 6"):
        open_store(endpoint_url=faults.endpoint).fetch("x", tmp_path / "copy")


def test_a_manifest_is_read_whole_or_again(open_store, store, faults):
    store.put_new("m", b"0123456789")
    faults.rule = times(3, Cut(5), lambda s: s.method == "GET")
    assert open_store(endpoint_url=faults.endpoint).read("m") == b"0123456789"
