"""API keys as their owners see them: terms, standing, use. Never a key's text: the row has its HMAC and its vault reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from domain import events
from domain.events import Fact, KeyTerms
from ledger.mapper import Recorded
from projections.amounts import Stored, clamped, stored
from projections.database import Cursor, Reader, Value, upsert
from projections.paging import MAX_PAGE_NUMBER, bounded_size, containing
from projections.projection import (
    CHANNEL_FACTS,
    KEY_FACTS,
    NAMING_FACTS,
    PAID_FACTS,
    QUOTA_FACTS,
    SALES_FACTS,
    SETTING_FACTS,
    TASK_FACTS,
    UNPAID_FACTS,
    USER_FACTS,
    Facts,
    facts,
)

COLUMNS = """id, user_id, name, status, created_at, accessed_at, expires_at, unlimited, model_limits_enabled, model_limits,
    allow_ips, key_group, used_mills, digest, secret_ref, deleted_at"""


PUT = upsert("keys_v1", COLUMNS, key="id")


class KeyRow(msgspec.Struct, frozen=True):
    """A key. What a limited one may still spend is in the ledger, as its `cap` account."""

    id: int
    user_id: int
    name: str
    status: int
    created_at: int
    """ms"""
    accessed_at: int
    """ms of its last charge; 0: never."""
    expires_at: int
    """s; -1: never."""
    unlimited: bool
    model_limits_enabled: bool
    model_limits: tuple[str, ...]
    allow_ips: tuple[str, ...]
    group: str
    used_mills: int
    """What was paid for its calls, without what was refunded."""
    digest: str
    secret_ref: str


@dataclass(slots=True)
class _Key:
    """A row, its columns in their order. The texts of its terms are made when they change, not whenever somebody pays."""

    id: int
    user: int
    name: str = ""
    status: int = 1
    created_at: int = 0
    accessed_at: int = 0
    expires_at: int = -1
    unlimited: int = 0
    model_limits_enabled: int = 0
    model_limits: str = ""
    allow_ips: str = ""
    group: str = ""
    used_mills: int = 0
    digest: str = ""
    secret: str = ""
    deleted_at: int | None = None

    def take(self, terms: KeyTerms) -> None:
        self.name = terms.name
        self.expires_at = clamped(terms.expires_at)
        self.model_limits_enabled = int(terms.model_limits_enabled)
        self.model_limits = msgspec.json.encode(terms.model_limits).decode()
        self.allow_ips = msgspec.json.encode(terms.allow_ips).decode()
        self.group = terms.group

    def row(self) -> tuple[Value, ...]:
        return (
            self.id,
            self.user,
            self.name,
            self.status,
            self.created_at,
            self.accessed_at,
            self.expires_at,
            self.unlimited,
            self.model_limits_enabled,
            self.model_limits,
            self.allow_ips,
            self.group,
            stored(self.used_mills),
            self.digest,
            self.secret,
            self.deleted_at,
        )


class Keys:
    """Folds API keys, and what was spent with them."""

    name = "keys_v1"
    handles: Facts = KEY_FACTS | facts(*PAID_FACTS, events.ChargeRefunded)
    ignores: Facts = (
        SALES_FACTS
        | TASK_FACTS
        | (UNPAID_FACTS - facts(events.ChargeRefunded))
        | QUOTA_FACTS
        | USER_FACTS
        | NAMING_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS keys_v1 (
            id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, name TEXT NOT NULL, status INTEGER NOT NULL,
            created_at INTEGER NOT NULL, accessed_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
            unlimited INTEGER NOT NULL, model_limits_enabled INTEGER NOT NULL, model_limits TEXT NOT NULL,
            allow_ips TEXT NOT NULL, key_group TEXT NOT NULL, used_mills AMOUNT NOT NULL, digest TEXT NOT NULL,
            secret_ref TEXT NOT NULL, deleted_at INTEGER)""",
        "CREATE INDEX IF NOT EXISTS keys_v1_user ON keys_v1 (user_id)",
        "CREATE INDEX IF NOT EXISTS keys_v1_name ON keys_v1 (LEADING(name))",
    )
    tables: Mapping[str, str] = {"keys_v1": "id"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        facts = [recorded.fact for recorded in page]
        keys = _load(cursor, facts)
        for fact in facts:
            if isinstance(fact, PAID_FACTS):
                used = keys.get(fact.key)
                if used is not None:  # a call may be made without a key that is known here
                    used.used_mills += fact.paid
                    used.accessed_at = fact.at
            else:
                _apply(keys, fact)
        cursor.executemany(PUT, [key.row() for key in keys.values()])


def _apply(keys: dict[int, _Key], fact: Fact) -> None:
    if isinstance(fact, events.ChargeRefunded):
        paid = keys.get(fact.key)
        if paid is not None:
            paid.used_mills -= fact.amount
        return
    match fact:
        case events.KeyCreated():
            made = keys[fact.id] = _Key(
                fact.id,
                fact.user,
                status=fact.status,
                created_at=fact.at,
                unlimited=int(fact.unlimited),
                digest=fact.digest,
                secret=fact.secret,
            )
            made.take(fact.terms)
        case events.KeyTermsChanged():
            keys[fact.id].take(fact.terms)
        case events.KeyLimitChanged():
            keys[fact.id].unlimited = int(fact.unlimited)
        case events.KeyStatusChanged():
            keys[fact.id].status = fact.status
        case events.KeyDeleted():
            keys[fact.id].deleted_at = fact.at
        case _:
            raise AssertionError(f"{fact.TOPIC} is not folded here")


def _load(cursor: Cursor, facts: Sequence[Fact]) -> dict[int, _Key]:
    ids = {fact.key if isinstance(fact, PAID_FACTS) else which(fact) for fact in facts}
    rows = cursor.execute(
        f"SELECT {COLUMNS} FROM keys_v1 WHERE {cursor.dialect.among('id')}", (cursor.dialect.values_of(ids),)
    )
    return {row[0]: _restored(row) for row in rows}


KeyColumns = tuple[int, int, str, int, int, int, int, int, int, str, str, str, Stored, str, str, int | None]


def _restored(row: KeyColumns) -> _Key:
    return _Key(*row[:12], int(row[12]), *row[13:])


def which(fact: Fact) -> int:
    """The key that a fact other than a payment is about."""
    if isinstance(fact, events.ChargeRefunded):
        return fact.key
    assert isinstance(
        fact,
        events.KeyCreated
        | events.KeyTermsChanged
        | events.KeyLimitChanged
        | events.KeyStatusChanged
        | events.KeyDeleted,
    ), f"{fact.TOPIC} is about no key"
    return fact.id


def key(reader: Reader, key_id: int) -> KeyRow | None:
    """A key that was not deleted."""
    row = reader.execute(f"SELECT {COLUMNS} FROM keys_v1 WHERE id = ? AND deleted_at IS NULL", (key_id,)).fetchone()
    return None if row is None else _read(row)


def page_keys(reader: Reader, user_id: int, *, page0: int, size: int) -> list[KeyRow]:
    """A user's keys that were not deleted, newest first; pages count from 0."""
    size = bounded_size(size)
    rows = reader.execute(
        f"SELECT {COLUMNS} FROM keys_v1 WHERE user_id = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT ? OFFSET ?",
        (user_id, size, min(max(0, page0), MAX_PAGE_NUMBER) * size),
    )
    return [_read(row) for row in rows]


def search_keys(reader: Reader, user_id: int, keyword: str, limit: int = 100) -> list[KeyRow]:
    """A user's keys whose name contains the keyword, newest first."""
    rows = reader.execute(
        f"""SELECT {COLUMNS} FROM keys_v1 WHERE user_id = ? AND deleted_at IS NULL AND {reader.dialect.like("name", escaped=True)}
            ORDER BY id DESC LIMIT ?""",
        (user_id, containing(keyword), bounded_size(limit)),
    )
    return [_read(row) for row in rows]


def count_keys(reader: Reader, user_id: int) -> int:
    sql = "SELECT count(*) FROM keys_v1 WHERE user_id = ? AND deleted_at IS NULL"
    return int(reader.execute(sql, (user_id,)).fetchone()[0])


def _read(row: KeyColumns) -> KeyRow:
    return KeyRow(
        *row[:7],
        unlimited=bool(row[7]),
        model_limits_enabled=bool(row[8]),
        model_limits=msgspec.json.decode(row[9], type=tuple[str, ...]),
        allow_ips=msgspec.json.decode(row[10], type=tuple[str, ...]),
        group=row[11],
        used_mills=int(row[12]),
        digest=row[13],
        secret_ref=row[14],
    )
