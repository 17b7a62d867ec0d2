"""Hours of use: how many calls, tokens and mills, by user, key, model and channel. Each hour is the sum of its usage rows.

Sums are added in Python, since one hour of many tokens or mills may pass 2^63.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import add
from typing import Final

import msgspec

from ledger.mapper import Recorded
from projections.amounts import Stored, clamped, stored
from projections.database import Cursor, Reader, Value, upsert
from projections.paging import bounded_size
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

HOUR_S = 3600
HOUR_MS = 1000 * HOUR_S
MAX_TIME_S = 2**62

Place = tuple[int, int, int, str, int]
"""(hour_s, user, key, model, channel)."""
NOTHING: Final = (0, 0, 0, 0)

PLACE = "hour_s, user_id, key_id, model, channel"
SUMS = "count, quota_mills, input_tokens, output_tokens"
PUT = upsert("hours_v1", f"{PLACE}, {SUMS}", key=PLACE)


class HourRow(msgspec.Struct, frozen=True):
    """One hour of one user, key, model and channel. `quota_mills` is what was paid."""

    hour_s: int
    """The hour's first second."""
    user_id: int
    key_id: int
    model: str
    channel: int
    count: int
    quota_mills: int
    input_tokens: int
    output_tokens: int


class Rollups:
    """Folds charged calls into hours."""

    name = "rollups_v1"
    handles: Facts = facts(*PAID_FACTS)
    ignores: Facts = (
        SALES_FACTS
        | TASK_FACTS
        | UNPAID_FACTS
        | QUOTA_FACTS
        | USER_FACTS
        | NAMING_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS hours_v1 (
            hour_s INTEGER NOT NULL, user_id INTEGER NOT NULL, key_id INTEGER NOT NULL, model TEXT NOT NULL,
            channel INTEGER NOT NULL, count INTEGER NOT NULL, quota_mills AMOUNT NOT NULL, input_tokens AMOUNT NOT NULL,
            output_tokens AMOUNT NOT NULL, PRIMARY KEY (hour_s, user_id, key_id, model, channel)) WITHOUT ROWID""",
    )
    tables: Mapping[str, str] = {"hours_v1": "hour_s, user_id, key_id, model, channel"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        used: dict[Place, list[int]] = {}
        for recorded in page:
            fact = recorded.fact
            assert isinstance(fact, PAID_FACTS), f"{fact.TOPIC} is not folded here"
            place = (fact.at // HOUR_MS * HOUR_S, fact.user, fact.key, fact.model, fact.channel)
            sums = used.get(place)
            if sums is None:
                sums = used[place] = [0, 0, 0, 0]
            usage = fact.usage
            sums[0] += 1
            sums[1] += fact.paid
            sums[2] += clamped(usage.input_total)
            sums[3] += clamped(usage.output_total)
        before = _load(cursor, used)
        cursor.executemany(PUT, [_row(place, sums, before.get(place, NOTHING)) for place, sums in used.items()])


def _row(place: Place, sums: Iterable[int], before: Iterable[int]) -> tuple[Value, ...]:
    return (*place, *map(stored, map(add, before, sums)))


def _load(cursor: Cursor, places: Iterable[Place]) -> dict[Place, list[int]]:
    rows = cursor.execute(
        f"SELECT {PLACE}, {SUMS} FROM hours_v1 WHERE {cursor.dialect.among_rows(PLACE, texts=('model',))}",
        (cursor.dialect.rows_of(places),),
    )
    return {row[:5]: [int(value) for value in row[5:]] for row in rows}


HourColumns = tuple[int, int, int, str, int, int, Stored, Stored, Stored]


def hourly(reader: Reader, *, start_s: int, end_s: int, user_id: int | None = None, limit: int = 1000) -> list[HourRow]:
    """Hours that begin within start_s and end_s, both inclusive (0: no end), oldest first."""
    whose = "" if user_id is None else "AND user_id = ?"
    bounds = (min(max(0, start_s), MAX_TIME_S), min(end_s, MAX_TIME_S) if end_s > 0 else MAX_TIME_S)
    rows = reader.execute(
        f"""SELECT * FROM hours_v1 WHERE hour_s BETWEEN ? AND ? {whose}
            ORDER BY hour_s, user_id, key_id, model, channel LIMIT ?""",
        (*bounds, *(() if user_id is None else (user_id,)), bounded_size(limit)),
    )
    return [_read(row) for row in rows]


def _read(row: HourColumns) -> HourRow:
    return HourRow(*row[:6], int(row[6]), int(row[7]), int(row[8]))
