"""A container that runs a user's code: what it gets, and what is taken from it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpj_runner import runner as runner_module
from mpj_runner import sealed
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import Input, Request, Termination
from mpj_runner.contract.step import StepResult
from mpj_runner.contract.steps import (
    CalibrateOutcome,
    CalibrateParams,
    ExportOutcome,
    ExportParams,
)
from mpj_runner.runner import Runner
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.open import Places

EXPORT = {"step": "export", "params": {"format": "torch"}}
TREASURE = "what only this container may read"


def export(params: ExportParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    """Make files of a model, or of the only file in a folder."""
    model = inputs["model"]
    text = (model if model.is_file() else next(iter(model.iterdir()))).read_text()
    files = {"model": work / "model.onnx", "metadata": work / "metadata.json"}
    for name, path in files.items():
        path.write_text(f"{name} of {text}")
    return StepResult(files, ExportOutcome(class_count=1, opset=19))


def calibrate(params: CalibrateParams, inputs: Mapping[str, Path], work: Path) -> StepResult:
    (work / "statistics").write_text(inputs["model"].read_text().upper())
    return StepResult({"statistics": work / "statistics"}, CalibrateOutcome(images=1, tensors=2))


@dataclass
class World:
    """A store, a model, and one pod after the other."""

    root: Path
    pods: int = 0

    @property
    def store(self) -> FileStore:
        return FileStore(self.root / "store")

    @property
    def model(self) -> Path:
        return self.root / "model.pt"

    @property
    def work(self) -> Path:
        return self.root / f"pod-{self.pods}" / "work"

    @property
    def shared(self) -> Path:
        return self.root / f"pod-{self.pods}" / "sealed"

    def pod(self) -> None:
        """Begin another pod."""
        self.pods += 1
        self.work.mkdir(parents=True)

    def request(self, **fields: object) -> Request:
        return Request.model_validate({"store": self.store.root.as_uri(), "last": False, **fields})

    def run(self, request: Request, places: Places | None = None) -> Termination:
        return Runner(request, self.store, self.work, places, self.shared).execute()

    def fetch(self, uri: str | None = None, places: Places | None = None) -> Termination:
        source = Input(source=uri or self.model.as_uri(), field="spec.model.uri")
        asked = self.request(**EXPORT, name="fetch", fetches="export", inputs={"model": source})
        return self.run(asked, places)

    def perform(self) -> None:
        sealed.perform(Request.model_validate({**EXPORT, "name": "export"}), self.shared)

    def follow(self) -> Termination:
        inputs = {"model": Input(step="export", output="model")}
        asked = self.request(
            step="calibrate", name="next", params={}, inputs=inputs, adopts="export", last=True
        )
        return self.run(asked)

    def manifests(self, step: str) -> list[str]:
        return sorted(path.name for path in (self.store.root / "manifests" / step).glob("*"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    steps = {"export": export, "calibrate": calibrate}
    for module in (sealed, runner_module):
        monkeypatch.setattr(module, "step", steps.__getitem__)
    made = World(tmp_path)
    made.model.write_text("weights")
    made.pod()
    return made


def test_three_containers_do_what_one_with_a_store_does(world: World):
    world.fetch()
    world.perform()
    words = world.follow()
    assert [(s.name, s.cached) for s in words.steps] == [("export", False), ("next", False)]
    assert words.manifest is not None
    assert words.steps[0].blobs.keys() == {"metadata"}
    assert (world.work / "steps/next/statistics").read_text() == "MODEL OF WEIGHTS"

    keys = world.manifests("export")
    world.pod()
    source = {"model": Input(source=world.model.as_uri(), field="spec.model.uri")}
    alone = world.run(world.request(**EXPORT, name="export", inputs=source))
    assert [s.cached for s in alone.steps] == [True]
    assert world.manifests("export") == keys


def test_a_result_in_the_store_leaves_the_sealed_container_nothing_to_do(world: World):
    for _ in range(2):
        world.pod()
        world.fetch()
        world.perform()
        words = world.follow()
    assert [(s.name, s.cached) for s in words.steps] == [("export", True), ("next", True)]
    assert not (world.shared / "result.json").exists()
    assert not (world.shared / "inputs").exists()


def test_containers_run_again_after_a_reboot_of_the_node(world: World):
    world.fetch()
    world.perform()
    target = world.root / "precious"
    target.write_text(TREASURE)
    (world.shared / "task.json").unlink()
    (world.shared / "task.json").symlink_to(target)
    (world.shared / "away").symlink_to(world.root, target_is_directory=True)
    world.fetch()
    assert target.read_text() == TREASURE
    world.perform()
    assert [s.name for s in world.follow().steps] == ["export", "next"]
    assert [s.name for s in world.follow().steps] == ["export", "next"]


def forged(**changes: object) -> Callable[[World], object]:
    """Return an act that changes what the container says that it left."""

    def act(world: World) -> None:
        path = world.shared / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return act


def replaced(relative: str, make: Callable[[Path, World], object]) -> Callable[[World], object]:
    """Return an act that puts something else in a file's place."""

    def act(world: World) -> None:
        path = world.shared / relative
        if path.is_dir():
            path.rename(world.root / "elsewhere")
        else:
            path.unlink()
        make(path, world)

    return act


