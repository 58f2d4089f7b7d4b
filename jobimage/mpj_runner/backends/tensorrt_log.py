"""The one logger that TensorRT gets: it keeps what an engine's makers have to say."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@functools.cache
def logger_of(trt: Any) -> Any:
    """Return the module's logger: one for the process's life, as TensorRT demands.

    Its class can only be made once the package is imported, since it extends the package's own.
    """

    class Logger(trt.ILogger):  # type: ignore[misc] # no type stubs
        """Keep messages while somebody listens."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._kept: list[tuple[Any, str]] | None = None

        def log(self, severity: Any, message: str) -> None:
            """Receive one message."""
            if self._kept is not None:
                self._kept.append((severity, message))

        def listen(self, on: bool) -> None:
            """Start with an empty list, or stop keeping."""
            self._kept = [] if on else None

        def messages(self) -> list[str]:
            """Return all that was said."""
            return [message for _, message in self._kept or ()]

        def errors(self) -> list[str]:
            """Return what was said as an error; good builds say some of these too."""
            bad = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
            return [message for severity, message in self._kept or () if severity in bad]

    return Logger()


@contextmanager
def listening(trt: Any) -> Iterator[Any]:
    """Keep the package's messages for the block and yield its logger."""
    logger = logger_of(trt)
    logger.listen(True)
    try:
        yield logger
    finally:
        logger.listen(False)
