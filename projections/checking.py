"""The three-way check: the sum of an account's postings, its running balance in the read model, and the balance that the ledger keeps.

Three ways to one number, kept apart: where they differ one of them is wrong, and a person has to look before money moves on it.
"""

import logging
import threading
from collections.abc import Iterator
from itertools import islice
from time import time
from typing import NamedTuple

from domain.accounts import is_guarded
from domain.books import Guard
from ledger.store import LedgerReader, LedgerStore
from projections.as_of import Checkpoint
from projections.errors import ProjectionError
from projections.readmodel import ReadModel

ACCOUNTS_A_RUN = 200
MAX_TAIL_FACTS = 20_000
"""Facts that the read model may be behind; further behind the check waits for it."""
PAGE_FACTS = 1_000

log = logging.getLogger("veloera.ledger")


class Disagreement(NamedTuple):
    """An account of which the three do not say the same, in mills, at one position."""

    account: str
    position: int
    summed: int | None
    running: int
    kept: int


class Checker:
    """Checks accounts in turn, a few at each run, so that all of them are seen again and again. One thread runs it."""

    def __init__(self, store: LedgerStore, read: ReadModel) -> None:
        self._store = store
        self._read = read
        self._names: Iterator[tuple[str, Guard]] = iter(())
        self._lock = threading.Lock()
        self.checked = 0
        self.rounds = 0
        """How often all accounts were seen."""
        self.last_at_s = 0.0
        self.disagreements: dict[str, Disagreement] = {}
        """Of each account, from when it was looked at last."""

    def run(self) -> list[Disagreement]:
        """Check the next accounts; those that disagree. Raises LedgerUnavailable."""
        with self._lock:
            names = [name for name, _ in islice(self._names, ACCOUNTS_A_RUN)]
            if not names:
                self.rounds += bool(self.checked)
                self._names = self._store.balances()
                names = [name for name, _ in islice(self._names, ACCOUNTS_A_RUN)]
            found = check(self._store, self._read, names)
            if found is None:
                log.info("balance_check_waits reason=the read model is too far behind")
                return []
            for name in names:
                self.disagreements.pop(name, None)
            for one in found:
                self.disagreements[one.account] = one
                log.critical(
                    "balance_differs account=%s position=%d summed=%s running=%d kept=%d",
                    one.account,
                    one.position,
                    one.summed,
                    one.running,
                    one.kept,
                )
            self.checked += len(names)
            self.last_at_s = time()
            return found


def check(store: LedgerStore, read: ReadModel, names: list[str]) -> list[Disagreement] | None:
    """Compare the three for guarded accounts. None: the read model cannot be read, or is too far behind to tell."""
    guarded = [name for name in names if is_guarded(name)]
    if not guarded:
        return []
    try:
        position, known = read.checkpoints(guarded)
    except ProjectionError as error:
        log.warning("balance_check_cannot_read error=%s", error)
        return None
    # After the read model was read: the ledger is at least as far by then, and the facts between them are known.
    with store.snapshot() as reader:
        head = reader.head()
        moved = _moved_since(reader, position, guarded)
        if moved is None:
            return None
        found: list[Disagreement] = []
        for name in guarded:
            kept = (reader.balance(name) or Guard(0)).balance
            there = known.get(name, Checkpoint(0, 0))
            running = there.balance_mills + moved[name]
            summed = None if there.sum_mills is None else there.sum_mills + moved[name]
            if running != kept or summed not in (None, kept):
                found.append(Disagreement(name, head, summed, running, kept))
        return found


def _moved_since(reader: LedgerReader, position: int, names: list[str]) -> dict[str, int] | None:
    moved = dict.fromkeys(names, 0)
    for _ in range(MAX_TAIL_FACTS // PAGE_FACTS):
        page = reader.read_log(position, PAGE_FACTS)
        for recorded in page:
            for account, delta in recorded.fact.postings:
                if account in moved:
                    moved[account] += delta
        if len(page) < PAGE_FACTS:
            return moved
        position = page[-1].position
    return None
