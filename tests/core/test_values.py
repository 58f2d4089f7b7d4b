"""Names, Job values, conditions: the shapes that others rely on."""

from datetime import timedelta

import pytest
from simulated import NOW, Simulation, job, requests_of

from mpj_operator.core import conditions as c
from mpj_operator.core import names
from mpj_operator.core.jobs import job_value
from mpj_operator.core.search import Trial, ask
from mpj_operator.core.units import graph
from mpj_runner.contract.messages import Input, Request


def test_names_are_deterministic_short_and_differ_by_what_counts():
    one = names.child("a" * 63, "uid", "b" * 20, 1)
    assert one == names.child("a" * 63, "uid", "b" * 20, 1)
    assert len(one) <= 60
    others = {
        names.child("a" * 63, "uid-2", "b" * 20, 1),
        names.child("a" * 63, "uid", "b" * 19, 1),
        names.child("a" * 63, "uid", "b" * 20, 2),
    }
    assert one not in others
    assert len(others) == 3


@pytest.mark.parametrize("name", ["x" * 29 + "-y", "a-" * 20, "demo"])
def test_a_cut_name_is_still_a_dns_label(name):
    made = names.child(name, "u", "int8", 1)
    assert "--" not in made
    assert made[0].isalnum()
    assert made[-1].isalnum()


def test_label_values_fit():
    assert names.label("short") == "short"
    assert len(names.label("x" * 100)) <= 63
    assert names.label("x" * 100) != names.label("x" * 101)


def value(**spec):
    wanted = job(**spec)
    request = Request(
        step="calibrate", name="calibrate", params={}, inputs={"m": Input(source="file:///m")},
        store="file:///s",
    )  # fmt: skip
    first = request.model_copy(update={"name": "one", "last": False})
    unit = graph(wanted.spec, {})["int8"]
    return job_value(wanted, unit, 1, [first, request], "image@sha256:1")


