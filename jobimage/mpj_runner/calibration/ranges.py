"""Symmetric ranges of activations, chosen from statistics for any grouping of tensors."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mpj_runner.calibration.entropy import entropy_range
from mpj_runner.calibration.error import GRIDS, mean_square_range
from mpj_runner.calibration.histogram import Counts, absolute, edges
from mpj_runner.calibration.statistics import Statistics
from mpj_runner.contract.quantization import CalibrationMethod, QuantFormat


@dataclass
class Ranges:
    """Choose ranges by one method; a group of tensors shares one range."""

    statistics: Statistics
    method: CalibrationMethod
    format: QuantFormat = "int8"
    """mse weighs the errors of this format; the other methods know no format."""
    percentile: float = 99.999
    _known: dict[frozenset[str], np.float32] = field(default_factory=dict, init=False, repr=False)

    def of(self, group: Iterable[str]) -> np.float32:
        """Return the greatest absolute value that tensors are to represent together.

        max: the greatest of all images. percentile: the least value that the given per cent of
        absolute values do not exceed. mse: the value of least squared rounding and clipping error
        (``error``). entropy: of least divergence (``entropy``). None exceeds max; 0 for tensors
        that are 0 throughout.

        Raises:
            KeyError: a tensor has no statistics.
        """
        key = frozenset(group)
        if key not in self._known:
            self._known[key] = np.float32(self._chosen(sorted(key)))
        return self._known[key]

    def _chosen(self, group: list[str]) -> float:
        peaks = self.statistics.image_peaks(group)
        peak = float(peaks.max())
        if self.method == "max" or peak == 0:
            return peak
        counts = self.statistics.counts(group)
        if self.method == "entropy":
            low = min(float(self.statistics.low[x].min()) for x in group)
            high = max(float(self.statistics.high[x].max()) for x in group)
            return min(peak, entropy_range(counts, peaks, low, high))
        if self.method == "percentile":
            return min(peak, percentile_range(absolute(counts), self.percentile))
        return min(peak, mean_square_range(absolute(counts), peak, GRIDS[self.format]))


def percentile_range(counts: Counts, percentile: float) -> float:
    """Return the value that the given per cent of absolute values do not exceed.

    Values are taken as uniform inside a bin: exact to the bin's width, 0.8 %.
    """
    cumulative = np.append(0, np.cumsum(counts[: edges().size - 1]))
    return float(np.interp(percentile / 100 * cumulative[-1], cumulative, edges()))
