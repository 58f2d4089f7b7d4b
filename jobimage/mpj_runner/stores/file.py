"""A store in a folder of this computer or of a mounted claim."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from mpj_runner.contract.errors import UserError
from mpj_runner.stores.base import Stored, check_digest, file_digest

_PART: Final = ".part-"


class FileStore:
    """Keep objects as files; every write is a rename or a link, so no reader sees half a file."""

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
                shutil.copyfile(self._path(key), to)
        except FileNotFoundError:
            return False
        return True

    def put(self, key: str, path: Path, sha256: str | None = None) -> str:
        """See ``Store.put``."""
        target = self._path(key)
        with self._explained(), self._temporary(target) as temporary:
            shutil.copyfile(path, temporary)
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
        root = self._path(prefix.rstrip("/"))
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.startswith(_PART):
                found = path.stat()
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield Stored(path.relative_to(self.root).as_posix(), found.st_size, modified)

    def remove(self, keys: Iterable[str]) -> None:
        """See ``Listed.remove``; folders that become empty go too."""
        for key in keys:
            path = self._path(key)
            with self._explained():
                path.unlink(missing_ok=True)
                for parent in path.parents:
                    if parent == self.root or any(parent.iterdir()):
                        break
                    parent.rmdir()

    def remove_unfinished(self, older_than: timedelta) -> int:
        """See ``Listed.remove_unfinished``."""
        limit = (datetime.now(UTC) - older_than).timestamp()
        old = [path for path in self.root.rglob(f"{_PART}*") if path.stat().st_mtime < limit]
        with self._explained():
            for path in old:
                path.unlink(missing_ok=True)
        return len(old)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(parts) or {".", ".."} & set(parts):
            raise ValueError(f"not a store key: {key!r}")
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def _temporary(self, target: Path) -> Iterator[Path]:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=_PART)
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
