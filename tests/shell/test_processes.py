"""Commands forked from servers: what is loaded for them, and when a server may not fork."""

import asyncio
import os
import textwrap
from pathlib import Path

import onnx
import pytest
from small_detector import random_images, small_detector

from mpj_operator.shell import processes as module
from mpj_operator.shell.forkclient import Command, ForkServer, Refused
from mpj_operator.shell.processes import HEAVY, SINGLE_THREADED, Processes
from mpj_runner.calibration.collect import collect
from mpj_runner.contract.errors import EXIT_MISS
from mpj_runner.contract.messages import Input, Request, Termination
from mpj_runner.contract.model import InputSize, ModelMetadata

MODULES = {
    "quiet": "",
    "loud": "import os; print('loaded loudly'); os.system('echo from a child')",
    "threaded": """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    """,
    "temporary": "import tempfile; tempfile.gettempdir()",
    "slow": "import time; time.sleep(1)",
}


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, code in MODULES.items():
        (folder / f"{name}_module.py").write_text(textwrap.dedent(code))
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture
async def server(environment):
    made = ForkServer(environment)
    yield made
    await made.close()


def command(tmp_path: Path, code: str, **environment: str) -> Command:
    words = ("python", "-m", "timeit", "-n1", "-r1", "-s", textwrap.dedent(code))
    return Command(words, {**os.environ, **environment}, tmp_path, tmp_path / "log")


async def run(server: ForkServer, asked: Command, *modules: str) -> int:
    _, ended = await server.fork(asked, modules)
    return await ended


EXIT_2_UNLESS_LOADED = "import os, sys; os._exit(0 if 'quiet_module' in sys.modules else 2)"


async def test_modules_are_loaded_before_the_fork_and_only_when_asked_for(server, tmp_path):
    asked = command(tmp_path, EXIT_2_UNLESS_LOADED)
    assert await run(server, asked) == 2
    assert await run(server, asked, "quiet_module") == 0


async def test_what_a_module_says_while_it_is_loaded_is_in_the_log(server, tmp_path):
    assert await run(server, command(tmp_path, "import os; os._exit(0)"), "loud_module") == 0
    assert set((tmp_path / "log").read_text().split("\n")) == {
        "loaded loudly",
        "from a child",
        "",
    }


@pytest.mark.parametrize("name", ["threaded_module", "absent_module"])
async def test_what_does_not_survive_a_fork_is_refused(server, tmp_path, name):
    asked = command(tmp_path, "import os; os._exit(0)")
    with pytest.raises(Refused):
        await server.fork(asked, [name])
    assert await run(server, asked) == 0


