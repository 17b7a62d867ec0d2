"""What a server does to a store: it stops, hangs, comes back, is tidied up. Nothing acknowledged is lost, and every wait ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent

from ledger.errors import LedgerUnavailable
from ledger.postgres import PostgresStore
from ledger.verify import verify
from ledger.writer import Writer
from tests.harness.postgres import Server
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger.places import QUICK, ServerPlace

ROOT = Path(__file__).resolve().parent.parent.parent
HUNTERS = 3
HUNT_S = float(os.environ.get("LEDGER_HUNT_S", "1.5"))
IMPATIENT = QUICK._replace(answer_s=1, commit_s=2.5, reconnect_s=0.2, lock_s=0.4, statement_s=0.6)
SLACK_S = 2.0
"""For a machine that does other things as well."""


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    """A server of these tests' own, on a port, which they may stop."""
    with Server(tcp=True) as server:
        yield server


@pytest.fixture
def ledger(mortal: Server) -> Iterator[PostgresStore]:
    with closing(PostgresStore(mortal.dsn(mortal.database()), limits=QUICK)) as store:
        store.commit([calls.customer(grant=10**6)])
        yield store


def test_a_server_that_is_stopped_at_once_and_started_again_under_load_lost_nothing_it_had_acknowledged(
    mortal: Server, ledger: PostgresStore
) -> None:
    writer = Writer(ledger)
    acknowledged, asked, stop = set[int](), set[int](), threading.Event()

    def call(first: int) -> None:
        number = first
        while not stop.is_set():
            number += 1
            try:
                asked.add(number)
                if writer.submit_blocking(calls.hold(1, calls.charge(number)), timeout_s=20).ok:
                    acknowledged.add(number)
            except LedgerUnavailable:
                stop.wait(0.02)

    threads = [threading.Thread(target=call, args=(10**6 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        grows(acknowledged)
        mortal.stop(immediately=True)
        mortal.start()
    grows(acknowledged)
    stop.set()
    for thread in threads:
        thread.join()
    writer.close()

    held = {int(fact.stream, 16) for fact in ledger.read_stored(0, 10**6) if fact.topic == "charge.held/1"}
    assert acknowledged <= held <= asked
    assert verify(ledger).differences == ()


def test_a_server_that_is_away_is_said_to_be_in_bounded_time_and_found_when_it_is_back(
    mortal: Server, ledger: PostgresStore
) -> None:
    ledger.address.limits = IMPATIENT
    mortal.stop()
    try:
        with took_at_most(IMPATIENT.reconnect_s + SLACK_S), pytest.raises(LedgerUnavailable, match="cannot be"):
            ledger.commit([calls.hold(1)])
        with took_at_most(SLACK_S), pytest.raises(LedgerUnavailable):
            ledger.commit([calls.hold(1)])
        with took_at_most(SLACK_S), pytest.raises(LedgerUnavailable):
            ledger.head()
        with took_at_most(SLACK_S), pytest.raises(LedgerUnavailable):
            ledger.lead("sealer")
    finally:
        mortal.start()

    assert ledger.commit([calls.hold(1)])[0].status == "created"
    assert ledger.head() == 3


def test_a_read_is_answered_at_once_however_many_connections_broke_since_the_last_one(
    mortal: Server, ledger: PostgresStore
) -> None:
    readers = ledger._readers
    with readers._one(), readers._one(), readers._one():
        pass
    with ServerPlace(ledger.address.conninfo("test", {})).connected() as connection:
        gone = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        ).fetchall()

    head = ledger.head()

    assert len(gone) >= 3
    assert head == 2


def test_a_server_that_hangs_does_not_hang_a_commit_nor_a_read(ledger: PostgresStore) -> None:
    """Its processes are stopped, as on a machine whose disk no longer answers; the connections stay."""
    ledger.head()
    ledger.address.limits = IMPATIENT
    link = ledger._link
    assert link is not None
    link.answer_s = IMPATIENT.answer_s
    pids = [link.info.backend_pid, *(idle.link.info.backend_pid for idle in ledger._readers._idle)]
    for idle in ledger._readers._idle:
        idle.link.answer_s = IMPATIENT.answer_s

    with stopped(pids), took_at_most(IMPATIENT.commit_s + SLACK_S):
        ledger.head()  # on another connection, when this one did not answer
        found = ledger.commit([calls.hold(1)])[0].status

    assert found == "created"
    assert ledger.commit([calls.hold(1)])[0].status == "exists"


def test_a_server_that_hangs_as_a_whole_is_unavailable_in_bounded_time(mortal: Server, ledger: PostgresStore) -> None:
    ledger.address.limits = IMPATIENT
    link = ledger._link
    assert link is not None
    link.answer_s = IMPATIENT.answer_s
    backends = [pid for (pid,) in mortal.ask("SELECT pid FROM pg_stat_activity") if isinstance(pid, int)]
    alive = [pid for pid in backends if Path(f"/proc/{pid}").exists()]

    bound_s = IMPATIENT.commit_s + IMPATIENT.connect_s + SLACK_S
    with stopped([mortal.pid, *alive]), took_at_most(bound_s), pytest.raises(LedgerUnavailable):
        ledger.commit([calls.hold(1)])

    assert ledger.commit([calls.hold(1)])[0].ok


def test_a_lock_that_is_not_given_up_ends_a_commit_in_bounded_time_and_nothing_of_it_stays(
    on_server: ServerPlace,
) -> None:
    with closing(PostgresStore(on_server.dsn, schema=on_server.schema, limits=IMPATIENT)) as store:
        store.commit([calls.customer(grant=100)])
        before = on_server.contents()

        bound_s = IMPATIENT.lock_s + SLACK_S
        with on_server.locked(), took_at_most(bound_s), pytest.raises(LedgerUnavailable, match="lock timeout"):
            store.commit([calls.hold(1)])

        assert on_server.contents() == before
        assert store.commit([calls.hold(1)])[0].status == "created"


def test_a_statement_that_does_not_end_is_ended(on_server: ServerPlace) -> None:
    with closing(PostgresStore(on_server.dsn, schema=on_server.schema, limits=IMPATIENT)) as store:
        with took_at_most(IMPATIENT.statement_s + SLACK_S), pytest.raises(LedgerUnavailable, match="statement timeout"):
            store._all("SELECT pg_sleep(30)", ())

        assert store.head() == 0


def test_a_process_that_stops_in_the_middle_of_a_commit_holds_up_the_others_for_a_bounded_time(
    on_server: ServerPlace,
) -> None:
    limits = QUICK._replace(idle_in_transaction_s=0.5)
    stalled, other = (PostgresStore(on_server.dsn, schema=on_server.schema, limits=limits) for _ in range(2))
    stalled.commit([calls.customer(grant=100)])
    link = stalled._link
    assert link is not None
    link.execute("BEGIN")
    link.execute("SELECT account FROM balances FOR UPDATE")
    link.execute("SELECT take_turn(0, '{}')")

    with took_at_most(limits.idle_in_transaction_s + SLACK_S):
        answer = other.commit([calls.hold(1)])[0].status

    assert answer == "created"
    assert stalled.commit([calls.hold(1)])[0].status == "exists"
    stalled.close()
    other.close()


def test_a_server_that_became_a_standby_is_left_for_the_one_that_may_be_written(ledger: PostgresStore) -> None:
    """As after a fail-over: the session goes on, and refuses to write."""
    link = ledger._link
    assert link is not None
    link.execute("SET default_transaction_read_only = on")

    answer = ledger.commit([calls.hold(1)])[0].status

    assert answer == "created"
    assert ledger._link is not link


def test_tidying_up_holds_up_no_commit(mortal: Server, ledger: PostgresStore) -> None:
    """Nor does a commit hold up the tidying: neither takes a lock of a whole table that the other needs."""
    ledger.commit([calls.hold(1, calls.charge(n)) for n in range(1, 2_000)])
    done, slowest_s = threading.Event(), [0.0]

    def call() -> None:
        number = 10**6
        while not done.is_set():
            number += 1
            began = monotonic()
            ledger.commit([calls.hold(1, calls.charge(number))])
            slowest_s[0] = max(slowest_s[0], monotonic() - began)

    calling = threading.Thread(target=call)
    calling.start()
    try:
        with ServerPlace(ledger.address.conninfo("test", {})).connected() as connection:
            for sql in TIDYING:
                connection.execute(sql.encode())
    finally:
        done.set()
        calling.join()

    assert slowest_s[0] < 0.2 + SLACK_S
    assert verify(ledger).is_sound


TIDYING = (
    "VACUUM ANALYZE stored_events",
    "VACUUM (FREEZE) balances",
    "VACUUM ANALYZE holds",
    "CREATE INDEX CONCURRENTLY by_topic ON stored_events (topic)",
    "REINDEX INDEX CONCURRENTLY by_topic",
    "DROP INDEX CONCURRENTLY by_topic",
    "VACUUM stored_events",
)


def test_the_lock_that_tidying_takes_stops_no_commit_and_no_recorder(on_server: ServerPlace) -> None:
    """VACUUM, ANALYZE and CREATE INDEX CONCURRENTLY hold this one for as long as they run."""
    with closing(on_server.open()) as store, on_server.connected() as connection, connection.transaction():
        tables = "stored_events, balances, holds, vault, keyring, seals, sessions"
        connection.execute(f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE".encode())

        committed = store.commit([calls.customer(grant=100), calls.hold(1), calls.settle(1)])
        recorded = store.recorder.insert_events([StoredEvent(uuid4(), 1, "topic", b"{}")])

    assert [answer.status for answer in committed] == ["created"] * 3
    assert recorded is not None
    assert len(recorded) == 1


def test_processes_that_name_each_others_accounts_never_deadlock_and_never_begin_again(
    server: Server, on_server: ServerPlace
) -> None:
    with closing(on_server.open()) as store:
        store.commit([calls.customer(str(n), grant=5_000) for n in range(5)])
        store.commit([calls.key_of(1 + n, limit=5_000) for n in range(5)])
    hunters = [hunting(on_server, n) for n in range(HUNTERS)]
    for hunter in hunters:
        assert hunter.stdout is not None
        assert hunter.stdout.readline() == "ready\n"

    answers = [hunter.communicate("go\n", timeout=60) for hunter in let_go(hunters)]

    seen = [json.loads(out) for out, _ in answers]
    assert [error for _, error in answers] == [""] * HUNTERS
    assert "deadlock" not in server.log()
    assert all(one["statuses"]["created"] > 20 for one in seen)
    assert sum(one["retries"] for one in seen) <= 6 * HUNTERS  # accounts that nobody had before
    with closing(on_server.open()) as store:
        assert verify(store).differences == ()


def grows(numbers: set[int]) -> None:
    """Wait until there are fifty more."""
    before = len(numbers)
    eventually(lambda: len(numbers), lambda count: count > before + 50, within_s=20)


def hunting(place: ServerPlace, number: int) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.ledger.hunting", place.told(), str(number), str(HUNT_S)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def let_go(processes: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


@contextmanager
def took_at_most(seconds: float) -> Iterator[None]:
    began = monotonic()
    yield
    assert monotonic() - began < seconds


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes of a server that this test started. One of them may end in the moment before it is stopped."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
