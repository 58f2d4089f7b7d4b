"""All engines with their figures."""

from typing import Final

from mpj_runner.contract.report import Report
from mpj_runner.contract.result import Interval, Result
from mpj_runner.report import numbers
from mpj_runner.report.html import Markup, tag, text

_DASH: Final = "\N{EN DASH}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_HINTS: Final[dict[str, str | None]] = {
    "Engine": None,
    "Verdict": None,
    "mAP": "COCO mAP at IoU .50:.95 of the built engine",
    "mAP50": "COCO mAP at IoU .50 of the built engine",
    "Drop": "Below the reference, with its 95 % interval",
    "p50": "Median latency of one batch",
    "Speed-up": "Over the baseline, measured interleaved, with its 95 % interval",
    "Size": "Of the engine",
    "8-bit layers": "Convolutions and matrix products that run in 8 bits, as built",
    "Why": None,
}


def engines(report: Report) -> Markup:
    """Make the table of the reference, the baseline and the candidates.

    Roles are spelled out, since a phone shows rows as cards and would lose them.
    """
    metric = report.objective.metric
    names = ("Engine", "Verdict", metric, "Drop", "p50", "Speed-up", "Size", "8-bit layers", "Why")
    head = tag(
        "tr",
        *(tag("th", n, scope="col", role="columnheader", title=_HINTS.get(n)) for n in names),
        role="row",
    )
    results = (report.reference, report.baseline, *report.candidates)
    table = tag(
        "table",
        tag("caption", "Figures of every engine", class_="hidden"),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *(_row(r, report) for r in results), role="rowgroup"),
        role="table",
        class_="engines",
    )
    return tag("div", table, class_="scroll", role="region", tabindex="0", aria_label="All engines")


def _row(result: Result, report: Report) -> Markup:
    metric = report.objective.metric
    figure = result.map50 if metric == "mAP50" else result.map
    latency, layers, note = result.latency_ms, result.layers, _note(result, report)
    cells = (
        tag("td", _chip(result, report), role="cell"),
        _number(metric, None if figure is None else numbers.score(figure)),
        _interval("Drop", result.map_drop, 4, ""),
        _number("p50", None if latency is None else numbers.milliseconds(latency.p50)),
        _interval("Speed-up", result.speedup, 2, _TIMES),
        _number("Size", None if result.size_bytes is None else numbers.size(result.size_bytes)),
        _number("8-bit", None if layers is None else f"{layers.quantized} of {layers.total}"),
        tag("td", " ".join(result.reasons), class_="why", role="cell"),
    )
    name = text(result.name, tag("small", note) if note else None)
    best = "best" if result.name == report.best.name else None
    return tag(
        "tr", tag("th", name, scope="row", role="rowheader"), *cells, class_=best, role="row"
    )


def _note(result: Result, report: Report) -> str | None:
    if result is report.reference:
        return "FP32, the yardstick"
    if result is report.baseline:
        return f"{report.objective.baseline_precision.upper()}, to be beaten"
    return None


def _chip(result: Result, report: Report) -> Markup:
    word: str = result.state
    if result.name == report.best.name:
        word = "Best"
    elif result in (report.reference, report.baseline) and word == "Accepted":
        word = "Measured"  # It is what others are judged by: there is nothing to accept.
    return tag("span", word, class_=f"chip {word.lower()}")


def _number(label: str, value: str | None, interval: str | None = None) -> Markup:
    detail = tag("small", interval) if interval else None
    shown = _DASH if value is None else value
    return tag("td", shown, detail, class_="number", role="cell", data_label=label)


def _interval(label: str, value: Interval | None, digits: int, unit: str) -> Markup:
    if value is None:
        return _number(label, None)
    certain = value.low == value.high
    span = None if certain else numbers.span(value, digits)
    return _number(label, f"{numbers.signed(value.value, digits)}{unit}", span)
