"""From text to a job: YAML's traps, several documents, local jobs."""

import pytest
import yaml

from mpj_operator.api.load import load, parse, validate, validate_all
from mpj_operator.api.status import JobStatus, UnitCounts
from mpj_operator.core.params import budgets
from mpj_operator.core.units import scorings
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.steps import SolveParams


def test_a_file_gives_its_job(job):
    got = load(yaml.safe_dump(job()))
    assert got.metadata.name == "yolo11n"
    assert got.spec.validation.score_threshold == 0.001
    assert parse(got.to_json())[0] == got


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "the file holds no document", id="empty"),
        pytest.param("---\n# nothing\n", "the file holds no document", id="comment only"),
        pytest.param(
            "spec:\n\tmodel: x\n",
            "line 2, column 1: while scanning for the next token, found character '\\t' that "
            "cannot start any token",
            id="tab",
        ),
        pytest.param(
            "kind: a\nspec:\n  model: 1\n  model: 2\n",
            "line 4, column 3: model is given twice",
            id="a key twice",
        ),
        pytest.param(
            "- a\n",
            "the document must be a mapping with apiVersion, kind and spec",
            id="a list",
        ),
        pytest.param("a: 1\n---\nb: 1\n", "the file holds 2 documents: this command takes one job",
                     id="two documents"),
        pytest.param("kind: Job\n", "apiVersion: must be mixedprecision.dev/v1alpha1", id="kind"),
        pytest.param("a: \x01", "not YAML: unacceptable character #x0001: special characters are "
                     "not allowed\n  in \"<unicode string>\", position 3", id="control character"),
        pytest.param(
            "a:\n  b: {{ name }}\n",
            "line 2, column 7: a key must be text: a template such as {{ name }} has to be filled "
            "in first",
            id="a template",
        ),
        pytest.param(
            "a: !!int x",
            "line 1, column 4: not a value of tag:yaml.org,2002:int: invalid literal for int() "
            "with base 10: 'x'",
            id="no number",
        ),
        pytest.param(
            "a: !!bool x",
            "line 1, column 4: not a value of tag:yaml.org,2002:bool: 'x'",
            id="neither true nor false",
        ),
        pytest.param(
            "[" * 3000, "not YAML: lists or mappings lie in each other too deep", id="deep"
        ),
    ],
)  # fmt: skip
def test_what_is_no_job_is_told_with_its_place(text, message):
    got, problems = validate(text, local=False)
    assert got is None
    assert str(problems[0]) == message


def test_binary_and_sets_have_no_place(job):
    text = yaml.safe_dump(job()) + "status: {state: !!set {a, b}}\n"
    _, (problem,) = validate(text, local=False)
    assert str(problem) == "the document is not plain data: set values have no place in a resource"


@pytest.mark.parametrize("where", ["spec", "status"])
def test_a_value_that_holds_itself_has_no_place(job, where):
    document = job()
    document.pop(where, None)
    text = yaml.safe_dump(document) + f"{where}: &all {{candidates: [*all]}}\n"
    _, (problem,) = validate(text, local=False)
    assert str(problem) == "the document is not plain data: Circular reference detected"


def test_a_status_with_keys_that_are_no_text_is_left_out(job):
    got, problems = validate(
        yaml.safe_dump(job({"status": {1: "a", "units": {2: 3}}})), local=False
    )
    assert not problems
    assert got.status == JobStatus(units=UnitCounts())


def test_documents_are_checked_one_by_one(job):
    good, bad = yaml.safe_dump(job()), yaml.safe_dump(job({"spec.suspend": 3}))
    first, empty_is_skipped, *rest = validate_all(f"{good}---\n---\n{bad}", local=False)
    assert rest == []
    assert (first[0].metadata.name, first[1]) == ("yolo11n", [])
    assert empty_is_skipped[0] is None
    assert [str(p) for p in empty_is_skipped[1]] == ["spec.suspend: must be true or false"]


def test_loading_raises_all_problems_line_by_line(job):
    text = yaml.safe_dump(job({"spec.suspend": 3, "spec.parallelism": 0}))
    with pytest.raises(UserError) as raised:
        load(text)
    assert str(raised.value).splitlines() == [
        "spec.parallelism: must be at least 1",
        "spec.suspend: must be true or false",
    ]


@pytest.mark.parametrize("uri", ["model.pt", "./a/model.pt", "/abs/model.pt", "file:///a/model.pt"])
def test_a_local_job_reads_files_and_needs_no_storage(job, uri):
    text = yaml.safe_dump(job({"spec.model.uri": uri, "spec.storage": ...}))
    got, problems = validate(text, local=True)
    assert problems == []
    assert got.spec.storage is None
    _, problems = validate(text, local=False)
    assert [p.field for p in problems] == ["spec.model.uri"]


def test_a_local_job_is_held_to_the_same_rules(job):
    _, problems = validate(yaml.safe_dump(job({"spec.model.uri": "https://a/b.pt"})), local=True)
    assert [str(p) for p in problems] == [
        "spec.model.uri: https:// is not supported: copy it to s3://bucket/key or pvc://claim/path"
    ]


def test_what_the_api_server_adds_is_understood(job):
    document = job({
        "metadata.uid": "6f1c9d9e", "metadata.generation": 3, "metadata.resourceVersion": "81",
        "metadata.creationTimestamp": "2026-01-31T12:00:00Z",
        "metadata.deletionTimestamp": "2026-01-31T12:00:01Z",
        "metadata.managedFields": [{"manager": "kubectl"}], "metadata.finalizers": ["a/b"],
        "metadata.labels": {"kueue.x-k8s.io/queue-name": "g"} | {f"l{n}": "" for n in range(2000)},
        "metadata.annotations": {f"a{n}": "" for n in range(100)}
        | {"kubectl.kubernetes.io/last-applied-configuration": "x" * 100_000},
    })  # fmt: skip
    got, problems = parse(document)
    assert problems == []
    assert got.metadata.generation == 3
    assert got.metadata.creation_timestamp.tzinfo is not None
    assert got.metadata.to_json()["deletionTimestamp"] == "2026-01-31T12:00:01Z"


def test_dates_without_quotes_stay_strings(job):
    text = yaml.safe_dump(job()).replace(
        "name: yolo11n", "name: yolo11n\n  labels: {day: 2026-01-31}"
    )
    assert load(text).metadata.labels == {"day": "2026-01-31"}


def test_a_field_of_a_newer_version_is_left_alone_where_an_api_server_keeps_it(job):
    """Its CRD is upgraded before the operator, and fills in defaults in every job."""
    document = job({"spec.target.newKnob": 3, "spec.newer": {"a": 1}})
    got, problems = parse(document, stored=True)
    assert problems == []
    assert got == parse(job())[0]
    assert [problem.field for problem in parse(document)[1]] == [
        "spec.target.newKnob",
        "spec.newer",
    ]


def test_as_many_budgets_as_candidates_are_no_problem(job):
    bits = [8 + n / 10 for n in range(64)]
    written = [int(b) if b == int(b) else f"{b:g}" for b in bits]
    candidates = [
        {"name": f"aq{n}", "autoQuantize": {"effectiveBits": written[n : n + 16]}}
        for n in range(0, 64, 16)
    ]
    got, problems = parse(job({"spec.candidates": candidates}))
    assert problems == []
    pair = next(iter(scorings(got.spec)))
    asked = SolveParams(effective_bits=budgets(got.spec, pair))
    assert len(asked.effective_bits) == 64
