"""Do an errand at a store: ``python -m mpj_runner.errand``, for commands of the operator.

Reads an ``Errand`` as JSON from the standard input and writes what came of it to the standard
output. Exit codes are those of a step; the words of an error go to the standard error. Secrets
come in variables of the environment, as in a step's container.
"""

import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mpj_runner.contract.errands import Collect, Collected, Errand, Fetch
from mpj_runner.contract.errors import EXIT_TRANSIENT, EXIT_USER, TransientError, UserError
from mpj_runner.stores.base import Listed, blob_key, file_digest
from mpj_runner.stores.garbage import Used, old_objects
from mpj_runner.stores.open import Places


def main() -> int:
    """Do the errand and return the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    errand = Errand.model_validate_json(sys.stdin.read())
    try:
        store = Places(os.environ).store(errand.store, errand.access)
        if errand.fetch is not None:
            fetch(store, errand.fetch)
        if errand.collect is not None:
            sys.stdout.write(collect(store, errand.collect, datetime.now(UTC)).model_dump_json())
    except (UserError, TransientError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER if isinstance(error, UserError) else EXIT_TRANSIENT
    return 0


def fetch(store: Listed, wanted: Fetch) -> None:
    """Bring blobs to paths; a file is there whole or not at all.

    Raises:
        UserError: one is missing or damaged.
    """
    for name, sha256 in wanted.blobs.items():
        path = Path(name)
        temporary = path.with_name(f".{path.name}.part")
        try:
            if not store.fetch(blob_key(sha256), temporary):
                raise UserError(f"{store.uri(blob_key(sha256))} is gone from the store")
            if file_digest(temporary) != sha256:
                raise UserError(f"{store.uri(blob_key(sha256))} is damaged: run the job again")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def collect(store: Listed, asked: Collect, now: datetime) -> Collected:
    """Find what is old, and remove it when that is asked for.

    To read all that is young takes a while, so right before the removal there is a second look,
    which reads only what was written since.
    """
    age, used = timedelta(seconds=asked.older_than_seconds), Used()
    found, _ = old_objects(store, now - age, jobs=asked.jobs, used=used)
    if not asked.delete:
        return found
    found, keys = old_objects(store, now - age, jobs=asked.jobs, used=used)
    store.remove(keys)
    return found.model_copy(update={"unfinished": store.remove_unfinished(age)})


if __name__ == "__main__":
    sys.exit(main())
