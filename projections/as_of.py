"""Balances as they were: at a position, which is exact and stays so, or at a moment, which is the last position recorded by then.

Read off the running balances of the statements. Dropping those changes what a question costs, and never its answer.
"""

from collections.abc import Iterable

import msgspec

from projections.database import Reader, positions_in
from projections.statements import Statements

MAX_GROUPS = 1_000
MAX_SUMMED_POSTINGS = 200_000
"""Of one account in one check; a longer statement is compared by its running balance alone."""


class Standing(msgspec.Struct, frozen=True):
    """An account after the last posting that counted."""

    account: str
    upto: int
    """Facts up to this position count."""
    position: int
    """Of the last posting among them; 0: there was none."""
    at_ms: int
    balance_mills: int


class Group(msgspec.Struct, frozen=True):
    """What one kind of fact moved on an account, such as charges for one model."""

    topic: str
    note: str
    count: int
    delta_mills: int


class Checkpoint(msgspec.Struct, frozen=True):
    """One account of the read model: its running balance, and the sum of its postings (None: too many to sum now)."""

    balance_mills: int
    sum_mills: int | None


def position_at(reader: Reader, at_ms: int) -> int:
    """The last position that was recorded at or before a moment; 0: nothing was. The ledger's clock never goes back."""
    (low, high) = reader.execute("SELECT min(position), max(position) FROM statement_facts_v1").fetchone()
    if low is None or _moment(reader, low)[1] > at_ms:
        return 0
    while low < high:
        # The middle may be no fact's position: the next fact's moment decides for both halves.
        middle = (low + high + 1) // 2
        position, at = _moment(reader, middle)
        if at <= at_ms:
            low = position
        else:
            high = middle - 1
    return int(_moment_before(reader, low)[0])


def _moment(reader: Reader, position: int) -> tuple[int, int]:
    """The first fact at or after a position."""
    sql = "SELECT position, at_ms FROM statement_facts_v1 WHERE position >= ? ORDER BY position LIMIT 1"
    found: tuple[int, int] = reader.execute(sql, (position,)).fetchone()
    return found


def _moment_before(reader: Reader, position: int) -> tuple[int, int]:
    """The last fact at or before a position."""
    sql = "SELECT position, at_ms FROM statement_facts_v1 WHERE position <= ? ORDER BY position DESC LIMIT 1"
    found: tuple[int, int] = reader.execute(sql, (position,)).fetchone()
    return found


def standing(reader: Reader, account: str, upto: int) -> Standing:
    """An account at a position; at the read model's own, where that is behind."""
    upto = min(upto, positions_in(reader).get(Statements.name, 0))
    row = reader.execute(
        """SELECT s.position, f.at_ms, s.balance_mills
            FROM statement_accounts_v1 a JOIN statements_v1 s ON s.account = a.id
            JOIN statement_facts_v1 f ON f.position = s.position
            WHERE a.account = ? AND s.position <= ? ORDER BY s.position DESC, s.entry DESC LIMIT 1""",
        (account, upto),
    ).fetchone()
    if row is None:
        return Standing(account, upto, 0, 0, 0)
    return Standing(account, upto, row[0], row[1], int(row[2]))


def groups(reader: Reader, account: str, after: int, upto: int) -> list[Group]:
    """What moved an account between two positions, by kind of fact and note, the first thousand of them; and what it came to."""
    rows = reader.execute(
        f"""SELECT f.topic, f.note, count(*), {reader.dialect.sums("s.delta_mills")}
            FROM statement_accounts_v1 a JOIN statements_v1 s ON s.account = a.id
            JOIN statement_facts_v1 f ON f.position = s.position
            WHERE a.account = ? AND s.position > ? AND s.position <= ?
            GROUP BY f.topic, f.note ORDER BY f.topic, f.note LIMIT ?""",
        (account, after, upto, MAX_GROUPS),
    )
    return [Group(row[0], row[1], row[2], reader.dialect.total(row[3:])) for row in rows]


def checkpoints(reader: Reader, accounts: Iterable[str]) -> tuple[int, dict[str, Checkpoint]]:
    """(position, by account): what the statements say of each of these accounts at that position."""
    named = sorted(accounts)
    position = positions_in(reader).get(Statements.name, 0)
    dialect = reader.dialect
    found = reader.execute(
        f"SELECT id, account, balance_mills FROM statement_accounts_v1 WHERE {dialect.among('account')}",
        (dialect.values_of(named),),
    ).fetchall()
    return position, {account: Checkpoint(int(balance), _sum(reader, number)) for number, account, balance in found}


def _sum(reader: Reader, number: int) -> int | None:
    counted = "SELECT count(*) FROM (SELECT 1 FROM statements_v1 WHERE account = ? LIMIT ?) few"
    (count,) = reader.execute(counted, (number, MAX_SUMMED_POSTINGS + 1)).fetchone()
    if count > MAX_SUMMED_POSTINGS:
        return None
    sql = f"SELECT {reader.dialect.sums('delta_mills')} FROM statements_v1 WHERE account = ?"
    return reader.dialect.total(reader.execute(sql, (number,)).fetchone())
