"""The base of every model, and the scalar types that all of them share."""

import math
import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel


class Value(BaseModel):
    """Be an immutable value: camelCase in YAML and JSON, snake_case in Python, nothing unknown."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        defer_build=True,
    )

    def to_json(self, *, numbers: bool = False) -> dict[str, Any]:
        """Return plain JSON data without unset members.

        Args:
            numbers: write decimals as JSON numbers (report.json) and not as strings (resources).
        """
        context = {"numbers": numbers}
        data: dict[str, Any] = self.model_dump(mode="json", exclude_none=True, context=context)
        return data


DECIMAL_PATTERN: Final = r"^-?[0-9]{1,12}(\.[0-9]{1,20})?$"


def _parse_decimal(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        if not re.fullmatch(DECIMAL_PATTERN, value):
            raise ValueError('must be a decimal number in quotes, such as "0.005"')
        return float(value)
    if (info.context or {}).get("resource"):
        raise ValueError(f'must be a quoted decimal: write "{value}" instead of {value}')
    return value


def format_decimal(value: float) -> str:
    """Write a number without an exponent and without digits that the float does not hold."""
    return format(Decimal(repr(float(value))), "f") if value else "0"


def _dump_decimal(value: float, info: SerializationInfo) -> str | float:
    if not math.isfinite(value):
        raise ValueError("a decimal must be finite")
    return value if (info.context or {}).get("numbers") else format_decimal(value)


DecimalString = Annotated[
    float,
    BeforeValidator(_parse_decimal),
    PlainSerializer(_dump_decimal),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "maxLength": 34}),
]
"""A float in Python; in resources a string, since Kubernetes APIs carry no floats; in report.json
a number. Validate with context ``{"resource": True}`` to refuse unquoted numbers, as the API
server does."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=20)]
"""A DNS label of at most 20 characters: candidates, units and step containers."""
ShortText = Annotated[str, StringConstraints(max_length=256)]
Message = Annotated[str, StringConstraints(max_length=1024)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A regular expression matched from the start of a node's name (``re.match``)."""
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Size = Annotated[int, Field(ge=0, le=2**53)]
"""Bytes."""
