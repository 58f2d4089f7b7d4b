"""From ModelOpt's quantized module back to ONNX, under the names of the graph it came from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import modelopt.torch.opt as mto
import modelopt.torch.quantization as mtq
import onnx
import torch
from modelopt.onnx.autocast import convert_to_f16
from modelopt.torch._deploy.utils import OnnxBytes, get_onnx_bytes_and_metadata
from onnx import ModelProto

from mpj_runner.contract.files import Allocation
from mpj_runner.contract.model import ModelMetadata
from mpj_runner.sensitivity.scoring import MODEL_FILE, quiet
from mpj_runner.torchgraph.module import GraphModule
from mpj_runner.torchgraph.node import Node

_SCOPE: Final = re.compile(r"^/(?:nodes\.)?(?P<key>n\d+_\w*)(?:/[^/]*\.\d+)?/(?P<rest>.+)$")


def realized(
    model: ModelProto, metadata: ModelMetadata, checkpoint: Path, allocation: Allocation
) -> ModelProto:
    """Write the graph with Q/DQ at the input and the weights of the chosen layers only.

    Args:
        model: the FP32 graph.
        metadata: its input and output.
        checkpoint: folder with ``mto.save`` of the calibrated model.
        allocation: the layers to quantize.
    """
    module = GraphModule(model)
    chosen = set(allocation.quantized)
    kept = tuple(f"{name}." for name, node in module.layer_nodes.items() if node not in chosen)
    size = metadata.input_size
    images = torch.zeros(metadata.batch_size, 3, size.height, size.width)
    with quiet():
        mto.restore(module, checkpoint / MODEL_FILE)
        mtq.disable_quantizer(module, lambda name: name.startswith(kept))
        content, _ = get_onnx_bytes_and_metadata(
            module, images, model_name="detector", onnx_opset=max(metadata.opset, 13)
        )
    (data,) = OnnxBytes.from_bytes(content).onnx_model.values()
    return tidied(onnx.load_model_from_string(data), module.sources, metadata)


def with_f16_remainder(model: ModelProto) -> ModelProto:
    """Lower what is not quantized to FP16, keeping FP32 inputs and outputs.

    ModelOpt's own ``weights_dtype="fp16"`` gives a graph whose types do not fit on INT8 models.
    """
    with quiet():
        lowered: ModelProto = convert_to_f16(model, keep_io_types=True)
    return lowered


def tidied(model: ModelProto, sources: Mapping[str, Node], metadata: ModelMetadata) -> ModelProto:
    """Give nodes and tensors the names they had, and constants a place of their own.

    Args:
        model: what PyTorch exported from a ``GraphModule``.
        sources: the module's ONNX nodes by key.
        metadata: names of input and output.
    """
    _own_constants(model)
    names: dict[str, str] = {model.graph.output[0].name: metadata.output_name}
    names[model.graph.input[0].name] = metadata.input_name
    borne: set[str] = set()
    for index, node in enumerate(model.graph.node):
        match = _SCOPE.match(node.name)
        source = sources.get(match["key"]) if match else None
        if source and node.op_type == source.op and source.name not in borne:
            node.name = source.name
        elif source and match:
            node.name = f"{source.name}/{match['rest']}"
        if not node.name or node.name in borne:
            node.name = f"{node.name or node.op_type}_{index}"
        borne.add(node.name)
    _rename_tensors(model, names)
    return model


def _own_constants(model: ModelProto) -> None:
    """Make every Constant, and every copy of a shared weight, an initializer of its own.

    The exporter shares equal weights between layers; whatever rewrites one layer's weights later
    must not change another's.
    """
    known = {t.name: t for t in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in known:
            tensor = known[node.input[0]]
        else:
            kept.append(node)
            continue
        copy = model.graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = node.output[0]
        known[copy.name] = copy
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rename_tensors(model: ModelProto, names: Mapping[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(x, x) for x in node.input]
        node.output[:] = [names.get(x, x) for x in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.name = names.get(value.name, value.name)
