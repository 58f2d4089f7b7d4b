"""Which events are news, and how a watch that has stopped is noticed."""

import pytest

from mpj_operator.shell.cluster import Key
from mpj_operator.shell.inbox import Inbox

A = Key("ns", "a")


class FakeQueue:
    def __init__(self):
        self.keys = []

    def put(self, key):
        self.keys.append(key)


@pytest.fixture
def world():
    class World:
        now = 100.0
        queue = FakeQueue()

    world = World()
    world.queue = FakeQueue()
    world.inbox = Inbox(world.queue, lambda: world.now)
    return world


def meta(version="1", name="a", **more):
    return {"namespace": "ns", "name": name, "uid": name, "resourceVersion": version, **more}


def test_a_job_event_is_news_unless_it_is_our_own_write(world):
    world.inbox.job(meta("1"))
    world.inbox.wrote(A, "2")
    world.inbox.job(meta("2"))
    world.inbox.job(meta("3"))
    assert world.queue.keys == [A, A]


def test_what_a_watch_showed_last_is_not_the_newest_once_a_list_has_more(world):
    world.inbox.job(meta("1"))
    assert world.inbox.is_newest("a", "1")
    assert not world.inbox.is_newest("a", "0")
    world.inbox.audit([meta("2")])
    assert not world.inbox.is_newest("a", "1")
    world.inbox.job(meta("2"))
    assert world.inbox.is_newest("a", "2")


def test_a_deleted_job_is_news_even_at_our_own_version(world):
    world.inbox.wrote(A, "2")
    world.inbox.job(meta("2"), deleted=True)
    assert world.queue.keys == [A]


def test_children_lead_to_their_owner(world):
    owners = [{"kind": "Other", "name": "x"}, {"kind": "MixedPrecisionJob", "name": "a"}]
    world.inbox.child(meta(name="a-prepare-1", ownerReferences=owners))
    world.inbox.child(meta(name="pod", labels={"mixedprecision.dev/job": "b"}))
    world.inbox.child(meta(name="stranger"))
    assert world.queue.keys == [A, Key("ns", "b")]


def test_a_watch_that_shows_everything_is_young(world):
    world.inbox.job(meta("1"))
    world.inbox.audit([meta("1")])
    world.now += 1000
    assert world.inbox.watch_age == 0


def test_a_version_that_the_watch_never_shows_ages_it_until_it_does(world):
    world.inbox.job(meta("1"))
    world.inbox.audit([meta("2")])
    world.now += 200
    world.inbox.audit([meta("2"), meta("7", name="b")])
    world.now += 150
    world.inbox.audit([meta("2"), meta("7", name="b")])
    assert world.inbox.watch_age == 350
    world.inbox.job(meta("2"))
    assert world.inbox.watch_age == 150
    world.inbox.job(meta("7", name="b"))
    assert world.inbox.watch_age == 0


def test_a_job_that_changes_all_the_time_does_not_rejuvenate_a_dead_watch(world):
    world.inbox.job(meta("1"))
    for version in ("2", "3", "4"):
        world.inbox.audit([meta(version)])
        world.now += 120
    assert world.inbox.watch_age == 240


def test_an_api_server_that_is_away_does_not_age_the_watch(world):
    world.inbox.audit([meta("2")])
    world.now += 1000
    assert world.inbox.watch_age == 0


def test_a_job_that_is_made_while_a_list_runs_is_not_owed_by_the_watch(world):
    """The watch shows it, the LIST was begun before, and nothing happens to it afterwards."""
    world.inbox.job(meta("9"))
    for listed in ([], [meta("9")], [meta("9")]):
        world.inbox.audit(listed)
        world.now += 200
    assert world.inbox.watch_age == 0


def test_a_namesake_is_another_job(world):
    world.inbox.job(meta("1"))
    world.inbox.job(meta("5", uid="new"))
    world.inbox.job(meta("1"), deleted=True)
    for _ in range(3):
        world.inbox.audit([meta("5", uid="new")])
        world.now += 200
    assert world.inbox.watch_age == 0


def test_a_job_that_two_lists_have_not_is_forgotten(world):
    world.inbox.job(meta("9"))
    world.inbox.wrote(A, "9")
    world.inbox.audit([])
    world.inbox.job(meta("9"))
    assert world.queue.keys == [A], "its own write is still known"
    world.inbox.audit([])
    world.inbox.job(meta("9"))
    assert world.queue.keys == [A, A]


def test_what_is_gone_from_the_list_is_forgotten(world):
    world.inbox.audit([meta("2")])
    world.now += 1000
    world.inbox.audit([])
    assert world.inbox.watch_age == 0
