"""Fold and simplify a graph, exactly, keeping the names of its nodes."""

import warnings
from typing import Final

import onnx
import onnxslim
from onnx import ModelProto, helper

from mpj_runner import __version__
from mpj_runner.contract.errors import UserError
from mpj_runner.graph.names import name_nodes

PRODUCER: Final = "mixedprecision-operator"


def simplified(model: ModelProto) -> ModelProto:
    """Fold constants and BatchNorm, drop what nothing uses, and infer every shape.

    The same graph always gives the same bytes. Never call it on a quantized graph: it would fold
    the quantized weights back.

    Raises:
        UserError: a BatchNorm that runs in training mode is left.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own notes on what it could not simplify
        slim: ModelProto = onnxslim.slim(model)
    _restore_names(slim, model)
    training = [n.name for n in slim.graph.node if _trains(n)]
    if training:
        raise UserError(
            f"the model's BatchNorm {training[0]} is in training mode: export it after model.eval()"
        )
    return name_nodes(slim)


def _restore_names(slim: ModelProto, model: ModelProto) -> None:
    """Name a convolution that took in its BatchNorm after itself, and not after its old result."""
    names = {node.name for node in model.graph.node}
    producers = {output: node.name for node in model.graph.node for output in node.output}
    for node in slim.graph.node:
        if node.name not in names:
            node.name = producers.get(node.name, node.name)


def _trains(node: onnx.NodeProto) -> bool:
    return node.op_type == "BatchNormalization" and any(
        a.name == "training_mode" and a.i for a in node.attribute
    )


def anonymous(model: ModelProto) -> ModelProto:
    """Drop what would make bytes depend on where the graph was made: paths, traces, metadata."""
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for tensor in model.graph.initializer:
        tensor.ClearField("doc_string")
    model.graph.name = "detector"
    model.graph.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("model_version")
    model.ClearField("domain")
    model.producer_name, model.producer_version = PRODUCER, __version__
    # The oldest IR version that carries the operator set: old runtimes refuse newer ones.
    model.ir_version = max(
        helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True), 8
    )
    return model


def metadata_names(model: ModelProto) -> str | None:
    """Return the text of the ``names`` property that YOLO exporters write, if there is one."""
    return next((p.value for p in model.metadata_props if p.key == "names"), None)
