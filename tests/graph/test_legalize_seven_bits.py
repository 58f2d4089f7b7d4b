"""Legalisation for CPUs without VNNI: OpenVINO's products saturate, so weights get seven bits."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from quantized import exact, images, one_convolution, quantized, types_of
from small_detector import SIZE, small_detector

from mpj_runner.graph.legalize import is_wide, legalize

BATCH = images((1, 3, SIZE, SIZE), seed=3)
PRODUCTS_OF_ACTIVATIONS = ("attn/MatMul", "attn/MatMul_1")


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
