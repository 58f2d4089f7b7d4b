"""Folders as blobs: one deterministic tar, so that a folder's digest depends on its files only."""

import hashlib
import shutil
import tarfile
from pathlib import Path

from mpj_runner.contract.messages import canonical
from mpj_runner.stores.base import file_digest


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted by their relative POSIX path."""
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


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
    """Write a packed folder's files below an empty folder; links and escapes are refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "r:") as tar:
        tar.extractall(folder, filter="data")


def copied(path: Path, to: Path) -> Path:
    """Copy a file, or the files below a folder, and return where to."""
    if path.is_file():
        shutil.copyfile(path, to)
        return to
    to.mkdir()
    for file in files_of(path):
        target = to / file.relative_to(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return to


def source_digest(path: Path) -> str:
    """Return one digest of a file's bytes, or of all names and bytes below a folder."""
    if path.is_file():
        return file_digest(path)
    listing = [[p.relative_to(path).as_posix(), file_digest(p)] for p in files_of(path)]
    return hashlib.sha256(canonical(listing)).hexdigest()
