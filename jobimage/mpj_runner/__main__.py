"""Run one container: ``python -m mpj_runner STEP [--request FILE]``.

The only place that reads argv and the environment:

- ``MPJ_REQUEST``: the request as JSON (pods); or ``--request FILE`` (people). What is too long for
  one variable goes on in ``MPJ_REQUEST_1``, ``MPJ_REQUEST_2`` and so on.
- ``MPJ_WORK``: the folder that the pod's containers share.
- ``MPJ_TERMINATION_LOG``: where the container's last words go.
- ``MPJ_SEALED``: the folder that a sealed container shares with those around it.
- ``MPJ_CLAIM_<name>``: where a PersistentVolumeClaim is mounted.
- ``MPJ_CACHE``: a folder that keeps blobs between pods.
- Secrets' keys, in variables that the request's accesses name: see ``contract/access.py``.
- ``MPJ_PROBE``: a folder; look whether the step's result is in the store (exit 0) or not (exit 3),
  run nothing, and keep what would be written there.
- ``MPJ_CACHED_ONLY``: take the step's result from the store, or do nothing and exit 3.
"""

import argparse
import bisect
import contextlib
import errno
import hashlib
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from mpj_runner import sealed
from mpj_runner.contract.errors import (
    EXIT_BUG,
    EXIT_MISS,
    EXIT_TRANSIENT,
    EXIT_USER,
    TransientError,
    UserError,
)
from mpj_runner.contract.messages import Request, StepError, Termination, joined
from mpj_runner.runner import Runner
from mpj_runner.steps.table import STEPS
from mpj_runner.stores.base import Store
from mpj_runner.stores.cached import CachedStore
from mpj_runner.stores.open import Places
from mpj_runner.stores.overlay import OverlayStore

log = logging.getLogger("mpj_runner")
Family = Literal["UserError", "TransientError", "Bug"]
_EXITS: Final[Mapping[Family, int]] = {
    "UserError": EXIT_USER,
    "TransientError": EXIT_TRANSIENT,
    "Bug": EXIT_BUG,
}


def main(argv: list[str] | None = None) -> int:
    """Run a step and return the container's exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    last_words = Path(os.environ.get("MPJ_TERMINATION_LOG", os.devnull))
    try:
        with _work(os.environ.get("MPJ_WORK")) as work:
            message = _do(_request(arguments), work)
            if message is None:
                return EXIT_MISS
    except UserError as error:
        message = _failure("UserError", arguments.step, error)
    except TransientError as error:
        message = _failure("TransientError", arguments.step, error)
    except OSError as error:
        full = _full(error)
        message = _failure("UserError" if full else "Bug", arguments.step, full or error)
    except Exception as error:
        message = _failure("Bug", arguments.step, error)
    try:
        text = message.encode()
    except ValueError as error:  # too long for the kubelet: cut off, they would say nothing
        message = _failure("Bug", arguments.step, error)
        text = message.encode()
    last_words.write_text(text)
    if arguments.request:
        sys.stdout.write(f"{text}\n")
    return _EXITS[message.error.family] if message.error else 0


def _do(request: Request, work: Path) -> Termination | None:
    """Do what a request says; return the last words, or None: only looked, and found nothing."""
    shared = Path(os.environ.get("MPJ_SEALED") or work / "sealed")
    probe = os.environ.get("MPJ_PROBE")
    looks = bool(probe or os.environ.get("MPJ_CACHED_ONLY"))
    if request.store is None:
        if looks:
            return None if sealed.has_task(shared) else Termination()
        _forget_credentials()
        sealed.perform(request, shared)
        return Termination()
    places = Places(_secrets(request), _claims(request))
    store: Store = places.store(request.store, request.store_access)
    if cache := os.environ.get("MPJ_CACHE"):
        store = CachedStore(store, Path(cache))
    if probe:
        store = OverlayStore(store, Path(probe))
    runner = Runner(request, store, work, places, shared)
    if not looks:
        return runner.execute()
    return runner.last_words() if runner.probe() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mpj_runner", description=__doc__)
    parser.add_argument("step", choices=sorted(STEPS), metavar="STEP")
    parser.add_argument("--request", type=Path, help="file with the request as JSON")
    return parser


def _request(arguments: argparse.Namespace) -> Request:
    path: Path | None = arguments.request
    try:
        text = path.read_text() if path else joined(os.environ)
    except KeyError:
        raise UserError("no request: set MPJ_REQUEST or give --request FILE") from None
    except OSError as error:
        raise UserError(f"--request {path}: {error.strerror}") from error
    try:
        request = Request.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"the request is not valid: {error}") from error
    if request.step != arguments.step:
        raise UserError(f"the request is for {request.step}, the command says {arguments.step}")
    return request


def _secrets(request: Request) -> dict[str, str]:
    """Take the Secrets' keys out of the environment: no step and none of its children sees them."""
    names = [key.variable for key in request.secret_keys]
    return {name: os.environ.pop(name) for name in names if name in os.environ}


def _claims(request: Request) -> dict[str, Path]:
    """Return where the claims that the request names are mounted."""
    places = {claim: os.environ.get(f"MPJ_CLAIM_{claim}") for claim in request.claims}
    return {claim: Path(place) for claim, place in places.items() if place}


def _forget_credentials() -> None:
    """Take what reaches stores out of the environment, before a user's code runs.

    A pod's container has none. The processes of mpj run have those of whoever runs it, and an AWS
    webhook that does not know the pod's annotation adds an identity to every container.
    """
    for name in list(os.environ):
        if name.startswith(("AWS_", "MPJ_")):
            del os.environ[name]


@contextlib.contextmanager
def _work(folder: str | None) -> Iterator[Path]:
    if folder:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="mpj-") as temporary:
        yield Path(temporary)


def _full(error: OSError) -> UserError | None:
    """Return the words for a disk without room for what a step writes, or None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = error.filename or os.environ.get("MPJ_WORK") or tempfile.gettempdir()
    return UserError(
        f"no space is left for {where}: free some on that disk, or give the work another one "
        "(mpj run: --out; in a cluster: the node's ephemeral storage)"
    )


def _failure(family: Family, step: str, error: BaseException) -> Termination:
    """Log the error once and put it into last words that fit."""
    text = str(error) or type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    trace = hashlib.sha256(
        repr([(frame.filename, frame.lineno, frame.name) for frame in frames]).encode()
    ).hexdigest()[:16]
    if family == "Bug":
        log.error("step failed", exc_info=error, extra={"step": step})
        text = f"{type(error).__name__}: {text}"
    else:
        log.error("%s: %s", family, text)
    return Termination(
        error=StepError(family=family, step=step, message=_cut(text, 1000), trace=trace)
    )


def _cut(text: str, limit: int) -> str:
    """Shorten a message until its JSON form has at most ``limit`` bytes.

    A file's name that is no UTF-8 has lone surrogates, which no message may have: they are escaped.
    """
    text = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    if _size(text) <= limit:
        return text
    fits = bisect.bisect_right(range(len(text)), limit - 3, key=lambda end: _size(text[:end]))
    return text[: fits - 1] + "..."


def _size(text: str) -> int:
    """Return the bytes of a text within JSON."""
    return len(json.dumps(text)) - 2


if __name__ == "__main__":
    if sys.flags.hash_randomization and "PYTHONHASHSEED" not in os.environ:
        # ModelOpt walks sets, and files differ with their order.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very command
    sys.exit(main())
