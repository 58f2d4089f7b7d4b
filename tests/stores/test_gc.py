"""The command that removes old artifacts: on a command line, and as deploy/gc runs it nightly."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner
from faulty import Answer, proxy, times
from job_values import children, pod_of
from s3server import ACCESS_KEY, SECRET_KEY, S3Server

from mpj_operator.cli import main as mpj
from mpj_operator.core.pods import TMP
from mpj_runner import gc
from mpj_runner.contract.errors import EXIT_TRANSIENT, EXIT_USER, UserError
from mpj_runner.stores.base import blob_key

ROOT: Final = Path(__file__).parents[2]
MANIFEST: Final = yaml.safe_load((ROOT / "deploy/gc/cronjob.yaml").read_text())
POD: Final[dict[str, Any]] = MANIFEST["spec"]["jobTemplate"]["spec"]["template"]["spec"]
KEYS: Final = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
OLD: Final = (datetime.now(UTC) - timedelta(days=40)).timestamp()


def blob(root: Path, digit: str, *, old: bool) -> Path:
    path = root / blob_key(digit * 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 2**20)
    if old:
        os.utime(path, (OLD, OLD))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "a store"
    blob(root, "a", old=True)
    blob(root, "b", old=False)
    return root


@pytest.mark.parametrize(
    ("text", "seconds"), [("45m", 2700), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)]
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: int):
    assert gc.age_of(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1y", "1.5h", "", "٣d", "123456d"])
def test_what_is_no_age_is_told(text: str):
    with pytest.raises(UserError, match=f"^--older-than {text}: must be a number with m, h, d or"):
        gc.age_of(text)


def test_it_tells_first_and_removes_when_that_is_asked_for(
    store: Path, capsys: pytest.CaptureFixture[str]
):
    assert gc.main([str(store)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "would remove 0 manifests (0.0 MiB)",
        "would remove 1 blob (1.0 MiB)",
        "kept 1 object (1.0 MiB)",
        "nothing was removed: add --delete to do it",
    ]
    assert gc.main([store.as_uri(), "--delete"]) == 0
    assert "removed 1 blob (1.0 MiB)\n" in capsys.readouterr().out
    assert [path.name for path in store.rglob("*") if path.is_file()] == ["b" * 64]


def test_a_path_is_one_below_the_current_folder(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(store.parent)
    assert gc.opened(f"./{store.name}", None).uri("blobs") == f"{store.as_uri()}/blobs"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param([], "the following arguments are required: STORE", id="no store"),
        pytest.param(["x", "--deleted"], "unrecognized arguments: --deleted", id="typing error"),
        pytest.param(["x", "--del"], "unrecognized arguments: --del", id="abbreviation"),
        pytest.param(["x", "--older-than"], "argument --older-than: expected one", id="no age"),
        pytest.param(["x", "--older-than", "soon"], "--older-than soon: must be a", id="age"),
        pytest.param(["gs://x"], "spec.storage.uri: gs://x: this runner reads", id="scheme"),
        pytest.param(["x"], "there is nothing at file://", id="no store there"),
    ],
)
def test_what_is_wrong_ends_with_64_in_a_container_and_2_for_a_person(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
):
    assert gc.main(words) == EXIT_USER
    error = capsys.readouterr().err
    assert error.startswith(told)
    person = CliRunner().invoke(mpj, ["gc", *words])
    assert (person.exit_code, person.stderr) == (2, f"error: {error}")


def test_mpj_gc_takes_what_the_container_takes_and_helps(store: Path):
    helped = CliRunner().invoke(mpj, ["gc", "--help"])
    assert helped.exit_code == 0
    for option in ("STORE", "--older-than", "--jobs", "--delete", "--endpoint-url"):
        assert option in helped.stdout
    done = CliRunner().invoke(mpj, ["gc", str(store), "--older-than=50d", "--jobs", "--delete"])
    assert (done.exit_code, done.stdout.splitlines()[1]) == (0, "removed 0 blobs (0.0 MiB)")


def test_a_server_that_does_not_answer_may_answer_later(monkeypatch: pytest.MonkeyPatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    words = ["s3://bucket/x", "--endpoint-url", "http://127.0.0.1:9"]
    assert gc.main(words) == EXIT_TRANSIENT


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(Answer(403, "AccessDenied"), "access is denied: grant "
                     "s3:ListBucketMultipartUploads to", id="no right"),
        pytest.param(Answer(501, "NotImplemented"), "the server can't list or give up uploads "
                     "(NotImplemented): have a lifecycle rule", id="no such part of S3"),
    ],
)  # fmt: skip
def test_a_server_that_tells_of_no_unfinished_uploads_is_warned_of(
    server: S3Server,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    words: str,
):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server.put(bucket, blob_key("a" * 64), b"old")
    os.utime(server.folder / "data" / bucket / blob_key("a" * 64), (OLD, OLD))
    with proxy(server.port) as faults:
        faults.rule = times(9, answer, lambda seen: "uploads" in seen.path)
        assert gc.main([f"s3://{bucket}", "--delete", "--endpoint-url", faults.endpoint]) == 0
    told = capsys.readouterr().out
    assert "removed 1 blob (0.0 MiB)\n" in told
    assert f"unfinished writes were not removed: spec.storage.uri: bucket {bucket}: {words}" in told


def container() -> dict[str, Any]:
    (only,) = POD["containers"]
    return only


def test_the_cronjob_has_the_security_of_a_jobs_own_pods():
    """Theirs is held against the restricted profile, by an API server too."""
    theirs = pod_of(children()["prepare"])
    same = ("securityContext", "automountServiceAccountToken", "enableServiceLinks")
    for name in (*same, "restartPolicy"):
        assert POD[name] == theirs[name]
    assert container()["securityContext"] == theirs["containers"][0]["securityContext"]
    assert container()["command"] == ["python", "-m", gc.__name__]
    assert POD["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert container()["volumeMounts"] == [{"name": "tmp", "mountPath": TMP}]


def test_the_cronjobs_container_empties_a_bucket_with_the_secrets_keys(
    server: S3Server, bucket: str, tmp_path: Path
):
    folder = server.folder / "data" / bucket / "artifacts/default"
    server.put(bucket, f"artifacts/default/{blob_key('a' * 64)}", b"old")
    server.put(bucket, f"artifacts/default/{blob_key('b' * 64)}", b"young")
    server.put(bucket, f"artifacts/other/{blob_key('a' * 64)}", b"of another namespace")
    os.utime(folder / blob_key("a" * 64), (OLD, OLD))
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for variable in container()["env"]:
        reference = variable["valueFrom"]["secretKeyRef"]
        assert reference["name"] == "bucket"
        if reference["key"] in KEYS:
            environment[variable["name"]] = KEYS[reference["key"]]
        else:
            assert reference["optional"]
    _, *words = container()["command"]
    address, *options = container()["args"]
    assert address == "s3://detectors/artifacts/default"
    ran = subprocess.run(
        [sys.executable, *words, address.replace("detectors", bucket), *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "removed 1 blob (0.0 MiB)\nkept 1 object" in ran.stdout
    assert sorted(server.objects(bucket)) == [
        f"artifacts/default/{blob_key('b' * 64)}",
        f"artifacts/other/{blob_key('a' * 64)}",
    ]


def test_a_cronjob_tries_again_what_may_help_only():
    job = MANIFEST["spec"]["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule == {
        "action": "FailJob", "onExitCodes": {"operator": "In", "values": [EXIT_USER]}
    }  # fmt: skip
    assert EXIT_TRANSIENT != EXIT_USER
    assert MANIFEST["spec"]["concurrencyPolicy"] == "Forbid"
