"""A bucket as a store, on a real server: what is put, listed and removed, and how."""

import hashlib

import pytest
from datafiles import MIB, file, noise
from faulty import Answer, Proxy, times

from mpj_runner.contract.errors import UserError


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


def test_a_key_below_an_object_is_told(store, tmp_path):
    store.put("a", file(tmp_path, b"1"))
    with pytest.raises(UserError, match=r"spec\.storage\.uri: .*refuses PutObject: "):
        store.put("a/b", file(tmp_path, b"1"))
