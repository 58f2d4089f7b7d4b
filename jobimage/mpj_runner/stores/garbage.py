"""Which artifacts of a store are old, and their removal.

Everything younger than a limit stays. So does what is in use: what a young manifest names, the
results that a young unit used (it names their keys), and the artifacts that the report of a kept
job folder links to. Manifests go before the blobs that they name: a reader in between sees a miss.

A removal takes minutes, and jobs take old results into use meanwhile: they write what they use
again, so it is young. What has become young right before its turn stays, and what it names with it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from pydantic import ValidationError

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import StepManifest, UnitManifest
from mpj_runner.stores.base import Listed, Stored, blob_key, manifest_key

M = TypeVar("M", StepManifest, UnitManifest)
_MANIFESTS: Final = "manifests/"
_BLOBS: Final = "blobs/sha256/"
_READERS: Final = 16
_LARGEST_MANIFEST: Final = 2**20
_REPORT: Final = re.compile(r"jobs/[^/]+/[^/]+/[^/]+/report\.json")
_ARTIFACT: Final = re.compile(rb'"sha256":\s*"([0-9a-f]{64})"')


@dataclass(frozen=True)
class Amount:
    """How much of something there is."""

    objects: int
    size_bytes: int


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be."""

    manifests: Amount
    blobs: Amount
    jobs: Amount
    """Objects in job folders."""
    folders: tuple[str, ...]
    """The job folders themselves."""
    kept: Amount
    """All that stays."""
    unfinished: int = 0
    """Remains of interrupted writes; counted only when they are removed."""
    warning: str = ""
    """Why these could not be removed; empty where they could."""


@dataclass(frozen=True)
class Old:
    """What is old of a store, by the order to remove it in."""

    manifests: Sequence[Stored]
    blobs: Sequence[Stored]
    of_jobs: Sequence[Stored]
    everything: Amount
    """All that the store has, old or not."""

    @property
    def objects(self) -> list[Stored]:
        """Return all that is old."""
        return [*self.manifests, *self.blobs, *self.of_jobs]

    def collected(self, unfinished: int = 0, warning: str = "") -> Collected:
        """Return it in numbers."""
        old = _amount(self.objects)
        return Collected(
            manifests=_amount(self.manifests),
            blobs=_amount(self.blobs),
            jobs=_amount(self.of_jobs),
            folders=tuple(sorted(_folders(self.of_jobs))),
            kept=Amount(
                objects=self.everything.objects - old.objects,
                size_bytes=self.everything.size_bytes - old.size_bytes,
            ),
            unfinished=unfinished,
            warning=warning,
        )


@dataclass
class Used:
    """Keys that stay because something refers to them; a second look reads only what is new."""

    keys: set[str] = field(default_factory=set)
    read: set[Stored] = field(default_factory=set)
    """What has been read for them."""

    def unread(self, objects: Iterable[Stored]) -> list[str]:
        """Return the keys of what has not been read yet, and count it as read."""
        new = [one for one in objects if one not in self.read]
        self.read.update(new)
        return [one.key for one in new]

    def add_step(self, manifest: StepManifest) -> None:
        """Keep a result and its files."""
        self.keys.add(manifest_key(manifest.step, manifest.key))
        self.add_blobs(blob.sha256 for blob in manifest.outputs.values())
        self.add_blobs(manifest.inputs.values())

    def add_blobs(self, digests: Iterable[str]) -> None:
        """Keep bytes."""
        self.keys.update(blob_key(sha256) for sha256 in digests)


def collect(
    store: Listed, age: timedelta, now: datetime, *, jobs: bool = False, delete: bool = False
) -> Collected:
    """Find what is older than an age, and remove it when that is asked for.

    To read all that is young takes a while, so right before the removal there is a second look,
    which reads only what was written since, and a third one before the blobs go: a job that was
    faster than the removal of a manifest has made it young, and needs its blobs.

    Args:
        store: what to look through.
        age: what is younger stays.
        now: the time, in UTC.
        jobs: job folders count as old too when nothing in them is younger; else they all stay.
        delete: remove it.

    Raises:
        UserError: the URI is not that of a store, or it can't be read or written.
        TransientError: it may be later.
    """
    limit, used = now - age, Used()
    found = old_objects(store, limit, jobs=jobs, used=used)
    if not delete:
        return found.collected()
    manifests = _removed(store, _look(store, limit, jobs=jobs, used=used).manifests, limit)
    rest = _look(store, limit, jobs=jobs, used=used)
    blobs, of_jobs = (_removed(store, old, limit) for old in (rest.blobs, rest.of_jobs))
    gone, left = _amount(manifests), rest.everything
    before = Amount(left.objects + gone.objects, left.size_bytes + gone.size_bytes)
    done = Old(manifests, blobs, of_jobs, before)
    try:
        return done.collected(unfinished=store.remove_unfinished(age))
    except (UserError, TransientError) as error:  # what was removed has to be told all the same
        return done.collected(warning=str(error))


