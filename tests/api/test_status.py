"""Status: what the operator writes is what the CRD takes and what it reads back."""

from datetime import UTC, datetime

import pytest

from mpj_operator.api.lenient import lenient_status
from mpj_operator.api.load import parse
from mpj_operator.api.status import BestStatus, Condition, JobStatus, UnitCounts, UnitStatus
from mpj_runner.contract.report import Best
from mpj_runner.contract.result import Interval, Latency, Layers, Result

NOW = datetime(2026, 1, 31, 12, 0, 0, 999, tzinfo=UTC)
RESULT = Result(
    name="int8", state="Accepted", reasons=("Drop 0.0016 is within 0.005.",),
    map=0.64182731, map50=0.8, map_drop=Interval(value=0.00160001, low=-0.0004, high=1e-7),
    latency_ms=Latency(p50=14.2, p90=15.0, p99=17.0), throughput_per_second=70.4,
    speedup=Interval(value=1.70449, low=1.67, high=1.73), size_bytes=2_980_000,
    layers=Layers(total=88, quantized=81),
)  # fmt: skip
STATUS = JobStatus(
    conditions=(
        Condition(type="Ready", status="True", reason="Complete", last_transition_time=NOW),
    ),
    state="Complete", observed_generation=1, start_time=NOW, units=UnitCounts(total=9, succeeded=9),
    progress="9/9", unit_statuses=(UnitStatus(name="int8", attempt=2, state="Succeeded"),),
    candidates=(RESULT,),
    best=BestStatus.of(Best(name="int8", reason="The fastest."), RESULT),
)  # fmt: skip


def test_what_is_written_is_read_back(job, api_server):
    document = job() | {"status": STATUS.to_json()}
    shape = api_server.schema["properties"]["status"]
    assert list(api_server.shape(shape, document["status"], ".status")) == []
    got, problems = parse(document)
    assert problems == []
    assert got.status.to_json() == STATUS.to_json()


def changed(**members):
    return STATUS.to_json() | members


UNIT = {"name": "int8", "attempt": 2, "state": "Succeeded", "lost": 0}
READY = STATUS.to_json()["conditions"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(None, {}, id="none"),
        pytest.param([1], {}, id="no mapping"),
        pytest.param({"state": "\ud800"}, {}, id="half a character"),
        pytest.param(changed(), changed(), id="all known"),
        pytest.param(changed(later={"a": 1}), changed(), id="a member of a later version"),
        pytest.param(
            changed(unitStatuses=[UNIT | {"later": 1, "more": [{}]}, UNIT | {"name": "b"}]),
            changed(unitStatuses=[UNIT, UNIT | {"name": "b"}]),
            id="members deep inside",
        ),
        pytest.param(changed(state="Paused"), {**changed(), "state": None}, id="a later state"),
        pytest.param(
            changed(conditions=[READY[0] | {"type": "New"}, *READY, {"type": "Ready"}]),
            changed(),
            id="later conditions, and one that lacks members",
        ),
        pytest.param(changed(unitStatuses=3), {**changed(), "unitStatuses": []}, id="no list"),
    ],
)
def test_of_another_versions_status_what_is_known_is_read(job, raw, expected):
    wanted = JobStatus.model_validate(
        {k: v for k, v in expected.items() if v is not None}, context={"resource": True}
    )
    assert lenient_status(raw) == wanted
    got, problems = parse(job() | {"status": raw})
    assert problems == []
    assert got.status == wanted


def test_the_winners_figures_are_rounded_for_the_columns():
    best = STATUS.best.to_json()
    assert (best["mAP"], best["drop"], best["speedup"]) == ("0.6418", "0.0016", "1.704")


def test_decimals_have_no_exponent_and_times_no_fraction():
    written = STATUS.to_json()
    assert written["candidates"][0]["mAPDrop"]["high"] == "0.0000001"
    assert written["startTime"] == "2026-01-31T12:00:00Z"
