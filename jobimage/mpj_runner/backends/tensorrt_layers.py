"""The layers of a TensorRT engine: from its inspector, or from the build log without a GPU."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnx

from mpj_runner.backends.layers import PRODUCTS, is_eight_bits, layer
from mpj_runner.contract.files import EngineLayer

_TABLE: Final = "Layers:"
_ROW: Final = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), ", re.MULTILINE)
_INPUTS: Final = re.compile(r"Inputs: \[(?P<inputs>.*?)\], (?:Constants|Outputs): ", re.DOTALL)
_TYPE: Final = re.compile(r"Datatype: (?P<type>\w+)")
_ONNX_LAYER: Final = re.compile(r"\[ONNX Layer: (?P<name>[^\]]*)\]")
_SCHEDULING: Final = frozenset({"signal", "wait", "NoOp", "shape_call"})


@dataclass(frozen=True)
class Row:
    """One layer in TensorRT's own words."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    """Types of the tensors that it reads at run time."""
    nodes: tuple[str, ...]
    """ONNX nodes that it runs, or a part of them."""

    @property
    def precision(self) -> str:
        """Type of its first input; float where it reads none."""
        return self.inputs[0].lower() if self.inputs else "float"


def rows_from_log(messages: Iterable[str]) -> list[Row]:
    """Return the layer table of a verbose build log; the last one when there are several."""
    table = next((m for m in reversed(list(messages)) if m.startswith(_TABLE)), "")
    starts = [match.start() for match in _ROW.finditer(table)]
    return [
        _row_from_text(table[start:end])
        for start, end in zip(starts, [*starts[1:], len(table)], strict=True)
    ]


def rows_from_inspector(text: str) -> list[Row]:
    """Return the rows of an engine inspector's JSON, of TensorRT 10, 11 or RTX."""
    found = []
    for item in json.loads(text)["Layers"]:
        if isinstance(item, str):  # a low profiling verbosity gives names only
            found.append(Row(item, "unknown", (), ()))
            continue
        types = tuple(_type(tensor) for tensor in item.get("Inputs", ()))
        nodes = tuple(_ONNX_LAYER.findall(item.get("Metadata", "")))
        found.append(Row(item.get("Name", ""), item.get("LayerType", "unknown"), types, nodes))
    return found


def engine_layers(model: onnx.ModelProto, rows: Sequence[Row]) -> Iterator[EngineLayer]:
    """Yield one layer for each convolution and matrix product, then one for each other row.

    TensorRT fuses and splits freely, so a product is looked up by its ONNX name: it runs in 8 bits
    when a row that names it reads 8-bit numbers. Rows that only convert for it (kernels generated
    for element-wise work, "kgen") name it too and do not count while there is another.
    """
    naming: dict[str, list[Row]] = {}
    for row in rows:
        for node in row.nodes:
            naming.setdefault(node, []).append(row)
    used: set[str] = set()
    for node in model.graph.node:
        if node.op_type in PRODUCTS and node.name in naming:
            own = naming[node.name]
            own = [row for row in own if row.kind != "kgen"] or own
            candidates = [
                layer(node.name, f"{node.op_type} {row.kind}", row.precision) for row in own
            ]
            used.update(row.name for row in own)
            yield next((x for x in candidates if is_eight_bits(x)), candidates[0])
    for row in rows:
        if row.kind not in _SCHEDULING and row.name not in used:
            yield layer(row.name, row.kind, row.precision)


def _row_from_text(text: str) -> Row:
    head, inputs = _ROW.match(text), _INPUTS.search(text)
    types = _TYPE.findall(inputs["inputs"]) if inputs else []
    nodes = tuple(_ONNX_LAYER.findall(text))
    return Row(head["name"] if head else "", head["kind"] if head else "", tuple(types), nodes)


def _type(tensor: Mapping[str, Any]) -> str:
    """Return a tensor's type: 10.x says it in ``Format/Datatype``, 11 and RTX in ``Datatype``."""
    text = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "float")
    words = {"FP32": "float", "FP16": "half", "INT8": "int8", "FP8": "fp8", "BF16": "bfloat16"}
    return next((word for key, word in words.items() if key in text.upper()), text)
