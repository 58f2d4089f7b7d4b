"""A job on a whole cluster of this computer: ``make demo-cluster``.

A control plane, an S3 server, a node and a namespace that enforces the restricted profile are
brought up; a job's files are put into a bucket; the job is applied and followed to its end. All of
it is gone when the command ends.
"""

import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from components import component
from controlplane import ControlPlane, control_plane
from helmed import installed
from nodeagent import Hardware, Node, node
from rest import MPJ, Json, path, polled
from s3server import ACCESS_KEY, REGION, SECRET_KEY, S3Server, free_port, s3_server

ROOT: Final = Path(__file__).parents[2]
NAMESPACE: Final = "vision"
OPERATORS: Final = "operators"
BUCKET: Final = "demo"
SECRET: Final = "bucket"  # noqa: S105 - a name
SECONDS: Final = 3600.0
FILES: Final = {
    "json": "report.json",
    "html": "report.html",
    "onnx": "model.onnx",
    "engine": "engine",
    "metadata": "metadata.json",
}
_ENDS: Final = ("Complete", "Failed")


@dataclass
class Demo:
    """What a job needs besides an operator."""

    plane: ControlPlane
    s3: S3Server
    node: Node

    def apply(self, file: Path) -> Json:
        """Put a job's files into the bucket and create the job with their addresses there.

        Args:
            file: a job for ``mpj run``, whose paths are relative to it.
        """
        document = yaml.safe_load(file.read_text())
        document["metadata"]["namespace"] = NAMESPACE
        spec = document["spec"]
        for name in ("model", "calibration", "validation"):
            source = file.parent / spec[name]["uri"]
            key = source.name
            if name == "model" and (factory := spec[name].get("factory")):
                key = "model"  # a prefix: the weights and the factory's module beside them
                module = f"{factory.partition(':')[0]}.py"
                self._put(source.with_name(module), f"{key}/{module}")
                self._put(source, f"{key}/{source.name}")
            else:
                self._put(source, key)
            spec[name]["uri"] = f"s3://{BUCKET}/{key}"
        spec["storage"] = {
            "uri": f"s3://{BUCKET}/artifacts",
            "endpointURL": self.s3.endpoint,
            "region": REGION,
            "addressingStyle": "Path",
            "credentialsSecretRef": {"name": SECRET},
        }
        return self.plane.api.create(path(MPJ, NAMESPACE), document)

    def status(self, name: str) -> Json:
        found = self.plane.api.get(path(MPJ, NAMESPACE, name)) or {}
        return dict(found.get("status", {}))

    def follow(self, name: str, seconds: float = SECONDS) -> Json:
        """Show ``kubectl get mpj --watch`` until the job has ended; return its status."""
        with subprocess.Popen([*self.kubectl, "get", "mpj", "--watch"]) as watch:
            try:
                for seen in polled(seconds, 0.5):
                    seen.value = self.status(name)
                    if seen.value.get("state") in _ENDS:
                        time.sleep(0.5)  # kubectl shows the last line
                        break
            finally:
                watch.terminate()
        return dict(seen.value)

    @property
    def kubectl(self) -> list[str]:
        config = f"--kubeconfig={self.plane.kubeconfig}"
        return [str(component("kubectl")), config, f"--namespace={NAMESPACE}"]

    def files(self, job: Json) -> Iterator[tuple[str, str]]:
        """Yield where people find a job's files, and where its status says that they are.

        A client of its own compares both with the digest in the status.

        Raises:
            ValueError: the bytes have another digest than the status says.
        """
        status, metadata = job["status"], job["metadata"]
        artifacts = {**(status.get("report") or {}), **(status["best"].get("artifacts") or {})}
        people = f"artifacts/{NAMESPACE}/jobs/{NAMESPACE}/{metadata['name']}/{metadata['uid']}"
        for name, artifact in artifacts.items():
            stable = f"s3://{BUCKET}/{people}/{FILES[name]}"
            for uri in (stable, artifact["uri"]):
                bucket, _, key = uri.removeprefix("s3://").partition("/")
                data = self.s3.client().get_object(Bucket=bucket, Key=key)["Body"].read()
                if hashlib.sha256(data).hexdigest() != artifact["sha256"]:
                    raise ValueError(f"{uri} is not what the status says")
            yield stable, artifact["uri"]

    def _put(self, source: Path, key: str) -> None:
        """Put a file under a key, or a folder under a prefix."""
        client = self.s3.client()
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file():
                inside = file.relative_to(source).as_posix()
                client.upload_file(str(file), BUCKET, key if file == source else f"{key}/{inside}")


@contextmanager
def demo(folder: Path) -> Iterator[Demo]:
    """Bring everything up but the operator, for the length of a block."""
    with (
        control_plane(folder / "plane") as plane,
        s3_server(folder / "s3") as s3,
        node(plane, "worker", hardware=Hardware(gpus=0, cpus=64)) as worker,
    ):
        plane.restricted_namespace(NAMESPACE)
        s3.bucket(BUCKET)
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        secrets = path(("v1", "secrets"), NAMESPACE)
        plane.api.create(secrets, {"metadata": {"name": SECRET}, "stringData": keys})
        yield Demo(plane, s3, worker)


@contextmanager
def deployed(running: Demo) -> Iterator[None]:
    """Install the chart, its CRD included; its Deployment runs with the chart's own account."""
    running.plane.restricted_namespace(OPERATORS)
    values = {"jobImage": {"repository": "job", "tag": "demo"}, "port": free_port()}
    with installed(running.plane, OPERATORS, **values):
        yield


def main() -> int:
    """Run the demo job; return 0 when it is Complete."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all blocks are left
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples/demo/job.yaml"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mpj-") as folder, demo(Path(folder)) as running:
        with deployed(running):
            print(f"cluster and operator: {time.monotonic() - began:.0f} s")
            print(f"look around: {' '.join(running.kubectl)} get all,events\n")
            name = running.apply(file)["metadata"]["name"]
            status = running.follow(name)
        subprocess.run([*running.kubectl, "get", "mpj", "-o", "wide"], check=False)
        for condition in status.get("conditions", ()):
            print(f"{condition['type']}={condition['status']} {condition.get('message', '')}")
        report = status.get("report") or {}
        if status.get("state") == "Complete":
            job = running.plane.api.get(path(MPJ, NAMESPACE, name)) or {}
            for stable, _ in running.files(job):
                print(f"checked: {stable}")
        if "html" in report:
            kept = ROOT / "mpj-out" / f"{name}-cluster.html"
            kept.parent.mkdir(exist_ok=True)
            bucket, _, key = report["html"]["uri"].removeprefix("s3://").partition("/")
            running.s3.client().download_file(bucket, key, str(kept))
            print(f"report: {kept}")
        print(f"{time.monotonic() - began:.0f} s in all")
    return 0 if status.get("state") == "Complete" else 1


if __name__ == "__main__":
    sys.exit(main())
