"""Every bound of a structural schema, with values on both sides of it.

A bound without samples is an error: a rule that is added to the CRD needs a pair here first.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

BOUNDS: Final[Mapping[str, str]] = {
    "pattern": "should match",
    "minLength": "should be at least",
    "maxLength": "may not be more than",
    "minimum": "should be greater than or equal to",
    "maximum": "should be less than or equal to",
    "minItems": "should have at least",
    "maxItems": "must have at most",
    "maxProperties": "must have at most",
    "multipleOf": "should be a multiple of",
    "enum": "supported values",
    "required": "Required value",
    "format": "must be of type date-time",
    "x-kubernetes-list-map-keys": "Duplicate value",
}
"""Keyword to the API server's words for it."""
RULES: Final = "x-kubernetes-validations"
_HARMLESS: Final = frozenset(
    {"type", "description", "default", "properties", "items", "additionalProperties",
     "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-int-or-string"}
)  # fmt: skip
_BETWEEN: Final = re.compile(r"double\(self\) >= ([0-9.]+) && double\(self\) <= ([0-9.]+)")

DECIMAL: Final = r"^-?[0-9]{1,12}(\.[0-9]{1,20})?$"


@dataclass(frozen=True)
class Text:
    """Texts of a pattern: they start with ``start`` and grow by ``more``, or ``longest`` is all."""

    start: str
    more: str
    bad: str
    longest: str | None = None

    def of(self, length: int) -> str:
        """Return a text of a length, or the longest that the pattern allows."""
        if self.longest is not None and length >= len(self.longest):
            return self.longest
        return self.start + self.more * (length - len(self.start)) if length > 0 else ""

    def too_long(self, length: int) -> str:
        whole = self.longest or self.start
        return whole + self.more * (length + 1 - len(whole))


TEXTS: Final[Mapping[str | None, Text]] = {
    None: Text("a", "a", ""),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": Text("a", "a", "A_"),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": Text("a", "a", "a.b"),
    r"^https?://[^/?#@]+(/.*)?$": Text("http://a/", "a", "ftp://a"),
    r"^(s3://[A-Za-z0-9][A-Za-z0-9._-]{1,254}|pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(/.*)?$":
        Text("s3://bucket/", "a", "http://host/x"),
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$":
        Text("m:f", "f", "no_colon"),
    DECIMAL: Text("1", "1", "1e3", f"-{'0' * 12}.{'0' * 20}"),
    r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$":
        Text("1", "1", "1 GB", "123456789012345.123456789Ki"),
    r"^[0-9]{1,2}\.[0-9]$": Text("8.9", "0", "8", "12.0"),
    r"^(([89]|1[0-5])(\.[0-9]{1,2})?|16(\.0{1,2})?)$": Text("9", "0", "17", "15.75"),
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$": Text("a", "a", "-a"),
    r"^[A-Za-z_][A-Za-z0-9_]*$": Text("A", "A", "1A"),
    r"^[-._a-zA-Z0-9]+$": Text("a", "a", "a/b"),
    r"^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$": Text("A", "A", "1"),
    r"^[0-9]+/[0-9]+$": Text("1/1", "1", "half"),
    r"^[0-9a-f]{64}$": Text("a" * 64, "a", "xyz", "a" * 64),
}  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """One keyword of one node; of ``required``, one member."""

    path: str
    """Such as .spec.candidates[].name or .spec.podOverrides.labels{}."""
    keyword: str
    limit: Any
    node: Json

    def __str__(self) -> str:
        member = f" {self.limit}" if self.keyword == "required" else ""
        return f"{self.path or '.'} {self.keyword}{member}"


def bounds(node: Json, path: str = "") -> Iterator[Bound]:
    """Yield all bounds of a schema but its CEL rules.

    Raises:
        ValueError: a keyword is none that the API server's words are known of.
    """
    unknown = set(node) - set(BOUNDS) - _HARMLESS - {RULES}
    if unknown:
        raise ValueError(f"{path}: no pair for {', '.join(sorted(unknown))}")
    for keyword in BOUNDS:
        if keyword not in node or (keyword == "format" and node["format"] != "date-time"):
            continue  # int32 and int64 are narrower bounds already
        for limit in node[keyword] if keyword == "required" else (node[keyword],):
            yield Bound(path, keyword, limit, node)
    for step, child in children(node):
        yield from bounds(child, path + step)


