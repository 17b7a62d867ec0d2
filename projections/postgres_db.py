"""The schema of the read models in the ledger's PostgreSQL: who may write it, and when. It may be dropped, and is folded again.

Whoever holds the advisory lock of the seat folds, on the session that holds it: a session that is lost loses lock and
transaction together. A replay that wants to exchange schemas holds the lock of the turn, and who folds steps aside.
"""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import LiteralString

import psycopg

from projections.errors import ReadModelUnavailable
from projections.postgres_beside import PostgresBeside, exchange_back, old_schema
from projections.postgres_connections import (
    Connection,
    PostgresFolder,
    PostgresReader,
    PostgresReaders,
    connect,
)

ASK_PERIOD_S = 0.02
PASSING_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
"""Connections, rollbacks, resources, locks, an operator at work, the system below."""
PASSING_STATES = frozenset({"25006", "3F000", "42P01"})
"""A standby that is about to lead; a schema or table that was dropped, which is made again."""


class AdvisoryLock:
    """A lock of one session, by the schema it is about and what for."""

    def __init__(self, schema: str, purpose: str) -> None:
        digest = hashlib.sha256(f"veloera {purpose} of {schema}".encode()).digest()
        self.key = int.from_bytes(digest[:8], "big", signed=True)

    def take(self, connection: Connection) -> bool:
        return _true(connection, "SELECT pg_try_advisory_lock(%s)", self.key)

    def take_within(self, connection: Connection, timeout_s: float) -> bool:
        deadline = monotonic() + timeout_s
        while not self.take(connection):
            if monotonic() >= deadline:
                return False
            sleep(ASK_PERIOD_S)
        return True

    def is_taken(self, connection: Connection) -> bool:
        """True while another session holds it. Those who only look do not see each other."""
        looked = "SELECT CASE WHEN pg_try_advisory_lock_shared(%s) THEN pg_advisory_unlock_shared(%s) ELSE false END"
        return not _true(connection, looked, self.key, self.key)

    def has_a_holder(self, connection: Connection) -> bool:
        """As `is_taken`, without touching it."""
        return _true(
            connection,
            """SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                AND classid::bigint = (%s >> 32) & 4294967295 AND objid::bigint = %s & 4294967295
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))""",
            self.key,
            self.key,
        )


class PostgresSeat:
    """The lock of the seat, and the session that holds it or waits for it."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._lock, self._turn = AdvisoryLock(schema, "seat"), AdvisoryLock(schema, "turn")
        self._connection: Connection | None = None
        self._number = 0

    def take(self) -> PostgresFolder | None:
        if self._connection is None:
            self._connection = PostgresFolder.session(self._dsn, self._schema)
        try:
            if self._turn.is_taken(self._connection) or not self._lock.take(self._connection):
                return None
            folder = PostgresFolder(self._connection, self._schema)
            self._number = positions_table(self._connection)
        except BaseException:
            self.release()
            raise
        return folder

    def is_wanted(self) -> bool:
        assert self._connection is not None, "only who has the seat is asked for it"
        return self._turn.is_taken(self._connection) or positions_table(self._connection) != self._number

    def release(self) -> None:
        if self._connection is not None:
            _let_go(self._connection)
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.release()


class PostgresDatabase:
    """The read models in a schema."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._seat_lock, self._turn = AdvisoryLock(schema, "seat"), AdvisoryLock(schema, "turn")
        self._readers = PostgresReaders(dsn, schema)
        self._seen = False
        self.name = f"schema {schema}"

    def passes(self, error: Exception) -> bool:
        if not isinstance(error, psycopg.Error):
            return False
        state = error.sqlstate or ""
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
        return lost or state[:2] in PASSING_CLASSES or state in PASSING_STATES

    def exists(self) -> bool:
        """A schema that was there is not looked for again: reading it says that it is gone."""
        if not self._seen:
            with self._readers.session(positions_table) as connection:
                self._seen = positions_table(connection) != 0
        return self._seen

    def somebody_folds(self) -> bool:
        with self._readers.session(positions_table) as connection:
            return self._seat_lock.has_a_holder(connection)

    @contextmanager
    def reading(self) -> Generator[PostgresReader]:
        try:
            with self._readers.reading() as reader:
                yield reader
        except ReadModelUnavailable:
            self._seen = False
            raise

    def seat(self) -> PostgresSeat:
        return PostgresSeat(self._dsn, self._schema)

    def beside(self, fingerprint: str) -> PostgresBeside:
        return PostgresBeside(self._dsn, self._schema, fingerprint)

    def old(self) -> PostgresFolder | None:
        old = old_schema(self._schema)
        with self._readers.session(positions_table) as connection:
            found = connection.execute("SELECT to_regclass(%s)", (f"{old}.positions",)).fetchone() != (None,)
        return PostgresFolder.open(self._dsn, old) if found else None

    def switch_back(self) -> None:
        with connect(self._dsn, self._schema) as connection:
            exchange_back(connection, self._schema)

    @contextmanager
    def alone(self) -> Generator[bool]:
        with connect(self._dsn, self._schema) as session:
            try:
                yield AdvisoryLock(self._schema, "replay").take(session)
            finally:
                _let_go(session)

    @contextmanager
    def stepping_aside(self, timeout_s: float) -> Generator[bool]:
        with connect(self._dsn, self._schema) as session:
            try:
                yield all(lock.take_within(session, timeout_s) for lock in (self._turn, self._seat_lock))
            finally:
                _let_go(session)

    def close(self) -> None:
        self._readers.close()


def positions_table(connection: Connection) -> int:
    """Which table is called `positions` now, 0 for none: another one after a switch."""
    row = connection.execute("SELECT coalesce(to_regclass('positions')::oid::bigint, 0)").fetchone()
    assert row is not None, "a SELECT without FROM has one row"
    return int(row[0])


def _let_go(connection: Connection) -> None:
    """Of all locks, at once: the end of a session does so too, but some time after its client is gone."""
    with suppress(psycopg.Error):
        connection.execute("SELECT pg_advisory_unlock_all()")


def _true(connection: Connection, query: LiteralString, *keys: int) -> bool:
    row = connection.execute(query, keys).fetchone()
    return row == (True,)
