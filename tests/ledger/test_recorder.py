"""The event-sourcing library's own contract holds for our recorders, and what is recorded never changes."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.tests import persistence

from ledger.postgres_recorder import PostgresRecorder
from ledger.sqlite_recorder import LedgerRecorder
from tests.harness.postgres import shared_server
from tests.laws import calls
from tests.laws.seeds import chance
from tests.ledger.places import FilePlace, Place, ServerPlace, Store

CHANGES = (
    "UPDATE stored_events SET state = x'7b7d' WHERE id = 1",
    "UPDATE stored_events SET id = 99 WHERE id = 1",
    "UPDATE OR REPLACE stored_events SET originator_version = 1",
    "DELETE FROM stored_events WHERE id = 1",
    "DELETE FROM stored_events",
    "INSERT OR REPLACE INTO stored_events SELECT id, originator_id, originator_version, topic, x'7b7d' FROM stored_events",
    """INSERT OR REPLACE INTO stored_events (originator_id, originator_version, topic, state)
        SELECT originator_id, originator_version, topic, x'7b7d' FROM stored_events WHERE id = 1""",
    """INSERT INTO stored_events SELECT id, originator_id, originator_version, topic, x'7b7d' FROM stored_events WHERE true
        ON CONFLICT (id) DO UPDATE SET state = excluded.state""",
)
SCHEMAS = count(1)


class Threads:
    """The library's cases leave threads behind that still read: closing a file under them ends the process."""

    def setUp(self) -> None:
        self._before = set(threading.enumerate())

    def wait_for_readers(self) -> None:
        for thread in threading.enumerate():
            if thread not in self._before and thread.name.endswith(("(read_continuously)", "(insert_events)")):
                thread.join(10)


class FileRecorders(Threads):
    """Makes recorders for the library's cases, each on a ledger of its own."""

    def setUp(self) -> None:
        super().setUp()
        self._folder = TemporaryDirectory()
        self._stores: list[Store] = []

    def tearDown(self) -> None:
        self.wait_for_readers()
        for store in self._stores:
            store.close()
        self._folder.cleanup()

    def create_recorder(self) -> LedgerRecorder:
        store = FilePlace(Path(self._folder.name) / str(len(self._stores))).open()
        self._stores.append(store)
        return store.recorder


class ServerRecorders(Threads):
    """The same on a server."""

    def setUp(self) -> None:
        super().setUp()
        self._places: list[ServerPlace] = []
        self._stores: list[Store] = []

    def tearDown(self) -> None:
        self.wait_for_readers()
        for store in self._stores:
            store.close()
        for place in self._places:
            place.drop()

    def create_recorder(self) -> PostgresRecorder:
        self._places.append(ServerPlace(shared_server().dsn(), f"recorder_{next(SCHEMAS)}"))
        store = self._places[-1].open()
        self._stores.append(store)
        return store.recorder


class Cases(persistence.ApplicationRecorderTestCase[ApplicationRecorder]):
    """Insert, select, conflicts, notification ids, concurrent readers and writers."""

    __test__ = False

    def test_performance(self) -> None:
        """Not a contract: prints a figure."""

    def test_concurrent_throughput(self) -> None:
        """Not a contract: prints a figure."""


class TestLibraryContractInAFile(FileRecorders, Cases):
    __test__ = True


class TestLibraryContractOnAServer(ServerRecorders, Cases):
    __test__ = True


class TestNotificationIdsDoNotInterleaveInAFile(FileRecorders, persistence.NonInterleavingNotificationIDsBaseCase):
    """A large insert and small ones beside it each get an unbroken run of ids."""

    insert_num = 1000


class TestNotificationIdsDoNotInterleaveOnAServer(ServerRecorders, persistence.NonInterleavingNotificationIDsBaseCase):
    """The same on a server."""

    insert_num = 1000


@pytest.mark.parametrize("sql", CHANGES)
def test_a_fact_is_neither_changed_nor_deleted_by_plain_sql_in_a_file(in_file: FilePlace, sql: str) -> None:
    with closing(in_file.open()) as store:
        store.commit([calls.customer(grant=500), calls.hold(100)])
        before = store.read_stored(0, 100)

        with (
            closing(sqlite3.connect(in_file.folder / "ledger.db")) as connection,
            pytest.raises(sqlite3.IntegrityError),
        ):
            connection.execute(sql)

        assert store.read_stored(0, 100) == before


def test_a_reader_sees_every_fact_once_and_in_the_order_of_commits_while_others_write(place: Place) -> None:
    """Two writers, with batches of one and of hundreds, and a reader that asks for what is after the last it saw."""
    draw = chance("order of commits")
    stores = [place.open() for _ in range(3)]
    sizes = [[draw.choice([1, 1, 1, 250]) for _ in range(30)] for _ in stores[:2]]
    writers = [threading.Thread(target=commit_all, args=(store, n, sizes[n])) for n, store in enumerate(stores[:2])]
    for thread in writers:
        thread.start()

    seen: list[tuple[int, str]] = []
    position = 0
    while any(thread.is_alive() for thread in writers) or position < stores[2].head():
        seen += [(r.position, r.stream) for r in stores[2].read_log(position, 50)]
        position = seen[-1][0] if seen else 0

    assert len({stream for _, stream in seen}) == len(seen) == sum(map(sum, sizes))
    assert seen == [(r.position, r.stream) for r in stores[2].read_log(0, 10**6)]
    for thread in writers:
        thread.join()
    for store in stores:
        store.close()


def commit_all(store: Store, number: int, sizes: list[int]) -> None:
    for at, size in enumerate(sizes):
        # Each of a user of its own: nothing but the order of the log makes one wait for the other.
        first = 10**6 * (number + 1) + 1000 * at
        store.commit([calls.hold(0, calls.charge(first + n), user=number + 1) for n in range(size)])
