"""Legalisation: every rewrite is exact, but the one that says so; and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantized import exact, images, quantized
from small_detector import SIZE, small_detector

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.legalize import check, is_signed, is_wide, legalize

BATCH = images((1, 3, SIZE, SIZE), seed=3)
PRODUCTS_OF_ACTIVATIONS = ("attn/MatMul", "attn/MatMul_1")


@pytest.fixture(scope="module")
def signed():
    return quantized(small_detector())


def types_of(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Return the zero points' types by role."""
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    found: dict[str, set[int]] = {"activation": set(), "weight": set()}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            role = "weight" if node.input[0] in kinds else "activation"
            found[role].add(kinds[node.input[2]])
    return found


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return dequantized weights by dequantizer."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            q, scale, zero = (constants[x] for x in node.input)
            steps = q.astype(np.float32) - zero.astype(np.float32).reshape(-1, *[1] * (q.ndim - 1))
            found[node.output[0]] = steps * scale.reshape(-1, *[1] * (q.ndim - 1))
    return found


EXACT = [
    pytest.param("openvino", "unsigned", TensorProto.UINT8, TensorProto.INT8, id="OpenVINO, VNNI"),
    pytest.param("openvino", "signed", TensorProto.INT8, TensorProto.INT8, id="OpenVINO, AMX"),
    pytest.param("onnxruntime", "signed", TensorProto.UINT8, TensorProto.INT8, id="ORT, AMX"),
    pytest.param(
        "onnxruntime", "unsigned", TensorProto.UINT8, TensorProto.INT8, id="ONNX Runtime with VNNI"
    ),
    pytest.param(
        "onnxruntime",
        "saturating",
        TensorProto.UINT8,
        TensorProto.UINT8,
        id="ONNX Runtime without VNNI",
    ),
]


@pytest.mark.parametrize("weights", ["float", "bytes"])
@pytest.mark.parametrize(("backend", "products", "activation", "weight"), EXACT)
def test_a_rewrite_changes_types_and_not_one_bit_of_the_output(
    backend, products, activation, weight, weights
):
    model = quantized(small_detector(), weights=weights, clip=0.9)
    legal, notes = legalize(model, backend, products=products)
    onnx.checker.check_model(legal, full_check=True)
    assert types_of(legal) == {"activation": {activation}, "weight": {weight}}
    assert all("exact" in note for note in notes)
    already_legal = weights == "bytes" and activation == TensorProto.INT8
    assert bool(notes) is not already_legal
    np.testing.assert_array_equal(exact(legal, BATCH), exact(model, BATCH))


def test_the_reference_evaluator_agrees_that_nothing_changed():
    model = one_convolution()
    legal, _ = legalize(model, "openvino", products="unsigned")
    batch = images((1, 4, 6, 6), seed=1) * 4 - 2
    before, after = (ReferenceEvaluator(m).run(None, {"x": batch})[0] for m in (model, legal))
    np.testing.assert_array_equal(before, after)


def test_the_weights_of_the_artifact_are_bytes(signed):
    legal, _ = legalize(signed, "openvino", products="unsigned")
    assert legal.ByteSize() < 0.5 * signed.ByteSize()
    read = {name for node in legal.graph.node for name in node.input}
    assert {t.name for t in legal.graph.initializer} <= read


def test_without_vnni_openvino_gets_weights_of_seven_bits(signed):
    legal, notes = legalize(signed, "openvino", products="saturating")
    assert is_wide(signed) is False  # its weights are float before a quantizer
    assert is_wide(legalize(signed, "openvino", products="unsigned")[0])
    assert not is_wide(legal)
    assert any("7 bits" in note and "not exact" in note for note in notes)
    wide = weights_of(legalize(signed, "openvino", products="unsigned")[0])
    narrow = weights_of(legal)
    assert narrow.keys() == wide.keys()
    for name, values in narrow.items():
        original = next(
            numpy_helper.to_array(t)
            for t in signed.graph.initializer
            if t.name == name.removesuffix("_dq")
        )
        axes = tuple(range(1, values.ndim))
        step = 2 * np.abs(original).max(axis=axes, keepdims=True) / 127
        # Rounded once, from the float weights: never more than half a step of the new scale.
        assert np.all(np.abs(values - original) <= step / 2 * (1 + 1e-5))


