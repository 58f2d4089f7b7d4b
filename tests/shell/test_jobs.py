"""Job values as processes: what the Job controller and the kubelet do, on this computer."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from mpj_operator.core.names import LABEL_ATTEMPT, LABEL_UNIT
from mpj_operator.shell import jobs
from mpj_operator.shell.jobs import LocalJob
from mpj_operator.shell.processes import Processes


def container(name: str, code: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "command": ["python", "-c", textwrap.dedent(code)],
        "volumeMounts": [{"name": "work", "mountPath": "/mpj/work"}],
        "env": [{"name": "MPJ_WORK", "value": "/mpj/work"}],
        **fields,
    }


def value(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64]}}]
    return {
        "metadata": {"name": "job-a", "labels": {LABEL_UNIT: "a", LABEL_ATTEMPT: "1"}},
        "spec": {
            "backoffLimit": 2,
            "podFailurePolicy": {"rules": rules},
            "template": {
                "spec": {
                    "initContainers": list(containers[:-1]),
                    "containers": [containers[-1]],
                    "volumes": [{"name": "work", "emptyDir": {}}],
                }
            },
            **spec,
        },
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "BACKOFF_SECONDS", 0.01)


@pytest.fixture
async def processes():
    made = Processes()
    yield made
    await made.close()


@pytest.fixture
def local(tmp_path, processes):
    """Return a function that makes a job of a value."""

    def make(job_value: dict[str, Any]) -> LocalJob:
        folders = tmp_path / "pods", tmp_path / "logs"
        return LocalJob(job_value, *folders, lambda: None, processes)

    return make


@pytest.fixture
def run(local):
    """Return a function that runs a job of a value to its end."""

    async def to_end(job_value: dict[str, Any]):
        job = local(job_value)
        await job.run()
        return job.seen()

    return to_end


WRITE = """
import os, pathlib
with open(pathlib.Path(os.environ["MPJ_WORK"]) / "order", "a") as f: f.write("{name} ")
"""
SAY = """
import os, pathlib
work = pathlib.Path(os.environ["MPJ_WORK"])
pathlib.Path(os.environ["MPJ_TERMINATION_LOG"]).write_text((work / "order").read_text())
print("logged")
"""


async def test_containers_run_in_order_and_share_a_folder(run, tmp_path):
    job_value = value(
        container("one", WRITE.format(name="one")),
        container("two", WRITE.format(name="two")),
        container("say", SAY),
    )
    seen = await run(job_value)
    assert seen.outcome == "Complete"
    (pod,) = seen.pods
    assert [c.exit_code for c in pod.containers] == [0, 0, 0]
    assert pod.containers[-1].message == "one two "
    assert (tmp_path / "logs" / "say.log").read_text() == "logged\n"
    assert not (tmp_path / "pods").exists()


async def test_a_failing_init_container_ends_the_pod_and_is_retried(run, tmp_path):
    seen = await run(value(container("bad", "raise SystemExit(75)"), container("never", "")))
    assert (seen.outcome, seen.reason) == ("Failed", "BackoffLimitExceeded")
    assert len(seen.pods) == 3
    assert [c.state for c in seen.pods[0].containers] == ["terminated", "waiting"]


async def test_exit_64_fails_the_job_at_once(run, tmp_path):
    seen = await run(value(container("bad", "raise SystemExit(64)")))
    assert (seen.outcome, seen.reason, len(seen.pods)) == ("Failed", "PodFailurePolicy", 1)


async def test_a_step_that_is_killed_is_retried_and_succeeds(run, tmp_path):
    flag = tmp_path / "killed"
    code = f"""
    import os, pathlib, signal
    if not pathlib.Path({str(flag)!r}).exists():
        pathlib.Path({str(flag)!r}).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    seen = await run(value(container("once", code)))
    assert seen.outcome == "Complete"
    assert [pod.containers[0].exit_code for pod in seen.pods] == [137, 0]


async def test_the_deadline_ends_a_job(run, tmp_path):
    seen = await run(
        value(container("slow", "import time; time.sleep(60)"), activeDeadlineSeconds=1)
    )
    assert (seen.outcome, seen.reason) == ("Failed", "DeadlineExceeded")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(path: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


async def test_a_forked_module_is_like_any_other_command(run, tmp_path):
    code = """
    import os, pathlib, sys
    print(os.environ["ONE"], os.getcwd(), os.getsid(0) == os.getpid(), file=sys.stderr)
    os._exit(3)
    """
    env = [{"name": "ONE", "value": "1"}]
    seen = await run(value(container("m", "", command=module(code), env=env), backoffLimit=0))
    assert seen.pods[0].containers[0].exit_code == 3
    assert (tmp_path / "logs/m.log").read_text() == f"1 {tmp_path}/pods/0 True\n"


SPAWN = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({pid!r}).write_text(str(child.pid))
time.sleep(60)
"""


@pytest.mark.parametrize("forked", [False, True])
async def test_cancelling_ends_the_whole_process_group(local, tmp_path, forked):
    pid = tmp_path / "pid"
    code = SPAWN.format(pid=str(pid))
    fields = {"command": module(code)} if forked else {}
    job = local(value(container("parent", code, **fields)))
    task = asyncio.create_task(job.run())
    grandchild = await asyncio.to_thread(wait_for, pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if not alive(grandchild):
            break
        await asyncio.sleep(0.05)
    assert not alive(grandchild)


def module(code: str) -> list[str]:
    """Return a command that runs code as ``python -m``: the way that is forked from a server."""
    return ["python", "-m", "timeit", "-n1", "-r1", "-s", textwrap.dedent(code)]


@pytest.mark.parametrize("forked", [False, True])
def test_a_step_dies_with_its_executor(tmp_path, forked):
    pid = tmp_path / "pid"
    code = f"""
    import os, pathlib, time
    pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))
    time.sleep(60)
    """
    fields = {"command": module(code)} if forked else {}
    script = f"""
import asyncio, pathlib
from mpj_operator.shell.jobs import LocalJob
from mpj_operator.shell.processes import Processes
job = LocalJob({value(container("step", code, **fields))!r}, pathlib.Path({str(tmp_path)!r}) / "p",
               pathlib.Path({str(tmp_path)!r}) / "l", lambda: None, Processes())
asyncio.run(job.run())
"""
    executor = subprocess.Popen([sys.executable, "-c", script])
    step = wait_for(pid)
    executor.send_signal(signal.SIGKILL)
    executor.wait()
    for _ in range(100):
        if not alive(step):
            break
        time.sleep(0.05)
    assert not alive(step)
    assert (tmp_path / "p").exists()  # what a killed executor leaves, the next run removes
