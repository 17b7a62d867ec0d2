"""Every balance is the sum of its facts: recomputed from the stored bytes, by nothing that wrote them.

Reads one snapshot of the log from its beginning, so it may run while calls are served. Sums are Python integers: many accounts
together may pass 2^63.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from domain import streams
from domain.accounts import asset_of, is_guarded, sums_to_zero
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.streams import StreamId
from ledger.errors import UnknownFact
from ledger.mapper import decode
from ledger.store import LedgerReader, LedgerStore, OpenHold, StoredFact
from ledger.verify_facts import Held, held_by, wrong_for, wrong_in

PAGE_FACTS = 5000
MAX_DIFFERENCES = 100


class Difference(NamedTuple):
    """Something that does not add up. `expected` is what the facts say, `found` what is stored."""

    where: str
    what: str
    expected: int | None = None
    found: int | None = None

    def __str__(self) -> str:
        if self.expected is None and self.found is None:
            return f"{self.where}: {self.what}"
        return f"{self.where}: {self.what}: the facts say {self.expected}, stored is {self.found}"


class Report(NamedTuple):
    """What was checked, and what differs (nothing, in a sound ledger)."""

    facts: int
    head: int
    accounts: int
    open_holds: int
    totals: dict[str, int]
    """Mills by platform account: what was earned, given, written off."""
    differences: tuple[Difference, ...]

    @property
    def is_sound(self) -> bool:
        return not self.differences


class _Check:
    def __init__(self) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.floors: dict[str, int | None] = {}
        self.holds: dict[StreamId, Held] = {}
        self.found: list[Difference] = []
        self.facts = 0
        self.position = 0

    def differs(self, where: str, what: str, expected: int | None = None, found: int | None = None) -> None:
        if len(self.found) < MAX_DIFFERENCES:
            self.found.append(Difference(where, what, expected, found))

    def read(self, stored: StoredFact) -> None:
        self.facts += 1
        if stored.position <= self.position:
            self.differs(f"position {stored.position}", "positions do not rise")
        self.position = stored.position
        try:
            fact = decode(stored.topic, stored.state)
        except UnknownFact as error:
            self.differs(f"position {stored.position}", str(error))
            return
        if not sums_to_zero(fact.postings):
            self.differs(f"position {stored.position}", f"the postings of {stored.topic} do not sum to zero")
        if wrong := wrong_in(fact):
            self.differs(f"position {stored.position}", f"{stored.topic}: {wrong}")
        for account, delta in fact.postings:
            self.sums[account] += delta
        self.floors.update(fact.floors)
        self._follow_hold(stored, fact)

    def _follow_hold(self, stored: StoredFact, fact: Fact) -> None:
        if isinstance(fact, ChargeHeld):
            if stored.version != 1:
                self.differs(f"charge {stored.stream}", f"was held at version {stored.version}")
            self.holds[stored.stream] = held_by(stored.stream, fact)
        elif isinstance(fact, ChargeExtended):
            self._extend(stored, fact)
        elif isinstance(fact, ChargeSettled | ChargeReleased | ChargeExpired):
            self._end(stored, fact)

    def _extend(self, stored: StoredFact, fact: ChargeExtended) -> None:
        held = self.holds.get(fact.charge)
        if held is None or stored.stream != streams.extension(fact.charge, fact.n):
            self.differs(f"charge {fact.charge}", "was extended without an open hold")
            return
        if wrong := wrong_for(held, fact):
            self.differs(f"charge {fact.charge}", f"extension {fact.n}: {wrong}")
        grown = held.hold._replace(amount=held.hold.amount + fact.amount, extensions=fact.n)
        self.holds[fact.charge] = held._replace(hold=grown)

    def _end(self, stored: StoredFact, fact: ChargeSettled | ChargeReleased | ChargeExpired) -> None:
        held = self.holds.pop(stored.stream, None)
        if stored.version != 2 or held is None:
            self.differs(f"charge {stored.stream}", f"ended at version {stored.version} without an open hold")
            return
        if held.hold.amount != fact.held:
            self.differs(
                f"charge {stored.stream}", "gave back another amount than it held", held.hold.amount, fact.held
            )
        if wrong := wrong_for(held, fact):
            self.differs(f"charge {stored.stream}", wrong)


def verify(store: LedgerStore, progress: Callable[[int, int], None] | None = None) -> Report:
    """Recompute every balance and open hold. `progress(position, head)` is called after each page."""
    check = _Check()
    with store.snapshot() as reader:
        head = reader.head()
        after = 0
        while page := reader.read_stored(after, PAGE_FACTS):
            for stored in page:
                check.read(stored)
            after = page[-1].position
            if progress is not None:
                progress(after, head)
        _compare_balances(check, reader)
        _compare_holds(check, reader)
        for stream in reader.broken_streams():
            check.differs(f"stream {stream}", "has a gap in its versions")
    totals = {account: total for account, total in sorted(check.sums.items()) if account.startswith("platform:")}
    for asset in {asset_of(account) for account in check.sums}:
        rest = sum(total for account, total in check.sums.items() if asset_of(account) is asset)
        if rest:
            check.differs(asset, "all accounts together do not sum to zero", 0, rest)
    return Report(check.facts, check.position, len(check.sums), len(check.holds), totals, tuple(check.found))


def _compare_balances(check: _Check, reader: LedgerReader) -> None:
    expected = {account: total for account, total in check.sums.items() if is_guarded(account)}
    for account, guard in reader.balances():
        total = expected.pop(account, 0)
        if total != guard.balance:
            check.differs(account, "balance", total, guard.balance)
        floor = check.floors.get(account, 0)
        if floor != guard.floor:
            check.differs(account, "floor", floor, guard.floor)
    for account, total in sorted(expected.items()):
        if total:
            check.differs(account, "balance", total, None)


def _compare_holds(check: _Check, reader: LedgerReader) -> None:
    after = ""
    expected = dict(check.holds)
    while holds := reader.open_holds(after=after):
        for hold in holds:
            held = expected.pop(hold.charge, None)
            if held is None:
                check.differs(f"hold {hold.charge}", "is open, and its charge is not", None, hold.amount)
            elif held.hold.amount != hold.amount:
                check.differs(f"hold {hold.charge}", "mills held", held.hold.amount, hold.amount)
            elif held.hold != hold:
                check.differs(f"hold {hold.charge}", f"is not what its facts say: {_changed(held.hold, hold)}")
        after = holds[-1].charge
    for charge, held in sorted(expected.items()):
        check.differs(f"hold {charge}", "mills held", held.hold.amount, None)


def _changed(expected: OpenHold, found: OpenHold) -> str:
    pairs = zip(OpenHold._fields, expected, found, strict=True)
    return ", ".join(f"{name} {there!r} instead of {asked!r}" for name, asked, there in pairs if asked != there)
