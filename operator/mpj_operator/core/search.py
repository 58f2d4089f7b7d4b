"""The accuracy-constrained search: ask for the next trial, told what earlier ones gave.

Layers are ranked by sensitivity. A trial keeps the ``k`` most sensitive of them in high precision
and quantizes the rest. The drop is taken to fall, and the latency to rise, with ``k``: the wanted
trial is the smallest ``k`` whose drop is allowed. The first trial is ``k = 0``, the plain
candidate; then ``k`` doubles from a sixteenth of the ranking until a drop is allowed, since a few
layers usually carry most of the loss; then the gap between bad and good is bisected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Trial:
    """One trial and what became of it."""

    kept: int
    """Most sensitive layers kept in high precision."""
    verdict: Literal["running", "accurate", "inaccurate", "failed"]
    """On accuracy alone; failed trials say nothing about accuracy."""


def ask(layers: int, trials: Sequence[Trial], max_trials: int) -> int | None:
    """Return how many layers the next trial keeps, or None when the search is over.

    Args:
        layers: length of the ranking.
        trials: all trials so far, in any order; while one is running there is nothing to ask.
        max_trials: the budget, running and failed trials included.
    """
    if len(trials) >= max_trials or any(trial.verdict == "running" for trial in trials):
        return None
    tried = {trial.kept for trial in trials}
    failed = {trial.kept for trial in trials if trial.verdict == "failed"}
    if len(failed) > 2:  # not the assignment's fault: building itself does not work
        return None
    low = max((t.kept for t in trials if t.verdict == "inaccurate"), default=-1)
    # Where accuracy is not monotone in k, what lies above the largest bad k counts.
    good = [t.kept for t in trials if t.verdict == "accurate" and t.kept > low]
    high = min(good, default=None)
    return next((k for k in _wanted(layers, low, high) if k not in tried), None)


def resolution(layers: int) -> int:
    """Return the difference in kept layers below which two trials are not worth telling apart."""
    return max(1, layers // 32)


def _wanted(layers: int, low: int, high: int | None) -> list[int]:
    """Return the next ``k`` by preference, between a known bad and, if any, a known good one.

    The later ones stand in where an earlier one failed, which says nothing about accuracy.
    """
    step = max(1, layers // 16)
    if low < 0:
        return [0, min(step, max(0, layers - 1))] if high is None else []
    if high is None:
        further = max(step, 2 * low)
        return [k for k in (further, further + 1, layers - 1) if low < k < layers]
    if high - low <= resolution(layers):
        return []
    middle = (low + high) // 2
    return [middle, middle + 1] if middle + 1 < high else [middle]
