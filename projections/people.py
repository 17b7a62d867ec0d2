"""Users as people see them. What is personal comes from the vault by reference: an erased reference folds to "".

A deleted user keeps the row, so that old charges have an owner, and loses name and address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from domain import events
from domain.events import Fact
from ledger.mapper import Recorded
from ledger.vault import Vault
from projections.amounts import Stored, stored
from projections.database import Cursor, Reader, upsert
from projections.dialects import json_without_nul
from projections.paging import Page, bounded, containing
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
    Facts,
    facts,
)

PERSONAL_COLUMNS = ("username", "display_name", "email")

COLUMNS = """id, username, display_name, email, role, status, user_group, created_at, deleted_at, profile, used_mills,
    request_count"""


PUT = upsert("people_v1", COLUMNS, key="id")


class UserRow(msgspec.Struct, frozen=True):
    """A user. `used_mills` is what they paid for calls and did not get back, `request_count` how many; the balance is in the ledger."""

    id: int
    username: str
    display_name: str
    email: str
    role: int
    status: int
    group: str
    created_at: int
    """ms"""
    deleted_at: int | None
    """ms; None while the user lives."""
    used_mills: int
    request_count: int


class Profile(msgspec.Struct, frozen=True):
    """What the vault holds of a person."""

    username: str = ""
    display_name: str = ""
    email: str = ""


@dataclass(slots=True)
class _Person:
    id: int
    username: str = ""
    display_name: str = ""
    email: str = ""
    role: int = 1
    status: int = 1
    group: str = ""
    created_at: int = 0
    deleted_at: int | None = None
    profile: str = ""
    used_mills: int = 0
    request_count: int = 0
    looked_up: bool = True

    def row(self) -> tuple[int | str | None, ...]:
        return (
            self.id,
            self.username,
            self.display_name,
            self.email,
            self.role,
            self.status,
            self.group,
            self.created_at,
            self.deleted_at,
            self.profile,
            stored(self.used_mills),
            self.request_count,
        )


class People:
    """Folds users, and what they spent."""

    name = "people_v1"
    handles: Facts = facts(
        events.UserCreated,
        events.UserProfileChanged,
        events.UserStandingChanged,
        events.UserDeleted,
        events.QuotaOpened,
        events.ChargeRefunded,
        *PAID_FACTS,
    )
    ignores: Facts = (
        SALES_FACTS
        | TASK_FACTS
        | (UNPAID_FACTS - facts(events.ChargeRefunded))
        | facts(
            events.UserPasswordChanged,
            events.AccessTokenMade,
            events.UserCreditLimitChanged,
            events.UserFrozen,
            events.UserUnfrozen,
            events.InviteCodeMade,
        )
        | (QUOTA_FACTS - facts(events.QuotaOpened))
        | NAMING_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS people_v1 (
            id INTEGER PRIMARY KEY, username TEXT NOT NULL, display_name TEXT NOT NULL, email TEXT NOT NULL,
            role INTEGER NOT NULL, status INTEGER NOT NULL, user_group TEXT NOT NULL, created_at INTEGER NOT NULL,
            deleted_at INTEGER, profile TEXT NOT NULL, used_mills AMOUNT NOT NULL, request_count INTEGER NOT NULL)""",
        "CREATE INDEX IF NOT EXISTS people_v1_username ON people_v1 (LEADING(username))",
    )
    tables: Mapping[str, str] = {"people_v1": "id"}

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        facts = [recorded.fact for recorded in page]
        people = _load(cursor, facts)
        for fact in facts:
            if isinstance(fact, PAID_FACTS):
                payer = people.get(fact.user)
                if payer is not None:  # a hold of nothing needs no balance, and so no user
                    payer.used_mills += fact.paid
                    payer.request_count += 1
            else:
                self._apply(people, fact)
        for person in people.values():
            if not person.looked_up:
                self._look_up(person)
        cursor.executemany(PUT, [person.row() for person in people.values()])

    def _apply(self, people: dict[int, _Person], fact: Fact) -> None:
        match fact:
            case events.ChargeRefunded():  # what was refunded was not used
                if (refunded := people.get(fact.user)) is not None:
                    refunded.used_mills -= fact.amount
            case events.QuotaOpened():  # what was used elsewhere counts
                if (opened := people.get(fact.user)) is not None:
                    opened.used_mills += fact.used
                    opened.request_count += fact.calls
            case events.UserCreated():
                people[fact.id] = _Person(
                    id=fact.id,
                    role=fact.role,
                    status=fact.status,
                    group=fact.group,
                    created_at=fact.at,
                    profile=fact.profile,
                    looked_up=False,
                )
            case events.UserProfileChanged():
                people[fact.id].profile = fact.profile
                people[fact.id].looked_up = False
            case events.UserStandingChanged():
                person = people[fact.id]
                person.role, person.status, person.group = fact.role, fact.status, fact.group
            case events.UserDeleted():
                people[fact.id].deleted_at = fact.at
                people[fact.id].profile = ""
                people[fact.id].looked_up = False
            case _:
                raise AssertionError(f"{fact.TOPIC} is not folded here")

    def _look_up(self, person: _Person) -> None:
        """Only the newest reference of a page is opened: the ones before it may be erased by now."""
        sealed = self._vault.get(person.profile)
        profile = Profile() if sealed is None else msgspec.json.decode(json_without_nul(sealed), type=Profile)
        person.username, person.display_name, person.email = profile.username, profile.display_name, profile.email


