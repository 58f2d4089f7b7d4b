"""From pydantic's JSON schema to the structural schema that a CRD needs.

What the API server refuses is rewritten where the meaning is kept ($ref, null, const, exclusive
bounds), and refused here where it is not: an error now is better than one at ``kubectl apply``.
"""

from collections.abc import Mapping
from typing import Any, Final

from mpj_runner.contract.base import format_decimal

Schema = dict[str, Any]

_DROPPED: Final = frozenset({"title", "$defs"})
_KEPT: Final = frozenset(
    {
        "type", "description", "format", "pattern", "enum", "required", "multipleOf",
        "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
        "minProperties", "maxProperties",
    }
)  # fmt: skip
_REWRITTEN: Final = frozenset(
    {
        "$ref", "anyOf", "const", "exclusiveMinimum", "exclusiveMaximum",
        "properties", "additionalProperties", "items", "default",
    }
)  # fmt: skip


class UnstructuralError(Exception):
    """Raise when a schema has no structural equivalent; the message names the place."""


def structural(schema: Mapping[str, Any], *, defaults: bool = True) -> Schema:
    """Translate a schema with its ``$defs``.

    Args:
        schema: as ``BaseModel.model_json_schema`` returns it.
        defaults: keep defaults; without them nothing is written into what is left out.

    Raises:
        UnstructuralError: a keyword or a shape has no structural equivalent.
    """
    return _Translator(schema.get("$defs", {}), defaults).node(schema, "$")


class _Translator:
    def __init__(self, definitions: Mapping[str, Any], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def node(self, schema: Mapping[str, Any], path: str) -> Schema:
        """Translate one node."""
        flat = self._flat(schema, path)
        unknown = [
            key
            for key in flat
            if key not in _KEPT | _REWRITTEN | _DROPPED and not key.startswith("x-kubernetes-")
        ]
        if unknown:
            raise UnstructuralError(f"{path}: no structural equivalent of {', '.join(unknown)}")
        made = {k: v for k, v in flat.items() if k in _KEPT or k.startswith("x-kubernetes-")}
        if "description" in made:
            made["description"] = " ".join(made["description"].split())
        if "const" in flat:
            made["enum"] = [flat["const"]]
        self._bounds(flat, made)
        self._children(flat, made, path)
        if self._defaults and flat.get("default") is not None:
            default = _default(made, flat["default"], path)
            if default not in ([], {}) or made.get("properties"):
                made["default"] = default
        kind = made.get("type")
        if kind not in {"object", "array", "string", "integer", "boolean"} and not made.get(
            "x-kubernetes-int-or-string"
        ):
            raise UnstructuralError(f"{path}: type {kind} has no place in a resource")
        return made

    def _flat(self, schema: Mapping[str, Any], path: str) -> Schema:
        """Follow references, and take the X of ``X | None``; what stands outside wins."""
        flat = dict(schema)
        while "$ref" in flat or "anyOf" in flat:
            if "$ref" in flat:
                inner = self._definitions[flat.pop("$ref").rpartition("/")[2]]
            else:
                members = [m for m in flat.pop("anyOf") if m != {"type": "null"}]
                if len(members) != 1:
                    raise UnstructuralError(f"{path}: a union of {len(members)} types")
                inner = members[0]
            flat = {**inner, **flat}
        return flat

    @staticmethod
    def _bounds(flat: Mapping[str, Any], made: Schema) -> None:
        for bound in ("Minimum", "Maximum"):
            if f"exclusive{bound}" in flat:
                made[bound.lower()] = flat[f"exclusive{bound}"]
                made[f"exclusive{bound}"] = True
        if made.get("type") == "integer":
            made["format"] = "int32" if made.get("maximum", 2**63) < 2**31 else "int64"

    def _children(self, flat: Mapping[str, Any], made: Schema, path: str) -> None:
        extra = flat.get("additionalProperties", False)
        if "properties" in flat:
            if extra is not False:
                raise UnstructuralError(f"{path}: properties beside additionalProperties")
            made["properties"] = {
                name: self.node(child, f"{path}.{name}")
                for name, child in flat["properties"].items()
            }
        elif isinstance(extra, Mapping):
            made["additionalProperties"] = self.node(extra, f"{path}[*]")
        elif flat.get("type") == "object":
            raise UnstructuralError(f"{path}: an object of any content")
        if flat.get("type") == "array":
            if "items" not in flat:
                raise UnstructuralError(f"{path}: a list of any content")
            made["items"] = self.node(flat["items"], f"{path}[]")
            made.setdefault("x-kubernetes-list-type", "atomic")


def _default(schema: Mapping[str, Any], value: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Write a default in the types of the resource, where decimals are strings.

    An object's default is {}: the API server then fills it from the defaults of its members.
    """
    if schema.get("x-kubernetes-int-or-string"):
        return int(value) if float(value).is_integer() else format_decimal(float(value))
    match schema["type"]:
        case "string" if isinstance(value, int | float):
            return format_decimal(value)
        case "array":
            return [_default(schema["items"], item, f"{path}[]") for item in value]
        case "object" if "properties" in schema:
            for name, member in value.items():
                own = schema["properties"][name]
                if member in (None, [], {}):
                    continue
                if _default(own, member, f"{path}.{name}") != own.get("default"):
                    raise UnstructuralError(f"{path}: default differs from that of {name}")
            return {}
        case _:
            return value
