"""Verdicts from numbers: which candidate is accepted, and which is best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpj_runner.contract.report import Best
from mpj_runner.contract.result import Interval, Result


@dataclass(frozen=True)
class Limits:
    """The objective, resolved against the reference."""

    max_drop: float
    """Absolute drop of the metric that is still allowed."""
    min_speedup: float
    metric: str
    baseline: str
    """Precision of the baseline, for words."""


def limits(
    *,
    metric: str,
    max_drop: float,
    relative: bool,
    min_speedup: float,
    baseline: str,
    reference: float,
) -> Limits:
    """Resolve the objective; a relative drop is a share of the reference's metric, 0..1."""
    allowed = max_drop * reference if relative else max_drop
    return Limits(allowed, min_speedup, metric, baseline)


def drop_allowed(drop: Interval, limit: Limits) -> bool:
    """Tell whether the measured drop is within the limit (the point estimate decides)."""
    return drop.value <= limit.max_drop + 1e-12


def inconclusive(drop: Interval, limit: Limits) -> bool:
    """Tell whether the drop's interval spans the limit."""
    return drop.low <= limit.max_drop < drop.high


def judge(result: Result, limit: Limits, *, quantized: bool, known: tuple[str, ...] = ()) -> Result:
    """Return the result with its verdict and the reasons in words.

    A candidate is accepted iff its drop is allowed and, if it is quantized, the lower bound of its
    speedup over the baseline reaches the minimum; what could not be measured soundly is rejected.

    Args:
        result: the figures.
        limit: the objective.
        quantized: it must beat the baseline on speed.
        known: what speaks against it whatever is asked: NaN, no detections, an unsound benchmark.
    """
    against = list(known)
    notes: list[str] = []
    if result.map_drop is None:
        against += [] if known else ["its accuracy drop is not known"]
    else:
        words = f"{limit.metric} drop {_points(result.map_drop)}, allowed {limit.max_drop:.4f}"
        if inconclusive(result.map_drop, limit):
            words += " (inconclusive: the interval spans the limit)"
        if not drop_allowed(result.map_drop, limit):
            against.append(words)
        elif inconclusive(result.map_drop, limit):
            notes.append(words)
    if quantized and (result.speedup is None or result.speedup.low < limit.min_speedup):
        low = "unknown" if result.speedup is None else f"{result.speedup.low:.3f}"
        against.append(
            f"speedup over the {limit.baseline} baseline: lower bound {low}, "
            f"asked {limit.min_speedup:.3f}"
        )
    state = "Rejected" if against else "Accepted"
    return result.model_copy(update={"state": state, "reasons": (*against, *notes)})


def best(
    reference: Result,
    baseline: Result,
    candidates: Sequence[Result],
    limit: Limits,
    speeds: Mapping[str, float],
) -> Best:
    """Return the fastest of the reference, the baseline and the accepted, with the reason.

    Args:
        reference: its drop is zero by definition.
        baseline: can win only when its own drop is allowed.
        candidates: all of them; only accepted ones that have a final speed can win.
        limit: the objective.
        speeds: speedup over the baseline by name, of the final measurement.
    """
    field = [reference]
    if baseline.map_drop is not None and drop_allowed(baseline.map_drop, limit):
        field.append(baseline)
    accepted = [c for c in candidates if c.state == "Accepted" and c.name in speeds]
    field += accepted
    winner = max(field, key=lambda r: (speeds.get(r.name, 1.0), r.name == baseline.name))
    if winner in accepted:
        drop = winner.map_drop
        reason = f"{speeds[winner.name]:.2f}x the {limit.baseline} baseline"
        if drop is not None:
            reason += f", {limit.metric} drop {drop.value:.4f} of {limit.max_drop:.4f} allowed"
    elif accepted:
        reason = f"no accepted candidate beat the {winner.name} in the final measurement"
    elif any(c.state == "Accepted" for c in candidates):
        reason = "no final measurement could compare the accepted candidates"
    elif candidates:
        reason = f"no candidate was accepted; {_why(candidates)}"
    else:
        reason = "there was no candidate"
    return Best(name=winner.name, reason=reason[:1024], artifacts=winner.artifacts)


def _points(drop: Interval) -> str:
    return f"{drop.value:.4f} [{drop.low:.4f}, {drop.high:.4f}]"


def _why(candidates: Sequence[Result]) -> str:
    shown = [f"{c.name}: {c.reasons[0]}" for c in candidates if c.reasons][:3]
    rest = len(candidates) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more" if rest and shown else "")
