"""One node and one operator for all tests of this folder, and a namespace for each.

Pods of a unit are at most one more than its counted failures and the disruptions that were made,
and nothing is computed twice: both are asserted for every world as it is torn down.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import Answers
from controlplane import ControlPlane
from judged import Judged
from nodeagent import Node, node
from operating import OperatorProcess, operator


@pytest.fixture(scope="session")
def answers() -> Answers:
    return Answers(seconds=0.05)


@pytest.fixture(scope="session")
def gpu(plane: ControlPlane, answers: Answers) -> Iterator[Node]:
    with node(plane, "jobs-0", answers=answers) as running:
        yield running


@pytest.fixture(scope="session")
def shared(plane: ControlPlane, account: Path) -> Iterator[OperatorProcess]:
    """Hold the operator of all tests that leave it alone; ``operating`` starts it."""
    with operator(plane, account, start=False) as process:
        yield process


@pytest.fixture
def operating(shared: OperatorProcess) -> Iterator[OperatorProcess]:
    """Run that operator; it has to outlive the test."""
    shared.start()
    shared.await_ready()
    yield shared
    assert shared.process.alive, shared.process.last_words()


@pytest.fixture
def alone(shared: OperatorProcess) -> None:
    """Stop that operator for a test with its own: two without an election may not overlap."""
    shared.kill()


@pytest.fixture
def world(plane: ControlPlane, namespace: str, gpu: Node, answers: Answers) -> Iterator[Judged]:
    computed = len(answers.computed)
    made = Judged(plane, namespace, gpu)
    yield made
    gpu.faults.planned.clear()
    gpu.faults.missing_images.clear()
    made.assert_no_pod_too_many()
    new = answers.computed[computed:]
    assert len(new) == len(set(new))
    assert not answers.twice
