"""Read and check a user's ONNX graph, and make its shapes static."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, version_converter

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.model import InputSize
from mpj_runner.graph.names import name_nodes

OLDEST: Final = 13
"""The first operator set with per-channel Q/DQ: what ModelOpt needs."""
SHOWN: Final = 5
"""Nodes that a message lists."""


def load_onnx(path: Path, input_size: InputSize | None, batch_size: int) -> ModelProto:
    """Load a graph and make it one that every later step can rely on.

    Args:
        path: the ONNX file.
        input_size: pixels; fixes dynamic sizes, and must agree with static ones.
        batch_size: fixes a dynamic batch, and must agree with a static one.

    Returns:
        A checked model of operator set >= 13 with uniquely named nodes and one static image input
        (batch, 3, height, width) of float32.

    Raises:
        UserError: the file is broken, or not such a graph and no spec field can make it one.
    """
    model = _parsed(path)
    _require_known_operators(model)
    _drop_weight_inputs(model)
    model = _upgraded(model)
    model = name_nodes(model)
    _fix_input(model, input_size, batch_size)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UserError(
            f"the ONNX graph of spec.model.uri is not valid: {error!s:.400}; export it again"
        ) from error
    return model


def has_qdq(model: ModelProto) -> bool:
    """Tell whether a graph is already quantized."""
    return any(n.op_type in {"QuantizeLinear", "DequantizeLinear"} for n in model.graph.node)


def _parsed(path: Path) -> ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, UnicodeDecodeError) as error:
        raise _broken(path) from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise _broken(path)
    if any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer):
        raise UserError(
            "the ONNX file of spec.model.uri keeps its weights in a second file: save it as one"
            " file with onnx.save_model(model, path, save_as_external_data=False)"
        )
    return model


def _broken(path: Path) -> UserError:
    return UserError(
        "the file of spec.model.uri cannot be read as ONNX: it is empty, truncated or of another"
        f" format ({path.stat().st_size} bytes); upload it again or set spec.model.format"
    )


def _nodes(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    """Walk a graph's nodes and those of its branches and loops."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _require_known_operators(model: ModelProto) -> None:
    versions = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    newest = onnx.defs.onnx_opset_version()
    if versions.get("", 0) > newest:
        raise UserError(
            f"the ONNX graph of spec.model.uri has operator set {versions['']}, this runner knows"
            f" up to {newest}: export it with opset_version=19"
        )
    local = {(f.domain, f.name) for f in model.functions}
    unknown = []
    for node in _nodes(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        known = domain in versions and onnx.defs.has(node.op_type, versions[domain], domain)
        if not known or (domain, node.op_type) in local:
            unknown.append(f'{domain or "ai.onnx"}:{node.op_type} (node "{node.name}")')
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise UserError(
            f"the ONNX graph of spec.model.uri has operators that are not part of ONNX:"
            f" {', '.join(unknown[:SHOWN])}{more}; export the model without plugins and custom"
            " operators (for instance without NMS in the graph)"
        )


def _drop_weight_inputs(model: ModelProto) -> None:
    weights = {t.name for t in model.graph.initializer}
    kept = [i for i in model.graph.input if i.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _upgraded(model: ModelProto) -> ModelProto:
    version = next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"})
    if version >= OLDEST:
        return model
    try:
        return version_converter.convert_version(model, OLDEST)
    except (RuntimeError, version_converter.ConvertError) as error:
        raise UserError(
            f"the ONNX graph of spec.model.uri has operator set {version}, and converting it to"
            f" {OLDEST} fails ({error!s:.300}): export it with opset_version=19"
        ) from error


def _fix_input(model: ModelProto, input_size: InputSize | None, batch_size: int) -> None:
    inputs = model.graph.input
    if len(inputs) != 1:
        raise UserError(
            f"the ONNX graph of spec.model.uri has {len(inputs)} inputs"
            f" ({', '.join(i.name for i in inputs)}): exactly one, the image, is supported"
        )
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise UserError(
            f'the input "{inputs[0].name}" of the ONNX graph is {kind}, float32 is needed: export'
            " the model in full precision (half=False); precision is lowered here"
        )
    dims = tensor.shape.dim
    if len(dims) != 4:
        raise UserError(
            f'the input "{inputs[0].name}" of the ONNX graph has {len(dims)} dimensions: an image'
            " batch (batch, 3, height, width) is needed"
        )
    _fix(dims[0], batch_size, "batch", f"spec.target.batchSize {batch_size}")
    if dims[3].dim_value == 3 and dims[1].dim_value != 3:
        raise UserError(
            f'the input "{inputs[0].name}" of the ONNX graph has its channels last: export the'
            " model with an input (batch, 3, height, width)"
        )
    _fix(dims[1], 3, "channel", "three channels")
    wanted = (input_size.height, input_size.width) if input_size else (None, None)
    for dim, name, size in zip(dims[2:], ("height", "width"), wanted, strict=True):
        _fix(dim, size, name, f"spec.model.inputSize.{name} {size}")
    del model.graph.value_info[:]
    for output in model.graph.output:  # their shapes were inferred for the dynamic input
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()


def _fix(dim: onnx.TensorShapeProto.Dimension, size: int | None, name: str, wanted: str) -> None:
    if dim.dim_value > 0:
        if size not in (None, dim.dim_value):
            raise UserError(
                f"the ONNX graph has a static {name} of {dim.dim_value} and not {wanted}: make the"
                " spec agree with it, or export the model again with dynamic shapes"
            )
        return
    if size is None:
        raise UserError(
            f"the ONNX graph has a dynamic {name}: set spec.model.inputSize to the size that it is"
            " to run at"
        )
    dim.dim_value = size
