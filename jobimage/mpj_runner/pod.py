"""What the containers of one pod share: the emptyDir, and what earlier ones left there."""

from dataclasses import dataclass, field
from pathlib import Path

from mpj_runner.contract.base import Value
from mpj_runner.contract.messages import StepDone, StepManifest


class _State(Value):
    steps: tuple[StepManifest, ...] = ()
    done: tuple[StepDone, ...] = ()
    expected: StepManifest | None = None


@dataclass
class Pod:
    """The record of the pod's finished containers, kept as a file in the shared folder."""

    work: Path
    _state: _State = field(default_factory=_State)

    @classmethod
    def open(cls, work: Path) -> "Pod":
        """Read the record from the shared folder; a first container starts it."""
        path = work / "steps.json"
        state = _State.model_validate_json(path.read_bytes()) if path.exists() else _State()
        return cls(work, state)

    @property
    def manifests(self) -> tuple[StepManifest, ...]:
        """The finished steps' manifests, in order."""
        return self._state.steps

    @property
    def done(self) -> tuple[StepDone, ...]:
        """The finished steps in short, in order."""
        return self._state.done

    @property
    def expected(self) -> StepManifest | None:
        """The manifest of a sealed container's result that is not in the store yet: no outputs."""
        return self._state.expected

    def expect(self, draft: StepManifest | None) -> None:
        """Record what a sealed container is to make; None: nothing, or no longer."""
        self._write(self._state.model_copy(update={"expected": draft}))

    def manifest(self, name: str) -> StepManifest:
        """Return an earlier container's manifest. Raises KeyError when it left none."""
        return {step.name: step for step in self.manifests}[name]

    def add(self, manifest: StepManifest, done: StepDone) -> None:
        """Record one more finished container; a rerun of the same container replaces its record."""
        keep = [i for i, step in enumerate(self.manifests) if step.name != manifest.name]
        self._write(
            _State(
                steps=(*(self.manifests[i] for i in keep), manifest),
                done=(*(self.done[i] for i in keep), done),
                expected=self.expected,
            )
        )

    def folder(self, *names: str) -> Path:
        """Return a folder below the shared one, made when missing."""
        path = self.work.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def kept(self, sha256: str) -> Path:
        """Return where an input with this digest lies when a container of this pod has it."""
        return self.folder("inputs") / sha256

    def _write(self, state: _State) -> None:
        self._state = state
        temporary = self.work / "steps.json.part"
        temporary.write_text(state.model_dump_json(exclude_none=True))
        temporary.replace(self.work / "steps.json")
