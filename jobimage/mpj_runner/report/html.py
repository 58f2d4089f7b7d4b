"""Markup that is escaped by construction."""

import html
from typing import Final

_VOID: Final = frozenset({"meta", "link", "br", "rect", "line", "circle", "path"})


class Markup(str):
    """Text that is already markup; every other string is escaped."""

    __slots__ = ()


def text(*parts: object) -> Markup:
    """Join parts; what is not Markup is escaped, None is nothing."""
    return Markup(
        "".join(p if isinstance(p, Markup) else html.escape(str(p)) for p in parts if p is not None)
    )


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Make an element.

    Args:
        name: its name.
        children: its content, as for ``text``.
        attributes: an underscore stands for a hyphen and one at the end for nothing (``class_``);
            None and False leave the attribute out, True gives it no value.
    """
    given = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        given += f" {word}" if value is True else f' {word}="{html.escape(str(value))}"'
    if name in _VOID and not children:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{text(*children)}</{name}>")
