"""The files below a folder, through links too, each way once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def files_below(
    folder: Path, check: Callable[[Path], None] = lambda _: None, *, without: str = ""
) -> Iterator[Path]:
    """Yield the files below a folder; links to folders are followed, but not back.

    So two folders that link to each other come to an end. A link to nothing is yielded too.

    Args:
        folder: where to begin.
        check: told of every folder and file before it is used; may raise.
        without: name of folders that are left out.
    """
    ways: dict[str, frozenset[str]] = {}  # the real folders on the way to each that is to come
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        way = ways.pop(here, frozenset()) | {real, *map(str, Path(real).parents)}
        kept = []
        for name in folders:
            path = os.path.join(here, name)  # noqa: PTH118 - the very text that os.walk makes
            check(Path(path))
            if name != without and os.path.realpath(path) not in way:
                ways[path] = way
                kept.append(name)
        folders[:] = kept
        for file in (Path(here, name) for name in files):
            check(file)
            yield file
