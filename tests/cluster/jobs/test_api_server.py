"""An API server that goes away, refuses, cuts, says nothing, and forgets."""

import itertools
import random
from collections import Counter

from apiproxy import api_proxy
from judged import assert_complete
from operating import operator

REFUSALS = {"GET": [500, 503], "POST": [409, 500, 503, 429, "cut"], "PATCH": [409, 500, 503, "cut"]}
SHARE = {"GET": 0.08, "POST": 0.2, "PATCH": 0.35}
"""How many are refused: a pass makes three or four reads, and one write at most of a status."""


def test_the_api_server_restarts(world, operating, answers):
    world.apply()
    with answers.holding("reference"):
        world.until_unit("reference", state="Running")
        world.plane.restart("kube-apiserver")
    assert_complete(world.until("Complete", seconds=90))


def test_a_watch_that_is_told_410_after_compaction(world, operating):
    world.apply("before")
    assert_complete(world.until("Complete", "before"))
    world.plane.expire()
    world.apply("after")
    assert_complete(world.until("Complete", "after", 90))


def test_writes_and_reads_are_refused_now_and_then(alone, plane, account_name, world):
    """Every fault is played at least once; which requests are refused has no rhythm."""
    chance = random.Random(1)  # noqa: S311 - no secret
    faults = {verb: itertools.cycle(found) for verb, found in REFUSALS.items()}

    def rule(method, url):
        if method not in REFUSALS or "watch=true" in url:
            return None
        return next(faults[method]) if chance.random() < SHARE[method] else None

    with api_proxy(plane) as proxy:
        config = plane.kubeconfig_of_account(*account_name, api_url=proxy.url)
        with operator(plane, config):
            proxy.rule = rule
            for i in range(4):
                world.apply(f"demo-{i}", model={"uri": f"s3://bucket/{i}.onnx"})
            for i in range(4):
                assert_complete(world.until("Complete", f"demo-{i}", 120))
        verbs = Counter(line.partition(" ")[0] for line in proxy.struck)
        assert all(verbs[verb] >= len(found) for verb, found in REFUSALS.items()), verbs


def test_a_watch_that_hangs_and_says_nothing(alone, plane, account_name, world):
    with api_proxy(plane) as proxy:
        config = plane.kubeconfig_of_account(*account_name, api_url=proxy.url)
        proxy.rule = lambda _, url: "hang" if "watch=true" in url else None
        with operator(plane, config, resync_seconds=1) as deaf:
            world.apply()
            assert_complete(world.until("Complete", seconds=90))
            age = float(deaf.get("/metrics")[1].split("\nmpj_watch_age_seconds ")[1].split()[0])
            assert age > 0
            assert deaf.get("/healthz")[0] == 200
