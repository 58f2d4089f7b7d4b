"""Make a graph that a backend runs fast and computes right, or say why it cannot.

What each engine needs of Q/DQ pairs was measured (docs/adr/0008):

- OpenVINO runs 8-bit convolutions with int8 weights only. It computes signed activations wrongly,
  without a word, on processors without AMX; with AMX they are right, and faster than unsigned ones.
- OpenVINO and ONNX Runtime add pairs of uint8 x int8 products in saturating 16 bits on processors
  without VNNI or AMX. OpenVINO then gets 7-bit weights; ONNX Runtime has kernels for unsigned
  weights that widen first, and gets those.
- TensorRT takes symmetric int8 only.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import onnx

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.quantization import Int8Products
from mpj_runner.contract.steps import BackendName
from mpj_runner.graph import rewrites
from mpj_runner.graph.pairs import Pairs, sweep

_CPU: Final = frozenset({"openvino", "onnxruntime"})
_STANDARD: Final = frozenset({"", "ai.onnx"})
_DOMAINS: Final[dict[BackendName, frozenset[str]]] = {
    "openvino": _STANDARD | {"com.microsoft", "org.openvinotoolkit"},
    "onnxruntime": _STANDARD | {"ai.onnx.ml", "com.microsoft"},
    "tensorrt": _STANDARD | {"trt"},
    "tensorrt-rtx": _STANDARD | {"trt"},
}
_FP8: Final = frozenset(
    {
        onnx.TensorProto.FLOAT8E4M3FN,
        onnx.TensorProto.FLOAT8E4M3FNUZ,
        onnx.TensorProto.FLOAT8E5M2,
        onnx.TensorProto.FLOAT8E5M2FNUZ,
    }
)


def legalize(
    model: onnx.ModelProto, backend: BackendName, *, products: Int8Products, cuda: bool = False
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the graph as a backend needs it, and what was changed, in words.

    Args:
        model: a graph; not changed.
        backend: what will run it.
        products: what the processor computes right (``hardware.int8_products``).
        cuda: a CUDA device is visible: ONNX Runtime will run there, where its processor's kernels
            do not matter. Other backends do not change with it.

    Raises:
        UserError: the backend cannot take this graph; see ``check``.
    """
    check(model, backend, cuda=cuda)
    legal = onnx.ModelProto()
    legal.CopyFrom(model)
    pairs = Pairs(legal)
    notes = []
    for rewrite, note in _rewrites(backend, products, cuda=cuda):
        count = rewrite(pairs)
        if count:
            notes.append(note.format(count))
    sweep(pairs)
    if backend == "openvino" and products != "signed" and is_signed(legal):
        raise UserError(
            "spec.candidates[].onnx: the graph has int8 activations that cannot be rewritten as "
            "uint8 (their bytes are read by something else, or their scale is computed), and "
            "OpenVINO multiplies them right with AMX only: quantize activations to uint8"
        )
    if backend == "openvino" and products == "saturating" and is_wide(legal):
        raise UserError(
            "spec.candidates[].onnx: int8 weights with a zero point other than 0 saturate on this "
            "processor (no VNNI or AMX) and cannot be narrowed: quantize weights symmetrically"
        )
    return legal, tuple(notes)


def is_wide(model: onnx.ModelProto) -> bool:
    """Tell whether int8 weights are so large that processors without VNNI or AMX saturate."""
    limits = (values for _, values, _ in Pairs(model).weights() if values.dtype == np.int8)
    return any(
        np.abs(values.astype(np.int16)).max(initial=0) > rewrites.SAFE_WEIGHT for values in limits
    )


def is_signed(model: onnx.ModelProto) -> bool:
    """Tell whether the graph quantizes activations to int8, whatever reads the bytes."""
    pairs = Pairs(model)
    return any(
        node.op_type == "QuantizeLinear"
        and pairs.array(node.input[0]) is None
        and pairs.element_type(node) == onnx.TensorProto.INT8
        for node in model.graph.node
    )


Rewrite = Callable[[Pairs], int]


def _rewrites(
    backend: BackendName, products: Int8Products, *, cuda: bool
) -> Iterator[tuple[Rewrite, str]]:
    if backend not in _CPU:
        yield (
            lambda x: rewrites.shift_activations(x, np.int8),
            "{} activations rewritten to int8 (exact)",
        )
        yield lambda x: rewrites.shift_weights(x, np.int8), "{} weights rewritten to int8 (exact)"
        return
    if cuda and backend == "onnxruntime":
        return
    if backend == "onnxruntime" or products != "signed":
        yield (
            lambda x: rewrites.shift_activations(x, np.uint8),
            "{} activations rewritten to uint8 (exact)",
        )
    if backend == "onnxruntime":
        yield rewrites.fold_weights, "{} weights stored as bytes (exact)"
        if products == "saturating":
            yield (
                lambda x: rewrites.shift_weights(x, np.uint8),
                "{} weights rewritten to uint8, since int8 saturates without VNNI or AMX (exact)",
            )
        return
    if products == "saturating":
        yield (
            rewrites.narrow_weights,
            "{} weights quantized to 7 bits (no VNNI or AMX here; not exact)",
        )
        yield (
            rewrites.free_products,
            "{} products of two activations kept in float (no VNNI or AMX here)",
        )
    yield rewrites.fold_weights, "{} weights stored as bytes (exact)"
    yield lambda x: rewrites.shift_weights(x, np.int8), "{} weights rewritten to int8 (exact)"
    if products == "saturating":
        yield rewrites.halve_weights, "{} weights halved to 7 bits (no VNNI or AMX here; not exact)"


def check(model: onnx.ModelProto, backend: BackendName, *, cuda: bool = False) -> None:
    """Refuse what a backend cannot take, before any time is spent on it.

    Raises:
        UserError: names the field of the spec, the node or input, and what to do.
    """
    _check_shapes(model)
    _check_domains(model, backend)
    types = set(_element_types(model.graph))
    if backend in _CPU and types & _FP8:
        raise UserError(
            f"spec.candidates[].ptq.format: fp8 does not run on backend {backend}: use int8, or "
            "spec.target.backend tensorrt or tensorrt-rtx"
        )
    if backend == "onnxruntime" and not cuda and onnx.TensorProto.BFLOAT16 in types:
        raise UserError(
            "spec.candidates[].autoCast.lowPrecisionType: ONNX Runtime has no bf16 convolutions on "
            "a CPU: use fp16, or spec.target.backend openvino"
        )


def _check_shapes(model: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and not all(d.dim_value > 0 for d in dims):
            shape = ", ".join(d.dim_param or str(d.dim_value or "?") for d in dims)
            raise UserError(
                f"spec.model: input {value.name!r} of the ONNX graph has the dynamic shape "
                f"({shape}): export it with a static batch, height and width"
            )


def _check_domains(model: onnx.ModelProto, backend: BackendName) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if node.domain not in _DOMAINS[backend] and (node.domain, node.op_type) not in functions:
            raise UserError(
                f"spec.target.backend: {backend} has no operator {node.domain}::{node.op_type} "
                f"(node {node.name!r}): export the model without it or choose another backend"
            )


def _element_types(graph: onnx.GraphProto) -> Iterator[int]:
    """Yield the types of stored tensors and of what casts and quantizers write."""
    for tensor in graph.initializer:
        yield tensor.data_type
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t.data_type
            elif attribute.name in ("to", "output_dtype"):
                yield attribute.i
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _element_types(attribute.g)
