"""The verdict in plain words."""

from dataclasses import dataclass

from mpj_runner.contract.report import Report
from mpj_runner.contract.result import Result
from mpj_runner.report import numbers
from mpj_runner.report.pareto import allowed_drop


@dataclass(frozen=True)
class Verdict:
    """What came of the job, for someone who reads nothing else."""

    headline: str
    detail: str


def winner(report: Report) -> Result | None:
    """Return the result that ``best`` names."""
    everything = (report.reference, report.baseline, *report.candidates)
    return next((r for r in everything if r.name == report.best.name), None)


def baseline_words(report: Report) -> str:
    """Name the baseline: the FP16 baseline."""
    return f"{report.objective.baseline_precision.upper()} baseline"


def limit_words(report: Report) -> str:
    """Write the allowed drop without idle zeros."""
    return numbers.signed(allowed_drop(report), 4).rstrip("0").rstrip(".")


def verdict(report: Report) -> Verdict:
    """Say who won, by how much, how certain that is, and what was allowed."""
    best = winner(report)
    allowed = f"a drop of up to {limit_words(report)} was allowed."
    if best is None or best in (report.reference, report.baseline):
        return Verdict(_nobody(report, best), allowed.capitalize())
    sure = []
    if best.speedup is not None:
        sure.append(f"the speed-up is {numbers.span(best.speedup, 2)}\N{MULTIPLICATION SIGN}")
    if best.map_drop is not None:
        sure.append(f"the drop is {numbers.span(best.map_drop, 4)}")
    detail = f"With 95 % confidence {' and '.join(sure)}; {allowed}" if sure else allowed
    return Verdict(f"{_speed(best, report)} and {_loss(best, report)}.", detail)


def _nobody(report: Report, best: Result | None) -> str:
    engine = "FP32 reference" if best is report.reference else baseline_words(report)
    if not report.candidates or any(c.state == "Accepted" for c in report.candidates):
        return f"Ship the {engine}: it is the fastest engine within the allowed drop."
    return f"Ship the {engine}: no candidate was both accurate and fast enough."


def _speed(best: Result, report: Report) -> str:
    if best.speedup is None:
        return f"{best.name} wins"
    speed = numbers.ratio(best.speedup.value)
    return f"{best.name} runs {speed} as fast as the {baseline_words(report)}"


def _loss(best: Result, report: Report) -> str:
    drop, metric = best.map_drop, report.objective.metric
    if drop is None:
        return f"keeps its {metric}"
    if drop.low <= 0 <= drop.high:
        return f"loses no measurable {metric}"
    if drop.high < 0:
        return f"gains {numbers.score(-drop.value)} {metric}"
    return f"gives up {numbers.score(drop.value)} {metric}"
