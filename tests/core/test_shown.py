"""What people are shown beside the plan: refused creations, invalid specs, Events."""

import pytest
from simulated import NOW, Simulation, job

from mpj_operator.api.status import JobStatus, UnitStatus
from mpj_operator.core import conditions as c
from mpj_operator.core.conditions import Stamp
from mpj_operator.core.invalid import rejected
from mpj_operator.core.notes import notes
from mpj_operator.core.observed import ContainerSeen, PodSeen
from mpj_operator.core.refusals import Refusal, with_refusals

STAMP = Stamp(NOW, 1)
QUOTA = Refusal("QuotaExceeded", "exceeded quota: gpus, requested: 1, used: 4, limited: 4")


def record_of(status, name):
    return next(r for r in status.unit_statuses if r.name == name)


@pytest.fixture
def created():
    """A plan's first step: prepare was created."""
    simulation = Simulation(job())
    return simulation.step()


def test_nothing_refused_changes_nothing(created):
    assert with_refusals(created.status, {}, STAMP) is created.status


def test_a_refused_unit_is_pending_again_with_the_servers_words(created):
    name = record_of(created.status, "prepare").job_name
    status = with_refusals(created.status, {name: QUOTA}, STAMP)
    record = record_of(status, "prepare")
    assert (record.job_name, record.state, record.reason) == (None, "Pending", "QuotaExceeded")
    assert "exceeded quota: gpus" in record.message
    assert (status.units.active, status.state) == (0, "Pending")
    ready = c.find(status.conditions, "Ready")
    assert (ready.status, ready.message) == ("False", f"prepare: {QUOTA.message}")


def test_while_another_unit_runs_the_job_is_running(created):
    other = UnitStatus(name="reference", job_name="demo-reference-1", state="Running")
    records = [other if r.name == "reference" else r for r in created.status.unit_statuses]
    status = created.status.model_copy(update={"unit_statuses": tuple(records), "state": "Running"})
    name = record_of(status, "prepare").job_name
    after = with_refusals(status, {name: QUOTA}, STAMP)
    assert (after.state, after.units.active) == ("Running", 1)
    assert c.find(after.conditions, "Ready").message == "reference: Running"
    assert c.find(after.conditions, "Reconciling").message == "reference: Running"


def test_a_refused_unit_is_tried_again_and_forgets_the_refusal():
    simulation = Simulation(job())
    decided = simulation.step()
    name = record_of(decided.status, "prepare").job_name
    simulation.children.clear()
    refused = with_refusals(decided.status, {name: QUOTA}, STAMP)
    simulation.job = simulation.job.model_copy(update={"status": refused})
    again = simulation.step()
    record = record_of(again.status, "prepare")
    assert (record.job_name, record.attempt, record.reason) == (name, 1, "Created")
    assert record.lost == 0


def test_an_invalid_spec_is_said_to_every_reader():
    status = rejected(JobStatus(), "spec.candidates[1].name: makes a name twice", STAMP)
    by_type = {condition.type: condition for condition in status.conditions}
    assert by_type["Accepted"].status == "False"
    assert (by_type["Failed"].status, by_type["Stalled"].status) == ("True", "True")
    assert all(x.reason == "Invalid" for x in by_type.values())
    assert "makes a name twice" in by_type["Accepted"].message
    assert (status.state, status.observed_generation) == ("Failed", 1)
    assert rejected(status, "spec.candidates[1].name: makes a name twice", STAMP) == status


def test_events_tell_of_a_whole_job_each_thing_once():
    simulation, told = Simulation(job()), []
    for _ in range(60):
        before = simulation.job.status
        after = simulation.step().status
        told += [(note.reason, note.message) for note in notes(before, after)]
        for child in simulation.live():
            simulation.succeed(child)
    parts = [
        part for reason, words in told if reason == "Progressing" for part in words.split("; ")
    ]
    created, succeeded = (
        ", ".join(x.removeprefix(verb) for x in parts if x.startswith(verb)).split(", ")
        for verb in ("created: Job ", "succeeded: ")
    )
    records = simulation.job.status.unit_statuses
    assert sorted(created) == sorted(str(record.job_name) for record in records)
    assert sorted(succeeded) == sorted(record.name for record in records)
    assert len(told) < len(created) + len(succeeded)  # what happens together is told together
    assert len(told) == len(set(told))
    assert told[-1][0] == "Complete"


