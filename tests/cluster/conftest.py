"""A control plane for all tests in this folder, and namespaces of their own."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from controlplane import ControlPlane, Options, control_plane
from operating import MPJ, manifest, rights
from rest import Json, path

_LONG = {"test_real_job.py", "test_operators.py"}
"""Files whose tests take minutes, in which they mostly wait."""
CRD = Path(__file__).parents[2] / "crds" / "mixedprecision.dev_mixedprecisionjobs.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("cluster")
    # The operator of jobs/ watches all namespaces of its control plane: nothing else may run beside
    # it. Two control planes share the files in this order, and the longest ones begin.
    items.sort(
        key=lambda item: (item.path.is_relative_to(here / "jobs"), item.path.name not in _LONG)
    )


@pytest.fixture(scope="session")
def crd() -> Json:
    """Return the CustomResourceDefinition that is generated from the types."""
    return dict(yaml.safe_load(CRD.read_text()))


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory, crd: Json) -> Iterator[ControlPlane]:
    """Run a control plane that knows the resource; it has no node."""
    folder = tmp_path_factory.mktemp("plane")
    with control_plane(folder, Options.impatient(), given=[crd]) as running:
        await_garbage_collector(running)
        yield running


@pytest.fixture(scope="session")
def account_name(plane: ControlPlane) -> tuple[str, str]:
    """Return namespace and name of a ServiceAccount with an operator's rights, and no others."""
    plane.namespace("operators")
    plane.install(*rights("operators", "operator"))
    return "operators", "operator"


@pytest.fixture(scope="session")
def account(plane: ControlPlane, account_name: tuple[str, str]) -> Path:
    """Return a kubeconfig with that account's token."""
    return plane.kubeconfig_of_account(*account_name)


def await_garbage_collector(plane: ControlPlane) -> None:
    """Return when the garbage collector follows the kind that was there before it started."""
    owner = plane.api.create(path(MPJ, "default"), manifest("known", "default"))
    reference = {"apiVersion": MPJ[0], "kind": "MixedPrecisionJob", "name": "known",
                 "uid": owner["metadata"]["uid"]}  # fmt: skip
    child = path(("v1", "configmaps"), "default")
    metadata = {"name": "known", "ownerReferences": [reference]}
    plane.api.create(child, {"metadata": metadata})
    plane.api.delete(path(MPJ, "default", "known"))
    plane.api.until(f"{child}/known", lambda found: found is None, 90)


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the name of a namespace of the test's own; it enforces the restricted profile."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    name = plane.restricted_namespace(f"{words}-{_number()}")
    yield name
    plane.api.delete(f"/api/v1/namespaces/{name}")


def _counter() -> Callable[[], int]:
    numbers = iter(range(1_000_000))
    return lambda: next(numbers)


_number = _counter()
