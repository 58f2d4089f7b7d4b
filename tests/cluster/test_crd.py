"""The generated CRD, judged by the API server itself: every bound and every rule, on both sides."""

import subprocess
from collections.abc import Iterator

import pytest
from bounds import BOUNDS, Bound
from components import component
from controlplane import ControlPlane
from crd_changes import CHANGES, FREE, PAUSED, STARTED
from crd_pairs import PAIRS
from crd_worlds import BASE, CRD, RANGES, ROWS, RULES, SAMPLES, TRANSITIONS, changed, document
from rest import MPJ, Api, ApiError, Json, path


class Judge:
    """The API server as a judge of documents; it stores none of them."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def refusals(self, document: Json) -> list[tuple[str, str]]:
        """Return (field, message) of all that is wrong with a new object, or its status."""
        if "status" in document:
            target, method = path(MPJ, self.namespace, "kept", "status"), "PATCH"
            body, kind = {"status": document["status"]}, "application/merge-patch+json"
        else:
            target, method = path(MPJ, self.namespace), "POST"
            body, kind = document, "application/json"
        return self._causes(method, target, body, kind)

    def refusals_of_change(self, old: Json, new: Json, name: str) -> list[tuple[str, str]]:
        """Return what is wrong with a change of an object; the old one is stored for it."""
        old, new = ({**d, "metadata": {"name": name}} for d in (old, new))
        self.api.create(path(MPJ, self.namespace), old)
        if "status" in old:
            self.api.patch(path(MPJ, self.namespace, name, "status"), {"status": old["status"]})
        stored = self.api.call("GET", path(MPJ, self.namespace, name))
        new["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        where = path(MPJ, self.namespace, name)
        return self._causes("PUT", where, new, "application/json")

    def _causes(self, method: str, where: str, body: Json, kind: str) -> list[tuple[str, str]]:
        try:
            self.api.call(
                method, where, body, content_type=kind, dryRun="All", fieldValidation="Strict"
            )
        except ApiError as error:
            if error.status != 422:
                raise
            return error.causes
        return []


@pytest.fixture(scope="module")
def judge(plane: ControlPlane) -> Iterator[Judge]:
    name = plane.namespace("judged")
    plane.api.create(path(MPJ, name), {**BASE, "metadata": {"name": "kept"}})
    yield Judge(plane.api, name)
    plane.api.delete(f"/api/v1/namespaces/{name}")


def field_of(bound: Bound) -> str:
    """Return how the API server names a bound's field."""
    where = bound.path.replace("[]", "[0]").replace("{}", ".k")
    if bound.keyword == "required":
        where += f".{bound.limit}"
    if bound.keyword == "x-kubernetes-list-map-keys":
        where += "[1]"
    return where.removeprefix(".")


@pytest.mark.parametrize("bound", [pytest.param(row, id=str(row)) for row in ROWS])
def test_a_bound_is_where_it_says(judge: Judge, bound: Bound):
    accepted, refused = SAMPLES.pair(bound)
    assert accepted
    assert refused
    for value in accepted:
        assert judge.refusals(document(bound.path, value)) == []
    for value in refused:
        found = judge.refusals(document(bound.path, value))
        words = BOUNDS[bound.keyword]
        assert [m for f, m in found if f == field_of(bound) and words in m], found


def specified(changes: Json) -> Json:
    """Return the base document with changes of its spec; "" is its name."""
    changes = dict(changes)
    name = changes.pop("", BASE["metadata"]["name"])
    return {**changed(BASE, changes), "metadata": {"name": name}}


@pytest.mark.parametrize(("message", "field", "accepted", "refused"), PAIRS)
def test_a_rule_tells_right_from_wrong(judge: Judge, message, field, accepted, refused):
    for changes in accepted:
        assert judge.refusals(specified(changes)) == []
    for changes in refused:
        found = judge.refusals(specified(changes))
        assert [m for f, m in found if f == field and message in m], found


@pytest.mark.parametrize(("where", "limits"), RANGES, ids=[where for where, _ in RANGES])
def test_a_decimal_has_its_range(judge: Judge, where, limits):
    low, high = limits
    for value in (f"{low:g}", f"{high:g}", f"{(low + high) / 2:g}"):
        assert judge.refusals(document(where, value)) == []
    for value in (f"{low - 0.1:g}", f"{high}00001" if "." in f"{high}" else f"{high}.1"):
        found = judge.refusals(document(where, value))
        field = where.replace("[]", "[0]").removeprefix(".")
        assert [m for f, m in found if f == field and f"between {low:g} and {high:g}" in m], found


def field_of_rule(where: str, rule: Json) -> str:
    whole = f"{where}{rule.get('fieldPath', '')}".replace("[]", "[0]").removeprefix(".")
    return whole or "<nil>"


def test_no_rule_is_without_a_pair():
    tried = {(row.values[1], row.values[0]) for row in PAIRS}
    ranges = {where for where, _ in RANGES}
    there = {
        (field_of_rule(where, rule), rule["message"])
        for where, rule in RULES
        if where not in ranges
    }
    assert tried == there


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        pytest.param(field, old, new, id=f"{field} {what}")
        for field, changes in CHANGES.items()
        for what, old, new in changes
    ],
)
def test_what_a_running_job_stands_on_does_not_change(judge: Judge, request, field, old, new):
    message = next(
        rule["message"] for where, rule in TRANSITIONS if field_of_rule(where, rule) == field
    )
    before, after = changed(BASE, old), changed(BASE, new)
    number = request.node.callspec.indices["field"]
    found = judge.refusals_of_change(before | STARTED, after, f"started-{number}")
    assert [m for f, m in found if f == field and message in m], found
    found = judge.refusals_of_change(before, after, f"new-{number}")
    assert bool(found) != (field in PAUSED), found
    if field in PAUSED:
        paused = changed(after, {"suspend": True})
        assert judge.refusals_of_change(before | STARTED, paused, f"pausing-{number}") == []


@pytest.mark.parametrize(("field", "old", "new"), FREE, ids=[row[0] for row in FREE])
def test_what_a_running_job_is_led_by_may_change(judge: Judge, field, old, new):
    name = field.lower().replace(".", "-")
    before, after = changed(BASE, old), changed(BASE, new)
    assert judge.refusals_of_change(before | STARTED, after, name) == []


def test_each_immutable_field_is_tried():
    assert {field_of_rule(where, rule) for where, rule in TRANSITIONS} == set(CHANGES)


def test_the_definition_is_accepted_as_it_is(plane: ControlPlane):
    where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + CRD["metadata"]["name"]
    made = plane.api.apply(where, CRD, dryRun="All", fieldValidation="Strict")
    assert made["spec"]["versions"][0]["schema"] == CRD["spec"]["versions"][0]["schema"]
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


def test_what_is_unknown_is_refused(judge: Judge):
    with pytest.raises(ApiError, match=r'unknown field "spec\.modle"'):
        judge.refusals(changed(BASE, {"modle": {}}))


def test_kubectl_explains_what_a_candidate_is(plane: ControlPlane):
    command = [str(component("kubectl")), "--kubeconfig", str(plane.kubeconfig), "explain"]
    done = subprocess.run([*command, "mpj.spec.candidates"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for words in ("autoCast", "Lower to FP16", "autoQuantize", "ptq", "onnx", "-required-"):
        assert words in done.stdout


def test_apply_twice_changes_nothing(plane: ControlPlane, namespace: str):
    where = path(MPJ, namespace, "yolo")
    first = plane.api.apply(where, BASE)
    assert plane.api.apply(where, BASE) == first
    assert first["metadata"]["generation"] == 1
