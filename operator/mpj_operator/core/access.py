"""How a job's containers reach their buckets: the spec's words in the contract's."""

from mpj_operator.api.job import JobSpec
from mpj_operator.api.source import S3Access, SecretReference, Source, Storage
from mpj_runner.contract.access import Access, Checksums, Encryption
from mpj_runner.contract.messages import Input


def store_access(spec: JobSpec) -> Access | None:
    """Return how the storage's bucket is reached; None where it is no bucket."""
    storage = spec.storage
    if storage is None or not _in_bucket(storage):
        return None
    return _access("spec.storage", storage)


def source_access(spec: JobSpec, source: Source, field: str) -> Access | None:
    """Return how a source's bucket is reached; None where it is in none.

    A source without credentials and endpoint of its own is reached like the storage, if that is in
    a bucket; its own region still counts.

    Args:
        spec: of the job.
        source: the model, a data set, or a candidate's graph.
        field: where it stands, such as spec.model.
    """
    if not _in_bucket(source):
        return None
    shared = store_access(spec)
    if shared is None or spec.access(source) is source:
        return _access(field, source)
    return shared.model_copy(update={"region": source.region or shared.region})


def source_input(spec: JobSpec, source: Source, field: str) -> Input:
    """Return a source as an input, for what stands at this field of the spec."""
    access = source_access(spec, source, field)
    return Input(source=source.uri, field=f"{field}.uri", access=access)


def _access(field: str, given: S3Access) -> Access:
    checksums: Checksums = "WhenRequired"
    encryption: Encryption | None = None
    if isinstance(given, Storage):
        checksums = given.checksums
        if (wanted := given.server_side_encryption) is not None:
            encryption = Encryption(algorithm=wanted.algorithm, kms_key_id=wanted.kms_key_id)
    return Access(
        field=field,
        endpoint_url=given.endpoint_url,
        region=given.region,
        addressing_style=given.addressing_style,
        checksums=checksums,
        encryption=encryption,
        credentials_secret=_name(given.credentials_secret_ref),
        ca_secret=_name(given.ca_secret_ref),
    )


def _name(secret: SecretReference | None) -> str | None:
    return None if secret is None else secret.name


def _in_bucket(source: Source) -> bool:
    return source.uri.startswith("s3://")