PersonColumns = tuple[int, str, str, str, int, int, str, int, int | None, str, Stored, int]


def _load(cursor: Cursor, facts: Sequence[Fact]) -> dict[int, _Person]:
    ids = {fact.user if isinstance(fact, PAID_FACTS) else whose(fact) for fact in facts}
    rows = cursor.execute(
        f"SELECT {COLUMNS} FROM people_v1 WHERE {cursor.dialect.among('id')}", (cursor.dialect.values_of(ids),)
    )
    return {row[0]: _restored(row) for row in rows}


def _restored(row: PersonColumns) -> _Person:
    return _Person(*row[:10], int(row[10]), row[11])


def whose(fact: Fact) -> int:
    """The user that a fact other than a payment is about."""
    if isinstance(fact, events.ChargeRefunded | events.QuotaOpened):
        return fact.user
    assert isinstance(
        fact, events.UserCreated | events.UserProfileChanged | events.UserStandingChanged | events.UserDeleted
    ), f"{fact.TOPIC} is about no user"
    return fact.id


def user(reader: Reader, user_id: int, *, with_deleted: bool = False) -> UserRow | None:
    row = reader.execute(f"SELECT {COLUMNS} FROM people_v1 WHERE id = ?", (user_id,)).fetchone()
    if row is None or (row[8] is not None and not with_deleted):
        return None
    return _read(row)


def page_users(reader: Reader, *, page: int, size: int, keyword: str = "", group: str = "") -> Page[UserRow]:
    """Newest first, deleted ones too. `keyword`: part of a name or address, or an id; `group` is exact."""
    page, size = bounded(page, size)
    where, values = ["TRUE"], list[int | str]()
    if keyword:
        like = containing(keyword)
        named = " OR ".join(reader.dialect.like(column, escaped=True) for column in PERSONAL_COLUMNS)
        where.append(f"({named} OR id = ?)")
        values += [like, like, like, as_id(keyword)]
    if group:
        where.append("user_group = ?")
        values.append(group)
    matching = f"FROM people_v1 WHERE {' AND '.join(where)}"
    (total,) = reader.execute(f"SELECT count(*) {matching}", values).fetchone()
    rows = reader.execute(
        f"SELECT {COLUMNS} {matching} ORDER BY id DESC LIMIT ? OFFSET ?", [*values, size, (page - 1) * size]
    )
    return Page([_read(row) for row in rows], total, page, size)


def as_id(keyword: str) -> int:
    """The id that somebody typed; 0, which nobody has, when it is no number."""
    return int(keyword) if keyword.isascii() and keyword.isdigit() and len(keyword) <= 18 else 0


def _read(row: PersonColumns) -> UserRow:
    return UserRow(*row[:9], int(row[10]), row[11])
