"""The usage log: one row for every ended charge and every correction of a balance, under the position of its fact.

A row names its user and key by id; names are joined when it is read, as they are then. So a fold needs no vault, and erasing
a person erases the name from every row.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from domain import events
from domain.events import (
    ChargeExpired,
    ChargeRefunded,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    Fact,
    QuotaAdjusted,
    QuotaGranted,
)
from domain.pricing import Price
from ledger.mapper import Recorded
from projections.amounts import Stored, clamped, stored
from projections.database import Cursor, Value
from projections.projection import (
    CHANNEL_FACTS,
    KEY_FACTS,
    NAMING_FACTS,
    PAID_FACTS,
    QUOTA_FACTS,
    SALES_FACTS,
    SETTING_FACTS,
    TASK_FACTS,
    USER_FACTS,
    Facts,
    facts,
)

MAX_PRICES_KEPT = 4096
MAX_FRACTIONAL = 2**53
"""From here on a float has no fraction, and far beyond there is none at all."""
NO_FIRST_BYTE_MS = -1000
"""The family's way to say that a call was not streamed."""


class Kind(IntEnum):
    """The family's log types. ENDED is ours: calls that cost nothing, which the family does not log."""

    ALL = 0
    GRANT = 1
    CONSUME = 2
    MANAGE = 3
    SYSTEM = 4
    CHECK_IN = 5
    ENDED = 6


CONSUMED: Final = int(Kind.CONSUME)


class Administrative(msgspec.Struct, frozen=True):
    """What only an administrator may see of a row."""

    use_channel: tuple[str, ...]
    """Channels tried, in order."""


class Other(msgspec.Struct, frozen=True, omit_defaults=True):
    """The family's JSON beside a row, with what our ledger knows besides. Ratios are numbers here; exact in the ledger."""

    request_id: str
    ended_by: str
    admin_info: Administrative
    model_ratio: float | None = None
    completion_ratio: float | None = None
    cache_ratio: float | None = None
    group_ratio: float | None = None
    model_price: float | None = None
    """USD for a call; -1 when it is priced by ratio."""
    cache_tokens: int | None = None
    frt: int | None = None
    """ms to the first byte."""
    basis: str = ""
    is_model_mapped: bool = False
    upstream_model_name: str = ""
    upstream_request_id: str = ""
    client_request_id: str = ""
    endpoint: str = ""
    status: int = 0
    cost_mills: int | None = None
    paid_mills: int | None = None
    written_off_mills: int | None = None


class UsageLog:
    """Folds the ends of charges, grants and corrections."""

    name = "usage_log_v1"
    handles: Facts = (QUOTA_FACTS - facts(events.InviteTransferred)) | facts(
        ChargeSettled,
        ChargeSettledLate,
        ChargeReleased,
        ChargeExpired,
        ChargeRefunded,
        events.CodeRedeemed,
        events.TopUpSettled,
        events.TopUpReversed,
    )
    ignores: Facts = (
        USER_FACTS
        | facts(events.ChargeHeld, events.ChargeExtended, events.InviteTransferred)
        | (SALES_FACTS - facts(events.CodeRedeemed, events.TopUpSettled, events.TopUpReversed))
        | TASK_FACTS
        | NAMING_FACTS
        | KEY_FACTS
        | CHANNEL_FACTS
        | SETTING_FACTS
    )
    ddl = (
        """CREATE TABLE IF NOT EXISTS usage_log_v1 (
            position INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, type INTEGER NOT NULL, user_id INTEGER NOT NULL,
            key_id INTEGER NOT NULL, channel INTEGER NOT NULL, model TEXT NOT NULL, price_group TEXT NOT NULL,
            quota_mills AMOUNT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
            use_time_s INTEGER NOT NULL, is_stream INTEGER NOT NULL, request_id TEXT NOT NULL, content TEXT NOT NULL,
            other TEXT NOT NULL)""",
        # Counts and sums are read off the indexes alone: the rows with their texts are ten times as long.
        "CREATE INDEX IF NOT EXISTS usage_log_v1_user ON usage_log_v1 (user_id, type)",
        "CREATE INDEX IF NOT EXISTS usage_log_v1_at ON usage_log_v1 (at_ms, type, quota_mills)",
    )
    tables: Mapping[str, str] = {"usage_log_v1": "position"}

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        cursor.executemany(PUT, [line(recorded) for recorded in page])


class Line(NamedTuple):
    """A row as it is stored; the columns in their order."""

    position: int
    at_ms: int
    type: int
    user_id: int
    key_id: int = 0
    channel: int = 0
    model: str = ""
    price_group: str = ""
    quota_mills: Stored = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    use_time_s: int = 0
    is_stream: int = 0
    request_id: str = ""
    content: str = ""
    other: str = ""


PUT = f"INSERT INTO usage_log_v1 VALUES ({', '.join('?' * len(Line._fields))})"


def line(recorded: Recorded) -> tuple[Value, ...]:
    """The row of one fact, as a Line has it."""
    fact = recorded.fact
    if isinstance(fact, PAID_FACTS):
        return _paid(recorded.position, recorded.stream, fact)
    return _other(recorded.position, recorded.stream, fact)


