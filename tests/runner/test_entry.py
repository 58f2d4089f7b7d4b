"""A container's process: its request, its exit code, its last words, its order of sets."""

import json
import logging
import os
import subprocess
import sys

import pytest
from counted import from_source, pod, request

from mpj_runner import __main__ as entry
from mpj_runner.contract.errors import TransientError, UserError
from mpj_runner.contract.messages import StepDone, Termination, joined, split


@pytest.mark.parametrize(
    ("error", "code", "family", "text"),
    [
        (UserError("spec.x: do y"), 64, "UserError", "spec.x: do y"),
        (TransientError("the store is away"), 75, "TransientError", "the store is away"),
        (RuntimeError("boom"), 70, "Bug", "RuntimeError: boom"),
        (UserError("ü" * 5000), 64, "UserError", None),
        (UserError('"\x01' * 3000), 64, "UserError", None),
        (UserError("the image caf\udce9.jpg"), 64, "UserError", "the image caf\\udce9.jpg"),
    ],
)
def test_exit_codes_and_last_words(
    step, store, source, tmp_path, monkeypatch, caplog, error, code, family, text
):
    step.error = error
    caplog.set_level(logging.CRITICAL)  # no report of pytest takes a name that is no UTF-8
    log = tmp_path / "termination"
    asked = request(store, inputs=from_source(source))
    monkeypatch.setenv("MPJ_REQUEST", asked.model_dump_json(exclude_none=True))
    monkeypatch.setenv("MPJ_WORK", str(pod(tmp_path, "1")))
    monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
    assert entry.main(["calibrate"]) == code
    words = Termination.decode(log.read_text())
    assert len(log.read_bytes()) <= 2048
    assert words is not None
    assert words.error is not None
    assert words.error.family == family
    if text:
        assert words.error.message == text


def test_the_same_bug_has_the_same_trace(step, store, source, tmp_path, monkeypatch):
    step.error = RuntimeError("boom")
    asked = request(store, inputs=from_source(source))
    monkeypatch.setenv("MPJ_REQUEST", asked.model_dump_json(exclude_none=True))
    traces = set()
    for number in range(2):
        log = tmp_path / f"t{number}"
        monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
        entry.main(["calibrate"])
        traces.add(Termination.decode(log.read_text()).error.trace)
    assert len(traces) == 1


def test_a_step_runs_alone_from_a_request_file(step, store, source, tmp_path, capsys):
    path = tmp_path / "request.json"
    path.write_text(request(store, inputs=from_source(source)).model_dump_json(exclude_none=True))
    assert entry.main(["calibrate", "--request", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["outcome"] == {"images": 1, "tensors": 2}


@pytest.mark.parametrize(
    ("given", "seed"), [({}, "0"), ({"PYTHONHASHSEED": "5"}, "5")], ids=["none", "one"]
)
def test_a_person_gets_the_order_of_sets_that_pods_have(tmp_path, given, seed):
    (tmp_path / "sitecustomize.py").write_text(  # every interpreter runs it when it starts
        "import os, pathlib\n"
        f"with pathlib.Path({str(tmp_path / 'seen')!r}).open('a') as file:\n"
        "    file.write(os.environ.get('PYTHONHASHSEED', 'random') + '\\n')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"}
    environment |= {**given, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "mpj_runner", "export", "--request", str(tmp_path / "none")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, "No such file" in ran.stdout) == (64, True), ran.stderr
    assert (tmp_path / "seen").read_text().split()[-1] == seed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the request is not valid"),
        ('{"step": "ptq"}', "the request is not valid"),
    ],
)
def test_a_bad_request_is_the_users_error(tmp_path, monkeypatch, text, message):
    log = tmp_path / "t"
    monkeypatch.setenv("MPJ_REQUEST", text)
    monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
    assert entry.main(["calibrate"]) == 64
    assert message in Termination.decode(log.read_text()).error.message


def test_last_words_that_are_too_long_are_a_bug_that_is_told(
    step, store, source, tmp_path, monkeypatch
):
    log = tmp_path / "termination"
    asked = request(store, inputs=from_source(source))
    monkeypatch.setenv("MPJ_REQUEST", asked.model_dump_json(exclude_none=True))
    monkeypatch.setenv("MPJ_TERMINATION_LOG", str(log))
    long = Termination(steps=(StepDone(name="a", outcome={"a": "x" * 3000}),))
    monkeypatch.setattr(entry, "_do", lambda *_: long)
    assert entry.main(["calibrate"]) == 70
    assert "termination message of" in Termination.decode(log.read_text()).error.message


def test_a_long_request_is_put_together_from_its_variables():
    text = "".join(map(str, range(60_000)))
    assert len(split(text)) == 3
    assert joined({"A": "b", **split(text)}) == text
    assert split("{}") == {"MPJ_REQUEST": "{}"}
