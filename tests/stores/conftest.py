"""A real S3 server for the tests of this folder, and stores on it."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datafiles import MIB
from faulty import Proxy, proxy
from s3server import S3Server, places, s3_server

from mpj_runner.contract.access import Access
from mpj_runner.stores import s3_client, s3_download, s3_upload
from mpj_runner.stores.s3 import S3Store

_numbers = itertools.count()
Open = Callable[..., S3Store]


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    # On the disk and not in memory: object attributes need a file system that has them.
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as made:
        yield made


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.bucket(f"bucket-{next(_numbers)}")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own AWS settings out, and retries short."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3_client, "_ATTEMPTS", 2)


@pytest.fixture
def open_store(server: S3Server, bucket: str) -> Open:
    """Return a function that opens a store; its arguments are fields of the access."""

    def make(uri: str = f"s3://{bucket}/some/prefix", **fields: Any) -> S3Store:
        access = Access.model_validate(
            {"field": "spec.storage", "endpoint_url": server.endpoint, **fields}
        )
        store = places(access).store(uri, access)
        assert isinstance(store, S3Store)
        return store

    return make


@pytest.fixture
def store(open_store: Open) -> S3Store:
    return open_store()


@pytest.fixture
def faults(server: S3Server) -> Iterator[Proxy]:
    """Return a proxy before the server."""
    with proxy(server.port) as made:
        yield made


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the smallest parts that S3 allows do: 5 MiB."""
    monkeypatch.setattr(s3_upload, "PART", 5 * MIB)
    monkeypatch.setattr(s3_download, "PART", 5 * MIB)
