"""What the status spares the pass that reads it: units that are over, with the same spec."""

import pytest

from mpj_operator.shell.cluster import Key
from mpj_operator.shell.kube.cluster import KubernetesCluster
from mpj_operator.shell.kube.settled import Settled

RECORDS = [
    {"name": state.lower(), "jobName": f"a-{state.lower()}", "state": state}
    for state in ("Succeeded", "Failed", "Running")
] + [{"name": "pending", "state": "Pending"}]
NOTHING = Settled()


def job(state="Running", *, generation=3, observed=3, records=RECORDS):
    status = {"state": state, "observedGeneration": observed, "unitStatuses": records}
    metadata = {"name": "a", "namespace": "ns", "uid": "u", "generation": generation}
    return {"metadata": metadata, "status": status}


def test_units_that_are_over_are_settled():
    settled = Settled.of(job())
    assert settled.units == {"succeeded", "failed"}
    assert settled.children == {"a-succeeded", "a-failed"}


@pytest.mark.parametrize("state", ["Complete", "Failed"])
def test_all_children_of_a_job_that_has_ended_are_looked_at_but_not_their_pods(state):
    settled = Settled.of(job(state))
    assert settled.units == frozenset()
    assert settled.children == {"a-succeeded", "a-failed"}


@pytest.mark.parametrize(
    "read",
    [{"metadata": {"generation": 1}}, job(generation=4), job(records=[])],
    ids=["no status", "another spec", "no units"],
)
def test_nothing_is_settled(read):
    assert Settled.of(read) == NOTHING


def test_a_name_that_no_label_could_be_is_not_asked_for():
    records = [{"name": "a) , b", "state": "Failed", "jobName": "x"}]
    assert Settled.of(job(records=records)).units == frozenset()


class Asked:
    """An API that has one job and notes which lists it is asked for."""

    def __init__(self, found):
        self.found, self.selectors = found, []

    async def get(self, _path):
        return self.found

    async def list(self, path, *, selector="", fields=""):
        self.selectors.append(selector)
        names = ("a-running", "a-failed") if path.endswith("/jobs") else ()
        return tuple(
            {"metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}}
            for name in names
        )


PODS = "batch.kubernetes.io/job-name in ({})"


@pytest.mark.parametrize(
    ("found", "jobs", "pods"),
    [
        (job(), "mixedprecision.dev/job=a,mixedprecision.dev/unit notin (failed,succeeded)",
         "a-running"),
        (job("Complete"), "mixedprecision.dev/job=a", "a-running"),
        (job(generation=4), "mixedprecision.dev/job=a", "a-running,a-failed"),
    ],
    ids=["goes on", "has ended, by whatever hand", "has a new spec"],
)  # fmt: skip
async def test_what_is_asked_for(found, jobs, pods):
    api = Asked(found)
    cluster = KubernetesCluster(api, None, None)
    cluster._reject = _nothing
    await cluster.observe(Key("ns", "a"))
    assert api.selectors[:2] == [jobs, PODS.format(pods)]


async def _nothing(*_):
    """Take an invalid job for nothing: these have no spec."""
