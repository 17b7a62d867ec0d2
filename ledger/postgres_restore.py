"""Filling an empty ledger on a server. Positions stay as they were, and the next one comes after them.

To be asked for as the owner of the tables: the role that serves may not set the counter of positions.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import LiteralString

import msgspec
import psycopg

from domain.books import Guard
from ledger.archive import VaultEntry, VaultKey
from ledger.errors import ArchiveBroken, NotEmpty, StoreRefused
from ledger.mapper import decode
from ledger.postgres_arrays import bigints, byteas, texts, uuids
from ledger.postgres_connection import Address, Link
from ledger.postgres_reading import HOLD_COLUMNS, SEAL_COLUMNS
from ledger.postgres_schema import turn_key
from ledger.store import OpenHold, Seal, StoredFact

LIMIT_S = 600
BATCH_ROWS = 5000

MUST_BE_EMPTY: tuple[tuple[str, LiteralString], ...] = (
    ("facts", "SELECT 1 FROM stored_events LIMIT 1"),
    # A command that was refused may have left a row with nothing on it.
    ("balances", "SELECT 1 FROM balances WHERE balance <> 0 OR floor IS DISTINCT FROM 0 LIMIT 1"),
    ("holds", "SELECT 1 FROM holds LIMIT 1"),
    ("secrets", "SELECT 1 FROM vault LIMIT 1"),
    ("seals", "SELECT 1 FROM seals LIMIT 1"),
)
FACTS_SQL = """INSERT INTO stored_events (id, originator_id, originator_version, topic, state, recorded_at) OVERRIDING SYSTEM VALUE
    SELECT * FROM unnest(%b, %b, %b, %b, %b, %b)"""
POSITION_SQL = (
    """SELECT setval(pg_get_serial_sequence('stored_events', 'id'), max(id)) FROM stored_events HAVING count(*) > 0"""
)
BALANCES_SQL = """INSERT INTO balances (account, balance, floor) SELECT * FROM unnest(%b, %b, %b)
    ON CONFLICT (account) DO UPDATE SET balance = excluded.balance, floor = excluded.floor"""
HOLDS_SQL: LiteralString = f"""INSERT INTO holds ({HOLD_COLUMNS}) SELECT {HOLD_COLUMNS} FROM json_to_recordset(%s::json)
    AS x (charge uuid, "user" bigint, key bigint, capped boolean, amount bigint, extensions bigint, node text, epoch text, deadline bigint)"""
SEAL_SQL: LiteralString = f"INSERT INTO seals ({SEAL_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"


class PostgresFilling:
    """The ledger in one schema of a database, whose tables are there."""

    def __init__(self, dsn: str, schema: str = "veloera") -> None:
        self._address = Address(dsn, schema=schema)

    @contextmanager
    def filling(self) -> Generator["PostgresTables"]:
        """One transaction that has the turn: nobody else commits to this ledger meanwhile."""
        limit = f"{LIMIT_S}s"
        with self._address.connect(
            "import", statement_timeout=limit, lock_timeout="8s", idle_in_transaction_session_timeout=limit
        ) as link:
            link.answer_s = LIMIT_S
            try:
                with link.transaction():
                    link.execute("SELECT pg_advisory_xact_lock(%s)", (turn_key(self._address.schema),))
                    _must_be_empty(link)
                    yield PostgresTables(link)
                    link.execute(POSITION_SQL)
            except psycopg.errors.InsufficientPrivilege as error:
                raise StoreRefused("an archive is read in by the owner of the tables: name it in SQL_DSN") from error
            except psycopg.OperationalError as error:
                raise self._address.unavailable("written", error) from error
            except (psycopg.IntegrityError, psycopg.DataError) as error:
                raise ArchiveBroken(f"a line is not what a ledger takes: {error.diag.message_primary}") from error


def _must_be_empty(link: Link) -> None:
    for what, sql in MUST_BE_EMPTY:
        if link.execute(sql).fetchall():
            raise NotEmpty(f"this ledger is not empty ({what}): an archive is read into an empty one only")


class PostgresTables:
    """The tables within the transaction."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def put_facts(self, facts: Sequence[StoredFact]) -> None:
        """Raises ArchiveBroken for a stream that is no id."""
        if not facts:
            return
        try:
            streams = uuids([fact.stream for fact in facts])
        except ValueError as error:
            raise ArchiveBroken(f"a stream is not 32 hex digits: {error}") from error
        self._link.execute(
            FACTS_SQL,
            (
                bigints([fact.position for fact in facts]),
                streams,
                bigints([fact.version for fact in facts]),
                texts([fact.topic for fact in facts]),
                byteas([fact.state for fact in facts]),
                bigints([decode(fact.topic, fact.state).at for fact in facts]),
            ),
        )

    def put_seals(self, seals: Sequence[Seal]) -> None:
        for seal in seals:
            self._link.execute(SEAL_SQL, seal)

    def put_keys(self, keys: Sequence[VaultKey]) -> None:
        there: dict[str, bytes] = dict(self._link.execute("SELECT name, wrapped FROM keyring").fetchall())
        if any(there.get(key.name, key.wrapped) != key.wrapped for key in keys):
            raise NotEmpty("this ledger has vault keys of its own: an archive with a vault is read into a new one only")
        for key in keys:
            self._link.execute("INSERT INTO keyring (name, wrapped) VALUES (%s, %s) ON CONFLICT DO NOTHING", key)

    def put_secrets(self, entries: Sequence[VaultEntry]) -> None:
        refs, sealed = [entry.ref for entry in entries], [entry.sealed for entry in entries]
        self._link.execute(
            "INSERT INTO vault (ref, sealed) SELECT * FROM unnest(%b, %b)", (texts(refs), byteas(sealed))
        )

    def put_balances(self, balances: Iterable[tuple[str, Guard]]) -> None:
        rows = iter(balances)
        while page := list(islice(rows, BATCH_ROWS)):
            names, guards = [name for name, _ in page], [guard for _, guard in page]
            numbers = (bigints([guard.balance for guard in guards]), bigints([guard.floor for guard in guards]))
            self._link.execute(BALANCES_SQL, (texts(names), *numbers))

    def put_holds(self, holds: Iterable[OpenHold]) -> None:
        rows = iter(holds)
        while page := list(islice(rows, BATCH_ROWS)):
            self._link.execute(HOLDS_SQL, (msgspec.json.encode([hold._asdict() for hold in page]).decode(),))
