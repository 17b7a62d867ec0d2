"""Who changed what, and when. Every fact that a person caused is here; no secret, and nothing personal, is."""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from domain import events
from domain.events import Fact
from domain.settings import is_secret
from ledger.mapper import Recorded
from projections.database import Cursor, Reader
from projections.paging import Page, bounded
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

MAX_TEXT_CHARACTERS = 1000
MAX_ITEMS = 100

LEFT_OUT = frozenset(
    {"at", "postings", "floors", "id", "actor", "profile", "password", "claim", "digest", "secret", "command_key"}
)
"""Fields of a fact that stand in columns of their own, or that name what must not be named."""
LEFT_OUT_OF_TERMS = frozenset({"other", "setting", "param_override"})
"""Free texts of a channel, in which operators keep proxy passwords and the like."""


ON_A_USER = (
    events.ChargeRefunded,
    events.QuotaAdjusted,
    events.QuotaGranted,
    events.QuotaOpened,
    events.CheckedIn,
    events.InviteRewarded,
    events.InviteTransferred,
    events.RebateGranted,
)


class AuditRow(msgspec.Struct, frozen=True):
    """One change. `actor` is a user's id, 0 for the gateway itself or a person who is not logged in."""

    position: int
    at_ms: int
    topic: str
    actor: int
    subject: str
    """Such as `user:42` or `setting:ModelRatio`."""
    detail: str
    """JSON object of what changed."""


class Audit:
    """Folds everything but calls; a refund is what somebody decided."""

    name = "audit_v1"
    handles: Facts = (
        QUOTA_FACTS
        | SALES_FACTS
        | USER_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
        | facts(events.ChargeRefunded)
    )
    ignores: Facts = (CHARGE_FACTS - facts(events.ChargeRefunded)) | NAMING_FACTS | TASK_FACTS
    ddl = (
        """CREATE TABLE IF NOT EXISTS audit_v1 (
            position INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, topic TEXT NOT NULL, actor INTEGER NOT NULL,
            subject TEXT NOT NULL, detail TEXT NOT NULL)""",
        "CREATE INDEX IF NOT EXISTS audit_v1_actor ON audit_v1 (actor)",
    )
    tables: Mapping[str, str] = {"audit_v1": "position"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        cursor.executemany(
            "INSERT INTO audit_v1 VALUES (?, ?, ?, ?, ?, ?)",
            [(r.position, r.fact.at, r.fact.TOPIC, actor(r.fact), subject(r.fact), detail(r.fact)) for r in page],
        )


def actor(fact: Fact) -> int:
    """Whose doing it was; an access token is made by its own user."""
    if isinstance(fact, events.AccessTokenMade):
        return fact.id
    acting: int = getattr(fact, "actor", 0)
    return acting


def subject(fact: Fact) -> str:
    match fact:
        case events.CodeRedeemed():
            return f"code:{fact.code}"
        case (
            events.TopUpInitiated()
            | events.TopUpSettled()
            | events.TopUpFailed()
            | events.TopUpFlagged()
            | events.TopUpReversed()
        ):
            return f"payment:{fact.provider}:{fact.trade}"
        case events.SettingChanged():
            return f"setting:{fact.key}"
    if isinstance(fact, ON_A_USER):
        return f"user:{fact.user}"
    number: int = getattr(fact, "id", 0)
    return f"{fact.TOPIC.partition('.')[0]}:{number}"


def detail(fact: Fact) -> str:
    """What a fact says, without what is secret or personal, and with long texts cut."""
    said = cast("dict[str, object]", msgspec.to_builtins(fact))
    kept = {name: value for name, value in said.items() if name not in LEFT_OUT}
    if isinstance(fact, events.SettingChanged) and (fact.secret or is_secret(fact.key)):
        kept["value"] = "(secret)"
    terms = kept.get("terms")
    if isinstance(terms, dict):
        named = cast("dict[str, object]", terms)
        kept["terms"] = {name: _cut(value) for name, value in named.items() if name not in LEFT_OUT_OF_TERMS}
    return msgspec.json.encode({name: _cut(value) for name, value in kept.items()}).decode()


def _cut(value: object) -> object:
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        rest = [f"... ({len(items)} in all)"] if len(items) > MAX_ITEMS else []
        return [*items[:MAX_ITEMS], *rest]
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return f"{value[:MAX_TEXT_CHARACTERS]}... ({len(value)} characters)"
    return value


def page_audit(
    reader: Reader, *, page: int, size: int, actor: int | None = None, topic_prefix: str = ""
) -> Page[AuditRow]:
    """Newest first. `topic_prefix` such as `user.` or `channel.status`."""
    page, size = bounded(page, size)
    where, values = ["TRUE"], list[int | str]()
    if actor is not None:
        where.append("actor = ?")
        values.append(actor)
    if topic_prefix:
        where.append("substr(topic, 1, length(?)) = ?")
        values += [topic_prefix, topic_prefix]
    matching = f"FROM audit_v1 WHERE {' AND '.join(where)}"
    (total,) = reader.execute(f"SELECT count(*) {matching}", values).fetchone()
    rows = reader.execute(
        f"SELECT * {matching} ORDER BY position DESC LIMIT ? OFFSET ?", [*values, size, (page - 1) * size]
    )
    return Page([AuditRow(*row) for row in rows], total, page, size)
