"""The squared error of rounding to a grid, integrated over histogram bins.

Near the largest value a bin is about as wide as a quantization step, so that rounding its centre
would say nothing about its content. Taking the values as uniform inside a bin, the error has a
closed form: with levels L of the format and t in units of the scale,

    F(u) = integral from 0 to u of (t - nearest(t))^2 dt = C[n] + (u - L[n])^3 / 3,

where n is the level nearest to u and C grows by 2/3 d^3 from level to level, d being half the gap.
Beyond the last level F is the error of clipping.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mpj_runner.calibration.histogram import Counts, Floats, edges
from mpj_runner.contract.quantization import QuantFormat


@dataclass(frozen=True)
class Grid:
    """The absolute values that a format can hold, for a scale of 1."""

    levels: Floats
    """Ascending from 0."""
    scale_of_range: float
    """The scale that ModelOpt writes for a range of 1."""
    octaves: int
    """A value this many octaves below the peak is rounded to 0 under any range searched."""
    uniform: bool = False
    """The levels are 0, 1, 2, ..."""

    @cached_property
    def _middles(self) -> Floats:
        return (self.levels[1:] + self.levels[:-1]) / 2

    @cached_property
    def _sums(self) -> Floats:
        return np.append(0.0, np.cumsum(2 / 3 * (np.diff(self.levels) / 2) ** 3))

    def _nearest(self, u: Floats) -> npt.NDArray[np.intp]:
        if self.uniform:
            return np.minimum(np.rint(u), self.levels.size - 1).astype(np.intp)
        return np.searchsorted(self._middles, u)

    def integral(self, u: Floats) -> Floats:
        """Return F(u) for u >= 0, of any shape."""
        nearest = self._nearest(u)
        off = u - self.levels[nearest]
        return np.asarray(self._sums[nearest] + off * off * off / 3)


def _e4m3_levels() -> Floats:
    """Return FP8 E4M3FN's values from 0 to 448: subnormals of 2^-9, then 8 steps an octave."""
    codes = np.arange(0x7F)
    exponent, mantissa = codes >> 3, codes & 7
    normal = (8 + mantissa) * 2.0 ** (exponent - 10)
    return np.where(exponent == 0, mantissa * 2.0**-9, normal)


GRIDS: dict[QuantFormat, Grid] = {
    "int8": Grid(np.arange(128, dtype=np.float64), 1 / 127, octaves=14, uniform=True),
    # ModelOpt turns an INT8 scale into FP8's by 448 / 127: a range's largest value then becomes 36,
    # and FP8 has 12 times as much headroom before it clips.
    "fp8": Grid(_e4m3_levels(), 448 / 127**2, octaves=22),
}


def mean_square_range(counts: Counts, peak: float, grid: Grid) -> float:
    """Return the range in (peak / 64, peak] with the least squared error.

    Args:
        counts: of absolute values, (32768,) as of ``histogram.absolute``.
        peak: the greatest absolute value.
        grid: of the format.
    """
    lower = edges()
    first = int(np.searchsorted(lower, peak * 2.0**-grid.octaves, side="right")) - 1
    last = int(np.searchsorted(lower, peak, side="right"))
    bounds = lower[first : last + 1].copy()
    bounds[-1] = max(peak, bounds[-2] * (1 + 2**-20))
    density = counts[first:last] / np.diff(bounds)

    def errors(ranges: Floats) -> Floats:
        scales = (ranges * grid.scale_of_range)[:, None]
        integrals = np.diff(grid.integral(bounds / scales), axis=1) * scales**3
        return np.asarray(integrals @ density)

    coarse = peak * 2.0 ** (-np.arange(49) / 8)
    best = int(np.argmin(errors(coarse)))
    around = coarse[min(best + 1, coarse.size - 1)], coarse[max(best - 1, 0)]
    fine = np.linspace(*around, 17)
    return float(fine[np.argmin(errors(fine))])
