"""Where a user's model or data set comes from, before and after its bytes are here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import canonical, digest
from mpj_runner.stores.folders import Fence, code_digest, source_digest


class Source(Protocol):
    """A file or folder that a user named."""

    @property
    def sha256(self) -> str:
        """A digest that changes with any byte or name; it needs no download."""
        ...

    def here(self, folder: Path) -> Path:
        """Return the local file or folder; what is far away is brought below ``folder``.

        Raises:
            UserError: it can't be read.
            TransientError: it may be readable later.
        """
        ...


@dataclass(frozen=True)
class LocalSource:
    """A file or folder of this computer or of a mounted claim; used where it lies."""

    path: Path
    fence: Fence | None = None
    """The claim that it lies in."""

    @property
    def sha256(self) -> str:
        """See ``Source.sha256``: of all names and bytes."""
        return source_digest(self.path, self.fence)

    def with_code(self, module: str) -> str:
        """Return a digest that also changes with the code beside a model's file.

        A folder has its code in it, and a claim's file is taken alone.
        """
        if self.fence is not None or not self.path.is_file():
            return self.sha256
        code = code_digest(self.path.resolve().parent, module)
        return digest(canonical(["code", self.sha256, code]))

    def here(self, folder: Path) -> Path:
        """See ``Source.here``."""
        del folder
        return self.path


def local_source(path: Path, field: str, uri: str, fence: Fence | None = None) -> LocalSource:
    """Return a source of this computer, or of a mounted claim.

    Raises:
        UserError: nothing is there, nothing is in it, or it leads out of its claim; ``field`` is
            named.
    """
    where = uri if uri.startswith("pvc://") else path
    if not path.exists():
        raise UserError(f"{field}: {where} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{field}: {where} is empty")
    return LocalSource(path, fence)
