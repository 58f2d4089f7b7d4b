"""Results as a table for a terminal, and why each is what it is below it."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mpj_runner.contract.result import Interval, Result

STYLES = {
    "Accepted": "green",
    "Rejected": "yellow",
    "Failed": "red",
    "Running": "cyan",
    "Pending": "dim",
}
PLAIN_WIDTH = 110
"""Columns where the output is no terminal: a file has no edge."""


def console() -> Console:
    """Return the console that results are written to."""
    found = Console()
    return found if found.is_terminal else Console(width=PLAIN_WIDTH)


def results_view(
    results: Sequence[Result], best: str | None, metric: str, width: int
) -> RenderableType:
    """Return a row for each result, the winner starred, and below it the reasons.

    Args:
        results: in the order to show them.
        best: name of the winner.
        metric: what the drop is of.
        width: columns of the terminal; a narrow one goes without size and layers.
    """
    wide = width >= 100
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("name", no_wrap=True)
    table.add_column("state", no_wrap=True)
    headings = ["mAP", f"{metric} drop", "p50 ms", "speedup"]
    for heading in [*headings, "MiB", "8-bit"] if wide else headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        layers = result.layers
        cells = [
            number(result.map, 4),
            interval(result.map_drop, 4 if wide else 3),
            number(result.latency_ms.p50 if result.latency_ms else None, 2),
            interval(result.speedup, 2, suffix="x"),
        ]
        if wide:
            cells += [
                number(result.size_bytes / 2**20 if result.size_bytes else None, 1),
                f"{layers.quantized}/{layers.total}" if layers else "",
            ]
        won = result.name == best
        state = Text(result.state, style=STYLES[result.state])
        table.add_row("★" if won else "", result.name, state, *cells, style="bold" if won else "")
    reasons = [
        Text(f"{result.name}: {reason}", style="dim")
        for result in results
        for reason in result.reasons
    ]
    return Group(table, *([Text(), *reasons] if reasons else ()))


def number(value: float | None, digits: int) -> str:
    """Return a number with so many decimals, or nothing."""
    return "" if value is None else f"{value:.{digits}f}"


def interval(value: Interval | None, digits: int, suffix: str = "") -> str:
    """Return a value with its 95 % interval, or nothing."""
    if value is None:
        return ""
    low, high = f"{value.low:.{digits}f}", f"{value.high:.{digits}f}"
    point = f"{value.value:.{digits}f}{suffix}"
    return point if low == high else f"{point} [{low}, {high}]"
