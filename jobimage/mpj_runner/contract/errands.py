"""What is asked of a store outside of any step: files to bring, old artifacts to remove."""

from typing import Annotated

from pydantic import Field

from mpj_runner.contract.access import Access
from mpj_runner.contract.base import Count, Sha256, Size, Uri, Value


class Fetch(Value):
    """Bring blobs to local paths, verified."""

    blobs: dict[str, Sha256]
    """Path to digest."""


class Collect(Value):
    """Find, and remove if asked to, what nothing refers to any more."""

    older_than_seconds: Annotated[int, Field(ge=0, le=10**10)]
    jobs: bool = False
    """Job folders count as old too when nothing in them is younger; else they all stay."""
    delete: bool = False


class Errand(Value):
    """One errand at one store; exactly one of fetch and collect is set."""

    store: Uri
    access: Access | None = None
    fetch: Fetch | None = None
    collect: Collect | None = None


class Amount(Value):
    objects: Count = 0
    size_bytes: Size = 0


class Collected(Value):
    """What was removed, or would be."""

    manifests: Amount
    blobs: Amount
    jobs: Amount
    """Objects in job folders."""
    folders: tuple[str, ...] = ()
    """The job folders themselves."""
    unfinished: Count = 0
    """Remains of interrupted writes; counted only when they are removed."""
    kept: Amount
    """All that stays."""
