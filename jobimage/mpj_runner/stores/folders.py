"""Folders as blobs: one deterministic tar, so that a folder's digest depends on its files only."""

import hashlib
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import canonical
from mpj_runner.stores.base import file_digest
from mpj_runner.walk import files_below

_COMPILED: Final = "__pycache__"


@dataclass(frozen=True)
class Fence:
    """A claim that what is read must lie in.

    Whoever may write to a claim could have a container read its own secrets through a link.
    """

    root: Path
    """Where the claim is mounted."""
    field: str
    """Of the spec, for messages."""

    def check(self, path: Path, name: Path | None = None) -> None:
        """Refuse a path that leads out of the claim.

        Args:
            path: what is looked at.
            name: what it is called in messages, where that is another path.

        Raises:
            UserError: it does.
        """
        # Path.resolve raises where links go round; realpath does not.
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root)):
            shown = (name or path).relative_to(self.root).as_posix()
            raise UserError(
                f"{self.field}: {shown} is a link out of the claim: put the file itself there"
            )


def files_of(folder: Path, fence: Fence | None = None) -> list[Path]:
    """Return the files below a folder, sorted by their relative POSIX path.

    Links to folders are followed, except those that lead back; compiled Python is left out.

    Raises:
        UserError: one is a link out of the fence.
    """
    check = fence.check if fence is not None else lambda _: None
    found = (file for file in files_below(folder, check, without=_COMPILED) if file.is_file())
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def pack(folder: Path, to: Path) -> None:
    """Write a folder as an uncompressed tar without times, owners and modes."""
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in files_of(folder):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)


def unpack(path: Path, folder: Path) -> None:
    """Write a packed folder's files below an empty folder.

    Entry by entry, since Python 3.11.2 of Debian 12 has no filters that refuse links and escapes.

    Raises:
        UserError: something in it is not a plain file below the folder: ``pack`` did not write it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "r:") as tar:
        for entry in tar:
            name = PurePosixPath(entry.name)
            packed = tar.extractfile(entry) if entry.isreg() else None
            if packed is None or name.is_absolute() or ".." in name.parts:
                raise UserError(
                    f"{path.name}: {entry.name!r} is no plain file below its folder: do not trust "
                    "what wrote this store"
                )
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                shutil.copyfileobj(packed, file, 2**20)


def copied(path: Path, to: Path, fence: Fence) -> Path:
    """Copy a file of a claim, or the files below a folder, and return where to.

    Raises:
        UserError: one is a link out of the claim.
    """
    if path.is_file():
        _copy(path, to, fence)
        return to
    to.mkdir()
    for file in files_of(path, fence):
        target = to / file.relative_to(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(file, target, fence)
    return to


def _copy(path: Path, to: Path, fence: Fence) -> None:
    with path.open("rb") as file, to.open("wb") as copy:
        # Of what is open, not of what had this name a moment ago.
        fence.check(Path(f"/proc/self/fd/{file.fileno()}"), path)
        shutil.copyfileobj(file, copy, 2**20)


def source_digest(path: Path, fence: Fence | None = None) -> str:
    """Return one digest of a file's bytes, or of all names and bytes below a folder.

    Raises:
        UserError: something is a link out of the fence.
    """
    if path.is_file():
        return file_digest(path)
    return _listed(path, files_of(path, fence))


def code_digest(folder: Path, module: str) -> str:
    """Return one digest of the Python files that importing a module of a folder may read.

    Those are the folder's own, and those of the packages in it; not those of any folder, as the
    folder may be a person's home.
    """
    packages = {path.parent for path in folder.glob("*/__init__.py")}
    packages.add(folder / module.partition(".")[0])
    files = [*folder.glob("*.py"), *(f for p in packages for f in files_of(p) if f.suffix == ".py")]
    return _listed(folder, sorted(path for path in files if path.is_file()))


def _listed(folder: Path, files: list[Path]) -> str:
    listing = [[path.relative_to(folder).as_posix(), file_digest(path)] for path in files]
    return hashlib.sha256(canonical(listing)).hexdigest()
