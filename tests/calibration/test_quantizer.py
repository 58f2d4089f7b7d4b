"""Ready ranges give, bit for bit, the graph of ModelOpt's public ``quantize``.

Two independent witnesses. For max, the public call calibrates on the same images: then ranges,
Concat groups and placement are all its own. For the other methods, the public call is given the
same ranges through its calibration cache: placement and grouping are its own, and the groups'
common scales are worked out here, from the rule that ModelOpt documents.
"""

import contextlib
import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_detector import random_images, small_detector

from mpj_runner.calibration.collect import collect
from mpj_runner.calibration.quantizer import Placement, quantize_with_ranges
from mpj_runner.calibration.ranges import Ranges
from mpj_runner.calibration.statistics import Statistics
from mpj_runner.graph.names import pattern_of

MODEL = small_detector()
IMAGES = random_images(4)
SHAPE = (1, 3, 32, 32)
NAMES = sorted(x.name for x in MODEL.graph.node)
SOFTMAX = {x.output[0] for x in MODEL.graph.node if x.op_type == "Softmax"}
"""ModelOpt takes their range to be 1, whatever was measured."""
LAYERS = sorted(x.name for x in MODEL.graph.node if x.op_type in ("Conv", "MatMul"))


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return collect(MODEL, IMAGES, input_name="images")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "model.onnx"
    onnx.save(MODEL, path)
    return path


def ours(source: Path, out: Path, ranges: Ranges, placement: Placement) -> onnx.ModelProto:
    quantize_with_ranges(source, out / "ours.onnx", SHAPE, ranges, placement)
    return onnx.load(out / "ours.onnx")


def public(
    source: Path, out: Path, placement: Placement, images: list, cache: Path | None = None
) -> onnx.ModelProto:
    from modelopt.onnx.quantization import quantize

    with contextlib.redirect_stdout(io.StringIO()):
        quantize(
            str(source),
            quantize_mode=placement.format,
            calibration_method="max",
            calibration_data=np.concatenate(images),
            calibration_cache_path=cache and str(cache),
            calibration_eps=["cpu"],
            nodes_to_exclude=list(placement.exclude),
            op_types_to_exclude=list(placement.op_types_to_exclude),
            op_types_to_quantize=list(placement.op_types_to_quantize),
            high_precision_dtype=placement.remainder,
            passes=["concat_elimination"] if placement.share_concat_scales else [],
            output_path=str(out / "public.onnx"),
            log_level="ERROR",
        )
    return onnx.load(out / "public.onnx")


def assert_same(one: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """Hold every node, attribute, edge and every bit of every initializer together."""
    assert one.ir_version == other.ir_version
    assert one.opset_import == other.opset_import
    assert list(one.graph.input) == list(other.graph.input)
    assert list(one.graph.output) == list(other.graph.output)
    nodes, others = ({x.output[0]: x for x in m.graph.node} for m in (one, other))
    assert nodes.keys() == others.keys()
    for name, node in nodes.items():
        assert node == others[name], name
    values, others = ({x.name: x for x in m.graph.initializer} for m in (one, other))
    assert values.keys() == others.keys()
    for name, value in values.items():
        mine, theirs = numpy_helper.to_array(value), numpy_helper.to_array(others[name])
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape), name
        assert mine.tobytes() == theirs.tobytes(), name


