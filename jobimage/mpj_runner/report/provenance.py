"""Where the figures come from: machine, versions, steps, digests."""

from collections.abc import Iterable

from mpj_runner.contract.report import Provenance, Report
from mpj_runner.contract.result import Artifacts
from mpj_runner.report import numbers
from mpj_runner.report.html import Markup, tag, text


def pairs(rows: Iterable[tuple[str, object]]) -> Markup:
    """Make a list of names and values; what is None or empty is left out."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value))
            for name, value in rows
            if value not in (None, "")
        ),
    )


def artifacts(files: Artifacts | None) -> Markup | None:
    """List the winner's files; None when there are none."""
    if files is None:
        return None
    named = (("Engine", files.engine), ("ONNX graph", files.onnx), ("Metadata", files.metadata))
    rows = [
        tag(
            "li",
            tag("strong", name),
            tag("span", numbers.size(file.size_bytes), class_="muted"),
            tag("code", file.uri) if file.uri else None,
            tag("code", f"sha256:{file.sha256}", class_="muted"),
        )
        for name, file in named
        if file is not None
    ]
    return tag("ul", *rows, class_="files") if rows else None


def environment(report: Report) -> Markup:
    """List the machine and the versions."""
    env, job = report.environment, report.job
    packages = ", ".join(f"{name} {version}" for name, version in sorted(env.packages.items()))
    return pairs(
        (
            ("Backend", env.backend),
            ("Hardware", env.hardware),
            ("Runner", env.runner_version),
            ("Packages", packages),
            ("Image", env.image and tag("code", env.image)),
            ("Job", f"{job.namespace}/{job.name}" if job.namespace else job.name),
            ("UID", job.uid and tag("code", job.uid)),
            ("Spec", tag("code", f"sha256:{job.spec_sha256}")),
        )
    )


def steps(report: Report) -> Markup | None:
    """List the steps in a table that can be folded; None when none is known."""
    if not report.provenance:
        return None
    cached = sum(s.cached for s in report.provenance)
    ran = sum(s.seconds for s in report.provenance if not s.cached)
    heads = ("Unit", "Step", "Time", "From", "Key", "Outputs")
    table = tag(
        "table",
        tag("caption", "Steps of this job", class_="hidden"),
        tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads))),
        tag("tbody", *(_step(s) for s in report.provenance)),
    )
    summary = f"{len(report.provenance)} steps, {cached} from the cache, {numbers.seconds(ran)} run"
    folded = tag("div", table, class_="scroll", role="region", tabindex="0", aria_label="Steps")
    return tag("details", tag("summary", summary), folded)


def _step(step: Provenance) -> Markup:
    outputs = text(
        *(
            tag("div", name, " ", tag("code", sha[:12], title=sha))
            for name, sha in sorted(step.outputs.items())
        )
    )
    return tag(
        "tr",
        tag("th", step.unit, scope="row"),
        tag("td", step.step),
        tag("td", numbers.seconds(step.seconds), class_="number"),
        tag("td", "cache" if step.cached else "run"),
        tag("td", tag("code", step.key[:12], title=step.key)),
        tag("td", outputs),
    )
