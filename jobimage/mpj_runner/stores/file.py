"""A store in a folder of this computer or of a mounted claim."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mpj_runner.contract.errors import UserError


class FileStore:
    """Keep objects as files; every write is a rename or a link, so no reader sees half a file."""

    def __init__(self, root: Path) -> None:
        """Use a folder; it is made by the first write."""
        self.root = root

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

    def put(self, key: str, path: Path) -> str:
        """See ``Store.put``."""
        target = self._path(key)
        with self._explained(), self._temporary(target) as temporary:
            shutil.copyfile(path, temporary)
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
        return self._path(key).absolute().as_uri()

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not all(parts) or {".", ".."} & set(parts):
            raise ValueError(f"not a store key: {key!r}")
        return self.root.joinpath(*parts)

    @contextlib.contextmanager
    def _temporary(self, target: Path) -> Iterator[Path]:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        os.close(handle)
        path = Path(name)
        path.chmod(0o644)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"the store {self.root} is full ({error.strerror}): free some space or set "
                    "spec.storage.uri (mpj run: --store) to a larger one"
                ) from error
            if isinstance(error, PermissionError | NotADirectoryError) or error.errno in (
                errno.EROFS,
                errno.EEXIST,
            ):
                raise UserError(
                    f"the store {self.root} can't be used ({error.strerror}): set "
                    "spec.storage.uri (mpj run: --store) to a folder that this user may write"
                ) from error
            raise
