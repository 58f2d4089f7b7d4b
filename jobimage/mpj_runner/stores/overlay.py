"""A store to look without touching: reads fall through, writes stay in a folder of their own."""

from pathlib import Path

from mpj_runner.stores.base import Store
from mpj_runner.stores.file import FileStore


class OverlayStore:
    """Read from one store, write to a folder."""

    def __init__(self, below: Store, folder: Path) -> None:
        """Lay a folder over a store."""
        self.below = below
        self.above = FileStore(folder)

    def read(self, key: str) -> bytes | None:
        """See ``Store.read``."""
        own = self.above.read(key)
        return self.below.read(key) if own is None else own

    def fetch(self, key: str, to: Path) -> bool:
        """See ``Store.fetch``."""
        return self.above.fetch(key, to) or self.below.fetch(key, to)

    def put(self, key: str, path: Path, sha256: str | None = None) -> str:
        """See ``Store.put``."""
        self.above.put(key, path, sha256)
        return self.uri(key)

    def put_new(self, key: str, data: bytes) -> bytes:
        """See ``Store.put_new``."""
        held = self.below.read(key)
        return self.above.put_new(key, data) if held is None else held

    def size(self, key: str) -> int | None:
        """See ``Store.size``."""
        own = self.above.size(key)
        return self.below.size(key) if own is None else own

    def uri(self, key: str) -> str:
        """See ``Store.uri``."""
        return self.below.uri(key)
