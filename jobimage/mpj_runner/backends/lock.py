"""One benchmark at a time on a machine, whoever runs it."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

NAME: Final = "mixedprecision-benchmark.lock"
SHARED: Final = Path("/tmp")  # noqa: S108 - everyone's on purpose; TMPDIR is each pod's own
_EVERYONE: Final = 0o666


@contextmanager
def machine_lock(folder: Path | None = None) -> Iterator[None]:
    """Hold the machine's benchmark lock; wait for it when another process does.

    The kernel releases it when its holder dies, however that happens.

    Args:
        folder: where the lock file lies; default: what all users of the machine share.
    """
    descriptor = _open((folder or SHARED) / NAME)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            log.info("waiting for another benchmark on this machine", extra={"holder": holder})
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file for every user, never through a link.

    Kernels with fs.protected_regular refuse O_CREAT on another user's file in a sticky folder, so
    an existing file is opened without it.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, _EVERYONE)
            except FileExistsError:
                continue
            os.fchmod(descriptor, _EVERYONE)
            return descriptor
