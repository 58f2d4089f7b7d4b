"""What is refused, and the words that say so: the same tables for Python and for the CRD."""

import json

import pytest
from refused.build import CPU, INT8, candidates
from refused.candidates import CANDIDATES
from refused.sources import SOURCES
from refused.targets import TARGETS
from refused.values import VALUES

from mpj_operator.api.load import parse

AQ = {"name": "aq", "autoQuantize": {"effectiveBits": [9, 11]}}
REFUSED = pytest.mark.parametrize(
    ("changes", "field", "message"),
    [pytest.param(*row[1:], id=row[0]) for row in (*VALUES, *CANDIDATES, *SOURCES, *TARGETS)],
)


@REFUSED
def test_python_names_the_field_and_the_fix(job, changes, field, message):
    got, problems = parse(job(changes))
    assert got is None
    assert [str(p) for p in problems] == [f"{field}: {message}"]


@REFUSED
def test_the_schema_refuses_the_same(job, api_server, changes, field, message):
    refused = api_server.accept(job(changes))
    assert refused, "the API server would store what the operator cannot read"
    for path, words in refused:
        where = path.removeprefix(".")
        assert where
        assert field.startswith(where) or where.startswith(field)
        # The server has its own words for shapes; a rule of ours says the same in both places.
        assert words.startswith("shape: ") or words == message


def test_a_name_that_expansion_makes_twice_is_refused_before_anything_starts(job):
    clash = {"spec.candidates": [AQ, {"name": "aq-11", "ptq": {}}]}
    _, problems = parse(job(clash))
    assert [str(p) for p in problems] == [
        "spec.candidates[1].name: makes a name twice once effectiveBits are expanded"
    ]
    twice = {"spec.candidates": [{"name": "aq", "autoQuantize": {"effectiveBits": [11, "11.0"]}}]}
    _, problems = parse(job(twice))
    assert [p.field for p in problems] == ["spec.candidates[0].name"]


def test_all_problems_are_told_at_once(job):
    changes = {
        "spec.parallelism": 0,
        "spec.suspend": 1,
        "spec.candidates": [{"name": "A", "ptq": {}}, {"name": "b", "ptq": {"format": "x"}}],
    }
    _, problems = parse(job(changes))
    assert sorted(p.field for p in problems) == [
        "spec.candidates[0].name",
        "spec.candidates[1].ptq.format",
        "spec.parallelism",
        "spec.suspend",
    ]


@pytest.mark.parametrize("changes", [{}, CPU, candidates(INT8, AQ), {"spec.search": {}}])
def test_what_is_valid_passes_both(job, api_server, changes):
    document = job(changes)
    got, problems = parse(document)
    assert problems == []
    assert api_server.accept(document) == []
    assert api_server.accept(json.loads(json.dumps(got.to_json()))) == []
