"""Remove old artifacts of a store: ``python -m mpj_runner.gc STORE``, which ``mpj gc`` starts too.

A container of the job's image does it for a cluster. Exit codes are those of a step; the words of
an error go to the standard error. Credentials come as the AWS SDK finds them: in variables of the
environment, or from an identity of the pod.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from mpj_runner.contract.access import Access
from mpj_runner.contract.errors import EXIT_TRANSIENT, EXIT_USER, TransientError, UserError
from mpj_runner.stores.base import Listed
from mpj_runner.stores.garbage import Amount, collect
from mpj_runner.stores.open import STORAGE, Places

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says, tell of it, and return the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    try:
        asked = _parser().parse_args(words)
        store = opened(asked.store, asked.endpoint_url)
        age = age_of(asked.older_than)
        for line in told(store, age, jobs=asked.jobs, delete=asked.delete):
            sys.stdout.write(f"{line}\n")
    except (UserError, TransientError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER if isinstance(error, UserError) else EXIT_TRANSIENT
    return 0


def told(store: Listed, age: timedelta, *, jobs: bool, delete: bool) -> list[str]:
    """Find what is older, remove it when that is asked for, and return what there is to say.

    Raises:
        UserError: the store can't be read or written.
    """
    found = collect(store, age, datetime.now(UTC), jobs=jobs, delete=delete)
    verb = "removed" if delete else "would remove"
    lines = [f"{verb} {_amount(found.manifests, 'manifest')}"]
    lines += [f"{verb} {_amount(found.blobs, 'blob')}"]
    lines += [f"{verb} {folder}/" for folder in found.folders]
    if found.unfinished:
        lines += [f"{verb} {found.unfinished} unfinished writes"]
    lines += [f"kept {_amount(found.kept, 'object')}"]
    if found.warning:
        lines += [f"unfinished writes were not removed: {found.warning}"]
    return lines if delete else [*lines, "nothing was removed: add --delete to do it"]


def opened(store: str, endpoint_url: str | None) -> Listed:
    """Return the store of a URI, or of a path below the current folder.

    Raises:
        UserError: it is of no known kind.
    """
    uri = store if "://" in store else Path(os.path.normpath(Path.cwd() / store)).as_uri()
    access = Access(field=STORAGE, endpoint_url=endpoint_url) if endpoint_url else None
    return Places().store(uri, access)


def age_of(text: str) -> timedelta:
    """Return an age such as 30d, 12h, 45m or 2w.

    Raises:
        UserError: it is none.
    """
    match = re.fullmatch(r"([0-9]{1,5})([mhdw])", text)
    if match is None:
        raise UserError(f"--older-than {text}: must be a number with m, h, d or w, such as 30d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: --help lists what there is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gc",
        allow_abbrev=False,
        description="Remove old artifacts from STORE. What is younger than --older-than stays, and "
        "all that it uses; so do the artifacts that the reports of kept job folders link to.",
    )
    parser.add_argument(
        "store", metavar="STORE", help="folder or s3:// URI that has blobs/ and manifests/"
    )
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        default="30d",
        help="such as 30d or 12h; longer than any job runs; default: 30d",
    )
    parser.add_argument(
        "--jobs", action="store_true", help="remove job folders too in which all is older"
    )
    parser.add_argument(
        "--delete", action="store_true", help="do it; without it, only say what would go"
    )
    parser.add_argument(
        "--endpoint-url", metavar="URL", help="S3 server; default: AWS_ENDPOINT_URL, else AWS"
    )
    return parser


def _amount(amount: Amount, noun: str) -> str:
    plural = "" if amount.objects == 1 else "s"
    return f"{amount.objects} {noun}{plural} ({amount.size_bytes / 2**20:.1f} MiB)"


if __name__ == "__main__":
    sys.exit(main())
