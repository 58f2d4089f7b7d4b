"""Bring files from a store: ``python -m mpj_runner.errand``, for commands of the operator.

Reads an ``Errand`` as JSON from the standard input. Exit codes are those of a step; the words of an
error go to the standard error. Secrets come in variables of the environment, as in a step's
container.
"""

import contextlib
import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mpj_runner.contract.errands import Errand, Fetch
from mpj_runner.contract.errors import EXIT_TRANSIENT, EXIT_USER, TransientError, UserError
from mpj_runner.stores.base import Listed, blob_key, file_digest
from mpj_runner.stores.folders import unpack
from mpj_runner.stores.open import Places


def main() -> int:
    """Do the errand and return the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    errand = Errand.model_validate_json(sys.stdin.read())
    try:
        store = Places(os.environ).store(errand.store, errand.access)
        fetch(store, errand.fetch)
    except (UserError, TransientError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER if isinstance(error, UserError) else EXIT_TRANSIENT
    except OSError as error:
        sys.stderr.write(f"{_told(error, errand.fetch)}\n")
        return EXIT_USER
    return 0


def fetch(store: Listed, wanted: Fetch) -> None:
    """Bring blobs to paths; a file or folder is there whole or not at all.

    Raises:
        UserError: one is missing or damaged.
        OSError: there is no room for it, or it may not be written.
    """
    for name, sha256 in wanted.blobs.items():
        with _brought(store, sha256, Path(name)) as file:
            file.replace(name)
    for name, sha256 in wanted.folders.items():
        folder = Path(name)
        temporary = folder.with_name(f".{folder.name}.unpacked")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with _brought(store, sha256, folder) as file:
                unpack(file, temporary)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _brought(store: Listed, sha256: str, path: Path) -> Iterator[Path]:
    """Give a verified blob as a file beside where it is to be."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        if not store.fetch(blob_key(sha256), temporary):
            raise UserError(f"{store.uri(blob_key(sha256))} is gone from the store")
        if file_digest(temporary) != sha256:
            raise UserError(f"{store.uri(blob_key(sha256))} is damaged: run the job again")
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _told(error: OSError, wanted: Fetch) -> str:
    """Return the words for files that could not be written."""
    where = Path(next(iter((*wanted.blobs, *wanted.folders)), ".")).parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left for {where}: free some on that disk, or set --out to another one"
    return (
        f"{error.filename or where} can't be used ({error.strerror or error}): see that this user "
        "may write there, or set --out to another folder"
    )


if __name__ == "__main__":
    sys.exit(main())
