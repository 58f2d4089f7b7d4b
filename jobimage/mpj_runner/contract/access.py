"""How a container reaches a bucket: everything but the secrets, which travel beside the request.

The seam: an ``Access`` travels in the request. Where it names Secrets, the container has their keys
as environment variables, each named ``Access.variable(key)``; whoever makes the container adds the
variables that ``Access.secret_keys`` lists. A container gets those of its own request only.

Where no Secret is named, or its variables are not there (``mpj run``: a computer has no Secrets),
the AWS SDK's own chain is used: its environment variables, ~/.aws, a pod's or a machine's identity.
"""

import re
from typing import Final, Literal, NamedTuple

from pydantic import Field

from mpj_runner.contract.base import ShortText, Uri, Value

AddressingStyle = Literal["Auto", "Path", "VirtualHosted"]
Checksums = Literal["WhenRequired", "WhenSupported"]

KEY_ID: Final = "AWS_ACCESS_KEY_ID"
KEY: Final = "AWS_SECRET_ACCESS_KEY"
TOKEN: Final = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a key
CA: Final = "ca.crt"


class Encryption(Value):
    """How the server encrypts what is written."""

    algorithm: Literal["AES256", "aws:kms"] = "AES256"
    kms_key_id: ShortText | None = Field(default=None, alias="kmsKeyID")


class SecretKey(NamedTuple):
    """One key of a Secret that a container needs as an environment variable."""

    variable: str
    secret: str
    key: str
    optional: bool


class Access(Value):
    """How one bucket is reached."""

    field: ShortText
    """The part of the spec that says so, such as spec.storage or spec.model: for messages, and for
    the names of variables."""
    endpoint_url: Uri | None = Field(default=None, alias="endpointURL")
    region: ShortText | None = None
    addressing_style: AddressingStyle = "Auto"
    checksums: Checksums = "WhenRequired"
    encryption: Encryption | None = None
    credentials_secret: ShortText | None = None
    """Name of the Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN."""
    ca_secret: ShortText | None = None
    """Name of the Secret with ca.crt."""

    def variable(self, key: str) -> str:
        """Return the name of the environment variable that holds a Secret's key.

        ``spec.storage`` and ``AWS_ACCESS_KEY_ID`` make ``MPJ_STORAGE_AWS_ACCESS_KEY_ID``.
        """
        words = f"{self.field.removeprefix('spec.')}_{key}"
        return "MPJ_" + re.sub(r"[^A-Z0-9]+", "_", words.upper())

    @property
    def secret_keys(self) -> tuple[SecretKey, ...]:
        """List what the container needs of Secrets."""
        keys: list[SecretKey] = []
        if (secret := self.credentials_secret) is not None:
            keys += [
                SecretKey(self.variable(key), secret, key, key == TOKEN)
                for key in (KEY_ID, KEY, TOKEN)
            ]
        if self.ca_secret is not None:
            keys.append(SecretKey(self.variable(CA), self.ca_secret, CA, optional=False))
        return tuple(keys)
