"""Options as they were last saved, by whom and when. Secret ones show where their text is kept, never the text."""

from collections.abc import Mapping, Sequence

import msgspec

from domain import events
from ledger.mapper import Recorded
from projections.database import Cursor, Reader, upsert
from projections.paging import MAX_PAGE_ROWS
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

PUT = upsert("options_v1", "key, value, secret_ref, changed_at, actor", key="key")


class OptionRow(msgspec.Struct, frozen=True):
    """An option that was saved. `secret_ref` names its text in the vault; then `value` is empty."""

    key: str
    value: str
    secret_ref: str
    changed_at: int
    """ms"""
    actor: int


class Options:
    """Folds the newest value of every option."""

    name = "options_v1"
    handles: Facts = SETTING_FACTS
    ignores: Facts = (
        SALES_FACTS | TASK_FACTS | CHARGE_FACTS | QUOTA_FACTS | USER_FACTS | NAMING_FACTS | KEY_FACTS | CHANNEL_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS options_v1 (
            key TEXT PRIMARY KEY, value TEXT NOT NULL, secret_ref TEXT NOT NULL, changed_at INTEGER NOT NULL,
            actor INTEGER NOT NULL) WITHOUT ROWID""",
    )
    tables: Mapping[str, str] = {"options_v1": "key"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        newest: dict[str, tuple[str, str, str, int, int]] = {}
        for recorded in page:
            fact = recorded.fact
            assert isinstance(fact, events.SettingChanged), f"{fact.TOPIC} is not folded here"
            newest[fact.key] = (fact.key, fact.value, fact.secret, fact.at, fact.actor)
        cursor.executemany(PUT, list(newest.values()))


def options(reader: Reader) -> list[OptionRow]:
    """Saved options by key, at most a thousand."""
    rows = reader.execute("SELECT * FROM options_v1 ORDER BY key LIMIT ?", (MAX_PAGE_ROWS,))
    return [OptionRow(*row) for row in rows]
