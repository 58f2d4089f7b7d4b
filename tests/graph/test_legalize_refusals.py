"""What a backend cannot take is refused, in words that name the field and the fix."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from quantized import one_convolution, types_of
from small_detector import small_detector

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.legalize import check, legalize


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
