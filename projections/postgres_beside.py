"""A read model that grows in a schema of its own, and takes the place of the live one by a change of names.

Its tables are as durable as the live ones: whoever builds goes on where the last builder was, on whatever machine.
"""

from collections.abc import Sequence
from time import monotonic

import psycopg
from psycopg import sql

from projections.errors import ReplayRefused
from projections.postgres_connections import Connection, PostgresFolder, connect

SWITCH_TIMEOUT_S = 20.0
SWITCH_TRY_MS = 500
"""Readers wait behind whoever waits to switch: a try is short, and there are many."""
BUILDING_DDL = "CREATE TABLE IF NOT EXISTS building (fingerprint TEXT NOT NULL)"


class PostgresBeside:
    """The schema `veloera_read_next`. Under the lock of whoever replays."""

    def __init__(self, dsn: str, schema: str, fingerprint: str) -> None:
        self._dsn = dsn
        self._live = schema
        self._next = f"{schema}_next"
        self._fingerprint = fingerprint

    def begin(self, *, restart: bool = False) -> bool:
        with connect(self._dsn, self._next) as connection:
            found = not restart and self._is_ours(connection)
            if not found:
                _drop(connection, self._next)
        return found

    def open(self, part: int = 0) -> PostgresFolder:
        """All parts write one schema, each its own tables and positions."""
        folder = PostgresFolder.open(self._dsn, self._next)
        with folder.transaction() as cursor:
            cursor.execute(BUILDING_DDL)
            if part == 0 and cursor.execute("SELECT count(*) FROM building").fetchone() == (0,):
                cursor.execute("INSERT INTO building VALUES (?)", (self._fingerprint,))
        return folder

    def gather(self, part: int, tables: Sequence[str], names: Sequence[str]) -> None:
        """They are together as they were folded."""

    def settle(self) -> None:
        """The planner of those who will ask knows the tables, and the place of what is kept is empty."""
        with connect(self._dsn, self._next) as session:
            for (table,) in session.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (self._next,)):
                session.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
            _drop(session, old_schema(self._live))

    def switch(self) -> None:
        with connect(self._dsn, self._next) as session:
            session.execute("DROP TABLE building")
            _rename(session, self._live, {self._live: old_schema(self._live), self._next: self._live})

    def discard(self) -> None:
        with connect(self._dsn, self._live) as connection:
            _drop(connection, self._next)

    def _is_ours(self, connection: Connection) -> bool:
        try:
            return connection.execute("SELECT fingerprint FROM building").fetchone() == (self._fingerprint,)
        except psycopg.errors.UndefinedTable:
            return False


def old_schema(live: str) -> str:
    return f"{live}_old"


def exchange_back(connection: Connection, live: str) -> None:
    """Exchange the live read model and the one that was kept."""
    between, old = f"{live}_back", old_schema(live)
    _drop(connection, between)
    _rename(connection, live, {live: between, old: live, between: old})


def _rename(connection: Connection, live: str, names: dict[str, str]) -> None:
    """All at once, when nobody reads the live one; where there is none yet, its place is empty. Raises ReplayRefused."""
    deadline = monotonic() + SWITCH_TIMEOUT_S
    while True:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{SWITCH_TRY_MS}ms")))
                if connection.execute("SELECT to_regclass(%s)", (f"{live}.positions",)).fetchone() != (None,):
                    table = sql.Identifier(live, "positions")
                    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))
                for before, after in names.items():
                    if connection.execute("SELECT to_regnamespace(%s)", (before,)).fetchone() != (None,):
                        change = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
                        connection.execute(change.format(sql.Identifier(before), sql.Identifier(after)))
            return
        except psycopg.errors.LockNotAvailable as error:
            if monotonic() >= deadline:
                raise ReplayRefused("somebody reads the live read model for very long: try again later") from error


def _drop(connection: Connection, schema: str) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
