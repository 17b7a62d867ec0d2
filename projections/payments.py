"""Payments as customers and operators see them: ordered, paid, failed, reversed, or flagged until a person has looked.

One row for a provider's trade number, from the facts of that stream alone.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from domain import events
from domain.events import Fact
from ledger.mapper import Recorded
from projections.amounts import Stored, stored
from projections.database import Cursor, Reader, Value, upsert
from projections.paging import Page, bounded
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

PENDING, SUCCESS, FAILED, FLAGGED, REVERSED = "pending", "success", "failed", "flagged", "reversed"

COLUMNS = """provider, trade, seen_at, user_id, status, amount_mills, money_minor, currency, method, ordered_at, credited_mills,
    reversed_mills, settled_at, resolved_by, flagged_why, flagged_minor, flagged_currency"""

PUT = upsert("payments_v1", COLUMNS, key="provider, trade")


class PaymentRow(msgspec.Struct, frozen=True):
    """A payment."""

    provider: str
    trade: str
    seen_at: int = 0
    """ms of its first fact."""
    user_id: int = 0
    """Whose order it is, or to whom it was credited; 0: no order has this number."""
    status: str = PENDING
    amount_mills: int = 0
    """That the order buys."""
    money_minor: int = 0
    """That the order asks for, or that arrived without one."""
    currency: str = ""
    method: str = ""
    ordered_at: int = 0
    """ms; 0: there was no order."""
    credited_mills: int = 0
    reversed_mills: int = 0
    settled_at: int = 0
    """ms; 0: not yet."""
    resolved_by: int = 0
    """Who credited it by hand; 0: it fitted."""
    flagged_why: str = ""
    """Why the last money that arrived did not fit."""
    flagged_minor: int = 0
    flagged_currency: str = ""


PaymentColumns = tuple[
    str, str, int, int, str, Stored, Stored, str, str, int, Stored, Stored, int, int, str, Stored, str
]
Place = tuple[str, str]


class Payments:
    """Folds payments."""

    name = "payments_v1"
    handles: Facts = TOPUP_FACTS
    ignores: Facts = (
        CODE_FACTS
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
        """CREATE TABLE IF NOT EXISTS payments_v1 (
            provider TEXT NOT NULL, trade TEXT NOT NULL, seen_at INTEGER NOT NULL, user_id INTEGER NOT NULL,
            status TEXT NOT NULL, amount_mills AMOUNT NOT NULL, money_minor AMOUNT NOT NULL, currency TEXT NOT NULL,
            method TEXT NOT NULL, ordered_at INTEGER NOT NULL, credited_mills AMOUNT NOT NULL,
            reversed_mills AMOUNT NOT NULL, settled_at INTEGER NOT NULL, resolved_by INTEGER NOT NULL,
            flagged_why TEXT NOT NULL, flagged_minor AMOUNT NOT NULL, flagged_currency TEXT NOT NULL,
            PRIMARY KEY (provider, trade)) WITHOUT ROWID""",
        "CREATE INDEX IF NOT EXISTS payments_v1_seen ON payments_v1 (seen_at)",
        "CREATE INDEX IF NOT EXISTS payments_v1_user ON payments_v1 (user_id, seen_at)",
        "CREATE INDEX IF NOT EXISTS payments_v1_status ON payments_v1 (status, seen_at)",
    )
    tables: Mapping[str, str] = {"payments_v1": "provider, trade"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        payments = _load(cursor, {which(recorded.fact) for recorded in page})
        for recorded in page:
            place = which(recorded.fact)
            payments[place] = after(payments.get(place) or PaymentRow(*place), recorded.fact)
        cursor.executemany(PUT, [_columns(row) for row in payments.values()])


def of_facts(provider: str, trade: str, facts: Iterable[Fact]) -> PaymentRow:
    """A payment by its own facts, for what cannot wait until they are folded."""
    row = PaymentRow(provider, trade)
    for fact in facts:
        row = after(row, fact)
    return row


def after(row: PaymentRow, fact: Fact) -> PaymentRow:
    """A payment once something has happened to it."""
    row = msgspec.structs.replace(row, seen_at=row.seen_at or fact.at)
    match fact:
        case events.TopUpInitiated():
            return msgspec.structs.replace(
                row,
                user_id=fact.user,
                status=PENDING,
                amount_mills=fact.amount,
                money_minor=fact.money_minor,
                currency=fact.currency,
                method=fact.method,
                ordered_at=fact.at,
            )
        case events.TopUpSettled():
            return msgspec.structs.replace(
                row,
                user_id=fact.user,
                status=SUCCESS,
                credited_mills=fact.amount,
                settled_at=fact.at,
                resolved_by=fact.actor,
                money_minor=row.money_minor or fact.money_minor,
                currency=row.currency or fact.currency,
            )
        case events.TopUpFlagged():
            return msgspec.structs.replace(
                row,
                status=FLAGGED,
                flagged_why=fact.why,
                flagged_minor=fact.money_minor,
                flagged_currency=fact.currency,
            )
        case events.TopUpFailed():
            # Money that did not fit still waits for a person, whatever the provider says later.
            return row if row.status == FLAGGED else msgspec.structs.replace(row, status=FAILED)
        case events.TopUpReversed():
            back = row.reversed_mills + fact.amount
            status = REVERSED if back >= row.credited_mills else row.status
            return msgspec.structs.replace(row, status=status, reversed_mills=back)
    raise AssertionError(f"{fact.TOPIC} is not folded here")


def which(fact: Fact) -> Place:
    """The payment that a fact is about."""
    assert isinstance(
        fact,
        events.TopUpInitiated | events.TopUpSettled | events.TopUpFailed | events.TopUpFlagged | events.TopUpReversed,
    ), f"{fact.TOPIC} is about no payment"
    return fact.provider, fact.trade


def page_payments(
    reader: Reader, *, page: int, size: int, user_id: int | None = None, status: str = ""
) -> Page[PaymentRow]:
    """Newest first; of one user, or of one status."""
    page, size = bounded(page, size)
    where, values = ["TRUE"], list[Value]()
    if user_id is not None:
        where.append("user_id = ?")
        values.append(user_id)
    if status:
        where.append("status = ?")
        values.append(status)
    matching = f"FROM payments_v1 WHERE {' AND '.join(where)}"
    (total,) = reader.execute(f"SELECT count(*) {matching}", values).fetchone()
    rows = reader.execute(
        f"SELECT {COLUMNS} {matching} ORDER BY seen_at DESC, provider DESC, trade DESC LIMIT ? OFFSET ?",
        [*values, size, (page - 1) * size],
    )
    return Page([_read(row) for row in rows], total, page, size)


def _load(cursor: Cursor, places: set[Place]) -> dict[Place, PaymentRow]:
    dialect = cursor.dialect
    condition = dialect.among_rows("provider, trade", texts=("provider", "trade"))
    rows = cursor.execute(f"SELECT {COLUMNS} FROM payments_v1 WHERE {condition}", (dialect.rows_of(places),))
    return {(row[0], row[1]): _read(row) for row in rows}


def _columns(row: PaymentRow) -> tuple[Value, ...]:
    return (
        row.provider,
        row.trade,
        row.seen_at,
        row.user_id,
        row.status,
        stored(row.amount_mills),
        stored(row.money_minor),
        row.currency,
        row.method,
        row.ordered_at,
        stored(row.credited_mills),
        stored(row.reversed_mills),
        row.settled_at,
        row.resolved_by,
        row.flagged_why,
        stored(row.flagged_minor),
        row.flagged_currency,
    )


def _read(row: PaymentColumns) -> PaymentRow:
    """Amounts may come as decimals or texts, beyond what an integer column holds."""
    return PaymentRow(
        *row[:5],
        int(row[5]),
        int(row[6]),
        *row[7:10],
        int(row[10]),
        int(row[11]),
        *row[12:15],
        int(row[15]),
        row[16],
    )