def test_a_job_value_is_a_restricted_pod_with_steps_as_init_containers():
    made = value()
    pod = made["spec"]["template"]["spec"]
    assert [x["name"] for x in pod["initContainers"]] == ["one"]
    assert [x["name"] for x in pod["containers"]] == ["calibrate"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["image"] == "image@sha256:1"
    rules = made["spec"]["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert rules[1]["onExitCodes"] == {"operator": "In", "values": [64]}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert [r.name for r in requests_of(made)] == ["one", "calibrate"]


def test_overrides_reach_the_pod_and_only_the_queues_labels_are_copied():
    made = value(
        podOverrides={
            "nodeSelector": {"gpu": "h100"},
            "env": [{"name": "HTTPS_PROXY", "value": "http://p"}],
            "labels": {"team": "vision"},
            "runtimeClassName": "nvidia",
        },
        resources={"cpu": {"limits": {"memory": "4Gi"}}},
        unitDeadlineSeconds=60,
    )
    pod = made["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["runtimeClassName"] == "nvidia"
    assert {"name": "HTTPS_PROXY", "value": "http://p"} in pod["containers"][0]["env"]
    assert pod["containers"][0]["resources"] == {"limits": {"memory": "4Gi"}}
    assert made["spec"]["template"]["metadata"]["labels"]["team"] == "vision"
    assert made["spec"]["activeDeadlineSeconds"] == 60
    assert made["spec"]["backoffLimit"] == 3


def test_labels_of_the_job_stay_on_it_but_for_kueues():
    wanted = job()
    labels = {"app.kubernetes.io/instance": "x", "kueue.x-k8s.io/queue-name": "q"}
    metadata = wanted.metadata.model_copy(update={"labels": labels})
    wanted = wanted.model_copy(update={"metadata": metadata})
    made = job_value(wanted, graph(wanted.spec, {})["prepare"], 1, [], "i")
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "q"
    assert "app.kubernetes.io/instance" not in made["metadata"]["labels"]


def test_gpu_units_ask_for_one_gpu_in_every_container():
    wanted = job(target={"backend": "tensorrt"}, candidates=[{"name": "fp16", "autoCast": {}}])
    units = graph(wanted.spec, {})
    request = Request(step="build", name="build", params={}, store="s")
    for name, gpus in (("prepare", None), ("fp16", "1"), ("final", "1"), ("report", None)):
        made = job_value(wanted, units[name], 1, [request], "i")
        container = made["spec"]["template"]["spec"]["containers"][0]
        limits = container.get("resources", {}).get("limits", {})
        assert limits.get("nvidia.com/gpu") == gpus, name


def test_a_conditions_time_moves_only_when_its_status_flips():
    stamps = [c.Stamp(NOW + timedelta(seconds=n), n) for n in range(4)]
    found = c.with_condition((), "Ready", "False", "A", "", stamps[0])
    found = c.with_condition(found, "Ready", "False", "B", "words", stamps[1])
    (ready,) = found
    assert (ready.last_transition_time, ready.reason, ready.observed_generation) == (NOW, "B", 1)
    (ready,) = c.with_condition(found, "Ready", "True", "C", "", stamps[2])
    assert ready.last_transition_time == stamps[2].now


@pytest.mark.parametrize(
    ("situation", "ready", "reconciling", "stalled", "state"),
    [
        ("new", "False", "True", "False", "Pending"),
        ("complete", "True", "False", "False", "Complete"),
        ("failed", "False", "False", "True", "Failed"),
        ("suspended", "False", "False", "False", "Suspended"),
    ],
)
def test_gitops_tools_see_the_right_thing(situation, ready, reconciling, stalled, state):
    simulation = Simulation(job(suspend=situation == "suspended"))
    if situation in ("complete", "failed"):
        failing = frozenset({"prepare"}) if situation == "failed" else frozenset()
        simulation.run(failing=failing)
    else:
        simulation.step()
    status = simulation.job.status
    seen = {x.type: x.status for x in status.conditions}
    assert (seen["Ready"], seen["Reconciling"], seen["Stalled"]) == (ready, reconciling, stalled)
    assert status.state == state
    assert status.observed_generation == 1


@pytest.mark.parametrize(
    ("trials", "wanted"),
    [
        pytest.param([], 0, id="first the plain candidate"),
        pytest.param([Trial(0, "running")], None, id="wait for what runs"),
        pytest.param([Trial(0, "accurate")], None, id="plain suffices"),
        pytest.param([Trial(0, "inaccurate")], 4, id="a sixteenth"),
        pytest.param([Trial(0, "inaccurate"), Trial(4, "inaccurate")], 8, id="then double"),
        pytest.param([Trial(0, "inaccurate"), Trial(4, "accurate")], 2, id="bisect"),
        pytest.param([Trial(0, "inaccurate"), Trial(4, "accurate"), Trial(2, "failed")], 3,
                     id="step aside from a failure"),
        pytest.param([Trial(0, "failed")], 4, id="the plain one cannot be built"),
        pytest.param([Trial(0, "failed"), Trial(4, "failed")], None, id="neither can another"),
        pytest.param([Trial(0, "inaccurate"), Trial(4, "failed")], 5, id="beside a failure"),
        pytest.param([Trial(0, "inaccurate"), Trial(63, "inaccurate")], None, id="nothing helps"),
        pytest.param([Trial(0, "inaccurate"), Trial(4, "accurate"), Trial(8, "inaccurate")], 16,
                     id="not monotone: go on above the largest bad one"),
        pytest.param([Trial(0, "inaccurate")] * 16, None, id="the budget is spent"),
    ],
)  # fmt: skip
def test_what_the_search_asks_next(trials, wanted):
    assert ask(64, trials, 16) == wanted


def test_a_search_without_layers_has_one_trial():
    assert ask(0, [], 16) == 0
    assert ask(0, [Trial(0, "failed")], 16) is None
    assert ask(0, [Trial(0, "inaccurate")], 16) is None
