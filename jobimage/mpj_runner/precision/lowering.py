"""ModelOpt AutoCast with our statistics, and the reasons of what it keeps."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from modelopt.onnx.autocast import convert_to_mixed_precision
from modelopt.onnx.autocast.nodeclassifier import DepthOfReductionRule, IORangeRule, NodeRuleBase
from modelopt.onnx.autocast.referencerunner import TensorStats
from modelopt.onnx.autocast.utils import setup_mappings
from onnx import ModelProto, NodeProto

from mpj_runner.contract.errors import UserError
from mpj_runner.contract.quantization import AutoCast
from mpj_runner.graph.exclusions import check_op_types
from mpj_runner.graph.view import GraphView

OPSETS: Final = {"fp16": 13, "bf16": 22}
"""Lowest operator sets whose operators take the type; AutoCast raises the graph to it."""
_FIELD: Final = "spec.candidates[].autoCast"


class _Values(NodeRuleBase):  # type: ignore[misc] # ModelOpt has no types
    """Keep a node in FP32 by its values or by the length of its sums; remember why.

    AutoCast asks its own rules first and this one last; with ``data_max`` infinite its own rule
    about values does not take part, and neither does its reference run.
    """

    def __init__(
        self, model: ModelProto, params: AutoCast, stats: Mapping[str, TensorStats]
    ) -> None:
        _, initializers, weights = setup_mappings(model)
        self.reasons: dict[str, str] = {}
        self._limit = params.data_max
        self._range = IORangeRule(params.data_max, stats, weights)
        depth = params.max_depth_of_reduction
        self._depth = depth and DepthOfReductionRule(depth, stats, weights, initializers)

    def _check_inner(self, node: NodeProto) -> bool:
        if self._range._check_inner(node):  # check() would log each node
            largest = self._range.output_stats[0]
            self.reasons[node.name] = (
                f"values up to {largest:.5g} in its inputs or outputs, dataMax is {self._limit:g}"
            )
            return True
        if self._depth and self._depth._check_inner(node):
            self.reasons[node.name] = (
                f"sums over {int(self._depth.reduction_depth)} elements, maxDepthOfReduction is"
                f" {self._depth.max_depth_of_reduction}"
            )
            return True
        return False

    def _log_skipped(self, node: NodeProto, **_: Any) -> None:  # noqa: ANN401 - ModelOpt's own
        """Stay silent: the reasons are a file of their own."""


def lowered(
    path: Path, params: AutoCast, stats: Mapping[str, TensorStats]
) -> tuple[ModelProto, dict[str, str]]:
    """Lower a graph.

    Args:
        path: the FP32 graph.
        params: what may be lowered.
        stats: ranges of its activations on real images.

    Returns:
        The graph, and for each node that stays FP32 the reason, in the graph's order.

    Raises:
        UserError: a pattern or an operator type matches nothing, or the graph cannot be converted.
    """
    model = onnx.load(path)
    _check_selection(model, params)
    rule = _Values(model, params, stats)
    graph = convert_to_mixed_precision(
        str(path),
        low_precision_type=params.low_precision_type,
        nodes_to_exclude=list(params.nodes_to_exclude),
        op_types_to_exclude=list(params.op_types_to_exclude),
        nodes_to_include=list(params.nodes_to_include),
        op_types_to_include=list(params.op_types_to_include),
        data_max=np.inf,
        init_max=params.init_max,
        keep_io_types=params.keep_io_types,
        custom_rule=rule,
        providers=["cpu"],
        opset=max(_opset(model), OPSETS[params.low_precision_type]),
    )
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as error:
        raise UserError(
            f"{_FIELD}: AutoCast makes an invalid graph of this model ({error!s:.300}); exclude the"
            f" node that it names with {_FIELD}.nodesToExclude"
        ) from error
    return graph, _kept(model, params, rule.reasons)


def _opset(model: ModelProto) -> int:
    return next(int(o.version) for o in model.opset_import if o.domain in {"", "ai.onnx"})


def _check_selection(model: ModelProto, params: AutoCast) -> None:
    view = GraphView(model)
    check_op_types(view, params.op_types_to_exclude, f"{_FIELD}.opTypesToExclude")
    check_op_types(view, params.op_types_to_include, f"{_FIELD}.opTypesToInclude")
    _check_patterns(view, params.nodes_to_exclude, f"{_FIELD}.nodesToExclude")
    _check_patterns(view, params.nodes_to_include, f"{_FIELD}.nodesToInclude")


def _check_patterns(view: GraphView, patterns: Sequence[str], field: str) -> None:
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise UserError(f"{field}: {pattern!r} is no regular expression: {error}") from error
        if not any(compiled.match(node.name) for node in view.nodes):
            example = next((n.name for n in view.nodes if n.op_type == "Conv"), "")
            raise UserError(
                f"{field}: {pattern!r} matches the start of no node's name (names look like"
                f" {example!r})"
            )


def _kept(model: ModelProto, params: AutoCast, reasons: Mapping[str, str]) -> dict[str, str]:
    """Return why each node that AutoCast keeps in FP32 is kept: its rules, in its order."""
    view = GraphView(model)
    kept = {}
    for node in view.nodes:
        reason = _by_name(node, params) or _by_weights(view, node, params.init_max)
        reason = reason or reasons.get(node.name)
        if reason and not _included(node, params):
            kept[node.name] = reason
    return kept


def _by_name(node: NodeProto, params: AutoCast) -> str | None:
    for pattern in params.nodes_to_exclude:
        if re.match(pattern, node.name):
            return f"excluded by the pattern {pattern}"
    if node.op_type in params.op_types_to_exclude:
        return f"excluded by the operator type {node.op_type}"
    return None


def _by_weights(view: GraphView, node: NodeProto, limit: float) -> str | None:
    for name in node.input:
        tensor = view.initializers.get(name)
        if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
            if largest > limit:
                return f"a weight of {largest:.5g}, initMax is {limit:g}"
    return None


def _included(node: NodeProto, params: AutoCast) -> bool:
    return node.op_type in params.op_types_to_include or any(
        re.match(pattern, node.name) for pattern in params.nodes_to_include
    )