def test_seven_bits_stay_close_to_eight(signed):
    floats = exact(small_detector(), BATCH)
    eight = np.abs(exact(signed, BATCH) - floats).mean()
    seven = np.abs(
        exact(legalize(signed, "openvino", products="saturating")[0], BATCH) - floats
    ).mean()
    assert seven < 3 * eight


def test_stored_bytes_are_halved_and_their_scale_doubled():
    model = quantized(small_detector(), weights="bytes")
    legal, _ = legalize(model, "openvino", products="saturating")
    assert is_wide(model)
    assert not is_wide(legal)
    before, after = weights_of(model), weights_of(legal)
    for name, values in after.items():
        axes = tuple(range(1, values.ndim))
        step = np.abs(before[name]).max(axis=axes, keepdims=True) / 127
        assert np.all(np.abs(values - before[name]) <= step * (1 + 1e-4))


def test_unsigned_weights_from_elsewhere_become_signed_and_narrow():
    model = one_convolution()
    unsigned, _ = legalize(model, "onnxruntime", products="saturating")
    assert types_of(unsigned)["weight"] == {TensorProto.UINT8}
    legal, _ = legalize(unsigned, "openvino", products="saturating")
    assert types_of(legal)["weight"] == {TensorProto.INT8}
    assert not is_wide(legal)


def test_products_of_two_activations_stay_float_without_vnni(signed):
    legal, notes = legalize(signed, "openvino", products="saturating")
    inputs = {n.name: list(n.input) for n in legal.graph.node}
    for name in PRODUCTS_OF_ACTIVATIONS:
        assert not any(x.endswith("_dq") for x in inputs[name])
    assert any("2 products" in note for note in notes)
    kept, _ = legalize(signed, "openvino", products="unsigned")
    inputs = {n.name: list(n.input) for n in kept.graph.node}
    assert all(x.endswith("_dq") for name in PRODUCTS_OF_ACTIVATIONS for x in inputs[name])


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_tensorrt_gets_signed_pairs_back(signed, backend):
    legal, notes = legalize(
        quantized(small_detector(), activations=np.uint8), backend, products="saturating"
    )
    assert types_of(legal)["activation"] == {TensorProto.INT8}
    assert notes
    np.testing.assert_array_equal(exact(legal, BATCH), exact(signed, BATCH))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "tensorrt-rtx"])
def test_a_legal_graph_stays_as_it_is(signed, backend):
    once, _ = legalize(signed, backend, products="saturating")
    twice, notes = legalize(once, backend, products="saturating")
    assert notes == ()
    assert twice == once


def test_the_given_graph_is_not_changed(signed):
    before = signed.SerializeToString(deterministic=True)
    legalize(signed, "openvino", products="saturating")
    assert signed.SerializeToString(deterministic=True) == before


def test_a_float_graph_passes_untouched():
    model = small_detector()
    for backend in ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"):
        legal, notes = legalize(model, backend, products="saturating")
        assert (legal, notes) == (model, ())


@pytest.mark.parametrize("backend", ["openvino", "tensorrt", "tensorrt-rtx"])
def test_a_visible_gpu_changes_nothing_for_other_backends(signed, backend):
    with_gpu, notes = legalize(signed, backend, products="unsigned", cuda=True)
    without, _ = legalize(signed, backend, products="unsigned", cuda=False)
    assert with_gpu.SerializeToString() == without.SerializeToString()
    assert notes or backend != "openvino"


def test_on_cuda_onnxruntime_keeps_the_graph(signed):
    legal, notes = legalize(signed, "onnxruntime", products="saturating", cuda=True)
    assert (legal, notes) == (signed, ())


