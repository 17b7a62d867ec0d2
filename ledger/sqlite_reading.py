"""Reading the embedded store: as it is now, or as it was at one moment."""

import sqlite3
from collections.abc import Iterator

from domain.books import Guard
from domain.streams import StreamId
from ledger.mapper import Recorded, decode
from ledger.store import OpenHold, Seal, Session, StoredFact

HOLD_COLUMNS = "charge, user, key, capped, amount, extensions, node, epoch, deadline"
SEAL_COLUMNS = "number, first, last, facts, root, previous, key_id, signature, at"
MAX_ID = 2**63 - 1


class SqliteReader:
    """The reads of a LedgerStore, over whatever answers `_all`."""

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        raise AssertionError("a reader says how it reads")

    def head(self) -> int:
        return int(self._all("SELECT max(id) FROM stored_events", ())[0][0] or 0)

    def read_stream(self, stream: StreamId) -> list[Recorded]:
        sql = """SELECT id, originator_id, originator_version, topic, state FROM stored_events
            WHERE originator_id = ? ORDER BY originator_version"""
        return [_recorded(row) for row in self._all(sql, (stream,))]

    def read_log(self, after: int, limit: int, *, without_charges: bool = False) -> list[Recorded]:
        return [_recorded(row) for row in self._all(_log_sql(without_charges), (after, limit))]

    def read_stored(self, after: int, limit: int) -> list[StoredFact]:
        sql = """SELECT id, originator_id, originator_version, topic, state FROM stored_events
            WHERE id >= ? ORDER BY id LIMIT ?"""
        if after >= MAX_ID:
            return []
        # Made without the constructor of a NamedTuple, which takes twice the time: these are read by the million.
        return [tuple.__new__(StoredFact, row) for row in self._all(sql, (after + 1, limit))]

    def balance(self, account: str) -> Guard | None:
        rows = self._all("SELECT balance, floor FROM balances WHERE account = ?", (account,))
        return Guard(rows[0][0], rows[0][1]) if rows else None

    def balances(self) -> Iterator[tuple[str, Guard]]:
        after = ""
        while rows := self._all(
            "SELECT account, balance, floor FROM balances WHERE account > ? ORDER BY account LIMIT 1000", (after,)
        ):
            for account, balance, floor in rows:
                yield account, Guard(balance, floor)
            after = rows[-1][0]

    def open_holds(self, *, limit: int = 1000, after: StreamId = "") -> list[OpenHold]:
        sql = f"SELECT {HOLD_COLUMNS} FROM holds WHERE charge > ? ORDER BY charge LIMIT ?"
        return [_open_hold(row) for row in self._all(sql, (after, limit))]

    def secret(self, ref: str) -> bytes | None:
        rows = self._all("SELECT sealed FROM vault WHERE ref = ?", (ref,))
        return bytes(rows[0][0]) if rows else None

    def secrets(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        sql = "SELECT ref, sealed FROM vault WHERE ref > ? ORDER BY ref LIMIT ?"
        return [(row[0], bytes(row[1])) for row in self._all(sql, (after, limit))]

    def keyring(self) -> dict[str, bytes]:
        return {row[0]: bytes(row[1]) for row in self._all("SELECT name, wrapped FROM keyring", ())}

    def broken_streams(self) -> list[StreamId]:
        """Streams whose versions are not 1, 2, 3 ...: at most a hundred of them."""
        sql = """SELECT originator_id FROM stored_events GROUP BY originator_id
            HAVING min(originator_version) <> 1 OR max(originator_version) <> count(*) LIMIT 100"""
        return [row[0] for row in self._all(sql, ())]

    def read_seals(self, after: int, limit: int) -> list[Seal]:
        sql = f"SELECT {SEAL_COLUMNS} FROM seals WHERE number >= ? ORDER BY number LIMIT ?"
        return [Seal(*row) for row in self._all(sql, (after + 1, limit))] if after < MAX_ID else []

    def last_seal(self) -> Seal | None:
        rows = self._all(f"SELECT {SEAL_COLUMNS} FROM seals ORDER BY number DESC LIMIT 1", ())
        return Seal(*rows[0]) if rows else None

    def session(self, digest: str) -> Session | None:
        rows = self._all("SELECT digest, user, began_at_ms, expires_at_ms FROM sessions WHERE digest = ?", (digest,))
        return Session(*rows[0]) if rows else None


class Snapshot(SqliteReader):
    """The ledger as it is at one moment: every read sees the same commits, however long it takes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.row_factory = None
        connection.execute("BEGIN")
        connection.execute("SELECT max(id) FROM stored_events").fetchone()  # the first read fixes what is seen

    def _all(self, sql: str, parameters: tuple[object, ...]) -> list[sqlite3.Row]:
        return self._connection.execute(sql, parameters).fetchall()


def _log_sql(without_charges: bool) -> str:
    only = " AND substr(topic, 1, 7) <> 'charge.'" if without_charges else ""
    return f"""SELECT id, originator_id, originator_version, topic, state FROM stored_events
        WHERE id > ?{only} ORDER BY id LIMIT ?"""


def _open_hold(row: sqlite3.Row) -> OpenHold:
    charge, user, key, capped, amount, extensions, node, epoch, deadline = row
    return OpenHold(charge, user, key, bool(capped), amount, extensions, node, epoch, deadline)


def _recorded(row: sqlite3.Row) -> Recorded:
    return Recorded(row[0], row[1], row[2], decode(row[3], row[4]))
