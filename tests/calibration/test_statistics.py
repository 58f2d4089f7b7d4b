"""What one pass keeps: exact extremes, exact counts, in any order, in any batch, node by node."""

import numpy as np
import onnx
import pytest
from small_detector import Builder, random_images, small_detector

from mpj_runner.calibration.collect import collect
from mpj_runner.calibration.histogram import (
    BINS,
    FINITE,
    HALF,
    Histogram,
    absolute,
    counted,
    edges,
)
from mpj_runner.calibration.runs import WholeGraph, session_of
from mpj_runner.calibration.statistics import Statistics
from mpj_runner.contract.errors import UserError

IMAGES = random_images(5)


def count(values: np.ndarray) -> np.ndarray:
    histogram = Histogram()
    histogram.add(values)
    return histogram.counts()


def gather(model=None, images=IMAGES, **kwargs) -> Statistics:
    return collect(model or small_detector(), images, input_name="images", threads=1, **kwargs)


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return gather()


def assert_equal(one: Statistics, other: Statistics) -> None:
    assert one.images == other.images
    assert one.tensors == other.tensors
    for x in one.tensors:
        np.testing.assert_array_equal(one.low[x], other.low[x], err_msg=x)
        np.testing.assert_array_equal(one.high[x], other.high[x], err_msg=x)
        np.testing.assert_array_equal(one.histograms[x], other.histograms[x], err_msg=x)


def test_bins_are_the_upper_half_of_a_float():
    values = np.array([0, -0.0, 1, 1.007, 1.008, -1, 3e38, 1e-45], np.float32)
    counts = count(values)
    assert counts.shape == (BINS,)
    assert counts.sum() == values.size
    assert counts[0x3F80] == 2, "1 and 1.007 share a bin"
    assert counts[0x3F81] == 1, "1.008 is in the next, 1/128 above 1"
    assert counts[HALF + 0x3F80] == 1
    assert absolute(counts)[0] == 3, "both zeros and a subnormal"


def test_counts_are_the_same_however_many_wait():
    rng = np.random.default_rng(1)
    values = rng.normal(size=400_000).astype(np.float32)
    parts = Histogram()
    for part in np.array_split(values, 31):
        parts.add(part)
    np.testing.assert_array_equal(parts.counts(), count(values))
    assert parts.counts().sum() == values.size


def test_edges_bound_the_bins():
    bounds = edges()
    assert bounds.size == FINITE + 1
    assert (np.diff(bounds) > 0).all()
    assert bounds[0x3F80] == 1
    assert bounds[0x3F81] == 1 + 1 / 128


def test_extremes_and_counts_are_exact(statistics):
    model = small_detector()
    run = WholeGraph(model, 1)
    shown = [dict(run.activations({"images": x})) for x in IMAGES]
    assert statistics.images == 5
    assert set(statistics.tensors) == set(shown[0])
    for name in statistics.tensors:
        values = [x[name] for x in shown]
        np.testing.assert_array_equal(statistics.low[name], [x.min() for x in values])
        np.testing.assert_array_equal(statistics.high[name], [x.max() for x in values])
        whole = np.concatenate([x.ravel() for x in values])
        np.testing.assert_array_equal(statistics.histograms[name], count(whole))


def test_all_float_activations_that_something_reads_are_kept(statistics):
    model = small_detector()
    constants = {x.name for x in model.graph.initializer}
    read = {x for node in model.graph.node for x in node.input if x and x not in constants}
    assert set(statistics.tensors) == read


def test_activations_are_those_of_the_plain_model():
    image = {"images": IMAGES[0]}
    plain = session_of(small_detector(), 1).run(None, image)[0]
    shown = dict(WholeGraph(small_detector(), 1).activations(image))
    np.testing.assert_array_equal(shown["head/Concat_2_out"], plain)


def test_node_by_node_gives_the_same_to_the_bit(statistics):
    assert_equal(gather(per_node=True), statistics)


def computed_anchors() -> onnx.ModelProto:
    """A graph that adds what it computes from constants, as TorchScript exports do."""
    b = Builder()
    grid = b.constant("grid", np.arange(32, dtype=np.float32))
    axes = b.constant("axes", np.array([0, 1, 2], np.int64))
    anchors = b.one("Unsqueeze", [grid, axes], "anchors")
    x = b.conv("images", "first", 3, 16)
    return b.model(b.conv(b.one("Add", [x, anchors], "add"), "last", 16, 16), [16, 32, 32], 2, 19)


@pytest.mark.parametrize("per_node", [False, True])
def test_what_is_computed_from_constants_has_statistics_too(per_node):
    statistics = gather(computed_anchors(), IMAGES[:3], batch_size=2, per_node=per_node)
    assert statistics.high["anchors_out"].tolist() == [31, 31, 31]
    assert statistics.low["add_out"].shape == (3,)


