"""Redemption codes as those who issue them see them: terms, standing, how often they were used and by whom last.

Never a code's text: the row has its vault reference, which is erased with the code.
"""

from collections.abc import Mapping, Sequence

import msgspec

from domain import events
from domain.events import Fact
from ledger.mapper import Recorded
from projections.amounts import Stored, clamped, stored
from projections.database import Cursor, Reader, Value, upsert
from projections.paging import Page, bounded, bounded_size, containing
from projections.people import as_id
from projections.projection import (
    CHANNEL_FACTS,
    CHARGE_FACTS,
    CODE_FACTS,
    KEY_FACTS,
    NAMING_FACTS,
    QUOTA_FACTS,
    SETTING_FACTS,
    TASK_FACTS,
    TOPUP_FACTS,
    USER_FACTS,
    Facts,
)

COLUMNS = """id, actor, secret_ref, name, status, is_gift, max_uses, amount_mills, valid_from, valid_until, created_at,
    used_count, used_by, used_at, deleted_at"""

PUT = upsert("codes_v1", COLUMNS, key="id")


class CodeRow(msgspec.Struct, frozen=True):
    """A code."""

    id: int
    actor: int
    """Who issued it; 0: the command line."""
    secret_ref: str
    name: str
    status: int
    is_gift: bool
    max_uses: int | None
    """None: no bound."""
    amount_mills: int
    """Of each use."""
    valid_from: int
    valid_until: int
    """s, both inclusive; 0: no bound."""
    created_at: int
    """ms"""
    used_count: int = 0
    used_by: int = 0
    """Who used it last."""
    used_at: int = 0
    """ms; 0: never."""
    deleted_at: int | None = None


CodeColumns = tuple[int, int, str, str, int, int, int | None, Stored, int, int, int, int, int, int, int | None]