def drawn(seed: int, **fixed) -> Placement:
    """A set of exclusions: up to half of all nodes, or of the layers, or one, or none."""
    rng = np.random.default_rng(seed)
    pool = [NAMES, LAYERS, LAYERS][seed % 3]
    chosen = rng.choice(
        pool, size=[len(pool) // 2, len(pool) // 4, 1][seed // 3 % 3], replace=False
    )
    return Placement(
        **{
            "format": "int8",
            "exclude": [pattern_of(chosen)],
            "share_concat_scales": bool(seed % 4),
            **fixed,
        }
    )


@pytest.mark.parametrize("seed", range(26))
def test_max_equals_a_full_calibration(seed, statistics, source, tmp_path):
    placement = drawn(seed)
    mine = ours(source, tmp_path, Ranges(statistics, "max"), placement)
    assert_same(mine, public(source, tmp_path, placement, IMAGES))


@pytest.mark.parametrize("remainder", ["fp32", "fp16"])
@pytest.mark.parametrize("seed", range(3))
def test_fp8_equals_a_full_calibration(seed, remainder, statistics, source, tmp_path):
    placement = drawn(seed, format="fp8", remainder=remainder)
    mine = ours(source, tmp_path, Ranges(statistics, "max", "fp8"), placement)
    assert_same(mine, public(source, tmp_path, placement, IMAGES))


@pytest.mark.parametrize("seed", range(2))
def test_fp16_remainder_equals_a_full_calibration(seed, statistics, source, tmp_path):
    placement = drawn(seed, remainder="fp16")
    mine = ours(source, tmp_path, Ranges(statistics, "max"), placement)
    assert_same(mine, public(source, tmp_path, placement, IMAGES))


@pytest.mark.parametrize(
    "fixed",
    [
        pytest.param({"exclude": []}, id="nothing excluded"),
        pytest.param({"exclude": [r"head\.", "dfl"]}, id="patterns from the start"),
        pytest.param(
            {"exclude": [], "op_types_to_exclude": ["Add", "MatMul"]}, id="types excluded"
        ),
        pytest.param(
            {"exclude": [], "op_types_to_quantize": ["Conv", "Mul", "Sigmoid", "Resize"]},
            id="types chosen, odd ones among them",
        ),
        pytest.param({"exclude": [".*"]}, id="all excluded"),
    ],
)
def test_special_placements_equal_a_full_calibration(fixed, statistics, source, tmp_path):
    placement = drawn(1, **fixed)
    mine = ours(source, tmp_path, Ranges(statistics, "max"), placement)
    assert_same(mine, public(source, tmp_path, placement, IMAGES))


@pytest.mark.parametrize("seed", range(24))
def test_any_ranges_equal_the_public_call_with_a_cache_of_them(seed, statistics, source, tmp_path):
    method = ["mse", "percentile", "entropy", "max"][seed % 4]
    placement = drawn(seed + 100, share_concat_scales=seed % 3 != 0)
    ranges = Ranges(statistics, method, percentile=99.0)
    mine = ours(source, tmp_path, ranges, placement)
    quantized = activations_of(mine)
    groups = concat_groups(quantized) if placement.share_concat_scales else {}
    amax = {x: ranges.of(groups.get(x, {x})) for x in quantized}
    cache = tmp_path / "calibration.cache"
    write_cache(cache, amax)
    assert_same(mine, public(source, tmp_path, placement, IMAGES[:1], cache))


def activations_of(model: onnx.ModelProto) -> set[str]:
    constants = {x.name for x in model.graph.initializer}
    quantizers = [x for x in model.graph.node if x.op_type == "QuantizeLinear"]
    return {x.input[0] for x in quantizers if x.input[0] not in constants}


def concat_groups(quantized: set[str]) -> dict[str, set[str]]:
    """The documented rule: a quantized Concat output shares its scale with its quantized inputs."""
    groups: dict[str, set[str]] = {}
    for node in MODEL.graph.node:
        parts = [x for x in node.input if x in quantized]
        if node.op_type == "Concat" and node.output[0] in quantized and parts:
            merged = set().union(*(groups.get(x, {x}) for x in (*parts, node.output[0])))
            groups |= dict.fromkeys(merged, merged)
    return groups


def write_cache(path: Path, amax: dict[str, np.float32]) -> None:
    lines = ["TRT-8501-EntropyCalibration2"]
    for name, value in sorted(amax.items()):
        scale = 1 / 127 if name in SOFTMAX else float(value) / 127
        lines.append(f"{name}: {struct.pack('!f', np.float32(scale)).hex()}")
    path.write_text("\n".join(lines) + "\n")


def test_methods_and_grouping_change_scales(statistics, source, tmp_path):
    def scales(method: str, *, shared: bool) -> dict[str, bytes]:
        placement = Placement("int8", [], share_concat_scales=shared)
        model = ours(source, tmp_path, Ranges(statistics, method), placement)
        values = {x.name: x for x in model.graph.initializer}
        return {x: numpy_helper.to_array(values[f"{x}_scale"]) for x in activations_of(model)}

    shared, apart, cut = (
        scales("max", shared=True),
        scales("max", shared=False),
        scales("mse", shared=False),
    )
    together = [x for x in concat_groups(set(shared)).items() if len(x[1]) > 1]
    assert together
    assert all(shared[x] == shared[y] for x, group in together for y in group)
    assert any(apart[x] != apart[y] for x, group in together for y in group)
    assert sum(cut[x] < apart[x] for x in cut) > len(cut) / 2


def test_fp8_takes_chosen_ranges(statistics, source, tmp_path):
    ranges = Ranges(statistics, "percentile", "fp8", percentile=90.0)
    model = ours(source, tmp_path, ranges, Placement("fp8", [], share_concat_scales=False))
    values = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    found = activations_of(model)
    assert found
    for name in found - SOFTMAX:
        expected = float(ranges.of([name])) * 448 / 127**2
        assert values[f"{name}_scale"] == pytest.approx(expected, rel=1e-6)


def test_nothing_is_printed_and_the_factory_is_put_back(statistics, source, tmp_path, capfd):
    from modelopt.onnx.quantization import ort_patching

    before = ort_patching._create_calibrator_with_extra_options
    ours(source, tmp_path, Ranges(statistics, "mse"), Placement("int8", []))
    assert ort_patching._create_calibrator_with_extra_options is before
    assert capfd.readouterr().out == ""


def test_the_factory_is_put_back_after_an_error(statistics, source, tmp_path):
    from modelopt.onnx.quantization import ort_patching

    before = ort_patching._create_calibrator_with_extra_options
    fewer = {x: y for x, y in statistics.histograms.items() if x != "down4/Mul_out"}
    partial = replace(statistics, histograms=fewer)
    with pytest.raises(ValueError, match="down4/Mul_out"):
        ours(source, tmp_path, Ranges(partial, "max"), Placement("int8", []))
    assert ort_patching._create_calibrator_with_extra_options is before
