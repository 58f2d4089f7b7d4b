"""Move one job one step forward: observe, plan, apply."""

import logging

from mpj_operator.core.plan import Plan, plan
from mpj_operator.shell.cluster import Cluster, Key

log = logging.getLogger(__name__)


async def reconcile(key: Key, cluster: Cluster) -> Plan | None:
    """Do what the plan says, then write the status if it differs; None when the job is gone.

    Actions come before the status: after a crash between the two, the next pass finds the children
    by their names.
    """
    seen = await cluster.observe(key)
    if seen is None:
        return None
    decided = plan(seen)
    for action in decided.actions:
        log.info("action", extra={"job": key.name, "action": repr(type(action).__name__)})
        await cluster.perform(key, action)
    if decided.status != seen.job.status:
        await cluster.write_status(key, decided.status)
    return decided
