"""Full durability waits for the standby, and what it acknowledged is there when the standby takes over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from time import monotonic

import pytest

from ledger.errors import LedgerUnavailable
from ledger.postgres import Durability, PostgresStore
from ledger.verify import verify
from ledger.writer import Writer
from tests.harness.postgres import Server
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger.places import QUICK

IMPATIENT = QUICK._replace(answer_s=1, commit_s=3, reconnect_s=0.2)


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    with Server(tcp=True) as server:
        yield server


def test_a_commit_that_no_standby_confirmed_is_not_acknowledged_also_when_its_wait_is_ended(primary: Server) -> None:
    """The server says COMMIT then, and only a warning tells that it stands on one machine alone."""
    with closing(opened(primary, "full")) as store, ThreadPoolExecutor(1) as pool, standby_missing(primary):
        asked = pool.submit(store.commit, [calls.hold(5)])
        sql = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        ((pid,),) = eventually(lambda: primary.ask(sql), bool)
        primary.ask("SELECT pg_cancel_backend(%s)", pid)

        with pytest.raises(LedgerUnavailable, match="not known"):
            asked.result(20)


def test_a_commit_that_was_not_confirmed_is_answered_when_the_standby_is_back(primary: Server) -> None:
    with closing(opened(primary, "full")) as store:
        with standby_missing(primary), pytest.raises(LedgerUnavailable):
            store.commit([calls.hold(5)])

        assert store.commit([calls.hold(5)])[0].status == "exists"
        assert verify(store).is_sound


def test_a_store_that_only_has_to_survive_processes_does_not_wait_for_a_standby(primary: Server) -> None:
    with closing(opened(primary, "process")) as store, standby_missing(primary):
        began = monotonic()

        assert store.commit([calls.hold(5)])[0].status == "created"
        assert monotonic() - began < IMPATIENT.answer_s


def test_nothing_acknowledged_is_lost_when_the_primary_dies_under_load_and_its_standby_takes_over() -> None:
    """The same connection string names both; the store is not told which of them may be written."""
    with Server(tcp=True) as first, Server(tcp=True, standby_of=first) as second:
        dsn = f"host=127.0.0.1,127.0.0.1 port={first.port},{second.port} dbname=postgres user=postgres"
        confirmed_by_standby(first)
        store = PostgresStore(dsn, limits=QUICK._replace(reconnect_s=5))
        store.commit([calls.customer(grant=10**6)])
        writer, held, stop = Writer(store), set[int](), threading.Event()
        threads = [threading.Thread(target=call, args=(writer, 10**6 * n, held, stop)) for n in range(1, 4)]
        for thread in threads:
            thread.start()

        grows(held)
        first.stop(immediately=True)
        died = monotonic()
        second.ask("SELECT pg_promote()")
        grows(held)
        pause_s = monotonic() - died
        stop.set()
        for thread in threads:
            thread.join()
        writer.close()

        there = {int(fact.stream, 16) for fact in store.read_stored(0, 10**6) if fact.topic == "charge.held/1"}
        assert held <= there
        assert verify(store).differences == ()
        assert pause_s < 10
        store.close()


def opened(server: Server, durability: Durability) -> PostgresStore:
    store = PostgresStore(server.dsn(server.database()), durability=durability, limits=IMPATIENT)
    store.commit([calls.customer(grant=100), calls.hold(1, calls.charge(99))])
    return store


@contextmanager
def standby_missing(server: Server) -> Iterator[None]:
    """Commits wait for a standby that is not there."""
    set_standbys(server, "somebody")
    try:
        yield
    finally:
        set_standbys(server, "")


def set_standbys(server: Server, names: str) -> None:
    server.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    server.ask("SELECT pg_reload_conf()")
    eventually(lambda: server.ask("SHOW synchronous_standby_names"), lambda rows: rows == [(names,)])


def confirmed_by_standby(server: Server) -> None:
    sql = "SELECT sync_state FROM pg_stat_replication"
    eventually(lambda: server.ask(sql), lambda rows: rows == [("async",)], within_s=20)
    set_standbys(server, "*")
    eventually(lambda: server.ask(sql), lambda rows: rows == [("sync",)], within_s=20)


def call(writer: Writer, first: int, held: set[int], stop: threading.Event) -> None:
    number = first
    while not stop.is_set():
        number += 1
        try:
            if writer.submit_blocking(calls.hold(1, calls.charge(number)), timeout_s=30).ok:
                held.add(number)
        except LedgerUnavailable:
            stop.wait(0.05)


def grows(numbers: set[int]) -> None:
    """Wait until there are fifty more."""
    before = len(numbers)
    eventually(lambda: len(numbers), lambda count: count > before + 50, within_s=20)
