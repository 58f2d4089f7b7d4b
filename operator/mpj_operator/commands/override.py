"""``--store``: a job with another place for its artifacts, and everything else as it was."""

from typing import Any, TypeVar

from mpj_operator.api.job import JobSpec, MixedPrecisionJob
from mpj_operator.api.source import Source, Storage

S = TypeVar("S", bound=Source)


def with_store(job: MixedPrecisionJob, store: str) -> MixedPrecisionJob:
    """Return the job with another URI for its storage.

    A bucket in the place of a bucket is reached in the same way. Anything else comes with the
    settings of this computer, and what the sources had of the storage becomes their own.

    Args:
        job: its paths are resolved.
        store: absolute URI.
    """
    spec = job.spec
    storage = spec.storage
    if storage is None:
        return job
    if _is_bucket(storage.uri) and _is_bucket(store):
        update: dict[str, Any] = {"storage": storage.model_copy(update={"uri": store})}
    else:
        candidates = spec.candidates and tuple(
            candidate
            if candidate.onnx is None
            else candidate.model_copy(update={"onnx": _on_its_own(spec, candidate.onnx)})
            for candidate in spec.candidates
        )
        update = {
            "storage": None,
            "model": _on_its_own(spec, spec.model),
            "calibration": _on_its_own(spec, spec.calibration),
            "validation": _on_its_own(spec, spec.validation),
            "candidates": candidates,
        }
    return job.model_copy(update={"spec": spec.model_copy(update=update)})


def _on_its_own(spec: JobSpec, source: S) -> S:
    """Return a source that is reached without a storage as it was with it."""
    shared = spec.access(source)
    if not isinstance(shared, Storage) or not (_is_bucket(source.uri) and _is_bucket(shared.uri)):
        return source
    return source.model_copy(
        update={
            "credentials_secret_ref": shared.credentials_secret_ref,
            "endpoint_url": shared.endpoint_url,
            "region": source.region or shared.region,
            "addressing_style": shared.addressing_style,
            "ca_secret_ref": shared.ca_secret_ref,
        }
    )


def _is_bucket(uri: str) -> bool:
    return uri.startswith("s3://")
