"""A bucket as a store, on a real server: whole or nothing, first writer wins, parts resumed."""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from faulty import Answer, Change, Cut, Proxy, Seen, proxy, times

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import Blob
from mpj_runner.stores import s3_download, s3_upload
from mpj_runner.stores.base import blob_key, file_digest, holds
from mpj_runner.stores.s3 import S3Store

MIB = 2**20


@pytest.fixture
def faults(server):
    with proxy(server.port) as made:
        yield made


@pytest.fixture
def small_parts(monkeypatch):
    """Let the smallest parts that S3 allows do: 5 MiB."""
    monkeypatch.setattr(s3_upload, "PART", 5 * MIB)
    monkeypatch.setattr(s3_download, "PART", 5 * MIB)


def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "data"
    path.write_bytes(data)
    return path


def noise(size: int) -> bytes:
    """Return bytes that differ from part to part."""
    block = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(4096))
    return b"".join(bytes([n]) + block for n in range(size // len(block) + 1))[:size]


def test_what_is_put_is_fetched(store, bucket, tmp_path):
    uri = store.put("a/b.html", file(tmp_path, b"data"))
    assert uri == f"s3://{bucket}/some/prefix/a/b.html"
    assert store.fetch("a/b.html", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"data"
    assert (store.read("a/b.html"), store.size("a/b.html")) == (b"data", 4)


def test_what_is_not_there_is_none(store, tmp_path):
    assert (store.read("no"), store.size("no"), store.fetch("no", tmp_path / "x")) == (
        None,
        None,
        False,
    )


def test_an_object_says_its_digest_and_kind(store, server, bucket, tmp_path):
    store.put("report.html", file(tmp_path, b"<p>"))
    head = server.client().head_object(Bucket=bucket, Key="some/prefix/report.html")
    assert head["ContentType"] == "text/html"
    assert head["Metadata"] == {"sha256": hashlib.sha256(b"<p>").hexdigest()}


def test_a_bucket_without_prefix_is_a_store_too(open_store, server, bucket, tmp_path):
    store = open_store(f"s3://{bucket}/")
    store.put("x", file(tmp_path, b"1"))
    assert server.objects(bucket) == {"x": 1}


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

    def third(seen: Seen) -> bool:
        return seen.method == "PUT" and "partNumber=4" in seen.path

    faults.rule = times(9, Answer(503, "SlowDown"), third)
    with pytest.raises(TransientError, match="SlowDown"):
        store.put("big", path, file_digest(path))
    assert store.size("big") is None
    faults.rule = lambda _: None
    sent = faults.count("PUT")
    store.put("big", path, file_digest(path))
    assert faults.count("PUT") - sent < 6
    store.fetch("big", tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == file_digest(path)
    assert store.remove_unfinished(timedelta(0)) == 0


def test_parts_of_other_bytes_are_not_taken_up(
    open_store, faults: Proxy, tmp_path, small_parts, monkeypatch
):
    monkeypatch.setattr(s3_upload, "_IDLE", timedelta(seconds=-5))  # clocks tick in seconds
    store = open_store(endpoint_url=faults.endpoint)
    faults.rule = times(9, Answer(503, "SlowDown"), lambda s: "partNumber=3" in s.path)
    with pytest.raises(TransientError):
        store.put("engine", file(tmp_path, noise(12 * MIB)))
    faults.rule = lambda _: None
    path = file(tmp_path, noise(12 * MIB)[::-1])
    store.put("engine", path)
    store.fetch("engine", tmp_path / "copy")
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


def test_two_writers_of_the_same_blob_both_succeed(open_store, tmp_path, small_parts):
    path = file(tmp_path, noise(16 * MIB))
    sha256 = file_digest(path)
    stores = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda s: s.put(blob_key(sha256), path, sha256), stores))
    assert stores[0].fetch(blob_key(sha256), tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == sha256


def _put_at_once(stores: list[S3Store], key: str) -> set[bytes]:
    """Let every store put its number at the same time; return what they hold afterwards."""
    with ThreadPoolExecutor(len(stores)) as pool:
        return set(pool.map(lambda n: stores[n].put_new(key, str(n).encode()), range(len(stores))))


def test_of_many_writers_one_wins_and_all_adopt_its_bytes(open_store, faults):
    # The gateway to a file system that plays S3 here looks first and writes afterwards, so two
    # writers can both be the first. S3 itself does both as one, as this proxy makes it do.
    faults.in_turn = lambda seen: "If-None-Match" in seen.headers
    stores = [open_store(endpoint_url=faults.endpoint) for _ in range(8)]
    assert _put_at_once(stores, "m/k") == {stores[0].read("m/k")}


def test_writers_that_a_server_lets_overlap_each_hold_what_was_written(open_store):
    stores = [open_store() for _ in range(8)]
    written = {str(n).encode() for n in range(8)}
    assert _put_at_once(stores, "m/k") <= written
    assert stores[0].read("m/k") in written


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_without_conditional_puts_is_found_out(
    open_store, server, bucket, faults: Proxy, caplog, refuses
):
    """It refuses the header, or ignores it."""

    def unconditional(seen: Seen) -> Answer:
        if refuses:
            return Answer(501, "NotImplemented", "A header you provided is not implemented")
        server.put(bucket, seen.path.removeprefix(f"/{bucket}/"), seen.body)
        return Answer(200, headers=(("ETag", '"0"'),))

    faults.rule = lambda seen: unconditional if "If-None-Match" in seen.headers else None
    one, two = (open_store(endpoint_url=faults.endpoint) for _ in range(2))
    with caplog.at_level(logging.WARNING):
        assert one.put_new("m/1", b"one") == b"one"
    assert "lacks conditional puts" in caplog.text
    three = open_store(endpoint_url=faults.endpoint)
    assert three.put_new("m/1", b"three") == b"one", "what was there is not written over"
    assert one.put_new("m/2", b"one") == b"one"
    assert one.put_new("m/2", b"other") == b"one"
    two.put_new("m/3", b"two")
    assert two.put_new("m/2", b"two") == b"one"


def test_a_put_whose_answer_got_lost_is_not_taken_for_anothers(open_store, faults: Proxy):
    store = open_store(endpoint_url=faults.endpoint)
    lost = times(1, Cut(0), lambda s: s.method == "PUT")

    def after_writing(seen: Seen):
        return lost(seen)

    faults.rule = after_writing
    assert store.put_new("m/k", b"mine") == b"mine"


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


def test_a_connection_that_always_breaks_is_told(open_store, store, faults, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_download.time, "sleep", lambda _: None)
    store.put("x", file(tmp_path, b"1234"))
    faults.rule = times(99, Cut(0), lambda s: s.method == "GET")
    with pytest.raises(TransientError, match=r"spec\.storage\.uri: reading s3://.* broke off 6"):
        open_store(endpoint_url=faults.endpoint).fetch("x", tmp_path / "copy")


def test_bytes_damaged_on_their_way_are_refused_by_the_server(open_store, faults, store, tmp_path):
    faults.rule = times(9, Change(lambda b: b[:-1] + b"?"), lambda s: s.method == "PUT")
    with pytest.raises(TransientError, match=r"the bytes were damaged on their way"):
        open_store(endpoint_url=faults.endpoint).put("x", file(tmp_path, b"1234"))
    assert store.size("x") is None


@pytest.mark.parametrize("fault", [Answer(503, "SlowDown"), Answer(500, "InternalError")])
def test_a_short_trouble_of_the_server_is_not_noticed(open_store, faults, tmp_path, fault):
    store = open_store(endpoint_url=faults.endpoint)
    for call in (
        lambda: store.put("x", file(tmp_path, b"1")),
        lambda: store.put_new("m", b"2"),
        lambda: store.fetch("x", tmp_path / "copy"),
        lambda: store.read("x"),
        lambda: store.size("x"),
    ):
        faults.rule = times(1, fault)
        call()
    assert store.read("x") == b"1"


def test_listing_and_removing(store, server, bucket, tmp_path):
    for number in range(3):
        store.put(f"a/{number}", file(tmp_path, b"1"))
    store.put("ab", file(tmp_path, b"1"))
    assert [one.key for one in store.objects("a/")] == ["a/0", "a/1", "a/2"]
    store.remove(["a/0", "a/1", "never/was"])
    assert sorted(server.objects(bucket)) == ["some/prefix/a/2", "some/prefix/ab"]


@pytest.mark.parametrize("code", ["MissingContentMD5", "InvalidRequest", "NotImplemented"])
def test_a_server_that_removes_no_batches(open_store, server, bucket, faults, tmp_path, code):
    """The SDK sends a CRC32 where older servers want the Content-MD5."""
    store = open_store(endpoint_url=faults.endpoint)
    for name in ("a/0", "a/1"):
        store.put(name, file(tmp_path, b"1"))
    gone = times(1, Answer(404, "NoSuchKey"), lambda s: s.method == "DELETE" and "a/9" in s.path)
    batch = times(9, Answer(400, code), lambda s: s.method == "POST")
    faults.rule = lambda seen: gone(seen) or batch(seen)
    store.remove(["a/0", "a/1", "a/9"])
    assert server.objects(bucket) == {}
    faults.rule = lambda s: Answer(400, code) if s.method == "POST" else Answer(403, "AccessDenied")
    with pytest.raises(UserError, match="grant s3:DeleteObject to"):
        store.remove(["a/0"])


def test_encryption_is_asked_for(open_store, faults: Proxy, tmp_path, small_parts):
    encryption = {"algorithm": "aws:kms", "kmsKeyID": "key-1"}
    store = open_store(endpoint_url=faults.endpoint, encryption=encryption)
    store.put("small", file(tmp_path, b"1"))
    store.put("large", file(tmp_path, noise(6 * MIB)))
    store.put_new("new", b"1")
    asked = [
        (s.headers.get("x-amz-server-side-encryption"),
         s.headers.get("x-amz-server-side-encryption-aws-kms-key-id"))
        for s in faults.seen
        if (s.method == "PUT" and "partNumber" not in s.path) or s.path.endswith("?uploads")
    ]  # fmt: skip
    assert set(asked) == {("aws:kms", "key-1")}
    assert len(asked) >= 3


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


def test_a_key_below_an_object_is_told(store, tmp_path):
    store.put("a", file(tmp_path, b"1"))
    with pytest.raises(UserError, match=r"spec\.storage\.uri: .*refuses PutObject: "):
        store.put("a/b", file(tmp_path, b"1"))


def test_a_manifest_is_read_whole_or_again(open_store, store, faults):
    store.put_new("m", b"0123456789")
    faults.rule = times(3, Cut(5), lambda s: s.method == "GET")
    assert open_store(endpoint_url=faults.endpoint).read("m") == b"0123456789"
