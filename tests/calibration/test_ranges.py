"""Ranges chosen from statistics, held against the raw values and against ONNX Runtime's own."""

import contextlib
import io

import ml_dtypes
import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from mpj_runner.calibration.entropy import linear, threshold
from mpj_runner.calibration.error import GRIDS
from mpj_runner.calibration.histogram import Histogram
from mpj_runner.calibration.ranges import Ranges
from mpj_runner.calibration.statistics import Collector, Statistics

RNG = np.random.default_rng(7)


def heavy(size=40_000):
    return RNG.standard_t(3, size)


def silu(size=40_000):
    x = RNG.normal(0, 3, size)
    return x / (1 + np.exp(-x))


SHAPES = {
    "normal": lambda: RNG.normal(0, 1, 40_000),
    "heavy tails": heavy,
    "SiLU": silu,
    "half zeros": lambda: np.maximum(RNG.normal(0, 5, 40_000), 0),
    "tiny": lambda: RNG.normal(0, 1e-6, 40_000),
    "huge": lambda: RNG.normal(0, 1e6, 40_000),
    "one outlier": lambda: np.append(RNG.normal(0, 1, 40_000), 300),
}


def statistics_of(**tensors: list[np.ndarray]) -> Statistics:
    """Statistics of tensors that hold these values in each image."""
    collector = Collector(batch_size=1)
    for i in range(len(next(iter(tensors.values())))):
        shown = {x: values[i].astype(np.float32)[None] for x, values in tensors.items()}
        collector.add(shown.items(), images=1)
    return collector.result()


def rounded(x: np.ndarray, scale: float, kind: str) -> np.ndarray:
    if kind == "int8":
        return np.clip(np.rint(x / scale), -127, 127) * scale
    return np.clip(x / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float64) * scale


