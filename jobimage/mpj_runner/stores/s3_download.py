"""Bring an object here: ranges at once, each taken up again where a connection broke."""

import contextlib
import http.client
import os
import random
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore import exceptions as b
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from mpj_runner.contract.errors import TransientError
from mpj_runner.stores.base import is_blob
from mpj_runner.stores.s3_client import CONCURRENCY, Bucket
from mpj_runner.stores.s3_errors import ReplacedError, code_of, explained

PART: Final = 16 * 2**20
"""Bytes of one request."""
_BLOCK: Final = 2**20
_TRIES: Final = 6
"""Broken connections in a row, without a byte between them, that a range survives."""
_STARTS: Final = 4
"""Of the download of one blob, before it is given up."""
_BROKEN: Final = (
    b.ReadTimeoutError,
    b.ResponseStreamingError,
    b.IncompleteReadError,
    b.ConnectionClosedError,
    b.FlexibleChecksumError,
    HTTPError,
    http.client.HTTPException,
    ConnectionError,
)


@dataclass(frozen=True)
class Remote:
    """One state of an object."""

    key: str
    size: int
    etag: str
    """In its quotes; other bytes have another one."""


def read_bytes(bucket: Bucket, key: str) -> bytes:
    """Return a small object's bytes.

    Raises:
        MissingError, UserError, TransientError: see ``download``.
    """
    tried = 0
    while True:
        try:
            with explained(bucket.place):
                answer = bucket.client.get_object(Bucket=bucket.name, Key=key)
            return bytes(answer["Body"].read())
        except _BROKEN as error:
            tried += 1
            _pause(bucket, key, tried, error)


def head(bucket: Bucket, key: str) -> Any:  # noqa: ANN401 - parsed from the wire
    """Return what the server says of an object.

    The refusal of a HEAD has no words, so the first byte is asked for to hear them.

    Raises:
        MissingError: there is no such object.
        UserError, TransientError: see ``download``.
    """
    with explained(bucket.place):
        try:
            return bucket.client.head_object(Bucket=bucket.name, Key=key)
        except ClientError as silent:
            if code_of(silent) not in ("400", "403"):
                raise
            try:
                answer = bucket.client.get_object(Bucket=bucket.name, Key=key, Range="bytes=0-0")
            except ClientError as told:
                told.operation_name = silent.operation_name
                raise told from silent
            answer["Body"].close()
            raise


def download_current(bucket: Bucket, key: str, to: Path) -> None:
    """Write the bytes that an object has now to a file.

    A blob has the same bytes whoever writes it again, but encrypted by KMS each time another ETag:
    its download starts over.

    Raises:
        MissingError, UserError, TransientError: see ``download``.
    """
    for left in reversed(range(_STARTS)):
        found = head(bucket, key)
        try:
            download(bucket, Remote(key, found["ContentLength"], found["ETag"]), to)
        except ReplacedError:
            if not left or not is_blob(key):
                raise
        else:
            return


def download(bucket: Bucket, remote: Remote, to: Path) -> None:
    """Write an object's bytes to a file.

    Raises:
        MissingError: it is gone.
        UserError: it can't be read.
        TransientError: the server is away.
        ReplacedError: the object was replaced in between.
    """
    with to.open("wb") as file, ThreadPoolExecutor(CONCURRENCY) as pool:
        file.truncate(remote.size)
        _all(
            pool,
            [
                pool.submit(_Range(bucket, remote, start, file.fileno()).copy)
                for start in range(0, remote.size, PART)
            ],
        )


def download_all(bucket: Bucket, wanted: Iterable[tuple[Remote, Path]]) -> None:
    """Write many objects, small ones side by side.

    Raises:
        MissingError, UserError, TransientError: see ``download``.
    """
    pairs = list(wanted)
    with ThreadPoolExecutor(2 * CONCURRENCY) as pool:
        small = [pair for pair in pairs if pair[0].size <= PART]
        _all(pool, [pool.submit(_small, bucket, remote, path) for remote, path in small])
    for remote, path in pairs:
        if remote.size > PART:
            download(bucket, remote, path)


def _small(bucket: Bucket, remote: Remote, to: Path) -> None:
    with to.open("wb") as file:
        if remote.size:
            _Range(bucket, remote, 0, file.fileno()).copy()


def _all(pool: ThreadPoolExecutor, futures: Iterable[Future[None]]) -> None:
    """Wait for all; the first failure stops what has not begun."""
    try:
        for future in futures:
            future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


@dataclass
class _Range:
    """One range on its way into a file."""

    bucket: Bucket
    remote: Remote
    at: int
    """The next byte that is wanted."""
    file: int

    def copy(self) -> None:
        """Copy the range to its place in the file."""
        end = min(self.at + PART, self.remote.size)
        tried, reached = 0, self.at
        while self.at < end:
            try:
                self._read(end)
            except _BROKEN as error:
                tried = 1 if self.at > reached else tried + 1
                reached = self.at
                _pause(self.bucket, self.remote.key, tried, error)

    def _read(self, end: int) -> None:
        """Read on as far as the connection holds."""
        with explained(self.bucket.place):
            answer = self.bucket.client.get_object(
                Bucket=self.bucket.name,
                Key=self.remote.key,
                Range=f"bytes={self.at}-{end - 1}",
                IfMatch=self.remote.etag,
            )
        with contextlib.closing(answer["Body"]) as body:  # its own context checks no length
            began = self.at
            if not self._is_wanted(answer, end):
                raise self._other(end)
            while block := body.read(_BLOCK):
                if self.at + len(block) > end:
                    raise self._other(end)
                self.at += os.pwrite(self.file, block, self.at)
            if self.at == began:
                raise b.IncompleteReadError(actual_bytes=0, expected_bytes=end - began)

    def _is_wanted(self, answer: Mapping[str, Any], end: int) -> bool:
        """Tell whether the bytes are those of the range: a server may ignore that and send all."""
        if (told := answer.get("ContentRange")) is not None:
            return str(told).startswith(f"bytes {self.at}-")
        return self.at == 0 and end == self.remote.size == answer.get("ContentLength")

    def _other(self, end: int) -> TransientError:
        bucket = self.bucket
        return TransientError(
            f"{bucket.field}: asked for the bytes {self.at}-{end - 1} of "
            f"s3://{bucket.name}/{self.remote.key}, {bucket.place.endpoint} sent others: see that "
            "the server, and any proxy before it, heeds the header Range"
        )


def _pause(bucket: Bucket, key: str, tried: int, error: Exception) -> None:
    """Wait before the next try; raise when there is none."""
    if tried == _TRIES:
        raise TransientError(
            f"{bucket.field}: reading s3://{bucket.name}/{key} broke off {_TRIES} times in a row "
            f"({type(error).__name__}): see that the server at {bucket.place.endpoint} is well, or "
            "try later"
        ) from error
    time.sleep(min(8.0, 0.25 * 2**tried) * random.uniform(0.5, 1))  # noqa: S311 - jitter
