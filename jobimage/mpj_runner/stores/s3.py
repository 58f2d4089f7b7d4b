"""A store in a bucket of an S3 server."""

import logging
import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from botocore.exceptions import ClientError

from mpj_runner.contract.errors import TransientError
from mpj_runner.stores.base import LEVELS, Stored
from mpj_runner.stores.s3_client import Settings, bucket_of
from mpj_runner.stores.s3_download import download_current, head, read_bytes
from mpj_runner.stores.s3_errors import MissingError, code_of, explained
from mpj_runner.stores.s3_removal import abort_old, listed, remove_old
from mpj_runner.stores.s3_upload import encryption, put_bytes, upload

log = logging.getLogger(__name__)
_EXISTS: Final = ("PreconditionFailed", "412")
_RACED: Final = ("ConditionalRequestConflict", "OperationAborted")
_UNKNOWN: Final = ("InvalidArgument", "InvalidRequest", "NotImplemented")
"""Answers of servers that refuse the header of a conditional put."""
_TRIES: Final = 6


class S3Store:
    """Keep objects below a prefix of a bucket."""

    def __init__(self, uri: str, field: str, settings: Settings) -> None:
        """Reach a bucket; nothing is asked of the server before the first call.

        Raises:
            UserError: the URI or the settings can't be right.
        """
        self._bucket, prefix = bucket_of(uri, field, settings)
        self._prefix = f"{prefix}/" if prefix else ""
        self._conditional: bool | None = None
        """Whether the server honours conditional puts; None until the first one tells."""

    def read(self, key: str) -> bytes | None:
        """See ``Store.read``."""
        try:
            return read_bytes(self._bucket, self._prefix + key)
        except MissingError:
            return None

    def fetch(self, key: str, to: Path) -> bool:
        """See ``Store.fetch``."""
        try:
            download_current(self._bucket, self._prefix + key, to)
        except MissingError:
            return False
        return True

    def put(self, key: str, path: Path, sha256: str | None = None) -> str:
        """See ``Store.put``."""
        upload(self._bucket, self._prefix + key, path, sha256)
        return self.uri(key)

    def put_new(self, key: str, data: bytes) -> bytes:
        """See ``Store.put_new``.

        A server that lacks conditional puts is found out by the first one. From then on the key is
        read before and after it is written, and the last of two simultaneous writers wins; both
        have written what is right, and each returns what it saw last.
        """
        for tried in range(_TRIES):
            if self._conditional is False:
                return self._put_last(key, data)
            if self._conditional is None and (held := self.read(key)) is not None:
                return held
            with explained(self._bucket.place):
                refused = self._put_if_new(key, data)
            if refused is None:
                self._find_out(key, data)
                return data
            if refused in _UNKNOWN:
                self._lacks_conditions(refused)
            elif refused in _EXISTS and (held := self.read(key)) is not None:
                return held
            else:
                time.sleep(0.1 * 2**tried * random.uniform(0.5, 1))  # noqa: S311 - jitter
        raise TransientError(
            f"{self._bucket.field}: {self.uri(key)} is written and removed again and again"
        )

    def size(self, key: str) -> int | None:
        """See ``Store.size``."""
        try:
            return int(head(self._bucket, self._prefix + key)["ContentLength"])
        except MissingError:
            return None

    def uri(self, key: str) -> str:
        """See ``Store.uri``."""
        return f"s3://{self._bucket.name}/{self._prefix}{key}"

    def objects(self, prefix: str) -> Iterator[Stored]:
        """See ``Listed.objects``."""
        for page in listed(self._bucket, self._prefix + prefix):
            for found in page:
                key = found["Key"].removeprefix(self._prefix)
                yield Stored(key, found["Size"], found["LastModified"].astimezone(UTC))

    def remove(self, keys: Iterable[str], before: datetime) -> set[str]:
        """See ``Listed.remove``."""
        full = {self._prefix + key for key in keys}
        gone: set[str] = set()
        for level in {key.removeprefix(self._prefix).partition("/")[0] for key in full}:
            gone |= remove_old(self._bucket, f"{self._prefix}{level}/", full, before)
        return {key.removeprefix(self._prefix) for key in gone}

    def remove_unfinished(self, older_than: timedelta) -> int:
        """See ``Listed.remove_unfinished``: uploads in parts that nobody has finished."""
        limit = datetime.now(UTC) - older_than
        return sum(abort_old(self._bucket, self._prefix + level, limit) for level in LEVELS)

    def _put_if_new(self, key: str, data: bytes) -> str | None:
        """Put on the condition that there is nothing; return S3's word for a refusal."""
        extra = {"IfNoneMatch": "*", **encryption(self._bucket)}
        try:
            put_bytes(self._bucket, self._prefix + key, data, extra)
        except ClientError as error:
            if code_of(error) in (*_EXISTS, *_RACED, *_UNKNOWN):
                return code_of(error)
            raise
        return None

    def _find_out(self, key: str, data: bytes) -> None:
        """Put the same bytes once more: a server that honours the condition refuses."""
        if self._conditional is not None:
            return
        with explained(self._bucket.place):
            refused = self._put_if_new(key, data)
        if refused in _EXISTS:
            self._conditional = True
        elif refused is None:
            self._lacks_conditions("it ignores them")

    def _lacks_conditions(self, why: str) -> None:
        self._conditional = False
        log.warning(
            "the server at %s lacks conditional puts (%s): of two pods that make the same result "
            "at the same moment, each may go on with its own",
            self._bucket.place.endpoint,
            why,
        )

    def _put_last(self, key: str, data: bytes) -> bytes:
        held = self.read(key)
        if held is not None:
            return held
        with explained(self._bucket.place):
            put_bytes(self._bucket, self._prefix + key, data, encryption(self._bucket))
        return self.read(key) or data
