"""From a URI to a store, and from a user's URI to a source."""

import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mpj_runner.contract.access import CA, KEY, KEY_ID, TOKEN, Access
from mpj_runner.contract.errors import UserError
from mpj_runner.contract.messages import claim_of
from mpj_runner.stores.base import Listed
from mpj_runner.stores.file import FileStore
from mpj_runner.stores.folders import Fence
from mpj_runner.stores.sources import Source, local_source

if TYPE_CHECKING:
    from mpj_runner.stores.s3_client import Credentials, Settings

STORAGE = "spec.storage"


@dataclass(frozen=True)
class Places:
    """Opens stores and sources with the secrets that the container was given."""

    secrets: Mapping[str, str] = field(default_factory=dict)
    """The variables that accesses name: see ``Access.variable``."""
    claims: Mapping[str, Path] = field(default_factory=dict)
    """Where PersistentVolumeClaims are mounted, by name."""

    def store(self, uri: str, access: Access | None = None) -> Listed:
        """Return the store of a URI: file://…, pvc://claim/path or s3://bucket/prefix.

        Raises:
            UserError: the scheme is not known, or what the access says can't be right.
        """
        if not uri.startswith("s3://"):
            path, _ = self._path(uri, f"{STORAGE}.uri")
            return FileStore(path, uri)
        from mpj_runner.stores.s3 import S3Store

        return S3Store(uri, f"{STORAGE}.uri", self._settings(access or Access(field=STORAGE)))

    def source(self, uri: str, field: str, access: Access | None = None) -> Source:
        """Return a user's file or folder: file://…, pvc://claim/path, s3://bucket/key or …/prefix.

        Raises:
            UserError: nothing is there, or it can't be reached; ``field`` is named.
            TransientError: it may be reachable later.
        """
        if not uri.startswith("s3://"):
            path, fence = self._path(uri, field)
            return local_source(path, field, uri, fence)
        from mpj_runner.stores.s3_source import s3_source

        own = access or Access(field=field.removesuffix(".uri"))
        return s3_source(uri, field, self._settings(own))

    def _path(self, uri: str, field: str) -> tuple[Path, Fence | None]:
        """Return where a file:// or pvc:// URI lies in this container, and in which claim."""
        parts = urlsplit(uri)
        if parts.scheme == "file":
            return Path(unquote(parts.path)), None
        if (claim := claim_of(uri)) is None:
            raise UserError(f"{field}: {uri}: this runner reads file:// and s3:// only")
        if claim not in self.claims:
            raise UserError(f"{field}: {uri}: no claim {claim} is mounted here")
        below = uri.removeprefix(f"pvc://{claim}").split("/")
        if ".." in below:
            raise UserError(f"{field}: {uri}: must not hold ..")
        fence = Fence(self.claims[claim], field)
        path = fence.root.joinpath(*filter(None, below))
        fence.check(path)
        return path, fence

    def _settings(self, access: Access) -> "Settings":
        from mpj_runner.stores.s3_client import Settings

        return Settings(access, self._credentials(access), self._ca(access))

    def _credentials(self, access: Access) -> "Credentials | None":
        from mpj_runner.stores.s3_client import Credentials

        key_id, key, token = (
            self.secrets.get(access.variable(name), "").strip() for name in (KEY_ID, KEY, TOKEN)
        )
        if bool(key_id) != bool(key):
            raise UserError(
                f"{access.field}.credentialsSecretRef: the Secret {access.credentials_secret} has "
                f"no {KEY if key_id else KEY_ID}: both {KEY_ID} and {KEY} are needed"
            )
        return Credentials(key_id, key, token or None) if key_id else None

    def _ca(self, access: Access) -> Path | None:
        """Write the certificates to a file, where the SDK wants them."""
        text = self.secrets.get(access.variable(CA))
        if not text:
            return None
        try:
            ssl.create_default_context(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            raise UserError(
                f"{access.field}.caSecretRef: {CA} of the Secret {access.ca_secret} holds no "
                f"certificates in PEM form ({error})"
            ) from error
        with tempfile.NamedTemporaryFile("w", suffix=f"-{CA}", delete=False) as file:
            file.write(text)
        return Path(file.name)
