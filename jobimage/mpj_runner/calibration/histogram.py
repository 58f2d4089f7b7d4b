"""A histogram that needs no range in advance: bins are the upper 16 bits of a float32.

Truncating a float32 to bfloat16 leaves sign, exponent and 7 bits of mantissa: 65,536 bins whose
width is 1/128 of their octave. So counts of different images, tensors and runs simply add up, in
any order, where a histogram with linear bins has to be binned anew whenever its range grows.
"""

import functools
import sys
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

BINS: Final = 1 << 16
HALF: Final = BINS >> 1
"""Bins of one sign: those below are positive."""
FINITE: Final = 0x7F80
"""The first bin of a sign that holds infinity and NaN."""

_MANY: Final = 8 * BINS
"""Keys that wait for each tensor, at most, before a batch: 1 MiB."""
_FEW: Final = 4 * BINS
"""OpenCV counts faster than numpy, and others may run meanwhile, yet it prepares a table first."""
_EXACT: Final = 1 << 23
"""It returns float32, which holds whole numbers up to 2^24."""

Keys = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def keys(values: npt.NDArray[np.float32]) -> Keys:
    """Return the bin of each value, as uint16 of shape (n,).

    Args:
        values: any shape, contiguous float32.
    """
    halves = values.reshape(-1).view(np.uint16)
    upper = halves[1::2] if sys.byteorder == "little" else halves[::2]
    return np.ascontiguousarray(upper)


class Histogram:
    """Counts that grow. Keys wait until there are many: one call over them costs all bins once."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(BINS, dtype=np.int64)
        self._waiting: list[Keys] = []
        self._size = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count the values of a contiguous float32 array of any shape."""
        found = keys(values)
        self._waiting.append(found)
        self._size += found.size
        if self._size >= _MANY:
            self._flush()

    def counts(self) -> Counts:
        """Return how many values fell into each bin, (65536,)."""
        if self._waiting:
            self._flush()
        return self._counts

    def _flush(self) -> None:
        self._counts += counted(np.concatenate(self._waiting))
        self._waiting.clear()
        self._size = 0


def counted(found: Keys) -> Counts:
    """Count keys, (n,): return how many there are of each, (65536,)."""
    if found.size < _FEW:
        return np.bincount(found, minlength=BINS)
    total = np.zeros(BINS, dtype=np.int64)
    for start in range(0, found.size, _EXACT):
        row = found[None, start : start + _EXACT]
        total += cv2.calcHist([row], [0], None, [BINS], [0, BINS]).reshape(-1).astype(np.int64)
    return total


def absolute(counts: Counts) -> Counts:
    """Add up both signs: counts of absolute values, of shape (32768,)."""
    return counts[:HALF] + counts[HALF:]


@functools.cache
def edges() -> Floats:
    """Return the bins' lower edges for finite absolute values and the end of the last.

    Shape (32641,): bin k holds absolute values in [edges[k], edges[k + 1]).
    """
    lower = (np.arange(FINITE, dtype=np.uint32) << np.uint32(16)).view(np.float32)
    bounds = np.append(lower.astype(np.float64), 2.0**128)
    bounds.flags.writeable = False
    return bounds
