"""How numbers are written for people."""

import math
from typing import Final

from mpj_runner.contract.result import Interval

_MINUS: Final = "\N{MINUS SIGN}"


def signed(value: float, digits: int) -> str:
    """Write a number with a true minus sign, and never a negative zero."""
    written = f"{value:.{digits}f}"
    if float(written) == 0:
        return f"{0:.{digits}f}"
    return written.replace("-", _MINUS)


def score(value: float) -> str:
    """Write a mAP or a drop: four digits, since 0.001 matters."""
    return signed(value, 4)


def ratio(value: float) -> str:
    """Write a speed-up."""
    return f"{signed(value, 2)}\N{MULTIPLICATION SIGN}"


def milliseconds(value: float) -> str:
    """Write a time in milliseconds with three significant digits."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{min(digits, 3)}f} ms"


def size(value: int) -> str:
    """Write bytes in decimal units."""
    amount = float(value)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def seconds(value: float) -> str:
    """Write a duration."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def span(interval: Interval, digits: int) -> str:
    """Write an interval's ends."""
    return f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def ticks(low: float, high: float, about: int) -> tuple[float, ...]:
    """Return round numbers within [low, high], at steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return tuple(round((first + i) * step, 12) for i in range(count))
