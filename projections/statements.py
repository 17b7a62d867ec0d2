"""Account statements: one row for every posting, with the balance that it left. The last balance is the sum of the deltas.

Platform accounts have statements too. Their balances may pass 2^63, so running balances are added in Python.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Final

import msgspec

from domain import events
from domain.events import Fact
from ledger.mapper import Recorded
from projections.amounts import MAX_INTEGER, MIN_INTEGER, Stored, stored
from projections.database import Cursor, Reader
from projections.paging import bounded_size
from projections.projection import (
    CHANNEL_FACTS,
    CHARGE_FACTS,
    KEY_FACTS,
    NAMING_FACTS,
    QUOTA_FACTS,
    SALES_FACTS,
    SETTING_FACTS,
    TASK_FACTS,
    USER_FACTS,
    Facts,
)

MAX_POSITION = 2**63 - 1
NUMBER_OF: Final = attrgetter("number")


class StatementRow(msgspec.Struct, frozen=True):
    """One posting to one account, and the fact it belongs to."""

    position: int
    at_ms: int
    account: str
    delta_mills: int
    balance_mills: int
    """After this posting."""
    topic: str
    stream: str
    version: int
    note: str
    """The model of a charge, the reason of a correction, why something was given."""


class Statements:
    """Folds every posting. Accounts are numbered in the order in which the log first names them."""

    name = "statements_v1"
    handles: Facts = (
        CHARGE_FACTS
        | SALES_FACTS
        | TASK_FACTS
        | QUOTA_FACTS
        | USER_FACTS
        | NAMING_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ignores: Facts = frozenset()
    ddl = (
        """CREATE TABLE IF NOT EXISTS statement_accounts_v1 (
            id INTEGER PRIMARY KEY, account TEXT NOT NULL UNIQUE, balance_mills AMOUNT NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS statement_facts_v1 (
            position INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, topic TEXT NOT NULL, stream TEXT NOT NULL,
            version INTEGER NOT NULL, note TEXT NOT NULL)""",
        """CREATE TABLE IF NOT EXISTS statements_v1 (
            account INTEGER NOT NULL, position INTEGER NOT NULL, entry INTEGER NOT NULL, delta_mills AMOUNT NOT NULL,
            balance_mills AMOUNT NOT NULL, PRIMARY KEY (account, position, entry)) WITHOUT ROWID""",
    )
    tables: Mapping[str, str] = {
        "statement_accounts_v1": "id",
        "statement_facts_v1": "position",
        "statements_v1": "account, position, entry",
    }

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        accounts = _load(cursor, page)
        facts: list[tuple[int, int, str, str, int, str]] = []
        for recorded in page:
            position, fact = recorded.position, recorded.fact
            if not fact.postings:
                continue
            facts.append((position, fact.at, fact.TOPIC, recorded.stream, recorded.version, note(fact)))
            for entry, (account, delta) in enumerate(fact.postings):
                there = accounts[account]
                balance = there.balance = there.balance + delta
                if MIN_INTEGER <= delta <= MAX_INTEGER and MIN_INTEGER <= balance <= MAX_INTEGER:
                    there.rows.append((there.number, position, entry, delta, balance))
                else:
                    there.rows.append((there.number, position, entry, stored(delta), stored(balance)))
        # Rows of one account lie side by side in the table.
        touched = sorted(accounts.values(), key=NUMBER_OF)
        rows = list(chain.from_iterable(account.rows for account in touched))
        cursor.executemany("INSERT INTO statement_facts_v1 VALUES (?, ?, ?, ?, ?, ?)", facts)
        cursor.executemany("INSERT INTO statements_v1 VALUES (?, ?, ?, ?, ?)", rows)
        cursor.executemany(
            """INSERT INTO statement_accounts_v1 VALUES (?, ?, ?)
                ON CONFLICT (id) DO UPDATE SET balance_mills = excluded.balance_mills""",
            [(account.number, name, stored(account.balance)) for name, account in accounts.items()],
        )


@dataclass(slots=True)
class _Account:
    number: int
    balance: int = 0
    rows: list[tuple[int, int, int, Stored, Stored]] = field(default_factory=list)


def _load(cursor: Cursor, page: Sequence[Recorded]) -> dict[str, _Account]:
    """Every account that a page names; new ones get the next numbers, in the order of the log."""
    named = {account: None for recorded in page for account, _ in recorded.fact.postings}
    rows = cursor.execute(
        f"SELECT account, id, balance_mills FROM statement_accounts_v1 WHERE {cursor.dialect.among('account')}",
        (cursor.dialect.values_of(named),),
    )
    accounts = {account: _Account(number, int(balance)) for account, number, balance in rows}
    if len(accounts) < len(named):
        (last,) = cursor.execute("SELECT max(id) FROM statement_accounts_v1").fetchone()
        number = last or 0
        for account in named:
            if account not in accounts:
                number += 1
                accounts[account] = _Account(number)
    return accounts


def note(fact: Fact) -> str:
    """What a person would want to know of a posting's fact, in a word or two."""
    match fact:
        case events.ChargeHeld() | events.ChargeSettled():  # nearly all of them
            return fact.model
        case events.TopUpSettled():
            return f"{fact.provider} {fact.trade}"
        case events.CodeRedeemed():
            return f"code {fact.code}"
        case events.QuotaOpened():
            return f"opening of {fact.source}"
        case events.CheckedIn():
            return fact.day
        case events.InviteRewarded() | events.RebateGranted():
            return f"user {fact.invited}"
    return _note_of_charge(fact)


def _note_of_charge(fact: Fact) -> str:
    match fact:
        case events.ChargeExtended():
            return f"extension {fact.n}"
        case events.ChargeSettledLate():
            return f"{fact.model} (late)"
        case events.ChargeReleased() | events.ChargeExpired() | events.QuotaGranted():
            return fact.why
        case events.QuotaAdjusted() | events.ChargeRefunded() | events.TopUpReversed():
            return fact.reason
        case events.KeyLimitChanged():
            return "no limit" if fact.unlimited else "limit"
    return ""


StatementColumns = tuple[int, int, str, Stored, Stored, str, str, int, str]


def statement(
    reader: Reader,
    account: str,
    *,
    after_position: int = 0,
    limit: int = 1000,
    newest_first: bool = False,
) -> list[StatementRow]:
    """Postings to one account, oldest first; those after a position.

    `newest_first`: from the newest back; then those before `after_position`, where that is not 0.
    """
    beyond, order = (">", "") if not newest_first else ("<", "DESC")
    bound = after_position or MAX_POSITION if newest_first else after_position
    rows = reader.execute(
        f"""SELECT position, at_ms, a.account, s.delta_mills, s.balance_mills, topic, stream, version, note
            FROM statement_accounts_v1 a JOIN statements_v1 s ON s.account = a.id
            JOIN statement_facts_v1 USING (position)
            WHERE a.account = ? AND s.position {beyond} ?
            ORDER BY s.account, s.position {order}, s.entry {order} LIMIT ?""",
        (account, bound, bounded_size(limit)),
    )
    return [_read(row) for row in rows]


def _read(row: StatementColumns) -> StatementRow:
    return StatementRow(row[0], row[1], row[2], int(row[3]), int(row[4]), row[5], row[6], row[7], row[8])