async def test_a_child_has_its_own_folder_of_temporary_files(server, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    code = "import os, tempfile; print(tempfile.gettempdir(), flush=True); os._exit(0)"
    await run(server, command(tmp_path, code, TMPDIR=str(own)), "temporary_module")
    assert (tmp_path / "log").read_text() == f"{own}\n"


async def test_hashes_are_the_same_in_every_server(environment, tmp_path):
    """ModelOpt walks sets of names: files that it writes are equal to the byte then."""
    asked = command(tmp_path, "import os; print(hash('a name'), flush=True); os._exit(0)")
    for _ in range(2):
        server = ForkServer(environment)
        await run(server, asked)
        await server.close()
    one, other = (tmp_path / "log").read_text().splitlines()
    assert one == other


async def test_a_command_cancelled_before_it_began_does_not_run_on(server, tmp_path):
    code = "import time; time.sleep(2); open('survived', 'w')"
    task = asyncio.create_task(server.fork(command(tmp_path, code), ["slow_module"]))
    await asyncio.sleep(0.5)
    task.cancel()
    assert await run(server, command(tmp_path, "import time, os; time.sleep(3); os._exit(0)")) == 0
    assert not (tmp_path / "survived").exists()


async def test_closing_does_not_wait_for_modules(server, tmp_path):
    asked = command(tmp_path, "import os; os._exit(0)")
    assert await run(server, asked) == 0
    (tmp_path / "modules" / "endless_module.py").write_text("import time; time.sleep(60)")
    task = asyncio.create_task(server.fork(asked, ["endless_module"]))
    await asyncio.sleep(0.2)
    async with asyncio.timeout(10):
        await server.close()
    await task


async def test_modelopt_is_loaded_single_threaded(tmp_path):
    """Real: all that the heavy steps import, once; then a fork is safe."""
    server = ForkServer({**os.environ, **SINGLE_THREADED})
    try:
        names = {name for names in HEAVY.values() for name in names}
        asked = command(tmp_path, "import os; os._exit(0)")
        assert await run(server, asked, *sorted(names)) == 0
    finally:
        await server.close()


def ptq_request(folder: Path) -> str:
    """Return a request whose inputs are real: a small detector and statistics of it."""
    model = small_detector()
    onnx.save(model, folder / "model.onnx")
    collect(model, random_images(2), input_name="images").save(folder / "statistics.npz")
    metadata = ModelMetadata(
        input_name="images",
        output_name=model.graph.output[0].name,
        batch_size=1,
        input_size=InputSize(height=32, width=32),
        class_count=2,
        preprocess={},
        decoder="YOLO",
        opset=19,
        source_format="onnx",
    )
    (folder / "metadata.json").write_text(metadata.model_dump_json())
    files = {"model": "model.onnx", "statistics": "statistics.npz", "metadata": "metadata.json"}
    return Request(
        step="ptq",
        name="ptq",
        params={"keepHead": False},
        inputs={name: Input(source=(folder / x).as_uri()) for name, x in files.items()},
        store=(folder / "store").as_uri(),
    ).model_dump_json(exclude_none=True)


async def test_a_heavy_step_is_forked_warm_unless_the_store_has_its_result(tmp_path, monkeypatch):
    warm = []
    fork = ForkServer.fork

    async def noted(server, asked, modules=()):
        warm.append(bool(modules))
        return await fork(server, asked, modules)

    monkeypatch.setattr(ForkServer, "fork", noted)
    request = ptq_request(tmp_path)
    processes = Processes()
    messages = []
    try:
        for pod in ("first", "second"):
            (tmp_path / pod).mkdir()
            environment = {
                **os.environ,
                "MPJ_REQUEST": request,
                "MPJ_WORK": str(tmp_path / pod),
                "MPJ_TERMINATION_LOG": str(tmp_path / pod / "words"),
            }
            words = ("python", "-m", "mpj_runner", "ptq")
            asked = Command(words, environment, tmp_path / pod, tmp_path / pod / "log")
            assert await processes.execute(asked) == 0, (tmp_path / pod / "log").read_text()
            messages.append(Termination.decode((tmp_path / pod / "words").read_text()))
    finally:
        await processes.close()
    assert warm == [False, True, False]
    assert [message.steps[0].cached for message in messages] == [False, True]
    assert messages[0].steps[0].blobs == messages[1].steps[0].blobs


async def test_another_environment_for_libraries_is_not_mixed_in(tmp_path, monkeypatch):
    """A pod override of OMP_NUM_THREADS, say: torch reads it while it is loaded."""
    monkeypatch.setattr(module, "HEAVY", {"ptq": ("colorsys",)})
    warm = []

    async def noted(server, asked, modules=()):
        warm.append((bool(modules), asked.environment.get("OMP_NUM_THREADS")))
        ended = asyncio.get_running_loop().create_future()
        ended.set_result(0 if "MPJ_CACHED_ONLY" not in asked.environment else EXIT_MISS)
        return 0, ended

    monkeypatch.setattr(ForkServer, "fork", noted)
    processes = Processes()
    for threads in ("1", "2", "1"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MPJ_WORK": threads}
        words = ("python", "-m", "mpj_runner", "ptq")
        await processes.execute(Command(words, environment, tmp_path, tmp_path / "log"))
    runs = [(True, "1"), (False, "2"), (True, "1")]
    assert warm == [x for run in runs for x in ((False, run[1]), run)]