def old_objects(store: Listed, limit: datetime, *, jobs: bool, used: Used | None = None) -> Old:
    """Return what is old.

    Args:
        store: what to look through; nothing is changed.
        limit: objects written before it may be old.
        jobs: whether job folders may be old.
        used: what an earlier look found to be in use; what this one finds is added.

    Raises:
        UserError: the URI is not that of a store.
    """
    if not any(True for level in (_MANIFESTS, _BLOBS) for _ in store.objects(level)):
        raise UserError(
            f"there is nothing at {store.uri('blobs')}: name the folder that has blobs/ and "
            "manifests/, which is spec.storage.uri with the job's namespace behind it"
        )
    return _look(store, limit, jobs=jobs, used=Used() if used is None else used)


def _look(store: Listed, limit: datetime, *, jobs: bool, used: Used) -> Old:
    manifests = list(store.objects(_MANIFESTS))
    blobs = list(store.objects(_BLOBS))
    folders = _folders(store.objects("jobs/"))
    old_folders = {
        name: objects
        for name, objects in folders.items()
        if jobs and all(one.modified < limit for one in objects)
    }
    kept = [one for name, objects in folders.items() if name not in old_folders for one in objects]
    _add_used(used, store, limit, manifests, blobs, kept)
    everything = [*manifests, *blobs, *(one for objects in folders.values() for one in objects)]
    return Old(
        manifests=[m for m in manifests if m.modified < limit and m.key not in used.keys],
        blobs=[b for b in blobs if b.modified < limit and b.key not in used.keys],
        of_jobs=[one for objects in old_folders.values() for one in objects],
        everything=_amount(everything),
    )


def _removed(store: Listed, old: Iterable[Stored], limit: datetime) -> list[Stored]:
    """Remove what is old still; return what that was."""
    objects = list(old)
    gone = store.remove((one.key for one in objects), limit)
    return [one for one in objects if one.key in gone]


def _folders(objects: Iterable[Stored]) -> dict[str, list[Stored]]:
    """Group objects by job folder: jobs/<namespace>/<name>/<uid>."""
    folders: dict[str, list[Stored]] = {}
    for one in objects:
        folders.setdefault("/".join(one.key.split("/")[:4]), []).append(one)
    return folders


def _add_used(
    used: Used,
    store: Listed,
    limit: datetime,
    manifests: Iterable[Stored],
    blobs: Iterable[Stored],
    of_jobs: Iterable[Stored],
) -> None:
    steps = [m for m in manifests if m.modified >= limit]
    units = [b for b in blobs if b.modified >= limit and b.size <= _LARGEST_MANIFEST]
    reports = [one for one in of_jobs if _REPORT.fullmatch(one.key)]
    for data in _read(store, used.unread(steps)):
        if (step := _parsed(StepManifest, data)) is not None:
            used.add_step(step)
    for data in _read(store, used.unread(units)):
        if data.startswith(b"{") and (unit := _parsed(UnitManifest, data)) is not None:
            for step in unit.steps:
                used.add_step(step)
    for data in _read(store, used.unread(reports)):
        used.add_blobs(found.decode() for found in _ARTIFACT.findall(data))


def _read(store: Listed, keys: Iterable[str]) -> Iterator[bytes]:
    with ThreadPoolExecutor(_READERS) as pool:
        for data in pool.map(store.read, keys):
            if data is not None:
                yield data


def _parsed(model: type[M], data: bytes) -> M | None:
    try:
        return model.model_validate_json(data)
    except ValidationError:
        return None


def _amount(objects: Iterable[Stored]) -> Amount:
    sizes = [one.size for one in objects]
    return Amount(objects=len(sizes), size_bytes=sum(sizes))
