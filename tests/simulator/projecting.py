"""A read model of the simulation: folded in pages of any size, fed twice, interrupted and built again, and always the same fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from domain.events import ChargeRefunded, ChargeSettled, ChargeSettledLate
from ledger.mapper import Recorded
from tests.simulator.database import Database
from tests.simulator.faults import Breach, Faults

PAGE_FACTS = 400


class Projection:
    """Balances, spending and counts after the facts up to `position`; tables and position change together."""

    def __init__(self) -> None:
        self.position = 0
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.spent: defaultdict[int, int] = defaultdict(int)
        self.topics: defaultdict[str, int] = defaultdict(int)

    def feed(self, page: Sequence[Recorded]) -> None:
        """What it has seen it does not see again."""
        for position, _, _, fact in page:
            if position <= self.position:
                continue
            for account, delta in fact.postings:
                self.balances[account] += delta
            if isinstance(fact, ChargeSettled | ChargeSettledLate):
                self.spent[fact.user] += fact.paid
            elif isinstance(fact, ChargeRefunded):
                self.spent[fact.user] -= fact.amount
            self.topics[fact.TOPIC] += 1
            self.position = position

    @property
    def tables(self) -> tuple[object, ...]:
        return self.position, self.balances, self.spent, self.topics


class Projector:
    """Whichever process folds at the moment. `projection` is the live one."""

    def __init__(self, database: Database, faults: Faults) -> None:
        self.projection = Projection()
        self._database = database
        self._faults = faults
        self._last: list[Recorded] = []

    def step(self, page_facts: int) -> None:
        """One transaction, or one that was begun and is lost with its process. Raises LedgerUnavailable."""
        page = self._database.read_log(self.projection.position, page_facts)
        if self._faults.strikes("projection_crash"):
            return
        if self._faults.strikes("projection_fed_twice"):
            self.projection.feed(self._last)
        self.projection.feed(page)
        self._last = page
        if self._faults.strikes("projection_rebuilt"):
            self._rebuild(page_facts)

    def _rebuild(self, page_facts: int) -> None:
        """A new one beside the live one, up to the same place; they are compared, and it takes over."""
        fresh, until = Projection(), self.projection.position
        while fresh.position < until:
            fresh.feed(self._database.read_log(fresh.position, min(page_facts, until - fresh.position)))
        if fresh.tables != self.projection.tables:
            raise Breach("a projection that was built again is another one")
        self.projection = fresh

    def check(self) -> None:
        """The live one is the fold of everything from zero."""
        fresh = Projection()
        fresh.feed(self._database.read_log(0, len(self._database.rows)))
        if fresh.tables != self.projection.tables:
            raise Breach(f"the projection at {self.projection.position} of {fresh.position} is not the fold from zero")
