"""Read a status that another version of the operator wrote, as far as it is understood."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from mpj_operator.api.status import JobStatus

Place = tuple[int | str, ...]
_ROUNDS: Final = 16
"""What is left out may leave something else wrong, at most once for each level of nesting."""


def lenient_status(raw: object) -> JobStatus:
    """Return a status without what is not understood: unknown members, and values out of range.

    A status is only a record: what is missing in it is found out again. It must never keep a job
    from being read.

    Args:
        raw: as the API server sends it, or as YAML gives it; None: there is none.

    Raises:
        TypeError: it has values that JSON has not.
        ValueError: it holds itself.
    """
    known = json.loads(json.dumps(raw)) if isinstance(raw, Mapping) else {}
    for _ in range(_ROUNDS):
        try:
            context = {"resource": True}
            return JobStatus.model_validate_json(json.dumps(known), strict=True, context=context)
        except ValidationError as error:
            places = _wrong(error)
            if () in places:
                break  # not JSON at all, such as half a surrogate pair
            for place in places:
                _leave_out(known, place)
    return JobStatus()


def _wrong(error: ValidationError) -> list[Place]:
    """Return the places to leave out, the last of a list first: what is behind them moves.

    Where something is missing, that is what should hold it.
    """
    found = {
        problem["loc"][:-1] if problem["type"] == "missing" else problem["loc"]
        for problem in error.errors(include_url=False, include_input=False)
    }
    outermost = {p for p in found if not any(p[:n] in found for n in range(len(p)))}
    return sorted(outermost, reverse=True)


def _leave_out(status: dict[str, Any], place: Place) -> None:
    """Remove the value at a place."""
    holder: Any = status
    for part in place[:-1]:
        holder = holder[part]
    del holder[place[-1]]
