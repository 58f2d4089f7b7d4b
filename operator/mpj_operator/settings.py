"""What the operator is told by its environment: read once, at the edge."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from mpj_runner.contract.base import Value
from mpj_runner.contract.errors import UserError

PREFIX = "MPJ_OPERATOR_"


class OperatorSettings(Value):
    """One field for each variable MPJ_OPERATOR_<FIELD>; the chart sets them from its values."""

    image: Annotated[str, Field(min_length=1)]
    """Image of the steps' containers, best by digest: pinned in each job at its first reconcile."""
    fixed_ids: bool = True
    """Run the pods of jobs as user and group 65532; false where the cluster assigns them."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch, separated by commas; none: all."""
    workers: Annotated[int, Field(ge=1, le=256)] = 8
    """Jobs reconciled at once."""
    connections: Annotated[int, Field(ge=1, le=1024)] = 32
    """HTTP connections to the API server."""
    resync_seconds: Annotated[float, Field(ge=1)] = 120
    """How often all unfinished jobs are looked at without an event."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Of /healthz, /readyz and /metrics; 0: any free one."""
    leader_election: bool = False
    """Hold a Lease while working; needed with more than one replica."""
    lease_name: str = "mixedprecision-operator"
    """Name of that Lease, in pod_namespace."""
    pod_name: str = "operator"
    """This pod: its name in Events and in the Lease."""
    pod_namespace: str = "default"
    """Where the Lease lies."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Of the operator's own log."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value


def read_settings(environment: Mapping[str, str]) -> OperatorSettings:
    """Return the settings of an environment; variables of other names are left alone.

    Raises:
        UserError: a variable is missing, wrong or unknown; the message names it.
    """
    given = {
        key.removeprefix(PREFIX).lower(): value
        for key, value in environment.items()
        if key.startswith(PREFIX)
    }
    try:
        return OperatorSettings.model_validate(given, by_name=True)
    except ValidationError as error:
        words = [
            f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        ]
        raise UserError("\n".join(words)) from error
