"""Move one job one step forward: observe, plan, apply."""

import logging

from mpj_operator.core.actions import Create
from mpj_operator.core.conditions import Stamp
from mpj_operator.core.observed import ChildSeen
from mpj_operator.core.plan import Plan, plan
from mpj_operator.core.refusals import Refusal, with_refusals
from mpj_operator.shell.cluster import TRY_AGAIN, Cluster, Key, RefusedError

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
    refusals: dict[str, Refusal] = {}
    waits = [] if decided.look_again is None else [decided.look_again]
    if any(map(_waits_for_a_pod, seen.children)):
        waits.append(TRY_AGAIN)
    for action in decided.actions:
        log.info("%s/%s: %s", key.namespace, key.name, action)
        try:
            await cluster.perform(key, action)
        except RefusedError as error:
            if not isinstance(action, Create):
                raise
            refusals[action.name] = error.refusal
            waits.append(error.seconds)
    status = with_refusals(decided.status, refusals, Stamp(seen.now, seen.job.metadata.generation))
    if status != seen.job.status:
        await cluster.write_status(key, seen.job, status)
    return Plan(decided.actions, status, min(waits, default=None))


def _waits_for_a_pod(child: ChildSeen) -> bool:
    """Tell whether something may keep a child's pods from being made or started, silently."""
    if child.waits_on_its_node_since is not None:
        return True
    return child.outcome is None and not (child.suspended or child.deleting or child.pods)
