"""From pydantic's errors to one clear line each."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.rules import BROKEN

Loc = tuple[int | str, ...]
_NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string_type": "must be a string: put it in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
    "too_short": "must have at least {min_length} item(s)",
    "too_long": "must have at most {max_length} item(s)",
    "datetime_type": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "timezone_aware": "must be a time with its zone such as 2026-01-31T12:00:00Z",
}
"""Pydantic's error types, in the words of the resource; placeholders are pydantic's own context."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field, and what to do about it."""

    field: str
    """Its path, such as spec.candidates[2].ptq.format; empty for the document itself."""
    message: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.field}: {self.message}" if self.field else self.message


def path_of(loc: Iterable[int | str]) -> str:
    """Write a location as people do: spec.candidates[2].name."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{part}" if text else part
    return text


def problems_of(error: ValidationError) -> tuple[Problem, ...]:
    """Return what is wrong, one problem for each field, in the order of the document's types."""
    found: dict[Problem, None] = {}
    lines = error.errors(include_url=False)
    for line in lines:
        loc, context = line["loc"], line.get("ctx", {})
        if line["type"] == "too_short" and any(
            other["loc"][: len(loc)] == loc != other["loc"] for other in lines
        ):
            continue  # Pydantic counts the good items only; the bad ones tell of themselves.
        if line["type"] == BROKEN:
            for path, words in context["broken"]:
                where = path_of(loc)
                found[Problem(f"{where}.{path}" if where and path else where or path, words)] = None
        else:
            words = _words(line["type"], loc, line["input"], context, line["msg"])
            found[Problem(path_of(loc), words)] = None
    return tuple(found)


def _words(kind: str, loc: Loc, value: object, context: Mapping[str, Any], fallback: str) -> str:
    if kind == "extra_forbidden":
        return _unknown(loc)
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "tuple_type" and isinstance(value, str | int | float):
        return f"must be a list: write [{value}] instead of {value}"
    if kind == "string_type" and isinstance(value, int | float):
        return f'must be a string: write "{str(value).lower()}" instead of {str(value).lower()}'
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        if pattern == _NAME_PATTERN:
            return "must be a DNS label: lower-case letters, digits and - inside"
        return f"must match {pattern}"
    return _WORDS[kind].format_map(context) if kind in _WORDS else fallback


def _unknown(loc: Loc) -> str:
    name, parent = str(loc[-1]), _model_at(loc[:-1])
    known = _fields(parent) if parent is not None else {}
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"unknown field: did you mean {close[0]}?"
    elsewhere = next((p for p in _paths(MixedPrecisionJob, "") if p.endswith(f".{name}")), None)
    if elsewhere is not None and elsewhere.startswith("spec."):
        return f"unknown field: it belongs to {elsewhere.rpartition('.')[0]}"
    return f"unknown field: known are {', '.join(sorted(known))}"


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {f.alias or name: f.annotation for name, f in model.model_fields.items()}


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _model_at(loc: Loc) -> type[BaseModel] | None:
    model: type[BaseModel] | None = MixedPrecisionJob
    for part in loc:
        if isinstance(part, str) and model is not None:
            model = next(_models_in(_fields(model).get(part)), None)
    return model


def _paths(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the path of every field, the shallow ones of a value before the deep ones."""
    for name in _fields(model):
        yield f"{prefix}{name}"
    for name, annotation in _fields(model).items():
        many = "[]" if "tuple" in str(annotation) else ""
        for inner in _models_in(annotation):
            yield from _paths(inner, f"{prefix}{name}{many}.")
