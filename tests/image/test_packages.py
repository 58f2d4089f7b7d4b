"""Each image has the packages that its code imports: those of its extras, and what they need.

The development environment holds all extras at once, so that one of them may lean on another's
packages without anybody noticing. Here everything else is hidden.
"""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from unittest import mock

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN: Final = {"mpj_operator", "mpj_runner"}
SCRIPT: Final = """
import importlib, json, pkgutil, sys
from importlib.machinery import PathFinder
hidden, modules = json.loads(sys.argv[1])
class Visible(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Visible
for name in modules:
    found = importlib.import_module(name)
    ours = name.startswith("mpj_")
    for module in pkgutil.iter_modules(getattr(found, "__path__", ()) if ours else ()):
        importlib.import_module(f"{name}.{module.name}")
"""


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the distributions that requirements come to on this machine, by canonical name."""
    todo = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), wanted)
            if key in seen:
                continue
            seen.add(key)
            needs = importlib.metadata.requires(requirement.name) or ()
            todo += [(Requirement(text), wanted) for text in needs]
    return {name for name, _ in seen}


def hidden(extras: Iterable[str]) -> list[str]:
    """Return the modules of this environment that an image with these extras has not."""
    asked = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    there = closure([*PROJECT["dependencies"], *asked])
    # setuptools, once imported by another test, puts what it vendors on the path.
    own = [folder for folder in sys.path if not folder.endswith("_vendor")]
    with mock.patch.object(sys, "path", own):
        found = importlib.metadata.packages_distributions()
    return sorted(
        module
        for module, brought in found.items()
        if module not in OWN and not there & {canonicalize_name(name) for name in brought}
    )


@pytest.mark.parametrize(
    ("extras", "modules"),
    [
        pytest.param(("operator",), ["mpj_operator.serve", "mpj_operator.handlers"], id="operator"),
        pytest.param(
            ("runner", "openvino"),
            [
                "mpj_runner.runner", "mpj_runner.steps", "mpj_runner.backends",
                "mpj_runner.stores", "modelopt.onnx.quantization", "modelopt.torch.quantization",
            ],
            id="job",
        ),
    ],
)  # fmt: skip
def test_the_packages_of_an_image_are_all_that_its_code_imports(
    extras: tuple[str, ...], modules: list[str], tmp_path: Path
):
    kept = hidden(extras)
    assert {"pytest", "ruff"} & set(kept), "nothing is hidden: this test tests nothing"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([kept, modules])],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
