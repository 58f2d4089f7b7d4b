"""Graphs with Q/DQ pairs, in the forms that quantizers write them."""

from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

WEIGHTED = ("Conv", "Gemm", "MatMul")


def images(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def quantized(
    model: onnx.ModelProto,
    *,
    weights: Literal["float", "bytes"] = "float",
    activations: type = np.int8,
    skip: tuple[str, ...] = (),
    clip: float = 1.0,
) -> onnx.ModelProto:
    """Return the graph with pairs on both inputs of every convolution and matrix product.

    Args:
        model: float graph with one input.
        weights: kept in float before a quantizer, or stored as int8 bytes.
        activations: int8 with zero point 0, or uint8 with zero point 128.
        skip: nodes that stay float.
        clip: factor on the weights' scales; below 1 some weights saturate.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    ranges = _ranges(model, constants)
    zero = {np.int8: 0, np.uint8: 128}[activations]
    pairs: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []

    def constant(name, value):
        graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def pair(tensor):
        if tensor in constants:
            values = constants[tensor]
            axes = tuple(range(1, values.ndim))
            scale = (np.abs(values).max(axis=axes) / 127 * clip).astype(np.float32)
            zeros = np.zeros(len(scale), np.int8)
            source, axis = tensor, {"axis": 0}
            if weights == "bytes":
                steps = np.rint(values / scale.reshape(-1, *[1] * len(axes)))
                raw = constant(f"{tensor}_raw", np.clip(steps, -128, 127).astype(np.int8))
        else:
            scale = np.float32(ranges[tensor] / 127)
            zeros, source, axis = np.array(zero, activations), tensor, {}
        extra = [constant(f"{tensor}_scale", scale), constant(f"{tensor}_zero", zeros)]
        read = f"{tensor}_q"
        if tensor in constants and weights == "bytes":
            read = raw
        else:
            nodes.append(
                helper.make_node("QuantizeLinear", [source, *extra], [read], f"{tensor}/Q", **axis)
            )
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [read, *extra], [f"{tensor}_dq"], f"{tensor}/DQ", **axis
            )
        )
        return f"{tensor}_dq"

    for node in list(graph.node):
        if node.op_type in WEIGHTED and node.name not in skip:
            for i in range(2):
                if node.input[i] not in pairs:
                    pairs[node.input[i]] = pair(node.input[i])
                node.input[i] = pairs[node.input[i]]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def exact(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    """Return the output as ONNX Runtime computes it node by node, nothing fused."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def one_convolution(opset=19, **changes) -> onnx.ModelProto:
    """Return one convolution, 4 to 2 channels, with pairs on its input and on its weights."""
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


def types_of(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Return the zero points' types by role."""
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    found: dict[str, set[int]] = {"activation": set(), "weight": set()}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            role = "weight" if node.input[0] in kinds else "activation"
            found[role].add(kinds[node.input[2]])
    return found


def _ranges(model, constants):
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    wanted = {
        name
        for node in model.graph.node
        if node.op_type in WEIGHTED
        for name in node.input[:2]
        if name not in constants
    }
    source = model.graph.input[0]
    inner = sorted(wanted - {source.name})
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner
    )
    batch = images([d.dim_value for d in source.type.tensor_type.shape.dim])
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(inner, {source.name: batch})
    ranges = {name: float(np.abs(x).max()) for name, x in zip(inner, found, strict=True)}
    return {source.name: 1.0, **ranges}
