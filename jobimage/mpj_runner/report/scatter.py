"""The plot of speed against accuracy, as inline SVG.

Horizontal places are per cent of the width and vertical ones are pixels, so text keeps its size on
a phone; nothing is drawn by a script.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mpj_runner.contract.report import Report
from mpj_runner.report import numbers
from mpj_runner.report.html import Markup, tag, text
from mpj_runner.report.pareto import Point, allowed_drop, points

_HEIGHT: Final = 380
_TOP: Final = 26
_BOTTOM: Final = 338
_USUAL_WIDTH: Final = 820
"""Pixels that labels are spread for; the plot itself fits any width."""
_LINE: Final = 14
"""Height of a label."""
_LETTER: Final = 7.0
"""Width of a letter."""
_MARK: Final = 6
"""Half the size of a point."""
_OFFSETS: Final = tuple(
    (side, offset) for offset in (-12, 13, -26, 27, -40, 41, -54, 55) for side in (1, -1)
)
"""Where a label may stand: the side of its point, and pixels down to the label's middle."""
_SHAPES: Final = {
    "Accepted": "M0-6A6 6 0 1 1 0 6A6 6 0 1 1 0-6Z",
    "Rejected": "M0-7L7 0L0 7L-7 0Z",
    "yardstick": "M-5-5H5V5H-5Z",
}


@dataclass(frozen=True)
class _Scale:
    """From figures to places."""

    slow: float
    fast: float
    gain: float
    """Top of the vertical axis: the largest gain, as a negative drop."""
    loss: float
    """Bottom of the vertical axis; larger drops are drawn on the edge."""

    def x(self, speedup: float) -> float:
        """Return per cent of the width."""
        share = (speedup - self.slow) / (self.fast - self.slow)
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def y(self, drop: float) -> float:
        """Return pixels from the top."""
        share = (drop - self.gain) / (self.loss - self.gain)
        return round(_TOP + (_BOTTOM - _TOP) * min(max(share, 0.0), 1.0), 1)


