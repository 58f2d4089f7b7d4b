"""What the Dockerfile says, read: no build is needed."""

import re
from pathlib import Path
from typing import Final

from mpj_operator import __version__

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "Dockerfile").read_text()
STAGES: Final = dict(re.findall(r"(?ms)^FROM [^\n]* AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT))


def test_there_are_two_targets_over_one_base_that_can_be_replaced():
    assert {"operator", "job"} <= set(STAGES)
    assert re.search(r"(?m)^ARG BASE=\S+$", TEXT)
    sources = re.findall(r"(?m)^FROM (\S+)", TEXT)
    assert set(sources) - {"${BASE}"} <= set(STAGES)


def test_both_run_as_nobody_in_particular_and_without_a_shell():
    for target, module in (("operator", "mpj_operator"), ("job", "mpj_runner")):
        assert "USER 65532:65532" in STAGES[target]
        assert f'ENTRYPOINT ["python", "-m", "{module}"]' in STAGES[target]


def test_no_folder_named_operator_can_stand_for_the_standard_library():
    assert "PYTHONSAFEPATH=1" in STAGES["common"]


def test_steps_give_the_same_bytes_and_tell_nobody():
    assert "PYTHONHASHSEED=0" in STAGES["job"]
    assert "ORT_DISABLE_TELEMETRY=1" in STAGES["job"]


def test_every_package_is_held_to_the_lock():
    installs = re.findall(r"(?:pip|uv) (?:pip )?install[^\n]*(?:\\\n[^\n]*)?", TEXT)
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or "-c requirements.lock" in line


def test_the_version_is_the_operators():
    assert f"ARG VERSION={__version__}\n" in STAGES["common"]


def test_no_registry_is_named():
    for name in ("Dockerfile", ".dockerignore"):
        assert not re.search(r"[a-z0-9-]+\.(io|com|org|dev|net)\b(?!\.)", _code(name)), name


def _code(name: str) -> str:
    """Return a file without the names of OCI's annotations, which look like hosts."""
    return (ROOT / name).read_text().replace("org.opencontainers.image.", "")
