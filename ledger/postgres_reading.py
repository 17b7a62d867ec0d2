"""Reading a ledger on a server: as it is now, or as it was at one moment."""

from collections.abc import Iterator, Sequence
from typing import LiteralString

import psycopg
from psycopg.rows import TupleRow

from domain.books import Guard
from domain.streams import StreamId
from ledger.mapper import Recorded, decode
from ledger.postgres_connection import Address, Link
from ledger.store import OpenHold, Seal, Session, StoredFact

HOLD_COLUMNS = 'charge, "user", key, capped, amount, extensions, node, epoch, deadline'
SEAL_COLUMNS = "number, first, last, facts, root, previous, key_id, signature, at"
FACT_COLUMNS = "id, originator_id, originator_version, topic, state"
SMALLEST_UUID = "0" * 32
MAX_BROKEN = 100
PAGE_ROWS = 50_000
MAX_ID = 2**63 - 1


class PostgresReader:
    """The reads of a LedgerStore, over whatever answers `_all`."""

    def _all(self, sql: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        raise AssertionError("a reader says how it reads")

    def head(self) -> int:
        return int(self._all("SELECT coalesce(max(id), 0) FROM stored_events", ())[0][0])

    def read_stream(self, stream: StreamId) -> list[Recorded]:
        sql = f"SELECT {FACT_COLUMNS} FROM stored_events WHERE originator_id = %s::uuid ORDER BY originator_version"
        return [_recorded(row) for row in self._all(sql, (stream,))]

    def read_log(self, after: int, limit: int, *, without_charges: bool = False) -> list[Recorded]:
        # Word for word the condition of the partial index.
        only = " AND left(topic, 7) <> 'charge.'" if without_charges else ""
        sql = f"SELECT {FACT_COLUMNS} FROM stored_events WHERE id > %s{only} ORDER BY id LIMIT %s"
        return [_recorded(row) for row in self._all(sql, (after, limit))]

    def read_stored(self, after: int, limit: int) -> list[StoredFact]:
        sql = f"SELECT {FACT_COLUMNS} FROM stored_events WHERE id >= %s ORDER BY id LIMIT %s"
        return [StoredFact(*row) for row in self._all(sql, (after + 1, limit))] if after < MAX_ID else []

    def balance(self, account: str) -> Guard | None:
        rows = self._all("SELECT balance, floor FROM balances WHERE account = %s", (account,))
        return Guard(*rows[0]) if rows else None

    def balances(self) -> Iterator[tuple[str, Guard]]:
        after = ""
        sql = "SELECT account, balance, floor FROM balances WHERE account > %s ORDER BY account LIMIT 1000"
        while rows := self._all(sql, (after,)):
            for account, balance, floor in rows:
                yield account, Guard(balance, floor)
            after = rows[-1][0]

    def open_holds(self, *, limit: int = 1000, after: StreamId = "") -> list[OpenHold]:
        further = "charge > %s::uuid" if after else "charge >= %s::uuid"
        sql = f"SELECT {HOLD_COLUMNS} FROM holds WHERE {further} ORDER BY charge LIMIT %s"
        return [OpenHold(*row) for row in self._all(sql, (after or SMALLEST_UUID, limit))]

    def secret(self, ref: str) -> bytes | None:
        rows = self._all("SELECT sealed FROM vault WHERE ref = %s", (ref,))
        return rows[0][0] if rows else None

    def secrets(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        sql = "SELECT ref, sealed FROM vault WHERE ref > %s ORDER BY ref LIMIT %s"
        return [(ref, sealed) for ref, sealed in self._all(sql, (after, limit))]

    def keyring(self) -> dict[str, bytes]:
        return dict(self._all("SELECT name, wrapped FROM keyring", ()))

    def broken_streams(self) -> list[StreamId]:
        """Streams whose versions are not 1, 2, 3 ...: at most a hundred of them. Reads the index a page at a time."""
        broken: list[StreamId] = []
        after = ""
        while len(broken) < MAX_BROKEN:
            page = self._streams(after)
            if not page:
                break
            broken += [stream for stream, first, last, facts in page if first != 1 or last != facts]
            after = page[-1][0]
        return broken[:MAX_BROKEN]

    def read_seals(self, after: int, limit: int) -> list[Seal]:
        sql = f"SELECT {SEAL_COLUMNS} FROM seals WHERE number >= %s ORDER BY number LIMIT %s"
        return [Seal(*row) for row in self._all(sql, (after + 1, limit))] if after < MAX_ID else []

    def last_seal(self) -> Seal | None:
        rows = self._all(f"SELECT {SEAL_COLUMNS} FROM seals ORDER BY number DESC LIMIT 1", ())
        return Seal(*rows[0]) if rows else None

    def session(self, digest: str) -> Session | None:
        sql = 'SELECT digest, "user", began_at_ms, expires_at_ms FROM sessions WHERE digest = %s'
        rows = self._all(sql, (digest,))
        return Session(*rows[0]) if rows else None

    def _streams(self, after: StreamId) -> list[TupleRow]:
        """(stream, first version, last version, facts) of the next streams by their ids, all of them whole."""
        further = "originator_id > %s::uuid" if after else "originator_id >= %s::uuid"
        sql = f"""SELECT originator_id, min(originator_version), max(originator_version), count(*) FROM (
                SELECT originator_id, originator_version FROM stored_events WHERE {further}
                ORDER BY originator_id, originator_version LIMIT %s) AS page
            GROUP BY originator_id ORDER BY originator_id"""
        page = self._all(sql, (after or SMALLEST_UUID, PAGE_ROWS))
        if sum(row[3] for row in page) < PAGE_ROWS:
            return page
        if len(page) > 1:
            return page[:-1]  # the last one may go on behind the page
        sql = """SELECT originator_id, min(originator_version), max(originator_version), count(*) FROM stored_events
            WHERE originator_id = %s::uuid GROUP BY originator_id"""
        return self._all(sql, (page[0][0],))


class Snapshot(PostgresReader):
    """The ledger as it is at one moment: every read sees the same commits, however long it takes."""

    def __init__(self, address: Address, link: Link) -> None:
        self._address = address
        self._link = link
        self._all("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", ())
        self.head()  # the first read fixes what is seen

    def _all(self, sql: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        try:
            cursor = self._link.execute(sql, parameters, binary=True)
            return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as error:
            raise self._address.unavailable("read", error) from error


def _recorded(row: TupleRow) -> Recorded:
    return Recorded(row[0], row[1], row[2], decode(row[3], row[4]))
