"""Reading on: pages of facts after a position, and a wait that ends when there may be more.

A wake-up is a hint. In the same process it is immediate; commits of other processes are noticed by polling the file's data
version, so the bound is the period and nothing is ever missed.
"""

import threading
from time import monotonic

from ledger.mapper import Recorded
from ledger.store import LedgerStore

PAGE_LIMIT_FACTS = 1000


class Follow:
    """A reader of the log with a place in it. One thread uses it; `hint` may be called by any."""

    def __init__(
        self, store: LedgerStore, *, after: int = 0, without_charges: bool = False, period_s: float = 0.1
    ) -> None:
        self.position = after
        self._store = store
        self._without_charges = without_charges
        self._period_s = period_s
        self._hinted = threading.Event()
        self._seen = -1

    def page(self, limit: int = PAGE_LIMIT_FACTS) -> list[Recorded]:
        """The next facts, at most `limit`; moves on past them."""
        facts = self._store.read_log(self.position, limit, without_charges=self._without_charges)
        if facts:
            self.position = facts[-1].position
        return facts

    def hint(self) -> None:
        """There may be something new."""
        self._hinted.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there may be more facts; False when the time is over and nothing was committed."""
        deadline = monotonic() + timeout_s
        while True:
            version = self._store.version_of_data()
            if self._hinted.is_set() or version != self._seen:
                self._hinted.clear()
                self._seen = version
                return True
            left = deadline - monotonic()
            if left <= 0:
                return False
            self._hinted.wait(min(self._period_s, left))
