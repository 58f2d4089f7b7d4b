"""The benchmark step, on real engines of this processor."""

import json

import cv2
import numpy as np
import pytest
from small_detector import small_detector
from worlds import built, metadata

from mpj_runner.backends import cuda
from mpj_runner.contract.files import Conditions
from mpj_runner.contract.steps import BenchmarkParams
from mpj_runner.steps import benchmark
from mpj_runner.steps.benchmark import run

pytestmark = pytest.mark.skipif(cuda.device_count() > 0, reason="these worlds are a processor's")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    engine, _ = built(small_detector(), "openvino", folder / "a")
    (folder / "metadata.json").write_text(metadata().model_dump_json())
    images = folder / "images"
    images.mkdir()
    cv2.imwrite(str(images / "one.png"), np.full((40, 60, 3), 200, np.uint8))
    return {
        "engine-baseline": engine,
        "engine-twin": engine,
        "metadata": folder / "metadata.json",
        "images": images,
    }


PARAMS = BenchmarkParams(
    backend="openvino",
    engines=("baseline", "twin"),
    precisions=("fp32", "fp32"),
    threads=1,
    warmup_milliseconds=20,
    seconds=0.4,
    resamples=200,
)


def test_two_equal_engines_are_equally_fast(inputs, tmp_path):
    result = run(PARAMS, inputs, tmp_path)
    first, second = result.outcome.engines
    assert (first.name, second.name) == ("baseline", "twin")
    assert (first.speedup.low, first.speedup.value, first.speedup.high) == (1, 1, 1)
    assert second.speedup.value == pytest.approx(1.0, abs=0.35)
    assert 0 < second.latency_ms.p50 <= second.latency_ms.p90 <= second.latency_ms.p99
    assert second.throughput_per_second > 0
    with np.load(result.files["samples"]) as samples:
        assert set(samples.files) == {"baseline", "twin"}
        assert samples["twin"].ndim == 2
        assert np.median(samples["twin"]) == pytest.approx(second.latency_ms.p50)
    conditions = Conditions.model_validate(json.loads(result.files["conditions"].read_text()))
    assert conditions.threads == 1
    assert conditions.hardware == result.outcome.hardware
    assert conditions.unreliable == result.outcome.unreliable


def test_real_images_are_the_input_and_noise_is_the_fallback(inputs):
    one = metadata()
    real = benchmark._batch(one, 2, inputs["images"])
    assert real.shape == (2, 3, 32, 32)
    assert real[:, :, 16, 16] == pytest.approx(200 / 255)
    noise = benchmark._batch(one, 1, None)
    np.testing.assert_array_equal(noise, benchmark._batch(one, 1, None))
    assert noise.std() > 0.2


def test_an_unreliable_measurement_says_so(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "drift", lambda _: 3.0)
    result = run(PARAMS, inputs, tmp_path)
    assert "factor of 3.0" in result.outcome.unreliable
