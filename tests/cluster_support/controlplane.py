"""A real Kubernetes control plane on this computer, as processes, for the length of a block.

etcd, API server, controller manager and scheduler listen on free ports of 127.0.0.1. Nodes are
made by ``nodeagent``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import flags
import yaml
from certificates import Authority
from components import component
from flags import Name, Options
from rest import Api, ApiError, Json, path, polled
from s3server import free_port
from supervised import Supervised

_READY_SECONDS: Final = 60.0


@dataclass
class ControlPlane:
    """One control plane; everything that it writes lies in ``folder``."""

    folder: Path
    options: Options = field(default_factory=Options)
    given: Sequence[Json] = ()
    """Objects that are there before any controller looks: the garbage collector asks for new kinds
    twice a minute only."""
    components: dict[Name, Supervised] = field(default_factory=dict, init=False)
    port: int = field(default_factory=free_port, init=False)
    etcd_port: int = field(default_factory=free_port, init=False)

    def start(self) -> None:
        """Start all components; return when the API server is ready and accounts are made."""
        self._write()
        for name, words in self._commands().items():
            log = self.folder / f"{name}.log"
            self.components[name] = Supervised([str(component(name)), *words], log)
        self.components["etcd"].start()
        self.components["kube-apiserver"].start()
        self.await_ready()
        self.install(*self.given)
        self.components["kube-controller-manager"].start()
        self.components["kube-scheduler"].start()
        self.await_account("default")

    def stop(self) -> None:
        """End all components, whatever state they are in."""
        if "api" in vars(self):
            self.api.close()
        for program in reversed(self.components.values()):
            program.ask()
        for program in reversed(self.components.values()):
            program.await_end()

    def kill(self, name: Name) -> None:
        """End a component as kill -9 does."""
        self.components[name].kill()

    def restart(self, name: Name) -> None:
        """Kill a component and start it again on its port and its data."""
        self.kill(name)
        self.components[name].start()
        self.await_ready()

    def await_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Return when the API server says that it is ready.

        Raises:
            RuntimeError: it does not come to say so; the message is the end of its log.
        """
        server = self.components["kube-apiserver"]
        for _ in polled(seconds):
            try:
                self.api.text("/readyz")
            except (ApiError, OSError):
                if not server.alive:
                    break
            else:
                return
        raise RuntimeError(f"kube-apiserver is not ready: {server.last_words()}")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @cached_property
    def authority(self) -> Authority:
        return Authority.make(self.folder / "certificates")

    @cached_property
    def api(self) -> Api:
        """A client of an administrator, for the test itself."""
        return Api.of(self.kubeconfig)

    @cached_property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self.kubeconfig_of("admin", "admin", "system:masters")

    def kubeconfig_of(self, name: str, user: str, group: str | None = None) -> Path:
        """Return a kubeconfig with a client certificate."""
        pair = self.authority.client(name, user, group)
        given = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._kubeconfig(name, given)

    def kubeconfig_of_account(
        self, namespace: str, name: str, *, seconds: int = 86400, api_url: str | None = None
    ) -> Path:
        """Return a kubeconfig with a fresh token of a ServiceAccount.

        Args:
            namespace: of the account; the kubeconfig's own too.
            name: of the account.
            seconds: until the token expires; the server's least is 600.
            api_url: another way to the API server, such as a proxy that injects faults.
        """
        answer = self.api.create(
            path(("v1", "serviceaccounts"), namespace, name, "token"),
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
             "spec": {"expirationSeconds": seconds}},
        )  # fmt: skip
        given = {"token": answer["status"]["token"]}
        port = (api_url or self.url).rpartition(":")[2]
        return self._kubeconfig(f"{namespace}.{name}-{port}", given, namespace, api_url)

    def namespace(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """Make a namespace that is ready for pods, and return its name."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.api.create(path(("v1", "namespaces")), {"metadata": metadata})
        self.await_account(name)
        return name

    def restricted_namespace(self, name: str) -> str:
        """Make a namespace that enforces the restricted Pod Security profile."""
        return self.namespace(name, {"pod-security.kubernetes.io/enforce": "restricted"})

    def await_account(self, namespace: str) -> None:
        """Return when the controller manager has given a namespace its default account."""
        account = path(("v1", "serviceaccounts"), namespace, "default")
        self.api.until(account, lambda found: found is not None)

    def install(self, *objects: Json) -> None:
        """Apply objects, CustomResourceDefinitions among them; return when those are served."""
        for item in objects:
            self.api.apply(_place(item), item)
        for item in objects:
            if item["kind"] == "CustomResourceDefinition":
                self.api.until(_place(item), _established)
                version = item["spec"]["versions"][0]["name"]
                group, plural = item["spec"]["group"], item["spec"]["names"]["plural"]
                self._await_served(path((f"{group}/{version}", plural)))

    def _await_served(self, collection: str) -> None:
        """Return when a resource is served: a moment after its definition is Established."""
        for seen in polled(_READY_SECONDS):
            try:
                if self.api.get(collection) is not None:
                    return
            except ApiError as error:  # 429: its storage is being initialized
                seen.value = error
        raise AssertionError(f"{collection} is not served: {seen.value}")

    def compact(self) -> int:
        """Forget all revisions but the newest; return it.

        The API server serves most watches from its own memory. ``expire`` makes them fail.
        """
        written = self._etcd("kv/put", {"key": "dGVzdHM="})  # a revision that is not compacted yet
        newest = int(written["header"]["revision"])
        self._etcd("kv/compaction", {"revision": str(newest), "physical": True})
        return newest

    def expire(self) -> None:
        """Make every older resourceVersion end a watch with 410 Gone."""
        self.compact()
        self.restart("kube-apiserver")

    def audited(self) -> int:
        """Return how far the audit log has come, in bytes: where a later ``audit`` may begin."""
        return (self.folder / "audit.log").stat().st_size

    def audit(self, since: int = 0) -> list[Json]:
        """Return what the API server was asked: audit events of level Metadata, in order.

        Args:
            since: an earlier ``audited``.
        """
        with (self.folder / "audit.log").open("rb") as log:
            log.seek(since)
            text = log.read()
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def memory(self) -> dict[str, int]:
        """Return the components' resident bytes."""
        found = {}
        for name, program in self.components.items():
            status = Path(f"/proc/{program.pid}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            found[str(name)] = int(line.split()[1]) * 1024
        return found

    def _etcd(self, call: str, body: Json) -> Json:
        request = Request(f"http://127.0.0.1:{self.etcd_port}/v3/{call}", json.dumps(body).encode())
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - http, ours
            return dict(json.load(answer))

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "audit-policy.yaml").write_text(yaml.safe_dump(flags.AUDIT))

    def _kubeconfig(
        self,
        name: str,
        user: Mapping[str, str],
        namespace: str = "default",
        api_url: str | None = None,
    ) -> Path:
        cluster = {
            "server": api_url or self.url,
            "certificate-authority": str(self.authority.pair("ca").certificate),
        }
        context = {"cluster": "tests", "user": name, "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": name, "user": dict(user)}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        }
        written = self.folder / f"{name}.kubeconfig"
        written.touch(mode=0o600)
        written.write_text(yaml.safe_dump(config, sort_keys=False))
        return written

    def _commands(self) -> dict[Name, list[str]]:
        more = self.options
        manager = self._of_component("kube-controller-manager")
        scheduler = self._of_component("kube-scheduler")
        return {
            "etcd": flags.etcd(self.folder / "etcd", self.etcd_port),
            "kube-apiserver": flags.apiserver(
                self.folder, self.port, self.etcd_port, self.authority, more.apiserver
            ),
            "kube-controller-manager": flags.controller_manager(
                manager, self.authority, more.controller_manager
            ),
            "kube-scheduler": flags.scheduler(scheduler, more.scheduler),
        }

    def _of_component(self, name: str) -> Path:
        """Return a component's kubeconfig; the manager's controllers share one with all rights."""
        group = "system:masters" if name == "kube-controller-manager" else None
        return self.kubeconfig_of(name, f"system:{name}", group)


@contextmanager
def control_plane(
    folder: Path, options: Options | None = None, given: Sequence[Json] = ()
) -> Iterator[ControlPlane]:
    """Run a control plane for the length of a block; see ``ControlPlane``."""
    plane = ControlPlane(folder, options or Options(), given)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


def _established(found: Json | None) -> bool:
    conditions = (found or {}).get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _place(item: Json) -> str:
    """Return an object's path by the rule of English plurals that the API's names follow."""
    kind = item["kind"].lower()
    plural = (
        f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind[-1] == "s" else f"{kind}s"
    )
    metadata: dict[str, Any] = item["metadata"]
    return path((item["apiVersion"], plural), metadata.get("namespace"), metadata["name"])
