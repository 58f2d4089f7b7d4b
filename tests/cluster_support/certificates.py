"""Certificates of a test cluster: an authority of its own, signed with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_NAMES: Final = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    "IP:127.0.0.1,IP:10.0.0.1"
)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority and the folder of all that it signs."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        """Make an authority, the server's pair and the pair that signs service accounts."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = cls(folder)
        authority._openssl("req", "-x509", *_CURVE, "-days", "3650", "-subj", "/CN=tests", "ca")
        authority._openssl(
            "req", "-x509", *_CURVE, "-days", "3650", "-subj", "/CN=accounts", "accounts"
        )
        authority._signed("server", "/CN=kube-apiserver", f"subjectAltName={_NAMES}")
        return authority

    def pair(self, name: str) -> Pair:
        """Return the files of a name."""
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def client(self, name: str, user: str, group: str | None = None) -> Pair:
        """Return a user's client certificate; the first call signs it."""
        if not self.pair(name).certificate.exists():
            subject = f"/O={group}/CN={user}" if group else f"/CN={user}"
            self._signed(name, subject, "extendedKeyUsage=clientAuth")
        return self.pair(name)

    def _signed(self, name: str, subject: str, extension: str) -> None:
        authority = self.pair("ca")
        self._openssl(
            "req", "-x509", *_CURVE, "-days", "3650", "-subj", subject,
            "-addext", extension, "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", str(authority.certificate), "-CAkey", str(authority.key), name,
        )  # fmt: skip

    def _openssl(self, *words: str) -> None:
        *options, name = words
        pair = self.pair(name)
        files = ["-keyout", str(pair.key), "-out", str(pair.certificate)]
        subprocess.run(["openssl", *options, *files], check=True, capture_output=True)
