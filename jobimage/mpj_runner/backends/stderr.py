"""Native libraries explain themselves on standard error only; this is how to hear them."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FD = 2


@contextmanager
def captured_stderr() -> Iterator[Callable[[], str]]:
    """Collect what is written to file descriptor 2, and pass it on at the end.

    Yields:
        A function that returns what was written; to be called after the block.
    """
    with tempfile.TemporaryFile() as file:
        original = os.dup(_FD)
        os.dup2(file.fileno(), _FD)
        text = ""
        try:
            yield lambda: text
        finally:
            os.dup2(original, _FD)
            os.close(original)
            file.seek(0)
            raw = file.read()
            text = raw.decode(errors="replace").strip()
            os.write(_FD, raw)
