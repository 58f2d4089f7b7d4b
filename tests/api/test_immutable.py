"""What may change after a job was created, by the rules of the generated CRD."""

import pytest

IMMUTABLE = "is immutable: create another job"
PAUSED = (
    "may change only before the job starts or while it is suspended: set spec.suspend to true first"
)
SEARCH = "is immutable, but maxTrials may grow: create another job"
INT8 = [{"name": "int8", "ptq": {}}]
STARTED = {"status.startTime": "2026-01-01T00:00:00Z"}

# Columns: a sentence, the old and the new changes, and the refusal or None.
CHANGES = [
    ("model changes", {}, {"spec.model.uri": "s3://models/b.pt"}, ("spec.model", IMMUTABLE)),
    (
        "model gains a member",
        {},
        {"spec.model.classes": ["car"]},
        ("spec.model", IMMUTABLE),
    ),
    (
        "model loses a member",
        {"spec.model.classes": ["car"]},
        {},
        ("spec.model", IMMUTABLE),
    ),
    ("calibration changes", {}, {"spec.calibration.seed": 1}, ("spec.calibration", IMMUTABLE)),
    ("validation changes", {}, {"spec.validation.split": "v"}, ("spec.validation", IMMUTABLE)),
    ("target changes", {}, {"spec.target.batchSize": 8}, ("spec.target", IMMUTABLE)),
    ("candidates are added", {}, {"spec.candidates": INT8}, ("spec.candidates", IMMUTABLE)),
    ("candidates are removed", {"spec.candidates": INT8}, {}, ("spec.candidates", IMMUTABLE)),
    (
        "candidates change",
        {"spec.candidates": INT8},
        {"spec.candidates": [{"name": "int8", "ptq": {"keepHead": False}}]},
        ("spec.candidates", IMMUTABLE),
    ),
    ("search is added", {}, {"spec.search": {}}, ("spec.search", SEARCH)),
    ("search is removed", {"spec.search": {}}, {}, ("spec.search", SEARCH)),
    (
        "search changes its format",
        {"spec.search": {}},
        {"spec.search": {"format": "fp8"}},
        ("spec.search", SEARCH),
    ),
    (
        "search has fewer trials",
        {"spec.search": {"maxTrials": 8}},
        {"spec.search": {"maxTrials": 7}},
        ("spec.search", SEARCH),
    ),
    (
        "search has more trials",
        {"spec.search": {"maxTrials": 8}},
        {"spec.search": {"maxTrials": 9}},
        None,
    ),
    ("objective changes", STARTED, {"spec.objective": {"minSpeedup": "1.5"}} | STARTED, None),
    ("parallelism changes", STARTED, {"spec.parallelism": 5} | STARTED, None),
    ("suspend changes", STARTED, {"spec.suspend": True} | STARTED, None),
    ("a deadline is added", STARTED, {"spec.activeDeadlineSeconds": 60} | STARTED, None),
    ("ttl is added", STARTED, {"spec.ttlSecondsAfterFinished": 60} | STARTED, None),
    ("a default is written out", STARTED, {"spec.podOverrides": {}} | STARTED, None),
    ("status changes", {}, STARTED, None),
]
for _member, _value in (
    ("podOverrides", {"image": "other"}),
    ("resources", {"cpu": {"limits": {"cpu": 2}}}),
    ("storage", {"uri": "s3://other"}),
):
    _new = {f"spec.{_member}": _value}
    CHANGES += [
        (f"{_member} changes before the start", {}, _new, None),
        (f"{_member} changes later", STARTED, _new | STARTED, (f"spec.{_member}", PAUSED)),
        (f"{_member} changes back later", _new | STARTED, STARTED, (f"spec.{_member}", PAUSED)),
        (
            f"{_member} changes while suspended",
            STARTED | {"spec.suspend": True},
            _new | STARTED | {"spec.suspend": True},
            None,
        ),
        (
            f"{_member} changes on resuming",
            STARTED | {"spec.suspend": True},
            _new | STARTED,
            None,
        ),
    ]


@pytest.mark.parametrize(
    ("old", "new", "refused"), [pytest.param(*row[1:], id=row[0]) for row in CHANGES]
)
def test_only_what_cannot_mislead_a_running_job_may_change(job, api_server, old, new, refused):
    found = api_server.accept(job(new), job(old))
    assert found == ([] if refused is None else [(f".{refused[0]}", refused[1])])
