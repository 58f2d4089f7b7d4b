"""What a store is: bytes under keys, and one conditional write."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from mpj_runner.contract.errors import TransientError
from mpj_runner.contract.messages import Blob

LEVELS: Final = ("blobs/", "manifests/", "jobs/")
"""What all keys of a store start with; what lies beside is not the store's."""


class Store(Protocol):
    """Bytes under slash-separated keys."""

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a small object, or None when there is none."""
        ...

    def fetch(self, key: str, to: Path) -> bool:
        """Copy an object to a file; False when there is none."""
        ...

    def put(self, key: str, path: Path, sha256: str | None = None) -> str:
        """Write a file's bytes, replacing what was there, and return the object's URI.

        Args:
            key: where to.
            path: the file.
            sha256: of its bytes, where it is known: other bytes are not written.

        Raises:
            TransientError: the file has other bytes by now.
        """
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


@dataclass(frozen=True)
class Stored:
    """An object of a store, as a listing shows it."""

    key: str
    size: int
    modified: datetime
    """In UTC."""


class Listed(Store, Protocol):
    """A store whose objects can be listed and removed; only the collection of old ones does."""

    def objects(self, prefix: str) -> Iterator[Stored]:
        """List the objects whose keys start with a prefix that ends with a slash."""
        ...

    def remove(self, keys: Iterable[str], before: datetime) -> set[str]:
        """Remove objects unless they were written again by now; return the keys of what went.

        Args:
            keys: of the objects; missing ones do no harm.
            before: what was written at this time or later stays, in UTC.

        Raises:
            UserError: one can't be removed.
            TransientError: it may be later.
        """
        ...

    def remove_unfinished(self, older_than: timedelta) -> int:
        """Remove what writers that were killed left of objects; return how many."""
        ...


def blob_key(sha256: str) -> str:
    """Return the key of the bytes with this digest."""
    return f"blobs/sha256/{sha256}"


def is_blob(key: str) -> bool:
    """Tell whether a key, below any prefix, is one of bytes that it names the digest of."""
    return re.search(r"(?:^|/)blobs/sha256/[0-9a-f]{64}$", key) is not None


def manifest_key(step: str, key: str) -> str:
    """Return the key of a step's manifest."""
    return f"manifests/{step}/{key}.json"


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(found: str, wanted: str | None, path: Path) -> None:
    """Refuse bytes that are not those that the caller hashed.

    Raises:
        TransientError: they are others.
    """
    if wanted not in (None, found):
        raise TransientError(f"{path} changed while it was put into the store")


def holds(store: Store, blob: Blob) -> bool:
    """Tell whether the store has the blob at its full size."""
    return store.size(blob_key(blob.sha256)) == blob.size_bytes