MODEL = "steps/export/model.onnx"
FILES = {"model": MODEL, "metadata": "steps/export/metadata.json"}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        pytest.param(replaced(MODEL, lambda p, w: p.symlink_to(w.root / "secret")),
                     "is not a plain file", id="a link to a secret"),
        pytest.param(replaced(MODEL, lambda p, w: p.symlink_to("/proc/self/environ")),
                     "is not a plain file", id="a link to the next container's environment"),
        pytest.param(replaced("steps/export", lambda p, w: p.symlink_to(w.root / "elsewhere")),
                     "is not a plain file", id="a link for a folder"),
        pytest.param(replaced(MODEL, lambda p, _: os.mkfifo(p)),
                     "is not a plain file", id="a pipe that would be waited for"),
        pytest.param(replaced(MODEL, lambda p, _: p.mkdir()), "is not a plain file", id="a folder"),
        pytest.param(replaced("result.json", lambda p, w: p.symlink_to(w.root / "secret")),
                     "is not a plain file", id="a link for its word"),
        pytest.param(replaced("result.json", lambda p, _: p.write_text("{" * 70_000)),
                     "is too long", id="many words"),
        pytest.param(replaced("result.json", lambda p, _: p.write_text("[" * 5_000)),
                     "", id="words without an end"),
        pytest.param(replaced("result.json", lambda p, _: None), "No such file", id="no word"),
        pytest.param(forged(files={**FILES, "model": "../../secret"}), "is no path below",
                     id="a path that leads out"),
        pytest.param(forged(files={**FILES, "model": "/etc/passwd"}), "is no path below",
                     id="an absolute path"),
        pytest.param(forged(files={**FILES, "model": "a\0b"}), "embedded null",
                     id="a path that no system takes"),
        pytest.param(forged(files={**FILES, "model": ""}), "is no path below", id="no path"),
        pytest.param(forged(files={"model": MODEL}), "the files are model", id="a file too few"),
        pytest.param(forged(files={**FILES, "engine": MODEL}), "the files are engine",
                     id="a file too many"),
        pytest.param(forged(outcome={"classCount": 1, "opset": 19, "more": "x" * 999}),
                     "ExportOutcome", id="an outcome that fits no message"),
        pytest.param(forged(seconds=-1), "", id="no time at all"),
        pytest.param(forged(key="0" * 64), "", id="a key of its own"),
    ],
)  # fmt: skip
def test_nothing_but_what_the_step_leaves_is_taken(world: World, act, words: str):
    (world.root / "secret").write_text(TREASURE)
    world.fetch()
    world.perform()
    act(world)
    with pytest.raises(UserError, match="do not trust this model") as told:
        world.follow()
    assert words in str(told.value)
    stored = [path for path in world.store.root.rglob("*") if path.is_file()]
    assert not any(TREASURE in path.read_text(errors="replace") for path in stored)
    assert world.manifests("export") == []


def test_a_sealed_request_has_no_inputs(world: World):
    with pytest.raises(ValueError, match="a container without a store is sealed"):
        Request.model_validate({**EXPORT, "name": "export", "inputs": {"model": {"source": "x"}}})


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({**EXPORT, "name": "export"}, "give the request a store to run the step alone"),
        ({"step": "calibrate", "name": "x", "params": {}}, "does not run without a store"),
    ],
)
def test_a_sealed_request_alone_says_what_it_needs(world: World, request_, words):
    if request_["step"] == "calibrate":
        sealed.hand_over(sealed.cleared(world.shared), {})
    with pytest.raises(UserError, match=words):
        sealed.perform(Request.model_validate(request_), world.shared)


@pytest.mark.parametrize("folder", [False, True])
def test_a_model_on_a_claim_is_brought_without_what_lies_beside_it(world: World, folder: bool):
    claim = world.root / "claim"
    (claim / "a/b").mkdir(parents=True)
    (claim / "a/b/model.pt").write_text("weights")
    (claim / "a/beside").write_text(TREASURE)
    uri = "pvc://models/a/b" if folder else "pvc://models/a/b/model.pt"
    world.fetch(uri, Places(claims={"models": claim}))
    found = [p.read_text() for p in (world.shared / "inputs").rglob("*") if p.is_file()]
    assert found == ["weights"]
    world.perform()
    assert world.follow().steps[0].name == "export"


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        pytest.param("detector.py", True, id="the factory's module"),
        pytest.param("blocks.py", True, id="another module of the folder"),
        pytest.param("parts/sub/neck.py", True, id="a module of a package"),
        pytest.param("notes.txt", False, id="no code"),
        pytest.param("other/tool.py", False, id="a folder that is no package"),
    ],
)
def test_the_code_beside_a_models_file_is_in_the_key(world: World, changed: str, again: bool):
    for name in ("detector.py", "blocks.py", "parts/__init__.py", "parts/sub/neck.py"):
        (world.root / name).parent.mkdir(parents=True, exist_ok=True)
        (world.root / name).write_text("1")
    params = {"format": "torch", "factory": "detector:build"}
    inputs = {"model": Input(source=world.model.as_uri(), field="spec.model.uri")}
    asked = world.request(step="export", name="export", params=params, inputs=inputs)
    assert [world.run(asked).steps[0].cached for _ in range(2)] == [False, True]
    (world.root / changed).parent.mkdir(parents=True, exist_ok=True)
    (world.root / changed).write_text("2")
    world.pod()
    assert world.run(asked).steps[0].cached is not again
