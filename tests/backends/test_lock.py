"""One benchmark at a time: across processes, and released by death."""

import logging
import os
import subprocess
import sys
import threading

import pytest

from mpj_runner.backends.lock import NAME, machine_lock

HOLDER = """
import sys
from pathlib import Path
from mpj_runner.backends.lock import machine_lock
with machine_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def waiting(folder, caplog):
    """Start to take the lock in a thread; return the thread and the event of having it."""
    has = threading.Event()

    def take():
        with machine_lock(folder):
            has.set()

    thread = threading.Thread(target=take)
    with caplog.at_level(logging.INFO):
        thread.start()
        assert not has.wait(0.5)
    return thread, has


def test_the_second_waits_and_says_for_whom(tmp_path, holder, caplog):
    thread, has = waiting(tmp_path, caplog)
    (record,) = [r for r in caplog.records if "another benchmark" in r.message]
    assert record.holder == str(holder.pid)
    holder.stdin.close()
    assert has.wait(30)
    thread.join()


def test_death_releases_it(tmp_path, holder, caplog):
    thread, has = waiting(tmp_path, caplog)
    holder.kill()
    assert has.wait(30)
    thread.join()


def test_the_file_is_everybodys_and_is_found_again(tmp_path):
    for _ in range(2):
        with machine_lock(tmp_path):
            assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o666


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / NAME).symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"), machine_lock(tmp_path):
        pass
    assert (tmp_path / "target").read_text() == "precious"


def test_a_pods_own_temporary_folder_is_not_where_it_lies(tmp_path):
    code = (
        "import tempfile; from mpj_runner.backends.lock import SHARED; "
        "print(tempfile.gettempdir(), SHARED)"
    )
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True)
    pods, everyones = done.stdout.split()
    assert pods == str(tmp_path)
    assert not everyones.startswith(pods)
