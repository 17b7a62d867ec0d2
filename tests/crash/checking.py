"""The process after the crash: `main(WHERE, FILE)`, with the acknowledgements in a file.

Opens the ledger, ends the holds of the dead, and compares what it finds with what had been acknowledged. Prints one JSON
object; its `problems` are empty when every promise was kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from domain import streams
from domain.events import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
    Fact,
)
from ledger.epochs import Epoch, end_dead_holds
from ledger.store import LedgerReader
from ledger.verify import verify
from ledger.writer import Writer
from tests.crash.where import Where, where

ENDS = ChargeSettled | ChargeReleased | ChargeExpired


class Found(msgspec.Struct, frozen=True):
    """What one check came to."""

    problems: list[str]
    facts: int
    ended: int
    """Holds of dead processes, or past their deadline, that this check ended."""
    open: int
    """Holds of living processes."""
    checked: int
    """Acknowledgements that were compared."""
    lost: int
    """Of those, the ones of which something is not true of the ledger."""


def check(place: Where, lines: Iterable[str]) -> Found:
    store = place.open()
    writer, epoch = Writer(store), Epoch(place.folder, "checker")
    ended = end_dead_holds(store, writer, epoch)
    epoch.forget_the_dead()
    problems = [f"a dead process still holds: {hold}" for hold in store.open_holds() if not epoch.is_alive(hold.epoch)]
    checked = lost = 0
    for line in lines:
        wrong = [f"{line}: {problem}" for problem in broken(store, epoch, *line.split())]
        checked, lost = checked + 1, lost + bool(wrong)
        problems += wrong
    report = verify(store)
    problems += [str(difference) for difference in report.differences]
    epoch.close()
    writer.close()
    store.close()
    return Found(problems[:20], report.facts, ended, report.open_holds, checked, lost)


def broken(store: LedgerReader, epoch: Epoch, kind: str, charge: str, *numbers: str) -> Iterator[str]:
    """What of one acknowledgement is not true of the ledger."""
    if kind == "epoch":
        return
    facts = [recorded.fact for recorded in store.read_stream(charge)]
    first = facts[0] if facts else None
    if not isinstance(first, ChargeHeld):
        yield "the hold is gone"
        return
    ends = [fact for fact in facts if isinstance(fact, ENDS)]
    if len(ends) > 1 or (ends and facts[1] is not ends[0]):
        yield f"it ended {len(ends)} times"
    if not ends and not epoch.is_alive(first.epoch):
        yield "its process is dead and its hold is open"
    amounts = [int(number) for number in numbers]
    if kind == "extended":
        if not is_extended(store, charge, *amounts):
            yield "the extension is gone"
    elif not is_there(facts, kind, amounts):
        yield f"the facts are {[fact.TOPIC for fact in facts]}, the last {facts[-1]}"


def is_there(facts: list[Fact], kind: str, amounts: list[int]) -> bool:
    """True when exactly one fact of a charge says what was acknowledged."""
    match kind, amounts:
        case "held", [mills]:
            return [fact.amount for fact in facts if isinstance(fact, ChargeHeld)] == [mills]
        case "released", []:
            return len([fact for fact in facts if isinstance(fact, ChargeReleased)]) == 1
        case "settled", [cost, paid]:
            return [(fact.cost, fact.paid) for fact in facts if isinstance(fact, ChargeSettled)] == [(cost, paid)]
        case "late", [cost, paid]:
            return [(fact.cost, fact.paid) for fact in facts if isinstance(fact, ChargeSettledLate)] == [(cost, paid)]
    raise AssertionError(f"no acknowledgement is {kind} {amounts}")


def is_extended(store: LedgerReader, charge: str, n: int, mills: int) -> bool:
    facts = [recorded.fact for recorded in store.read_stream(streams.extension(charge, n))]
    return [fact.amount for fact in facts if isinstance(fact, ChargeExtended)] == [mills]


def main(told: str, acknowledged: str) -> None:
    found = check(where(told), Path(acknowledged).read_text().splitlines())
    sys.stdout.write(msgspec.json.encode(found).decode())