def _other(position: int, stream: str, fact: Fact) -> Line:
    match fact:
        case ChargeReleased():
            other = Other(stream, fact.why, _tried(fact.attempts), endpoint=fact.endpoint, status=fact.status)
            return Line(
                position,
                fact.at,
                Kind.ENDED,
                fact.user,
                fact.key,
                channel=fact.attempts[-1] if fact.attempts else 0,
                model=fact.model,
                use_time_s=fact.duration_ms // 1000,
                request_id=stream,
                content=f"nothing charged: {fact.why}",
                other=_text(other),
            )
        case ChargeExpired():
            other = Other(stream, fact.why, _tried(()))
            return Line(
                position,
                fact.at,
                Kind.ENDED,
                fact.user,
                fact.key,
                request_id=stream,
                content=f"nothing charged: the call was lost ({fact.why})",
                other=_text(other),
            )
        case QuotaGranted():
            granted = f"granted: {fact.why}"
            return Line(position, fact.at, Kind.GRANT, fact.user, quota_mills=stored(fact.amount), content=granted)
        case ChargeRefunded():
            content = "refunded" + (f": {fact.reason}" if fact.reason else "")
            return Line(
                position,
                fact.at,
                Kind.SYSTEM,
                fact.user,
                fact.key,
                quota_mills=stored(fact.amount),
                request_id=stream,
                content=content,
            )
        case QuotaAdjusted():
            content = f"corrected by user {fact.actor}" + (f": {fact.reason}" if fact.reason else "")
            return Line(position, fact.at, Kind.MANAGE, fact.user, quota_mills=stored(fact.delta), content=content)
    credit = _credit(fact)
    if credit is None:
        raise AssertionError(f"{fact.TOPIC} is not folded here")
    return Line(position, fact.at, credit.kind, credit.user, quota_mills=stored(credit.mills), content=credit.content)


class _Credit(NamedTuple):
    """What came to a user, or went, apart from calls."""

    kind: Kind
    user: int
    mills: int
    content: str


def _credit(fact: Fact) -> _Credit | None:
    match fact:
        case events.CodeRedeemed():
            return _Credit(Kind.GRANT, fact.user, fact.amount, f"redeemed code {fact.code}")
        case events.TopUpSettled():
            return _Credit(Kind.GRANT, fact.user, fact.amount, f"paid by {fact.provider}, trade {fact.trade}")
        case events.TopUpReversed():
            content = f"payment reversed by {fact.provider}, trade {fact.trade}"
            return _Credit(Kind.SYSTEM, fact.user, -fact.amount, content)
        case events.CheckedIn():
            return _Credit(Kind.CHECK_IN, fact.user, fact.amount, f"check-in of {fact.day}")
        case events.InviteRewarded():
            return _Credit(Kind.SYSTEM, fact.user, fact.amount, f"bonus for inviting user {fact.invited}")
        case events.RebateGranted():
            return _Credit(Kind.SYSTEM, fact.user, fact.amount, f"rebate on a credit of user {fact.invited}")
        case events.QuotaOpened():
            return _Credit(Kind.SYSTEM, fact.user, fact.amount, f"opening balance from {fact.source}")
    return None


def _paid(position: int, stream: str, fact: ChargeSettled | ChargeSettledLate) -> tuple[Value, ...]:
    """A plain tuple of plain integers: what SQLite's library takes as it is. It asks around for anything else."""
    terms = _terms(fact.price)
    usage = fact.usage
    in_time = fact if isinstance(fact, ChargeSettled) else None
    first_byte_ms = in_time.first_byte_ms if in_time and fact.stream else -1
    upstream_model = fact.upstream_model
    is_mapped = bool(upstream_model) and upstream_model != fact.model
    other = Other(
        stream,
        fact.ended_by,
        _tried(in_time.attempts) if in_time else _tried((fact.channel,) if fact.channel else ()),
        terms.model_ratio,
        terms.completion_ratio,
        terms.cache_ratio,
        terms.group_ratio,
        terms.model_price,
        usage.cached_input,
        first_byte_ms if first_byte_ms >= 0 else NO_FIRST_BYTE_MS,
        fact.basis,
        is_mapped,
        upstream_model if is_mapped else "",
        fact.upstream_request_id,
        in_time.client_request_id if in_time else "",
        fact.endpoint,
        0,
        fact.cost,
        fact.paid,
        fact.written_off,
    )
    return (
        position,
        fact.at,
        CONSUMED,
        fact.user,
        fact.key,
        fact.channel,
        fact.model,
        fact.group,
        stored(fact.paid),
        clamped(usage.input_total),
        clamped(usage.output_total),
        in_time.duration_ms // 1000 if in_time else 0,
        1 if fact.stream else 0,
        stream,
        terms.content,
        _text(other),
    )


class _Terms(NamedTuple):
    """A price as the family shows it."""

    model_ratio: float
    completion_ratio: float
    cache_ratio: float
    group_ratio: float
    model_price: float
    content: str


@lru_cache(maxsize=MAX_PRICES_KEPT)
def _terms(price: Price) -> _Terms:
    group = _number(price.group_ratio)
    if price.per_call:
        said = f"{price.per_call} USD a call, group ratio {price.group_ratio}"
        return _Terms(0, 0, 0, group, _number(price.per_call), said)
    said = (
        f"model ratio {price.model_ratio}, completion ratio {price.completion_ratio}, group ratio {price.group_ratio}"
    )
    return _Terms(
        _number(price.model_ratio), _number(price.completion_ratio), _number(price.cache_ratio), group, -1, said
    )


def _number(ratio: str) -> float:
    """For people to read: nothing is computed from it."""
    exact = Fraction(ratio or 0)
    return int(exact) if exact.denominator == 1 or abs(exact) >= MAX_FRACTIONAL else float(exact)


@lru_cache(maxsize=MAX_PRICES_KEPT)
def _tried(attempts: tuple[int, ...]) -> Administrative:
    return Administrative(tuple(str(channel) for channel in attempts))


_encoder = msgspec.json.Encoder()


def _text(other: Other) -> str:
    return _encoder.encode(other).decode()
