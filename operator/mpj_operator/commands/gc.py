"""``mpj gc``: what of a store is old, and its removal."""

import re
from pathlib import Path
from typing import Final

from rich.console import Console

from mpj_operator.commands.errands import do
from mpj_operator.commands.files import absolute_uri
from mpj_runner.contract.access import Access
from mpj_runner.contract.errands import Amount, Collect, Collected, Errand
from mpj_runner.contract.errors import UserError

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def gc(
    store: str,
    older_than: str,
    endpoint_url: str | None,
    *,
    jobs: bool,
    delete: bool,
    console: Console,
) -> int:
    """Print what a store would lose, or has lost; return 0.

    Raises:
        UserError: the store can't be read or written, or the age is none.
    """
    uri = absolute_uri(store, Path.cwd())
    errand = Errand(
        store=uri,
        access=Access(field="spec.storage", endpoint_url=endpoint_url) if endpoint_url else None,
        collect=Collect(older_than_seconds=seconds(older_than), jobs=jobs, delete=delete),
    )
    found = Collected.model_validate_json(do(errand))
    verb = "removed" if delete else "would remove"
    lines = [
        f"{verb} {_words(found.manifests, 'manifest')}",
        f"{verb} {_words(found.blobs, 'blob')}",
    ]
    lines += [f"{verb} {folder}/" for folder in found.folders]
    if found.unfinished:
        lines.append(f"{verb} {found.unfinished} unfinished writes")
    lines.append(f"kept {_words(found.kept, 'object')}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not delete:
        console.print("nothing was removed: add --delete to do it", highlight=False)
    return 0


def seconds(age: str) -> int:
    """Return the seconds of an age such as 30d, 12h, 45m or 2w.

    Raises:
        UserError: it is none.
    """
    match = re.fullmatch(r"([0-9]{1,5})([mhdw])", age)
    if match is None:
        raise UserError(f"--older-than {age}: must be a number with m, h, d or w, such as 30d")
    return int(match[1]) * _SECONDS[match[2]]


def _words(amount: Amount, noun: str) -> str:
    plural = "" if amount.objects == 1 else "s"
    return f"{amount.objects} {noun}{plural} ({amount.size_bytes / 2**20:.1f} MiB)"
