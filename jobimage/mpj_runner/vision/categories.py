"""From a data set's categories to the model's class indices."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from mpj_runner.contract.errors import UserError

CategoryMapping = Literal["Name", "ID", "Order"]
_SHOWN = 5


def class_names(
    names: Sequence[str] | None, count: int, categories: Mapping[int, str], field: str
) -> tuple[str, ...]:
    """Return the model's class names: its own, else those of the categories in order of their ids.

    Raises:
        UserError: the model names none and the data set has another number of categories.
    """
    if names is not None:
        return tuple(names)
    if len(categories) != count:
        raise _disagree(count, categories, field)
    return tuple(categories[key] for key in sorted(categories))


def class_indices(
    names: Sequence[str] | None,
    count: int,
    categories: Mapping[int, str],
    used: Iterable[int],
    mapping: CategoryMapping,
    field: str,
) -> dict[int, int]:
    """Return class indices by category id.

    Args:
        names: the model's class names; None: it has none, so Name means Order.
        count: of the model's classes.
        categories: names by id.
        used: ids that objects have; a category without objects needs no class.
        mapping: Name: equal names, upper and lower case alike where that is unambiguous. ID: the
            class index is the id when the smallest id is 0, else the id - 1. Order: the sorted ids
            are the classes in order.
        field: for messages, such as "spec.validation".

    Raises:
        UserError: a used category has no class, or the counts disagree.
    """
    if mapping == "ID":
        base = 0 if 0 in categories else 1
        found = {key: key - base for key in categories if 0 <= key - base < count}
    elif mapping == "Order" or names is None:
        if len(categories) != count:
            raise _disagree(count, categories, field)
        found = {key: index for index, key in enumerate(sorted(categories))}
    else:
        found = _by_name(names, categories)
    missing = [categories[key] for key in sorted(set(used)) if key not in found]
    if missing:
        have = f"the model's {count} classes ({_listed(names)})" if names else f"{count} classes"
        raise UserError(
            f"{field}: categories {_listed(missing)} are not among {have}: correct "
            f"spec.model.classes, or set {field}.categoryMapping to "
            f"{'Name or Order' if mapping == 'ID' else 'ID or Order'}"
        )
    return found


def _by_name(names: Sequence[str], categories: Mapping[int, str]) -> dict[int, int]:
    exact = {name.strip(): index for index, name in enumerate(names)}
    folded: dict[str, int | None] = {}
    for name, index in exact.items():
        folded[name.casefold()] = None if name.casefold() in folded else index
    found = {
        key: exact.get(name.strip(), folded.get(name.strip().casefold()))
        for key, name in categories.items()
    }
    return {key: index for key, index in found.items() if index is not None}


def _disagree(count: int, categories: Mapping[int, str], field: str) -> UserError:
    return UserError(
        f"{field}: the model has {count} classes but the annotations have {len(categories)} "
        f"categories ({_listed(list(categories.values()))}): name the model's classes in "
        f"spec.model.classes and set {field}.categoryMapping to Name or ID, or correct the "
        "annotations"
    )


def _listed(names: Sequence[str] | None) -> str:
    shown = ", ".join(repr(name) for name in (names or ())[:_SHOWN])
    return shown + (", …" if len(names or ()) > _SHOWN else "")
