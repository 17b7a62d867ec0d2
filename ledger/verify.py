"""Every balance is the sum of its facts: recomputed from the stored bytes, by nothing that wrote them; and every block of facts is
the one that was sealed.

Reads one snapshot of the log from its beginning, so it may run while calls are served.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from domain.accounts import is_guarded
from ledger.seals import facts_of, sealed_log
from ledger.store import LedgerReader, LedgerStore, OpenHold, Seal, StoredFact
from ledger.verify_log import Difference, Differences, LogCheck
from ledger.verify_seals import Sealed, Trust

PAGE_FACTS = 5000

__all__ = ["Difference", "Report", "verify"]


class Report(NamedTuple):
    """What was checked, and what differs (nothing, in a sound ledger)."""

    facts: int
    head: int
    accounts: int
    open_holds: int
    totals: dict[str, int]
    """Mills by platform account: what was earned, given, written off."""
    differences: tuple[Difference, ...]
    sealed: Sealed | None = None
    """The blocks, where they were checked."""
    is_part: bool = False
    """True for an archive that does not begin with the first fact: its balances cannot be checked."""

    @property
    def is_sound(self) -> bool:
        return not self.differences


def verify(
    store: LedgerStore, progress: Callable[[int, int], None] | None = None, *, trust: Trust | None = None
) -> Report:
    """Recompute every balance and open hold; and, given whose signatures count, every block.

    `progress(position, head)` is called after each page.
    """
    differences = Differences()
    log = LogCheck(differences)
    blocks = trust.check(differences) if trust is not None else None
    with store.snapshot() as reader:
        head = reader.head()
        items: Iterator[StoredFact | Seal] = facts_of(reader) if blocks is None else sealed_log(reader)
        for item in items:
            if isinstance(item, StoredFact):
                log.read(item)
            if blocks is not None:
                blocks.read(item)
            if progress is not None and log.facts % PAGE_FACTS == 0:
                progress(log.position, head)
        if progress is not None:
            progress(log.position, head)
        sealed = blocks.finish() if blocks is not None else None
        _compare_balances(log, reader)
        _compare_holds(log, reader)
        for stream in reader.broken_streams():
            differences.add(f"stream {stream}", "has a gap in its versions")
    return report_of(log, differences, sealed)


def report_of(log: LogCheck, differences: Differences, sealed: Sealed | None) -> Report:
    log.must_sum_to_zero()
    found = tuple(differences.found)
    return Report(log.facts, log.position, len(log.sums), len(log.holds), log.totals(), found, sealed)


def _compare_balances(log: LogCheck, reader: LedgerReader) -> None:
    expected = {account: total for account, total in log.sums.items() if is_guarded(account)}
    for account, guard in reader.balances():
        total = expected.pop(account, 0)
        if total != guard.balance:
            log.differs(account, "balance", total, guard.balance)
        floor = log.floors.get(account, 0)
        if floor != guard.floor:
            log.differs(account, "floor", floor, guard.floor)
    for account, total in sorted(expected.items()):
        if total:
            log.differs(account, "balance", total, None)


def _compare_holds(log: LogCheck, reader: LedgerReader) -> None:
    after = ""
    expected = dict(log.holds)
    while holds := reader.open_holds(after=after):
        for hold in holds:
            held = expected.pop(hold.charge, None)
            if held is None:
                log.differs(f"hold {hold.charge}", "is open, and its charge is not", None, hold.amount)
            elif held.hold.amount != hold.amount:
                log.differs(f"hold {hold.charge}", "mills held", held.hold.amount, hold.amount)
            elif held.hold != hold:
                log.differs(f"hold {hold.charge}", f"is not what its facts say: {_changed(held.hold, hold)}")
        after = holds[-1].charge
    for charge, held in sorted(expected.items()):
        log.differs(f"hold {charge}", "mills held", held.hold.amount, None)


def _changed(expected: OpenHold, found: OpenHold) -> str:
    pairs = zip(OpenHold._fields, expected, found, strict=True)
    return ", ".join(f"{name} {there!r} instead of {asked!r}" for name, asked, there in pairs if asked != there)
