"""The generated parts of the chart are what they are generated from."""

import importlib.util
from typing import Final

import pytest
import yaml
from charted import CHART

from mpj_operator import __version__
from mpj_operator.api.crd import template
from mpj_operator.api.load import parse

_spec = importlib.util.spec_from_file_location("helm_readme", CHART.parent / "readme.py")
assert _spec is not None
assert _spec.loader is not None
readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme)
META: Final = yaml.safe_load((CHART / "Chart.yaml").read_text())


def test_the_table_is_what_values_yaml_says():
    written = (CHART / "README.md").read_text()
    made = readme.table((CHART / "values.yaml").read_text())
    assert written == readme.with_table(written, made), "run `make generate`"


def test_the_crd_is_what_the_types_say():
    assert (CHART / "templates/crd.yaml").read_text() == template(), "run `make generate`"


def test_values_become_rows_with_their_comments_and_defaults():
    rows = list(
        readme.values(
            "# Plain,\n# on two lines.\na: 1\nb:\n  # Nested.\n  c: [x]\n# One value.\nd: {e: 2}\n"
        )
    )
    assert rows == [
        ("a", "1", "Plain, on two lines."),
        ("b.c", '["x"]', "Nested."),
        ("d", '{"e": 2}', "One value."),
    ]


@pytest.mark.parametrize("text", ["a: 1\n", "# Of a.\na: 1\nb: {}\n", "b:\n  c: 1\n"])
def test_a_value_without_a_comment_is_an_error(text: str):
    with pytest.raises(ValueError, match="has no comment above it"):
        readme.table(text)


def test_the_chart_has_the_operators_version():
    assert META["version"] == META["appVersion"] == __version__
    images = yaml.safe_load(META["annotations"]["artifacthub.io/images"])
    assert [x["image"].rpartition(":")[2] for x in images] == [__version__, __version__]


def test_the_annotations_for_artifact_hub_are_yaml_and_say_what_is_so():
    annotations = META["annotations"]
    (crd,) = yaml.safe_load(annotations["artifacthub.io/crds"])
    (example,) = yaml.safe_load(annotations["artifacthub.io/crdsExamples"])
    job, problems = parse(example)
    assert job is not None, problems
    assert (crd["kind"], crd["version"]) == (example["kind"], "v1alpha1")
    assert annotations["artifacthub.io/license"] == "Apache-2.0"
    kinds = {x["kind"] for x in yaml.safe_load(annotations["artifacthub.io/changes"])}
    assert kinds <= {"added", "changed", "deprecated", "removed", "fixed", "security"}
