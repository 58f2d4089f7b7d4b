"""What a person sees while a job runs: a table that lives, or lines where there is no terminal."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.status import UnitStatus

_ICONS: Mapping[str, tuple[str, str]] = {
    "Pending": ("·", "dim"),
    "Queued": ("·", "cyan"),
    "Running": ("▶", "cyan"),
    "Succeeded": ("✔", "green"),
    "Failed": ("✘", "red"),
}


class Screen:
    """Shows a job's units, steps, elapsed time and an estimate of what is left."""

    def __init__(self, console: Console) -> None:
        """Use a console; without a terminal, print a line for each change."""
        self.console = console
        self._job: MixedPrecisionJob | None = None
        self._said: dict[str, tuple[str, str | None]] = {}
        self._live = (
            Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Screen":
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop showing; the table is taken away."""
        if self._live is not None:
            self._live.stop()

    def show(self, job: MixedPrecisionJob) -> None:
        """Show a job as it is now."""
        self._job = job
        if self._live is None:
            for record in job.status.unit_statuses:
                self._say(record)

    def _say(self, record: UnitStatus) -> None:
        key = (record.state, record.step)
        if record.job_name is None or self._said.get(record.name) == key:
            return
        self._said[record.name] = key
        if record.state == "Pending":
            return
        words = f"{record.name:<20} {record.state}"
        if record.step and record.state != "Succeeded":
            words += f" {record.step}"
        if record.state == "Succeeded" and (seconds := elapsed(record, datetime.now(UTC))):
            words += f" ({clock(seconds)})"
        if record.state == "Failed" and record.message:
            words += f": {record.message}"
        self.console.print(words, highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        if self._job is None:
            return Text("starting")
        now = datetime.now(UTC)
        status = self._job.status
        table = Table(box=None, pad_edge=False, show_header=False)
        for record in status.unit_statuses:
            icon, style = _ICONS[record.state]
            seconds = elapsed(record, now)
            detail = record.step if record.state != "Succeeded" else None
            if record.state == "Failed":
                detail = record.message
            table.add_row(
                Text(icon, style=style),
                Text(record.name, style="dim" if record.state == "Pending" else ""),
                Text(clock(seconds) if seconds is not None else "", style="dim"),
                Text(detail or "", style=style, overflow="ellipsis", no_wrap=True),
            )
        head = f"{self._job.metadata.name}  {status.progress or ''}"
        if status.start_time is not None:
            head += f"  elapsed {clock((now - status.start_time).total_seconds())}"
        if (left := remaining(status.unit_statuses, now)) is not None:
            head += f"  about {clock(left)} left"
        return Group(Text(head, style="bold"), table)


def elapsed(record: UnitStatus, now: datetime) -> float | None:
    """Return how long a unit has run, in seconds; None before it started."""
    if record.start_time is None:
        return None
    return max(0.0, ((record.completion_time or now) - record.start_time).total_seconds())


def remaining(records: tuple[UnitStatus, ...], now: datetime) -> float | None:
    """Estimate the seconds left: what finished units took on average, for each that is left.

    None while fewer than three units are finished: the first ones are not like the others.
    """
    took = [
        seconds
        for record in records
        if record.state == "Succeeded" and (seconds := elapsed(record, now)) is not None
    ]
    if len(took) < 3:
        return None
    mean = timedelta(seconds=sum(took) / len(took)).total_seconds()
    left = [record for record in records if record.state not in ("Succeeded", "Failed")]
    return sum(max(0.0, mean - (elapsed(record, now) or 0.0)) for record in left)


def clock(seconds: float) -> str:
    """Return seconds as 7s, 1m05s or 2h03m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
