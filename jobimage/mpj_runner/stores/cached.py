"""A store with a folder nearby that keeps blobs between pods."""

import logging
from pathlib import Path
from typing import Final

from mpj_runner.contract.errors import UserError
from mpj_runner.stores.base import Store, blob_key, file_digest
from mpj_runner.stores.file import FileStore

log = logging.getLogger(__name__)
_BLOBS: Final = blob_key("")


class CachedStore:
    """Read blobs from a folder where it has them; everything else is the store's.

    The folder proves nothing: what comes from it is held against its digest, and whether a blob
    exists is asked of the store. Where the folder can't be used, the store alone is.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        """Lay a folder before a store."""
        self.store = store
        self.near = FileStore(folder)

    def read(self, key: str) -> bytes | None:
        """See ``Store.read``."""
        return self.store.read(key)

    def fetch(self, key: str, to: Path) -> bool:
        """See ``Store.fetch``."""
        if not key.startswith(_BLOBS):
            return self.store.fetch(key, to)
        if self._near(key, to):
            return True
        found = self.store.fetch(key, to)
        if found and file_digest(to) == key.removeprefix(_BLOBS):
            self._keep(key, to)
        return found

    def put(self, key: str, path: Path, sha256: str | None = None) -> str:
        """See ``Store.put``."""
        uri = self.store.put(key, path, sha256)
        if sha256 is not None and key == blob_key(sha256) and not self._has(key, path):
            self._keep(key, path)
        return uri

    def put_new(self, key: str, data: bytes) -> bytes:
        """See ``Store.put_new``."""
        return self.store.put_new(key, data)

    def size(self, key: str) -> int | None:
        """See ``Store.size``."""
        return self.store.size(key)

    def uri(self, key: str) -> str:
        """See ``Store.uri``."""
        return self.store.uri(key)

    def _near(self, key: str, to: Path) -> bool:
        try:
            return self.near.fetch(key, to) and file_digest(to) == key.removeprefix(_BLOBS)
        except (UserError, OSError) as error:
            log.warning("the cache can't be read: %s", error)
            return False

    def _has(self, key: str, path: Path) -> bool:
        try:
            return self.near.size(key) == path.stat().st_size
        except (UserError, OSError):
            return False

    def _keep(self, key: str, path: Path) -> None:
        try:
            self.near.put(key, path)
        except (UserError, OSError) as error:
            log.warning("the cache can't be written: %s", error)
