"""Small ledgers with some of everything, sealed in blocks of a few facts; and what somebody does who owns the machine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ledger.merkle import HASH_BYTES
from ledger.seal_keys import trusted
from ledger.sealer import read_head, seal_here
from ledger.store import LedgerStore
from ledger.verify import Report, verify
from ledger.verify_seals import Anchor, Trust
from tests.laws import calls

CALLS = 24
SEALED_FACTS = 51
ALL_TABLES = ("stored_events", "balances", "holds", "vault", "keyring", "seals")
TABLES = ("stored_events", "seals")
Rows = dict[str, list[tuple[object, ...]]]


def filled(store: LedgerStore, folder: Path) -> None:
    """Two customers and their calls: ended, extended and open ones; 51 facts in five blocks, and three that are not sealed yet."""
    store.commit([calls.customer(grant=900_000), calls.customer("bob", grant=400_000), calls.key_of(1, limit=50_000)])
    seal_here(store, folder, "", 1_000)
    for number in range(1, CALLS + 1):
        call = calls.charge(number)
        store.commit([calls.hold(100 + number, call)])
        if number % 5 == 0:
            store.commit([calls.extend(1, 50, call)])
        if number % 4:
            store.commit([calls.settle(60, call, extensions=1 if number % 5 == 0 else 0)])
        if number % 6 == 0:
            seal_here(store, folder, "", 1_000 * number)
    store.commit([calls.hold(7, calls.charge(500)), calls.expire(calls.charge(500)), calls.customer("eve")])


def trust_in(folder: Path) -> Trust:
    """As the command line trusts: the keys in the folder, and the block that was seen last."""
    head = read_head(folder)
    return Trust(trusted(folder), () if head is None else (Anchor(head.hash, head.number, "seal.head"),))


def checked(store: LedgerStore, folder: Path) -> Report:
    return verify(store, trust=trust_in(folder))


def contents(folder: Path) -> Rows:
    """Every row of every table that an archive may fill."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in ALL_TABLES}


class Attacker:
    """Owns the database and nothing else: the triggers go first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.db"
        self._do(
            [f"DROP TRIGGER {name}" for (name,) in self._ask("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        )
        self.rows: Rows = {table: self._ask(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}

    def change(self, table: str, column: str, value: object, key: int) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            sql = f"UPDATE {table} SET {column} = ? WHERE {key_of(table)} = ?"
            assert connection.execute(sql, (value, key)).rowcount == 1

    def remove(self, table: str, key: int) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            assert connection.execute(f"DELETE FROM {table} WHERE {key_of(table)} = ?", (key,)).rowcount == 1

    def put(self, table: str, row: tuple[object, ...]) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def run(self, *statements: str) -> None:
        self._do(statements)

    def undo(self) -> None:
        """Everything in the log and the seals as it was."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for table, rows in self.rows.items():
                connection.execute(f"DELETE FROM {table}")
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    def _ask(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(sql).fetchall()

    def _do(self, statements: list[str] | tuple[str, ...]) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)


def key_of(table: str) -> str:
    return "id" if table == "stored_events" else "number"


def flipped(data: bytes, at: int, bits: int = 1) -> bytes:
    """The same bytes but for one."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


NO_HASH = bytes(HASH_BYTES)
