"""A user's model or data set in a bucket: one object, or all that lies below a prefix."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import canonical, digest
from mpj_runner.stores.s3_client import Bucket, Settings, bucket_of
from mpj_runner.stores.s3_download import Remote, download_all, head
from mpj_runner.stores.s3_errors import MissingError, explained

MAX_OBJECTS: Final = 5_000_000


@dataclass(frozen=True)
class S3Source:
    """Objects as they were when they were listed."""

    bucket: Bucket
    files: Sequence[tuple[Remote, PurePosixPath]]
    """Each object with its path below the source; of one object, its name."""
    folder: bool

    @property
    def sha256(self) -> str:
        """See ``Source.sha256``: of names, sizes and ETags. Other bytes have other ETags."""
        listing = [[path.as_posix(), remote.size, remote.etag] for remote, path in self.files]
        return digest(canonical(["s3", self.folder, listing]))

    def here(self, folder: Path) -> Path:
        """See ``Source.here``; containers of one pod share what one of them has fetched."""
        root = folder / self.sha256
        if not root.exists():
            temporary = folder / f"{self.sha256}.part"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            wanted = [(remote, temporary / path) for remote, path in self.files]
            for parent in {path.parent for _, path in wanted}:
                parent.mkdir(parents=True, exist_ok=True)
            try:
                download_all(self.bucket, wanted)
            except MissingError as error:
                raise TransientError(
                    f"{self.bucket.field}: an object was removed while the source was read: try "
                    "again"
                ) from error
            temporary.rename(root)
        return root if self.folder else root / self.files[0][1]


def s3_source(uri: str, field: str, settings: Settings) -> S3Source:
    """Look at an s3:// URI: an object of that key, or else the objects below it.

    Raises:
        UserError: there is neither, it is empty, or an object's key can't be a path.
        TransientError: the server is away.
    """
    bucket, key = bucket_of(uri, field, settings)
    if key and not uri.endswith("/") and (one := _object(bucket, key)) is not None:
        if one.size == 0:
            raise UserError(f"{field}: {uri} is empty")
        return S3Source(bucket, ((one, PurePosixPath(PurePosixPath(key).name)),), folder=False)
    prefix = f"{key}/" if key else ""
    files = sorted(_below(bucket, prefix), key=lambda pair: pair[1].as_posix())
    if not files:
        raise UserError(
            f"{field}: {uri} does not exist: bucket {bucket.name} has no object of that key and "
            "none below it"
        )
    _check_tree(files, field)
    return S3Source(bucket, files, folder=True)


def _object(bucket: Bucket, key: str) -> Remote | None:
    try:
        found = head(bucket, key)
    except MissingError:
        return None
    return Remote(key, found["ContentLength"], found["ETag"])


def _below(bucket: Bucket, prefix: str) -> Iterator[tuple[Remote, PurePosixPath]]:
    """List the objects below a prefix; keys that end with a slash are folders that tools make."""
    pages = bucket.client.get_paginator("list_objects_v2")
    count = 0
    with explained(bucket.place):
        for page in pages.paginate(Bucket=bucket.name, Prefix=prefix):
            for found in page.get("Contents", ()):
                key = found["Key"]
                if key.endswith("/"):
                    continue
                count += 1
                if count > MAX_OBJECTS:
                    raise UserError(f"{bucket.field}: more than {MAX_OBJECTS} objects lie below it")
                path = _checked(key.removeprefix(prefix), bucket.field)
                yield Remote(key, found["Size"], found["ETag"]), path


def _checked(name: str, field: str) -> PurePosixPath:
    """Return a key's path below its prefix; a key may be any text."""
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise UserError(f"{field}: the key {name!r} can't be a file's path: rename the object")
    return PurePosixPath(name)


def _check_tree(files: Sequence[tuple[Remote, PurePosixPath]], field: str) -> None:
    paths = {path for _, path in files}
    for path in paths:
        for parent in path.parents:
            if parent in paths:
                raise UserError(
                    f"{field}: {parent} is an object and also a folder of {path.name}: rename one"
                )
