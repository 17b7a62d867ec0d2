"""Whoever has the seat folds and follows the ledger; all others look every second whether it is free.

A fact that cannot be folded ends the folding; trouble that passes (a full disk, a lock, a server that restarts) is waited for.
"""

import logging
import threading
from time import monotonic

from ledger.errors import LedgerUnavailable
from ledger.follow import Follow
from ledger.store import LedgerStore
from ledger.vault import Vault
from projections.catalogue import projections
from projections.database import Folder
from projections.errors import ProjectionError
from projections.folding import PAGE_LIMIT_FACTS, Folding
from projections.places import ReadPlace, database_at

FOLLOW_PERIOD_S = 0.02
"""Facts that arrive within one period are folded together: the price of a commit is paid once."""
BUSY_FACTS = 50
BUSY_PERIOD_S = 0.1
"""The period after a page of so many facts: a bigger page costs less a fact. Readers wait so long at most, of the 250 ms promised."""
TAKEOVER_PERIOD_S = 1.0
LOOK_AROUND_S = 0.25
RETRY_FIRST_S = 0.05
RETRY_MOST_S = 2.0

log = logging.getLogger("veloera.projections")


class Runner:
    """Folds a ledger into read models for as long as it has the seat. One thread uses it."""

    def __init__(
        self,
        place: ReadPlace,
        store: LedgerStore,
        vault: Vault,
        *,
        period_s: float = FOLLOW_PERIOD_S,
        page_limit: int = PAGE_LIMIT_FACTS,
    ) -> None:
        self._database = database_at(place)
        self._store = store
        self._projections = projections(vault)
        self._period_s = period_s
        self._page_limit = page_limit
        self._seat = self._database.seat()

    def run(self, stop: threading.Event) -> None:
        """Fold and follow until `stop`; wait for the seat while another process has it.

        Raises ProjectionError: FoldStopped at a fact that cannot be folded, or for a read model that is damaged.
        """
        retry_s = RETRY_FIRST_S
        trouble: tuple[type[Exception], ...] = (LedgerUnavailable, *self._database.errors)
        while not stop.is_set():
            try:
                folder = self._seat.take()
                if folder is None:
                    stop.wait(TAKEOVER_PERIOD_S)
                    continue
                self._follow(folder, stop)
                retry_s = RETRY_FIRST_S
            except trouble as error:
                if not (isinstance(error, LedgerUnavailable) or self._database.passes(error)):
                    raise ProjectionError(
                        f"{self._database.name} is damaged ({error}): `veloera replay --fresh` makes a new one"
                    ) from error
                log.warning("folding waits", extra={"error": str(error), "retry_s": retry_s})
                self._seat.release()
                stop.wait(retry_s)
                retry_s = min(2 * retry_s, RETRY_MOST_S)
            else:
                self._seat.release()
        self._seat.release()

    def fold_if_nobody_does(self, head: int, timeout_s: float) -> bool:
        """Fold up to a position, unless another has the seat; False when another does. Stops when the time is over."""
        deadline = monotonic() + timeout_s
        folder = self._seat.take()
        if folder is None:
            return False
        try:
            folding = Folding(self._database, folder, self._projections)
            while folding.position < head and folding.step(self._store, limit=self._page_limit):
                if monotonic() >= deadline:
                    break
        finally:
            self._seat.release()
        return True

    def close(self) -> None:
        self._seat.close()
        self._database.close()

    def _follow(self, folder: Folder, stop: threading.Event) -> None:
        follow = Follow(self._store, period_s=self._period_s)
        folding = Folding(self._database, folder, self._projections)
        folded = 0
        retired = False
        while not stop.is_set():
            if self._seat.is_wanted():
                return
            # After a page one looks again, even a short one: it ends before a fact that is unknown.
            if not folded and not follow.wait(LOOK_AROUND_S):
                continue
            folded = folding.step(self._store, limit=self._page_limit)
            if not folded and not retired:
                folding.retire()
                retired = True
            if folded < self._page_limit:
                stop.wait(self._period_s if folded < BUSY_FACTS else max(self._period_s, BUSY_PERIOD_S))
