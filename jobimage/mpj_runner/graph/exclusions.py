"""Which nodes stay in high precision, and why: names and reasons, gathered rule by rule."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import onnx

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.head import Head
from mpj_runner.graph.view import GraphView

_FIELD = "spec.candidates[].ptq"


@dataclass
class Exclusions:
    """Nodes of one graph that are not to be quantized. The first reason given for a node stays."""

    view: GraphView
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, names: Iterable[str], reason: str) -> None:
        """Exclude nodes; names that the graph lacks are passed over."""
        known = {x.name for x in self.view.nodes}
        for name in names:
            if name in known:
                self.reasons.setdefault(name, reason)

    def add_head(self, head: Head) -> None:
        """Exclude the head's output convolutions, its DFL block and what decodes their result."""
        self.add(head.outputs, "output convolution of the head")
        self.add(head.dfl, "DFL block of the head")
        self.add(head.decoding, "decoding behind the head")

    def add_patterns(self, patterns: Sequence[str]) -> None:
        """Exclude the nodes whose name a pattern matches from its start (``re.match``).

        Raises:
            UserError: a pattern is no regular expression, or matches no node.
        """
        for pattern in patterns:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise UserError(
                    f"{_FIELD}.nodesToExclude: {pattern!r} is no regular expression: {error}"
                ) from error
            names = [x.name for x in self.view.nodes if compiled.match(x.name)]
            if not names:
                example = next((x.name for x in self.view.nodes if x.op_type == "Conv"), "")
                raise UserError(
                    f"{_FIELD}.nodesToExclude: {pattern!r} matches the start of no node's name "
                    f"(names look like {example!r})"
                )
            self.add(names, f"excluded by the pattern {pattern}")

    def add_op_types(self, op_types: Sequence[str]) -> None:
        """Exclude all nodes of operator types.

        Raises:
            UserError: there is no such operator.
        """
        check_op_types(self.view, op_types, f"{_FIELD}.opTypesToExclude")
        for op_type in op_types:
            names = [x.name for x in self.view.nodes if x.op_type == op_type]
            self.add(names, f"excluded by the operator type {op_type}")


def check_op_types(view: GraphView, op_types: Sequence[str], where: str) -> None:
    """Refuse operator types that neither ONNX nor the graph knows.

    Raises:
        UserError: one is unknown; the field and the right spelling are named.
    """
    present = {x.op_type for x in view.nodes}
    known = present | {x.name for x in onnx.defs.get_all_schemas()}
    for op_type in op_types:
        if op_type not in known:
            meant = next((x for x in sorted(known) if x.lower() == op_type.lower()), None)
            hint = (
                f"did you mean {meant}?" if meant else f"the graph has {', '.join(sorted(present))}"
            )
            raise UserError(f"{where}: ONNX has no operator {op_type!r}; {hint}")
