"""A histogram that needs no range in advance: bins are the upper 16 bits of a float32.

Truncating a float32 to bfloat16 leaves sign, exponent and 7 bits of mantissa: 65,536 bins whose
width is 1/128 of their octave. So counts of different images, tensors and runs simply add up, in
any order, where a histogram with linear bins has to be binned anew whenever its range grows.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

BINS: Final = 1 << 16
HALF: Final = BINS >> 1
"""Bins of one sign: those below are positive."""
FINITE: Final = 0x7F80
"""The first bin of a sign that holds infinity and NaN."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def count(values: npt.NDArray[np.float32]) -> Counts:
    """Return how many values fall into each bin, as int64 of shape (65536,).

    Args:
        values: any shape, contiguous float32.
    """
    upper = values.reshape(-1).view(np.uint32) >> np.uint32(16)
    return np.bincount(upper, minlength=BINS).astype(np.int64, copy=False)


def absolute(counts: Counts) -> Counts:
    """Add up both signs: counts of absolute values, of shape (32768,)."""
    return counts[:HALF] + counts[HALF:]


def edges() -> Floats:
    """Return the bins' lower edges for finite absolute values and the end of the last.

    Shape (32641,): bin k holds absolute values in [edges[k], edges[k + 1]).
    """
    lower = (np.arange(FINITE, dtype=np.uint32) << np.uint32(16)).view(np.float32)
    return np.append(lower.astype(np.float64), 2.0**128)
