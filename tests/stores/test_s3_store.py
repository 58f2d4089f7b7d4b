"""A bucket as a store, on a real server: what is put, listed and removed, and how."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from datafiles import MIB, file, noise
from faulty import Answer, Proxy, Seen, times

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.stores import s3_removal

LATER = datetime.now(UTC) + timedelta(days=1)


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
    assert store.remove([], LATER) == set()
    assert store.remove(["a/0", "a/1", "never/was"], LATER) == {"a/0", "a/1"}
    assert sorted(server.objects(bucket)) == ["some/prefix/a/2", "some/prefix/ab"]


@pytest.mark.parametrize("code", ["MissingContentMD5", "InvalidRequest", "NotImplemented"])
def test_a_server_that_removes_no_batches(open_store, server, bucket, faults, tmp_path, code):
    """The SDK sends a CRC32 where older servers want the Content-MD5."""
    store = open_store(endpoint_url=faults.endpoint)
    for name in ("a/0", "a/1"):
        store.put(name, file(tmp_path, b"1"))

    def is_gone(seen: Seen) -> Answer:
        server.client().delete_object(Bucket=bucket, Key="some/prefix/a/1")
        return Answer(404, "NoSuchKey")

    gone = times(1, is_gone, lambda s: s.method == "DELETE" and "a/1" in s.path)
    batch = times(9, Answer(400, code), lambda s: s.method == "POST")
    faults.rule = lambda seen: gone(seen) or batch(seen)
    store.remove(["a/0", "a/1"], LATER)
    assert server.objects(bucket) == {}
    store.put("a/0", file(tmp_path, b"1"))
    denied = times(9, Answer(403, "AccessDenied"), lambda s: s.method == "DELETE")
    faults.rule = lambda seen: denied(seen) or batch(seen)
    with pytest.raises(UserError, match="grant s3:DeleteObject to"):
        store.remove(["a/0"], LATER)


def refusals(code: str, message: str = "no") -> Answer:
    """Answer a removal of a batch: one object is gone, one is not."""
    words = f"<Key>some/prefix/a/1</Key><Code>{code}</Code><Message>{message}</Message>"
    return Answer(200, text=f"<DeleteResult><Error>{words}</Error></DeleteResult>")


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ServiceUnavailable"])
def test_what_a_busy_server_did_not_remove_is_tried_again(
    open_store, server, bucket, faults, tmp_path, code, monkeypatch
):
    monkeypatch.setattr(s3_removal.time, "sleep", lambda _: None)
    store = open_store(endpoint_url=faults.endpoint)
    for name in ("a/0", "a/1"):
        store.put(name, file(tmp_path, b"1"))
    faults.rule = times(2, refusals(code), lambda s: s.method == "POST")
    assert store.remove(["a/0", "a/1"], LATER) == {"a/0", "a/1"}
    assert b"a/0" not in [s.body for s in faults.seen if s.method == "POST"][1]
    faults.rule = times(99, refusals(code), lambda s: s.method == "POST")
    store.put("a/1", file(tmp_path, b"1"))
    with pytest.raises(TransientError, match=rf"^spec\.storage\.uri: bucket {bucket}: 1 objects "
                       rf"can't be removed for now \({code}\)"):  # fmt: skip
        store.remove(["a/1"], LATER)


def test_what_may_not_be_removed_is_told(open_store, bucket, faults, tmp_path):
    store = open_store(endpoint_url=faults.endpoint)
    store.put("a/1", file(tmp_path, b"1"))
    faults.rule = times(1, refusals("AccessDenied", "a Deny"), lambda s: s.method == "POST")
    with pytest.raises(UserError, match=rf"^s3://{bucket}/some/prefix/a/1 can't be removed: .*"
                       "grant s3:DeleteObject to .*; the server says: a Deny$"):  # fmt: skip
        store.remove(["a/1"], LATER)
    assert faults.count("POST") == 1


def test_a_removal_goes_on_over_pages_of_a_listing(store, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_removal, "BATCH", 2)
    keys = {f"a/{number}" for number in range(7)}
    for key in keys:
        store.put(key, file(tmp_path, b"1"))
    assert store.remove(keys - {"a/3"}, LATER) == keys - {"a/3"}
    assert [one.key for one in store.objects("a/")] == ["a/3"]


def test_what_was_written_again_meanwhile_is_not_removed(store, server, bucket, tmp_path):
    store.put("a/0", file(tmp_path, b"1"))
    (old,) = store.objects("a/")
    assert store.remove(["a/0"], old.modified) == set()
    assert server.objects(bucket) == {"some/prefix/a/0": 1}


def test_a_key_below_an_object_is_told(store, tmp_path):
    store.put("a", file(tmp_path, b"1"))
    with pytest.raises(UserError, match=r"spec\.storage\.uri: .*refuses PutObject: "):
        store.put("a/b", file(tmp_path, b"1"))
