"""A real S3 server on this computer: versitygw over a folder, started and stopped by the tests."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from binaries import needed
from botocore.config import Config

from mpj_runner.contract.access import KEY, KEY_ID, Access
from mpj_runner.stores.open import Places

ACCESS_KEY: Final = "tester"
SECRET_KEY: Final = "tester-secret"  # noqa: S105 - of this server only
REGION: Final = "us-east-1"
_PORTS: Final = range(10_000, 30_000)
"""Below those of NodePorts (30000) and of outgoing connections (32768)."""


@dataclass
class S3Server:
    """One server; ``folder`` holds its buckets as folders."""

    folder: Path
    port: int
    scheme: str = "http"
    ca: str | None = None
    """File with the certificate of an https server."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables with which any AWS client reaches the server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Any:
        """Return a client of its own, which shares nothing with the code under test."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            verify=self.ca,
            config=Config(s3={"addressing_style": "path"}),
        )

    def bucket(self, name: str) -> str:
        """Make a bucket and return its name."""
        self.client().create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client().put_object(Bucket=bucket, Key=key, Body=data)

    def objects(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Return the sizes of a bucket's objects by key."""
        pages = self.client().get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix
        )  # fmt: skip
        return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", ())}

    def start(self, *options: str) -> None:
        """Start it, or start it again on the same port and folder; return when it answers."""
        data, side = self.folder / "data", self.folder / "side"
        for path in (data, side, self.folder / "iam"):
            path.mkdir(parents=True, exist_ok=True)
        command = [str(needed("versitygw")), "--port", f"127.0.0.1:{self.port}"]
        command += ["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION]
        command += ["--iam-dir", str(self.folder / "iam"), "--quiet", *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "posix", "--sidecar", str(side), str(data)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-1000:])

    def stop(self) -> None:
        """Stop it; what it stores stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def places(access: Access, key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Places:
    """Return what a container with this access's Secret would have."""
    return Places({access.variable(KEY_ID): key, access.variable(KEY): secret})


def free_port() -> int:
    """Return a port that nobody listens on now, and that no outgoing connection will be given.

    A port that the kernel chooses is one of those (32768 and up): until its server is started, one
    of the many connections of a control plane to itself may have taken it.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def s3_server(folder: Path, *options: str, ca: Path | None = None) -> Iterator[S3Server]:
    """Run a server for the length of a block."""
    server = S3Server(folder, free_port(), "https" if ca else "http", str(ca) if ca else None)
    try:
        server.start(*options)
        yield server
    finally:
        server.stop()