class Codes:
    """Folds codes and their uses."""

    name = "codes_v1"
    handles: Facts = CODE_FACTS
    ignores: Facts = (
        TOPUP_FACTS
        | TASK_FACTS
        | CHARGE_FACTS
        | QUOTA_FACTS
        | USER_FACTS
        | NAMING_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS codes_v1 (
            id INTEGER PRIMARY KEY, actor INTEGER NOT NULL, secret_ref TEXT NOT NULL, name TEXT NOT NULL,
            status INTEGER NOT NULL, is_gift INTEGER NOT NULL, max_uses INTEGER, amount_mills AMOUNT NOT NULL,
            valid_from INTEGER NOT NULL, valid_until INTEGER NOT NULL, created_at INTEGER NOT NULL,
            used_count INTEGER NOT NULL, used_by INTEGER NOT NULL, used_at INTEGER NOT NULL, deleted_at INTEGER)""",
        "CREATE INDEX IF NOT EXISTS codes_v1_name ON codes_v1 (LEADING(name))",
    )
    tables: Mapping[str, str] = {"codes_v1": "id"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        codes = _load(cursor, {which(recorded.fact) for recorded in page})
        for recorded in page:
            fact = recorded.fact
            codes[which(fact)] = after(codes.get(which(fact)), fact)
        cursor.executemany(PUT, [_columns(row) for row in codes.values()])


def after(row: CodeRow | None, fact: Fact) -> CodeRow:
    """A code once something has happened to it."""
    if isinstance(fact, events.CodeIssued):
        terms = fact.terms
        return CodeRow(
            id=fact.id,
            actor=fact.actor,
            secret_ref=fact.secret,
            name=terms.name,
            status=fact.status,
            is_gift=fact.gift,
            max_uses=fact.max_uses,
            amount_mills=terms.amount,
            valid_from=terms.valid_from,
            valid_until=terms.valid_until,
            created_at=fact.at,
        )
    assert row is not None, "a code begins with its issue"
    replaced = msgspec.structs.replace
    match fact:
        case events.CodeChanged():
            terms = fact.terms
            bounds = {"valid_from": terms.valid_from, "valid_until": terms.valid_until}
            return replaced(row, name=terms.name, amount_mills=terms.amount, **bounds)
        case events.CodeStatusChanged():
            return replaced(row, status=fact.status)
        case events.CodeRedeemed():
            return replaced(row, used_count=row.used_count + 1, used_by=fact.user, used_at=fact.at)
        case events.CodeDeleted():
            return replaced(row, deleted_at=fact.at)
    raise AssertionError(f"{fact.TOPIC} is not folded here")


def which(fact: Fact) -> int:
    """The code that a fact is about."""
    if isinstance(fact, events.CodeRedeemed):
        return fact.code
    assert isinstance(fact, events.CodeIssued | events.CodeChanged | events.CodeStatusChanged | events.CodeDeleted), (
        f"{fact.TOPIC} is about no code"
    )
    return fact.id


def code(reader: Reader, code_id: int) -> CodeRow | None:
    """A code that was not deleted."""
    row = reader.execute(f"SELECT {COLUMNS} FROM codes_v1 WHERE id = ? AND deleted_at IS NULL", (code_id,)).fetchone()
    return None if row is None else _read(row)


def page_codes(reader: Reader, *, page: int, size: int, keyword: str = "") -> Page[CodeRow]:
    """Codes that were not deleted, newest first. `keyword`: how the name begins, or an id."""
    page, size = bounded(page, size)
    where, values = ["deleted_at IS NULL"], list[Value]()
    if keyword:
        where.append(f"({reader.dialect.like('name', escaped=True)} OR id = ?)")
        values += [containing(keyword)[1:], as_id(keyword)]
    matching = f"FROM codes_v1 WHERE {' AND '.join(where)}"
    (total,) = reader.execute(f"SELECT count(*) {matching}", values).fetchone()
    rows = reader.execute(
        f"SELECT {COLUMNS} {matching} ORDER BY id DESC LIMIT ? OFFSET ?", [*values, size, (page - 1) * size]
    )
    return Page([_read(row) for row in rows], total, page, size)


def count_codes(reader: Reader, name: str) -> int:
    """Codes of exactly this name that were not deleted."""
    named = reader.dialect.ids_named("codes_v1", "name")
    sql = f"SELECT count(*) FROM codes_v1 WHERE id IN ({named}) AND deleted_at IS NULL"
    return int(reader.execute(sql, (name,)).fetchone()[0])


def code_ids(reader: Reader, *, name: str = "", status: int = 0, after: int = 0, limit: int = 1000) -> list[int]:
    """Ids above `after`, in order, of codes of exactly this name, or of this status, that were not deleted."""
    where, values = ["id > ?", "deleted_at IS NULL"], list[Value]([after])
    if name:
        where.append(f"id IN ({reader.dialect.ids_named('codes_v1', 'name')})")
        values.append(name)
    if status:
        where.append("status = ?")
        values.append(status)
    sql = f"SELECT id FROM codes_v1 WHERE {' AND '.join(where)} ORDER BY id LIMIT ?"
    return [row[0] for row in reader.execute(sql, [*values, bounded_size(limit)])]


def _load(cursor: Cursor, ids: set[int]) -> dict[int, CodeRow]:
    rows = cursor.execute(
        f"SELECT {COLUMNS} FROM codes_v1 WHERE {cursor.dialect.among('id')}", (cursor.dialect.values_of(ids),)
    )
    return {row[0]: _read(row) for row in rows}


def _columns(row: CodeRow) -> tuple[Value, ...]:
    return (
        row.id,
        row.actor,
        row.secret_ref,
        row.name,
        row.status,
        int(row.is_gift),
        row.max_uses,
        stored(row.amount_mills),
        clamped(row.valid_from),
        clamped(row.valid_until),
        row.created_at,
        row.used_count,
        row.used_by,
        row.used_at,
        row.deleted_at,
    )


def _read(row: CodeColumns) -> CodeRow:
    return CodeRow(*row[:5], bool(row[5]), row[6], int(row[7]), *row[8:14], row[14])
