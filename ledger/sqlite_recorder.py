"""The library's recorder over our table, and its connections with our pragmas."""

import sqlite3
from collections.abc import Sequence

from eventsourcing.persistence import InterfaceError, Notification, StoredEvent
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
)

BUSY_TIMEOUT_S = 30
STATEMENTS_KEPT = 128
"""Prepared, by each connection."""

EVENTS_DDL = (
    """CREATE TABLE IF NOT EXISTS stored_events (
        id INTEGER PRIMARY KEY,
        originator_id TEXT NOT NULL,
        originator_version INTEGER NOT NULL,
        topic TEXT NOT NULL,
        state BLOB NOT NULL,
        UNIQUE (originator_id, originator_version))""",
    # What the directory follows is a thousandth of the log: found without reading the rest.
    """CREATE INDEX IF NOT EXISTS stored_events_without_charges ON stored_events (id)
        WHERE substr(topic, 1, 7) <> 'charge.'""",
    """CREATE TRIGGER IF NOT EXISTS stored_events_never_change BEFORE UPDATE ON stored_events
        BEGIN SELECT RAISE(ABORT, 'facts are never changed'); END""",
    # INSERT OR REPLACE would delete without the other trigger being asked.
    """CREATE TRIGGER IF NOT EXISTS stored_events_never_replaced BEFORE INSERT ON stored_events
        WHEN (NEW.id > 0 AND EXISTS (SELECT 1 FROM stored_events WHERE id = NEW.id))
            OR EXISTS (SELECT 1 FROM stored_events
                WHERE originator_id = NEW.originator_id AND originator_version = NEW.originator_version)
        BEGIN SELECT RAISE(ABORT, 'facts are never replaced'); END""",
    """CREATE TRIGGER IF NOT EXISTS stored_events_never_go BEFORE DELETE ON stored_events
        BEGIN SELECT RAISE(ABORT, 'facts are never deleted'); END""",
)
STATE_DDL = (
    "CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL, floor INTEGER) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS holds (
        charge TEXT PRIMARY KEY, user INTEGER NOT NULL, key INTEGER NOT NULL, capped INTEGER NOT NULL,
        amount INTEGER NOT NULL, extensions INTEGER NOT NULL, node TEXT NOT NULL, epoch TEXT NOT NULL,
        deadline INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS vault (ref TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS keyring (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS seals (
        number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, facts INTEGER NOT NULL, root BLOB NOT NULL,
        previous BLOB NOT NULL, key_id TEXT NOT NULL, signature BLOB NOT NULL, at INTEGER NOT NULL)""",
    """CREATE TRIGGER IF NOT EXISTS seals_never_change BEFORE UPDATE ON seals
        BEGIN SELECT RAISE(ABORT, 'seals are never changed'); END""",
    """CREATE TRIGGER IF NOT EXISTS seals_never_replaced BEFORE INSERT ON seals
        WHEN EXISTS (SELECT 1 FROM seals WHERE number = NEW.number)
        BEGIN SELECT RAISE(ABORT, 'seals are never replaced'); END""",
    """CREATE TRIGGER IF NOT EXISTS seals_never_go BEFORE DELETE ON seals
        BEGIN SELECT RAISE(ABORT, 'seals are never deleted'); END""",
    """CREATE TABLE IF NOT EXISTS sessions (
        digest TEXT PRIMARY KEY, user INTEGER NOT NULL, began_at_ms INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS sessions_by_user ON sessions (user)",
    "CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at_ms)",
)
INSERT_EVENT_SQL = "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"


class LedgerPool(SQLiteConnectionPool):
    """Connections with our pragmas, which keep their statements.

    The library leaves `synchronous` to SQLite's build, and keeps one statement: every other one would be parsed again, triggers
    and all, each time it is run.
    """

    def _create_connection(self) -> SQLiteConnection:
        try:
            connection = sqlite3.connect(
                self.db_name,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=STATEMENTS_KEPT,
            )
        except sqlite3.Error as error:
            raise InterfaceError(error) from error
        if not self.is_journal_mode_wal:
            connection.execute("PRAGMA journal_mode=WAL")
            self.is_journal_mode_wal = True
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what leaves the vault leaves the file
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        connection.row_factory = sqlite3.Row
        return SQLiteConnection(connection, self.max_age)

    def connect(self) -> sqlite3.Connection:
        return self._create_connection()._sqlite_conn  # pyright: ignore[reportPrivateUsage]  # the library has no other way


class LedgerDatastore(SQLiteDatastore):
    """The library's datastore over our pool."""

    def __init__(self, db_name: str, *, pool_size: int) -> None:
        super().__init__(db_name, pool_size=pool_size, lock_timeout=BUSY_TIMEOUT_S)
        self.pool.close()
        self._ours = self.pool = LedgerPool(db_name=db_name, lock_timeout=BUSY_TIMEOUT_S, pool_size=pool_size)

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, outside the pool. Whoever asks closes it."""
        return self._ours.connect()


class LedgerRecorder(SQLiteApplicationRecorder):
    """The library's recorder over our table: an explicit id (VACUUM renumbers rowids) and no UPDATE or DELETE."""

    def construct_create_table_statements(self) -> list[str]:
        return [*EVENTS_DDL]

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **_: object
    ) -> Sequence[int] | None:
        ids: list[int] = []
        for event in stored_events:
            c.execute(INSERT_EVENT_SQL, (_hex(event.originator_id), event.originator_version, event.topic, event.state))
            ids.append(int(c.lastrowid))
        return ids

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start + (not inclusive_of_start)
        sql = "SELECT id, originator_id, originator_version, topic, state FROM stored_events WHERE id >= ?"
        parameters: list[int | str] = [first]
        if stop is not None:
            sql += " AND id <= ?"
            parameters.append(stop)
        if topics:
            sql += f" AND topic IN ({','.join('?' * len(topics))})"
            parameters.extend(topics)
        with self.datastore.transaction(commit=False) as c:
            c.execute(sql + " ORDER BY id LIMIT ?", [*parameters, limit])
            return [
                Notification(
                    id=row["id"],
                    originator_id=self.convert_originator_id(row["originator_id"]),
                    originator_version=row["originator_version"],
                    topic=row["topic"],
                    state=row["state"],
                )
                for row in c.fetchall()
            ]


def _hex(originator_id: object) -> str:
    return str(getattr(originator_id, "hex", originator_id))
