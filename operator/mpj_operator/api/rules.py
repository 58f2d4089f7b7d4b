"""One rule in two languages: CEL for the API server, Python for everyone else."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from pydantic import GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from mpj_runner.contract.base import Value

BROKEN: Final = "broken_rules"
"""Type of the pydantic error that carries the broken rules of one value."""


def _nowhere(_: Any) -> Iterable[str]:  # noqa: ANN401 - any value that has rules
    return ()


@dataclass(frozen=True)
class Rule:
    """What must hold between the members of a value."""

    message: str
    """What must be done, in the words that both sides use; follows the field's path."""
    cel: str | None = None
    """The rule for the API server; None where CEL cannot say it at an acceptable cost."""
    broken: Callable[[Any], Iterable[str]] = _nowhere
    """Paths of the members at fault below the value, "" for the value itself; transition rules,
    which compare with the old value, have none."""
    field: str = ""
    """The member that the API server blames."""
    cluster_only: bool = False
    """Does not hold for ``mpj run``."""

    def schema(self) -> dict[str, str]:
        """Return the rule as an entry of x-kubernetes-validations."""
        where = {"fieldPath": f".{self.field}"} if self.field else {}
        return {"rule": self.cel or "", "message": self.message, **where}


class Ruled(Value):
    """A value with rules."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _hold(self, info: ValidationInfo) -> Self:
        local = bool((info.context or {}).get("local"))
        broken = [
            (path, rule.message)
            for rule in self.rules
            if not (local and rule.cluster_only)
            for path in rule.broken(self)
        ]
        if broken:
            text = "; ".join(f"{path}: {words}" if path else words for path, words in broken)
            raise PydanticCustomError(BROKEN, "{text}", {"text": text, "broken": broken})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the CEL rules."""
        made = handler(schema)
        rules = [rule.schema() for rule in cls.rules if rule.cel]
        if rules:
            handler.resolve_ref_schema(made)["x-kubernetes-validations"] = rules
        return made


def when(fault: bool, path: str = "") -> tuple[str, ...]:
    """Return the path when there is a fault."""
    return (path,) if fault else ()


def exactly_one(*members: str) -> Rule:
    """Make the rule that one of a value's optional members is set, and no other.

    Args:
        members: names as in Python.
    """
    names = [Value.model_config["alias_generator"](m) for m in members]  # type: ignore[operator,misc] # a function
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return Rule(
        message=f"exactly one of {listed} must be set",
        cel=f"[{', '.join(f'has(self.{n})' for n in names)}].filter(x, x).size() == 1",
        broken=lambda v: when(sum(getattr(v, m) is not None for m in members) != 1),
    )


def duplicates(items: Iterable[str], path: str, key: str) -> Iterable[str]:
    """Yield the path of each item that an earlier one equals."""
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item in seen:
            yield f"{path}[{index}].{key}"
        seen.add(item)
