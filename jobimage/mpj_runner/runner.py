"""Run one container's step: key, cache, fetch, run, put, manifest.

The cache key is the sha256 of the canonical JSON of everything a result depends on: step,
parameters, digests of the inputs, the runner's version, versions of the packages that the step
declares, for backends the hardware, and for measurements the job's uid.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mpj_runner import __version__, sealed
from mpj_runner.backends.hardware import hardware_of
from mpj_runner.blobs import Blobs
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import (
    SHOWN,
    Blob,
    Input,
    Request,
    StepDone,
    StepManifest,
    Termination,
    UnitManifest,
    canonical,
    digest,
)
from mpj_runner.contract.step import StepResult
from mpj_runner.inputs import Resolved, key_digest, output_of
from mpj_runner.pod import Pod
from mpj_runner.steps.table import STEPS, Entry, step
from mpj_runner.stores.base import Store, holds, manifest_key
from mpj_runner.stores.folders import copied
from mpj_runner.stores.open import Places
from mpj_runner.stores.sources import LocalSource


class Runner:
    """One container: a request, the store, and the folder that the pod shares."""

    def __init__(
        self,
        request: Request,
        store: Store,
        work: Path,
        places: Places | None = None,
        shared: Path | None = None,
    ) -> None:
        """Read what earlier containers of the pod left in ``work``.

        Args:
            request: what to do; it has a store.
            store: that store.
            work: what the pod's containers share, but for a sealed one.
            places: opens sources.
            shared: what a sealed container shares with those around it.
        """
        self.request = request
        self.store = store
        self.places = places or Places()
        self.shared = shared or work / "sealed"
        self.pod = Pod.open(work)
        self.blobs = Blobs(store, self.pod)
        self.entry: Entry = STEPS[request.step]
        try:
            self.params = self.entry.params.model_validate(request.params)
        except ValidationError as error:
            raise UserError(f"{request.step}: {error}") from error

    def probe(self) -> bool:
        """Tell whether the step needs no run; a cache hit is recorded as finished.

        A measurement is always made anew: it is passed over, so that what follows can be looked at.
        """
        inputs = self._inputs()
        hit = self._cached(self._key(inputs))
        if hit is not None:
            self._finish(hit, inputs, cached=True)
            if self.request.fetches is not None:
                sealed.hand_over(sealed.cleared(self.shared), None)
        return hit is not None or (self.request.scope is not None and bool(self.pod.manifests))

    def execute(self, now: Callable[[], float] = time.monotonic) -> Termination:
        """Run the step unless the store has its result; return the container's last words.

        Raises:
            UserError: retrying cannot help.
            TransientError: it may.
        """
        if self.request.adopts is not None:
            self._adopt(self.request.adopts)
        inputs = self._inputs()
        key = self._key(inputs)
        hit = self._cached(key)
        if self.request.fetches is not None:
            self._hand_over(hit, key, inputs)
        else:
            self._finish(hit or self._run(key, inputs, now), inputs, cached=hit is not None)
        return self.last_words()

    def last_words(self) -> Termination:
        """Return the message of a container whose step is finished."""
        return Termination(steps=self.pod.done, manifest=self._close())

    def _run(
        self, key: str, inputs: Mapping[str, Resolved], now: Callable[[], float]
    ) -> StepManifest:
        paths = {name: self._fetch(name, found) for name, found in inputs.items()}
        work = self.pod.folder("steps", self.request.name)
        shutil.rmtree(work)
        work.mkdir()
        started = now()
        result: StepResult = step(self.request.step)(self.params, paths, work)
        seconds = round(now() - started, 3)
        return self._keep(self._draft(key, inputs), result.files, result.outcome.to_json(), seconds)

    def _hand_over(
        self, hit: StepManifest | None, key: str, inputs: Mapping[str, Resolved]
    ) -> None:
        """Give a sealed container what it needs, and remember what it is to make."""
        shared = sealed.cleared(self.shared)
        if hit is not None:
            self.pod.expect(None)
            self._finish(hit, inputs, cached=True)
            sealed.hand_over(shared, None)
            return
        folder = shared / "inputs"
        paths = {name: self._brought(name, found, folder / name) for name, found in inputs.items()}
        self.pod.expect(self._draft(key, inputs))
        sealed.hand_over(shared, paths)

    def _brought(self, name: str, found: Resolved, folder: Path) -> Path:
        """Return an input where a container without claims and buckets can read it.

        It is what the source's URI names and nothing beside it; files of this computer (mpj run)
        are read where they lie.
        """
        source = found.source
        if self.request.inputs[name].source is None or source is None:
            raise UserError(f"input {name} of {self.request.fetches} must be a source")
        folder.mkdir(parents=True)
        path = source.here(folder)
        if not isinstance(source, LocalSource) or source.fence is None:
            return path
        return copied(path, folder / path.name, source.fence)

    def _adopt(self, name: str) -> None:
        """Put what a sealed container left into the store, under the key it was asked for."""
        draft = self.pod.expected
        if draft is None:
            return
        left = sealed.left_by(name, draft.step, self.shared)
        manifest = self._keep(draft, left.paths(self.shared), left.outcome, left.seconds)
        self._record(manifest.model_copy(update={"name": name}), cached=False)
        self.pod.expect(None)

    def _draft(self, key: str, inputs: Mapping[str, Resolved]) -> StepManifest:
        """Return the manifest of a result that is yet to be made."""
        return StepManifest(
            name=self.request.fetches or self.request.name,
            step=self.request.step,
            key=key,
            params=self.params.to_json(),
            inputs={name: found.sha256 for name, found in inputs.items()},
            outputs={},
            outcome={},
            runner_version=__version__,
            packages=self._packages(),
            hardware=self._hardware(),
        )

    def _keep(
        self,
        draft: StepManifest,
        files: Mapping[str, Path],
        outcome: Mapping[str, Any],
        seconds: float,
    ) -> StepManifest:
        """Put a result into the store; return its manifest, or that of who was faster."""
        outputs = {name: self.blobs.put(path) for name, path in files.items()}
        manifest = draft.model_copy(
            update={"outputs": outputs, "outcome": dict(outcome), "seconds": seconds}
        )
        data = manifest.model_dump_json(exclude_none=True).encode()
        where = manifest_key(manifest.step, manifest.key)
        winner = self.store.put_new(where, data)
        if winner != data and (adopted := self._usable(winner)) is not None:
            return adopted
        if winner != data:  # an old manifest whose blobs are gone: this one is whole
            self.store.put(where, self.blobs.file(data))
        return manifest

    def _finish(
        self, manifest: StepManifest, inputs: Mapping[str, Resolved], *, cached: bool
    ) -> None:
        name = self.request.fetches or self.request.name
        self._record(manifest.model_copy(update={"name": name}), cached=cached)
        for name, key in self.request.publish.items():
            blob = manifest.outputs.get(name) or inputs[name].blob
            if blob is not None:
                self.store.put(key, self.blobs.local(blob), blob.sha256)

    def _record(self, manifest: StepManifest, *, cached: bool) -> None:
        blobs = {name: blob for name, blob in manifest.outputs.items() if name in SHOWN}
        done = StepDone(name=manifest.name, cached=cached, outcome=manifest.outcome, blobs=blobs)
        self.pod.add(manifest, done)

    def _inputs(self) -> dict[str, Resolved]:
        return {name: self._resolve(name, ref) for name, ref in self.request.inputs.items()}

    def _close(self) -> Blob | None:
        """Write the unit's manifest, in the pod's last container."""
        if not self.request.last:
            return None
        cached = tuple(done.name for done in self.pod.done if done.cached)
        unit = UnitManifest(steps=self.pod.manifests, cached=cached)
        path = self.blobs.file(unit.model_dump_json(exclude_none=True).encode())
        return self.blobs.put(path)  # its age tells what is in use

    def _key(self, inputs: Mapping[str, Resolved]) -> str:
        parts = {
            "step": self.request.step,
            "params": self.params.to_json(),
            "inputs": {name: found.sha256 for name, found in inputs.items()},
            "runner": __version__,
            "packages": self._packages(),
            "hardware": self._hardware(),
            "scope": self.request.scope,
        }
        return digest(canonical(parts))

    def _packages(self) -> dict[str, str]:
        return {name: _version(name) for name in self.entry.packages_of(self.params)}

    def _hardware(self) -> str | None:
        params: Any = self.params
        return hardware_of(params.backend) if self.entry.on_backend else None

    def _cached(self, key: str) -> StepManifest | None:
        where = manifest_key(self.request.step, key)
        data = self.store.read(where)
        if data is None or self._usable(data) is None:
            return None
        # Young from now on, a collection leaves it and its blobs alone until the unit names it.
        self.store.put(where, self.blobs.file(data))
        return self._usable(data)

    def _usable(self, data: bytes) -> StepManifest | None:
        """Return the manifest when it is whole and all of its blobs are there."""
        try:
            manifest = StepManifest.model_validate_json(data)
        except ValidationError:
            return None
        return manifest if all(holds(self.store, b) for b in manifest.outputs.values()) else None

    def _resolve(self, name: str, ref: Input) -> Resolved:
        if ref.source is not None:
            source = self.places.source(ref.source, ref.field or name, ref.access)
            return Resolved(key_digest(source, self.params), source=source)
        if ref.step is not None:
            return output_of(self.pod.manifest(ref.step), ref.output or name)
        path = self.blobs.local(Blob(sha256=ref.unit or "", size_bytes=0))
        if ref.container is None:
            return Resolved(ref.unit or "", source=LocalSource(path))
        unit = UnitManifest.model_validate_json(path.read_bytes())
        return output_of(unit.step(ref.container), ref.output or name)

    def _fetch(self, name: str, found: Resolved) -> Path:
        if found.source is not None:
            return found.source.here(self.pod.folder("sources"))
        if found.blob is None:
            raise UserError(f"input {name} has no bytes")
        return self.blobs.here(found.blob)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"
