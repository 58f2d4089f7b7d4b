"""The base of every model, and the scalar types that all of them share."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    SerializationInfo,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


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


DECIMAL_PLACES: Final = 20
DECIMAL_PATTERN: Final = rf"^-?[0-9]{{1,12}}(\.[0-9]{{1,{DECIMAL_PLACES}}})?$"


def _parse_decimal(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        if not re.fullmatch(DECIMAL_PATTERN, value):
            raise ValueError('must be a decimal number in quotes, such as "0.005"')
        return float(value)
    if (info.context or {}).get("resource"):
        raise ValueError(f'must be a quoted decimal: write "{value}" instead of {value}')
    return value


def format_decimal(value: float) -> str:
    """Write a number without an exponent and without digits that the float does not hold.

    What lies behind the twentieth decimal place is rounded off: ``DECIMAL_PATTERN`` ends there.
    """
    exact = Decimal(repr(float(value)))
    if len(format(exact, "f").partition(".")[2]) > DECIMAL_PLACES:
        exact = exact.quantize(Decimal(1).scaleb(-DECIMAL_PLACES))
    return format(exact, "f") if exact else "0"


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


@dataclass(frozen=True)
class Between:
    """Bound a DecimalString, ends included: in Python, and by a CEL rule in the resource's schema.

    JSON schema's own bounds hold for numbers only, and a decimal is a string there.
    """

    low: float
    high: float

    @property
    def message(self) -> str:
        """Say what is allowed, in the words that both sides use."""
        return f"must be between {self.low:.12g} and {self.high:.12g}"

    def _check(self, value: float) -> float:
        if not self.low <= value <= self.high:
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check after parsing."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the CEL rule."""
        low, high = (f"{float(x):f}" for x in (self.low, self.high))
        rule = f"double(self) >= {low} && double(self) <= {high}"
        return {
            **handler(schema),
            "x-kubernetes-validations": [{"rule": rule, "message": self.message}],
        }


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
