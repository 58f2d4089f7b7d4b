"""Move one job one step forward: observe, plan, apply."""

import logging
from typing import Final

from mpj_operator.core.actions import Create
from mpj_operator.core.conditions import Stamp
from mpj_operator.core.plan import Plan, plan
from mpj_operator.core.refusals import Refusal, with_refusals
from mpj_operator.shell.cluster import Cluster, Key, RefusedError

log = logging.getLogger(__name__)
TRY_AGAIN: Final = 15.0
"""Seconds until a refused creation is tried again; nothing tells of a quota that is free again."""


async def reconcile(key: Key, cluster: Cluster) -> Plan | None:
    """Do what the plan says, then write the status if it differs; None when the job is gone.

    Actions come before the status: after a crash between the two, the next pass finds the children
    by their names.
    """
    seen = await cluster.observe(key)
    if seen is None:
        return None
    decided = plan(seen)
    refusals: dict[str, Refusal] = {}
    for action in decided.actions:
        log.info("%s/%s: %s", key.namespace, key.name, action)
        try:
            await cluster.perform(key, action)
        except RefusedError as error:
            if not isinstance(action, Create):
                raise
            refusals[action.name] = error.refusal
    status = with_refusals(decided.status, refusals, Stamp(seen.now, seen.job.metadata.generation))
    if status != seen.job.status:
        await cluster.write_status(key, seen.job, status)
    again = decided.look_again
    if refusals:
        again = min(again or TRY_AGAIN, TRY_AGAIN)
    return Plan(decided.actions, status, again)
