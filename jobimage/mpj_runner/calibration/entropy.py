"""The range of least Kullback-Leibler divergence, as ONNX Runtime's entropy calibrator finds it.

The algorithm is that of TensorRT (S. Migacz, "8-bit inference with TensorRT", GTC 2017) in the form
that ModelOpt takes over from ONNX Runtime: a histogram of signed values with 128 bins over the
first image's range, which keeps its bin width as later images widen it; ranges of at least 128 bins
compete; each is compared with itself after merging into 128 bins.

What differs here, on purpose: the image that sets the bin width is the one with the median peak and
not the first one, so that the result does not depend on the order of the images; and bins are
filled from the bfloat16 histogram, whose bins are 1/128 of an octave wide, and not from the values.
The search itself gives ONNX Runtime's result for the same histogram. With one image, or with images
of equal peaks, the range is that of the maximum, there as here.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from mpj_runner.calibration.histogram import FINITE, HALF, Counts, Floats, edges

MERGED: Final = 128
_EPSILON: Final = 1e-4
_MOST_BINS: Final = 1 << 13
"""A median image 64 times weaker than the strongest: wider bins then, as time grows with n^2."""

Singles = npt.NDArray[np.float32]


def entropy_range(counts: Counts, peaks: Singles, low: float, high: float) -> float:
    """Return the range with the least divergence.

    Args:
        counts: of signed values, (65536,).
        peaks: greatest absolute value of each image, (images,).
        low: least value of all.
        high: greatest value of all.
    """
    peak = float(peaks.max())
    base = float(np.sort(peaks)[(peaks.size - 1) // 2]) or peak
    stride = max(2 * base / MERGED, 2 * peak / _MOST_BINS)
    wider = int((peak - base) // stride + 1) if peak > base else 0
    bins = MERGED + 2 * wider
    bounds = (np.arange(bins + 1, dtype=np.float64) - bins / 2) * stride
    left, right = threshold(linear(counts, bounds), bounds)
    return max(abs(max(left, low)), abs(min(right, high)))


def linear(counts: Counts, bounds: Floats) -> Counts:
    """Bin a bfloat16 histogram anew: (65536,) to (bounds - 1,), the sum kept.

    Values are taken as uniform inside a bin; rounding the cumulative counts keeps whole numbers.
    """
    positive = edges()
    places = np.concatenate([-positive[:0:-1], positive])
    ordered = np.concatenate([counts[HALF : HALF + FINITE][::-1], counts[:FINITE]])
    cumulative = np.append(0, np.cumsum(ordered))
    at = np.interp(bounds, places, cumulative)
    at[0], at[-1] = 0, cumulative[-1]
    return np.asarray(np.diff(np.rint(at).astype(np.int64)))


def threshold(histogram: Counts, bounds: Floats) -> tuple[float, float]:
    """Return the bounds of the best range of a symmetric histogram with an even number of bins."""
    middle = histogram.size // 2
    sums = np.append(0, np.cumsum(histogram))
    best, least = (bounds[0], bounds[-1]), float("inf")
    for half in range(MERGED // 2, middle + 1):
        start, end = middle - half, min(middle + half + 1, histogram.size)
        inside = histogram[start:end]
        reference = inside.copy()
        reference[0] += sums[start]
        reference[-1] += sums[-1] - sums[end]
        found = _divergence(reference, _merged(inside, reference != 0))
        if found < least or half == MERGED // 2:
            best, least = (bounds[start], bounds[end]), found
    return float(best[0]), float(best[1])


def _merged(inside: Counts, occupied: npt.NDArray[np.bool_]) -> Counts:
    """Merge into 128 bins and spread each one's mean over its occupied part, in whole counts."""
    width = inside.size // MERGED
    whole = width * MERGED
    groups = inside[:whole].reshape(MERGED, width).sum(axis=1)
    groups[-1] += inside[whole:].sum()
    used = occupied[:whole].reshape(MERGED, width).sum(axis=1)
    mean = np.divide(groups, used, out=np.zeros(MERGED), where=used != 0).astype(np.int64)
    spread = np.zeros(inside.size, dtype=np.int64)
    spread[:whole] = np.repeat(mean, width)
    return spread


def _divergence(p: Counts, q: Counts) -> float:
    smooth_p, smooth_q = _smoothed(p), _smoothed(q)
    if smooth_p is None or smooth_q is None:
        return np.inf
    a = smooth_p / smooth_p.sum()
    b = smooth_q / smooth_q.sum()
    return float((a * np.log(a / b)).sum())


def _smoothed(counts: Counts) -> Singles | None:
    """Give empty bins a little of what the others have; None when all are empty."""
    empty = counts == 0
    occupied = counts.size - int(empty.sum())
    if not occupied:
        return None
    given = _EPSILON * (counts.size - occupied) / occupied
    return np.where(empty, _EPSILON, counts - given).astype(np.float32)
