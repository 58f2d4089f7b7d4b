"""What the status spares the pass that reads it: units that are over, with the same spec."""

import pytest
from fake_api import KEY, World

from mpj_operator.api.load import parse
from mpj_operator.shell.kube.settled import Settled

RECORDS = [
    {"name": state.lower(), "jobName": f"demo-{state.lower()}", "state": state}
    for state in ("Succeeded", "Failed", "Running")
] + [{"name": "pending", "state": "Pending"}]
NOTHING = Settled()


def raw(state="Running", *, generation=3, observed=3, records=RECORDS):
    """Return a job as the API has it."""
    found = World().raw
    metadata = {**found["metadata"], "generation": generation}
    status = {"state": state, "observedGeneration": observed, "unitStatuses": records}
    return {**found, "metadata": metadata, "status": status}


def settled(found):
    job, problems = parse(found, stored=True)
    assert not problems
    return Settled.of(job)


def test_units_that_are_over_are_settled():
    found = settled(raw())
    assert found.units == {"succeeded", "failed"}
    assert found.children == {"demo-succeeded", "demo-failed"}


@pytest.mark.parametrize("state", ["Complete", "Failed"])
def test_all_children_of_a_job_that_has_ended_are_looked_at_but_not_their_pods(state):
    found = settled(raw(state))
    assert found.units == frozenset()
    assert found.children == {"demo-succeeded", "demo-failed"}


@pytest.mark.parametrize(
    "found",
    [{**raw(), "status": {}}, raw(generation=4), raw(records=[])],
    ids=["no status", "another spec", "no units"],
)
def test_nothing_is_settled(found):
    assert settled(found) == NOTHING


def test_a_name_that_no_label_could_be_is_not_asked_for():
    records = [{"name": "a) , b", "state": "Failed", "jobName": "x"}]
    assert settled(raw(records=records)).units == frozenset()


PODS = "batch.kubernetes.io/job-name in ({})"


@pytest.mark.parametrize(
    ("found", "jobs", "pods"),
    [
        (raw(), "mixedprecision.dev/job=demo,mixedprecision.dev/unit notin (failed,succeeded)",
         "demo-running"),
        (raw("Complete"), "mixedprecision.dev/job=demo", "demo-running"),
        (raw(generation=4), "mixedprecision.dev/job=demo", "demo-running,demo-failed"),
    ],
    ids=["goes on", "has ended, by whatever hand", "has a new spec"],
)  # fmt: skip
async def test_what_is_asked_for(found, jobs, pods):
    world, selectors = World(), []
    world.raw = found

    async def listed(path, *, selector="", fields=""):
        if path.endswith("/events"):
            return ()
        selectors.append(selector)
        names = ("demo-running", "demo-failed") if path.endswith("/jobs") else ()
        return tuple(
            {"metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}}
            for name in names
        )

    world.list = listed
    await world.cluster.observe(KEY)
    assert selectors == [jobs, PODS.format(pods)]
