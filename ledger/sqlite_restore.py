"""Filling an empty embedded ledger, in turn with every other process."""

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

from domain.books import Guard
from ledger.archive import VaultEntry, VaultKey
from ledger.errors import ArchiveBroken, LedgerUnavailable, NotEmpty
from ledger.sqlite_recorder import LedgerDatastore
from ledger.store import OpenHold, Seal, StoredFact

MUST_BE_EMPTY = ("stored_events", "balances", "holds", "vault", "seals")
FACT_SQL = "INSERT INTO stored_events (id, originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?, ?)"


class SqliteFilling:
    """The ledger in `folder/ledger.db`, whose tables are there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def filling(self) -> Generator["SqliteTables"]:
        """One transaction, however long it takes: SQLite writes it to its log as it grows, and memory stays as it was."""
        datastore = LedgerDatastore(str(self._folder / "ledger.db"), pool_size=1)
        descriptor = os.open(self._folder / "ledger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        connection = datastore.connect()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            connection.execute("BEGIN IMMEDIATE")
            _must_be_empty(connection)
            yield SqliteTables(connection)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.IntegrityError as error:
            raise ArchiveBroken(f"two lines are for one place: {error}") from error
        except sqlite3.OperationalError as error:
            raise LedgerUnavailable(f"the ledger cannot be written: {error}") from error
        finally:
            connection.close()  # rolls back what was not committed
            datastore.close()
            os.close(descriptor)


def _must_be_empty(connection: sqlite3.Connection) -> None:
    for table in MUST_BE_EMPTY:
        if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
            raise NotEmpty(f"this ledger is not empty ({table}): an archive is read into an empty one only")


class SqliteTables:
    """The tables within the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put_facts(self, facts: Sequence[StoredFact]) -> None:
        self._connection.executemany(FACT_SQL, facts)

    def put_seals(self, seals: Sequence[Seal]) -> None:
        self._connection.executemany("INSERT INTO seals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", seals)

    def put_keys(self, keys: Sequence[VaultKey]) -> None:
        there = dict(self._connection.execute("SELECT name, wrapped FROM keyring").fetchall())
        if any(there.get(key.name, key.wrapped) != key.wrapped for key in keys):
            raise NotEmpty(
                "this ledger has vault keys of its own: an archive with a vault is read into a new folder only"
            )
        self._connection.executemany("INSERT OR IGNORE INTO keyring VALUES (?, ?)", keys)

    def put_secrets(self, entries: Sequence[VaultEntry]) -> None:
        self._connection.executemany("INSERT INTO vault VALUES (?, ?)", entries)

    def put_balances(self, balances: Iterable[tuple[str, Guard]]) -> None:
        rows = ((account, *guard) for account, guard in balances)
        self._connection.executemany("INSERT INTO balances VALUES (?, ?, ?)", rows)

    def put_holds(self, holds: Iterable[OpenHold]) -> None:
        self._connection.executemany("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", holds)
