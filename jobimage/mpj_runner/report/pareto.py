"""The front of speed and accuracy."""

from collections.abc import Iterable
from dataclasses import dataclass

from mpj_runner.contract.report import Report, ReportParams
from mpj_runner.contract.result import Interval, Result


@dataclass(frozen=True)
class Point:
    """One engine on the plane of speed and accuracy."""

    name: str
    speedup: Interval
    """Over the baseline."""
    drop: Interval
    """Of the objective's metric below the reference; negative is a gain."""
    result: Result


def _exactly(value: float) -> Interval:
    return Interval(value=value, low=value, high=value)


def points(report: Report | ReportParams) -> tuple[Point, ...]:
    """Return the engines that have both figures, in the report's order.

    The baseline's speed-up is 1 and the reference's drop is 0 by definition.
    """
    made = []
    for result in (report.reference, report.baseline, *report.candidates):
        speedup = _exactly(1.0) if result is report.baseline else result.speedup
        drop = _exactly(0.0) if result is report.reference else result.map_drop
        if speedup is not None and drop is not None and result.state != "Failed":
            made.append(Point(result.name, speedup, drop, result))
    return tuple(made)


def front(among: Iterable[Point]) -> tuple[str, ...]:
    """Return the names that no other engine beats, fastest first.

    An engine is beaten by one that is at least as fast and loses at most as much accuracy, and is
    better in one of the two. Equal engines do not beat each other.
    """
    kept: list[Point] = []
    ranked = sorted(among, key=lambda p: (-p.speedup.value, p.drop.value, p.name))
    for point in ranked:
        best = kept[-1] if kept else None
        equal = best is not None and (best.speedup.value, best.drop.value) == (
            point.speedup.value,
            point.drop.value,
        )
        if best is None or equal or point.drop.value < best.drop.value:
            kept.append(point)
    return tuple(p.name for p in kept)


def allowed_drop(report: Report | ReportParams) -> float:
    """Return the largest absolute drop that the objective allows."""
    objective, reference = report.objective, report.reference
    metric = reference.map50 if objective.metric == "mAP50" else reference.map
    share = objective.max_accuracy_drop
    return share * (metric or 0.0) if objective.drop_type == "Relative" else share
