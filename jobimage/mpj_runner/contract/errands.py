"""What is asked of a store outside of any step: files to bring."""

from mpj_runner.contract.access import Access
from mpj_runner.contract.base import Sha256, Uri, Value


class Fetch(Value):
    """Bring files and folders to local paths, verified."""

    blobs: dict[str, Sha256]
    """Path to digest."""
    folders: dict[str, Sha256] = {}
    """Path to the digest of a packed folder; one that is there is replaced."""


class Errand(Value):
    """One errand at one store."""

    store: Uri
    access: Access | None = None
    fetch: Fetch