def rules(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield all CEL rules of a schema with the paths of their nodes."""
    for rule in node.get(RULES, ()):
        yield path, rule
    for step, child in children(node):
        yield from rules(child, path + step)


def children(node: Json) -> Iterator[tuple[str, Json]]:
    for name, child in node.get("properties", {}).items():
        yield f".{name}", child
    if "items" in node:
        yield "[]", node["items"]
    if isinstance(node.get("additionalProperties"), dict):
        yield "{}", node["additionalProperties"]


@dataclass(frozen=True)
class Samples:
    """Valid values of a schema's nodes, the smallest that will do."""

    given: Mapping[str, Any]
    """By path, where the schema alone does not say what is valid (exactly one of …)."""

    def of(self, node: Json, path: str) -> Any:
        """Return a valid value of a node."""
        if path in self.given:
            return copy.deepcopy(self.given[path])
        if "enum" in node:
            return node["enum"][0]
        match node.get("type"):
            case "object":
                members = node.get("properties", {})
                return {
                    name: self.of(members[name], f"{path}.{name}")
                    for name in node.get("required", ())
                }
            case "array":
                return self.items(node, path, node.get("minItems", 0))
            case "integer":
                return node.get("minimum", 0)
            case "boolean":
                return True
        return self.text(node, max(1, node.get("minLength", 1)))

    def text(self, node: Json, length: int) -> str:
        """Return a valid text of a length, or the nearest to it."""
        if node.get("format") == "date-time":
            return "2026-01-01T00:00:00Z"
        low = _range(node)[0]
        if low is not None:
            longest = f"{'-' if low == 0 else ''}{int(low):012d}.{'0' * 20}"
            return longest if length >= len(longest) else f"{low:g}"
        return TEXTS[node.get("pattern")].of(length)

    def items(self, node: Json, path: str, count: int) -> list[Any]:
        """Return items that differ in their keys, where they have any."""
        made = [self.of(node["items"], f"{path}[]") for _ in range(count)]
        for key in node.get("x-kubernetes-list-map-keys", ()):
            names = node["items"]["properties"][key].get("enum")
            made = made if names is None else made[: len(names)]  # there are no more of them
            for index, item in enumerate(made):
                item[key] = f"{item[key]}{index}" if names is None else names[index]
        return made

    def pair(self, bound: Bound) -> tuple[list[Any], list[Any]]:
        """Return values that are accepted and values that are refused, of the bound's node."""
        node, path, limit = bound.node, bound.path, bound.limit
        text = TEXTS[node.get("pattern")] if bound.keyword.endswith(("Length", "tern")) else None
        match bound.keyword:
            case "pattern" if text:
                return [self.text(node, 1)], [text.bad]
            case "minLength":
                return [self.text(node, limit)], [""]
            case "maxLength" if text:
                return [self.text(node, limit)], [text.too_long(limit)]
            case "minimum":
                return [limit], [limit - node.get("multipleOf", 1)]
            case "maximum":
                return [limit], [limit + node.get("multipleOf", 1)]
            case "multipleOf":
                return [limit, 2 * limit], [limit + 1]
            case "minItems":
                return [self.items(node, path, limit)], [self.items(node, path, limit - 1)]
            case "maxItems":
                item = self.of(node["items"], f"{path}[]")
                most = self.items(node, path, limit + 1)
                return [most[:limit]], [most + [item] * (limit + 1 - len(most))]
            case "maxProperties":
                child = self.of(node["additionalProperties"], path + "{}")
                many = {f"k{index}": child for index in range(limit + 1)}
                return [dict(list(many.items())[:limit])], [many]
            case "enum":
                return list(limit), ["nonsense"]
            case "required":
                whole = self.of(node, path)
                return [whole], [{k: v for k, v in whole.items() if k != limit}]
            case "format":
                return ["2026-01-01T00:00:00Z"], ["yesterday"]
            case "x-kubernetes-list-map-keys":
                one = self.of(node["items"], f"{path}[]")
                return [[one]], [[one, one]]
        raise ValueError(f"no pair for {bound}")


def between(rule: Json) -> tuple[float, float] | None:
    """Return the bounds of a decimal's rule."""
    found = _BETWEEN.fullmatch(rule["rule"])
    return None if found is None else (float(found[1]), float(found[2]))


def _range(node: Json) -> tuple[float | None, float | None]:
    for rule in node.get(RULES, ()):
        if (found := between(rule)) is not None:
            return found
    return None, None


World = Callable[[Json, Any], None]


@dataclass(frozen=True)
class Documents:
    """Documents that are valid but for one value."""

    schema: Json
    base: Json
    samples: Samples
    elements: Mapping[str, Any]
    """What an item has to be for what lies in it to be valid: by the path of what lies in it."""

    def with_value(self, path: str, value: Any) -> Json:
        """Return the base document with a value at a path, and what the path needs around it."""
        made: Json = {"": copy.deepcopy(self.base)}
        holder: Any = made
        key: Any = ""
        node, at = self.schema, ""
        for step in re.findall(r"\.[^.\[{]+|\[\]|\{\}", path):
            if step == "[]":
                if not holder[key]:
                    rest = max(0, node.get("minItems", 1) - 1)
                    holder[key] = [
                        self._element(node, at, path),
                        *self.samples.items(node, at, rest),
                    ]
                holder, key = holder[key], 0
            elif step == "{}":
                holder, key = holder[key], "k"
            else:
                holder, key = holder[key], step[1:]
            node, at = dict(children(node))[step], at + step
            if isinstance(holder, dict) and key not in holder:
                holder[key] = [] if "items" in node else self.samples.of(node, at)
        holder[key] = value
        return dict(made[""])

    def _element(self, node: Json, at: str, path: str) -> Any:
        fitting = [key for key in self.elements if f"{path}.".startswith(f"{key}.")
                   and key.startswith(f"{at}[]")]  # fmt: skip
        if fitting:
            return copy.deepcopy(self.elements[max(fitting, key=len)])
        return self.samples.of(node["items"], f"{at}[]")
