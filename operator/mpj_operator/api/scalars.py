"""The strings and numbers that only the resource knows."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from mpj_runner.contract.base import format_decimal

BY_NAME: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
"""Extra schema of a list whose items have unique names."""

CLUSTER_URI: Final = (
    r"^(s3://[A-Za-z0-9][A-Za-z0-9._-]{1,254}|pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(/.*)?$"
)
_NO_PARENTS: Final = "must not lead out of its folder with .."


def _check_uri(value: str, info: ValidationInfo) -> str:
    local = bool((info.context or {}).get("local"))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", value)
    if re.fullmatch(CLUSTER_URI, value):
        if ".." in value.split("/"):
            raise ValueError(_NO_PARENTS)
    elif scheme and scheme[1] not in ("s3", "pvc", "file"):
        raise ValueError(
            f"{scheme[1]}:// is not supported: copy it to s3://bucket/key or pvc://claim/path"
        )
    elif scheme and scheme[1] != "file":
        raise ValueError("must be s3://bucket/key or pvc://claim/path")
    elif not local:
        raise ValueError(
            "must be s3://bucket/key or pvc://claim/path: only `mpj run` reads local files"
        )
    return value


def _uri_schema(longest: int) -> dict[str, Any]:
    rule = {"rule": "!self.contains('/../') && !self.endsWith('/..')", "message": _NO_PARENTS}
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "pattern": CLUSTER_URI,
        "x-kubernetes-validations": [rule],
    }


SourceUri = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1024),
    AfterValidator(_check_uri),
    WithJsonSchema(_uri_schema(1024)),
]
"""s3://bucket/key or pvc://claim/path; with context ``{"local": True}`` also file:// and paths."""
StoreUri = Annotated[
    str,
    StringConstraints(min_length=1, max_length=512),
    AfterValidator(_check_uri),
    WithJsonSchema(_uri_schema(512)),
]
"""The same, with room behind it for the addresses of what is kept there."""

QUANTITY: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_SUFFIXES: Final = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{s: Decimal(1000) ** n for n, s in enumerate("kMGTP", start=1)},
    **{s: Decimal(1024) ** n for n, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}


def _parse_quantity(value: object) -> object:
    text = str(value) if type(value) is int else value
    if isinstance(text, float):
        raise ValueError(f'must be a quoted quantity: write "{value}" instead of {value}')  # noqa: TRY004 - pydantic reads ValueError
    if isinstance(text, str) and not re.fullmatch(QUANTITY, text):
        raise ValueError('must be a quantity such as 1, "500m" or "4Gi"')
    return text


Quantity = Annotated[
    str,
    BeforeValidator(_parse_quantity),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "minimum": 0, "maxLength": 28, "pattern": QUANTITY}
    ),
]
"""A Kubernetes quantity: a whole number, or a string such as 500m or 4Gi."""


def quantity_value(quantity: str) -> Decimal:
    """Return the number that a quantity stands for: bytes of a memory size, cores of a CPU share.

    Raises:
        ValueError: it is not a quantity.
    """
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    if match is None or match[2] not in _SUFFIXES:
        raise ValueError(f"{quantity!r} is not a quantity")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


_BITS_PATTERN: Final = r"^(([89]|1[0-5])(\.[0-9]{1,2})?|16(\.0{1,2})?)$"


def _parse_bits(value: object) -> object:
    if type(value) is float:
        if not value.is_integer():
            raise ValueError(f'must be a quoted decimal: write "{value}" instead of {value}')
        value = int(value)
    if type(value) is int:
        value = str(value)
    if isinstance(value, str):
        if not re.fullmatch(_BITS_PATTERN, value):
            raise ValueError(
                'must be between 8 and 16, with at most two decimals, such as 11 or "9.5"'
            )
        return float(value)
    return value


EffectiveBits = Annotated[
    float,
    BeforeValidator(_parse_bits),
    PlainSerializer(lambda v: int(v) if v == int(v) else format_decimal(v)),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 8,
            "maximum": 16,
            "maxLength": 5,
            "pattern": _BITS_PATTERN,
        }
    ),
]
"""Bits a weight on average: a whole number, or a string with at most two decimals."""

Time = Annotated[
    datetime,
    AwareDatetime,
    PlainSerializer(lambda v: v.strftime("%Y-%m-%dT%H:%M:%SZ")),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC, to the second."""

ObjectName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253),
]
"""Name of a Kubernetes object: a DNS subdomain."""
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)
]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
AnnotationValue = Annotated[str, StringConstraints(max_length=4096)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[dict[str, AnnotationValue], Field(max_length=64)]
Seconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
