"""The page: verdict first, then what it rests on."""

from importlib import resources
from typing import Final

from mpj_runner.contract.report import Report
from mpj_runner.report import numbers, provenance
from mpj_runner.report.bars import bars
from mpj_runner.report.html import Markup, tag, text
from mpj_runner.report.scatter import scatter
from mpj_runner.report.table import engines
from mpj_runner.report.verdict import baseline_words, verdict, winner

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The page asks nobody for anything, and runs no script even if a name smuggled one in."""


def page(report: Report) -> str:
    """Return a self-contained HTML document."""
    style = resources.files("mpj_runner.report").joinpath("style.css").read_text("utf-8")
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{report.job.name}: mixed precision report"),
        tag("style", Markup(style)),
    )
    body = (
        _header(report),
        tag("main", *_sections(report)),
        tag(
            "footer",
            "Accuracy is measured on the built engine, with a paired bootstrap interval over "
            "images. Speed-ups are ratios of latencies measured interleaved in one process. "
            "The same figures are in report.json.",
        ),
    )
    document = tag("html", tag("head", *head), tag("body", *body), lang="en")
    return f"<!doctype html>\n{document}\n"


def _header(report: Report) -> Markup:
    said = verdict(report)
    job = report.job
    where = f"{job.namespace}/{job.name}" if job.namespace else job.name
    notices = [*report.environment.conditions]
    if report.deadline_exceeded:
        notices.insert(0, "The deadline came before every candidate was judged.")
    return tag(
        "header",
        tag("p", f"{where} on {report.environment.backend}", class_="overline"),
        tag("h1", said.headline),
        tag("p", said.detail, class_="lead"),
        tag("p", report.best.reason, class_="muted"),
        _figures(report),
        tag("ul", *(tag("li", n) for n in notices), class_="notices") if notices else None,
    )


def _figures(report: Report) -> Markup | None:
    """Show the winner's four figures, each beside what it is to be compared with."""
    best, reference, baseline = winner(report), report.reference, report.baseline
    if best is None:
        return None
    rows: list[tuple[str, str, str]] = []
    if best.speedup is not None and best is not baseline:
        rows.append(
            ("Speed-up", numbers.ratio(best.speedup.value), f"over the {baseline_words(report)}")
        )
    metric = report.objective.metric
    score, own = (r.map50 if metric == "mAP50" else r.map for r in (best, reference))
    if score is not None:
        against = f"reference {numbers.score(own)}" if own is not None else ""
        rows.append((metric, numbers.score(score), against))
    if best.latency_ms is not None:
        p99 = numbers.milliseconds(best.latency_ms.p99)
        rows.append(("Latency", numbers.milliseconds(best.latency_ms.p50), f"median; p99 {p99}"))
    if best.size_bytes is not None:
        share = (
            f"{100 * best.size_bytes / reference.size_bytes:.0f} % of the reference"
            if reference.size_bytes and best.size_bytes != reference.size_bytes
            else ""
        )
        rows.append(("Size", numbers.size(best.size_bytes), share))
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value, tag("small", note) if note else None))
            for name, value, note in rows
        ),
        class_="figures",
    )


def _sections(report: Report) -> list[Markup]:
    plot, sensitive = scatter(report), bars(report.sensitivity)
    sections = [_section("All engines", engines(report))]
    if plot is not None:
        note = "Up and to the right is better. Bars are 95 % intervals; the shaded area is allowed."
        sections.append(
            _section("Speed against accuracy", tag("figure", plot), _legend(), note=note)
        )
    files = provenance.artifacts(report.best.artifacts)
    if files is not None:
        sections.append(_section("Files to ship", files))
    if sensitive is not None:
        note = "How much each layer's quantization disturbs the output, against the worst one."
        sections.append(_section("Sensitive layers", tag("figure", sensitive), note=note))
    sections.append(
        _section("Provenance", provenance.environment(report), provenance.steps(report))
    )
    return sections


def _legend() -> Markup:
    kinds = (("accepted", "accepted"), ("rejected", "rejected"), ("yardstick", "not quantized"))
    return tag(
        "p",
        *(
            text(tag("span", class_=f"key {kind}", aria_hidden="true"), word)
            for kind, word in kinds
        ),
        tag("span", class_="key front", aria_hidden="true"),
        "Pareto front",
        class_="legend muted",
    )


def _section(title: str, *content: Markup | str | None, note: str | None = None) -> Markup:
    return tag(
        "section",
        tag("h2", title),
        tag("p", note, class_="muted") if note else None,
        *content,
    )
