"""From an access and its secrets to a client of one S3 server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from mpj_runner.contract.access import Access
from mpj_runner.contract.errors import UserError
from mpj_runner.stores.s3_errors import Place, explain

CONCURRENCY: Final = 8
"""Requests at once of one transfer."""
DEFAULT_REGION: Final = "us-east-1"
"""Signs where no region is given: AWS tells a bucket's region, and most others ignore it."""
_ATTEMPTS: Final = 6
"""Of one request, with exponential, jittered waits of up to 20 s between them."""
_STYLES: Final = {"Auto": "auto", "Path": "path", "VirtualHosted": "virtual"}
_CHECKSUMS: Final = {"WhenRequired": "when_required", "WhenSupported": "when_supported"}


@dataclass(frozen=True)
class Credentials:
    """What signs requests."""

    key_id: str
    key: str
    token: str | None = None


@dataclass(frozen=True)
class Settings:
    """All that a client is made from."""

    access: Access
    credentials: Credentials | None = None
    """None: the SDK's own chain is asked."""
    ca: Path | None = None
    """File with the certificates that sign the server's; None: those of the system."""


@dataclass(frozen=True)
class Bucket:
    """A bucket and the client that reaches it; clients are safe to share between threads."""

    client: Any
    name: str
    access: Access
    field: str
    """The field of the spec that named the bucket."""

    @property
    def place(self) -> Place:
        """What messages say of it."""
        return Place(self.name, self.field, self.access, self.client.meta.endpoint_url)


def bucket_of(uri: str, field: str, settings: Settings) -> tuple[Bucket, str]:
    """Return the bucket of an s3:// URI and the key or prefix in it, without slashes around it.

    Raises:
        UserError: the bucket's name, the endpoint or the profile can't be right.
    """
    parts = urlsplit(uri, allow_fragments=False)
    if not parts.netloc:
        raise UserError(f"{field}: {uri}: must be s3://bucket/key")
    key = uri.removeprefix(f"s3://{parts.netloc}").strip("/")  # a key may hold '?' and '%'
    return Bucket(_client(settings, parts.netloc, field), parts.netloc, settings.access, field), key


def _client(settings: Settings, bucket: str, field: str) -> Any:  # noqa: ANN401 - made at run time
    access, credentials = settings.access, settings.credentials
    checksums = _CHECKSUMS[access.checksums]
    try:
        session = boto3.session.Session()
        return session.client(
            "s3",
            endpoint_url=access.endpoint_url,
            region_name=access.region or session.region_name or DEFAULT_REGION,
            aws_access_key_id=credentials and credentials.key_id,
            aws_secret_access_key=credentials and credentials.key,
            aws_session_token=credentials and credentials.token,
            verify=str(settings.ca) if settings.ca else None,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                s3={"addressing_style": _STYLES[access.addressing_style]},
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                max_pool_connections=2 * CONCURRENCY,
                connect_timeout=10,
                read_timeout=60,
                user_agent_extra="mpj-runner",
            ),
        )
    except BotoCoreError as error:
        raise explain(error, Place(bucket, field, access, access.endpoint_url or "")) from error
    except ValueError as error:
        raise UserError(f"{access.field}.endpointURL: {error}") from error
