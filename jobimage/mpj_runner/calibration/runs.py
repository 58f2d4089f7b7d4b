"""Two ways to see every activation of a model on a batch: all at once, and node by node."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.view import GraphView

Tensor = npt.NDArray[np.generic]
_FLOAT: Final = "tensor(float)"


class ActivationRun(Protocol):
    """Run a batch and show its activations."""

    def activations(self, feed: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield each float32 activation tensor that some node reads, once, with its values."""
        ...


def session_of(model: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    """Return a CPU session that computes each node as it is written.

    Graph optimizations are off, as in ModelOpt's own calibration: results agree bit for bit, and no
    tensor is fused away. The memory arena is off, since each batch's outputs are freed at once, and
    idle threads sleep: spinning ones would starve the other sessions and the binning.

    Raises:
        UserError: ONNX Runtime cannot run the model.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except RUNTIME_ERRORS as error:
        raise UserError(f"spec.model: ONNX Runtime cannot run the graph: {error}") from error


_states: Any = ort.capi.onnxruntime_pybind11_state
RUNTIME_ERRORS: Final = (
    _states.Fail,
    _states.InvalidArgument,
    _states.InvalidGraph,
    _states.NotImplemented,
    _states.RuntimeException,
)


def _run(session: ort.InferenceSession, names: Sequence[str], feed: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - ONNX Runtime has no types
    try:
        return session.run(list(names), dict(feed))
    except RUNTIME_ERRORS as error:
        raise UserError(f"spec.model: the graph fails on a calibration image: {error}") from error


def _read_activations(view: GraphView) -> list[str]:
    """Return the tensors that depend on the input and are read by some node."""
    return [x for x in view.producer if x in view.consumers and x not in view.constants]


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return the model with more outputs; their types are the runtime's to infer."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    present = {x.name for x in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=x) for x in names if x not in present)
    return extended


class WholeGraph:
    """One session whose outputs are all activations: one call a batch, the fast way."""

    def __init__(self, model: onnx.ModelProto, threads: int) -> None:
        view = GraphView(model)
        wanted = _read_activations(view)
        self._session = session_of(_with_outputs(model, wanted), threads)
        kinds = {x.name: x.type for x in self._session.get_outputs()}
        self._names = [x for x in wanted if kinds[x] == _FLOAT]
        self._inputs = [x for x in view.inputs if x in view.consumers]

    def activations(self, feed: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield the input and each activation. All are in memory at the same time."""
        for name in self._inputs:
            yield name, feed[name]
        yield from zip(self._names, _run(self._session, self._names, feed), strict=True)


@dataclass(frozen=True)
class _Stage:
    """One node as a model of its own."""

    session: ort.InferenceSession
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dead: tuple[str, ...]
    """Tensors that nothing reads any more after this stage."""


class NodeByNode:
    """One session a node, run in the graph's order: a tensor is freed after its last reader.

    Memory then holds what is alive at one node and not every activation of the graph. Each image
    still runs once, through the same kernels, so the statistics are the same to the bit.
    """

    def __init__(self, model: onnx.ModelProto, threads: int) -> None:
        view = GraphView(model)
        kinds = {x.name: x.type for x in session_of(_typed(model, view), threads).get_outputs()}
        self._floats = {x for x in _read_activations(view) if kinds[x] == _FLOAT}
        self._inputs = [x for x in view.inputs if x in view.consumers]
        self._stages = [
            _Stage(session_of(part, threads), inputs, outputs, dead)
            for part, inputs, outputs, dead in _parts(model, view, kinds)
        ]

    def activations(self, feed: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield the input and each activation as soon as it is there."""
        alive = dict(feed)
        for name in self._inputs:
            yield name, alive[name]
        for stage in self._stages:
            made = _run(stage.session, stage.outputs, {x: alive[x] for x in stage.inputs})
            alive.update(zip(stage.outputs, made, strict=True))
            for name in stage.outputs:
                if name in self._floats:
                    yield name, alive[name]
            for name in stage.dead:
                del alive[name]
            del made


def _typed(model: onnx.ModelProto, view: GraphView) -> onnx.ModelProto:
    return _with_outputs(model, [x for x in view.producer if x not in view.constants])


def _parts(
    model: onnx.ModelProto, view: GraphView, kinds: Mapping[str, str]
) -> Iterator[tuple[onnx.ModelProto, tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    """Yield each node that depends on the input as a model with the constants that it needs."""
    types = {**kinds, **{x.name: _type_name(x) for x in model.graph.input}}
    last_reader = {x: id(readers[-1]) for x, readers in view.consumers.items()}
    for node in view.nodes:
        outputs = tuple(x for x in node.output if x in view.consumers and x not in view.constants)
        if not outputs:
            continue
        nodes, initializers = _with_constants(view, node)
        inputs = tuple(dict.fromkeys(x for x in node.input if x and x not in view.constants))
        graph = onnx.helper.make_graph(
            nodes,
            node.name or node.op_type,
            [_value_info(x, types[x]) for x in inputs],
            [onnx.ValueInfoProto(name=x) for x in outputs],
            initializers,
        )
        part = onnx.helper.make_model(
            graph,
            opset_imports=model.opset_import,
            functions=model.functions,
            ir_version=model.ir_version,
        )
        dead = tuple(x for x in inputs if last_reader[x] == id(node))
        yield part, inputs, outputs, dead


def _with_constants(
    view: GraphView, node: onnx.NodeProto
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return a node behind all nodes that compute its constants, and their initializers."""
    nodes: list[onnx.NodeProto] = []
    initializers: dict[str, onnx.TensorProto] = {}
    seen: set[int] = set()

    def take(current: onnx.NodeProto) -> None:
        seen.add(id(current))
        for name in current.input:
            if name in view.initializers:
                initializers[name] = view.initializers[name]
            elif name in view.constants and id(view.producer[name]) not in seen:
                take(view.producer[name])
        nodes.append(current)

    take(node)
    return nodes, list(initializers.values())


def _type_name(info: onnx.ValueInfoProto) -> str:
    kind = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
    return f"tensor({kind})"


def _value_info(name: str, kind: str) -> onnx.ValueInfoProto:
    """Return a tensor's declaration, without a shape, from ONNX Runtime's name of its type."""
    element = kind.removeprefix("tensor(").removesuffix(")").upper()
    code = onnx.TensorProto.DataType.Value(element)
    return onnx.helper.make_tensor_value_info(name, code, None)
