"""Remove old objects of a bucket, and uploads that nobody finished."""

import random
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.stores.s3_client import CONCURRENCY, Bucket
from mpj_runner.stores.s3_errors import code_of, explain, explained

BATCH: Final = 1000
"""Objects that one request lists, and one removes."""
_LACKING: Final = ("MethodNotAllowed", "NotImplemented")
_NO_BATCHES: Final = (*_LACKING, "InvalidDigest", "InvalidRequest", "MissingContentMD5")
"""Answers of servers that remove one by one, or want the Content-MD5 that the SDK sends no more."""
_TRIES: Final = 6


def listed(bucket: Bucket, prefix: str) -> Iterator[list[dict[str, Any]]]:
    """List the objects of a prefix, a page at a time.

    Raises:
        UserError, TransientError: see ``explained``.
    """
    pages = bucket.client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket.name, Prefix=prefix, PaginationConfig={"PageSize": BATCH}
    )
    with explained(bucket.place):
        for page in pages:
            yield page.get("Contents", [])


def remove_old(bucket: Bucket, prefix: str, keys: Collection[str], before: datetime) -> set[str]:
    """Remove those of the objects below a prefix that are old still; return which.

    To remove many takes minutes, so the age is asked for once more, right before each batch goes.

    Raises:
        UserError: one can't be removed.
        TransientError: the server is away or too busy.
    """
    gone: set[str] = set()
    for page in listed(bucket, prefix):
        batch = [
            found["Key"]
            for found in page
            if found["Key"] in keys and found["LastModified"] < before
        ]
        if batch:
            _remove(bucket, batch)
            gone.update(batch)
    return gone


def abort_old(bucket: Bucket, prefix: str, before: datetime) -> int:
    """Give up the uploads below a prefix that were begun before a moment; return how many.

    Raises:
        UserError: the server tells of none, or denies it.
        TransientError: the server is away.
    """
    pages = bucket.client.get_paginator("list_multipart_uploads")
    removed = 0
    with explained(bucket.place):
        try:
            for page in pages.paginate(Bucket=bucket.name, Prefix=prefix):
                for found in page.get("Uploads", ()):
                    if found["Initiated"].astimezone(UTC) < before:
                        removed += _abort(bucket, found["Key"], found["UploadId"])
        except ClientError as error:
            if code_of(error) not in _LACKING:
                raise
            raise UserError(
                f"{bucket.field}: bucket {bucket.name}: the server can't list or give up uploads "
                f"({code_of(error)}): have a lifecycle rule of the bucket remove unfinished ones"
            ) from error
    return removed


def _remove(bucket: Bucket, keys: Sequence[str]) -> None:
    """Remove objects by one request, and once more what the server was too busy for."""
    codes: set[str] = set()
    for tried in range(_TRIES):
        if tried:
            time.sleep(min(8.0, 0.25 * 2**tried) * random.uniform(0.5, 1))  # noqa: S311 - jitter
        with explained(bucket.place):
            try:
                answer = bucket.client.delete_objects(
                    Bucket=bucket.name, Delete={"Objects": [{"Key": key} for key in keys]}
                )
            except ClientError as error:
                if code_of(error) not in _NO_BATCHES:
                    raise
                _remove_each(bucket, keys)
                return
        refused = [one for one in answer.get("Errors", ()) if one.get("Code") != "NoSuchKey"]
        for one in refused:
            cause = explain(ClientError({"Error": one}, "DeleteObjects"), bucket.place)
            if isinstance(cause, UserError):
                raise UserError(f"s3://{bucket.name}/{one['Key']} can't be removed: {cause}")
        if not refused:
            return
        keys, codes = [one["Key"] for one in refused], {one["Code"] for one in refused}
    raise TransientError(
        f"{bucket.field}: bucket {bucket.name}: {len(keys)} objects can't be removed for now "
        f"({', '.join(sorted(codes))}): look at the server, or try later"
    )


def _remove_each(bucket: Bucket, keys: Sequence[str]) -> None:
    """Remove objects by a request each."""

    def remove(key: str) -> None:
        try:
            bucket.client.delete_object(Bucket=bucket.name, Key=key)
        except ClientError as error:
            if code_of(error) != "NoSuchKey":
                raise

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for _ in pool.map(remove, keys):
            pass


def _abort(bucket: Bucket, key: str, upload: str) -> bool:
    """Give an upload up; False when it is over by now."""
    try:
        bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=key, UploadId=upload)
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise
        return False
    return True
