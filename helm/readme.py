"""Write the table of values into the chart's README, from the comments of values.yaml.

``python helm/readme.py`` rewrites the part of the README between its two marks. A value without a
comment above it is an error.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

CHART: Final = Path(__file__).parent / "mixedprecision-operator"
BEGIN: Final = "<!-- values: made by `make generate` from values.yaml -->\n"
END: Final = "<!-- end of values -->\n"


def values(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each value's dotted key, its default as JSON, and its comment, in order.

    A value is what is not itself a block of values: a comment right above a map says that it is
    one value.

    Raises:
        ValueError: a value has no comment; the message names it.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("values.yaml: must be a map")  # noqa: TRY004 - what it holds is wrong
    yield from _block(root, "", text.splitlines())


def _block(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        comment = _comment(lines, key.start_mark.line)
        if comment:
            default = yaml.safe_load(yaml.serialize(value))
            yield name, json.dumps(default, ensure_ascii=False), comment
        elif isinstance(value, yaml.MappingNode) and value.value:
            yield from _block(value, f"{name}.", lines)
        else:
            raise ValueError(f"values.yaml: {name} has no comment above it")


def _comment(lines: list[str], line: int) -> str:
    """Return the comment that ends right above a line (counted from 0)."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("# "):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("# "))
    return " ".join(found)


def table(text: str) -> str:
    """Return the values as a Markdown table."""
    rows = ["| value | default | what it is |", "|---|---|---|"]
    rows += [f"| `{name}` | `{default}` | {words} |" for name, default, words in values(text)]
    return "\n".join(rows) + "\n"


def with_table(readme: str, made: str) -> str:
    """Return a README with the part between its marks replaced."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{made}{END}{after}"


def main() -> None:
    """Rewrite the README."""
    readme = CHART / "README.md"
    made = table((CHART / "values.yaml").read_text())
    readme.write_text(with_table(readme.read_text(), made))


if __name__ == "__main__":
    main()
