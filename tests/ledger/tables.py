"""The ledger's file seen from outside: read, locked and tampered with by plain SQLite, not through our own code."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

TABLES = ("stored_events", "balances", "holds", "vault", "keyring")
Rows = dict[str, list[tuple[object, ...]]]


def contents(folder: Path) -> Rows:
    """Every row of every table."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}


def tamper(folder: Path, sql: str, parameters: tuple[object, ...] = ()) -> None:
    """Change what is stored, as somebody does who owns the machine: the triggers go first."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection, connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        changed = connection.execute(sql, parameters).rowcount
        assert changed == 1, f"expected to change one row, changed {changed}: {sql}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the writers' lock, as another process in the middle of a commit does."""
    descriptor = os.open(folder / "ledger.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
