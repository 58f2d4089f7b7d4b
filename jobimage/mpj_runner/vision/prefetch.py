"""Work ahead in threads, in order, without holding more than a few results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def prefetched(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int
) -> Iterator[Iterator[R]]:
    """Apply a function to items in threads and give an iterator of the results in order.

    Args:
        function: releases the interpreter's lock for most of its time, as decoding does.
        items: consumed lazily.
        workers: threads.
        ahead: results that may wait, at most; it bounds memory.

    Yields:
        The iterator. It raises what the function raised, at that item's turn. Leaving the context
        cancels what has not started and waits for what has.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[R]] = deque()

        def results() -> Iterator[R]:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield results()
        finally:
            for future in waiting:
                future.cancel()
