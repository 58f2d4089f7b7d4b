"""The first writer wins, on a real server: conditional puts, and servers that have none."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from datafiles import MIB, file, noise
from faulty import Answer, Cut, Proxy, Seen, times

from mpj_runner.stores.base import blob_key, file_digest
from mpj_runner.stores.s3 import S3Store


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
    faults.rule = times(1, Cut(0), lambda s: s.method == "PUT")
    assert store.put_new("m/k", b"mine") == b"mine"
