"""``kubectl wait`` on jobs in every state that the real plan writes, with no operator about."""

import pytest
from kubectl import Kubectl
from operating import MPJ, manifest
from recorded import Recorded, recorded
from rest import path, polled

STATES = {state.name: state for state in recorded()}
HELD = {"Complete": "Current", "Ready": "Current", "Failed": "Failed", "Suspended": "Suspended"}
"""The verdict that goes with a condition."""
LIVE = ("suspend", "objective", "ttlSecondsAfterFinished")
"""What the recorded jobs have changed in their specs."""


def put(plane, namespace: str, state: Recorded, *, status: bool = True) -> None:
    """Make a job as it was recorded, on the server's own count of its generations."""
    metadata, spec = state.manifest["metadata"], state.manifest["spec"]
    last = {
        key: spec.get(key, default) for key, default in zip(LIVE, (False, {}, None), strict=True)
    }
    body = manifest(state.name, namespace, parallelism=metadata["generation"])
    made = plane.api.create(path(MPJ, namespace), body)
    for left in reversed(range(1, metadata["generation"])):
        more = {} if left > 1 else last
        made = plane.api.patch(path(MPJ, namespace, state.name),
                               {"spec": {"parallelism": left, **more}})  # fmt: skip
    assert made["metadata"]["generation"] == metadata["generation"]
    if status and "status" in state.manifest:
        write(plane, namespace, state)


def write(plane, namespace: str, state: Recorded) -> None:
    where = path(MPJ, namespace, state.name, "status")
    written = plane.api.patch(where, {"status": state.manifest["status"]})
    assert written["status"] == state.manifest["status"]


@pytest.mark.parametrize("name", STATES)
def test_it_ends_well_for_what_has_come_to_be_and_only_then(plane, namespace, name):
    state = STATES[name]
    put(plane, namespace, state)
    kubectl = Kubectl(plane, namespace)
    waits = {
        condition: kubectl.start(
            "wait", f"--for=condition={condition}", "--timeout=0", f"mpj/{name}"
        )
        for condition in HELD
    }
    for kind, wait in waits.items():
        said, _ = wait.communicate(timeout=30)
        held = state.verdict == HELD[kind]
        assert wait.returncode == (0 if held else 1), (kind, said)
        assert ("condition met" if held else "condition not met") in said, kind


@pytest.mark.parametrize(("name", "condition"), [("complete", "Complete"), ("failed", "Failed")])
def test_who_waits_for_a_brand_new_job_hears_of_its_end(plane, namespace, name, condition):
    state = STATES[name]
    put(plane, namespace, state, status=False)
    since, kubectl = plane.audited(), Kubectl(plane, namespace)
    words = ("wait", f"--for=condition={condition}", "--timeout=60s", f"mpj/{name}")
    with kubectl.start(*words) as wait:
        for _ in polled(30):
            if any(e["userAgent"].startswith("kubectl") and e["verb"] == "get"
                   for e in plane.audit(since)):  # fmt: skip
                break
        assert wait.poll() is None
        write(plane, namespace, state)
        assert wait.wait(30) == 0
