"""Changes that several tables of this folder begin with."""

from typing import Any

CPU = {"spec.target.backend": "openvino"}
INT8 = {"name": "int8", "ptq": {}}


def candidates(*items: dict[str, Any]) -> dict[str, Any]:
    """Return the change that lists these candidates."""
    return {"spec.candidates": list(items)}