def mean_square(x: np.ndarray, amax: float, kind: str) -> float:
    scale = amax / 127 if kind == "int8" else amax * 448 / 127**2
    return float(((rounded(x, scale, kind) - x) ** 2).mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_max_is_exact(shape):
    images = [SHAPES[shape]() for _ in range(3)]
    amax = Ranges(statistics_of(x=images), "max").of(["x"])
    assert amax == np.abs(np.concatenate(images).astype(np.float32)).max()
    assert amax.dtype == np.float32


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("percentile", [50.0, 99.0, 99.9, 99.99, 100.0])
def test_percentile_is_within_a_bin_of_the_exact_one(shape, percentile):
    images = [SHAPES[shape]() for _ in range(3)]
    values = np.abs(np.concatenate(images))
    found = Ranges(statistics_of(x=images), "percentile", percentile=percentile).of(["x"])
    exact = np.quantile(values, percentile / 100, method="inverted_cdf")
    assert found == pytest.approx(exact, rel=0.0085, abs=1e-30)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_mse_is_as_good_as_trying_every_range(shape, kind):
    images = [SHAPES[shape]() for _ in range(2)]
    values = np.concatenate(images).astype(np.float32).astype(np.float64)
    found = float(Ranges(statistics_of(x=images), "mse", kind).of(["x"]))
    peak = np.abs(values).max()
    best = min(mean_square(values, peak * 2 ** (-k / 32), kind) for k in range(160))
    # FP8's optimum is ragged, as its steps double with each octave: a coarser search will do.
    assert mean_square(values, found, kind) <= best * (1.02 if kind == "int8" else 1.06)
    assert found <= peak


def test_mse_cuts_an_outlier_that_max_keeps():
    statistics = statistics_of(x=[np.append(RNG.normal(0, 1, 1_000_000), 40.0)])
    assert Ranges(statistics, "max").of(["x"]) == 40
    assert Ranges(statistics, "mse").of(["x"]) < 10


def test_fp8_levels_are_the_formats():
    codes = np.arange(0x7F, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    np.testing.assert_array_equal(GRIDS["fp8"].levels, codes)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_error_integral_is_the_integral(kind):
    grid = GRIDS[kind]
    ends = np.array([0.3, 1.7, 9.49, 100.2, grid.levels[-1] * 1.1])
    for end in ends:
        t = np.linspace(0, end, 400_001)
        nearest = rounded(t, 1.0, kind)
        assert grid.integral(end) == pytest.approx(np.trapezoid((t - nearest) ** 2, t), rel=1e-3)


def ort_threshold(histogram: np.ndarray, bounds: np.ndarray) -> tuple[float, float]:
    collector = HistogramCollector("entropy", False, 128, 128, None, None)
    ends = np.float64(bounds[0]), np.float64(bounds[-1])
    found = collector.get_entropy_threshold((histogram, bounds, *ends, ends[1]), 128)
    return float(found[0]), float(found[1])


@pytest.mark.parametrize("bins", [128, 130, 192, 400])
@pytest.mark.parametrize("shape", ["normal", "heavy tails", "SiLU", "half zeros"])
def test_entropy_search_is_onnx_runtimes(bins, shape):
    values = SHAPES[shape]()
    peak = np.abs(values).max()
    histogram, bounds = np.histogram(values, bins, range=(-peak, peak))
    assert threshold(histogram, bounds) == ort_threshold(histogram, bounds)


def test_entropy_search_of_sparse_histograms_is_onnx_runtimes():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        histogram = rng.poisson(3, 200) * (rng.random(200) < 0.4)
        bounds = np.linspace(-1, 1, 201)
        assert threshold(histogram, bounds) == ort_threshold(histogram, bounds), seed


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_of_one_image_is_max(shape):
    statistics = statistics_of(x=[SHAPES[shape]()])
    assert Ranges(statistics, "entropy").of(["x"]) == Ranges(statistics, "max").of(["x"])


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "SiLU", "half zeros"])
def test_entropy_follows_onnx_runtimes_calibrator_that_sees_the_median_image_first(shape):
    gains = [1.0, 0.6, 1.9, 0.8, 1.4]
    images = [(SHAPES[shape]() * gain).astype(np.float32) for gain in gains]
    peaks = [np.abs(x).max() for x in images]
    first = int(np.argsort(peaks)[2])
    order = [first, *(i for i in range(5) if i != first)]
    collector = HistogramCollector("entropy", False, 128, 128, None, None)
    with contextlib.redirect_stdout(io.StringIO()):
        for i in order:
            collector.collect({"x": images[i]})
        low, high = collector.compute_collection_result()["x"][:2]
    stride = 2 * float(peaks[first]) / 128
    found = Ranges(statistics_of(x=images), "entropy").of(["x"])
    assert found == pytest.approx(float(max(abs(low), abs(high))), abs=2 * stride)


def test_rebinning_keeps_every_value():
    values = RNG.normal(0, 1, 50_000).astype(np.float32)
    bounds = np.linspace(-4.5, 4.5, 129)
    histogram = Histogram()
    histogram.add(values)
    found = linear(histogram.counts(), bounds)
    assert found.sum() == values.size
    exact = np.histogram(values, bounds)[0]
    assert np.abs(np.cumsum(found) - np.cumsum(exact)).max() < 0.01 * values.size


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_a_group_is_its_tensors_taken_together(method):
    a, b = [heavy() for _ in range(3)], [silu() for _ in range(3)]
    together = statistics_of(x=[np.concatenate(pair) for pair in zip(a, b, strict=True)])
    apart = statistics_of(a=a, b=b)
    assert Ranges(apart, method).of({"a", "b"}) == Ranges(together, method).of(["x"])


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_order_of_images_does_not_matter(method):
    images = [heavy() * gain for gain in (1, 3, 0.2, 7)]
    forward = Ranges(statistics_of(x=images), method).of(["x"])
    assert Ranges(statistics_of(x=images[::-1]), method).of(["x"]) == forward


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_a_dead_tensor_has_no_range(method):
    assert Ranges(statistics_of(x=[np.zeros(100)] * 2), method).of(["x"]) == 0


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_no_range_exceeds_the_greatest_value(method):
    for shape in SHAPES.values():
        statistics = statistics_of(x=[shape(), shape()])
        assert 0 < Ranges(statistics, method).of(["x"]) <= Ranges(statistics, "max").of(["x"])