def test_a_node_with_a_graph_of_its_own_cannot_run_alone():
    model = computed_anchors()
    then = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["add_out"], ["inner"])],
        "then",
        [],
        [onnx.helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)],
    )
    always = onnx.numpy_helper.from_array(np.array(True), "always")
    node = onnx.helper.make_node(
        "If", ["always"], ["chosen"], "branch", then_branch=then, else_branch=then
    )
    model.graph.initializer.append(always)
    model.graph.node.insert(3, node)
    words = r"calibratePerNode: node branch \(If\).*leave calibratePerNode off"
    with pytest.raises(UserError, match=words):
        gather(model, batch_size=2, per_node=True)
    assert gather(model, batch_size=2).images == 5


@pytest.mark.parametrize("end_to_end", [False, True])
def test_node_by_node_runs_every_kind_of_node(end_to_end):
    model = small_detector("sum", end_to_end=end_to_end, opset=20)
    assert_equal(gather(model, IMAGES[:2], per_node=True), gather(model, IMAGES[:2]))


def test_order_of_images_does_not_matter_but_for_the_rows(statistics):
    shuffled = gather(images=IMAGES[::-1])
    for name in statistics.tensors:
        np.testing.assert_array_equal(shuffled.histograms[name], statistics.histograms[name])
        np.testing.assert_array_equal(shuffled.low[name], statistics.low[name][::-1])


@pytest.mark.parametrize("per_node", [False, True])
def test_padding_of_the_last_batch_is_not_counted(statistics, per_node):
    batched = gather(small_detector(batch=2), batch_size=2, per_node=per_node)
    assert batched.images == 5
    for name in ("images", "stem/Mul_out", "stage/Concat_out", "attn/Softmax_out"):
        assert batched.histograms[name].sum() == statistics.histograms[name].sum()
        np.testing.assert_allclose(batched.low[name], statistics.low[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batched.high[name], statistics.high[name], rtol=1e-5, atol=1e-6)


def test_each_image_is_read_once_and_not_kept():
    taken, alive = [], []

    def stream():
        for image in IMAGES:
            taken.append(1)
            alive.append(len(taken))
            yield image.copy()

    assert gather(images=stream()).images == len(taken) == 5


def test_saved_statistics_are_the_same_and_deterministic(statistics, tmp_path):
    statistics.save(tmp_path / "a.npz")
    gather().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert_equal(Statistics.load(tmp_path / "a.npz"), statistics)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"{}"])
def test_a_foreign_file_is_refused(content, tmp_path):
    path = tmp_path / "statistics.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"statistics\.npz holds no statistics of calibrate"):
        Statistics.load(path)


def test_statistics_of_another_version_are_refused(statistics, tmp_path):
    np.savez(tmp_path / "old.npz", version=0)
    with pytest.raises(UserError, match="another version: run calibrate again"):
        Statistics.load(tmp_path / "old.npz")


def test_no_images_is_the_users_to_mend():
    with pytest.raises(
        UserError, match=r"no image to calibrate with: point spec\.calibration\.uri"
    ):
        gather(images=[])


def test_values_that_are_no_numbers_are_named():
    def poisoned(value: float) -> onnx.ModelProto:
        b = Builder()
        bad = b.constant("bad", np.full((1, 3, 1, 1), value, np.float32))
        x = b.one("Mul", ["images", bad], "poison")
        return b.model(b.conv(x, "last", 3, 8), [8, 32, 32], 1, 19)

    assert gather(poisoned(2.0)).images == 5
    for value in (np.nan, np.inf):
        words = r"NaN or infinity on calibration image 1 \(tensor poison_out\).*preprocess"
        with pytest.raises(UserError, match=words):
            gather(poisoned(value))


def test_a_graph_that_cannot_run_is_the_users_to_mend():
    model = small_detector()
    model.graph.node[0].op_type = "Convolution"
    with pytest.raises(UserError, match=r"spec\.model: ONNX Runtime cannot run the graph"):
        gather(model)


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"spec\.model: the graph fails on a calibration image"):
        gather(images=[np.zeros((1, 3, 16, 16), np.float32)])


@pytest.mark.parametrize("many", [0, 5, 4 * BINS - 1, 4 * BINS, (1 << 24) + 3])
def test_every_way_of_counting_is_exact(many):
    found = np.full(many, 7, dtype=np.uint16)
    found[: many // 3] = BINS - 1
    assert np.array_equal(counted(found), np.bincount(found, minlength=BINS))


def test_counts_beyond_four_bytes_are_kept(tmp_path):
    histogram = np.zeros(BINS, dtype=np.int64)
    histogram[[3, 9]] = 5, (1 << 32) + 1
    one = np.ones(1, dtype=np.float32)
    statistics = Statistics(1, {"x": one}, {"x": one}, {"x": histogram})
    statistics.save(tmp_path / "statistics.npz")
    loaded = Statistics.load(tmp_path / "statistics.npz").histograms["x"]
    assert loaded.dtype == np.int64
    assert np.array_equal(loaded, histogram)
