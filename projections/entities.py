"""Users, keys, channels and settings as their facts have left them, one row each: what a starting directory loads instead of the log."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from domain import api_key, channel, events, user
from domain.api_key import ApiKey
from domain.channel import Channel
from domain.events import Fact
from domain.user import User
from ledger.mapper import Recorded
from projections.database import Cursor, Reader, Row, Value, positions_in, upsert
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

Spot = tuple[str, int, str]
"""(kind, id, key): a setting has a key and no id, everything else an id and no key."""


class Option(msgspec.Struct, frozen=True):
    """A setting: its value, or the vault reference of one that is secret."""

    value: str = ""
    secret: str = ""


Entity = User | ApiKey | Channel | Option

_STATES: Final[Mapping[str, "msgspec.json.Decoder[Entity]"]] = {
    "user": msgspec.json.Decoder(User),
    "key": msgspec.json.Decoder(ApiKey),
    "channel": msgspec.json.Decoder(Channel),
    "setting": msgspec.json.Decoder(Option),
}
_encoder = msgspec.json.Encoder()


class Entities:
    """Folds the small streams into their present state."""

    name = "entities_v1"
    handles: Facts = USER_FACTS | KEY_FACTS | CHANNEL_FACTS | SETTING_FACTS
    ignores: Facts = CHARGE_FACTS | QUOTA_FACTS | SALES_FACTS | TASK_FACTS | NAMING_FACTS
    ddl = (
        """CREATE TABLE IF NOT EXISTS entities_v1 (
            kind TEXT NOT NULL, id INTEGER NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,
            PRIMARY KEY (kind, id, key)) WITHOUT ROWID""",
    )
    tables: Mapping[str, str] = {"entities_v1": "kind, id, key"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        spots = {spot_of(recorded.fact) for recorded in page}
        found = cursor.execute(
            f"SELECT kind, id, key, state FROM entities_v1 WHERE {cursor.dialect.among_rows('kind, id, key', ('kind', 'key'))}",
            (cursor.dialect.rows_of(spots),),
        )
        states: dict[Spot, Entity] = {(kind, number, key): decoded(kind, state) for kind, number, key, state in found}
        for recorded in page:
            spot = spot_of(recorded.fact)
            now = _after(states.get(spot), recorded.fact)
            assert now is not None, f"{recorded.fact.TOPIC} begins no stream"
            states[spot] = now
        rows: list[Sequence[Value]] = [(*spot, _encoder.encode(state).decode()) for spot, state in states.items()]
        cursor.executemany(upsert("entities_v1", "kind, id, key, state", "kind, id, key"), rows)


def spot_of(fact: Fact) -> Spot:
    if isinstance(fact, events.SettingChanged):
        return ("setting", 0, fact.key)
    number: int = getattr(fact, "id", 0)
    return (fact.TOPIC.partition(".")[0], number, "")


def decoded(kind: str, state: str) -> Entity:
    return _STATES[kind].decode(state)


def _after(state: Entity | None, fact: Fact) -> Entity | None:
    if isinstance(fact, events.SettingChanged):
        return Option(fact.value, fact.secret)
    if state is None:
        return user.after(None, fact) or api_key.after(None, fact) or channel.after(None, fact)
    if isinstance(state, User):
        return user.after(state, fact)
    if isinstance(state, ApiKey):
        return api_key.after(state, fact)
    assert isinstance(state, Channel), "a setting has one kind of fact"
    return channel.after(state, fact)


def load(reader: Reader, take: Callable[[int, Iterator[list[Row]]], None]) -> None:
    """Hand over a position, and every entity as it was there: rows of (kind, id, key, state) in chunks, in no order."""
    position = positions_in(reader).get(Entities.name, 0)
    take(position, reader.chunks("SELECT kind, id, key, state FROM entities_v1"))