def test_bytes_that_something_else_reads_stay():
    model = one_convolution()
    model.graph.output.append(helper.make_tensor_value_info("xq", TensorProto.INT8, [1, 4, 6, 6]))
    legal, _ = legalize(model, "onnxruntime", products="unsigned")
    assert TensorProto.INT8 in types_of(legal)["activation"]
    legalize(model, "openvino", products="signed")
    with pytest.raises(
        UserError, match=r"int8 activations.*AMX only: quantize activations to uint8"
    ):
        legalize(model, "openvino", products="unsigned")


def test_pairs_without_a_zero_point_are_rewritten_too():
    model = one_convolution(opset=21)
    model.ir_version = 10
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == "x":
            del node.input[2:]
            node.attribute.append(helper.make_attribute("output_dtype", TensorProto.INT8))
        elif node.op_type == "DequantizeLinear" and node.input[0] == "xq":
            del node.input[2:]
    legal, notes = legalize(model, "openvino", products="unsigned")
    assert any("uint8" in note for note in notes)
    batch = images((1, 4, 6, 6), seed=1) * 4 - 2
    np.testing.assert_array_equal(exact(legal, batch), exact(model, batch))


def one_convolution(opset=19, **changes) -> onnx.ModelProto:
    """One quantized convolution, 4 to 2 channels, with a residual pair behind it."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(0, 1, (2, 4, 3, 3)).astype(np.float32),
        "ws": np.array([0.02, 0.03], np.float32),
        "wz": np.zeros(2, np.int8),
        "xs": np.float32(1 / 64),
        "xz": np.array(0, np.int8),
    } | changes
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4, 4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def fp8():
    model = one_convolution()
    for tensor in model.graph.initializer:
        if tensor.name in ("xz", "wz"):
            tensor.data_type = TensorProto.FLOAT8E4M3FN
    return model


def foreign():
    model = small_detector()
    node = model.graph.node[3]
    node.domain, node.op_type = "my.plugin", "FancyNms"
    return model


def dynamic():
    model = small_detector()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def bf16():
    model = small_detector()
    model.graph.node.append(helper.make_node("Cast", ["output"], ["z"], to=TensorProto.BFLOAT16))
    return model


def shifted_weights():
    return one_convolution(wz=np.array([3, 3], np.int8), w=np.full((2, 4, 3, 3), 9, np.float32))


REFUSED = [
    pytest.param(
        fp8(), "openvino", ["spec.candidates[].ptq.format", "fp8", "openvino", "int8"], id="FP8"
    ),
    pytest.param(
        fp8(), "onnxruntime", ["spec.candidates[].ptq.format", "tensorrt"], id="FP8 on a CPU"
    ),
    pytest.param(
        foreign(), "openvino", ["spec.target.backend", "my.plugin::FancyNms"], id="a plug-in"
    ),
    pytest.param(dynamic(), "tensorrt", ["spec.model", "'images'", "(batch, 3,"], id="dynamic"),
    pytest.param(
        bf16(), "onnxruntime", ["autoCast.lowPrecisionType", "bf16", "fp16"], id="BF16 on a CPU"
    ),
    pytest.param(
        shifted_weights(),
        "openvino",
        ["spec.candidates[].onnx", "zero point", "symmetrically"],
        id="wide weights with a zero point",
    ),
]


@pytest.mark.parametrize(("model", "backend", "words"), REFUSED)
def test_what_a_backend_cannot_take_is_refused(model, backend, words):
    with pytest.raises(UserError) as caught:
        legalize(model, backend, products="saturating")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_fp8_and_bf16_pass_where_they_run():
    check(fp8(), "tensorrt")
    check(fp8(), "tensorrt-rtx")
    check(bf16(), "onnxruntime", cuda=True)
    check(bf16(), "openvino")


@pytest.mark.parametrize(("products", "signed_left"), [("unsigned", False), ("signed", True)])
def test_openvino_keeps_signed_activations_with_amx_only(signed, products, signed_left):
    legal, _ = legalize(signed, "openvino", products=products)
    assert is_signed(legal) is signed_left
    assert is_wide(legal)