@dataclass(frozen=True)
class _Box:
    """A label's or a point's place, in pixels at the usual width."""

    left: float
    right: float
    top: float
    bottom: float

    def covers(self, other: "_Box") -> bool:
        """Say whether two boxes overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def inside(self) -> bool:
        """Say whether the box is within the plot."""
        return self.left >= 0 and self.right <= _USUAL_WIDTH and self.bottom <= _BOTTOM


def scatter(report: Report) -> Markup | None:
    """Draw every engine that has both figures; None when there are fewer than two."""
    seen = points(report)
    if len(seen) < 2:
        return None
    limit = allowed_drop(report)
    scale = _scale(seen, limit, report.objective.min_speedup)
    best = report.best.name
    ranked = sorted(seen, key=lambda p: (p.name == best, p.name in report.pareto))
    summary = (
        f"Speed-up over the baseline against the drop of {report.objective.metric} for "
        f"{len(seen)} engines; the best is {best}. The table above holds the same figures."
    )
    return tag(
        "svg",
        tag("title", "Speed against accuracy", id="plot-title"),
        tag("desc", summary, id="plot-desc"),
        _area(scale, limit, report.objective.min_speedup),
        _axes(scale, report.objective.metric),
        _front(seen, report.pareto, scale),
        *(_marker(p, scale, _kind(p, report), p.name == best) for p in ranked),
        *_labels(ranked, scale, best),
        role="img",
        aria_labelledby="plot-title plot-desc",
        class_="plot",
        width="100%",
        height=_HEIGHT,
    )


def _scale(seen: Sequence[Point], limit: float, min_speedup: float) -> _Scale:
    slow = min(1.0, *(p.speedup.low for p in seen))
    fast = max(min_speedup, 1.05, *(p.speedup.high for p in seen))
    drops = [p.drop.value for p in seen]
    # One engine that lost everything must not flatten the others: it is drawn on the edge.
    near = [d for d in drops if d <= max(4 * limit, 0.004)]
    loss = 1.25 * max(limit, 0.002, *near, *(p.drop.high for p in seen if p.drop.value in near))
    gain = min(-0.12 * loss, 1.1 * min(p.drop.low for p in seen))
    gain = max(gain, -loss)
    pad = 0.07 * (fast - slow)
    return _Scale(slow - 1.2 * pad, fast + 2.2 * pad, gain, loss)


def _kind(point: Point, report: Report) -> str:
    if point.result in (report.reference, report.baseline):
        return "yardstick"
    return "Accepted" if point.result.state == "Accepted" else "Rejected"


def _area(scale: _Scale, limit: float, min_speedup: float) -> Markup:
    x, y = scale.x(min_speedup), scale.y(limit)
    return text(
        tag(
            "rect",
            x=f"{x}%",
            y=_TOP - 14,
            width=f"{round(100 - x, 3)}%",
            height=round(y - _TOP + 14, 1),
            class_="allowed",
        ),
        tag("line", x1="0%", x2="100%", y1=y, y2=y, class_="limit"),
        tag("line", x1=f"{x}%", x2=f"{x}%", y1=_TOP - 14, y2=_BOTTOM, class_="limit"),
        tag(
            "text",
            f"allowed drop {numbers.signed(limit, 4).rstrip('0')}",
            x=f"{x}%",
            dx=6,
            y=y + 15,
            class_="note",
        ),
        tag(
            "text",
            f"at least {min_speedup:g}\N{MULTIPLICATION SIGN}",
            x=f"{x}%",
            dx=6,
            y=_BOTTOM - 8,
            class_="note",
        ),
    )


def _axes(scale: _Scale, metric: str) -> Markup:
    drops = numbers.ticks(scale.gain, scale.loss, 5)
    speeds = numbers.ticks(scale.slow, scale.fast, 6)
    digits = max(len(f"{d:.10f}".rstrip("0").partition(".")[2]) for d in drops)
    across = [
        text(
            tag("line", x1="0%", x2="100%", y1=scale.y(d), y2=scale.y(d), class_="grid"),
            tag("text", numbers.signed(d, digits), x=0, y=scale.y(d) - 4, class_="tick"),
        )
        for d in drops
    ]
    along = [
        tag(
            "text",
            f"{s:g}\N{MULTIPLICATION SIGN}",
            x=f"{scale.x(s)}%",
            y=_BOTTOM + 20,
            text_anchor="middle",
            class_="tick",
        )
        for s in speeds
        if 2 < scale.x(s) < 98
    ]
    return text(
        *across,
        tag("line", x1="0%", x2="100%", y1=_BOTTOM, y2=_BOTTOM, class_="axis"),
        *along,
        tag("text", f"drop of {metric} \N{DOWNWARDS ARROW}", x=0, y=9, class_="axis-name"),
        tag(
            "text",
            "speed-up over the baseline \N{RIGHTWARDS ARROW}",
            x="100%",
            y=_BOTTOM + 38,
            text_anchor="end",
            class_="axis-name",
        ),
    )


def _front(seen: Sequence[Point], names: Sequence[str], scale: _Scale) -> Markup:
    """Draw the front as steps: what is attainable at each speed."""
    on = sorted((p for p in seen if p.name in names), key=lambda p: p.speedup.value)
    places = [(scale.x(p.speedup.value), scale.y(p.drop.value)) for p in on]
    parts = []
    for (x1, y1), (x2, y2) in itertools.pairwise(places):
        parts.append(tag("line", x1=f"{x1}%", x2=f"{x1}%", y1=y1, y2=y2, class_="front"))
        parts.append(tag("line", x1=f"{x1}%", x2=f"{x2}%", y1=y2, y2=y2, class_="front"))
    return text(*parts)


def _marker(point: Point, scale: _Scale, kind: str, best: bool) -> Markup:
    x, y = scale.x(point.speedup.value), scale.y(point.drop.value)
    beyond = point.drop.value > scale.loss
    words = (
        f"{point.name}: {numbers.ratio(point.speedup.value)} ({numbers.span(point.speedup, 2)}), "
        f"drop {numbers.score(point.drop.value)} ({numbers.span(point.drop, 4)})"
    )
    shape = "M-6-4L6-4L0 5Z" if beyond else _SHAPES[kind]
    low, high = scale.x(point.speedup.low), scale.x(point.speedup.high)
    return tag(
        "g",
        tag("title", words),
        tag("line", x1=f"{low}%", x2=f"{high}%", y1=y, y2=y, class_="interval"),
        tag(
            "line",
            x1=f"{x}%",
            x2=f"{x}%",
            y1=scale.y(point.drop.low),
            y2=scale.y(point.drop.high),
            class_="interval",
        ),
        tag(
            "svg",
            tag("circle", r=11, class_="halo") if best else None,
            tag("path", d=shape, class_="mark"),
            x=f"{x}%",
            y=y,
            overflow="visible",
        ),
        class_=f"point {kind.lower()}{' best' if best else ''}",
    )


def _labels(ranked: Sequence[Point], scale: _Scale, best: str) -> list[Markup]:
    """Name the points, each beside its own and clear of other points and names."""
    places = {p.name: (scale.x(p.speedup.value), scale.y(p.drop.value)) for p in ranked}
    taken = [
        _Box(_USUAL_WIDTH * x / 100 - _MARK, _USUAL_WIDTH * x / 100 + _MARK, y - _MARK, y + _MARK)
        for x, y in places.values()
    ]
    made = []
    for point in reversed(ranked):
        x, y = places[point.name]
        name = point.name
        if point.drop.value > scale.loss:
            name += f" ({numbers.score(point.drop.value)})"
        beside = 13 if point.name == best else 9
        width = _LETTER * len(name)
        for side, offset in _OFFSETS:
            start = _USUAL_WIDTH * x / 100 + side * beside - (width if side < 0 else 0)
            box = _Box(start, start + width, y + offset - _LINE / 2, y + offset + _LINE / 2)
            if box.inside() and not any(box.covers(other) for other in taken):
                break
        else:
            continue  # No room: the table and the point's own title name it.
        taken.append(box)
        made.append(
            tag(
                "text",
                name,
                x=f"{x}%",
                dx=side * beside,
                y=round(y + offset + 4, 1),
                text_anchor="end" if side < 0 else "start",
                class_="name best" if point.name == best else "name",
            )
        )
    return made
