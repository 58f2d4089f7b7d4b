"""Where things are read from and written to."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mpj_operator.api.rules import Rule, Ruled, when
from mpj_operator.api.scalars import ObjectName, SourceUri, StoreUri
from mpj_runner.contract.base import ShortText, Value
from mpj_runner.contract.messages import claim_of

EndpointUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[^/?#@]+(/.*)?$", max_length=1024)
]


class SecretReference(Value):
    """A Secret in the job's namespace."""

    name: ObjectName
    """Its name."""


class S3Access(Ruled):
    """How a bucket is reached; a pod's own cloud identity is used where no Secret is named."""

    credentials_secret_ref: SecretReference | None = None
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if need be, AWS_SESSION_TOKEN."""
    endpoint_url: EndpointUrl | None = Field(default=None, alias="endpointURL")
    """Server to talk to; default: that of AWS."""
    region: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Region of the bucket."""
    addressing_style: Literal["Auto", "Path", "VirtualHosted"] = "Auto"
    """Where the bucket's name goes: into the path or before the host's name."""
    ca_secret_ref: SecretReference | None = None
    """Secret whose ca.crt signs the server's certificate."""


class Source(S3Access):
    """Something that is read."""

    uri: SourceUri
    """s3://bucket/key or pvc://claim/path; `mpj run` also takes paths and file://, relative to the
    file that names them."""

    @property
    def claim(self) -> str | None:
        """Return the PersistentVolumeClaim that it lies on, if any."""
        return claim_of(self.uri)


class ServerSideEncryption(Ruled):
    """How the server encrypts what is written."""

    algorithm: Literal["AES256", "aws:kms"] = "AES256"
    """The algorithm, in S3's words."""
    kms_key_id: ShortText | None = Field(default=None, alias="kmsKeyID")
    """Key of aws:kms; default: the bucket's."""

    rules = (
        Rule(
            message="needs algorithm aws:kms",
            field="kmsKeyID",
            cel="!has(self.kmsKeyID) || self.algorithm == 'aws:kms'",
            broken=lambda v: when(
                v.kms_key_id is not None and v.algorithm != "aws:kms", "kmsKeyID"
            ),
        ),
    )


class Storage(Source):
    """Where blobs, manifests, engines and reports are kept."""

    uri: StoreUri
    """s3://bucket/key or pvc://claim/path; `mpj run` also takes paths and file://, relative to the
    file that names them. A job's namespace is put behind it."""
    server_side_encryption: ServerSideEncryption | None = None
    """Encryption of what is written; default: the bucket's."""
    checksums: Literal["WhenRequired", "WhenSupported"] = "WhenRequired"
    """When to send S3's own checksums; many S3-compatible servers refuse or misread them."""
