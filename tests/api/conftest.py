"""A builder of documents, and what an API server does with them before it stores them."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import celpy
import pytest

from mpj_operator.api.crd import schema

BASE = {
    "apiVersion": "mixedprecision.dev/v1alpha1",
    "kind": "MixedPrecisionJob",
    "metadata": {"name": "yolo11n", "namespace": "vision"},
    "spec": {
        "model": {"uri": "s3://models/yolo11n.pt"},
        "calibration": {"uri": "s3://data/coco", "format": "COCO"},
        "validation": {"uri": "s3://data/coco", "format": "COCO"},
        "target": {"backend": "tensorrt"},
        "storage": {"uri": "s3://artifacts/yolo11n"},
    },
}
Document = dict[str, Any]


def build(changes: Mapping[str, Any] | None = None) -> Document:
    """Return a valid document with values set by path ("spec.target.threads"); ... removes one."""
    document = copy.deepcopy(BASE)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node: Any = document
        for name in parents:
            node = node.setdefault(name, {})
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return document


class ApiServer:
    """Default and validate as the API server does, from the generated schema alone."""

    def __init__(self) -> None:
        self.schema = schema()

    def accept(self, document: Document, old: Document | None = None) -> list[tuple[str, str]]:
        """Return (path, message) of what is refused; an empty list when all is well."""
        new = self.default(document)
        found = [*self.shape(self.schema, new, "")]
        if found:  # The API server leaves rules unchecked on a value of the wrong shape.
            return found
        before = None if old is None else self.default(old)
        return [*self._rules(self.schema, new, before, "")]

    def default(self, document: Document) -> Document:
        """Fill in defaults, outside in."""
        made = copy.deepcopy(document)
        _default(self.schema, made)
        return made

    def shape(self, node: Document, value: Any, path: str) -> Iterator[tuple[str, str]]:
        """Yield what has the wrong shape."""
        if not node.get("x-kubernetes-int-or-string"):
            wanted = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
            kind = wanted[node["type"]]
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                yield path, f"shape: must be {node['type']}"
                return
        elif isinstance(value, bool) or not isinstance(value, int | str):
            yield path, "shape: must be integer or string"
            return
        if "enum" in node and value not in node["enum"]:
            yield path, "shape: unsupported value"
        if isinstance(value, str):
            if "pattern" in node and not re.search(node["pattern"], value):
                yield path, "shape: pattern"
            if not node.get("minLength", 0) <= len(value) <= node.get("maxLength", 2**20):
                yield path, "shape: length"
        elif isinstance(value, int):
            if not node.get("minimum", -(2**63)) <= value <= node.get("maximum", 2**63):
                yield path, "shape: range"
            if value % node.get("multipleOf", 1):
                yield path, "shape: multiple"
        elif isinstance(value, list):
            yield from self._list(node, value, path)
        elif node.get("properties") is not None:
            for name in node.get("required", ()):
                if name not in value:
                    yield f"{path}.{name}", "shape: is required"
            for name, member in value.items():
                child = node["properties"].get(name)
                if path == "" and name in {"metadata", "status"}:
                    continue
                if child is None:
                    yield f"{path}.{name}", "shape: unknown field"
                else:
                    yield from self.shape(child, member, f"{path}.{name}")
        elif "additionalProperties" in node:
            if len(value) > node.get("maxProperties", 2**20):
                yield path, "shape: items"
            for name, member in value.items():
                yield from self.shape(node["additionalProperties"], member, f"{path}.{name}")

    def _list(self, node: Document, value: list[Any], path: str) -> Iterator[tuple[str, str]]:
        if not node.get("minItems", 0) <= len(value) <= node["maxItems"]:
            yield path, "shape: items"
        for index, item in enumerate(value):
            yield from self.shape(node["items"], item, f"{path}[{index}]")
        if node["x-kubernetes-list-type"] == "map":
            keys = [tuple(i.get(k) for k in node["x-kubernetes-list-map-keys"]) for i in value]
            if len(set(keys)) < len(keys):
                yield path, "shape: duplicate"

    def _rules(self, node: Document, value: Any, old: Any, path: str) -> Iterator[tuple[str, str]]:
        for rule in node.get("x-kubernetes-validations", ()):
            if "oldSelf" in rule["rule"] and old is None:
                continue
            if not evaluate(rule["rule"], value, old):
                yield f"{path}{rule.get('fieldPath', '')}", rule["message"]
        if isinstance(value, dict):
            for name, member in value.items():
                child = node.get("properties", {}).get(name) or node.get("additionalProperties")
                if child is not None:
                    before = old.get(name) if isinstance(old, dict) else None
                    yield from self._rules(child, member, before, f"{path}.{name}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._rules(node["items"], item, None, f"{path}[{index}]")


def _default(node: Document, value: Any) -> None:
    if isinstance(value, dict):
        for name, child in node.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                _default(child, value[name])
    elif isinstance(value, list):
        for item in value:
            _default(node["items"], item)


@cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    total: Callable[..., Any] = lambda items: celpy.celtypes.IntType(sum(items))  # noqa: E731 - CEL wants a value
    return environment.program(environment.compile(rule), functions={"sum": total})


def evaluate(rule: str, value: Any, old: Any) -> bool:
    """Evaluate a CEL rule."""
    names = {"self": celpy.json_to_cel(value)}
    if old is not None:
        names["oldSelf"] = celpy.json_to_cel(old)
    return bool(_program(rule).evaluate(names))


@pytest.fixture(scope="session")
def api_server() -> ApiServer:
    return ApiServer()


@pytest.fixture(scope="session")
def job() -> Callable[..., Document]:
    return build
