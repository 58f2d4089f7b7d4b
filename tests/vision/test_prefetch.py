"""Working ahead keeps the order, is bounded, and lets errors through."""

import threading
import time

import pytest

from mpj_runner.vision.prefetch import prefetched


def test_results_keep_the_order():
    def slow_for_even(number):
        time.sleep(0.002 if number % 2 == 0 else 0)
        return number

    with prefetched(slow_for_even, range(40), workers=4, ahead=8) as results:
        assert list(results) == list(range(40))


def test_no_more_than_ahead_wait():
    started = []
    with prefetched(started.append, range(100), workers=2, ahead=5) as results:
        next(results)
        time.sleep(0.05)
        assert len(started) == 5
        next(results)
        time.sleep(0.05)
        assert len(started) == 6


def test_an_error_comes_at_its_items_turn():
    with prefetched(lambda n: 1 // (n - 3), range(6), workers=2, ahead=4) as results:
        assert [next(results) for _ in range(3)] == [-1, -1, -1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_leaving_early_cancels_what_waits_and_ends_the_threads():
    before = threading.active_count()
    done = []
    with prefetched(
        lambda n: (time.sleep(0.01), done.append(n)), range(99), workers=1, ahead=50
    ) as r:
        next(r)
    assert len(done) < 10
    assert threading.active_count() == before
