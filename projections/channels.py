"""Channels as operators see them: terms, standing and its reason, use. The credential stays in the vault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from domain import events
from domain.events import ChannelTerms, Fact
from ledger.mapper import Recorded
from projections.amounts import Stored, clamped, stored
from projections.database import Cursor, Reader, Value, upsert
from projections.paging import MAX_PAGE_NUMBER, MAX_PAGE_ROWS, bounded_size, containing
from projections.people import as_id
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

COLUMNS = "id, terms, status, status_reason, status_at, created_at, used_mills, secret_ref, deleted_at"
SEARCHED = "name, models, served_groups, tag, priority"
"""What lists are ordered and searched by: copies from the terms."""


PUT = upsert("channels_v1", f"{COLUMNS}, {SEARCHED}", key="id")


class ChannelRow(msgspec.Struct, frozen=True):
    """A channel. `used_mills` is what was paid for the calls that it answered."""

    id: int
    terms: ChannelTerms
    status: int
    status_reason: str
    status_at: int
    """ms of the last change of status; 0: never."""
    created_at: int
    """ms"""
    used_mills: int
    secret_ref: str


@dataclass(slots=True)
class _Channel:
    """A row, its columns in their order. The texts of its terms are made when they change, not whenever somebody pays."""

    id: int
    terms: str = ""
    status: int = 1
    status_reason: str = ""
    status_at: int = 0
    created_at: int = 0
    used_mills: int = 0
    secret: str = ""
    deleted_at: int | None = None
    name: str = ""
    models: str = ""
    groups: str = ""
    tag: str = ""
    priority: int = 0

    def take(self, terms: ChannelTerms) -> None:
        self.terms = msgspec.json.encode(terms).decode()
        self.name = terms.name
        self.models = ",".join(terms.models)
        self.groups = msgspec.json.encode(terms.groups).decode()
        self.tag = terms.tag
        self.priority = clamped(terms.priority)

    def row(self) -> tuple[Value, ...]:
        return (
            self.id,
            self.terms,
            self.status,
            self.status_reason,
            self.status_at,
            self.created_at,
            stored(self.used_mills),
            self.secret,
            self.deleted_at,
            self.name,
            self.models,
            self.groups,
            self.tag,
            self.priority,
        )


class Channels:
    """Folds channels, and what was spent through them."""

    name = "channels_v1"
    handles: Facts = (CHANNEL_FACTS - facts(events.ChannelKeyShown)) | facts(*PAID_FACTS)
    ignores: Facts = (
        SALES_FACTS
        | TASK_FACTS
        | UNPAID_FACTS
        | facts(events.ChannelKeyShown)
        | QUOTA_FACTS
        | USER_FACTS
        | NAMING_FACTS
        | KEY_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS channels_v1 (
            id INTEGER PRIMARY KEY, terms TEXT NOT NULL, status INTEGER NOT NULL, status_reason TEXT NOT NULL,
            status_at INTEGER NOT NULL, created_at INTEGER NOT NULL, used_mills AMOUNT NOT NULL, secret_ref TEXT NOT NULL,
            deleted_at INTEGER, name TEXT NOT NULL, models TEXT NOT NULL, served_groups TEXT NOT NULL, tag TEXT NOT NULL,
            priority INTEGER NOT NULL)""",
    )
    tables: Mapping[str, str] = {"channels_v1": "id"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        facts = [recorded.fact for recorded in page]
        channels = _load(cursor, facts)
        for fact in facts:
            if isinstance(fact, PAID_FACTS):
                used = channels.get(fact.channel)
                if used is not None:  # 0: the call was answered by no channel
                    used.used_mills += fact.paid
            else:
                _apply(channels, fact)
        cursor.executemany(PUT, [channel.row() for channel in channels.values()])


def _apply(channels: dict[int, _Channel], fact: Fact) -> None:
    match fact:
        case events.ChannelCreated():
            made = channels[fact.id] = _Channel(fact.id, status=fact.status, created_at=fact.at, secret=fact.secret)
            made.take(fact.terms)
        case events.ChannelChanged():
            channels[fact.id].take(fact.terms)
            channels[fact.id].secret = fact.secret
        case events.ChannelStatusChanged():
            changed = channels[fact.id]
            changed.status, changed.status_reason, changed.status_at = fact.status, fact.reason, fact.at
        case events.ChannelDeleted():
            channels[fact.id].deleted_at = fact.at
        case _:
            raise AssertionError(f"{fact.TOPIC} is not folded here")


ChannelColumns = tuple[int, str, int, str, int, int, Stored, str, int | None]
WholeColumns = tuple[int, str, int, str, int, int, Stored, str, int | None, str, str, str, str, int]


def _load(cursor: Cursor, facts: Sequence[Fact]) -> dict[int, _Channel]:
    ids = {fact.channel if isinstance(fact, PAID_FACTS) else which(fact) for fact in facts}
    rows = cursor.execute(
        f"SELECT {COLUMNS}, {SEARCHED} FROM channels_v1 WHERE {cursor.dialect.among('id')}",
        (cursor.dialect.values_of(ids),),
    )
    return {row[0]: _restored(row) for row in rows}


def _restored(row: WholeColumns) -> _Channel:
    return _Channel(*row[:6], int(row[6]), row[7], row[8], *row[9:])


def which(fact: Fact) -> int:
    """The channel that a fact other than a payment is about."""
    assert isinstance(
        fact, events.ChannelCreated | events.ChannelChanged | events.ChannelStatusChanged | events.ChannelDeleted
    ), f"{fact.TOPIC} is about no channel"
    return fact.id


def channel(reader: Reader, channel_id: int) -> ChannelRow | None:
    """A channel that was not deleted."""
    rows = _select(reader, "id = ?", (channel_id,), id_sort=True, limit=1)
    return rows[0] if rows else None


def page_channels(
    reader: Reader, *, page0: int, size: int, id_sort: bool = False, tag_mode: bool = False
) -> list[ChannelRow]:
    """Channels that were not deleted; pages count from 0. In tag mode `size` tags make a page, with all their channels."""
    size = bounded_size(size)
    skipped = min(max(0, page0), MAX_PAGE_NUMBER) * size
    if not tag_mode:
        return _select(reader, "TRUE", (), id_sort=id_sort, limit=size, offset=skipped)
    tagged = """tag IN (SELECT DISTINCT tag FROM channels_v1 WHERE deleted_at IS NULL AND tag <> ''
        ORDER BY tag LIMIT ? OFFSET ?)"""
    return _select(reader, tagged, (size, skipped), id_sort=id_sort, limit=MAX_PAGE_ROWS)


def search_channels(
    reader: Reader,
    *,
    keyword: str = "",
    group: str = "",
    model: str = "",
    id_sort: bool = False,
    limit: int = 100,
) -> list[ChannelRow]:
    """`keyword`: an id or part of a name; `group`: one it serves; `model`: part of a model that it lists."""
    where, values = ["TRUE"], list[int | str]()
    if keyword:
        where.append(f"(id = ? OR {reader.dialect.like('name', escaped=True)})")
        values += [as_id(keyword), containing(keyword)]
    if group:
        where.append(reader.dialect.listed_in("served_groups"))
        values.append(group)
    if model:
        where.append(reader.dialect.like("models", escaped=True))
        values.append(containing(model))
    return _select(reader, " AND ".join(where), values, id_sort=id_sort, limit=bounded_size(limit))


def _select(
    reader: Reader, where: str, values: Sequence[int | str], *, id_sort: bool, limit: int, offset: int = 0
) -> list[ChannelRow]:
    order = "id DESC" if id_sort else "priority DESC, id DESC"
    rows = reader.execute(
        f"""SELECT {COLUMNS} FROM channels_v1 WHERE deleted_at IS NULL AND {where} ORDER BY {order}
            LIMIT ? OFFSET ?""",
        (*values, limit, offset),
    )
    return [_read(row) for row in rows]


def _read(row: ChannelColumns) -> ChannelRow:
    terms = msgspec.json.decode(row[1], type=ChannelTerms)
    return ChannelRow(row[0], terms, *row[2:6], int(row[6]), row[7])
