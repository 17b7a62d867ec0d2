"""Whoever follows the log sees every fact once and in order, soon after its commit, whoever committed it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from ledger.follow import Follow
from tests.laws import calls
from tests.ledger.places import Place, Store

SOON_S = 0.25
"""The bound of design D7 for one machine."""


def test_pages_go_on_where_the_last_one_ended_and_end_with_an_empty_one(store: Store) -> None:
    store.commit([calls.customer(str(n)) for n in range(25)])
    follow = Follow(store)

    pages = [[recorded.position for recorded in follow.page(10)] for _ in range(4)]

    assert pages == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26)), []]
    assert follow.position == 25


def test_charges_are_left_out_where_they_are_not_wanted(store: Store) -> None:
    store.commit([calls.customer(grant=500), calls.hold(10), calls.settle(5), calls.customer("bob")])

    topics = [recorded.fact.TOPIC for recorded in Follow(store, without_charges=True).page()]

    assert topics == ["user.created/1", "quota.granted/1", "user.created/1"]


def test_a_commit_of_another_process_ends_the_wait_within_the_bound(store: Store, place: Place) -> None:
    other = place.open()
    follow = caught_up(store)

    waited_s = timed_wait(follow, lambda: other.commit([calls.customer()]))

    assert waited_s < SOON_S
    assert [recorded.position for recorded in follow.page()] == [1]
    other.close()


def test_a_hint_ends_the_wait_at_once(store: Store) -> None:
    follow = Follow(store, period_s=60)
    follow.wait(0)

    waited_s = timed_wait(follow, follow.hint)

    assert waited_s < SOON_S


def test_a_wait_with_nothing_new_ends_with_its_time(store: Store) -> None:
    follow = caught_up(store)
    started = monotonic()

    assert follow.wait(0.15) is False
    assert 0.15 <= monotonic() - started < 1


def test_a_commit_between_the_last_page_and_the_wait_is_not_slept_through(store: Store, place: Place) -> None:
    other = place.open()
    follow = Follow(store, period_s=60)

    for number in range(20):
        assert follow.wait(1) is True
        follow.page()
        other.commit([calls.customer(str(number))])

    assert follow.wait(1) is True
    assert [recorded.position for recorded in follow.page()] == [20]
    other.close()


def test_two_followers_do_not_take_each_others_wake_ups(store: Store, place: Place) -> None:
    other = place.open()
    followers = [caught_up(store), caught_up(store)]

    other.commit([calls.customer()])

    assert [follow.wait(1) for follow in followers] == [True, True]
    other.close()


def caught_up(store: Store) -> Follow:
    follow = Follow(store)
    follow.wait(0)
    follow.page()
    return follow


def timed_wait(follow: Follow, act: Callable[[], object]) -> float:
    """Seconds from the act, in another thread, to the end of the wait that it ended."""
    acted: list[float] = []

    def later() -> None:
        act()
        acted.append(monotonic())

    timer = threading.Timer(0.05, later)
    timer.start()
    assert follow.wait(10) is True
    ended = monotonic()
    timer.join()
    return ended - acted[0]
