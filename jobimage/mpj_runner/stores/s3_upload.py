"""Take a file to a bucket: in parts at once, and on from the parts that an earlier try left.

Every request carries a digest of its bytes that the server checks: Content-MD5, which all servers
know, or S3's own SHA-256 where ``checksums`` is WhenSupported.
"""

import base64
import hashlib
import mimetypes
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, Final

from botocore.exceptions import ClientError

from mpj_runner.contract.errors import UserError
from mpj_runner.stores.base import blob_key, check_digest, file_digest
from mpj_runner.stores.s3_client import CONCURRENCY, Bucket
from mpj_runner.stores.s3_download import head
from mpj_runner.stores.s3_errors import MissingError, code_of, explained

PART: Final = 16 * 2**20
"""Bytes of one part; more where the file would need more than ``_PARTS``."""
_PARTS: Final = 10_000
_IDLE: Final = timedelta(minutes=2)
"""An upload that got a part more lately may have a living writer: it is left alone."""
_OVER: Final = ("InvalidPart", "NoSuchUpload")
"""Answers for an upload, or parts of one, that are not there any more."""
_DEFAULT: Final = "CRC64NVME"
"""The checksum that S3 itself makes of an upload that was begun without one."""
_IN_FLIGHT: Final = CONCURRENCY // 2
"""Parts in memory at once."""


def upload(bucket: Bucket, key: str, path: Path, sha256: str | None) -> None:
    """Write a file's bytes as an object; readers see the old object or the new one.

    An earlier try is taken up for a blob only, whose name is its digest: of any other object the
    metadata would stay those of the earlier bytes. Nor is it where encryption is asked for, which
    may have been another one then.

    Args:
        bucket: where.
        key: name of the object.
        path: the file.
        sha256: of its bytes, where it is known; it becomes the object's metadata ``sha256``.

    Raises:
        UserError: it can't be written.
        TransientError: the server is away, or the file has other bytes by now.
    """
    size = path.stat().st_size
    digest = sha256 or file_digest(path)
    extra = _extra(bucket, key, digest)
    if size <= PART:
        data = path.read_bytes()
        check_digest(hashlib.sha256(data).hexdigest(), sha256, path)
        with explained(bucket.place):
            put_bytes(bucket, key, data, extra)
        return
    shared = key.endswith(blob_key(digest)) and not encryption(bucket)
    for resumes in (shared, False):
        try:
            _Multipart(bucket, key, path, size, extra, sha256).run(resumes=resumes)
        except _GoneError:
            # Another writer of the same bytes has finished, or someone has cleaned up.
            if shared and _size(bucket, key) == size:
                return
        else:
            return
    raise UserError(f"{bucket.field}: the parts of s3://{bucket.name}/{key} are removed by others")


def put_bytes(bucket: Bucket, key: str, data: bytes, extra: Mapping[str, Any]) -> None:
    """Write a small object with one request; ``extra`` joins its arguments.

    Raises:
        ClientError, BotoCoreError: as the client raises them, for the caller to explain.
    """
    bucket.client.put_object(
        Bucket=bucket.name, Key=key, Body=data, **_check(bucket, data), **extra
    )


def encryption(bucket: Bucket) -> dict[str, str]:
    """Return the arguments that ask for encryption."""
    wanted = bucket.access.encryption
    if wanted is None:
        return {}
    named = {"SSEKMSKeyId": wanted.kms_key_id} if wanted.kms_key_id else {}
    return {"ServerSideEncryption": wanted.algorithm, **named}


def _extra(bucket: Bucket, key: str, sha256: str) -> dict[str, Any]:
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return {"ContentType": kind, "Metadata": {"sha256": sha256}, **encryption(bucket)}


