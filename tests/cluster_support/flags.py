"""How the programs of a control plane are started."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from certificates import Authority
from s3server import free_port

Name = Literal["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
_QUICK: Final = ("--kube-api-qps=500", "--kube-api-burst=1000")
"""The clients' own limits (20 requests a second) are for clusters that others use too."""
AUDIT: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "nonResourceURLs": ["*"]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "Metadata"},
    ],
}


@dataclass
class Options:
    """Flags that a test may want otherwise; each is added after the default ones."""

    apiserver: Sequence[str] = ()
    controller_manager: Sequence[str] = ()
    scheduler: Sequence[str] = ()

    @classmethod
    def impatient(cls) -> "Options":
        """Return flags with which a silent node is given up after seconds, not minutes."""
        return cls(
            ("--default-not-ready-toleration-seconds=2",
             "--default-unreachable-toleration-seconds=2"),
            ("--node-monitor-period=1s", "--node-monitor-grace-period=6s"),
        )  # fmt: skip


def etcd(folder: Path, port: int) -> list[str]:
    """Return etcd's flags: data in a folder, no waiting for the disk."""
    client, peer = (f"http://127.0.0.1:{number}" for number in (port, free_port()))
    return [
        f"--data-dir={folder}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def apiserver(
    folder: Path, port: int, etcd_port: int, authority: Authority, more: Sequence[str]
) -> list[str]:
    """Return the API server's flags; ``folder`` receives audit.log and holds audit-policy.yaml."""
    server, accounts = authority.pair("server"), authority.pair("accounts")
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--cert-dir={folder}",
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
        f"--client-ca-file={authority.pair('ca').certificate}",
        f"--service-account-issuer=https://127.0.0.1:{port}",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        f"--audit-policy-file={folder / 'audit-policy.yaml'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-format=json",
        "--audit-log-maxsize=10000",  # MB; else a new file is begun after 100
        *more,
    ]


def controller_manager(kubeconfig: Path, authority: Authority, more: Sequence[str]) -> list[str]:
    """Return the controller manager's flags."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--root-ca-file={authority.pair('ca').certificate}",
        f"--service-account-private-key-file={authority.pair('accounts').key}",
        "--leader-elect=false",
        "--secure-port=0",
        "--concurrent-job-syncs=20",
        *_QUICK,
        *more,
    ]


def scheduler(kubeconfig: Path, more: Sequence[str]) -> list[str]:
    """Return the scheduler's flags."""
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        *_QUICK,
        *more,
    ]
