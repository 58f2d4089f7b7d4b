"""The generated CRD: what it holds, and what its generator refuses."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field

from mpj_operator.api.crd import definition, render
from mpj_operator.api.structural import UnstructuralError, structural
from mpj_runner.contract.base import Between, DecimalString, Value

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title", "prefixItems", "discriminator",
    "definitions", "dependencies", "patternProperties", "additionalItems", "uniqueItems",
    "nullable",
}  # fmt: skip


def nodes(schema, path="$"):
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


def test_the_file_is_what_the_types_say():
    written = (ROOT / "crds" / "mixedprecision.dev_mixedprecisionjobs.yaml").read_text()
    assert written == render(), "run `make generate`"
    assert yaml.safe_load(written) == definition()


def test_the_schema_is_structural_described_and_bounded(api_server):
    for path, node in nodes(api_server.schema):
        assert not FORBIDDEN & set(node), path
        if path != "$.metadata":
            assert path == "$" or path.endswith("[]") or node.get("description"), path
        if node.get("x-kubernetes-int-or-string"):
            assert "type" not in node, path
            assert node["maxLength"], path
            continue
        kind = node["type"]
        assert kind in {"object", "array", "string", "integer", "boolean"}, path
        if kind == "string" and path not in {"$.apiVersion", "$.kind"}:
            assert "maxLength" in node or "enum" in node or node.get("format") == "date-time", path
        if kind == "array":
            assert "maxItems" in node, path
            assert node["x-kubernetes-list-type"] in {"atomic", "map"}, path
            for key in node.get("x-kubernetes-list-map-keys", ()):
                assert key in node["items"]["required"], path
        if kind == "integer":
            assert "maximum" in node, path
        if kind == "object" and "additionalProperties" in node:
            assert "maxProperties" in node, path
            assert "properties" not in node, path
        for name in node.get("required", ()):
            assert name in node["properties"], path
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["rule"], path
            assert rule["message"], path


def test_status_has_no_defaults_and_no_rules(api_server):
    for path, node in nodes(api_server.schema["properties"]["status"]):
        assert "default" not in node, path
        assert "x-kubernetes-validations" not in node, path


def test_a_record_of_the_status_is_owned_as_one(api_server):
    status = api_server.schema["properties"]["status"]["properties"]
    records = {"conditions", "candidates", "unitStatuses"}
    assert records | {"best", "reference"} <= set(status)
    for name, node in status.items():
        record = node["items"] if name in records else node
        assert record["type"] != "object" or record["x-kubernetes-map-type"] == "atomic", name
    assert all(status[name]["x-kubernetes-list-type"] == "map" for name in records)


def test_every_default_of_the_schema_is_valid_by_itself(api_server, job):
    filled = api_server.default(
        job(
            {
                "spec.candidates": [
                    {"name": "a", "autoCast": {}},
                    {"name": "b", "ptq": {}},
                    {"name": "c", "autoQuantize": {}},
                ]
            }
        )
    )
    assert api_server.accept(filled) == []
    spec = filled["spec"]
    assert spec["objective"]["maxAccuracyDrop"] == "0.005"
    assert spec["model"]["preprocess"]["scale"] == "0.00392156862745098"
    assert spec["calibration"]["maxImages"] == 512
    assert spec["candidates"][2]["autoQuantize"]["effectiveBits"] == [9, 11, 13]


def test_people_see_the_columns_that_matter():
    (version,) = definition()["spec"]["versions"]
    shown = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]
    assert shown == ["State", "Progress", "Best", "mAP", "Drop", "Speedup", "Age"]
    assert version["subresources"] == {"status": {}}
    assert definition()["spec"]["names"]["shortNames"] == ["mpj"]


def test_kubectl_can_keep_it_in_an_annotation():
    assert len(render().encode()) < 262_144


class _Plain(Value):
    """Doc."""

    small: Annotated[int, Field(gt=0, lt=10)] = 1
    """A number
    of two lines."""
    word: Literal["only"] | None = None
    """A constant."""
    share: Annotated[DecimalString, Between(0, 1)] = 0.5
    """A decimal."""
    labels: Annotated[dict[str, Annotated[str, Field(max_length=3)]], Field(max_length=2)] = {}
    """A map."""


class _Outer(Value):
    """Doc."""

    inner: _Plain = _Plain()
    """An object."""


def test_what_kubernetes_lacks_is_rewritten():
    inner = structural(_Outer.model_json_schema())["properties"]["inner"]
    assert inner["default"] == {}
    assert inner["description"] == "An object."
    assert inner["properties"] == {
        "small": {
            "type": "integer", "format": "int32", "description": "A number of two lines.",
            "minimum": 0, "exclusiveMinimum": True, "maximum": 10, "exclusiveMaximum": True,
            "default": 1,
        },
        "word": {"type": "string", "enum": ["only"], "description": "A constant."},
        "share": {
            "type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,20})?$", "maxLength": 34,
            "description": "A decimal.", "default": "0.5",
            "x-kubernetes-validations": [
                {"rule": "double(self) >= 0.000000 && double(self) <= 1.000000",
                 "message": "must be between 0 and 1"}
            ],
        },
        "labels": {
            "type": "object", "additionalProperties": {"type": "string", "maxLength": 3},
            "maxProperties": 2, "description": "A map.",
        },
    }  # fmt: skip


class _Union(Value):
    either: int | str


class _Float(Value):
    number: float


class _Anything(Value):
    data: dict[str, Any]


class _AnyList(Value):
    data: tuple[Any, ...]


class _Pair(Value):
    pair: tuple[int, str]


class _OtherDefault(Value):
    inner: _Plain = _Plain(small=3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_Union, r"\$\.either: a union of 2 types"),
        (_Float, r"\$\.number: type number has no place in a resource"),
        (_Anything, r"\$\.data: an object of any content"),
        (_AnyList, r"\$\.data\[\]: type None has no place in a resource"),
        (_Pair, r"\$\.pair: no structural equivalent of prefixItems"),
        (_OtherDefault, r"\$\.inner: default differs from that of small"),
    ],
)
def test_what_has_no_equivalent_is_refused(model, message):
    with pytest.raises(UnstructuralError, match=message):
        structural(model.model_json_schema())
