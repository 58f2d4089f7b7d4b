"""What a store is: bytes under keys, and one conditional write."""

import hashlib
from pathlib import Path
from typing import Protocol

from mpj_runner.contract.messages import Blob


class Store(Protocol):
    """Bytes under slash-separated keys."""

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a small object, or None when there is none."""
        ...

    def fetch(self, key: str, to: Path) -> bool:
        """Copy an object to a file; False when there is none."""
        ...

    def put(self, key: str, path: Path) -> str:
        """Write a file's bytes, replacing what was there, and return the object's URI."""
        ...

    def put_new(self, key: str, data: bytes) -> bytes:
        """Write bytes unless the key exists; return what the key holds afterwards.

        Of two writers one wins; the other gets the winner's bytes.
        """
        ...

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, or None when there is none."""
        ...

    def uri(self, key: str) -> str:
        """Return the URI under which a person finds the object."""
        ...


def blob_key(sha256: str) -> str:
    """Return the key of the bytes with this digest."""
    return f"blobs/sha256/{sha256}"


def manifest_key(step: str, key: str) -> str:
    """Return the key of a step's manifest."""
    return f"manifests/{step}/{key}.json"


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def holds(store: Store, blob: Blob) -> bool:
    """Tell whether the store has the blob at its full size."""
    return store.size(blob_key(blob.sha256)) == blob.size_bytes
