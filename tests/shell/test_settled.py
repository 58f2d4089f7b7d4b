"""What a written status spares the next pass: units that are over, while the spec is the same."""

import pytest

from mpj_operator.api.job import Metadata
from mpj_operator.api.status import JobStatus, UnitStatus
from mpj_operator.shell.kube.settled import Settled

METADATA = Metadata(name="a", uid="u", generation=3)
RECORDS = tuple(
    UnitStatus(name=state.lower(), job_name=f"a-{state.lower()}", state=state)
    for state in ("Succeeded", "Failed", "Running", "Pending")
)


def status(state):
    return JobStatus(state=state, unit_statuses=RECORDS)


def test_units_that_are_over_are_settled():
    settled = Settled.by(METADATA, status("Running"))
    assert settled.units == {"succeeded", "failed"}
    assert settled.children == {"a-succeeded", "a-failed"}


@pytest.mark.parametrize("state", ["Complete", "Failed"])
def test_all_children_of_a_job_that_has_ended_are_looked_at_but_not_their_pods(state):
    settled = Settled.by(METADATA, status(state))
    assert settled.units == frozenset()
    assert settled.children == {"a-succeeded", "a-failed"}


@pytest.mark.parametrize(
    ("read", "holds"),
    [
        ({"uid": "u", "generation": 3}, True),
        ({"uid": "u", "generation": 4}, False),
        ({"uid": "other", "generation": 3}, False),
    ],
    ids=["the same", "another spec", "a namesake"],
)
def test_it_holds_for_the_same_job_with_the_same_spec(read, holds):
    assert Settled.by(METADATA, status("Running")).holds_for(read) is holds
