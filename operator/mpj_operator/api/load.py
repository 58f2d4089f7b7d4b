"""From YAML to a job, or to what is wrong with it."""

import json
from collections.abc import Hashable, Mapping
from typing import Any, Final, Literal

import yaml
from pydantic import ValidationError

from mpj_operator.api.job import GROUP, KIND, VERSION, MixedPrecisionJob
from mpj_operator.api.lenient import lenient_status
from mpj_operator.api.problems import Problem, problems_of
from mpj_runner.contract.errors import UserError

Checked = tuple[MixedPrecisionJob | None, list[Problem]]
API_VERSION: Final = f"{GROUP}/{VERSION}"


class _Loader(yaml.SafeLoader):
    """Read the part of YAML that JSON has, and refuse a key that is given twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - any value
        """Build a value; one that is not what its tag says is told with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError) as error:  # such as !!int x, or a number of 5,000 digits
            words = f"not a value of {node.tag}: {error}"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping whose keys are all different."""
        seen: set[object] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                words = (
                    "a key must be text: a template such as {{ name }} has to be filled in first"
                )
                raise yaml.constructor.ConstructorError(None, None, words, key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# Kubernetes reads YAML as JSON: a date stays the string that it was.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def validate_all(text: str, *, local: bool) -> list[Checked]:
    """Check every document of a file; empty documents are skipped.

    Args:
        text: YAML or JSON.
        local: the job is for ``mpj run``: paths and file:// are allowed, storage has a default.

    Returns:
        One (job, problems) for each document; the job is None when there are problems. A file that
        is not YAML, or has no document, gives one entry with its problem.
    """
    try:
        documents = [d for d in yaml.load_all(text, Loader=_Loader) if d is not None]
    except yaml.YAMLError as error:
        return [(None, [Problem("", _yaml_words(error))])]
    except RecursionError:
        return [(None, [Problem("", "not YAML: lists or mappings lie in each other too deep")])]
    if not documents:
        return [(None, [Problem("", "the file holds no document")])]
    return [parse(document, local=local) for document in documents]


def validate(text: str, *, local: bool) -> Checked:
    """Check a file that holds one job: see ``validate_all``."""
    checked = validate_all(text, local=local)
    if len(checked) > 1:
        words = f"the file holds {len(checked)} documents: this command takes one job"
        return None, [Problem("", words)]
    return checked[0]


def load(text: str, *, local: bool = False) -> MixedPrecisionJob:
    """Return the job of a file.

    Raises:
        UserError: it is not valid; the message has one line for each problem.
    """
    job, problems = validate(text, local=local)
    if job is None:
        raise UserError("\n".join(map(str, problems)))
    return job


def parse(document: object, *, local: bool = False, stored: bool = False) -> Checked:
    """Check one document: what YAML gives, or what the API server sends.

    Its status is the operator's own record: what is not understood of it is left out.

    Args:
        document: plain data.
        local: see ``validate_all``.
        stored: an API server keeps it, whose CRD may be of a newer version than this operator:
            during an upgrade it is there first, and fills in the defaults of fields that are not
            known here. They are left alone.
    """
    if not isinstance(document, Mapping):
        return None, [Problem("", "the document must be a mapping with apiVersion, kind and spec")]
    wanted = {"apiVersion": API_VERSION, "kind": KIND}
    wrong = [
        Problem(field, f"must be {value}")
        for field, value in wanted.items()
        if document.get(field) != value
    ]
    if wrong:
        return None, wrong
    try:
        try:
            return _checked(document, local=local, stored=stored), []
        except ValidationError as error:
            # Half a character anywhere is no JSON at all, and has no place.
            places = {problem["loc"][:1] for problem in error.errors()}
            if "status" not in document or places.isdisjoint({("status",), ()}):
                raise
        status = lenient_status(document["status"]).to_json()
        return _checked({**document, "status": status}, local=local, stored=stored), []
    except ValidationError as error:
        return None, list(problems_of(error))
    except (TypeError, ValueError, RecursionError) as error:  # such as a value that holds itself
        return None, [Problem("", f"the document is not plain data: {error}")]


def _checked(document: Mapping[Any, Any], *, local: bool, stored: bool) -> MixedPrecisionJob:
    # JSON in strict mode is what the API server reads: lists are tuples, but "1" is no number.
    text = json.dumps(document, default=_refuse)
    context = {"resource": True, "local": local}
    unknown: Literal["ignore"] | None = "ignore" if stored else None  # as each type has it
    return MixedPrecisionJob.model_validate_json(text, strict=True, extra=unknown, context=context)


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} values have no place in a resource")


def _yaml_words(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"not YAML: {error}"
    mark = error.problem_mark
    context = f"{error.context}, " if error.context else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {context}{error.problem}"
