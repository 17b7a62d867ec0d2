"""Why a call cost what it cost: read from its own facts alone, line by line, as arithmetic that a person can redo."""

from collections.abc import Iterator
from typing import NamedTuple

from domain import streams
from domain.events import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeRefunded,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    Fact,
)
from domain.streams import StreamId
from ledger.mapper import Recorded
from ledger.seals import block_of
from ledger.store import LedgerReader

MAX_EXTENSIONS = 10_000


class Explanation(NamedTuple):
    """A charge with all its facts, oldest first, and its arithmetic in lines."""

    charge: StreamId
    facts: list[Recorded]
    lines: list[str]
    state: str
    """`open`, `settled`, `released`, `expired` or `settled_late`."""
    cost_mills: int
    paid_mills: int
    written_off_mills: int
    block: int | None = None
    """The block that its last fact is sealed in; None when it is not sealed yet."""


def stream_of(request_id: str) -> StreamId:
    """The stream of a request id, with or without dashes. Raises ValueError when it is none."""
    text = request_id.strip().replace("-", "").lower()
    if len(text) != 32 or any(c not in "0123456789abcdef" for c in text):
        raise ValueError(f"{request_id!r} is not a request id: expected 32 hex digits, as in the x-request-id header")
    return text


def explain(reader: LedgerReader, charge: StreamId) -> Explanation | None:
    """The whole story of one charge; None when it was never held."""
    facts = reader.read_stream(charge)
    if not facts:
        return None
    recorded = sorted([*facts, *_extensions(reader, charge)], key=lambda r: r.position)
    lines = [line for r in recorded for line in _lines(r.fact)]
    last = next(one.fact for one in reversed(facts) if not isinstance(one.fact, ChargeRefunded))
    settled = last if isinstance(last, ChargeSettled | ChargeSettledLate) else None
    sealed_in = block_of(reader, recorded[-1].position)
    return Explanation(
        charge,
        recorded,
        lines,
        _state(last),
        settled.cost if settled else 0,
        settled.paid if settled else 0,
        settled.written_off if settled else 0,
        None if sealed_in is None else sealed_in.number,
    )


def _extensions(reader: LedgerReader, charge: StreamId) -> Iterator[Recorded]:
    for n in range(1, MAX_EXTENSIONS):
        found = reader.read_stream(streams.extension(charge, n))
        if not found:
            return
        yield from found


def _state(last: Fact) -> str:
    match last:
        case ChargeSettled():
            return "settled"
        case ChargeReleased():
            return "released"
        case ChargeExpired():
            return "expired"
        case ChargeSettledLate():
            return "settled_late"
    return "open"


def _lines(fact: Fact) -> list[str]:
    match fact:
        case ChargeHeld():
            names = ", ".join(price.model for price in fact.prices)
            return [
                f"held {fact.amount:,} mills for {fact.model} (at most {fact.input_bound:,} input and "
                f"{fact.output_bound:,} output tokens at the price of {names})"
            ]
        case ChargeExtended():
            return [f"held {fact.amount:,} mills more (extension {fact.n})"]
        case ChargeSettled() | ChargeSettledLate():
            return _settlement_lines(fact)
        case ChargeReleased():
            return [f"released {fact.held:,} mills: {fact.why}"]
        case ChargeExpired():
            return [f"expired: {fact.held:,} mills went back ({fact.why})"]
        case ChargeRefunded():
            return [f"refunded {fact.amount:,} mills: {fact.reason or 'no reason was given'}"]
    return []


def _settlement_lines(fact: ChargeSettled | ChargeSettledLate) -> list[str]:
    lines = [f"ended by {fact.ended_by}, usage from {fact.basis}", *fact.price.explain_lines(fact.usage)]
    if fact.written_off:
        lines.append(f"paid {fact.paid:,} mills, written off {fact.written_off:,} mills")
    if isinstance(fact, ChargeSettled):
        lines.append(f"of {fact.held:,} mills held, {max(0, fact.held - fact.paid):,} went back")
    else:
        lines.append(f"settled late, after the hold had expired: paid {fact.paid:,} mills")
    return lines
