"""Names of nodes: every decision about precision is about a name, so each must be unique."""

import re
from collections.abc import Iterable

import onnx


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a unique name on every node; the same object when all have one.

    A nameless node is named after its operator and its position; a repeated name gets a suffix.
    The first bearer keeps it, so that names that were unique never change.
    """
    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        return model
    named = onnx.ModelProto()
    named.CopyFrom(model)
    taken = set(names)
    borne: set[str] = set()
    for index, node in enumerate(named.graph.node):
        if not node.name or node.name in borne:
            node.name = _free(node.name or f"{node.op_type}_{index}", taken)
        taken.add(node.name)
        borne.add(node.name)
    return named


def _free(wish: str, taken: set[str]) -> str:
    if wish not in taken:
        return wish
    suffix = next(i for i in range(1, len(taken) + 2) if f"{wish}_{i}" not in taken)
    return f"{wish}_{suffix}"


def pattern_of(names: Iterable[str]) -> str:
    """Return the one regular expression that ``re.match`` finds in exactly these names.

    ModelOpt matches every pattern against every node from the start of its name: one alternation,
    escaped and closed at the end, takes no neighbour with it and is compiled once.
    """
    return f"(?:{'|'.join(re.escape(name) for name in sorted(names))})\\Z"
