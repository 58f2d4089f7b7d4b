"""Two ways to see every activation of a model on a batch: all at once, and node by node."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.view import GraphView, node_has_subgraph

Floats = npt.NDArray[np.float32]
Feed = Mapping[str, Floats]
_FLOAT: Final = "tensor(float)"


class ActivationRun(Protocol):
    """Run a batch and show its activations."""

    def activations(self, feed: Feed) -> Iterator[tuple[str, Floats]]:
        """Return each float32 activation tensor that some node reads, once, with its values."""
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


def _run(session: ort.InferenceSession, names: Sequence[str], feed: Feed) -> Any:  # noqa: ANN401 - ONNX Runtime has no types
    try:
        return session.run(list(names), dict(feed))
    except RUNTIME_ERRORS as error:
        raise UserError(f"spec.model: the graph fails on a calibration image: {error}") from error


def _made_and_read(view: GraphView) -> list[str]:
    """Return the tensors that some node makes and some node reads.

    Those computed from constants are among them: exporters leave anchors so, and ModelOpt may
    quantize what adds them.
    """
    return [x for x in view.producer if x in view.consumers]


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
        wanted = _made_and_read(view)
        self._session = session_of(_with_outputs(model, wanted), threads)
        kinds = {x.name: x.type for x in self._session.get_outputs()}
        self._names = [x for x in wanted if kinds[x] == _FLOAT]
        self._inputs = [x for x in view.inputs if x in view.consumers]

    def activations(self, feed: Feed) -> Iterator[tuple[str, Floats]]:
        """Run at once and return the input and each activation, all in memory."""
        made = _run(self._session, self._names, feed)
        inputs = [(x, feed[x]) for x in self._inputs]
        return chain(inputs, zip(self._names, made, strict=True))


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
        """Cut the graph up.

        Raises:
            UserError: ONNX Runtime cannot run the graph, or a node holds a graph of its own.
        """
        view = GraphView(model)
        nested = next((x for x in view.nodes if node_has_subgraph(x)), None)
        if nested is not None:
            raise UserError(
                f"spec.candidates[].ptq.calibratePerNode: node {nested.name} ({nested.op_type}) "
                "holds a graph of its own and cannot run alone: leave calibratePerNode off"
            )
        wanted = _made_and_read(view)
        outputs = session_of(_with_outputs(model, wanted), threads).get_outputs()
        kinds = {x.name: x.type for x in outputs}
        self._floats = {x for x in wanted if kinds[x] == _FLOAT}
        self._inputs = [x for x in view.inputs if x in view.consumers]
        types = {**kinds, **{x.name: _type_name(x) for x in model.graph.input}}
        self._stages = [_stage(view, x, types, threads) for x in view.nodes if _is_read(view, x)]

    def activations(self, feed: Feed) -> Iterator[tuple[str, Floats]]:
        """Yield the input and each activation; nodes run as the iterator moves on."""
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


def _is_read(view: GraphView, node: onnx.NodeProto) -> bool:
    return any(x in view.consumers for x in node.output)


def _stage(view: GraphView, node: onnx.NodeProto, types: Mapping[str, str], threads: int) -> _Stage:
    """Make a node a model of its own, with its initializers inside."""
    read = tuple(dict.fromkeys(x for x in node.input if x))
    inputs = tuple(x for x in read if x not in view.initializers)
    outputs = tuple(x for x in node.output if x in view.consumers)
    graph = onnx.helper.make_graph(
        [node],
        node.name or node.op_type,
        [_value_info(x, types[x]) for x in inputs],
        [onnx.ValueInfoProto(name=x) for x in outputs],
        [view.initializers[x] for x in read if x in view.initializers],
    )
    part = onnx.helper.make_model(
        graph,
        opset_imports=view.model.opset_import,
        functions=view.model.functions,
        ir_version=view.model.ir_version,
    )
    dead = tuple(x for x in inputs if view.consumers[x][-1] is node)
    return _Stage(session_of(part, threads), inputs, outputs, dead)


def _type_name(info: onnx.ValueInfoProto) -> str:
    kind = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
    return f"tensor({kind})"


def _value_info(name: str, kind: str) -> onnx.ValueInfoProto:
    """Return a tensor's declaration, without a shape, from ONNX Runtime's name of its type."""
    element = kind.removeprefix("tensor(").removesuffix(")").upper()
    code = onnx.TensorProto.DataType.Value(element)
    return onnx.helper.make_tensor_value_info(name, code, None)
