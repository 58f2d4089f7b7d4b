"""A unit's pod: steps as init containers, the last one as the main container.

It fits the restricted profile of Pod Security, whatever a job overrides. No container has a token
of the Kubernetes API. A container has the Secrets, claims and folders that its own request names; a
sealed one, which runs a user's code, has none but a folder that only its neighbours share.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mpj_operator.api.job import MixedPrecisionJob
from mpj_operator.api.pod import EnvVar, PodOverrides
from mpj_operator.core.placement import affinity
from mpj_operator.core.units import Unit
from mpj_runner.contract.access import SecretKey
from mpj_runner.contract.messages import Request, canonical, digest, split

WORK: Final = "/mpj/work"
"""The folder that the containers of a pod share."""
SEALED: Final = "/mpj/sealed"
"""The folder that a sealed container shares with those around it."""
CLAIMS: Final = "/mpj/claims"
CACHE: Final = "/mpj/cache"
TMP: Final = "/tmp"  # noqa: S108 - a volume of the pod's own
LAST_WORDS: Final = "/dev/termination-log"
"""Where the kubelet reads a container's termination message from."""
_IDS: Final = {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
_DEFAULTS: Final = {
    "PYTHONHASHSEED": "0",  # ModelOpt walks sets: files differ with their order
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Of every container, unless podOverrides.env says otherwise."""
_QUIET_ULTRALYTICS: Final = (
    {"name": "YOLO_OFFLINE", "value": "true"},
    {"name": "YOLO_AUTOINSTALL", "value": "false"},
)
"""Ultralytics writes settings, asks the network and installs packages when it is imported."""
_SKIP_IDENTITY: Final = {
    "eks.amazonaws.com/skip-containers": ",",
    "azure.workload.identity/skip-containers": ";",
}
"""Annotations that keep webhooks from giving containers the service account's cloud identity, and
what stands between the names."""


def template(
    job: MixedPrecisionJob,
    unit: Unit,
    requests: Sequence[Request],
    image: str,
    labels: Mapping[str, str],
    hardware: str | None,
    *,
    fixed_ids: bool = True,
) -> dict[str, Any]:
    """Return a unit's pod template.

    Args:
        job: its owner.
        unit: what it is for.
        requests: what its containers are told, in order.
        image: of every container.
        labels: of ours; they win over podOverrides.labels.
        hardware: what the reference ran on, if that is known.
        fixed_ids: name user and group; else the cluster assigns them, as OpenShift does.
    """
    overrides = job.spec.pod_overrides
    containers = [_container(job, unit, request, image) for request in requests]
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            **(_IDS if fixed_ids else {}),
            "fsGroupChangePolicy": "OnRootMismatch",  # else each pod walks through all of a claim
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": containers[:-1],
        "containers": containers[-1:],
        "volumes": _volumes(job, unit, requests),
        **_pod_fields(overrides, hardware if unit.gpu else None),
    }
    metadata: dict[str, Any] = {"labels": {**overrides.labels, **labels}}
    if annotations := _annotations(overrides, requests):
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": {k: v for k, v in spec.items() if v != []}}


def is_sealed(container: Mapping[str, Any]) -> bool:
    """Tell whether a container of ours runs a user's code, and is to have no credentials."""
    paths = {mount["mountPath"] for mount in container.get("volumeMounts", ())}
    return SEALED in paths and WORK not in paths


def _container(job: MixedPrecisionJob, unit: Unit, request: Request, image: str) -> dict[str, Any]:
    resources = job.spec.resources_for(accelerator=unit.gpu).to_json()
    mounts = list(_mounts(job, request))
    container: dict[str, Any] = {
        "name": request.name,
        "image": image,
        "command": ["python", "-m", "mpj_runner", request.step],
        "env": [
            *_given(job.spec.pod_overrides.env, sealed=request.store is None),
            *_variables(split(canonical(request.to_json()).decode())),
            {"name": "MPJ_TERMINATION_LOG", "value": LAST_WORDS},
            *_places(mounts),
            *(_from_secret(key) for key in request.secret_keys),
            *_quiet(request),
        ],
        "terminationMessagePath": LAST_WORDS,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if resources := {key: value for key, value in resources.items() if value}:
        container["resources"] = resources
    return container


def _given(variables: Iterable[EnvVar], *, sealed: bool) -> list[dict[str, Any]]:
    """Return the defaults and the job's own variables; a sealed container gets no credentials."""
    given = _variables(_DEFAULTS)
    for variable in variables:
        source = variable.value_from
        secret = source is not None and source.secret_key_ref is not None
        if sealed and (secret or variable.name.startswith("AWS_")):
            continue
        given = [item for item in given if item["name"] != variable.name]
        given.append(variable.to_json())
    return given


def _variables(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _mounts(job: MixedPrecisionJob, request: Request) -> Iterable[dict[str, Any]]:
    if request.store is None:
        yield {"name": "sealed", "mountPath": SEALED}
        yield {"name": "sealed-tmp", "mountPath": TMP}
        return
    yield {"name": "work", "mountPath": WORK}
    yield {"name": "tmp", "mountPath": TMP}
    if request.fetches is not None or request.adopts is not None:
        yield {"name": "sealed", "mountPath": SEALED}
    for claim, writes in request.claims.items():
        mount: dict[str, Any] = {"name": _claim_volume(claim), "mountPath": f"{CLAIMS}/{claim}"}
        yield mount if writes else {**mount, "readOnly": True}
    if job.spec.pod_overrides.cache_volume_claim_name is not None:
        yield {"name": "cache", "mountPath": CACHE}


def _places(mounts: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, str]]:
    """Return the variables that tell a container where its folders are."""
    known = {WORK: "MPJ_WORK", SEALED: "MPJ_SEALED", CACHE: "MPJ_CACHE"}
    for path in (mount["mountPath"] for mount in mounts):
        if path in known:
            yield {"name": known[path], "value": path}
        elif path.startswith(f"{CLAIMS}/"):
            yield {"name": f"MPJ_CLAIM_{path.removeprefix(f'{CLAIMS}/')}", "value": path}


def _volumes(
    job: MixedPrecisionJob, unit: Unit, requests: Sequence[Request]
) -> list[dict[str, Any]]:
    """Return the pod's volumes.

    An emptyDir may grow to what spec.resources allows a container of local storage; without a limit
    there, the kubelet guards the node's disk as for every pod: only the user knows the data's size.
    """
    names = ["work", "tmp"]
    if any(request.store is None for request in requests):
        names += ["sealed", "sealed-tmp"]
    limit = job.spec.resources_for(accelerator=unit.gpu).limits.get("ephemeral-storage")
    empty = {} if limit is None else {"sizeLimit": limit}
    written: dict[str, bool] = {}
    for request in requests:
        for claim, writes in request.claims.items():
            written[claim] = written.get(claim, False) or writes
    volumes = [
        *({"name": name, "emptyDir": dict(empty)} for name in names),
        *(_claimed(_claim_volume(claim), claim, writes) for claim, writes in written.items()),
    ]
    if (cache := job.spec.pod_overrides.cache_volume_claim_name) is not None:
        volumes.append(_claimed("cache", cache, writes=True))
    return volumes


def _claimed(name: str, claim: str, writes: bool) -> dict[str, Any]:
    """Return the volume of a claim, read-only where no container writes: so it may be shared."""
    source: dict[str, Any] = {"claimName": claim}
    if not writes:
        source["readOnly"] = True
    return {"name": name, "persistentVolumeClaim": source}


def _claim_volume(claim: str) -> str:
    """Return a volume's name: a claim's own may be too long for one, or hold dots."""
    return f"claim-{digest(claim.encode())[:8]}"


def _quiet(request: Request) -> Iterable[dict[str, str]]:
    if request.step == "export" and request.fetches is None:
        yield {"name": "YOLO_CONFIG_DIR", "value": SEALED if request.store is None else WORK}
        yield from _QUIET_ULTRALYTICS


def _from_secret(key: SecretKey) -> dict[str, Any]:
    """Return a Secret's key as a variable: a missing one keeps the pod waiting, and says so."""
    reference: dict[str, Any] = {"name": key.secret, "key": key.key}
    if key.optional:
        reference["optional"] = True
    return {"name": key.variable, "valueFrom": {"secretKeyRef": reference}}


def _annotations(overrides: PodOverrides, requests: Iterable[Request]) -> dict[str, str]:
    annotations = dict(overrides.annotations)
    sealed = [request.name for request in requests if request.store is None]
    for key, separator in _SKIP_IDENTITY.items() if sealed else ():
        given = [annotations[key]] if annotations.get(key) else []
        annotations[key] = separator.join([*given, *sealed])
    return annotations


def _pod_fields(overrides: PodOverrides, hardware: str | None) -> dict[str, Any]:
    """Return the overrides that are fields of a pod's spec, under the pod's own names."""
    fields: dict[str, Any] = {
        "nodeSelector": dict(overrides.node_selector),
        "tolerations": [toleration.to_json() for toleration in overrides.tolerations],
        "affinity": affinity(overrides.affinity, hardware),
        "runtimeClassName": overrides.runtime_class_name,
        "serviceAccountName": overrides.service_account_name,
        "imagePullSecrets": [secret.to_json() for secret in overrides.image_pull_secrets],
        "priorityClassName": overrides.priority_class_name,
    }
    return {key: value for key, value in fields.items() if value}
