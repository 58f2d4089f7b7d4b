"""A store in a folder of this computer or of a mounted claim."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from mpj_runner.contract.errors import UserError
from mpj_runner.stores.base import LEVELS, Stored, check_digest, file_digest

_PART: Final = ".part-"
_BLOCK: Final = 2**20
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems without hard links answer."""


class FileStore:
    """Keep objects as files; every write is a rename or a link, so no reader sees half a file.

    Where there are no links, a reader may see half of what ``put_new`` writes: half a manifest is
    a miss.
    """

    def __init__(self, root: Path, uri: str = "") -> None:
        """Use a folder; it is made by the first write.

        Args:
            root: the folder.
            uri: what people call it, where that is not file://.
        """
        self.root = root
        self._claim = uri.rstrip("/") if uri.startswith("pvc://") else None

    def read(self, key: str) -> bytes | None:
        """See ``Store.read``."""
        try:
            with self._explained():
                return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def fetch(self, key: str, to: Path) -> bool:
        """See ``Store.fetch``."""
        try:
            with self._explained():
                source = self._path(key).open("rb")
        except FileNotFoundError:
            return False
        with source, to.open("wb") as file:  # errors of the work's disk are not the store's
            shutil.copyfileobj(source, file, _BLOCK)
        return True

    def put(self, key: str, path: Path, sha256: str | None = None) -> str:
        """See ``Store.put``."""
        target = self._path(key)
        with path.open("rb") as source, self._explained(), self._temporary(target) as temporary:
            with temporary.open("wb") as file:
                shutil.copyfileobj(source, file, _BLOCK)
            if sha256 is not None:
                check_digest(file_digest(temporary), sha256, path)
            temporary.replace(target)
        return self.uri(key)

    def put_new(self, key: str, data: bytes) -> bytes:
        """See ``Store.put_new``."""
        target = self._path(key)
        with self._explained(), self._temporary(target) as temporary:
            temporary.write_bytes(data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return target.read_bytes()
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return _written_new(target, data)
        return data

    def size(self, key: str) -> int | None:
        """See ``Store.size``."""
        try:
            with self._explained():
                return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def uri(self, key: str) -> str:
        """See ``Store.uri``."""
        path = self._path(key)
        return path.absolute().as_uri() if self._claim is None else f"{self._claim}/{key}"

    def objects(self, prefix: str) -> Iterator[Stored]:
        """See ``Listed.objects``."""
        with self._explained():
            for path, found in self._files(prefix):
                if not path.name.startswith(_PART):
                    modified = datetime.fromtimestamp(found.st_mtime, UTC)
                    yield Stored(path.relative_to(self.root).as_posix(), found.st_size, modified)

    def remove(self, keys: Iterable[str], before: datetime) -> set[str]:
        """See ``Listed.remove``; a job's folders that become empty go too."""
        jobs, gone = self.root / "jobs", set()
        for key in keys:
            path = self._path(key)
            try:
                with self._explained():
                    if path.stat().st_mtime >= before.timestamp():
                        continue
                    path.unlink()
            except FileNotFoundError:
                continue
            gone.add(key)
            with contextlib.suppress(OSError):  # a folder that has something
                for parent in path.parents:
                    if jobs not in parent.parents:
                        break
                    parent.rmdir()
        return gone

    def remove_unfinished(self, older_than: timedelta) -> int:
        """See ``Listed.remove_unfinished``."""
        limit = (datetime.now(UTC) - older_than).timestamp()
        removed = 0
        with self._explained():
            for path, found in (pair for level in LEVELS for pair in self._files(level)):
                if path.name.startswith(_PART) and found.st_mtime < limit:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _files(self, prefix: str) -> Iterator[tuple[Path, os.stat_result]]:
        """List plain files below a prefix; what vanishes meanwhile is left out."""
        for here, folders, files in os.walk(self._path(prefix.rstrip("/")), onerror=_unless_gone):
            folders.sort()
            for name in sorted(files):
                path = Path(here, name)
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield path, found

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(parts) or {".", ".."} & set(parts):
            raise ValueError(f"not a store key: {key!r}")
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def _temporary(self, target: Path) -> Iterator[Path]:
        try:
            handle, name = _made(target.parent)
        except FileNotFoundError:  # a collection of old objects took the empty folder away
            handle, name = _made(target.parent)
        os.close(handle)
        path = Path(name)
        path.chmod(0o644)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        place = self._claim or self.root
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"the store {place} is full ({error.strerror}): free some space or set "
                    "spec.storage.uri (mpj run: --store) to a larger one"
                ) from error
            if isinstance(error, PermissionError | NotADirectoryError) or error.errno in (
                errno.EROFS,
                errno.EEXIST,
            ):
                raise UserError(
                    f"the store {place} can't be used ({error.strerror}): set "
                    "spec.storage.uri (mpj run: --store) to a folder that this user may write"
                ) from error
            raise


def _made(folder: Path) -> tuple[int, str]:
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.mkstemp(dir=folder, prefix=_PART)


def _written_new(target: Path, data: bytes) -> bytes:
    """Write a file unless it exists, without links; return what it holds."""
    try:
        file = target.open("xb")
    except FileExistsError:
        return target.read_bytes()
    try:
        with file:
            file.write(data)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return data


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
