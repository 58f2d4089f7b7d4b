"""A job's file and its folder: read, resolved, locked, resumed."""

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.load import load, validate
from mpj_operator.api.source import Source
from mpj_operator.core import conditions as c
from mpj_operator.core.records import released
from mpj_runner.contract.errors import UserError

S = TypeVar("S", bound=Source)
_DISK: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST}
)


def read_job(path: Path) -> MixedPrecisionJob:
    """Return the job of a file, its paths resolved against the file's folder.

    Raises:
        UserError: the file is not there or not valid; one line for each problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text") from error
    job, problems = validate(text, local=True)
    if job is None:
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    return _resolved(job, path.absolute().parent)


def refuse_claims(job: MixedPrecisionJob, path: Path) -> None:
    """Refuse a job that reads or writes a claim: only a cluster can mount it.

    Raises:
        UserError: it does; one line for each source.
    """
    spec = job.spec
    named = {"model": spec.model, "calibration": spec.calibration, "validation": spec.validation}
    named |= {f"candidates[{c.name}].onnx": c.onnx for c in spec.candidates or () if c.onnx}
    if spec.storage is not None:
        named["storage"] = spec.storage
    lines = [
        f"{path}: spec.{field}.uri: {source.uri} is on a claim of a cluster, which this computer "
        "can't mount: name a path or s3://" + (", or give --store" if field == "storage" else "")
        for field, source in named.items()
        if source.claim is not None
    ]
    if lines:
        raise UserError("\n".join(lines))


def with_identity(job: MixedPrecisionJob, folder: Path) -> MixedPrecisionJob:
    """Give the job a uid: that of an unfinished run of the same spec in this folder, or a new one.

    A resumed run keeps its status; units whose processes are gone are to be made again.
    """
    earlier = _earlier(folder)
    if earlier is not None and _resumable(job, earlier):
        units = tuple(
            record if record.state in ("Succeeded", "Failed") else released(record)
            for record in earlier.status.unit_statuses
        )
        status = earlier.status.model_copy(update={"unit_statuses": units})
        metadata = earlier.metadata
    else:
        status = type(job.status)()
        metadata = job.metadata.model_copy(update={"uid": str(uuid.uuid4())})
    metadata = job.metadata.model_copy(
        update={"uid": metadata.uid, "generation": 1, "namespace": job.metadata.namespace}
    )
    return job.model_copy(update={"metadata": metadata, "status": status})


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a job's folder for this process.

    Raises:
        UserError: another run holds it, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"--out {folder}: {error.strerror}: name a folder that this user may write"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise UserError(
                f"another mpj run (process {holder}) works in {folder}: wait for it, or give this "
                "one a folder of its own with --out"
            ) from None
        with usable(folder):
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Say in words that the folder of results is on a disk that is full or can't be written.

    Raises:
        UserError: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise UserError(
            f"--out {folder}: {error.strerror}: free some space, or name another folder; what is "
            "finished is kept"
        ) from error


def _resolved(job: MixedPrecisionJob, folder: Path) -> MixedPrecisionJob:
    spec = job.spec
    candidates = spec.candidates and tuple(
        candidate
        if candidate.onnx is None
        else candidate.model_copy(update={"onnx": _absolute(candidate.onnx, folder)})
        for candidate in spec.candidates
    )
    update = {
        "model": _absolute(spec.model, folder),
        "calibration": _absolute(spec.calibration, folder),
        "validation": _absolute(spec.validation, folder),
        "candidates": candidates,
        "storage": spec.storage and _absolute(spec.storage, folder),
    }
    return job.model_copy(update={"spec": spec.model_copy(update=update)})


def _absolute(source: S, folder: Path) -> S:
    return source.model_copy(update={"uri": absolute_uri(source.uri, folder)})


def absolute_uri(uri: str, folder: Path) -> str:
    """Return a path as a file:// URI, relative ones resolved against a folder."""
    if "://" in uri and not uri.startswith("file://"):
        return uri
    is_uri = uri.startswith("file://")
    path = Path(unquote(uri.removeprefix("file://")) if is_uri else uri).expanduser()
    return Path(os.path.normpath(folder / path)).as_uri()


def _earlier(folder: Path) -> MixedPrecisionJob | None:
    path = folder / "status.yaml"
    try:
        return load(path.read_text(encoding="utf-8"), local=True)
    except (OSError, UserError):
        return None


def _resumable(job: MixedPrecisionJob, earlier: MixedPrecisionJob) -> bool:
    ended = any(c.holds(earlier.status.conditions, kind) for kind in ("Complete", "Failed"))
    return (
        not ended
        and bool(earlier.metadata.uid)
        and earlier.metadata.name == job.metadata.name
        and earlier.spec.sha256() == job.spec.sha256()
    )
