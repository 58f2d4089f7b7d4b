"""Legalisation: a graph gets the integer types that its backend takes, and not one bit changes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from quantized import exact, images, one_convolution, quantized, types_of
from small_detector import SIZE, small_detector

from mpj_runner.graph.legalize import is_signed, is_wide, legalize

BATCH = images((1, 3, SIZE, SIZE), seed=3)
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


@pytest.mark.parametrize(("products", "signed_left"), [("unsigned", False), ("signed", True)])
def test_openvino_keeps_signed_activations_with_amx_only(signed, products, signed_left):
    legal, _ = legalize(signed, "openvino", products=products)
    assert is_signed(legal) is signed_left
    assert is_wide(legal)


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
