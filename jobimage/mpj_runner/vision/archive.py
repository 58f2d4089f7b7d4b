"""Opening a data set that is one tar or zip file.

An archive comes from outside: every entry is checked before a byte is written, and the bytes are
counted while they are written, since the sizes in a zip's headers may lie.
"""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from mpj_runner.contract.errors import UserError

MAX_RATIO: Final = 200
"""Unpacked over packed bytes: images do not compress, annotations do by ten to one."""
FREE_BYTES: Final = 64 * 2**20
"""Small archives may unpack to this much whatever their ratio."""
MAX_ENTRIES: Final = 5_000_000
_BLOCK: Final = 2**20
_ENCRYPTED: Final = 1
_UNIX_LINK: Final = 0o12
"""A symbolic link's type in the upper bits of a zip entry's Unix mode."""
_BROKEN: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
)

Entry = tuple[str, IO[bytes] | None]
"""Name, and the opened content; None for what is no plain file."""


@contextmanager
def opened(source: Path, work: Path, field: str, own: Collection[str]) -> Iterator[Path]:
    """Give the folder of a data set: the source itself, or what its archive holds.

    Args:
        source: a folder, or a tar (compressed or not) or zip file.
        work: an archive is unpacked below it and removed afterwards.
        field: for messages, such as "spec.validation".
        own: names of folders that belong to data sets and do not merely wrap one.

    Yields:
        The folder; of an archive that holds nothing but one wrapping folder, that one.

    Raises:
        UserError: it does not exist, is no archive, or an entry is not safe.
    """
    if source.is_dir():
        yield source.absolute()
        return
    if not source.exists():
        raise UserError(f"{field}.uri does not exist: correct it or upload the data set")
    folder = (work / "unpacked").absolute()
    try:
        folder.mkdir()
        try:
            _unpack(source, folder, field)
        except _BROKEN as error:
            raise UserError(
                f"{field}.uri is neither a folder nor a whole tar or zip file ({error}): upload it "
                "again"
            ) from error
        yield _inner(folder, own)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(source: Path, folder: Path, field: str) -> None:
    budget = max(FREE_BYTES, MAX_RATIO * source.stat().st_size)
    for number, (name, content) in enumerate(_entries(source, folder, field)):
        target = folder / _checked(name, field)
        if content is None:
            raise UserError(
                f"{field}.uri: entry {name!r} of the archive is a link or a device: pack plain "
                "files only (tar --dereference --hard-dereference)"
            )
        if number >= MAX_ENTRIES:
            raise UserError(f"{field}.uri: the archive has more than {MAX_ENTRIES} entries")
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as file:
            while block := content.read(_BLOCK):
                budget -= len(block)
                if budget < 0:
                    raise UserError(
                        f"{field}.uri: the archive unpacks to more than {MAX_RATIO} times its "
                        "size; unpack it yourself and give the folder"
                    )
                file.write(block)


def _entries(source: Path, folder: Path, field: str) -> Iterator[Entry]:
    # A zip is known by its end, so a tar that ends with one is taken for it.
    if zipfile.is_zipfile(source) and not tarfile.is_tarfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if info.flag_bits & _ENCRYPTED:
                    raise UserError(f"{field}.uri: the archive is encrypted: pack it without")
                if not info.is_dir():
                    link = info.external_attr >> 28 == _UNIX_LINK
                    yield info.filename, None if link else archive.open(info)
    else:
        with tarfile.open(source) as tar:
            for member in tar:
                if member.islnk():
                    yield member.name, _linked(member, folder)
                elif not member.isdir():
                    yield member.name, tar.extractfile(member) if member.isreg() else None


def _linked(member: tarfile.TarInfo, folder: Path) -> IO[bytes] | None:
    """Open what a hard link names: a file of the same archive, which comes before its links.

    It is read where it was unpacked to: nothing but plain files is there, and to go back within a
    compressed tar would mean to unpack all before it once more, for each link.
    """
    name, origin = _safe(member.name), _safe(member.linkname)
    if origin is None or origin == name or not (folder / origin).is_file():
        return None
    return (folder / origin).open("rb")


def _checked(name: str, field: str) -> PurePosixPath:
    path = _safe(name)
    if path is None:
        raise UserError(
            f"{field}.uri: entry {name!r} of the archive leads outside of it: pack relative paths "
            "without '..'"
        )
    return path


def _safe(name: str) -> PurePosixPath | None:
    """Return an entry's path, or None where it leads out of the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = bool(path.parts) and path.parts[0].endswith(":")
    bad = path.is_absolute() or ".." in path.parts or not path.parts or drive or "\0" in name
    return None if bad else path


def _inner(folder: Path, own: Collection[str]) -> Path:
    while True:
        below = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
        if len(below) != 1 or not below[0].is_dir() or below[0].name in own:
            return folder
        folder = below[0]
