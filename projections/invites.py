"""What users get for bringing others and for coming: the code of their link, whom it brought, what that earned, the last daily reward.

The wallet itself is an account of the ledger; here is what it was ever given.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from domain import events
from domain.events import Fact
from ledger.mapper import Recorded
from projections.amounts import Stored, stored
from projections.database import Cursor, Reader, Value, upsert
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
    facts,
)

COLUMNS = "user_id, inviter, code, invited, earned_mills, checked_in_at"

PUT = upsert("invites_v1", COLUMNS, key="user_id")


class InviteRow(msgspec.Struct, frozen=True):
    """One user's."""

    user_id: int
    inviter: int = 0
    """0: nobody."""
    code: str = ""
    """"": none was made yet."""
    invited: int = 0
    """Users who registered with it."""
    earned_mills: int = 0
    """All that the wallet was ever given."""
    checked_in_at: int = 0
    """ms; 0: never."""


InviteColumns = tuple[int, int, str, int, Stored, int]


class Invites:
    """Folds invitations and daily rewards."""

    name = "invites_v1"
    handles: Facts = facts(
        events.UserCreated, events.InviteCodeMade, events.InviteRewarded, events.QuotaOpened, events.CheckedIn
    )
    ignores: Facts = (
        (USER_FACTS | QUOTA_FACTS) - handles
        | SALES_FACTS
        | TASK_FACTS
        | CHARGE_FACTS
        | NAMING_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS invites_v1 (
            user_id INTEGER PRIMARY KEY, inviter INTEGER NOT NULL, code TEXT NOT NULL, invited INTEGER NOT NULL,
            earned_mills AMOUNT NOT NULL, checked_in_at INTEGER NOT NULL)""",
    )
    tables: Mapping[str, str] = {"invites_v1": "user_id"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        found = _load(cursor, {user_id for recorded in page for user_id in whose(recorded.fact)})
        for recorded in page:
            for user_id in whose(recorded.fact):
                found[user_id] = after(found.get(user_id) or InviteRow(user_id), recorded.fact)
        cursor.executemany(PUT, [_columns(row) for row in found.values()])


def after(row: InviteRow, fact: Fact) -> InviteRow:
    """One user's row once something has happened to them, or to whom they invited."""
    match fact:
        case events.UserCreated() if fact.id == row.user_id:
            return msgspec.structs.replace(row, inviter=fact.inviter)
        case events.UserCreated():
            return msgspec.structs.replace(row, invited=row.invited + 1)
        case events.InviteCodeMade():
            return msgspec.structs.replace(row, code=fact.code)
        case events.InviteRewarded():
            return msgspec.structs.replace(row, earned_mills=row.earned_mills + fact.amount)
        case events.QuotaOpened():
            return msgspec.structs.replace(row, earned_mills=row.earned_mills + fact.invite)
        case events.CheckedIn():
            return msgspec.structs.replace(row, checked_in_at=fact.at)
    raise AssertionError(f"{fact.TOPIC} is not folded here")


def whose(fact: Fact) -> tuple[int, ...]:
    """The users whose rows a fact changes; none where it brings nothing."""
    match fact:
        case events.UserCreated():
            return (fact.id, fact.inviter) if fact.inviter else ()
        case events.InviteCodeMade():
            return (fact.id,)
        case events.InviteRewarded() | events.CheckedIn():
            return (fact.user,)
        case events.QuotaOpened():
            return (fact.user,) if fact.invite else ()
    raise AssertionError(f"{fact.TOPIC} is about nobody's invitations")


def invites_of(reader: Reader, user_ids: Iterable[int]) -> dict[int, InviteRow]:
    """Rows by user; somebody without one was not invited, invited nobody, and never came for the reward."""
    values = reader.dialect.values_of(list(user_ids))
    rows = reader.execute(f"SELECT {COLUMNS} FROM invites_v1 WHERE {reader.dialect.among('user_id')}", (values,))
    return {row[0]: _read(row) for row in rows}


def _load(cursor: Cursor, user_ids: set[int]) -> dict[int, InviteRow]:
    rows = cursor.execute(
        f"SELECT {COLUMNS} FROM invites_v1 WHERE {cursor.dialect.among('user_id')}",
        (cursor.dialect.values_of(user_ids),),
    )
    return {row[0]: _read(row) for row in rows}


def _columns(row: InviteRow) -> tuple[Value, ...]:
    return (row.user_id, row.inviter, row.code, row.invited, stored(row.earned_mills), row.checked_in_at)


def _read(row: InviteColumns) -> InviteRow:
    return InviteRow(*row[:4], int(row[4]), row[5])
