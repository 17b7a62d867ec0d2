"""A hint comes soon, is lost without harm, and comes again when the connection that brings it was killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from ledger.postgres_wakeups import Wakeups
from tests.harness.waiting import eventually
from tests.ledger.places import QUICK, ServerPlace


class Ear:
    """Hears hints, and counts them."""

    def __init__(self, place: ServerPlace, *, fails: bool = False) -> None:
        self.heard = 0
        self.last = threading.Event()
        self._fails = fails
        self.wakeups = Wakeups(place.dsn, self._hint, schema=place.schema, limits=QUICK)
        self.wakeups.start()
        eventually(lambda: self.heard, bool)  # once, when it began to listen

    def _hint(self) -> None:
        self.heard += 1
        self.last.set()
        if self._fails:
            raise RuntimeError("the listener is broken")

    def quiet(self) -> int:
        """What was heard by now; later hints set `last`."""
        self.last.clear()
        return self.heard


@pytest.fixture
def ears(on_server: ServerPlace) -> Iterator[tuple[Ear, Ear]]:
    both = Ear(on_server), Ear(on_server)
    yield both
    for ear in both:
        ear.wakeups.stop()


def test_a_commit_elsewhere_is_heard_soon_and_ones_own_is_not(ears: tuple[Ear, Ear]) -> None:
    here, there = ears
    own = here.quiet()
    there.quiet()
    began = monotonic()

    here.wakeups.committed()

    assert there.last.wait(5)
    assert monotonic() - began < 1
    assert here.heard == own


def test_many_commits_are_told_at_most_every_twenty_milliseconds_and_the_last_one_is_told(
    ears: tuple[Ear, Ear],
) -> None:
    here, there = ears
    before, began = there.quiet(), monotonic()
    while monotonic() - began < 0.3:
        here.wakeups.committed()

    there.quiet()
    here.wakeups.committed()

    assert there.last.wait(5)
    assert there.heard - before <= (monotonic() - began) / 0.02 + 2


def test_a_killed_connection_is_made_again_and_that_is_a_hint_itself(
    ears: tuple[Ear, Ear], on_server: ServerPlace
) -> None:
    here, there = ears
    for _ in range(3):
        there.quiet()
        kill_listeners(on_server)
        assert there.last.wait(10)
    eventually(lambda: listeners(on_server), lambda pids: len(pids) == 2, within_s=10)
    there.quiet()

    here.wakeups.committed()

    assert there.last.wait(10)
    assert there.wakeups.reconnects >= 3


def test_a_listener_that_fails_goes_on_hearing(on_server: ServerPlace) -> None:
    broken, other = Ear(on_server, fails=True), Ear(on_server)

    for _ in range(3):
        broken.quiet()
        other.wakeups.committed()
        assert broken.last.wait(5)

    broken.wakeups.stop()
    other.wakeups.stop()


def test_it_stops_at_once_also_when_there_is_no_server() -> None:
    wakeups = Wakeups("host=127.0.0.1 port=1", lambda: None, limits=QUICK)
    wakeups.start()
    eventually(lambda: wakeups.reconnects, bool)
    began = monotonic()

    wakeups.stop()
    wakeups.stop()

    assert monotonic() - began < 3


def listeners(place: ServerPlace) -> list[int]:
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'veloera' AND query IN (%s, 'SELECT 1', %s)"
    with place.connected() as connection:
        rows = connection.execute(sql.encode(), (f'LISTEN "{place.schema}"', f'NOTIFY "{place.schema}"')).fetchall()
    return [row[0] for row in rows]


def kill_listeners(place: ServerPlace) -> None:
    pids = eventually(lambda: listeners(place), lambda pids: len(pids) == 2, within_s=10)
    with place.connected() as connection:
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
