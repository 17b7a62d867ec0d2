"""Where a ledger is: in a file of the data folder, or on a PostgreSQL server. Everything else asks the store, not where it is."""

from pathlib import Path
from typing import Literal

from ledger.store import LedgerStore

POSTGRES_SCHEMES = ("postgresql://", "postgres://")

Durability = Literal["full", "process"]


def is_postgres(dsn: str) -> bool:
    return dsn.startswith(POSTGRES_SCHEMES)


def open_store(folder: Path, dsn: str = "", *, durability: Durability = "full") -> LedgerStore:
    """Open a ledger, creating what is not there. `dsn` empty: the embedded store in `folder`.

    `durability`: `full` survives power loss (and, where the server has one, waits for its synchronous standby); `process`
    survives the death of processes only. Raises StoreRefused, and LedgerUnavailable for a server that does not answer.
    """
    if is_postgres(dsn):
        from ledger.postgres import PostgresStore  # 15 MB that the embedded store does not need

        return PostgresStore(dsn, durability=durability)
    from ledger.sqlite import SqliteStore

    return SqliteStore(folder, synchronous="FULL" if durability == "full" else "NORMAL")
