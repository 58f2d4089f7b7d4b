"""What kopf watches: every event puts a key on the queue, and nothing else happens here."""

from typing import Any, Final

import kopf

from mpj_operator.api.job import GROUP, PLURAL, VERSION
from mpj_operator.core import names
from mpj_operator.shell.inbox import Doorstep
from mpj_operator.shell.kube.login import Growing, Login, by_proxy

CHILDREN: Final = (("batch", "v1", "jobs"), ("", "v1", "pods"))
"""Of these those are watched that have the label of a job's name: see ``kopf_settings``."""


def registry(inbox: Doorstep) -> kopf.OperatorRegistry:
    """Return the handlers of jobs, of their children, and of the children's pods."""
    handlers = kopf.OperatorRegistry()

    session = Login()

    @kopf.on.login(registry=handlers)
    async def login(**given: Any) -> kopf.AiohttpSession | None:  # noqa: ANN401 - kopf's own
        return await session(**given)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def job(type: str | None, body: kopf.Body, **_: object) -> None:  # noqa: A002 - kopf's
        inbox.job(body["metadata"], deleted=type == "DELETED")

    for resource in CHILDREN:

        @kopf.on.event(*resource, registry=handlers)
        async def child(body: kopf.Body, **_: object) -> None:
            inbox.child(body["metadata"])

    return handlers


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: watch only ours, post nothing, never give up."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    # What is to be watched is known and is there: no rights on CRDs and namespaces are needed.
    chosen.scanning.disabled = True
    chosen.networking.error_backoffs = Growing()
    chosen.networking.trust_env = by_proxy()  # as for all other requests
    chosen.watching.chunk_size = 100  # parsed at once when it starts: of 500 it took 70 MB more
    # Handlers keep nothing in objects, and none asks what has changed: spares looking for both.
    chosen.persistence.progress_storage = kopf.MultiProgressStorage(())
    chosen.persistence.diffbase_storage = _NoDifferences()
    for resource in CHILDREN:
        chosen.watching.label_selectors[resource] = names.LABEL_JOB
    chosen.queueing.idle_timeout = 1.0
    chosen.queueing.exit_timeout = 0.5  # handlers only put keys on a queue
    return chosen


class _NoDifferences(kopf.DiffBaseStorage):
    """Spares kopf a deep copy of every object seen: no handler here asks what has changed."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None:
        """Keep nothing."""
