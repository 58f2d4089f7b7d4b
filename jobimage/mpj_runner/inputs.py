"""What an input of a step is before its bytes are here."""

from dataclasses import dataclass

from mpj_runner.contract.base import Value
from mpj_runner.contract.messages import Blob, StepManifest
from mpj_runner.contract.steps import ExportParams
from mpj_runner.stores.sources import LocalSource, Source


@dataclass(frozen=True)
class Resolved:
    """An input whose bytes are known but not yet here."""

    sha256: str
    blob: Blob | None = None
    source: Source | None = None
    """Set for what is no output of a step: a user's file or folder, a unit's manifest."""


def output_of(manifest: StepManifest, output: str) -> Resolved:
    """Return an output of a step as an input of another."""
    blob = manifest.outputs[output]
    return Resolved(blob.sha256, blob=blob)


def key_digest(source: Source, params: Value) -> str:
    """Return a source's digest; of a model that a factory builds, with the code beside it."""
    factory = params.factory if isinstance(params, ExportParams) else None
    if factory is None or not isinstance(source, LocalSource):
        return source.sha256
    return source.with_code(factory.partition(":")[0])
