"""Where read models are: a file in the data folder, or a schema of the PostgreSQL that has the ledger.

A place is a value; `database_at` opens it. psycopg is loaded only where it is needed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from projections.database import Database

SCHEMA = "veloera_read"
_A_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,50}")


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """`read.db` in a folder on a disk of this machine."""

    folder: Path


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A schema, which whoever folds first makes: its role may create schemas in that database.

    Sessions hold locks, so the DSN leads to the server itself or to a pool of sessions, not of transactions.
    """

    dsn: str
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if not _A_SCHEMA.fullmatch(self.schema):
            raise ValueError(f"a schema is called by at most 51 of a-z, 0-9 and _, not {self.schema!r}")


ReadPlace = Path | SqlitePlace | PostgresPlace
"""A path is the folder of a SqlitePlace."""


def read_place(folder: Path, dsn: str = "") -> ReadPlace:
    """Beside the ledger: on its server where `dsn` names one, else in the data folder."""
    return PostgresPlace(dsn) if dsn else SqlitePlace(folder)


def database_at(place: ReadPlace) -> Database:
    if isinstance(place, PostgresPlace):
        from projections.postgres_db import PostgresDatabase

        return PostgresDatabase(place.dsn, place.schema)
    from projections.sqlite_db import SqliteDatabase

    return SqliteDatabase(place if isinstance(place, Path) else place.folder)
