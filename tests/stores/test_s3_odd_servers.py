"""Servers, proxies and networks that do less than S3 promises."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from datafiles import MIB
from faulty import Answer, Cut, Proxy, Seen, times

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.stores import s3_upload
from mpj_runner.stores.base import blob_key, file_digest


def gets(seen: Seen) -> bool:
    return seen.method == "GET"


def ranged(text: str, first: int) -> Answer:
    told = f"bytes {first}-{first + len(text) - 1}/8"
    return Answer(206, text=text, headers=(("Content-Range", told),))


@pytest.mark.parametrize(
    ("cut", "answer"),
    [
        pytest.param(4, Answer(200, text="01234567"), id="the whole instead of the rest"),
        pytest.param(4, ranged("01234567", 0), id="another range"),
        pytest.param(4, ranged("456789", 4), id="more than the rest"),
        pytest.param(0, Answer(200, text="0123456789"), id="more than the whole"),
        pytest.param(0, Answer(200, text="0123"), id="less than the whole"),
        pytest.param(0, ranged("4567", 4), id="another range at once"),
    ],
)
def test_other_bytes_than_asked_for_are_refused(
    open_store, store, faults: Proxy, tmp_path, cut, answer
):
    """A source is not held against a digest: what is written here is what is used."""
    (tmp_path / "data").write_text("01234567")
    store.put("x", tmp_path / "data")
    if cut == 0:
        faults.rule = times(1, answer, gets)
    else:
        first = times(1, Cut(cut), gets)
        faults.rule = lambda seen: first(seen) or (answer if gets(seen) else None)
    with pytest.raises(TransientError, match=r"spec\.storage\.uri: asked for the bytes \d-7 of .*"
                       r"sent others: see that the server, .* heeds the header Range"):  # fmt: skip
        open_store(endpoint_url=faults.endpoint).fetch("x", tmp_path / "copy")


def test_a_server_without_ranges_serves_what_is_read_at_once(open_store, store, faults, tmp_path):
    (tmp_path / "data").write_text("01234567")
    store.put("x", tmp_path / "data")
    faults.rule = times(1, Answer(200, text="01234567"), gets)
    assert open_store(endpoint_url=faults.endpoint).fetch("x", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "01234567"


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    ("code", "family", "words"),
    [
        ("SignatureDoesNotMatch", UserError, "the signature is wrong: correct AWS_SECRET"),
        ("RequestTimeTooSkewed", TransientError, "clock and the server's differ"),
        ("ExpiredToken", UserError, "the session has expired"),
        ("InvalidAccessKeyId", UserError, "does not know the access key"),
        ("AccessDenied", UserError, "grant s3:GetObject and s3:ListBucket to"),
    ],
)
def test_the_refusal_of_a_head_is_explained(open_store, faults, status, code, family, words):
    """The answer to a HEAD has no body, so no word of S3's."""

    def refuse(seen: Seen) -> Answer:
        return Answer(status, "" if seen.method == "HEAD" else code)

    faults.rule = lambda _: refuse
    with pytest.raises(family, match=words):
        open_store(endpoint_url=faults.endpoint).size("x")


@pytest.mark.parametrize("call", ["put", "put_new", "list"])
@pytest.mark.parametrize("code", ["NoSuchKey", "NotFound", ""])
def test_an_endpoint_that_knows_no_such_request_is_told(open_store, faults, tmp_path, call, code):
    faults.rule = times(99, Answer(404, code))
    store = open_store(endpoint_url=faults.endpoint)
    (tmp_path / "data").write_text("1")
    calls = {
        "put": lambda: store.put("x", tmp_path / "data"),
        "put_new": lambda: store.put_new("x", b"1"),
        "list": lambda: list(store.objects("blobs/")),
    }
    with pytest.raises(UserError, match=r"spec\.storage\.endpointURL: http://.* knows no \w+ of "
                       "bucket .*the address of an S3 server without"):  # fmt: skip
        calls[call]()


@contextmanager
def hanging_up() -> Iterator[int]:
    """Run a server that closes every connection after the first bytes of a handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_handshake_that_breaks_off_may_succeed_later(open_store):
    with hanging_up() as port, pytest.raises(TransientError, match=r"endpointURL: .*not reached"):
        open_store(endpoint_url=f"https://127.0.0.1:{port}").read("x")


@pytest.fixture
def big(tmp_path: Path, monkeypatch) -> Path:
    """Return a file of three parts."""
    monkeypatch.setattr(s3_upload, "PART", 5 * MIB)
    monkeypatch.setattr(s3_upload, "_IDLE", timedelta(seconds=-5))  # clocks tick in seconds
    path = tmp_path / "big"
    path.write_bytes(b"".join(bytes([n]) * MIB for n in range(11)))
    return path


def third(seen: Seen) -> bool:
    return seen.method == "PUT" and "partNumber=3" in seen.path


def lists_parts(seen: Seen) -> bool:
    return seen.method == "GET" and "uploadId" in seen.path


def completes(seen: Seen) -> bool:
    return seen.method == "POST" and "uploadId" in seen.path


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        pytest.param("WhenRequired", "WhenRequired",
                     times(9, Answer(403, "AccessDenied"), lists_parts), id="no right to list"),
        pytest.param("WhenRequired", "WhenRequired",
                     times(9, Answer(404, "NoSuchUpload"), lists_parts), id="just finished"),
        pytest.param("WhenRequired", "WhenRequired",
                     times(1, Answer(400, "InvalidPart"), completes), id="a part is lost"),
        pytest.param("WhenSupported", "WhenRequired", lambda _: None, id="begun with checksums"),
        pytest.param("WhenRequired", "WhenSupported", lambda _: None, id="begun without"),
    ],
)  # fmt: skip
def test_an_unfinished_upload_that_is_of_no_use_is_passed_over(
    open_store, faults: Proxy, big, tmp_path, before, after, rule
):
    store = open_store(endpoint_url=faults.endpoint, checksums=before)
    key = blob_key(file_digest(big))
    faults.rule = times(9, Answer(503, "SlowDown"), third)
    with pytest.raises(TransientError):
        store.put(key, big)
    faults.rule = rule
    open_store(endpoint_url=faults.endpoint, checksums=after).put(key, big)
    assert store.fetch(key, tmp_path / "copy")
    assert file_digest(tmp_path / "copy") == file_digest(big)
