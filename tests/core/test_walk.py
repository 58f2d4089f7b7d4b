"""Walk every history of a small job, with every fault, and hold the rules at each state.

A state is the job's status and its children. From each state every event that can happen is
tried: the plan is carried out (or dies between acting and writing the status), a child completes,
completes unreadably, fails or is deleted by hand, the job is suspended or resumed. Faults are
limited to a budget, since each multiplies the histories.
"""

import copy
from collections import deque
from dataclasses import dataclass, replace

from simulated import Simulation, job

from mpj_operator.core import conditions as c
from mpj_operator.core.records import MAX_LOST, is_active
from mpj_runner.contract.messages import canonical, digest

FAULTS = 2


@dataclass(frozen=True)
class Node:
    simulation: Simulation
    faults: int
    path: tuple[str, ...]

    def key(self) -> str:
        children = sorted(
            (
                ch.name,
                ch.outcome or "",
                ch.deleting,
                bool(ch.pods) and ch.pods[-1].containers[-1].message,
            )
            for ch in self.simulation.children.values()
        )
        body = self.simulation.job.to_json()
        return digest(
            canonical(
                [
                    body.get("status", {}),
                    body["spec"].get("suspend"),
                    children,
                    self.faults,
                ]
            )
        )


def clone(simulation: Simulation) -> Simulation:
    return replace(
        simulation,
        children=dict(simulation.children),
        values=dict(simulation.values),
        history=list(simulation.history),
    )


def suspend(simulation: Simulation, value: bool) -> None:
    spec = simulation.job.spec.model_copy(update={"suspend": value})
    simulation.job = simulation.job.model_copy(update={"spec": spec})


def events(node: Node):
    """Yield (name, costs a fault, what to do)."""
    yield "plan", False, lambda s: s.step()
    yield "crash", True, lambda s: s.step(crash=True)
    for child in node.simulation.live():
        yield f"done {child.unit}", False, lambda s, ch=child: s.succeed(ch)
        yield f"lost {child.unit}", True, lambda s, ch=child: s.succeed(ch, readable=False)
        yield f"fail {child.unit}", True, lambda s, ch=child: s.fail(ch)
        yield f"deleted {child.unit}", True, lambda s, ch=child: s.children.pop(ch.name)
    if node.simulation.job.spec.suspend:
        yield "resume", False, lambda s: suspend(s, False)
    else:
        yield "suspend", True, lambda s: suspend(s, True)


def check(node: Node) -> None:
    simulation = node.simulation
    live = [child.unit for child in simulation.live()]
    assert len(live) == len(set(live)), f"two live Jobs of one unit: {node.path}"
    status = simulation.job.status
    for record in status.unit_statuses:
        assert record.attempt <= 1 + FAULTS + MAX_LOST, node.path
        assert (record.state == "Succeeded") == (record.manifest is not None), node.path
    ends = [k for k in ("Complete", "Failed") if c.holds(status.conditions, k)]
    assert len(ends) <= 1, node.path
    if ends:
        assert status.completion_time is not None
        assert not any(is_active(record) for record in status.unit_statuses), node.path
    if ends == ["Complete"]:
        assert status.best is not None, node.path


def is_stuck(node: Node, moved: bool) -> bool:
    """Tell whether nothing will ever happen again, although the job has no end."""
    status = node.simulation.job.status
    ended = any(c.holds(status.conditions, k) for k in ("Complete", "Failed"))
    suspended = node.simulation.job.spec.suspend
    return not (ended or suspended or moved or node.simulation.live())


def test_every_history_keeps_the_rules_and_comes_to_an_end():
    start = Node(Simulation(job()), FAULTS, ())
    seen, queue, ends = {start.key()}, deque([start]), set()
    while queue:
        node = queue.popleft()
        check(node)
        status = node.simulation.job.status
        ends |= {
            (k, c.find(status.conditions, k).reason)
            for k in ("Complete", "Failed")
            if c.holds(status.conditions, k)
        }
        for name, costs, act in events(node):
            if costs and not node.faults:
                continue
            simulation = clone(node.simulation)
            act(simulation)
            after = Node(simulation, node.faults - costs, (*node.path, name))
            if name == "plan":
                assert not is_stuck(after, after.key() != node.key()), f"stuck: {after.path}"
            if (key := after.key()) not in seen:
                seen.add(key)
                queue.append(after)
    assert len(seen) > 1000
    assert ends == {
        ("Complete", "WinnerFound"),
        ("Failed", "PrepareFailed"),
        ("Failed", "ReferenceFailed"),
        ("Failed", "BaselineFailed"),
        ("Failed", "AllCandidatesFailed"),
        ("Failed", "FinalFailed"),
        ("Failed", "ReportFailed"),
    }


def test_the_plan_says_the_same_twice():
    simulation = Simulation(job(search={"format": "int8"}))
    for _ in range(30):
        once, twice = copy.deepcopy(simulation), copy.deepcopy(simulation)
        assert once.step() == twice.step()
        simulation.step()
        for child in simulation.live():
            simulation.succeed(child)
