"""What the facts of a log say, one after the other: the sums of every account, the floors, the holds that are open.

Reads stored bytes and shares no code with what wrote them. Sums are Python integers: many accounts together may pass 2^63.
"""

from collections import defaultdict
from typing import NamedTuple

from domain import streams
from domain.accounts import asset_of, sums_to_zero
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.streams import StreamId
from ledger.errors import UnknownFact
from ledger.mapper import decode
from ledger.store import StoredFact
from ledger.verify_facts import Held, held_by, wrong_for, wrong_in

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


class Differences:
    """What was found so far; a hundred of them are enough."""

    def __init__(self) -> None:
        self.found: list[Difference] = []

    def add(self, where: str, what: str, expected: int | None = None, found: int | None = None) -> None:
        if len(self.found) < MAX_DIFFERENCES:
            self.found.append(Difference(where, what, expected, found))


class LogCheck:
    """`whole`: from the beginning. A part of a log has ends of holds that are not in it."""

    def __init__(self, differences: Differences, *, whole: bool = True) -> None:
        self._whole = whole
        self.differs = differences.add
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.floors: dict[str, int | None] = {}
        self.holds: dict[StreamId, Held] = {}
        self.facts = 0
        self.position = 0

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
        if wrong := _wrong_in(fact):
            self.differs(f"position {stored.position}", f"{stored.topic}: {wrong}")
        for account, delta in fact.postings:
            self.sums[account] += delta
        self.floors.update(fact.floors)
        if self._whole:
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

    def totals(self) -> dict[str, int]:
        """Mills by platform account."""
        return {account: total for account, total in sorted(self.sums.items()) if account.startswith("platform:")}

    def must_sum_to_zero(self) -> None:
        """Value is moved, never made: all accounts of an asset together have nothing."""
        for asset in {asset_of(account) for account in self.sums}:
            rest = sum(total for account, total in self.sums.items() if asset_of(account) is asset)
            if rest:
                self.differs(asset, "all accounts together do not sum to zero", 0, rest)


def _wrong_in(fact: Fact) -> str:
    """As `wrong_in`; prices are texts, and stored ones may be anything."""
    try:
        return wrong_in(fact)
    except (ValueError, ArithmeticError) as error:
        return f"its amounts cannot be computed: {error}"
