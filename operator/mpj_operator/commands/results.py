"""Results as a table for a terminal."""

from collections.abc import Iterable

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


def result_table(results: Iterable[Result], best: str | None, metric: str) -> Table:
    """Return one row a result; the winner is starred."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("name", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for heading in ("mAP", f"{metric} drop", "p50 ms", "speedup", "MiB", "8-bit"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for result in results:
        layers = result.layers
        table.add_row(
            "★" if result.name == best else "",
            result.name,
            Text(result.state, style=STYLES[result.state]),
            number(result.map, 4),
            interval(result.map_drop, 4),
            number(result.latency_ms.p50 if result.latency_ms else None, 2),
            interval(result.speedup, 2, suffix="x"),
            number(result.size_bytes / 2**20 if result.size_bytes else None, 1),
            f"{layers.quantized}/{layers.total}" if layers else "",
            "; ".join(result.reasons),
            style="bold" if result.name == best else "",
        )
    return table


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