def unit(**fields):
    return JobStatus(unit_statuses=(UnitStatus(name="int8", **fields),))


FIRST = {"attempt": 1, "job_name": "j-1", "state": "Running"}
SECOND = {"attempt": 2, "job_name": "j-2", "state": "Pending", "reason": "Created", "message": "w"}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (FIRST, {"attempt": 2}, []),
        ({"attempt": 2}, SECOND, ["UnitRetried int8: Job j-2, attempt 2"]),
        (FIRST, SECOND, ["UnitRetried int8: Job j-2, attempt 2"]),
        (FIRST, {**SECOND, "reason": "ResultLost", "message": "its Job was deleted"},
         ["UnitRetried int8: Job j-2, attempt 2, since its Job was deleted"]),
        (FIRST, {"attempt": 2, "reason": "QuotaExceeded", "message": "no room"},
         ["QuotaExceeded int8: no room"]),
    ],
    ids=["suspended", "resumed", "seen late", "lost", "lost and refused"],
)  # fmt: skip
def test_a_unit_is_said_to_be_tried_again_once_it_has_a_job(before, after, told):
    notes_ = notes(unit(**before), unit(**after))
    assert [f"{note.reason} {note.message}" for note in notes_] == told


PULLS = {
    "Back-off with its cause": (
        'Back-off pulling image "i:1": ErrImagePull: i:1: not found', "i:1: not found",
    ),
    "Back-off alone": ('Back-off pulling image "i:1"', "i:1: not found"),
}  # fmt: skip


@pytest.mark.parametrize(("back_off", "cause"), PULLS.values(), ids=PULLS)
def test_an_image_that_cannot_be_pulled_is_told_once(back_off, cause):
    simulation, told, written = Simulation(job()), [], []
    simulation.step()
    (child,) = simulation.live()
    for reason, words in (("ErrImagePull", "i:1: not found"), ("ImagePullBackOff", back_off)) * 3:
        container = ContainerSeen("export", "waiting", None, reason, words)
        simulation._put(child, pods=(PodSeen("p", "Pending", (container,)),))
        before = simulation.job.status
        after = simulation.step().status
        told += [(note.reason, note.message) for note in notes(before, after)]
        written += [after] if before != after else []
    assert told == [("ImagePullBackOff", f"prepare: {cause}")]
    assert len(written) == 1


def test_a_pull_that_only_waits_names_the_image():
    simulation = Simulation(job())
    simulation.step()
    (child,) = simulation.live()
    words = 'Back-off pulling image "i:1"'
    container = ContainerSeen("export", "waiting", None, "ImagePullBackOff", words)
    simulation._put(child, pods=(PodSeen("p", "Pending", (container,)),))
    assert record_of(simulation.step().status, "prepare").message == words


def test_failures_and_waiting_are_warnings():
    before = UnitStatus(name="int8", job_name="j", state="Running")
    failed = before.model_copy(update={"state": "Failed", "message": "eval: no detections"})
    waits = before.model_copy(
        update={"state": "Pending", "reason": "ImagePullBackOff", "message": "no such image"}
    )
    queued = waits.model_copy(update={"reason": "Queued", "message": "waits for admission"})
    for after, expected in (
        (failed, ("Warning", "UnitFailed", "int8: eval: no detections")),
        (waits, ("Warning", "ImagePullBackOff", "int8: no such image")),
        (queued, ("Normal", "Queued", "int8: waits for admission")),
    ):
        (note,) = notes(JobStatus(unit_statuses=(before,)), JobStatus(unit_statuses=(after,)))
        assert (note.type, note.reason, note.message) == expected
        again = after.model_copy(update={"message": "other words"}) if after != failed else after
        assert not list(notes(JobStatus(unit_statuses=(after,)), JobStatus(unit_statuses=(again,))))
