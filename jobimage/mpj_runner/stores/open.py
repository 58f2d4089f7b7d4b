"""From a URI to a store, and from a user's URI to a local path."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mpj_runner.contract.errors import UserError
from mpj_runner.stores.base import Store
from mpj_runner.stores.file import FileStore


def open_store(uri: str) -> Store:
    """Return the store of a URI (file://…). Raises UserError for a scheme it does not know."""
    return FileStore(_local_path(uri, "spec.storage.uri"))


def open_source(uri: str, field: str) -> Path:
    """Return the local path of a user's file or folder (file://…).

    Raises:
        UserError: nothing is there, or the scheme is not known; ``field`` is named.
    """
    path = _local_path(uri, field)
    if not path.exists():
        raise UserError(f"{field}: {path} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{field}: {path} is empty")
    return path


def _local_path(uri: str, field: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise UserError(f"{field}: {uri}: this runner reads file:// only")
    return Path(unquote(parts.path))