def _check(bucket: Bucket, data: bytes) -> dict[str, str]:
    """Return the argument by which the server checks the bytes."""
    if bucket.access.checksums == "WhenSupported":
        return {"ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return {"ContentMD5": base64.b64encode(md5).decode()}


def _size(bucket: Bucket, key: str) -> int | None:
    try:
        return int(head(bucket, key)["ContentLength"])
    except MissingError:
        return None


class _GoneError(Exception):
    """Raise when the upload that parts are added to is not there any more."""


@dataclass
class _Multipart:
    """One upload in parts."""

    bucket: Bucket
    key: str
    path: Path
    size: int
    extra: Mapping[str, Any]
    sha256: str | None
    upload: str = ""
    done: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Parts by number, as the server is to be told of them at the end."""

    @property
    def _sha(self) -> bool:
        return self.bucket.access.checksums == "WhenSupported"

    def run(self, *, resumes: bool) -> None:
        """Upload what the server lacks, and have it put together."""
        there = self._begin(resumes=resumes)
        whole = hashlib.sha256()
        with self.path.open("rb") as file, ThreadPoolExecutor(_IN_FLIGHT) as pool:
            pending: set[Future[None]] = set()
            try:
                for number, data in self._parts(file):
                    whole.update(data)
                    if self._have(there.get(number), data):
                        self.done[number] = self._told(there[number], number)
                        continue
                    pending.add(pool.submit(self._part, number, data))
                    pending = _settled(pending, most=_IN_FLIGHT)
                _settled(pending, most=0)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        check_digest(whole.hexdigest(), self.sha256, self.path)
        parts = [self.done[number] for number in sorted(self.done)]
        self._call("complete_multipart_upload", MultipartUpload={"Parts": parts})

    def _parts(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        length = max(PART, -(-self.size // _PARTS))
        number = 0
        while data := file.read(length):
            number += 1
            yield number, data

    def _begin(self, *, resumes: bool) -> dict[int, dict[str, Any]]:
        """Take up an earlier upload of this key, or begin one; return the parts that are there."""
        if resumes and (parts := self._left()) is not None:
            return {part["PartNumber"]: part for part in parts}
        algorithm = {"ChecksumAlgorithm": "SHA256"} if self._sha else {}
        with explained(self.bucket.place):
            begun = self.bucket.client.create_multipart_upload(
                Bucket=self.bucket.name, Key=self.key, **algorithm, **self.extra
            )
        self.upload = begun["UploadId"]
        return {}

    def _left(self) -> list[dict[str, Any]] | None:
        """Take the newest upload of this key that no living writer adds to; return its parts."""
        with explained(self.bucket.place):
            try:
                found = self.bucket.client.list_multipart_uploads(
                    Bucket=self.bucket.name, Prefix=self.key
                )
                own = [u for u in found.get("Uploads", ()) if u["Key"] == self.key]
                for upload in sorted(own, key=lambda u: u["Initiated"], reverse=True):
                    self.upload = upload["UploadId"]
                    parts = self._listed()
                    if self._fits(upload, parts) and _are_idle(parts, found):
                        return parts
            except ClientError as error:
                if code_of(error) in _OVER:
                    raise _GoneError from error
                # No right to list, or a server that cannot: begin anew.
        return None

    def _listed(self) -> list[dict[str, Any]]:
        pages = self.bucket.client.get_paginator("list_parts")
        return [
            part
            for page in pages.paginate(Bucket=self.bucket.name, Key=self.key, UploadId=self.upload)
            for part in page.get("Parts", ())
        ]

    def _fits(self, upload: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> bool:
        """Tell whether an upload was begun with the checksums that this one sends."""
        algorithm = upload.get("ChecksumAlgorithm") or None
        of_parts = [part.get("ChecksumSHA256") for part in parts]
        if self._sha:
            return algorithm in (None, "SHA256") and all(of_parts)
        return algorithm in (None, _DEFAULT) and not any(of_parts)

    def _have(self, part: dict[str, Any] | None, data: bytes) -> bool:
        """Tell whether the server has these bytes as this part."""
        if part is None or part["Size"] != len(data):
            return False
        if self._sha:
            return bool(part.get("ChecksumSHA256") == _check(self.bucket, data)["ChecksumSHA256"])
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return bool(part["ETag"].strip('"') == md5)

    def _part(self, number: int, data: bytes) -> None:
        answer = self._call(
            "upload_part", PartNumber=number, Body=data, **_check(self.bucket, data)
        )
        self.done[number] = self._told(answer, number)

    def _told(self, part: Mapping[str, Any], number: int) -> dict[str, Any]:
        sha = {"ChecksumSHA256": part["ChecksumSHA256"]} if self._sha else {}
        return {"PartNumber": number, "ETag": part["ETag"], **sha}

    def _call(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - the client is untyped
        with explained(self.bucket.place):
            try:
                return getattr(self.bucket.client, name)(
                    Bucket=self.bucket.name, Key=self.key, UploadId=self.upload, **arguments
                )
            except ClientError as error:
                if code_of(error) in _OVER:
                    raise _GoneError from error
                raise


def _are_idle(parts: Collection[Mapping[str, Any]], answer: Mapping[str, Any]) -> bool:
    """Tell whether there are parts, and none is so young that its writer may live."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return bool(parts) and all(part["LastModified"] <= now - _IDLE for part in parts)


def _settled(pending: set[Future[None]], most: int) -> set[Future[None]]:
    """Wait until at most so many are under way; raise what went wrong with the others."""
    while len(pending) > most:
        over, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in over:
            future.result()
    return pending
