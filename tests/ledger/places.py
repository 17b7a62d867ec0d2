"""Where a test's ledger is: in a file or on a server. Opened any number of times, and looked at, stopped and tampered with from
outside, by plain SQL and not through our own code.

SQL is SQLite's with `?`; what the server spells otherwise is translated here, so that one test says it for both.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.postgres import PostgresStore
from ledger.postgres_connection import Limits
from ledger.sqlite import SqliteStore

TABLES = ("stored_events", "balances", "holds", "vault", "keyring", "seals", "sessions")
SAYING = {"balances": " WHERE balance <> 0 OR coalesce(floor, -1) <> 0"}
Rows = dict[str, list[tuple[object, ...]]]
Store = SqliteStore | PostgresStore
Clock = Callable[[], int]
QUICK = Limits(
    lock_s=4,
    statement_s=5,
    idle_in_transaction_s=2,
    connect_s=2,
    tcp_user_timeout_s=2,
    answer_s=6,
    reconnect_s=1,
    commit_s=10,
)
"""A test's patience."""
SPELLINGS = (
    ("%", "%%"),
    (r"\?", "%s"),
    (r"'([0-9a-f]{32})'", r"'\1'::uuid"),
    (r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea"),
    (r"(?<![\w'\":])user(?=\s*[,=)])", '"user"'),
)


class Place(Protocol):
    """A ledger, and what can be done to it behind its back."""

    kind: str

    def open(self, *, clock: Clock | None = None) -> Store: ...

    def told(self) -> str:
        """For another process: `opened(told)` opens the same ledger there."""
        ...

    def contents(self) -> Rows:
        """Every row of every table, but for balances of nothing, which say as much as none."""
        ...

    def tamper(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """Change one row, as somebody does who owns the machine: the triggers go first."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Nobody commits meanwhile, as while another process is in the middle of a commit."""
        ...

    def broken(self) -> AbstractContextManager[None]:
        """No commit can be made meanwhile, and none waits."""
        ...


class FilePlace:
    """An embedded ledger in a folder."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[SqliteStore] = []

    def open(self, *, clock: Clock | None = None) -> SqliteStore:
        store = SqliteStore(self.folder, synchronous="OFF", clock=clock)
        self._opened.append(store)
        return store

    def told(self) -> str:
        return json.dumps({"folder": str(self.folder)})

    def contents(self) -> Rows:
        with closing(sqlite3.connect(self.folder / "ledger.db")) as connection:
            return {
                table: connection.execute(f"SELECT * FROM {table}{SAYING.get(table, '')} ORDER BY 1").fetchall()
                for table in TABLES
            }

    def tamper(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        with closing(sqlite3.connect(self.folder / "ledger.db")) as connection, connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            changed = connection.execute(sql, parameters).rowcount
            assert changed == 1, f"expected to change one row, changed {changed}: {sql}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / "ledger.lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def broken(self) -> Iterator[None]:
        for store in self._opened:
            store._connection.execute("PRAGMA query_only = ON")
        yield
        for store in self._opened:
            store._connection.execute("PRAGMA query_only = OFF")


class ServerPlace:
    """A ledger in a schema of a server."""

    kind = "postgres"

    def __init__(self, dsn: str, schema: str = "veloera") -> None:
        self.dsn = dsn
        self.schema = schema

    def open(self, *, clock: Clock | None = None) -> PostgresStore:
        return PostgresStore(self.dsn, schema=self.schema, durability="process", limits=QUICK, clock=clock)

    def told(self) -> str:
        return json.dumps({"dsn": self.dsn, "schema": self.schema})

    def contents(self) -> Rows:
        with self.connected() as connection:
            rows = {
                table: connection.execute(f"SELECT * FROM {table}{SAYING.get(table, '')}".encode()).fetchall()
                for table in TABLES
            }
            return {table: sorted(found, key=repr) for table, found in rows.items()}

    def tamper(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        with self.connected() as connection:
            for table in ("stored_events", "seals"):
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            changed = connection.execute(spelled(sql), parameters).rowcount
            assert changed == 1, f"expected to change one row, changed {changed}: {sql}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.connected() as connection, connection.transaction():
            connection.execute("LOCK TABLE balances IN EXCLUSIVE MODE")
            yield

    @contextmanager
    def broken(self) -> Iterator[None]:
        database = str(conninfo_to_dict(self.dsn)["dbname"])
        with psycopg.connect(self.dsn, dbname="template1", autocommit=True) as outside:
            outside.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false".encode())
            outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
            yield
            outside.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true".encode())

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection]:
        """As the superuser."""
        with psycopg.connect(self.dsn, autocommit=True, options=f"-c search_path={self.schema}") as connection:
            yield connection

    def drop(self) -> None:
        with self.connected() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE".encode())


def opened(told: str) -> Store:
    """In another process: the ledger that `Place.told` tells of."""
    where = json.loads(told)
    if "folder" in where:
        return SqliteStore(Path(where["folder"]), synchronous="NORMAL")
    return ServerPlace(where["dsn"], where["schema"]).open()


def spelled(sql: str) -> bytes:
    for pattern, spelling in SPELLINGS:
        sql = re.sub(pattern, spelling, sql)
    return sql.encode()
