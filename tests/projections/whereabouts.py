"""Where the read models of a test are, and how one looks at them from outside: what a runner would not do, a test may."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from projections.catalogue import TABLES
from projections.comparison import dump_digest
from projections.database import Folder, Row, Value, positions_in
from projections.errors import ReadModelUnavailable
from projections.places import PostgresPlace, ReadPlace, SqlitePlace, database_at
from projections.postgres_connections import PostgresFolder
from projections.sqlite_connections import SqliteFolder
from projections.sqlite_db import path_in
from tests.harness.postgres import shared_server

KINDS = ("sqlite", "postgres")
ON_BOTH = pytest.mark.parametrize("where", KINDS, indirect=True)
SCHEMAS = count(1)


class Where(NamedTuple):
    """The folder of a ledger, and the place of its read models."""

    kind: str
    folder: Path
    place: ReadPlace

    def position(self) -> int:
        """How far the live read model has come, asked without folding."""
        with closing(database_at(self.place)) as database, suppress(ReadModelUnavailable):
            if database.exists():
                with database.reading() as reader:
                    return min(positions_in(reader).values(), default=0)
        return 0

    def digest(self) -> str:
        """Of the live read model as it is."""
        with closing(database_at(self.place)) as database, database.reading() as reader:
            return dump_digest(reader)

    def rows(self, sql: str) -> list[Row]:
        with closing(database_at(self.place)) as database, database.reading() as reader:
            return list(reader.execute(sql))

    def table(self, name: str) -> list[Row]:
        return self.rows(f"SELECT * FROM {name} ORDER BY {TABLES[name]}")

    def write(self, sql: str, *values: Value) -> int:
        """Change a live read model behind everybody's back; how many rows."""
        with closing(self.folding()) as folder, folder.transaction() as cursor:
            cursor.execute(sql, values)
            return cursor.rowcount

    def folding(self) -> Folder:
        """A connection that writes the live read model, without a seat."""
        if isinstance(self.place, PostgresPlace):
            return PostgresFolder.open(self.place.dsn, self.place.schema)
        return SqliteFolder.open(path_in(self.folder))

    def lose(self) -> None:
        """The live read model is gone."""
        if isinstance(self.place, PostgresPlace):
            shared_server().ask(f"DROP SCHEMA {self.place.schema} CASCADE")
        else:
            for path in self.folder.glob("read.db*"):
                path.unlink()

    def is_kept(self, name: str) -> bool:
        """Whether a read model lies beside the live one, `old` or `next`."""
        if isinstance(self.place, PostgresPlace):
            found = shared_server().ask("SELECT to_regnamespace(%s)::text", f"{self.place.schema}_{name}")
            return found != [(None,)]
        return (self.folder / {"old": "read.db.old", "next": "read.replay.db"}[name]).exists()

    def arguments(self) -> list[str]:
        """For a process that folds."""
        on_server = [self.place.dsn, self.place.schema] if isinstance(self.place, PostgresPlace) else []
        return [str(self.folder), *on_server]


@contextmanager
def whereabouts(kind: str, folder: Path) -> Iterator[Where]:
    if kind == "sqlite":
        yield Where(kind, folder, SqlitePlace(folder))
        return
    place = PostgresPlace(shared_server().dsn(), f"read_{next(SCHEMAS)}")
    try:
        yield Where(kind, folder, place)
    finally:
        for schema in (place.schema, *(f"{place.schema}_{name}" for name in ("next", "old", "back"))):
            shared_server().ask(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def place_of(arguments: list[str]) -> ReadPlace:
    """What `Where.arguments` says."""
    folder, *on_server = arguments
    return PostgresPlace(*on_server) if on_server else SqlitePlace(Path(folder))


def plant(folder: Path, topic: str) -> None:
    """A fact of a later version, at the end of the log."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection, connection:
        connection.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, 1, ?, ?)",
            ("f" * 32, topic, b"{}"),
        )


def cut_off(place: ReadPlace) -> int:
    """The server ends every session that folds or reads; how many there were."""
    assert isinstance(place, PostgresPlace), "a file has no sessions"
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'veloera read models'"
        ).fetchall()
    return len(ended)
