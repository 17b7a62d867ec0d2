"""The event-sourcing library's own contract holds for our recorder, and what is recorded never changes."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.tests import persistence

from ledger.sqlite import SqliteStore
from ledger.sqlite_recorder import LedgerRecorder
from tests.laws import calls
from tests.laws.seeds import chance

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


class Recorders:
    """Makes recorders for the library's cases, each on a ledger of its own."""

    def setUp(self) -> None:
        self._folder = TemporaryDirectory()
        self._stores: list[SqliteStore] = []

    def tearDown(self) -> None:
        for store in self._stores:
            store.close()
        self._folder.cleanup()

    def create_recorder(self) -> LedgerRecorder:
        self._stores.append(SqliteStore(Path(self._folder.name) / str(len(self._stores)), synchronous="OFF"))
        return self._stores[-1].recorder


class TestLibraryContract(Recorders, persistence.ApplicationRecorderTestCase[ApplicationRecorder]):
    """Insert, select, conflicts, notification ids, concurrent readers and writers."""

    def test_performance(self) -> None:
        """Not a contract: prints a figure."""

    def test_concurrent_throughput(self) -> None:
        """Not a contract: prints a figure."""


class TestNotificationIdsDoNotInterleave(Recorders, persistence.NonInterleavingNotificationIDsBaseCase):
    """A large insert and small ones beside it each get an unbroken run of ids."""

    insert_num = 1000


@pytest.mark.parametrize("sql", CHANGES)
def test_a_fact_is_neither_changed_nor_deleted_by_plain_sql(store: SqliteStore, sql: str) -> None:
    store.commit([calls.customer(grant=500), calls.hold(100)])
    before = store.read_stored(0, 100)

    with closing(sqlite3.connect(store.folder / "ledger.db")) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(sql)

    assert store.read_stored(0, 100) == before


def test_a_reader_sees_every_fact_once_and_in_the_order_of_commits_while_others_write(tmp_path: Path) -> None:
    draw = chance("order of commits")
    stores = [SqliteStore(tmp_path, synchronous="OFF") for _ in range(3)]
    sizes = [[draw.choice([1, 1, 2, 40]) for _ in range(30)] for _ in stores[:2]]
    writers = [threading.Thread(target=commit_all, args=(store, n, sizes[n])) for n, store in enumerate(stores[:2])]
    for thread in writers:
        thread.start()

    seen: list[tuple[int, str]] = []
    position = 0
    while any(thread.is_alive() for thread in writers) or position < stores[2].head():
        seen += [(r.position, r.stream) for r in stores[2].read_log(position, 7)]
        position = seen[-1][0] if seen else 0

    assert [position for position, _ in seen] == list(range(1, sum(map(sum, sizes)) + 1))
    assert len({stream for _, stream in seen}) == len(seen)
    for thread in writers:
        thread.join()
    for store in stores:
        store.close()


def commit_all(store: SqliteStore, number: int, sizes: list[int]) -> None:
    for at, size in enumerate(sizes):
        store.commit([calls.hold(0, calls.charge(10**6 * (number + 1) + 1000 * at + n)) for n in range(size)])
